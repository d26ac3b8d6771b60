//! Private keys of certificates, and the hash by which everything else knows them.

use std::fmt;
use std::str::FromStr;

use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_RSA_SHA256, PublicKeyData, RsaKeySize,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::HostName;

/// The SHA-256 of a public key (SubjectPublicKeyInfo, DER). It names a key in states and statuses, is the data of its
/// TLSA record, and tells nothing of the private half. In text 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// From the hash itself.
    pub fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// Of a SubjectPublicKeyInfo in DER.
    pub fn of_public_key(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }

    /// The hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first ten digits: enough for the name of an object beside a few others.
    pub fn short(&self) -> String {
        self.to_string()[..10].to_owned()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.short())
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.len() != 64 || !text.is_ascii() {
            return Err(KeyError::Id);
        }
        let mut hash = [0; 32];
        for (octet, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| KeyError::Id)?;
            *octet = u8::from_str_radix(digits, 16).map_err(|_| KeyError::Id)?;
        }
        Ok(Self(hash))
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

/// What kind of key to make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyType {
    /// ECDSA over P-256: small and fast, and understood by all that speak TLS 1.2.
    #[default]
    EcdsaP256,
    /// ECDSA over P-384.
    EcdsaP384,
    /// RSA of 2048 bits, for peers of long ago.
    Rsa2048,
}

/// Why something is no key, or cannot be used as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The fault of who gave it; trying again does not help.
    #[error("not a private key in PEM (PKCS #8, PKCS #1 or SEC 1): {0}")]
    Unreadable(String),
    /// The library of cryptography refuses: this machine's fault.
    #[error("a key could not be made: {0}")]
    Generate(String),
    /// A request for a certificate could not be signed.
    #[error("a certificate signing request could not be made: {0}")]
    Request(String),
    /// A text that should name a key.
    #[error("the name of a key is 64 hexadecimal digits, the SHA-256 of its public half")]
    Id,
}

/// A private key. Its debug form shows its [`KeyId`] only.
pub struct Key {
    pair: KeyPair,
    pem: Zeroizing<String>,
    id: KeyId,
}

impl Key {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError::Generate`].
    pub fn generate(kind: KeyType) -> Result<Self, KeyError> {
        let pair = match kind {
            KeyType::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            KeyType::EcdsaP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            KeyType::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        };
        let pair = pair.map_err(|error| KeyError::Generate(error.to_string()))?;
        let pem = pair.serialize_pem();
        Ok(Self::new(pair, pem))
    }

    /// Reads the first private key of a PEM text: PKCS #8, PKCS #1 (RSA) or SEC 1 (EC), not encrypted.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| KeyError::Unreadable(error.to_string()))?;
        let pair = KeyPair::try_from(&der).map_err(|error| KeyError::Unreadable(error.to_string()))?;
        Ok(Self::new(pair, pem.to_owned()))
    }

    fn new(pair: KeyPair, pem: String) -> Self {
        let id = KeyId::of_public_key(&pair.subject_public_key_info());
        Self { pair, pem: Zeroizing::new(pem), id }
    }

    /// What names this key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The key in PEM, as it was read; a new one in PKCS #8. A secret.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether the key is of this kind; any size of RSA counts as RSA.
    pub fn is(&self, kind: KeyType) -> bool {
        let algorithm = self.pair.algorithm();
        match kind {
            KeyType::EcdsaP256 => algorithm == &PKCS_ECDSA_P256_SHA256,
            KeyType::EcdsaP384 => algorithm == &PKCS_ECDSA_P384_SHA384,
            KeyType::Rsa2048 => algorithm == &PKCS_RSA_SHA256,
        }
    }

    /// A certificate signing request for `names` in DER (RFC 2986): names as subjectAltName, an empty subject.
    ///
    /// # Errors
    /// [`KeyError::Request`].
    pub fn signing_request(&self, names: &[HostName]) -> Result<Vec<u8>, KeyError> {
        let failed = |error: rcgen::Error| KeyError::Request(error.to_string());
        let names: Vec<String> = names.iter().map(|name| name.as_str().to_owned()).collect();
        let mut parameters = CertificateParams::new(names).map_err(failed)?;
        parameters.distinguished_name = DistinguishedName::new();
        Ok(parameters.serialize_request(&self.pair).map_err(failed)?.der().to_vec())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.id).finish()
    }
}
