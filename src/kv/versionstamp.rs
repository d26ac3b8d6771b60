//! Versionstamps: eight bytes of commit version and two of order within it, big-endian, so that they sort as they
//! were committed.

use bytes::Bytes;

use crate::{Error, Version};

/// The size of a versionstamp, in bytes.
pub(crate) const SIZE: usize = 10;

/// What a template too short for its versionstamp is told.
pub(crate) const OUT_OF_BOUNDS: Error = Error::Misuse("the versionstamp does not fit at the offset");

/// The versionstamp of one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versionstamp(pub(crate) [u8; SIZE]);

impl Versionstamp {
    pub(crate) fn new(version: Version, order: u16) -> Self {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&version.to_be_bytes());
        bytes[8..].copy_from_slice(&order.to_be_bytes());
        Self(bytes)
    }

    /// The versionstamp after all others.
    pub(crate) const MAX: Self = Self([0xFF; SIZE]);

    /// `template` with its ten bytes at `offset` replaced, if it has them.
    pub(crate) fn place(self, template: &[u8], offset: usize) -> Option<Bytes> {
        let mut bytes = template.to_vec();
        bytes.get_mut(offset..)?.get_mut(..SIZE)?.copy_from_slice(&self.0);
        Some(bytes.into())
    }
}
