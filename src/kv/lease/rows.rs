//! The rows of leases, see the [module above](super).

use crate::keys::subspace::CLUSTER;
use crate::keys::{key, range};
use crate::{Error, Result};

use super::MemberId;

/// Form of the lease rows.
const FORMAT: u8 = 1;

/// What a lease row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) token: u64,
    pub(super) holder: MemberId,
}

impl Row {
    pub(super) fn encode(self) -> Vec<u8> {
        [&[FORMAT][..], &self.token.to_le_bytes(), &self.holder].concat()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self> {
        let parts = value.split_first().filter(|(format, _)| **format == FORMAT);
        let parts = parts.and_then(|(_, rest)| rest.split_first_chunk::<8>());
        let row = parts.and_then(|(token, holder)| {
            Some(Self { token: u64::from_le_bytes(*token), holder: holder.try_into().ok()? })
        });
        row.ok_or_else(|| Error::Corrupt("the row of a lease".into()))
    }
}

pub(super) fn lease_key(group: &str, name: &str) -> Vec<u8> {
    key(&(CLUSTER, "lease", group, name))
}

pub(super) fn member_key(member: &MemberId) -> Vec<u8> {
    key(&(CLUSTER, "member", member.as_slice()))
}

/// Everything about a process.
pub(super) fn member_rows(member: &MemberId) -> std::ops::Range<Vec<u8>> {
    member_key(member)..range(&(CLUSTER, "member", member.as_slice())).end
}
