//! SPF (RFC 7208): whether a host may use a domain in HELO or MAIL.
//!
//! Everything that a record can make us do is bounded: ten terms that look something up, a few lookups that find nothing, ten hosts of an
//! MX or PTR (§4.6.4); so a record that includes itself ends as `permerror`. The caller bounds the time.

mod evaluate;
mod macros;
mod record;
#[cfg(test)]
mod suite;

use std::net::IpAddr;

pub(crate) use evaluate::check_host;

/// The results of §2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpfResult {
    None,
    Neutral,
    Pass,
    Fail,
    SoftFail,
    TempError,
    PermError,
}

impl SpfResult {
    /// The word in Authentication-Results (RFC 8601 §2.7.2).
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// What is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    pub(crate) client: IpAddr,
    /// The domain of the identity, as A-labels.
    pub(crate) domain: &'a str,
    /// `local-part@domain`; for HELO, `postmaster@` its name (§2.4).
    pub(crate) sender: &'a str,
    pub(crate) helo: &'a str,
    /// Who checks.
    pub(crate) receiver: &'a str,
    /// Seconds since the epoch.
    pub(crate) now: u64,
    /// The most lookups that may find nothing (§4.6.4).
    pub(crate) max_void_lookups: u32,
}

/// The result with what explains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) result: SpfResult,
    /// What the domain says to those it did not permit: printable ASCII.
    pub(crate) explanation: Option<String>,
}
