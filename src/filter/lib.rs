//! What judges incoming mail: who the client is, whose mail it is, and what scanners think of it.
//!
//! A [`Session`] goes along with one SMTP connection and is asked at each of its steps; what it finds ends in a [`Judgement`] of the message.

mod verdict;

use std::net::IpAddr;

use ekitei_config::Live;
use ekitei_directory::Directory;
use ekitei_dns::Resolver;
use ekitei_kv::Database;
use ekitei_kv::clock::SharedClock;
use ekitei_telemetry::Registry;

pub use verdict::{Disposition, Judgement, Refusal, Verdict};

/// What the filter is made of.
#[derive(Clone)]
pub struct FilterContext {
    /// The configuration in force.
    pub live: Live,
    /// The resolver.
    pub dns: Resolver,
    /// Bans, rates, the greylist.
    pub database: Database,
    /// Whose policies apply.
    pub directory: Directory,
    /// The time.
    pub clock: SharedClock,
    /// Metrics.
    pub registry: Registry,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The address.
    pub address: IpAddr,
    /// In a trusted network, or a front end: not limited, listed or greylisted.
    pub trusted: bool,
    /// It logged in, and submits.
    pub authenticated: bool,
    /// The connection has TLS.
    pub tls: bool,
}
