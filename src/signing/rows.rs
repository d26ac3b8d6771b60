//! The rows of signing keys.
//!
//! Keys are tuples whose first element is [`subspace::SIGNING`] and whose second says which table. `domain` is the A-label text of a domain.
//! Values are a format byte ([`FORMAT`]) followed by postcard.
//!
//! | key after the subspace | value |
//! |---|---|
//! | `0` | not postcard: the versionstamp (10 bytes) of the last change of any key |
//! | `1, domain, selector` | [`KeyRow`] |

use std::ops::Range;

use ekitei_directory::Domain;
use ekitei_keyring::Sealed;
use ekitei_kv::keys::{self, subspace};
use ekitei_kv::{self as kv, ChangeRow, KeyValue, RangeOptions, Transaction};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::key::Algorithm;
use crate::model::{Activation, Stage};

/// The format of the values that this version writes; it reads no other yet.
const FORMAT: u8 = 1;

const VERSION: u32 = 0;
const KEY: u32 = 1;

const SUBSPACE: u32 = subspace::SIGNING;

/// A key. Times are seconds since the epoch.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct KeyRow {
    pub(crate) algorithm: Algorithm,
    pub(crate) stage: Stage,
    pub(crate) created: u64,
    pub(crate) activated: Option<u64>,
    pub(crate) retired: Option<u64>,
    /// What `p=` has in DNS.
    pub(crate) public: Vec<u8>,
    /// PKCS#8, bound to domain and selector.
    pub(crate) private: Sealed,
    /// The random id of the operation that made the key, by which a repeated transaction recognises its own work.
    pub(crate) operation: [u8; 16],
    /// [`Activation::Manual`]. Last, and not written if it is not so: releases before the feature `manual-signing-keys` wrote none, and pass over what comes
    /// after the fields they know.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "if_there")]
    pub(crate) manual: bool,
}

/// Reads a field that may be missing at the end of a row.
fn if_there<'de, D: serde::Deserializer<'de>>(end: D) -> Result<bool, D::Error> {
    Ok(bool::deserialize(end).unwrap_or_default())
}

impl KeyRow {
    pub(crate) fn activation(&self) -> Activation {
        if self.manual { Activation::Manual } else { Activation::Automatic }
    }

    /// Whether it signs with this algorithm until its maker says otherwise.
    pub(crate) fn signs_for_its_maker(&self, algorithm: Algorithm) -> bool {
        self.manual && self.stage == Stage::Signing && self.algorithm == algorithm
    }
}

/// A key with its name.
pub(crate) struct NamedRow {
    pub(crate) domain: Domain,
    pub(crate) selector: String,
    pub(crate) row: KeyRow,
}

/// What a private key is bound to when it is encrypted.
pub(crate) fn binding(domain: &Domain, selector: &str) -> Vec<u8> {
    keys::key(&(domain.as_ascii(), selector))
}

/// What every change of a key writes.
pub(crate) fn changes() -> ChangeRow {
    ChangeRow::new(keys::key(&(SUBSPACE, VERSION)))
}

pub(crate) fn key_key(domain: &Domain, selector: &str) -> Vec<u8> {
    keys::key(&(SUBSPACE, KEY, domain.as_ascii(), selector))
}

/// The keys of one domain, or of all.
pub(crate) fn keys_of(domain: Option<&Domain>) -> Range<Vec<u8>> {
    match domain {
        Some(domain) => keys::range(&(SUBSPACE, KEY, domain.as_ascii())),
        None => keys::range(&(SUBSPACE, KEY)),
    }
}

pub(crate) fn put(tx: &Transaction, domain: &Domain, selector: &str, row: &KeyRow) -> Result<()> {
    let value = postcard::to_extend(row, vec![FORMAT])
        .map_err(|error| Error::Key(format!("its row cannot be written: {error}")))?;
    tx.set(&key_key(domain, selector), &value);
    Ok(())
}

pub(crate) async fn find(tx: &Transaction, domain: &Domain, selector: &str) -> Result<Option<KeyRow>> {
    let value = tx.get(&key_key(domain, selector)).await?;
    value.map(|value| decode(&value)).transpose()
}

/// All keys of a domain: few, since their number is bounded.
pub(crate) async fn of_domain(tx: &Transaction, domain: &Domain) -> Result<Vec<NamedRow>> {
    let rows = tx.get_range(keys_of(Some(domain)), RangeOptions::default()).await?;
    rows.iter().map(named).collect()
}

/// Reads a key with its name.
pub(crate) fn named(row: &KeyValue) -> Result<NamedRow> {
    let damaged = |reason: String| kv::Error::Corrupt(format!("the key of a signing key: {reason}"));
    let (_, _, domain, selector): (u32, u32, String, String) =
        foundationdb_tuple::unpack(&row.key).map_err(|error| damaged(error.to_string()))?;
    let domain = Domain::parse(&domain).map_err(|error| damaged(error.to_string()))?;
    Ok(NamedRow { domain, selector, row: decode(&row.value)? })
}

fn decode(bytes: &[u8]) -> Result<KeyRow> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest)
            .map_err(|error| kv::Error::Corrupt(format!("the row of a signing key: {error}")).into()),
        Some((format, _)) => Err(kv::Error::Corrupt(format!(
            "the row of a signing key has format {format}, which this version does not know"
        ))
        .into()),
        None => Err(kv::Error::Corrupt("the row of a signing key is empty".to_owned()).into()),
    }
}
