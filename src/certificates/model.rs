//! Certificates as their users see them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::Error;

/// The longest name.
const MAX_NAME: usize = 253;

/// What its owner calls a certificate: most often its first host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateName(String);

impl CertificateName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CertificateName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        let begins = text.chars().next().is_some_and(|first| first.is_ascii_alphanumeric());
        if !begins || text.len() > MAX_NAME || !text.chars().all(fits) {
            return Err(Error::Invalid(format!(
                "the name of a certificate is 1 to {MAX_NAME} letters, digits and -._: of ASCII, and begins with a letter or digit"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Changes whenever a certificate is set anew: the random id of the operation that wrote it, by which a repeated transaction recognises its own work.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Revision(pub(crate) [u8; 16]);

impl Revision {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Revision {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(|id| Self(id.to_be_bytes()))
    }
}

/// A certificate to be stored.
pub struct NewCertificate {
    /// The chain in PEM, leaf first.
    pub chain: String,
    /// The private key in PEM: PKCS #8, PKCS #1 or SEC 1.
    pub key: Zeroizing<String>,
}

impl fmt::Debug for NewCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCertificate").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// A stored certificate, without its key. Times are seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// What its owner calls it.
    pub name: CertificateName,
    /// The DNS names that it is for, lower case.
    pub names: Vec<String>,
    /// From when it is valid.
    pub not_before: u64,
    /// Until when it is valid.
    pub not_after: u64,
    /// The SHA-256 of the certificate in DER.
    pub sha256: [u8; 32],
    /// The SHA-256 of its SubjectPublicKeyInfo in DER.
    pub spki_sha256: [u8; 32],
    /// When there was first one of this name.
    pub created: u64,
    /// When it was set.
    pub updated: u64,
    /// Of the last write.
    pub revision: Revision,
}
