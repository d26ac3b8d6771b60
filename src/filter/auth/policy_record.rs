//! DMARC Policy Records (RFC 9989 §4.7) as they are found in the DNS, mistakes of their owners included.
//!
//! `mail-auth` takes whichever record it can read first, and none that has a mistake anywhere. The RFC has it otherwise: several records are as good as
//! none (§4.10), and a tag that is not valid counts as if it were not there; unless it is a policy, of which nobody knows what was meant, so that
//! nothing is asked for (§4.10.1).

use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::dmarc::Dmarc;

/// The tags that ask for something.
const POLICIES: [&str; 3] = ["p", "sp", "np"];

/// The record among all texts of a name, if there is one, and only one.
pub(crate) fn read(texts: &[String]) -> Option<Dmarc> {
    let mut records = texts.iter().filter(|text| is_policy_record(text));
    match (records.next(), records.next()) {
        (Some(record), None) => Dmarc::parse(record.as_bytes()).ok().or_else(|| corrected(record)),
        _ => None,
    }
}

/// Whether a text begins with the version.
fn is_policy_record(text: &str) -> bool {
    let version = text.split(';').next().and_then(|tag| tag.split_once('='));
    version.is_some_and(|(name, value)| name.trim().eq_ignore_ascii_case("v") && value.trim() == "DMARC1")
}

/// The record without tags that are not valid. Without a valid `p` it asks for nothing but reports, if for these.
fn corrected(record: &str) -> Option<Dmarc> {
    let tags = || record.split(';').skip(1).map(str::trim).filter(|tag| !tag.is_empty());
    let is_valid = |tag: &&str| Dmarc::parse(format!("v=DMARC1; {tag}").as_bytes()).is_ok();
    let is_policy = |tag: &str| {
        let name = tag.split('=').next().unwrap_or_default().trim();
        POLICIES.iter().any(|policy| name.eq_ignore_ascii_case(policy))
    };
    let asks = tags().filter(|tag| is_policy(tag)).all(|tag| is_valid(&tag));
    let kept = tags().filter(is_valid).filter(|tag| asks || !is_policy(tag));
    let text = std::iter::once("v=DMARC1").chain(kept).collect::<Vec<_>>().join("; ");
    Dmarc::parse(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use mail_auth::dmarc::{Alignment, Policy};

    use super::*;

    fn of(texts: &[&str]) -> Option<Dmarc> {
        read(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_only_record_counts_whatever_else_is_there() {
        for texts in [
            &["v=spf1 -all", "v=DMARC1; p=reject"][..],
            &["V = DMARC1 ;p=reject;"],
            &["v=DMARC1; p=reject", "p=none; v=DMARC1", "v=DMARC2; p=none", "v=dmarc1; p=none", ""],
        ] {
            assert_eq!(of(texts).unwrap().p, Policy::Reject, "{texts:?}");
        }
        assert!(of(&["v=DMARC1; p=reject", "v=DMARC1; p=none"]).is_none(), "which one is meant?");
        assert!(of(&["v=DMARC1; p=reject", "v=DMARC1; p=reject"]).is_none());
        assert!(of(&[]).is_none());
    }

    #[test]
    fn a_tag_that_is_not_valid_is_as_if_it_were_not_there() {
        for wrong in ["adkim=relaxed", "aspf=x", "fo=always", "rua=mailto:a@b.test!x", "fo="] {
            let record =
                of(&[&format!("v=DMARC1; {wrong}; p=reject; sp=none; rua=mailto:c@d.test")]).unwrap();
            assert_eq!(
                (record.p, record.sp, record.adkim),
                (Policy::Reject, Policy::None, Alignment::Relaxed)
            );
            assert!(record.rua.iter().any(|uri| uri.uri == "c@d.test"), "{wrong}");
        }
    }

    #[test]
    fn nothing_is_asked_for_where_a_policy_is_not_valid() {
        for wrong in ["p=rejected", "p=reject; sp=all", "p=reject; np="] {
            let record = of(&[&format!("v=DMARC1; {wrong}; rua=mailto:c@d.test")]).unwrap();
            assert_eq!((record.p, record.rua.len()), (Policy::Unspecified, 1), "{wrong}");
        }
    }
}
