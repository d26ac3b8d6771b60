//! When a certificate is to be renewed, and when its key.
//!
//! The authority may suggest a window (renewal information, RFC 9773); a time in it is chosen by the fingerprint of the
//! certificate, so that it is spread over certificates and always the same for one. Without a window it is two thirds
//! of the lifetime.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Certificate;

/// Between two questions for renewal information never less than this (RFC 9773 §4.3.2).
const SOONEST: Duration = Duration::from_secs(60);
/// And never more.
const LATEST: Duration = Duration::from_secs(86_400);
/// When to ask again where the authority does not say, or could not be asked.
const ASK_AGAIN: Duration = Duration::from_secs(6 * 3600);

/// A window in which the authority would like a certificate to be renewed (RFC 9773 §4.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Its begin.
    pub start: Timestamp,
    /// Its end.
    pub end: Timestamp,
    /// A page that tells why, if the authority has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}

/// What the authority answered when it was asked for renewal information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The window.
    pub window: Window,
    /// After what time it wants to be asked again (`Retry-After`).
    pub ask_after: Duration,
}

/// When one certificate is renewed; kept beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The fingerprint of the certificate that the plan is for. Another certificate needs another plan.
    pub certificate: String,
    /// When it is renewed.
    pub renew_at: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// The window that the authority suggested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// When to ask the authority again: it moves a window forward when it is about to revoke.
    pub ask_at: Timestamp,
}

/// How a certificate stands at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// Nothing to do.
    Fresh,
    /// To be renewed.
    Due,
    /// Half of the time between the renewal and the end is over.
    Urgent,
    /// No longer valid.
    Expired,
}

impl Plan {
    /// The plan for a certificate, at `now`. Without `advice` (no such service, or no answer yet) two thirds of the
    /// lifetime; what an earlier answer said is kept by calling [`Plan::update`] on the plan of before.
    pub fn new(certificate: &Certificate, advice: Option<Advice>, now: Timestamp) -> Self {
        let (start, end) = (certificate.not_before(), certificate.not_after());
        let mut plan = Self {
            certificate: certificate.fingerprint(),
            renew_at: between(start, end, u64::MAX / 3 * 2),
            not_after: end,
            window: None,
            ask_at: later(now, ASK_AGAIN),
        };
        plan.update(certificate, advice, now);
        plan
    }

    /// Takes a new answer of the authority in; `None` when it could not be asked: the plan stays, and it is asked
    /// again later.
    pub fn update(&mut self, certificate: &Certificate, advice: Option<Advice>, now: Timestamp) {
        let Some(Advice { window, ask_after }) = advice else {
            self.ask_at = later(now, ASK_AGAIN);
            return;
        };
        self.ask_at = later(now, ask_after.clamp(SOONEST, LATEST));
        // RFC 9773 §4.2: a window that ends before it starts is no window.
        if window.end <= window.start {
            return;
        }
        let chosen = between(window.start, window.end, chance(certificate));
        // An authority that is wrong about its own certificate shall not let it end.
        let last = between(certificate.not_before(), certificate.not_after(), u64::MAX / 20 * 19);
        self.renew_at = chosen.min(last);
        self.window = Some(window);
    }

    /// Whether the authority should be asked (again) for the window.
    pub fn is_to_be_asked(&self, now: Timestamp) -> bool {
        now >= self.ask_at
    }

    /// How the certificate stands.
    pub fn freshness(&self, now: Timestamp) -> Freshness {
        if now > self.not_after {
            Freshness::Expired
        } else if now < self.renew_at {
            Freshness::Fresh
        } else if now < between(self.renew_at, self.not_after, u64::MAX / 2) {
            Freshness::Due
        } else {
            Freshness::Urgent
        }
    }

    /// Whether the key should be followed by another at `now`: the certificate is to be renewed within `lead` (as long
    /// as publishing the next key takes, [`crate::rollover::Timing::lead`]), and by then the key, in use since
    /// `key_since`, is older than `rotate_after`. `None` keeps a key for ever, zero gives each certificate its own.
    pub fn key_is_due(
        &self,
        key_since: Timestamp,
        rotate_after: Option<Duration>,
        lead: Duration,
        now: Timestamp,
    ) -> bool {
        rotate_after
            .is_some_and(|age| later(now, lead) >= self.renew_at && later(key_since, age) <= later(now, lead))
    }
}

/// A number that is spread evenly over certificates, and always the same for one.
fn chance(certificate: &Certificate) -> u64 {
    let hash = Sha256::digest([b"renewal".as_slice(), certificate.fingerprint_octets()].concat());
    hash.iter().take(8).fold(0, |number, octet| (number << 8) | u64::from(*octet))
}

/// The moment that is `part` of 2^64 of the way from `start` to `end`, to the second.
fn between(start: Timestamp, end: Timestamp, part: u64) -> Timestamp {
    let seconds = u64::try_from(end.as_second().saturating_sub(start.as_second())).unwrap_or(0);
    let passed = (u128::from(seconds) * u128::from(part)) >> 64;
    later(start, Duration::from_secs(u64::try_from(passed).unwrap_or(seconds)))
}

/// `time` and `duration` more, or the end of time.
pub(crate) fn later(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
