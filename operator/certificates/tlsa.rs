//! TLSA records of mail hosts (RFC 6698, RFC 7672).

use std::fmt;

use crate::KeyId;

/// The content of a TLSA record.
///
/// Mail hosts publish `3 1 1`: DANE-EE, the public key, its SHA-256 (RFC 7672 §3.1). Names and dates of a certificate
/// then mean nothing to who checks it, so that a renewal with the same key needs no change in the DNS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tlsa {
    /// Certificate usage; 3 is DANE-EE.
    pub usage: u8,
    /// Selector; 1 is the SubjectPublicKeyInfo.
    pub selector: u8,
    /// Matching type; 1 is SHA-256.
    pub matching_type: u8,
    /// What is compared.
    pub data: Vec<u8>,
}

impl Tlsa {
    /// The record of a key, whether it has a certificate or not yet.
    pub fn of(key: KeyId) -> Self {
        Self { usage: 3, selector: 1, matching_type: 1, data: key.as_bytes().to_vec() }
    }

    /// The key that the record names, if it is of the kind that [`Tlsa::of`] makes.
    pub fn key(&self) -> Option<KeyId> {
        match (self.usage, self.selector, self.matching_type) {
            (3, 1, 1) => Some(KeyId::from_bytes(self.data.as_slice().try_into().ok()?)),
            _ => None,
        }
    }
}

/// As in a zone file: `3 1 1 0123…`.
impl fmt::Display for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching_type)?;
        self.data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// The owner name of the records of a port of `host`: `_25._tcp.mx.example.org` (RFC 6698 §3).
pub fn owner(host: &str, port: u16) -> String {
    format!("_{port}._tcp.{}", host.trim_end_matches('.'))
}
