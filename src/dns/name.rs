//! Names as they are asked for: lower case, A-labels, no last dot.

use hickory_resolver::proto::rr::Name;

use crate::{Error, Result};

/// The longest name in text form without its last dot (RFC 1035 §2.3.4: 255 octets on the wire).
const LONGEST: usize = 253;
/// The longest label (RFC 1035 §2.3.4).
const LONGEST_LABEL: usize = 63;

/// A domain name as the whole service writes it: lower case, internationalised labels as A-labels (RFC 5891), without the last dot.
///
/// # Errors
/// [`Error::BadName`]: it is empty or too long, has an empty label or one that is too long, or is not allowed by IDNA.
pub fn normalize(name: &str) -> Result<String> {
    let bad = || Error::BadName(name.chars().take(LONGEST).collect());
    let bare = name.strip_suffix('.').unwrap_or(name);
    let ascii = if bare.is_ascii() {
        bare.to_ascii_lowercase()
    } else if bare.len() > 4 * LONGEST {
        return Err(bad());
    } else {
        let ascii =
            idna::domain_to_ascii_cow(bare.as_bytes(), idna::AsciiDenyList::EMPTY).map_err(|_| bad())?;
        ascii.strip_suffix('.').unwrap_or(&ascii).to_owned()
    };
    let fits = ascii.len() <= LONGEST
        && ascii.split('.').all(|label| !label.is_empty() && label.len() <= LONGEST_LABEL)
        && ascii.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'\\');
    if fits { Ok(ascii) } else { Err(bad()) }
}

/// The name for a question: absolute, so that no search list is applied.
pub(crate) fn absolute(name: &str) -> Result<Name> {
    let text = normalize(name)?;
    // Label by label, since names may have any octets (RFC 2181 §11): those that SPF makes of local parts have.
    let labels = text.split('.').map(str::as_bytes);
    let mut name = Name::from_labels(labels).map_err(|_| Error::BadName(text.clone()))?;
    name.set_fqdn(true);
    Ok(name)
}

/// A name out of an answer, as [`normalize`] would have it. The root is the empty text.
pub(crate) fn text(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_a_labels_without_the_last_dot() {
        for (given, wanted) in [
            ("Example.ORG", "example.org"),
            ("example.org.", "example.org"),
            ("_dmarc.Example.org", "_dmarc.example.org"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ] {
            assert_eq!(normalize(given).as_deref(), Ok(wanted), "{given}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let label = "a".repeat(64);
        let long = format!("{}.example", ["a"; 130].join("."));
        for bad in
            ["", ".", "a..b", "a b.example", "a\\.example", "a\r\n.example", &label, &long, &"é".repeat(2000)]
        {
            assert!(matches!(normalize(bad), Err(Error::BadName(_))), "{bad:?}");
        }
    }
}
