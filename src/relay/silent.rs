//! Hosts that did not answer a moment ago: they are tried last, so that not every message waits for them (RFC 5321 §4.5.4.1).

use std::net::SocketAddr;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::mx::Host;

/// How long it is remembered that an address did not answer. A refused connection is not: it costs no time.
const PAUSE: Duration = Duration::from_secs(300);
/// Addresses of which it is remembered.
const KNOWN: usize = 10_000;

/// Addresses that did not answer, and until when that counts.
pub(crate) struct Silent {
    until: Cache<SocketAddr, Instant>,
}

impl Silent {
    pub(crate) fn new() -> Self {
        Self { until: Cache::new(KNOWN) }
    }

    /// The address did not answer.
    pub(crate) fn note(&self, address: SocketAddr) {
        self.until.insert(address, Instant::now() + PAUSE);
    }

    /// The address answered.
    pub(crate) fn forget(&self, address: SocketAddr) {
        self.until.remove(&address);
    }

    /// The hosts in their order, but those none of whose addresses answered behind all others. None is left out: if nobody answers, everybody is asked again.
    pub(crate) fn behind<'a>(&self, hosts: &'a [Host]) -> Vec<&'a Host> {
        let mut hosts: Vec<&Host> = hosts.iter().collect();
        hosts.sort_by_cached_key(|host| host.addresses.iter().all(|address| self.holds(address)));
        hosts
    }

    fn holds(&self, address: &SocketAddr) -> bool {
        self.until.get(address).is_some_and(|until| Instant::now() < until)
    }
}
