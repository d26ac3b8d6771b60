//! The rows of bodies (subspace [`BODIES`]):
//!
//! | key | value |
//! |---|---|
//! | `(BODIES, 0, body, 0)` | the record: format octet and postcard of `BodyRecord` |
//! | `(BODIES, 0, body, 1, n)` | chunk `n` of a hot body |
//! | `(BODIES, 0, body, 2, account)` | that account refers to the body; empty |
//! | `(BODIES, 1, body)` | a reference went away at this time: milliseconds since the epoch, little-endian |
//! | `(BODIES, 2, body)` | an object of that name is being written (0) or deleted (1): state octet, then milliseconds |

use std::ops::Range;
use std::time::Duration;

use ekitei_kv::Transaction;
use ekitei_kv::keys::subspace::BODIES;
use ekitei_kv::keys::{key, range};

use crate::BodyId;

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

pub(crate) fn decode_intent(value: &[u8]) -> Option<(Intent, Duration)> {
    let (&state, time) = value.split_first()?;
    Some((if state == 0 { Intent::Write } else { Intent::Delete }, decode_time(time)?))
}

/// Makes an account refer to a body, in the transaction that makes the body visible to it.
pub fn add_reference(transaction: &Transaction, body: BodyId, account: u64) {
    transaction.set(&reference(body, account), b"");
}

/// Ends an account's reference. The body is deleted later, if that was the last one.
pub fn remove_reference(transaction: &Transaction, body: BodyId, account: u64, now: Duration) {
    transaction.clear(&reference(body, account));
    transaction.set(&unreferenced(body), &encode_time(now));
}
