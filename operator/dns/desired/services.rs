//! Where clients find the services (RFC 6186, RFC 8314 §5.1).

use super::domain::Client;
use super::{InvalidInput, Purpose, Records};
use crate::family::Family;
use crate::name::Name;
use crate::record::Value;

/// A service that a client host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Which one.
    pub kind: ServiceKind,
    /// Its TCP port.
    pub port: u16,
}

/// The services that have names, most preferred first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceKind {
    /// Submission with TLS from the start.
    Submissions,
    /// Submission with STARTTLS.
    Submission,
    /// IMAP with TLS from the start.
    Imaps,
    /// IMAP with STARTTLS.
    Imap,
    /// POP3 with TLS from the start.
    Pop3s,
    /// POP3 with STLS.
    Pop3,
}

impl ServiceKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Submissions, Self::Submission, Self::Imaps, Self::Imap, Self::Pop3s, Self::Pop3];

    /// The label of its records.
    fn label(self) -> &'static str {
        match self {
            Self::Submissions => "_submissions._tcp",
            Self::Submission => "_submission._tcp",
            Self::Imaps => "_imaps._tcp",
            Self::Imap => "_imap._tcp",
            Self::Pop3s => "_pop3s._tcp",
            Self::Pop3 => "_pop3._tcp",
        }
    }

    /// Clients compare priorities across services (RFC 6186 §3.4): TLS from the start before STARTTLS, IMAP before POP3.
    fn priority(self) -> u16 {
        match self {
            Self::Submissions | Self::Imaps => 0,
            Self::Submission | Self::Imap => 10,
            Self::Pop3s => 20,
            Self::Pop3 => 30,
        }
    }
}

pub(super) fn srv(records: &mut Records, domain: &Name, client: &Client) -> Result<(), InvalidInput> {
    for kind in ServiceKind::ALL {
        let ports: Vec<u16> =
            client.services.iter().filter(|one| one.kind == kind).map(|one| one.port).collect();
        let values: Vec<Value> = if ports.is_empty() {
            vec![Value::Srv { priority: 0, weight: 0, port: 0, target: Name::root() }]
        } else {
            let target =
                |port| Value::Srv { priority: kind.priority(), weight: 1, port, target: client.host.clone() };
            ports.into_iter().map(target).collect()
        };
        records.add(Purpose::Services, Family::Whole, domain.child(kind.label())?, values);
    }
    Ok(())
}
