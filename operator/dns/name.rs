//! Names as the whole crate has them: absolute, lower case, A-labels.

use std::fmt;
use std::str::FromStr;

use hickory_proto::rr::Name as WireName;

/// The longest name in text form without its last dot (RFC 1035 §2.3.4: 255 octets on the wire).
const LONGEST: usize = 253;

/// A fully qualified domain name: lower case, internationalised labels as A-labels (RFC 5891), kept without the last dot. The root is `.`.
///
/// Labels may have underscores (RFC 8552) and be `*`. Names that came out of a zone may have escaped octets (`\.`), those that are parsed may not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// A text that is no domain name: whoever wrote it has to change it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a domain name")]
pub struct NotAName(pub String);

impl Name {
    /// The root of all names.
    pub fn root() -> Self {
        Self(String::new())
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The name without its last dot; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with its last dot.
    pub fn absolute(&self) -> String {
        format!("{}.", self.0)
    }

    /// A name below this one: `labels` may be several, with dots between them.
    ///
    /// # Errors
    /// The labels are none, or the whole is too long.
    pub fn child(&self, labels: &str) -> Result<Self, NotAName> {
        if self.is_root() { labels.parse() } else { format!("{labels}.{}", self.0).parse() }
    }

    /// The name with one label less; none of the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(Self(self.0.split_once('.').map(|(_, rest)| rest.to_owned()).unwrap_or_default()))
    }

    /// Whether this name is `other`, or below it.
    pub fn is_within(&self, other: &Self) -> bool {
        other.is_root()
            || self.0 == other.0
            || self.0.strip_suffix(&other.0).is_some_and(|rest| rest.ends_with('.') && !rest.ends_with("\\."))
    }

    /// Labels of the name.
    pub fn depth(&self) -> usize {
        if self.is_root() { 0 } else { self.0.split('.').count() }
    }

    /// The name as it stands in a message.
    ///
    /// # Errors
    /// It came out of a zone, with octets that cannot be written.
    pub fn to_wire(&self) -> Result<WireName, NotAName> {
        WireName::from_ascii(self.absolute()).map_err(|_| NotAName(self.0.clone()))
    }

    /// A name out of a message.
    pub fn from_wire(name: &WireName) -> Self {
        let text = name.to_lowercase().to_ascii();
        Self(text.strip_suffix('.').unwrap_or(&text).to_owned())
    }
}

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let bad = || NotAName(text.chars().take(LONGEST).collect());
        if text == "." {
            return Ok(Self::root());
        }
        let bare = text.strip_suffix('.').unwrap_or(text);
        let ascii = if bare.is_ascii() {
            bare.to_ascii_lowercase()
        } else if bare.len() > 4 * LONGEST {
            return Err(bad());
        } else {
            idna::domain_to_ascii_cow(bare.as_bytes(), idna::AsciiDenyList::EMPTY)
                .map_err(|_| bad())?
                .into_owned()
        };
        let fits = ascii.len() <= LONGEST
            && ascii.split('.').all(|label| (1..=63).contains(&label.len()))
            && ascii.bytes().all(|octet| octet.is_ascii_graphic() && !b"\\\"();@$".contains(&octet));
        if fits { Ok(Self(ascii)) } else { Err(bad()) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "." } else { &self.0 })
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_a_labels() {
        for (given, wanted) in [
            ("Example.ORG.", "example.org"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("_25._TCP.mx.example", "_25._tcp.mx.example"),
            (".", "."),
        ] {
            assert_eq!(given.parse::<Name>().unwrap().to_string(), wanted);
        }
        for bad in ["", "a..b", "a b", "a\\.b", &"a".repeat(64), &["a"; 130].join(".")] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_knows_what_it_is_below() {
        let domain: Name = "example.org".parse().unwrap();
        let below = domain.child("_dmarc").unwrap();
        assert!(below.is_within(&domain) && domain.is_within(&domain) && below.is_within(&Name::root()));
        assert!(!domain.is_within(&below));
        assert!(!"badexample.org".parse::<Name>().unwrap().is_within(&domain));
        assert_eq!(below.parent(), Some(domain));
        assert_eq!("org".parse::<Name>().unwrap().parent(), Some(Name::root()));
        assert_eq!(Name::root().child("org").unwrap().as_str(), "org");
    }
}
