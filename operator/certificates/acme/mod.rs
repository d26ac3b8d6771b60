//! ACME (RFC 8555): accounts, and orders that are proven by DNS-01.
//!
//! ```text
//! Account::create ──► Credentials (kept by the caller) ──► Account::restore
//! Account::issue(order, key, challenges):
//!     newOrder ─► for each name a TXT record: Challenges::present
//!              ─► Challenges::wait_until_visible ─► "ready" ─► validation by the authority
//!              ─► request signed by the given key ─► certificate, checked ─► Challenges::clean_up, always
//! Account::advice(certificate) ─► the window of RFC 9773
//! ```
//!
//! An order lives within one call. What the call leaves behind when its process dies is at most a TXT record (which is
//! the caller's, and owned as its other records are) and an order that the authority forgets; the next call begins
//! anew, and authorities let a recent validation count again.

mod account;
mod challenges;
mod error;
mod http;
mod order;

pub use account::{Account, AccountRequest, Credentials, ExternalAccount};
pub use challenges::{ChallengeError, ChallengeFuture, Challenges, TxtRecord, follow};
pub use error::{AcmeError, Fault, Problem, Retry};
pub use order::OrderRequest;

use std::time::Duration;

/// An ACME server, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct Server {
    /// The URL of its directory (RFC 8555 §7.1.1); `https` only.
    pub directory: String,
    /// Certificates in PEM of authorities that are trusted for the connection, beside those of the system.
    pub authorities: Option<String>,
    /// The limits of time.
    pub patience: Patience,
}

impl Server {
    /// A server whose certificate the system trusts.
    pub fn new(directory: impl Into<String>) -> Self {
        Self { directory: directory.into(), authorities: None, patience: Patience::default() }
    }

    /// Trusts these authorities, too.
    #[must_use]
    pub fn with_authorities(mut self, pem: impl Into<String>) -> Self {
        self.authorities = Some(pem.into());
        self
    }
}

/// How long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// One request, with its answer.
    pub request: Duration,
    /// Until all name servers show the TXT records of the challenges.
    pub visible: Duration,
    /// Until the authority has looked at them.
    pub validation: Duration,
    /// Until it has made the certificate.
    pub issuance: Duration,
}

impl Default for Patience {
    /// 30 seconds, and five minutes for each of the others.
    fn default() -> Self {
        let minutes = Duration::from_secs(300);
        Self { request: Duration::from_secs(30), visible: minutes, validation: minutes, issuance: minutes }
    }
}
