//! The record of a body: how long it is, where it is, and its blocks.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::block::Block;
use crate::{BodyId, Error, Result};

/// Written before every record, so that a later form can be told from this one.
const FORMAT: u8 = 1;

/// What is stored of a body beside its octets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BodyRecord {
    /// Octets of the body.
    pub(crate) size: u64,
    /// Octets of every block but the last.
    pub(crate) block_size: u32,
    /// Where the blocks are.
    pub(crate) place: Place,
    /// The blocks, in order.
    pub(crate) blocks: Vec<Block>,
}

/// Where the blocks of a body are, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    /// In chunk rows beside the record.
    Hot,
    /// In the object named by the body's id.
    Object,
}

impl BodyRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Serialising plain numbers and vectors into memory cannot fail.
        postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()
    }

    pub(crate) fn decode(body: BodyId, value: &[u8]) -> Result<Self> {
        let damaged = |what| Error::Damaged { body, what };
        match value.split_first() {
            Some((&FORMAT, rest)) => {
                postcard::from_bytes(rest).map_err(|_| damaged("its record does not decode"))
            }
            Some(_) => Err(damaged("its record is of a later form")),
            None => Err(damaged("its record is empty")),
        }
    }

    /// The blocks that hold `range`, which must be within the body.
    pub(crate) fn blocks_of(&self, range: &Range<u64>) -> Range<usize> {
        let size = u64::from(self.block_size.max(1));
        let index = |offset: u64| usize::try_from(offset / size).unwrap_or(usize::MAX);
        if range.is_empty() { 0..0 } else { index(range.start)..index(range.end - 1) + 1 }
    }

    /// Octets of block `index` before encoding.
    pub(crate) fn block_length(&self, index: usize) -> usize {
        let begin = index as u64 * u64::from(self.block_size);
        let length = self.size.saturating_sub(begin).min(u64::from(self.block_size));
        usize::try_from(length).unwrap_or(usize::MAX)
    }

    /// Where block `index` begins among the stored octets.
    pub(crate) fn stored_offset(&self, index: usize) -> u64 {
        self.blocks.iter().take(index).map(|block| u64::from(block.stored)).sum()
    }
}
