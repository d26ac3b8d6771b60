//! The keys of a repository, and what is encrypted under them.
//!
//! A repository has one random key, stored in it wrapped under the operator's key, which is kept elsewhere. From it come the key that chunks
//! are named with, and one key for each pack and each small object, so that a nonce is a plain count and no key is used beyond what
//! AES-256-GCM bears. Everything is bound to what it is and where it belongs.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Octets of a key.
pub(crate) const KEY_OCTETS: usize = 32;
/// Octets of the tag that encryption adds.
pub(crate) const TAG_OCTETS: usize = 16;

/// A key of the operator: 32 octets.
#[derive(Clone)]
pub struct OperatorKey([u8; KEY_OCTETS]);

impl OperatorKey {
    /// The key that `text` has in base64; `whose` is the configuration key to name in the error.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn parse(whose: &str, text: &str) -> Result<Self> {
        let octets = BASE64.decode(text.trim()).unwrap_or_default();
        octets.try_into().map(Self).map_err(|_| {
            Error::Key(format!(
                "{whose} must be {KEY_OCTETS} octets in base64, such as `openssl rand -base64 {KEY_OCTETS}` gives"
            ))
        })
    }

    /// Which key it is, without telling anything about it.
    fn name(&self) -> [u8; 8] {
        let derived = derive(&self.0, "ekitei backup key name", b"");
        derived.first_chunk().copied().unwrap_or_default()
    }
}

/// The keys that may open a repository; the first is the one in force.
#[derive(Clone, Default)]
pub struct OperatorKeys(pub Vec<OperatorKey>);

/// The repository's key, wrapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WrappedKey {
    under: [u8; 8],
    salt: [u8; 16],
    text: Vec<u8>,
}

/// Names a chunk: the first half of a keyed BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkId(pub(crate) [u8; 16]);

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The keys of an open repository.
pub(crate) struct Keys {
    secret: [u8; KEY_OCTETS],
    names: [u8; KEY_OCTETS],
}

impl Keys {
    /// Of a new repository.
    pub(crate) fn generate() -> Self {
        Self::new(rand::random())
    }

    fn new(secret: [u8; KEY_OCTETS]) -> Self {
        Self { names: derive(&secret, "ekitei backup names", b""), secret }
    }

    /// Wraps the key under the operator's key in force.
    ///
    /// # Errors
    /// [`Error::Key`] when there is none.
    pub(crate) fn wrap(&self, operator: &OperatorKeys) -> Result<WrappedKey> {
        let Some(key) = operator.0.first() else { return Err(Error::no_key()) };
        let salt: [u8; 16] = rand::random();
        let wrapping = derive(&key.0, "ekitei backup wrapping", &salt);
        Ok(WrappedKey { under: key.name(), salt, text: seal(&wrapping, 0, b"key", self.secret.to_vec())? })
    }

    /// Opens a wrapped key with one of the operator's; tells whether that is the one in force.
    ///
    /// # Errors
    /// [`Error::Key`], [`Error::WrongKey`].
    pub(crate) fn unwrap(wrapped: &WrappedKey, operator: &OperatorKeys) -> Result<(Self, bool)> {
        if operator.0.is_empty() {
            return Err(Error::no_key());
        }
        let found = operator.0.iter().position(|key| key.name() == wrapped.under).ok_or(Error::WrongKey)?;
        let wrapping = derive(&operator.0[found].0, "ekitei backup wrapping", &wrapped.salt);
        let secret = open(&wrapping, 0, b"key", wrapped.text.clone()).ok_or(Error::WrongKey)?;
        let secret = secret.try_into().map_err(|_| Error::WrongKey)?;
        Ok((Self::new(secret), found == 0))
    }

    /// Names a piece of a body: a body never changes, so its id stands for what is in it.
    pub(crate) fn body_chunk(&self, body: &[u8; 16], number: u32) -> ChunkId {
        self.chunk(&[&b"body"[..], body, &number.to_le_bytes()])
    }

    /// Names a piece of a document by what is in it.
    pub(crate) fn document_chunk(&self, octets: &[u8]) -> ChunkId {
        self.chunk(&[&b"text"[..], octets])
    }

    fn chunk(&self, parts: &[&[u8]]) -> ChunkId {
        let mut hasher = blake3::Hasher::new_keyed(&self.names);
        parts.iter().for_each(|part| _ = hasher.update(part));
        let mut half = [0; 16];
        half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        ChunkId(half)
    }

    /// The key of one pack.
    pub(crate) fn of_pack(&self, pack: &[u8; 16]) -> [u8; KEY_OCTETS] {
        derive(&self.secret, "ekitei backup pack", pack)
    }

    /// Encrypts a small object: a random salt, then the text; `kind` and `name` must be the same to decrypt.
    pub(crate) fn seal_object(&self, kind: &str, name: &str, plain: Vec<u8>) -> Result<Vec<u8>> {
        let salt: [u8; 16] = rand::random();
        let key = derive(&self.secret, kind, &salt);
        Ok([&salt[..], &seal(&key, 0, name.as_bytes(), plain)?].concat())
    }

    /// Decrypts a small object; `None` if it was not written so.
    pub(crate) fn open_object(&self, kind: &str, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (salt, text) = sealed.split_first_chunk::<16>()?;
        open(&derive(&self.secret, kind, salt), 0, name.as_bytes(), text.to_vec())
    }
}

/// One block of HKDF-Expand (RFC 5869 §2.3) over a secret that is random already.
fn derive(secret: &[u8; KEY_OCTETS], purpose: &str, context: &[u8]) -> [u8; KEY_OCTETS] {
    let mut hmac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    hmac.update(purpose.as_bytes());
    hmac.update(&[0]);
    hmac.update(context);
    hmac.update(&[1]);
    let mut key = [0; KEY_OCTETS];
    key.copy_from_slice(hmac.sign().as_ref());
    key
}

fn nonce(number: u32) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn cipher(key: &[u8; KEY_OCTETS]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new)
}

/// Encrypts; `number` must differ for each text under one key.
pub(crate) fn seal(
    key: &[u8; KEY_OCTETS],
    number: u32,
    bound_to: &[u8],
    mut text: Vec<u8>,
) -> Result<Vec<u8>> {
    let failed = || Error::Key("the text cannot be encrypted".to_owned());
    let cipher = cipher(key).ok_or_else(failed)?;
    cipher.seal_in_place_append_tag(nonce(number), Aad::from(bound_to), &mut text).map_err(|_| failed())?;
    Ok(text)
}

/// Decrypts; `None` if anything of it is not as it was written.
pub(crate) fn open(
    key: &[u8; KEY_OCTETS],
    number: u32,
    bound_to: &[u8],
    mut text: Vec<u8>,
) -> Option<Vec<u8>> {
    let length = cipher(key)?.open_in_place(nonce(number), Aad::from(bound_to), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn keys(octets: &[u8]) -> OperatorKeys {
        OperatorKeys(octets.iter().map(|&octet| OperatorKey([octet; KEY_OCTETS])).collect())
    }

    #[test]
    fn a_repository_opens_with_its_key_or_one_that_was_in_force_and_no_other() {
        let repository = Keys::generate();
        let wrapped = repository.wrap(&keys(&[1])).unwrap();
        assert!(Keys::unwrap(&wrapped, &keys(&[1])).unwrap().1);
        let (opened, current) = Keys::unwrap(&wrapped, &keys(&[2, 1])).unwrap();
        assert!(!current && opened.secret == repository.secret);
        assert!(matches!(Keys::unwrap(&wrapped, &keys(&[2])), Err(Error::WrongKey)));
        assert!(matches!(Keys::unwrap(&wrapped, &keys(&[])), Err(Error::Key(_))));
    }

    #[test]
    fn an_object_opens_as_what_it_is_under_its_name_and_unchanged() {
        let keys = Keys::generate();
        let sealed = keys.seal_object("snapshot", "snapshots/1", b"text".to_vec()).unwrap();
        assert_eq!(keys.open_object("snapshot", "snapshots/1", &sealed).unwrap(), b"text");
        assert_eq!(keys.open_object("index", "snapshots/1", &sealed), None);
        assert_eq!(keys.open_object("snapshot", "snapshots/2", &sealed), None);
        for place in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[place] ^= 1;
            assert_eq!(keys.open_object("snapshot", "snapshots/1", &damaged), None);
        }
    }
}
