//! The records that a mail domain and its hosts should have: functions of plain descriptions.

mod domain;
mod host;
mod policy;
mod services;
mod spf;
#[cfg(test)]
mod tests;

pub use domain::{Client, DkimKey, Exchanger, MailDomain, Web};
pub use host::{MailHost, ReverseName, Tlsa, TlsaValue, reverse_names};
pub use policy::{Alignment, Caa, Challenge, Disposition, Dmarc, report_destinations};
pub use services::{Service, ServiceKind};
pub use spf::{AllOthers, Network, Spf};

use crate::family::Family;
use crate::name::{Name, NotAName};
use crate::record::{RecordSet, Value};

/// A record set that there should be, or the part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The record set; of a family other than [`Family::Whole`] only our values.
    pub set: RecordSet,
    /// Which part of the record set this is.
    pub family: Family,
    /// What it is for.
    pub purpose: Purpose,
}

/// What a record is for, so that a condition can be made of the records it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// MX of the domain.
    Exchange,
    /// SPF of the domain or of a host.
    Spf,
    /// A DKIM key.
    Dkim,
    /// DMARC policy.
    Dmarc,
    /// That a domain wants DMARC reports about another (RFC 9990 §4).
    DmarcReports,
    /// MTA-STS: the policy's id, and the host that has it.
    MtaSts,
    /// Where TLS reports go.
    TlsReports,
    /// A host's addresses.
    Address,
    /// Where clients find the services.
    Services,
    /// Where clients find their settings.
    Autoconfig,
    /// Who may issue certificates.
    Caa,
    /// Keys of a host's certificate.
    Tlsa,
    /// A challenge of ACME.
    Challenge,
}

impl Purpose {
    /// Its name, for the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exchange => "MX",
            Self::Spf => "SPF",
            Self::Dkim => "DKIM",
            Self::Dmarc => "DMARC",
            Self::DmarcReports => "DMARCReports",
            Self::MtaSts => "MTASTS",
            Self::TlsReports => "TLSReports",
            Self::Address => "Address",
            Self::Services => "Services",
            Self::Autoconfig => "Autoconfig",
            Self::Caa => "CAA",
            Self::Tlsa => "TLSA",
            Self::Challenge => "Challenge",
        }
    }
}

/// A description from which no records can be made: whoever wrote it has to change it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInput {
    /// A name that would be too long, or is none.
    #[error(transparent)]
    Name(#[from] NotAName),
    /// A field has what its standard does not allow.
    #[error("{field}: {reason}")]
    Field {
        /// Which one.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl InvalidInput {
    pub(crate) fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Field { field, reason: reason.into() }
    }
}

/// Collects the record sets of one description, all with one TTL.
#[derive(Debug)]
struct Records {
    ttl: u32,
    found: Vec<Desired>,
}

impl Records {
    fn new(ttl: u32) -> Self {
        Self { ttl, found: Vec::new() }
    }

    /// Adds a record set, if it has values.
    fn add(&mut self, purpose: Purpose, family: Family, name: Name, values: impl IntoIterator<Item = Value>) {
        let set = RecordSet::new(name, self.ttl, values);
        self.found.extend(set.map(|set| Desired { set, family, purpose }));
    }

    /// Adds a text of which there may be one, told by its tag.
    fn text(&mut self, purpose: Purpose, tag: &str, name: Name, text: String) {
        self.add(purpose, Family::Tagged(tag.to_owned()), name, [Value::txt(text)]);
    }
}
