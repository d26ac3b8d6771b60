//! What is stored of segments, and how the rows that belong together change together.

use std::time::Duration;

use ekitei_kv::{RangeOptions, Transaction};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::hot::{self, Count, signed};
use crate::owner::Group;
use crate::record::{BodyRecord, Place};
use crate::rows::{self, Intent};
use crate::{BodyId, Error, Result, SegmentId};

const FORMAT: u8 = 1;

/// A segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentRow {
    /// Whose bodies it has.
    pub(crate) group: Group,
    /// Octets of its object.
    pub(crate) octets: u64,
    /// Bodies that it was made of.
    pub(crate) bodies: u32,
    /// When it was made, in milliseconds since the epoch.
    pub(crate) created: u64,
}

/// Where in a segment a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) octets: u64,
}

impl SegmentRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Serialising plain numbers into memory cannot fail.
        postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        decode(value)
    }
}

impl Extent {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // As above.
        postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        decode(value)
    }
}

fn decode<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    let (format, rest) = value.split_first()?;
    (*format == FORMAT).then(|| postcard::from_bytes(rest).ok()).flatten()
}

/// A segment's row, with a conflict; `None` if there is none.
///
/// # Errors
/// [`Error::DamagedSegment`] if there is one that cannot be read, which is not the same as none.
pub(crate) async fn read_segment(
    transaction: &Transaction,
    segment: SegmentId,
) -> Result<Option<SegmentRow>> {
    let Some(row) = transaction.get(&rows::segment(segment)).await? else { return Ok(None) };
    let damaged = Error::DamagedSegment { segment, what: "its row does not decode" };
    SegmentRow::decode(&row).map(Some).ok_or(damaged)
}

/// Whether no row says that a body is in the segment, with a conflict.
pub(crate) async fn has_no_extents(transaction: &Transaction, segment: SegmentId) -> Result<bool> {
    let one = RangeOptions { limit: 1, ..RangeOptions::default() };
    Ok(transaction.get_range(rows::extents(segment), one).await?.is_empty())
}

/// Writes that a body is alone in a segment, which is whole. Its record says so already.
pub(crate) fn settle_alone(
    transaction: &Transaction,
    group: Group,
    segment: SegmentId,
    body: BodyId,
    octets: u64,
) {
    let created = u64::try_from(segment.time().as_millis()).unwrap_or(u64::MAX);
    let row = SegmentRow { group, octets, bodies: 1, created };
    transaction.set(&rows::segment(segment), &row.encode());
    hot::count(transaction, group, Count::Segments, 1);
    hot::count(transaction, group, Count::SegmentOctets, signed(octets));
    settle(transaction, group, segment, body, Extent { offset: 0, octets });
}

/// Writes that a body is in a segment. Its record says so already.
pub(super) fn settle(
    transaction: &Transaction,
    group: Group,
    segment: SegmentId,
    body: BodyId,
    extent: Extent,
) {
    transaction.set(&rows::extent(segment, body), &extent.encode());
    transaction.add(&rows::live_octets(segment), signed(extent.octets));
    hot::count(transaction, group, Count::LiveBodies, 1);
    hot::count(transaction, group, Count::LiveOctets, signed(extent.octets));
}

/// Takes a body that lives no longer, or lives elsewhere now, out of its segment, and hints that something died there. Only in a transaction that
/// read its record as `record`, so that it is done once.
pub(crate) fn bury(transaction: &Transaction, body: BodyId, record: &BodyRecord, now: Duration) {
    let (Place::Segment { segment, .. }, Some(owner)) = (record.place, record.owner) else { return };
    let (group, octets) = (Group::of(owner), record.stored_octets());
    transaction.clear(&rows::extent(segment, body));
    transaction.add(&rows::live_octets(segment), -signed(octets));
    hot::count(transaction, group, Count::LiveBodies, -1);
    hot::count(transaction, group, Count::LiveOctets, -signed(octets));
    transaction.set(&rows::hint(group, segment), &rows::encode_time(now));
}

/// Removes the rows of a segment in which nothing lives, and leaves its object to the collector. Whether it was there, and nothing lived.
pub(super) async fn retire(
    transaction: &Transaction,
    group: Group,
    segment: SegmentId,
    now: Duration,
) -> Result<bool> {
    if !has_no_extents(transaction, segment).await? {
        return Ok(false);
    }
    if transaction.get(&rows::segment_intent(segment)).await?.is_some() {
        // It is being filled. Who does that, or the collector, looks at it afterwards.
        return Ok(false);
    }
    transaction.clear(&rows::hint(group, segment));
    let Some(row) = read_segment(transaction, segment).await? else { return Ok(false) };
    transaction.set(&rows::segment_intent(segment), &rows::encode_intent(Intent::Delete, now));
    transaction.clear(&rows::segment(segment));
    transaction.clear(&rows::live_octets(segment));
    hot::count(transaction, group, Count::Segments, -1);
    hot::count(transaction, group, Count::SegmentOctets, -signed(row.octets));
    Ok(true)
}
