//! Names that a certificate is asked for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A host name in A-labels and lower case, without the last dot; the first label may be `*` (RFC 6125 §6.4.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

/// A name that no certificate can have. The fault of who wrote it; trying again does not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no host name for a certificate: {reason}")]
pub struct NameError {
    /// As it was written.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl HostName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the first label is `*`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// The name without `*.`: the one that a certificate authority validates.
    pub fn base(&self) -> &str {
        self.0.strip_prefix("*.").unwrap_or(&self.0)
    }

    /// Where the answer to a DNS-01 challenge is looked for (RFC 8555 §8.4), without the last dot.
    pub fn challenge(&self) -> String {
        format!("_acme-challenge.{}", self.base())
    }

    /// Whether a certificate with this name is good for `wanted`: the same name, or a wildcard for its first label.
    /// A wanted wildcard is covered by the same wildcard only.
    pub fn covers(&self, wanted: &Self) -> bool {
        self == wanted
            || (!wanted.is_wildcard()
                && self.is_wildcard()
                && wanted.0.split_once('.').is_some_and(|(_, parent)| parent == self.base()))
    }
}

impl FromStr for HostName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |reason| Err(NameError { name: text.to_owned(), reason });
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let base = name.strip_prefix("*.").unwrap_or(&name);
        if name.len() > 253 {
            return refuse("it is longer than 253 octets");
        }
        if !base.contains('.') {
            return refuse("it needs at least two labels");
        }
        for label in base.split('.') {
            if label.is_empty() || label.len() > 63 {
                return refuse("a label has 1 to 63 octets");
            }
            if label.starts_with('-') || label.ends_with('-') {
                return refuse("a label neither begins nor ends with a hyphen");
            }
            if !label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-') {
                return refuse(
                    "labels are of letters, digits and hyphens; other scripts are written as A-labels",
                );
            }
        }
        Ok(Self(name))
    }
}

impl TryFrom<String> for HostName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn name(text: &str) -> HostName {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_compared_without_case_and_last_dot() {
        assert_eq!(name("MX.Example.org."), name("mx.example.org"));
        assert_eq!(name("*.Example.org").challenge(), "_acme-challenge.example.org");
        assert_eq!(name("mx.example.org").challenge(), "_acme-challenge.mx.example.org");
    }

    #[test]
    fn what_is_no_host_name_is_refused() {
        let long = "a".repeat(64) + ".example.org";
        for bad in [
            "",
            "example",
            ".",
            "a..b",
            "-a.example",
            "a-.example",
            "_a.example",
            "*",
            "*.org",
            "a.*.example",
            "ü.example",
            &long,
        ] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?}");
        }
        assert!((("a.".repeat(127)) + "ab").parse::<HostName>().is_err(), "256 octets");
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let wildcard = name("*.example.org");
        assert!(wildcard.covers(&name("mail.example.org")));
        assert!(!wildcard.covers(&name("example.org")));
        assert!(!wildcard.covers(&name("a.b.example.org")));
        assert!(wildcard.covers(&wildcard));
        assert!(!name("mail.example.org").covers(&wildcard));
        assert!(!wildcard.covers(&name("*.a.example.org")));
    }
}
