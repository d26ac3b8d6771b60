//! The record of a body: how long it is, where it is, and its blocks.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::block::Block;
use crate::encryption::BodySeal;
use crate::owner::Owner;
use crate::{BodyId, Error, Result, SegmentId};

/// The first form of a record, which every release reads: without key and owner, and never in a segment. What it can say is written in it.
const FORMAT_1: u8 = 1;
/// The form that can say everything.
const FORMAT_2: u8 = 2;

/// What is stored of a body beside its octets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BodyRecord {
    /// Octets of the body.
    pub(crate) size: u64,
    /// Octets of every block but the last.
    pub(crate) block_size: u32,
    /// Where the blocks are.
    pub(crate) place: Place,
    /// What the blocks are encrypted with; `None` if they are not encrypted.
    pub(crate) key: Option<BodySeal>,
    /// Whose it is. A hot body has one if and only if it is in the hot index, a body in a segment always has.
    pub(crate) owner: Option<Owner>,
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
    /// In an object with other bodies, from this octet on.
    Segment {
        /// The object.
        segment: SegmentId,
        /// Where the first block begins in it.
        offset: u64,
    },
}

impl Place {
    /// The object that a body is in, unless it is hot.
    pub(crate) fn object_name(&self, body: BodyId) -> String {
        match self {
            Self::Hot | Self::Object => body.to_string(),
            Self::Segment { segment, .. } => segment.object_name(),
        }
    }
}

/// A record in its first form.
#[derive(Serialize, Deserialize)]
struct FirstForm {
    size: u64,
    block_size: u32,
    place: Place,
    blocks: Vec<Block>,
}

impl BodyRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Serialising plain numbers and vectors into memory cannot fail.
        if self.key.is_none() && self.owner.is_none() && !matches!(self.place, Place::Segment { .. }) {
            let first = (self.size, self.block_size, self.place, &self.blocks);
            return postcard::to_extend(&first, vec![FORMAT_1]).unwrap_or_default();
        }
        postcard::to_extend(self, vec![FORMAT_2]).unwrap_or_default()
    }

    pub(crate) fn decode(body: BodyId, value: &[u8]) -> Result<Self> {
        let damaged = |what| Error::Damaged { body, what };
        let undecoded = |_| damaged("its record does not decode");
        match value.split_first() {
            Some((&FORMAT_1, rest)) => {
                let FirstForm { size, block_size, place, blocks } =
                    postcard::from_bytes(rest).map_err(undecoded)?;
                Ok(Self { size, block_size, place, key: None, owner: None, blocks })
            }
            Some((&FORMAT_2, rest)) => postcard::from_bytes(rest).map_err(undecoded),
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

    /// Octets of all blocks as they are stored.
    pub(crate) fn stored_octets(&self) -> u64 {
        self.stored_offset(self.blocks.len())
    }

    /// Where block `index` begins among the stored octets.
    pub(crate) fn stored_offset(&self, index: usize) -> u64 {
        self.blocks.iter().take(index).map(|block| u64::from(block.stored)).sum()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DataKeyId;
    use ekitei_kv::clock::SystemClock;

    #[test]
    fn a_record_has_the_oldest_form_that_can_say_it() {
        let body = BodyId::generate(&SystemClock);
        let segment = SegmentId::generate(&SystemClock);
        let forms = [
            (Place::Hot, None, FORMAT_1),
            (Place::Object, None, FORMAT_1),
            (Place::Segment { segment, offset: 7 }, None, FORMAT_2),
            (Place::Hot, Some(BodySeal::new(DataKeyId::new(3))), FORMAT_2),
        ];
        for (place, key, form) in forms {
            let record =
                BodyRecord { size: 10, block_size: 1000, place, key, owner: None, blocks: Vec::new() };
            let encoded = record.encode();
            assert_eq!(encoded[0], form, "{record:?}");
            assert_eq!(BodyRecord::decode(body, &encoded).unwrap(), record);
        }
        assert!(BodyRecord::decode(body, &[3, 0, 0]).is_err());
    }
}
