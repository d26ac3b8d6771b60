//! The rows of certificates.
//!
//! Keys are tuples whose first element is [`subspace::CERTIFICATES`] and whose second says which table. `name` is a [`CertificateName`]. Values are a format
//! byte ([`FORMAT`]) followed by postcard; fields that later releases add are at the end, where this one passes over them.
//!
//! | key after the subspace | value |
//! |---|---|
//! | `0` | not postcard: the versionstamp (10 bytes) of the last change of any certificate |
//! | `1, name` | [`InfoRow`]: what is shown, and by which processes see what changed |
//! | `2, name` | [`MaterialRow`]: the chain and its key; written together with the other |
//! | `3` | not postcard: how many there are, a counter |

use std::ops::Range;

use ekitei_keyring::Sealed;
use ekitei_kv::keys::{self, subspace};
use ekitei_kv::{self as kv, ChangeRow, Transaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::{CertificateInfo, CertificateName, Revision};

/// The format of the values that this version writes; it reads no other yet.
const FORMAT: u8 = 1;

const VERSION: u32 = 0;
const INFO: u32 = 1;
const MATERIAL: u32 = 2;
const COUNT: u32 = 3;

const SUBSPACE: u32 = subspace::CERTIFICATES;

/// What is shown of a certificate. Times are seconds since the epoch.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct InfoRow {
    pub(crate) names: Vec<String>,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) sha256: [u8; 32],
    pub(crate) spki_sha256: [u8; 32],
    pub(crate) created: u64,
    pub(crate) updated: u64,
    pub(crate) revision: Revision,
}

impl InfoRow {
    pub(crate) fn into_info(self, name: CertificateName) -> CertificateInfo {
        let Self { names, not_before, not_after, sha256, spki_sha256, created, updated, revision } = self;
        CertificateInfo {
            name,
            names,
            not_before,
            not_after,
            sha256,
            spki_sha256,
            created,
            updated,
            revision,
        }
    }
}

/// The certificate itself.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct MaterialRow {
    /// In PEM.
    pub(crate) chain: String,
    /// In PEM, bound to the name.
    pub(crate) key: Sealed,
}

/// What a private key is bound to when it is encrypted.
pub(crate) fn binding(name: &CertificateName) -> Vec<u8> {
    keys::key(&(name.as_str(),))
}

/// What every change of a certificate writes.
pub(crate) fn changes() -> ChangeRow {
    ChangeRow::new(keys::key(&(SUBSPACE, VERSION)))
}

pub(crate) fn info_key(name: &CertificateName) -> Vec<u8> {
    keys::key(&(SUBSPACE, INFO, name.as_str()))
}

pub(crate) fn material_key(name: &CertificateName) -> Vec<u8> {
    keys::key(&(SUBSPACE, MATERIAL, name.as_str()))
}

pub(crate) fn count_key() -> Vec<u8> {
    keys::key(&(SUBSPACE, COUNT))
}

/// What is shown of all, in the order of their names.
pub(crate) fn all_infos() -> Range<Vec<u8>> {
    keys::range(&(SUBSPACE, INFO))
}

/// The name in a key of a table by names.
pub(crate) fn name_of(key: &[u8]) -> Result<CertificateName> {
    let damaged = |reason: String| kv::Error::Corrupt(format!("the key of a certificate: {reason}"));
    let (_, _, name): (u32, u32, String) =
        foundationdb_tuple::unpack(key).map_err(|error| damaged(error.to_string()))?;
    name.parse().map_err(|error: Error| damaged(error.to_string()).into())
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    postcard::to_extend(value, vec![FORMAT])
        .map_err(|error| Error::Invalid(format!("its row cannot be written: {error}")))
}

pub(crate) async fn find<T: DeserializeOwned>(tx: &Transaction, key: &[u8]) -> Result<Option<T>> {
    tx.get(key).await?.map(|value| decode(&value)).transpose()
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest)
            .map_err(|error| Error::Unusable(format!("its row cannot be read: {error}"))),
        Some((format, _)) => {
            Err(Error::Unusable(format!("its row has format {format}, which this version does not know")))
        }
        None => Err(Error::Unusable("its row is empty".to_owned())),
    }
}
