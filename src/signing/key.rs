//! Key pairs: made, read, and used.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a key signs with; both over SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSA with 2048 bits (RFC 6376 §3.3.1, RFC 8301).
    Rsa,
    /// Ed25519 (RFC 8463).
    Ed25519,
}

impl Algorithm {
    /// The value of `a=`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Rsa => "rsa-sha256",
            Self::Ed25519 => "ed25519-sha256",
        }
    }

    /// The value of `k=` in DNS, which is also its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

impl From<ekitei_config::DkimAlgorithm> for Algorithm {
    fn from(configured: ekitei_config::DkimAlgorithm) -> Self {
        match configured {
            ekitei_config::DkimAlgorithm::Rsa => Self::Rsa,
            ekitei_config::DkimAlgorithm::Ed25519 => Self::Ed25519,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "rsa" => Ok(Self::Rsa),
            "ed25519" => Ok(Self::Ed25519),
            other => Err(Error::Invalid(format!("{other:?} is no algorithm of keys: rsa or ed25519"))),
        }
    }
}

/// A key pair that was just made.
pub(crate) struct NewPair {
    /// PKCS#8 (RFC 5958).
    pub(crate) private: Vec<u8>,
    /// What `p=` has in DNS: a SubjectPublicKeyInfo for RSA, the 32 octets for Ed25519.
    pub(crate) public: Vec<u8>,
}

/// Makes a key pair. For RSA this takes a good part of a second: not for an async thread.
pub(crate) fn generate(algorithm: Algorithm) -> Result<NewPair> {
    match algorithm {
        Algorithm::Rsa => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
            let private: Pkcs8V1Der = pair.as_der()?;
            let public: PublicKeyX509Der = pair.public_key().as_der()?;
            Ok(NewPair { private: private.as_ref().to_vec(), public: public.as_ref().to_vec() })
        }
        Algorithm::Ed25519 => {
            let pair = Ed25519KeyPair::generate()?;
            let private = pair.to_pkcs8()?;
            Ok(NewPair { private: private.as_ref().to_vec(), public: pair.public_key().as_ref().to_vec() })
        }
    }
}

/// A key that signs.
pub(crate) struct SigningKey {
    pub(crate) selector: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Reads a key of [`NewPair::private`].
    pub(crate) fn parse(selector: &str, algorithm: Algorithm, private: &[u8]) -> Result<Self> {
        let rejected = |error: aws_lc_rs::error::KeyRejected| Error::Key(error.to_string());
        let pair = match algorithm {
            Algorithm::Rsa => Pair::Rsa(RsaKeyPair::from_pkcs8(private).map_err(rejected)?),
            Algorithm::Ed25519 => Pair::Ed25519(Ed25519KeyPair::from_pkcs8(private).map_err(rejected)?),
        };
        Ok(Self { selector: selector.to_owned(), pair })
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Rsa(_) => Algorithm::Rsa,
            Pair::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// Signs canonical text.
    pub(crate) fn sign(&self, text: &[u8]) -> Result<Vec<u8>> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature)?;
                Ok(signature)
            }
            // RFC 8463 §3: what is signed is the SHA-256 of the text.
            Pair::Ed25519(pair) => {
                Ok(pair.sign(digest::digest(&digest::SHA256, text).as_ref()).as_ref().to_vec())
            }
        }
    }
}
