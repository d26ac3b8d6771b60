//! The rows of the queue (subspace [`QUEUE`]):
//!
//! | key | value |
//! |---|---|
//! | `(QUEUE, 0, message, 0)` | postcard of [`MessageRow`] |
//! | `(QUEUE, 0, message, 1, number)` | postcard of [`EntryRow`] |
//! | `(QUEUE, 1, shard, versionstamp, message, number)` | fresh hint: the turn of the entry, u32 |
//! | `(QUEUE, 2, shard, due, message, number)` | deferred hint, `due` in milliseconds since the epoch: the turn, u32 |
//! | `(QUEUE, 3, destination, message, number)` | an [`IndexRow`] |
//! | `(QUEUE, 4, shard)` | versionstamp of the shard's latest fresh hint; watched |
//! | `(QUEUE, 5, total)` | a [`Total`]: i64, added to |
//! | `(QUEUE, 6, destination, count)` | a [`Count`] of the destination: i64, added to; swept when it is zero |
//! | `(QUEUE, 7, address)` | postcard of [`SuppressionRow`] |
//!
//! Integers are little-endian; postcard values begin with a format octet. An entry that waits has exactly one hint, and one index row which
//! tells where that is.

use std::ops::Range;
use std::time::Duration;

use ekitei_kv::keys::subspace::QUEUE;
use ekitei_kv::keys::{key, range};
use foundationdb_tuple::unpack;
use serde::{Deserialize, Serialize};

use crate::model::{EntryId, EntryRow, Hint, MessageRow, Place, QueueId, Shard, Stamp};
use crate::{Error, Result};

/// Octets of a versionstamp.
pub(crate) const STAMP: usize = 10;
/// Form of the values.
const FORMAT: u8 = 1;
/// The type octet of a versionstamp in a tuple (FoundationDB's tuple layer).
const STAMP_ELEMENT: u8 = 0x33;
/// Octets of the user version, which follows the stamp.
const USER_VERSION: usize = 2;

/// Figures of the whole queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Total {
    Messages = 0,
    Bytes = 1,
}

/// Figures of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Count {
    Fresh = 0,
    Deferred = 1,
    Held = 2,
}

/// Mail to an address that failed for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SuppressionRow {
    /// Failures within the window.
    pub(crate) bounces: u32,
    /// The first of them.
    pub(crate) first: Duration,
    /// The last of them.
    pub(crate) last: Duration,
    /// Until when mail to it is not even tried; `None` while the failures are too few.
    pub(crate) until: Option<Duration>,
    /// When the row is void.
    pub(crate) expires: Duration,
    /// What was said last.
    pub(crate) text: String,
}

pub(crate) fn message(id: QueueId) -> Vec<u8> {
    key(&(QUEUE, 0u32, id.0.as_slice(), 0u32))
}

pub(crate) fn entry(id: EntryId) -> Vec<u8> {
    key(&(QUEUE, 0u32, id.message.0.as_slice(), 1u32, id.number))
}

pub(crate) fn entries(id: QueueId) -> Range<Vec<u8>> {
    range(&(QUEUE, 0u32, id.0.as_slice(), 1u32))
}

/// All messages, each followed by its entries, in the order of arrival.
pub(crate) fn messages() -> Range<Vec<u8>> {
    range(&(QUEUE, 0u32))
}

/// What a key of [`messages`] names: a message, or an entry of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Message(QueueId),
    Entry(EntryId),
}

pub(crate) fn named(key: &[u8]) -> Result<Named> {
    if let Ok((_, _, message, _)) = unpack::<(u32, u32, Vec<u8>, u32)>(key) {
        return queue_id(message).map(Named::Message);
    }
    let (_, _, message, _, number): (u32, u32, Vec<u8>, u32, u32) =
        unpack(key).map_err(|_| Error::Corrupt("the key of a message in the queue"))?;
    Ok(Named::Entry(EntryId { message: queue_id(message)?, number }))
}

fn queue_id(octets: Vec<u8>) -> Result<QueueId> {
    octets.try_into().map(QueueId).map_err(|_| Error::Corrupt("the id of a message in the queue"))
}

fn fresh_prefix(shard: Shard) -> Vec<u8> {
    let mut prefix = key(&(QUEUE, 1u32, u32::from(shard.number())));
    prefix.push(STAMP_ELEMENT);
    prefix
}

/// The key of a fresh hint with this stamp, and where the stamp is in it.
pub(crate) fn fresh(shard: Shard, stamp: &Stamp, id: EntryId) -> (Vec<u8>, usize) {
    let mut at = fresh_prefix(shard);
    let offset = at.len();
    at.extend_from_slice(stamp);
    at.extend_from_slice(&[0; USER_VERSION]);
    at.extend_from_slice(&key(&(id.message.0.as_slice(), id.number)));
    (at, offset)
}

pub(crate) fn all_fresh(shard: Shard) -> Range<Vec<u8>> {
    range(&(QUEUE, 1u32, u32::from(shard.number())))
}

/// What the key of a fresh hint of `shard` names.
pub(crate) fn fresh_of(shard: Shard, key: &[u8]) -> Result<(Stamp, EntryId)> {
    let corrupt = || Error::Corrupt("the key of a fresh hint");
    let rest = key.strip_prefix(&fresh_prefix(shard)[..]).ok_or_else(corrupt)?;
    let (stamp, rest) = rest.split_first_chunk::<STAMP>().ok_or_else(corrupt)?;
    let entry = rest.get(USER_VERSION..).ok_or_else(corrupt)?;
    let (message, number): (Vec<u8>, u32) = unpack(entry).map_err(|_| corrupt())?;
    Ok((*stamp, EntryId { message: queue_id(message)?, number }))
}

pub(crate) fn due(shard: Shard, due: Duration, id: EntryId) -> Vec<u8> {
    key(&(QUEUE, 2u32, u32::from(shard.number()), millis(due), id.message.0.as_slice(), id.number))
}

pub(crate) fn all_due(shard: Shard) -> Range<Vec<u8>> {
    range(&(QUEUE, 2u32, u32::from(shard.number())))
}

/// What is due until `until`, itself included.
pub(crate) fn due_until(shard: Shard, until: Duration) -> Range<Vec<u8>> {
    let end = key(&(QUEUE, 2u32, u32::from(shard.number()), millis(until).saturating_add(1)));
    all_due(shard).start..end
}

pub(crate) fn due_of(key: &[u8]) -> Result<(Duration, EntryId)> {
    let (_, _, _, due, message, number): (u32, u32, u32, u64, Vec<u8>, u32) =
        unpack(key).map_err(|_| Error::Corrupt("the key of a deferred hint"))?;
    Ok((Duration::from_millis(due), EntryId { message: queue_id(message)?, number }))
}

pub(crate) fn index(destination: &str, id: EntryId) -> Vec<u8> {
    key(&(QUEUE, 3u32, destination, id.message.0.as_slice(), id.number))
}

pub(crate) fn index_of(destination: &str) -> Range<Vec<u8>> {
    range(&(QUEUE, 3u32, destination))
}

pub(crate) fn indexed(key: &[u8]) -> Result<EntryId> {
    let (_, _, _, message, number): (u32, u32, String, Vec<u8>, u32) =
        unpack(key).map_err(|_| Error::Corrupt("the key of the destination index"))?;
    Ok(EntryId { message: queue_id(message)?, number })
}

pub(crate) fn latest_fresh(shard: Shard) -> Vec<u8> {
    key(&(QUEUE, 4u32, u32::from(shard.number())))
}

pub(crate) fn total(total: Total) -> Vec<u8> {
    key(&(QUEUE, 5u32, total as u32))
}

pub(crate) fn count(destination: &str, count: Count) -> Vec<u8> {
    key(&(QUEUE, 6u32, destination, count as u32))
}

pub(crate) fn counts() -> Range<Vec<u8>> {
    range(&(QUEUE, 6u32))
}

pub(crate) fn count_of(key: &[u8]) -> Result<(String, Count)> {
    let (_, _, destination, count): (u32, u32, String, u32) =
        unpack(key).map_err(|_| Error::Corrupt("the key of a destination's figures"))?;
    let counts = [Count::Fresh, Count::Deferred, Count::Held];
    let count = counts.into_iter().find(|&known| known as u32 == count);
    Ok((destination, count.ok_or(Error::Corrupt("an unknown figure of a destination"))?))
}

pub(crate) fn suppression(address: &str) -> Vec<u8> {
    key(&(QUEUE, 7u32, address))
}

pub(crate) fn suppressions() -> Range<Vec<u8>> {
    range(&(QUEUE, 7u32))
}

pub(crate) fn suppressed_address(key: &[u8]) -> Result<String> {
    let (_, _, address): (u32, u32, String) =
        unpack(key).map_err(|_| Error::Corrupt("the key of a suppressed address"))?;
    Ok(address)
}

/// Where an entry waits, as its destination's index has it: format octet, kind u8, turn u32, versionstamp, due u64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexRow {
    pub(crate) turn: u32,
    pub(crate) place: Place,
}

impl IndexRow {
    /// Where the versionstamp goes, when the entry is fresh.
    pub(crate) const STAMP_OFFSET: usize = 6;

    pub(crate) fn encode(self) -> Vec<u8> {
        let (kind, stamp, due) = match self.place {
            Place::Fresh(stamp) => (0, stamp, Duration::ZERO),
            Place::Due(due) => (1, [0; STAMP], due),
            Place::Held => (2, [0; STAMP], Duration::ZERO),
        };
        [&[FORMAT, kind][..], &self.turn.to_le_bytes(), &stamp, &millis(due).to_le_bytes()].concat()
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self> {
        Self::decode_fields(value).ok_or(Error::Corrupt("a row of the destination index"))
    }

    fn decode_fields(value: &[u8]) -> Option<Self> {
        let (&[format, kind], rest) = value.split_first_chunk::<2>()?;
        let (turn, rest) = rest.split_first_chunk::<4>()?;
        let (stamp, due) = rest.split_first_chunk::<STAMP>()?;
        let place = match (format, kind) {
            (FORMAT, 0) => Place::Fresh(*stamp),
            (FORMAT, 1) => Place::Due(Duration::from_millis(u64::from_le_bytes(due.try_into().ok()?))),
            (FORMAT, 2) => Place::Held,
            _ => return None,
        };
        Some(Self { turn: u32::from_le_bytes(*turn), place })
    }

    pub(crate) fn hint(self, entry: EntryId) -> Hint {
        Hint { entry, turn: self.turn, place: self.place }
    }
}

pub(crate) fn encode_turn(turn: u32) -> [u8; 4] {
    turn.to_le_bytes()
}

pub(crate) fn decode_turn(value: &[u8]) -> Result<u32> {
    value.try_into().map(u32::from_le_bytes).map_err(|_| Error::Corrupt("a hint"))
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Serialising numbers, strings and vectors into memory cannot fail.
    postcard::to_extend(value, vec![FORMAT]).unwrap_or_default()
}

fn decode<T: for<'a> Deserialize<'a>>(value: &[u8], what: &'static str) -> Result<T> {
    match value.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|_| Error::Corrupt(what)),
        _ => Err(Error::Corrupt(what)),
    }
}

pub(crate) fn decode_message(value: &[u8]) -> Result<MessageRow> {
    decode(value, "a message in the queue")
}

pub(crate) fn decode_entry(value: &[u8]) -> Result<EntryRow> {
    decode(value, "an entry of the queue")
}

pub(crate) fn decode_suppression(value: &[u8]) -> Result<SuppressionRow> {
    decode(value, "a suppressed address")
}

/// Times are kept in whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(millis(time))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_read_back_as_they_were_written(
            shard in 0u8..64, stamp: [u8; STAMP], message: [u8; 16], number: u32, due_at in 0u64..1 << 50,
        ) {
            let shard = Shard::of_lease(&shard.to_string()).unwrap();
            let id = EntryId { message: QueueId(message), number };
            let (at, offset) = fresh(shard, &stamp, id);
            prop_assert_eq!(&at[offset..offset + STAMP], &stamp);
            prop_assert_eq!(fresh_of(shard, &at).unwrap(), (stamp, id));
            prop_assert!(all_fresh(shard).contains(&at));
            let due_at = Duration::from_millis(due_at);
            let at = due(shard, due_at, id);
            prop_assert_eq!(due_of(&at).unwrap(), (due_at, id));
            prop_assert!(due_until(shard, due_at).contains(&at) && all_due(shard).contains(&at));
            prop_assert!(!due_until(shard, due_at.saturating_sub(Duration::from_millis(1))).contains(&at) || due_at.is_zero());
            prop_assert_eq!(indexed(&index("example.com", id)).unwrap(), id);
            prop_assert_eq!(named(&entry(id)).unwrap(), Named::Entry(id));
            prop_assert_eq!(named(&super::message(id.message)).unwrap(), Named::Message(id.message));
            prop_assert!(entries(id.message).contains(&entry(id)));
        }

        #[test]
        fn index_rows_are_read_back_as_they_were_written(turn: u32, stamp: [u8; STAMP], due in 0u64..1 << 60) {
            for place in [Place::Fresh(stamp), Place::Due(Duration::from_millis(due)), Place::Held] {
                let row = IndexRow { turn, place };
                prop_assert_eq!(IndexRow::decode(&row.encode()).unwrap(), row);
            }
            let value = IndexRow { turn, place: Place::Fresh(stamp) }.encode();
            prop_assert_eq!(&value[IndexRow::STAMP_OFFSET..IndexRow::STAMP_OFFSET + STAMP], &stamp);
        }

        #[test]
        fn damaged_rows_and_keys_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (fresh_of(Shard::of("a"), &octets), due_of(&octets), named(&octets), indexed(&octets), count_of(&octets));
            let _ = (IndexRow::decode(&octets), decode_entry(&octets), decode_message(&octets));
        }
    }
}
