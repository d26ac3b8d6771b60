//! Looking names up: one resolver for the whole service, with a cache, bounds on every answer, and DNSSEC (RFC 4035) where it is asked for.
//!
//! [`Resolver`] answers in the terms of a mail service; [`Resolver::authenticator`] is the same resolver for `mail-auth`.
//! Tests ask a server of their own: [`testing`], behind the feature of that name.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod failure;
pub mod lists;
mod metrics;
mod name;
mod resolver;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod validation;

use std::net::IpAddr;

pub use name::normalize;
pub use resolver::Resolver;

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

/// A host and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The name that was asked for, after CNAME: lower case, A-labels, without the last dot.
    pub canonical: String,
    /// Its addresses, IPv6 first.
    pub addresses: Vec<IpAddr>,
    /// Whether DNSSEC vouches for what the name itself has: its addresses, or the CNAME record, wherever that leads.
    pub name_security: Security,
}

/// A CAA record (RFC 8659 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caa {
    /// Who does not understand the tag must not issue.
    pub critical: bool,
    /// `issue`, `issuewild`, `iodef`, ...
    pub tag: String,
    /// The value; for `issue` the authority, perhaps with parameters.
    pub value: String,
}
