//! The DNS record that a key is published in (RFC 6376 §3.6.1, RFC 8463 §4).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ekitei_directory::Domain;

use crate::key::Algorithm;

/// Octets of one string in a TXT record (RFC 1035 §3.3.14).
const STRING: usize = 255;

/// A TXT record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its name, without the last dot: `selector._domainkey.domain`.
    pub name: String,
    /// Its text, joined from its strings.
    pub text: String,
}

impl KeyRecord {
    pub(crate) fn new(domain: &Domain, selector: &str, algorithm: Algorithm, public: &[u8]) -> Self {
        Self {
            name: format!("{selector}._domainkey.{}", domain.as_ascii()),
            text: format!("v=DKIM1; k={}; p={}", algorithm.name(), BASE64.encode(public)),
        }
    }

    /// The record as a line of a zone file (RFC 1035 §5.1), its text in strings of at most 255 octets.
    pub fn zone_line(&self) -> String {
        let strings: Vec<String> = self
            .text
            .as_bytes()
            .chunks(STRING)
            .map(|string| format!("\"{}\"", String::from_utf8_lossy(string)))
            .collect();
        match strings.as_slice() {
            [only] => format!("{}. IN TXT {only}", self.name),
            _ => format!("{}. IN TXT ( {} )", self.name, strings.join(" ")),
        }
    }

    /// Whether `text` from DNS publishes the same key.
    pub fn is_published_by(&self, text: &str) -> bool {
        let key = |text: &str| {
            let tags = text.split(';').filter_map(|tag| tag.split_once('='));
            tags.filter(|(name, _)| name.trim() == "p")
                .map(|(_, value)| value.split_ascii_whitespace().collect::<String>())
                .next()
        };
        key(text).is_some_and(|published| key(&self.text) == Some(published))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_short_key_is_one_string() {
        let domain = Domain::parse("football.example.com").unwrap();
        let public = BASE64.decode("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=").unwrap();
        let record = KeyRecord::new(&domain, "brisbane", Algorithm::Ed25519, &public);
        // RFC 8463 §A.2.
        assert_eq!(
            record.zone_line(),
            "brisbane._domainkey.football.example.com. IN TXT \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\""
        );
    }

    #[test]
    fn a_long_key_is_divided() {
        let record = KeyRecord::new(&Domain::parse("a.test").unwrap(), "s", Algorithm::Rsa, &[7; 294]);
        let line = record.zone_line();
        let strings: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        assert!(strings.len() > 1 && strings.iter().all(|string| string.len() <= 255));
        assert_eq!(strings.concat(), record.text);
    }

    #[test]
    fn a_published_key_is_recognised_however_it_is_written() {
        let record = KeyRecord::new(&Domain::parse("a.test").unwrap(), "s", Algorithm::Ed25519, &[7; 32]);
        let key = record.text.rsplit_once("p=").unwrap().1.to_owned();
        assert!(record.is_published_by(&format!("k=ed25519; t=s; p = {} {}", &key[..9], &key[9..])));
        assert!(!record.is_published_by("v=DKIM1; k=ed25519; p="));
        assert!(!record.is_published_by("v=spf1 -all"));
    }
}
