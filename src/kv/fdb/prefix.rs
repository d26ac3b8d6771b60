//! What all keys of one installation begin with, so that several can share a cluster.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::{Error, Result};

/// The longest prefix in octets: what it takes off the limit for keys is far more than any of ours needs.
const MAX_PREFIX: usize = 256;

/// The prefix; empty for a cluster of our own.
pub(super) struct Prefix(Arc<[u8]>);

impl Prefix {
    /// A prefix for all keys.
    ///
    /// # Errors
    /// [`Error::Misuse`] for one that is too long or in FoundationDB's own keyspace.
    pub(super) fn new(prefix: &[u8]) -> Result<Self> {
        if prefix.len() > MAX_PREFIX || prefix.first() == Some(&0xFF) {
            return Err(Error::Misuse("a prefix of keys that is too long, or begins with 0xFF"));
        }
        Ok(Self(prefix.into()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where the cluster has this key.
    pub(super) fn key<'a>(&self, key: &'a [u8]) -> Cow<'a, [u8]> {
        if self.0.is_empty() { Cow::Borrowed(key) } else { Cow::Owned([&self.0, key].concat()) }
    }

    /// Where the cluster has this range.
    pub(super) fn range(&self, range: &Range<Vec<u8>>) -> Range<Vec<u8>> {
        self.key(&range.start).into_owned()..self.key(&range.end).into_owned()
    }

    /// The key that the cluster has there.
    pub(super) fn strip<'a>(&self, key: &'a [u8]) -> &'a [u8] {
        key.strip_prefix(&*self.0).unwrap_or(key)
    }
}
