//! Whether the name of the client's address leads back to it (RFC 8601 §3).

use std::net::IpAddr;

use tokio::time::Instant;

use super::Outcome;
use crate::names::{Absence, Names};

/// Names of one address that are looked up; hosts have one.
const MAX_NAMES: usize = 5;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Iprev {
    pub(crate) outcome: Outcome,
    /// The name that leads back; else, one that does not.
    pub(crate) name: Option<String>,
}

impl Iprev {
    /// The name, if it leads back.
    pub(crate) fn verified_name(&self) -> Option<&str> {
        self.name.as_deref().filter(|_| self.outcome == Outcome::Pass)
    }
}

pub(crate) async fn check<N: Names>(names: &N, client: IpAddr, deadline: Instant) -> Iprev {
    let late = Iprev { outcome: Outcome::TempError, name: None };
    tokio::time::timeout_at(deadline, look_up(names, client.to_canonical())).await.unwrap_or(late)
}

async fn look_up<N: Names>(names: &N, client: IpAddr) -> Iprev {
    let hosts = match names.ptr(client).await {
        Ok(hosts) if !hosts.is_empty() => hosts,
        Ok(_) | Err(Absence::Certain) => return Iprev { outcome: Outcome::PermError, name: None },
        Err(Absence::Unknown) => return Iprev { outcome: Outcome::TempError, name: None },
    };
    let mut outcome = Outcome::Fail;
    for host in hosts.iter().take(MAX_NAMES) {
        let leads_back = match client {
            IpAddr::V4(client) => names.ipv4(host).await.map(|found| found.contains(&client)),
            IpAddr::V6(client) => names.ipv6(host).await.map(|found| found.contains(&client)),
        };
        match leads_back {
            Ok(true) => return Iprev { outcome: Outcome::Pass, name: Some(host.clone()) },
            Err(Absence::Unknown) => outcome = Outcome::TempError,
            Ok(false) | Err(Absence::Certain) => {}
        }
    }
    Iprev { outcome, name: hosts.into_iter().next() }
}
