//! Looking names up: one resolver for the whole service, with a cache, bounds on every answer, and DNSSEC (RFC 4035) where it is asked for.
//!
//! [`Resolver`] answers in the terms of a mail service; [`Resolver::authenticator`] is the same resolver for `mail-auth`.

use std::net::IpAddr;
use std::sync::Arc;

/// The result of a lookup.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Records, and how far they can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The records.
    pub value: T,
    /// Whether DNSSEC vouches for them.
    pub security: Security,
}

/// What DNSSEC says of an answer (RFC 4035 §4.3). A bogus answer is an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Signed, from a trust anchor down.
    Secure,
    /// The zone is not signed, or nobody validated.
    Insecure,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// NXDOMAIN: there is no such name.
    #[error("there is no such name")]
    NoSuchName,
    /// The name has no records of this type.
    #[error("the name has no such records")]
    NoRecords,
    /// DNSSEC validation failed: try again later (RFC 7672 §2.1.1), and never use it.
    #[error("the answer is not signed as it must be")]
    Bogus,
    /// No answer, or a failure of the server: try again later.
    #[error("the name cannot be looked up now: {0}")]
    Temporary(String),
    /// This is no name.
    #[error("{0:?} is not a domain name")]
    BadName(String),
}

impl Error {
    /// Whether a later attempt may find something.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Bogus | Self::Temporary(_))
    }

    /// Whether it is certain that there is nothing.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NoSuchName | Self::NoRecords)
    }
}

/// A mail exchanger (RFC 5321 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mx {
    /// Lower is preferred.
    pub preference: u16,
    /// The host in lower case as A-labels, without the last dot; empty for the null MX (RFC 7505).
    pub exchange: String,
}

/// A TLSA record (RFC 6698 §2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlsa {
    /// Certificate usage.
    pub usage: u8,
    /// Selector.
    pub selector: u8,
    /// Matching type.
    pub matching: u8,
    /// Certificate association data.
    pub data: Vec<u8>,
}

/// The resolver: cheap to clone, shared by all parts of a process.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<mail_auth::MessageAuthenticator>,
}

impl Resolver {
    /// A resolver as configured.
    ///
    /// # Errors
    /// The trust anchors or the system's configuration cannot be read.
    pub fn new(settings: &ekitei_config::Dns) -> std::io::Result<Self> {
        let _ = settings;
        unimplemented!()
    }

    /// The mail exchangers of a domain, in the order of the answer.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn mx(&self, domain: &str) -> Result<Answer<Vec<Mx>>> {
        let _ = domain;
        unimplemented!()
    }

    /// The addresses of a host: AAAA, then A. What one family lacks the other may have; one that fails counts only if the other has none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn addresses(&self, host: &str) -> Result<Answer<Vec<IpAddr>>> {
        let _ = host;
        unimplemented!()
    }

    /// TXT records, each joined from its strings.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn txt(&self, name: &str) -> Result<Answer<Vec<String>>> {
        let _ = name;
        unimplemented!()
    }

    /// TLSA records.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn tlsa(&self, name: &str) -> Result<Answer<Vec<Tlsa>>> {
        let _ = name;
        unimplemented!()
    }

    /// The names of an address.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ptr(&self, address: IpAddr) -> Result<Answer<Vec<String>>> {
        let _ = address;
        unimplemented!()
    }

    /// The same resolver for `mail-auth`.
    pub fn authenticator(&self) -> &mail_auth::MessageAuthenticator {
        &self.inner
    }
}
