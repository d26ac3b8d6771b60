//! Sealing: small secrets, encrypted to be stored.
//!
//! The first key encrypts, all of them decrypt, and what is sealed names the one that it needs, so that they can be replaced one after the other.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::secret::MasterSecret;

/// Names a key without telling anything about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealingKeyId([u8; 8]);

impl fmt::Display for SealingKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// An encrypted text (AES-256-GCM, its tag at the end).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sealed {
    under: SealingKeyId,
    nonce: [u8; 12],
    text: Vec<u8>,
}

impl Sealed {
    /// Which key it needs.
    pub fn under(&self) -> SealingKeyId {
        self.under
    }
}

/// Why something cannot be sealed or opened: the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There are no keys.
    #[error("there is no key to store it under")]
    NoKey,
    /// It needs a key that is not there.
    #[error("it is stored under the key {0}, which is not there")]
    OtherKey(SealingKeyId),
    /// It was changed, or put in another's place.
    #[error("what is stored of it was changed since, or belongs to another")]
    Changed,
    /// The cryptographic library refuses it.
    #[error("the cryptographic library refuses it")]
    Library,
}

impl From<aws_lc_rs::error::Unspecified> for SealError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Library
    }
}

/// Keys for one purpose.
pub struct SealingKeys {
    keys: Vec<(SealingKeyId, RandomizedNonceKey)>,
}

impl SealingKeys {
    /// The keys that are derived from these secrets for a purpose; the first one seals.
    ///
    /// # Errors
    /// [`SealError::Library`].
    pub fn new(secrets: &[MasterSecret], purpose: &str) -> Result<Self, SealError> {
        let key = |secret: &MasterSecret| {
            let id = secret.derive("ekitei key id");
            let cipher = RandomizedNonceKey::new(&AES_256_GCM, &*secret.derive(purpose))?;
            Ok((SealingKeyId(id.first_chunk().copied().unwrap_or_default()), cipher))
        };
        Ok(Self { keys: secrets.iter().map(key).collect::<Result<_, SealError>>()? })
    }

    /// The key that seals.
    pub fn current(&self) -> Option<SealingKeyId> {
        self.keys.first().map(|(id, _)| *id)
    }

    /// Encrypts under the key in force; `bound_to` must be the same to decrypt.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    pub fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Sealed, SealError> {
        let (id, cipher) = self.keys.first().ok_or(SealError::NoKey)?;
        let mut text = plain.to_vec();
        let nonce = cipher.seal_in_place_append_tag(Aad::from(bound_to), &mut text)?;
        Ok(Sealed { under: *id, nonce: *nonce.as_ref(), text })
    }

    /// Decrypts.
    ///
    /// # Errors
    /// [`SealError::OtherKey`], [`SealError::Changed`].
    pub fn open(&self, sealed: &Sealed, bound_to: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let key = self.keys.iter().find(|(id, _)| *id == sealed.under);
        let (_, cipher) = key.ok_or(SealError::OtherKey(sealed.under))?;
        let mut text = Zeroizing::new(sealed.text.clone());
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let plain = cipher.open_in_place(nonce, Aad::from(bound_to), &mut text);
        let length = plain.map_err(|_| SealError::Changed)?.len();
        text.truncate(length);
        Ok(text)
    }

    /// Whether it should be sealed anew, under the key in force.
    pub fn is_outdated(&self, sealed: &Sealed) -> bool {
        self.current().is_some_and(|current| current != sealed.under)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;

    use super::*;

    fn keys(octets: &[u8]) -> SealingKeys {
        let secret = |&octet: &u8| MasterSecret::parse("x", &BASE64.encode([octet; 32])).unwrap();
        SealingKeys::new(&octets.iter().map(secret).collect::<Vec<_>>(), "test").unwrap()
    }

    #[test]
    fn what_is_sealed_opens_only_with_its_key_and_its_binding() {
        let sealed = keys(&[1]).seal(b"secret", b"a").unwrap();
        assert_eq!(*keys(&[1]).open(&sealed, b"a").unwrap(), b"secret");
        assert_eq!(keys(&[1]).open(&sealed, b"b").unwrap_err(), SealError::Changed);
        assert_eq!(keys(&[2]).open(&sealed, b"a").unwrap_err(), SealError::OtherKey(sealed.under()));
        assert_eq!(keys(&[]).seal(b"secret", b"a").unwrap_err(), SealError::NoKey);
    }

    #[test]
    fn keys_are_replaced_one_after_the_other() {
        let sealed = keys(&[1]).seal(b"secret", b"a").unwrap();
        let rotated = keys(&[2, 1]);
        assert_eq!(*rotated.open(&sealed, b"a").unwrap(), b"secret");
        assert!(rotated.is_outdated(&sealed));
        assert!(!rotated.is_outdated(&rotated.seal(b"secret", b"a").unwrap()));
    }

    #[test]
    fn what_an_earlier_release_sealed_opens() {
        // Of a signing key: its encryption key's id, the nonce, length and text, made by another program.
        let stored = [
            0x62, 0xbc, 0x2e, 0x0c, 0x1a, 0xf7, 0x5c, 0x03, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x16, 0x87,
            0xba, 0x17, 0x10, 0xe2, 0xb6, 0x64, 0x33, 0xe8, 0xa8, 0x7c, 0x8b, 0xf3, 0xf3, 0x7c, 0xe1, 0x49,
            0x1a, 0x4a, 0xed, 0xfb, 0x96,
        ];
        let sealed: Sealed = postcard::from_bytes(&stored).unwrap();
        let secret = MasterSecret::parse("x", &BASE64.encode([1; 32])).unwrap();
        let keys = SealingKeys::new(&[secret], "ekitei signing keys").unwrap();
        assert_eq!(*keys.open(&sealed, b"a.test/s1").unwrap(), b"secret");
    }
}
