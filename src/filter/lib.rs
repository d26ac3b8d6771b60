//! What judges incoming mail: who the client is, whose mail it is, and what scanners think of it.
//!
//! A [`Filter`] is made once. A [`Session`] of it goes along with one SMTP connection and is asked at each of its steps (greeting, EHLO,
//! MAIL, RCPT, the message); what it finds ends in a [`Judgement`] of the message. What the checks found is told to the reader in
//! Authentication-Results (RFC 8601), to the domain's owner by a [`DmarcReporter`] (RFC 9990), and to the operator by metrics.
//!
//! A check that fails never loses mail: its result is `temperror`, and where a part of the filter itself fails, `filter.onError` says
//! whether the message is taken or the client has to come again.

mod auth;
pub mod clamd;
mod dnsbl;
mod edit;
mod examine;
mod fields;
mod filter;
mod greylist;
mod http;
pub mod learn;
mod limits;
mod metrics;
pub mod milter;
mod names;
mod policy;
mod reporter;
mod results;
pub mod rspamd;
mod scan;
mod servers;
mod session;
mod socket;
mod spf;
mod verdict;

use std::net::IpAddr;

use ekitei_config::Live;
use ekitei_directory::Directory;
use ekitei_dns::Resolver;
use ekitei_kv::Database;
use ekitei_kv::clock::SharedClock;
use ekitei_telemetry::Registry;

pub use dnsbl::{DnsLists, Listing, Listings};
pub use filter::Filter;
pub use greylist::{Attempt, Greylist, GreylistEntry, GreylistPage, Greyness};
pub use limits::{Ban, BanError, Event, Limits};
pub use reporter::{
    AlignedResults, DkimIdentity, DmarcOutcome, DmarcReporter, EvaluatedDisposition, OverrideReason,
    PolicyOverride, PublishedPolicy, SpfIdentity, SpfScope,
};
pub use scan::{Envelope, Login, Peer, ScanError, Scanned, Scanners, TlsSession, stricter};
pub use session::{SenderParameters, Session};
pub use verdict::{Disposition, EnvelopeChanges, Judgement, Refusal, Verdict};

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
    /// The greylist, which the administrator sees too.
    pub greylist: Greylist,
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
