//! The rows of bodies (subspace [`BODIES`]):
//!
//! | key | value |
//! |---|---|
//! | `(BODIES, 0, body, 0)` | the record: format octet and postcard of `BodyRecord` |
//! | `(BODIES, 0, body, 1, n)` | chunk `n` of a hot body |
//! | `(BODIES, 0, body, 2, account)` | that account refers to the body; empty |
//! | `(BODIES, 1, body)` | a reference went away at this time: milliseconds since the epoch, little-endian |
//! | `(BODIES, 2, body)` | an object of that name is being written (0) or deleted (1): state octet, then milliseconds |
//! | `(BODIES, 3, group, body)` | a hot body waits to be packed: postcard of `HotEntry` |
//! | `(BODIES, 4, group, count)` | a counter: [`Count`] |
//! | `(BODIES, 5, segment)` | a segment: format octet and postcard of `SegmentRow` |
//! | `(BODIES, 6, segment)` | a counter: octets of the bodies that are in it |
//! | `(BODIES, 7, segment, body)` | the body is in the segment: format octet and postcard of `Extent` |
//! | `(BODIES, 8, segment)` | the segment's object is being written (0) or deleted (1): as for bodies |
//! | `(BODIES, 9, group, segment)` | a hint: something in the segment died, or it is small; milliseconds |
//! | `(BODIES, 10, 0)` | the state of the scrubber: format octet and postcard of `ScrubState` |
//! | `(BODIES, 10, 1, kind, name)` | something that the scrubber found: format octet and postcard of `FindingRow` |
//! | `(BODIES, 10, 2)` | the scrubber is to begin now; empty |
//! | `(BODIES, 11, group)` | the packer is not to wait until bodies are old or many; empty |
//! | `(BODIES, 12, name)` | the object of this name was given up before a body was in it: milliseconds |

use std::ops::Range;
use std::time::Duration;

use ekitei_kv::Transaction;
use ekitei_kv::keys::subspace::BODIES;
use ekitei_kv::keys::{key, range};

use crate::hot::Count;
use crate::owner::Group;
use crate::scrub::FindingKind;
use crate::{BodyId, SegmentId};

/// Octets of a chunk row, below the store's limit for a value.
pub(crate) const CHUNK_SIZE: usize = 90_000;

/// An object is being written, or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    Write,
    Delete,
}

pub(crate) fn record(body: BodyId) -> Vec<u8> {
    key(&(BODIES, 0u32, body.as_bytes().as_slice(), 0u32))
}

pub(crate) fn chunk(body: BodyId, n: usize) -> Vec<u8> {
    key(&(BODIES, 0u32, body.as_bytes().as_slice(), 1u32, n as u64))
}

/// The records of all bodies, with their chunks and references.
pub(crate) fn all_bodies() -> Range<Vec<u8>> {
    range(&(BODIES, 0u32))
}

/// The body whose record has this key, if it is that of a record.
pub(crate) fn body_of_record(key: &[u8]) -> Option<BodyId> {
    let (_, _, body, row): (u32, u32, Vec<u8>, u32) = foundationdb_tuple::unpack(key).ok()?;
    body.try_into().ok().filter(|_| row == 0).map(BodyId::from_bytes)
}

/// The record and all chunks.
pub(crate) fn record_and_chunks(body: BodyId) -> Range<Vec<u8>> {
    record(body)..key(&(BODIES, 0u32, body.as_bytes().as_slice(), 2u32))
}

pub(crate) fn references(body: BodyId) -> Range<Vec<u8>> {
    range(&(BODIES, 0u32, body.as_bytes().as_slice(), 2u32))
}

fn reference(body: BodyId, account: u64) -> Vec<u8> {
    key(&(BODIES, 0u32, body.as_bytes().as_slice(), 2u32, account))
}

pub(crate) fn unreferenced(body: BodyId) -> Vec<u8> {
    key(&(BODIES, 1u32, body.as_bytes().as_slice()))
}

pub(crate) fn all_unreferenced() -> Range<Vec<u8>> {
    range(&(BODIES, 1u32))
}

pub(crate) fn intent(body: BodyId) -> Vec<u8> {
    key(&(BODIES, 2u32, body.as_bytes().as_slice()))
}

pub(crate) fn all_intents() -> Range<Vec<u8>> {
    range(&(BODIES, 2u32))
}

pub(crate) fn hot(group: Group, body: BodyId) -> Vec<u8> {
    key(&(BODIES, 3u32, group.number(), body.as_bytes().as_slice()))
}

pub(crate) fn all_hot(group: Group) -> Range<Vec<u8>> {
    range(&(BODIES, 3u32, group.number()))
}

pub(crate) fn count(group: Group, count: Count) -> Vec<u8> {
    key(&(BODIES, 4u32, group.number(), count.number()))
}

pub(crate) fn all_counts() -> Range<Vec<u8>> {
    range(&(BODIES, 4u32))
}

pub(crate) fn segment(segment: SegmentId) -> Vec<u8> {
    key(&(BODIES, 5u32, segment.as_bytes().as_slice()))
}

pub(crate) fn all_segments() -> Range<Vec<u8>> {
    range(&(BODIES, 5u32))
}

pub(crate) fn live_octets(segment: SegmentId) -> Vec<u8> {
    key(&(BODIES, 6u32, segment.as_bytes().as_slice()))
}

pub(crate) fn extent(segment: SegmentId, body: BodyId) -> Vec<u8> {
    key(&(BODIES, 7u32, segment.as_bytes().as_slice(), body.as_bytes().as_slice()))
}

pub(crate) fn extents(segment: SegmentId) -> Range<Vec<u8>> {
    range(&(BODIES, 7u32, segment.as_bytes().as_slice()))
}

/// The body that a key of `extents` names.
pub(crate) fn body_of_extent(key: &[u8]) -> Option<BodyId> {
    let (_, _, _, body): (u32, u32, Vec<u8>, Vec<u8>) = foundationdb_tuple::unpack(key).ok()?;
    body.try_into().ok().map(BodyId::from_bytes)
}

pub(crate) fn segment_intent(segment: SegmentId) -> Vec<u8> {
    key(&(BODIES, 8u32, segment.as_bytes().as_slice()))
}

pub(crate) fn all_segment_intents() -> Range<Vec<u8>> {
    range(&(BODIES, 8u32))
}

/// The segment that a key of `all_segments` or `all_segment_intents` names.
pub(crate) fn segment_of(key: &[u8]) -> Option<SegmentId> {
    body_of(key).map(|id| SegmentId::from_bytes(*id.as_bytes()))
}

pub(crate) fn hint(group: Group, segment: SegmentId) -> Vec<u8> {
    key(&(BODIES, 9u32, group.number(), segment.as_bytes().as_slice()))
}

pub(crate) fn all_hints(group: Group) -> Range<Vec<u8>> {
    range(&(BODIES, 9u32, group.number()))
}

pub(crate) fn all_groups_hints() -> Range<Vec<u8>> {
    range(&(BODIES, 9u32))
}

/// The segment that a key of `all_hints` names.
pub(crate) fn segment_of_hint(key: &[u8]) -> Option<SegmentId> {
    let (_, _, _, segment): (u32, u32, u32, Vec<u8>) = foundationdb_tuple::unpack(key).ok()?;
    segment.try_into().ok().map(SegmentId::from_bytes)
}

pub(crate) fn pack_request(group: Group) -> Vec<u8> {
    key(&(BODIES, 11u32, group.number()))
}

pub(crate) fn given_up(name: &str) -> Vec<u8> {
    key(&(BODIES, 12u32, name))
}

pub(crate) fn all_given_up() -> Range<Vec<u8>> {
    range(&(BODIES, 12u32))
}

pub(crate) fn scrub_state() -> Vec<u8> {
    key(&(BODIES, 10u32, 0u32))
}

pub(crate) fn finding(kind: FindingKind, name: &str) -> Vec<u8> {
    key(&(BODIES, 10u32, 1u32, kind.number(), name))
}

pub(crate) fn all_findings() -> Range<Vec<u8>> {
    range(&(BODIES, 10u32, 1u32))
}

pub(crate) fn scrub_request() -> Vec<u8> {
    key(&(BODIES, 10u32, 2u32))
}

/// What the keys of all rows of a body begin with.
pub(crate) fn body_prefix(body: BodyId) -> Vec<u8> {
    key(&(BODIES, 0u32, body.as_bytes().as_slice()))
}

/// The body that a key of `all_bodies` is of: a record, a chunk or a reference, whose holder may be any number.
pub(crate) fn body_of_any(key: &[u8]) -> Option<BodyId> {
    let numbered = foundationdb_tuple::unpack::<(u32, u32, Vec<u8>, u32, u64)>(key).map(|key| key.2);
    let body =
        numbered.or_else(|_| foundationdb_tuple::unpack::<(u32, u32, Vec<u8>, u32)>(key).map(|key| key.2));
    body.ok()?.try_into().ok().map(BodyId::from_bytes)
}

/// Who the reference of this key is of.
pub(crate) fn holder_of(key: &[u8]) -> Option<u64> {
    let (_, _, _, _, holder): (u32, u32, Vec<u8>, u32, u64) = foundationdb_tuple::unpack(key).ok()?;
    Some(holder)
}

/// The body that a key of `all_unreferenced` or `all_intents` names.
pub(crate) fn body_of(key: &[u8]) -> Option<BodyId> {
    let (_, _, body): (u32, u32, Vec<u8>) = foundationdb_tuple::unpack(key).ok()?;
    body.try_into().ok().map(BodyId::from_bytes)
}

pub(crate) fn encode_time(time: Duration) -> [u8; 8] {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).to_le_bytes()
}

pub(crate) fn decode_time(value: &[u8]) -> Option<Duration> {
    Some(Duration::from_millis(u64::from_le_bytes(value.try_into().ok()?)))
}

pub(crate) fn encode_intent(state: Intent, time: Duration) -> [u8; 9] {
    let mut value = [0; 9];
    value[0] = u8::from(state == Intent::Delete);
    value[1..].copy_from_slice(&encode_time(time));
    value
}

/// What an intent row says; `None` for what a later release may write. Nothing is deleted for that.
pub(crate) fn decode_intent(value: &[u8]) -> Option<(Intent, Duration)> {
    let (&state, time) = value.split_first()?;
    let state = match state {
        0 => Intent::Write,
        1 => Intent::Delete,
        _ => return None,
    };
    Some((state, decode_time(time)?))
}

/// Makes an account refer to a body, in the transaction that makes the body visible to it.
pub fn add_reference(transaction: &Transaction, body: BodyId, account: u64) {
    transaction.set(&reference(body, account), b"");
}

/// Whether a body is stored. Read in the transaction that adds a reference to it, so that the collector takes it before or not at all.
///
/// # Errors
/// When the store fails.
pub async fn is_stored(transaction: &Transaction, body: BodyId) -> ekitei_kv::Result<bool> {
    Ok(transaction.get(&record(body)).await?.is_some())
}

/// Ends an account's reference. The body is deleted later, if that was the last one.
pub fn remove_reference(transaction: &Transaction, body: BodyId, account: u64, now: Duration) {
    transaction.clear(&reference(body, account));
    transaction.set(&unreferenced(body), &encode_time(now));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_every_row_is_known() {
        let body = BodyId::from_bytes([0, 255, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 0]);
        for row in [record(body), chunk(body, 7), reference(body, 1), reference(body, u64::MAX)] {
            assert_eq!(body_of_any(&row), Some(body), "{row:?}");
        }
        assert_eq!(body_of_any(b"something else"), None);
    }
}
