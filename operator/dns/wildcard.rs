//! Wildcards (RFC 4592): a server answers with them for every name that is not there, as if it were. Who is to change a name has to know which it is.

use crate::name::Name;
use crate::record::RecordSet;

/// The name to ask for to see what a wildcard would answer for `name`; none for the apex, and for what is a wildcard itself.
///
/// One question is enough: if `name` is not there, this one is either the wildcard that answers for it, or is not there as well and gets the same answer,
/// from further up (RFC 4592 §3.3.1).
pub(crate) fn of(zone: &Name, name: &Name) -> Option<Name> {
    let parent = name.parent().filter(|parent| name != zone && parent.is_within(zone))?;
    let wildcard = parent.child("*").ok()?;
    (wildcard != *name).then_some(wildcard)
}

/// The name to ask for to see whether `name` is there itself, where the answer to [`of`] is what was found at it: what a wildcard answers for `name` it
/// answers for everything below as well, unless `name` is there (RFC 4592 §2.2.1: then `name` is the closest encloser).
///
/// Records of ours always are: their marker is below their name.
pub(crate) fn below(name: &Name) -> Option<Name> {
    name.child("*").ok()
}

/// Whether the answer to [`of`] or [`below`] is what was found at the name.
pub(crate) fn gives(wildcard: &RecordSet, found: &RecordSet) -> bool {
    wildcard.record_type == found.record_type && wildcard.values == found.values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_the_apex_can_come_from_a_wildcard() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let of = |text: &str| of(&name("a.test"), &name(text)).map(|name| name.to_string());
        assert_eq!(of("_dmarc.a.test").as_deref(), Some("*.a.test"));
        assert_eq!(of("s1._domainkey.a.test").as_deref(), Some("*._domainkey.a.test"));
        for own in ["a.test", "*.a.test", "b.test"] {
            assert_eq!(of(own), None, "{own}");
        }
    }
}
