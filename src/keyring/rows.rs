//! The rows of data keys.
//!
//! Keys are tuples whose first element is [`subspace::KEYRING`] and whose second says which table. `scope` is the A-label text of a domain, empty for
//! the service. Values of [`KeyRow`] are a format octet ([`FORMAT`]) followed by postcard.
//!
//! | key after the subspace | value |
//! |---|---|
//! | `0` | the versionstamp (10 octets) of the last change |
//! | `1` | the number of the latest key, 8 octets big-endian |
//! | `2, number` | [`KeyRow`] |
//! | `3, scope` | the number of the key in force, 8 octets big-endian |
//! | `4, number` | no body may be stored under this key any more; the random id of the destruction that closed it |

use std::ops::Range;
use std::sync::Arc;

use ekitei_blob::{DataKeyId, KeyScope};
use ekitei_kv::keys::{self, subspace};
use ekitei_kv::{self as kv, ChangeRow, KeyValue, Transaction};
use serde::{Deserialize, Serialize};

/// The format of the values that this version writes; it reads no other yet.
const FORMAT: u8 = 1;

const VERSION: u32 = 0;
const LATEST: u32 = 1;
const KEY: u32 = 2;
const CURRENT: u32 = 3;
const CLOSED: u32 = 4;

const SUBSPACE: u32 = subspace::KEYRING;

/// A data key, wrapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wrapped {
    /// The name of the master key.
    pub(crate) by: String,
    /// What it made.
    pub(crate) octets: Vec<u8>,
}

/// A data key. Times are seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyRow {
    pub(crate) scope: String,
    pub(crate) created: u64,
    /// When another one came in force.
    pub(crate) retired: Option<u64>,
    /// When it was destroyed; then `wrapped` is gone.
    pub(crate) destroyed: Option<u64>,
    pub(crate) wrapped: Option<Wrapped>,
    /// The random id of the operation that made the key, by which a repeated transaction recognises its own work.
    pub(crate) operation: [u8; 16],
}

/// The text of a scope in rows, and for master keys.
pub(crate) fn scope_text(scope: &KeyScope) -> &str {
    match scope {
        KeyScope::Service => "",
        KeyScope::Domain(domain) => domain,
    }
}

/// The scope of a text.
pub(crate) fn scope_of(text: &str) -> KeyScope {
    if text.is_empty() { KeyScope::Service } else { KeyScope::Domain(Arc::from(text)) }
}

/// What every change of a key writes.
pub(crate) fn changes() -> ChangeRow {
    ChangeRow::new(keys::key(&(SUBSPACE, VERSION)))
}

pub(crate) fn key_key(key: DataKeyId) -> Vec<u8> {
    keys::key(&(SUBSPACE, KEY, key.get()))
}

/// All keys in the order of their numbers.
pub(crate) fn all_keys() -> Range<Vec<u8>> {
    keys::range(&(SUBSPACE, KEY))
}

pub(crate) fn current_key(scope: &str) -> Vec<u8> {
    keys::key(&(SUBSPACE, CURRENT, scope))
}

pub(crate) fn closed_key(key: DataKeyId) -> Vec<u8> {
    keys::key(&(SUBSPACE, CLOSED, key.get()))
}

pub(crate) fn all_closed() -> Range<Vec<u8>> {
    keys::range(&(SUBSPACE, CLOSED))
}

/// The number at the end of a key of [`all_keys`] or [`all_closed`].
pub(crate) fn number_of(key: &[u8]) -> kv::Result<DataKeyId> {
    let (_, _, number): (u32, u32, u64) = foundationdb_tuple::unpack(key)
        .map_err(|error| kv::Error::Corrupt(format!("the key of a data key: {error}")))?;
    Ok(DataKeyId::new(number))
}

pub(crate) fn decode_number(value: &[u8]) -> kv::Result<DataKeyId> {
    let octets = value.try_into();
    let octets = octets.map_err(|_| kv::Error::Corrupt("the number of a data key is not one".to_owned()))?;
    Ok(DataKeyId::new(u64::from_be_bytes(octets)))
}

/// Gives out the next number.
pub(crate) async fn next_number(tx: &Transaction) -> kv::Result<DataKeyId> {
    let key = keys::key(&(SUBSPACE, LATEST));
    let latest = tx.get(&key).await?.map(|value| decode_number(&value)).transpose()?;
    let next = latest.map_or(0, DataKeyId::get) + 1;
    tx.set(&key, &next.to_be_bytes());
    Ok(DataKeyId::new(next))
}

pub(crate) async fn current(tx: &Transaction, scope: &str) -> kv::Result<Option<DataKeyId>> {
    tx.get(&current_key(scope)).await?.map(|value| decode_number(&value)).transpose()
}

pub(crate) fn put(tx: &Transaction, key: DataKeyId, row: &KeyRow) -> kv::Result<()> {
    let value = postcard::to_extend(row, vec![FORMAT])
        .map_err(|error| kv::Error::Corrupt(format!("the row of a data key cannot be written: {error}")))?;
    tx.set(&key_key(key), &value);
    Ok(())
}

pub(crate) async fn find(tx: &Transaction, key: DataKeyId) -> kv::Result<Option<KeyRow>> {
    tx.get(&key_key(key)).await?.map(|value| decode(&value)).transpose()
}

/// Reads a row of [`all_keys`].
pub(crate) fn numbered(row: &KeyValue) -> kv::Result<(DataKeyId, KeyRow)> {
    Ok((number_of(&row.key)?, decode(&row.value)?))
}

fn decode(value: &[u8]) -> kv::Result<KeyRow> {
    match value.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest)
            .map_err(|error| kv::Error::Corrupt(format!("the row of a data key: {error}"))),
        Some((format, _)) => Err(kv::Error::Corrupt(format!(
            "the row of a data key has format {format}, which this version does not know"
        ))),
        None => Err(kv::Error::Corrupt("the row of a data key is empty".to_owned())),
    }
}
