//! The tag of a CAA record.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// The tag of a CAA record: `issue`, `iodef`, ... Two are equal whatever the case of their letters (RFC 8659 §4.1); how others write theirs is kept, since
/// a server compares the octets of what is to be removed.
#[derive(Clone, Debug)]
pub struct Tag(String);

impl Tag {
    /// A tag as it is written.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One spelling for all that are equal.
    pub fn canonical(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    fn octets(&self) -> impl Iterator<Item = u8> {
        self.0.bytes().map(|octet| octet.to_ascii_lowercase())
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Tag {}

impl PartialOrd for Tag {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Tag {
    fn cmp(&self, other: &Self) -> Ordering {
        self.octets().cmp(other.octets())
    }
}

impl Hash for Tag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical().hash(state);
    }
}
