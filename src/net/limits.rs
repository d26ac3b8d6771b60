//! How many connections there may be: over all, on one listener, from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// What counts as one client: an IPv4 address, or an IPv6 /64, since a host commonly owns all of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressKey {
    /// One IPv4 address; IPv4-mapped IPv6 addresses count here.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address.
    V6(u64),
}

impl From<IpAddr> for AddressKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4),
            IpAddr::V6(v6) => Self::V6((u128::from(v6) >> 64) as u64),
        }
    }
}

/// Why a connection is refused; the protocol says it in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Too many connections over all listeners.
    Global,
    /// Too many connections on this listener.
    Listener,
    /// Too many connections from this address.
    Address,
    /// Too many new connections a minute from this address or its network.
    Rate,
    /// The address is not let in for a while.
    Banned,
    /// The address is not let in, without an end.
    Blocked,
    /// The service is stopping.
    ShuttingDown,
}

impl Refusal {
    /// The name in labels of metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Listener => "listener",
            Self::Address => "address",
            Self::Rate => "rate",
            Self::Banned => "banned",
            Self::Blocked => "blocked",
            Self::ShuttingDown => "shutdown",
        }
    }
}

/// Counts connections. Clones share the counts. A limit of `0` is no limit.
#[derive(Debug, Clone, Default)]
pub struct ConnectionLimits {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    total: u32,
    by_listener: HashMap<Arc<str>, u32>,
    by_address: HashMap<(&'static str, AddressKey), u32>,
}

/// One connection that is counted while this lives.
#[derive(Debug)]
pub struct ConnectionPermit {
    counts: Arc<Mutex<Counts>>,
    listener: Arc<str>,
    /// The group of listeners that share a limit per address, and the client.
    address: (&'static str, AddressKey),
}

/// The limits that one connection must be within.
#[derive(Debug, Clone)]
pub(crate) struct Maxima {
    pub(crate) total: u32,
    pub(crate) listener: u32,
    pub(crate) address: u32,
}

impl ConnectionLimits {
    /// Counts a connection on `listener` from `address`, or says which limit is reached. Limits per address count
    /// over all listeners of one `group`.
    pub(crate) fn admit(
        &self,
        listener: &Arc<str>,
        group: &'static str,
        address: AddressKey,
        maxima: &Maxima,
    ) -> Result<ConnectionPermit, Refusal> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let address = (group, address);
        let at_limit = |count: u32, limit: u32| limit != 0 && count >= limit;
        if at_limit(counts.total, maxima.total) {
            return Err(Refusal::Global);
        }
        if at_limit(counts.by_listener.get(listener).copied().unwrap_or(0), maxima.listener) {
            return Err(Refusal::Listener);
        }
        if at_limit(counts.by_address.get(&address).copied().unwrap_or(0), maxima.address) {
            return Err(Refusal::Address);
        }
        counts.total += 1;
        *counts.by_listener.entry(Arc::clone(listener)).or_insert(0) += 1;
        *counts.by_address.entry(address).or_insert(0) += 1;
        drop(counts);
        Ok(ConnectionPermit { counts: Arc::clone(&self.counts), listener: Arc::clone(listener), address })
    }

    /// How many connections there are over all listeners.
    pub fn total(&self) -> u32 {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total -= 1;
        release(&mut counts.by_listener, &self.listener);
        release(&mut counts.by_address, &self.address);
    }
}

/// Takes one away, and forgets a key that has none left, so that memory follows the open connections.
fn release<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key(address: &str) -> AddressKey {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_64() {
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    }

    #[test]
    fn each_limit_refuses_and_a_closed_connection_makes_room() {
        let limits = ConnectionLimits::default();
        let maxima = Maxima { total: 3, listener: 2, address: 1 };
        let admit = |group: &'static str, from| limits.admit(&group.into(), group, key(from), &maxima);
        let first = admit("smtp", "192.0.2.1").unwrap();
        assert_eq!(admit("smtp", "192.0.2.1").unwrap_err(), Refusal::Address);
        let _second = admit("smtp", "192.0.2.2").unwrap();
        assert_eq!(admit("smtp", "192.0.2.3").unwrap_err(), Refusal::Listener);
        let _third = admit("imap", "192.0.2.1").unwrap();
        assert_eq!(admit("imap", "192.0.2.4").unwrap_err(), Refusal::Global);
        drop(first);
        let _fourth = admit("smtp", "192.0.2.1").unwrap();
        assert_eq!(limits.total(), 3);
    }

    #[test]
    fn counts_of_gone_clients_take_no_memory() {
        let limits = ConnectionLimits::default();
        let listener: Arc<str> = "smtp".into();
        let maxima = Maxima { total: 0, listener: 0, address: 0 };
        for n in 0..100 {
            limits.admit(&listener, "smtp", key(&format!("192.0.2.{n}")), &maxima).unwrap();
        }
        let counts = limits.counts.lock().unwrap();
        assert!(counts.by_address.is_empty() && counts.by_listener.is_empty() && counts.total == 0);
    }
}
