//! Received reports as their readers see them.

use std::fmt;

use ekitei_kv::clock::Clock;
use serde::{Deserialize, Serialize};

/// Names a received report: 48 bits of milliseconds since the epoch, then 80 random bits, so that reports lie in the order of their arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReportId([u8; 16]);

impl ReportId {
    pub(crate) fn generate(clock: &dyn Clock) -> Self {
        let millis = u64::try_from(clock.now().as_millis()).unwrap_or(u64::MAX);
        let mut bytes: [u8; 16] = rand::random();
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        Self(bytes)
    }

    /// The first id of a moment (milliseconds since the epoch).
    pub(crate) fn first_of(millis: u64) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        Self(bytes)
    }

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id that [`fmt::Display`] printed as `text`: 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let hexadecimal = text.len() == 32 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| hexadecimal)?;
        Some(Self(number.to_be_bytes()))
    }

    /// Who refers to the body of the message until it is read. No account and no message of the queue has such a number: the highest bit is clear, the next one is set.
    pub(crate) fn body_owner(self) -> u64 {
        let mut random = [0; 8];
        random.copy_from_slice(&self.0[8..]);
        (u64::from_be_bytes(random) & (u64::MAX >> 2)) | 1 << 62
    }
}

impl fmt::Display for ReportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What kind of report it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A DMARC aggregate report (RFC 9990).
    Dmarc,
    /// A TLS report (RFC 8460).
    Tls,
    /// A complaint, or the report of one failure (RFC 5965, RFC 6591).
    Feedback,
    /// It could not be read; [`ReceivedRow::problem`] says why.
    Unreadable,
}

impl Kind {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dmarc => "dmarc",
            Self::Tls => "tls",
            Self::Feedback => "feedback",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A received report without its records. Texts come from whoever sent it; they are bounded, and have no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedRow {
    /// What it is.
    pub kind: Kind,
    /// When it came, in seconds since the epoch.
    pub received: u64,
    /// The address that it was sent to.
    pub recipient: String,
    /// Who reports.
    pub organization: String,
    /// How they call it.
    pub report_id: String,
    /// The domain that it is about.
    pub domain: String,
    /// The time that it is about, in seconds since the epoch.
    pub begin: u64,
    /// The end of that time.
    pub end: u64,
    /// Messages (DMARC), sessions (TLS), incidents (feedback).
    pub total: u64,
    /// Of these: that passed (DMARC), that succeeded (TLS).
    pub good: u64,
    /// Of these: that were quarantined.
    pub quarantined: u64,
    /// Of these: that were rejected.
    pub rejected: u64,
    /// Records that it has.
    pub records: u64,
    /// Records that are kept.
    pub kept: u64,
    /// Why it could not be read.
    pub problem: Option<String>,
}

/// One record of a report; which members it has depends on the kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedRecord {
    /// Where mail came from.
    pub source: Option<String>,
    /// How often.
    pub count: u64,
    /// The domain of From (DMARC), the MX host (TLS), the recipient (feedback).
    pub subject: Option<String>,
    /// What was done (DMARC), the kind of success or failure (TLS), the type of feedback.
    pub result: String,
    /// Whether DKIM passed, aligned: `pass` or `fail`.
    pub dkim: Option<String>,
    /// Whether SPF passed, aligned: `pass` or `fail`.
    pub spf: Option<String>,
    /// The rest, for people.
    pub detail: String,
}

/// A received report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its name here.
    pub id: ReportId,
    /// What it says in all.
    pub head: ReceivedRow,
}

/// What reports said about one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The domain.
    pub domain: String,
    /// What kind of reports.
    pub kind: Kind,
    /// How many.
    pub reports: u64,
    /// See [`ReceivedRow::total`].
    pub total: u64,
    /// See [`ReceivedRow::good`].
    pub good: u64,
    /// See [`ReceivedRow::quarantined`].
    pub quarantined: u64,
    /// See [`ReceivedRow::rejected`].
    pub rejected: u64,
}
