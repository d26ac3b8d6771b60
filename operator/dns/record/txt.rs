//! TXT data: strings of at most 255 octets each, which the readers of mail records join (RFC 7208 §3.3, RFC 6376 §3.6.2.2).

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

/// The longest character string (RFC 1035 §3.3).
const LONGEST: usize = 255;

/// The strings of a TXT record. Two are equal if their joined strings are; how others split theirs is kept, since the provider may ask for exactly that.
#[derive(Clone, Debug)]
pub struct Txt {
    strings: Vec<Vec<u8>>,
}

impl Txt {
    /// Splits a text after each 255 octets.
    pub fn new(text: &[u8]) -> Self {
        let strings = text.chunks(LONGEST).map(<[u8]>::to_vec).collect();
        Self::from_strings(strings)
    }

    /// Strings as they are in a zone; longer ones than there can be are split.
    pub fn from_strings(strings: Vec<Vec<u8>>) -> Self {
        let fits = strings.iter().all(|string| string.len() <= LONGEST);
        let mut strings = if fits {
            strings
        } else {
            strings.iter().flat_map(|string| string.chunks(LONGEST)).map(<[u8]>::to_vec).collect()
        };
        if strings.is_empty() {
            strings.push(Vec::new());
        }
        Self { strings }
    }

    /// The strings, at least one.
    pub fn strings(&self) -> &[Vec<u8>] {
        &self.strings
    }

    /// The text, joined.
    pub fn joined(&self) -> Vec<u8> {
        self.strings.concat()
    }

    /// The text, joined; octets that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.joined()).into_owned()
    }

    /// Whether the text begins with `tag`, whatever the case, and ends there or goes on with a space or a semicolon.
    pub fn has_tag(&self, tag: &str) -> bool {
        let text = self.joined();
        let Some((head, rest)) = text.split_at_checked(tag.len()) else { return false };
        head.eq_ignore_ascii_case(tag.as_bytes())
            && rest.first().is_none_or(|next| *next == b';' || next.is_ascii_whitespace())
    }

    fn octets(&self) -> impl Iterator<Item = u8> {
        self.strings.iter().flatten().copied()
    }
}

impl PartialEq for Txt {
    fn eq(&self, other: &Self) -> bool {
        self.octets().eq(other.octets())
    }
}

impl Eq for Txt {}

impl PartialOrd for Txt {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Txt {
    fn cmp(&self, other: &Self) -> Ordering {
        self.octets().cmp(other.octets())
    }
}

impl Hash for Txt {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.joined().hash(state);
    }
}
