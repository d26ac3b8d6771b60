//! Conflict ranges: what a transaction read or wrote, as keys.

use bytes::Bytes;

/// One key, or the half-open range between two. A single key is the common case and costs one allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    Key(Bytes),
    Range(Bytes, Bytes),
}

impl Span {
    /// The two keys of the range form, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Key(key) => 2 * key.len() + 1,
            Self::Range(start, end) => start.len() + end.len(),
        }
    }
}

/// The first key after `key`.
pub(crate) fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}
