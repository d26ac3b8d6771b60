//! The tag a client gives a command, which its reply carries back.

use std::fmt;

use bytes::Bytes;

/// A command tag: one or more ASTRING-CHARs other than `+` (RFC 9051 §9), so it can be echoed as it is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Tag(Bytes);

impl Tag {
    /// Takes `octets` as a tag; `None` if they are not one.
    pub fn new(octets: Bytes) -> Option<Tag> {
        let good = !octets.is_empty() && octets.iter().all(|&b| super::lexer::is_tag_char(b));
        good.then_some(Tag(octets))
    }

    /// The octets, all printable ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({self})")
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}
