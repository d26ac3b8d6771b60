//! Encryption of bodies: AES-256-GCM, block by block after compression, under a key of the body's own.
//!
//! The key of a body is derived (HKDF-Expand, RFC 5869 §2.3) from a data key, the body's id and a random salt, so that the number of a block can be
//! its nonce: none comes twice under one key, however many bodies a data key encrypts. Body, size, place and encoding of a block are
//! authenticated with it: it opens nowhere else.
//!
//! Where data keys come from is not known here: see [`DataKeys`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk};
use bytes::Bytes;
use ekitei_kv::{AsKvError, Transaction};
use serde::{Deserialize, Serialize};

use crate::block::Encoding;
use crate::{BodyId, DataKeyId};

/// Octets of a data key.
pub const DATA_KEY_OCTETS: usize = 32;

/// What the key of a body is derived for, so that it is no other's.
const PURPOSE: &[u8] = b"ekitei body";

/// Whose data key a body is encrypted with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyScope {
    /// The service: mail of no local domain.
    Service,
    /// A local domain, by its A-label text.
    Domain(Arc<str>),
}

impl fmt::Display for KeyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service => f.write_str("the service"),
            Self::Domain(domain) => f.write_str(domain),
        }
    }
}

/// A data key, ready to be used. Cleared from memory with its last user.
pub struct DataKey {
    id: DataKeyId,
    secret: Prk,
}

impl DataKey {
    /// The data key with this number and these random octets, which are the caller's to clear.
    pub fn new(id: DataKeyId, secret: &[u8; DATA_KEY_OCTETS]) -> Self {
        Self { id, secret: Prk::new_less_safe(HKDF_SHA256, secret) }
    }

    /// Its number.
    pub fn id(&self) -> DataKeyId {
        self.id
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DataKey").field(&self.id.get()).finish()
    }
}

/// Why a data key cannot be had, and whose fault that is.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// What unwraps data keys is away: temporary.
    #[error("the data key of {whose} cannot be had now: {reason}")]
    Unavailable {
        /// Of which domain, or its number.
        whose: String,
        /// What failed.
        reason: String,
    },
    /// There is no such data key, or none are configured: the operator's.
    #[error("there is no data key {key}: {reason}", key = .key.get())]
    Missing {
        /// Its number.
        key: DataKeyId,
        /// Why not.
        reason: &'static str,
    },
    /// It was destroyed, and with it all that it encrypted.
    #[error("the data key {key} of {scope} was destroyed", key = .key.get())]
    Destroyed {
        /// Its number.
        key: DataKeyId,
        /// Whose it was.
        scope: KeyScope,
    },
    /// It cannot be unwrapped with the master keys there are: the operator's.
    #[error("the data key of {whose} cannot be used: {reason}")]
    Unusable {
        /// Of which domain, or its number.
        whose: String,
        /// What does not fit.
        reason: String,
    },
    /// The store failed: temporary.
    #[error(transparent)]
    Store(#[from] ekitei_kv::Error),
}

impl AsKvError for KeyError {
    fn as_kv_error(&self) -> Option<&ekitei_kv::Error> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

/// What the methods of [`DataKeys`] return.
pub type KeyFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, KeyError>> + Send + 'a>>;

/// Where data keys are kept.
pub trait DataKeys: fmt::Debug + Send + Sync + 'static {
    /// Whether new bodies are encrypted now. It may change at any time.
    fn is_enabled(&self) -> bool;

    /// The key that a new body of this scope is encrypted with; it is made if there is none yet. `None`: bodies are not encrypted now.
    fn current<'a>(&'a self, scope: &'a KeyScope) -> KeyFuture<'a, Option<Arc<DataKey>>>;

    /// A key by its number.
    fn get(&self, key: DataKeyId) -> KeyFuture<'_, Arc<DataKey>>;

    /// Makes a transaction that stores a body conflict with the destruction of its key, and fail if that came first.
    fn confirm<'a>(&'a self, transaction: &'a Transaction, key: DataKeyId) -> KeyFuture<'a, ()>;
}

/// What the record of an encrypted body says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BodySeal {
    /// The data key that its own key is derived from.
    pub(crate) data_key: DataKeyId,
    /// Makes the body's key another one, should the body be encrypted again under the same id.
    pub(crate) salt: [u8; 16],
}

impl BodySeal {
    /// A new seal under this data key.
    pub(crate) fn new(data_key: DataKeyId) -> Self {
        Self { data_key, salt: rand::random() }
    }
}

/// A block cannot be sealed: the cryptographic library refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SealFailed;

/// The key of one body.
pub(crate) struct BodyKey {
    key: LessSafeKey,
    /// What all its blocks are bound to: body, size, block size.
    binding: [u8; 28],
}

impl BodyKey {
    pub(crate) fn derive(
        data_key: &DataKey,
        seal: &BodySeal,
        body: BodyId,
        size: u64,
        block_size: u32,
    ) -> Result<Self, SealFailed> {
        let info = [PURPOSE, &seal.salt, body.as_bytes()];
        let expanded = data_key.secret.expand(&info, &AES_256_GCM).map_err(|_| SealFailed)?;
        let mut binding = [0; 28];
        binding[..16].copy_from_slice(body.as_bytes());
        binding[16..24].copy_from_slice(&size.to_le_bytes());
        binding[24..].copy_from_slice(&block_size.to_le_bytes());
        Ok(Self { key: LessSafeKey::new(UnboundKey::from(expanded)), binding })
    }

    /// Encrypts a block; its tag is at the end.
    pub(crate) fn seal(
        &self,
        index: usize,
        encoding: Encoding,
        mut block: Vec<u8>,
    ) -> Result<Vec<u8>, SealFailed> {
        let additional = self.additional(index, encoding)?;
        self.key
            .seal_in_place_append_tag(nonce(index)?, Aad::from(additional), &mut block)
            .map_err(|_| SealFailed)?;
        Ok(block)
    }

    /// Decrypts a block; `None` if it is not what was sealed there.
    pub(crate) fn open(&self, index: usize, encoding: Encoding, sealed: Bytes) -> Option<Bytes> {
        let additional = self.additional(index, encoding).ok()?;
        let mut block = Vec::from(sealed);
        let length =
            self.key.open_in_place(nonce(index).ok()?, Aad::from(additional), &mut block).ok()?.len();
        block.truncate(length);
        Some(block.into())
    }

    fn additional(&self, index: usize, encoding: Encoding) -> Result<[u8; 33], SealFailed> {
        let mut additional = [0; 33];
        additional[..28].copy_from_slice(&self.binding);
        additional[28..32].copy_from_slice(&number(index)?.to_le_bytes());
        additional[32] = match encoding {
            Encoding::Identity => 0,
            Encoding::Zstd => 1,
        };
        Ok(additional)
    }
}

fn number(index: usize) -> Result<u32, SealFailed> {
    u32::try_from(index).map_err(|_| SealFailed)
}

fn nonce(index: usize) -> Result<Nonce, SealFailed> {
    let mut octets = [0; NONCE_LEN];
    octets[..4].copy_from_slice(&number(index)?.to_le_bytes());
    Ok(Nonce::assume_unique_for_key(octets))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ekitei_kv::clock::SystemClock;

    use super::*;

    fn key_of(data_key: &DataKey, seal: &BodySeal, body: BodyId, size: u64) -> BodyKey {
        BodyKey::derive(data_key, seal, body, size, 1000).unwrap()
    }

    #[test]
    fn a_block_opens_only_where_it_was_sealed() {
        let data_key = DataKey::new(DataKeyId::new(1), &[7; DATA_KEY_OCTETS]);
        let (seal, body) = (BodySeal::new(data_key.id()), BodyId::generate(&SystemClock));
        let key = key_of(&data_key, &seal, body, 2000);
        let sealed = Bytes::from(key.seal(1, Encoding::Zstd, b"text".to_vec()).unwrap());
        assert_eq!(sealed.len(), 4 + 16);
        let opened = |key: &BodyKey, index, encoding| key.open(index, encoding, sealed.clone());
        assert_eq!(opened(&key, 1, Encoding::Zstd).unwrap(), "text");
        assert_eq!(opened(&key, 0, Encoding::Zstd), None, "in another place");
        assert_eq!(opened(&key, 1, Encoding::Identity), None, "said to be encoded otherwise");
        let other = BodyId::generate(&SystemClock);
        assert_eq!(
            opened(&key_of(&data_key, &seal, other, 2000), 1, Encoding::Zstd),
            None,
            "in another body"
        );
        assert_eq!(
            opened(&key_of(&data_key, &seal, body, 1001), 1, Encoding::Zstd),
            None,
            "of a body cut short"
        );
        let again = BodySeal::new(data_key.id());
        assert_eq!(opened(&key_of(&data_key, &again, body, 2000), 1, Encoding::Zstd), None, "sealed again");
        let another = DataKey::new(DataKeyId::new(1), &[8; DATA_KEY_OCTETS]);
        assert_eq!(
            opened(&key_of(&another, &seal, body, 2000), 1, Encoding::Zstd),
            None,
            "under another key"
        );
    }

    #[test]
    fn a_data_key_does_not_show_itself() {
        let key = DataKey::new(DataKeyId::new(5), &[0x61; DATA_KEY_OCTETS]);
        assert_eq!(format!("{key:?}"), "DataKey(5)");
    }
}
