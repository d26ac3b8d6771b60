//! Bans, and the table of them that every connection is checked against.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ekitei_config::Cidr;

use super::rows::BanRow;

/// Clients that are not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who.
    pub network: Cidr,
    /// Why.
    pub reason: String,
    /// Whether somebody made it by hand; else it is for what the client did.
    pub manual: bool,
    /// Since when, as the time since the Unix epoch, in whole seconds.
    pub created: Duration,
    /// Until when; `None` is without an end.
    pub until: Option<Duration>,
    /// How many bans it has had in a row, this one included.
    pub times: u32,
}

impl Ban {
    pub(crate) fn from_row(network: Cidr, row: BanRow) -> Self {
        let BanRow { reason, manual, created, until, times } = row;
        let (created, until) = (Duration::from_secs(created), until.map(Duration::from_secs));
        Self { network, reason, manual, created, until, times }
    }

    pub(crate) fn to_row(&self) -> BanRow {
        let Self { network: _, reason, manual, created, until, times } = self.clone();
        BanRow {
            reason,
            manual,
            created: created.as_secs(),
            until: until.map(|until| until.as_secs()),
            times,
        }
    }

    /// Whether it counts at `now`.
    pub fn is_active(&self, now: Duration) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The bans that this process knows of.
#[derive(Debug, Default)]
pub(crate) struct BanTable {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    by_network: HashMap<Cidr, Arc<Ban>>,
    /// How many bans there are of each family (whether IPv4) and prefix length: an address is looked up once for each.
    prefixes: BTreeMap<(bool, u8), usize>,
}

impl BanTable {
    /// A ban that counts for `client` at `now` and that `counts` agrees to.
    pub(crate) fn find(
        &self,
        client: IpAddr,
        now: Duration,
        counts: impl Fn(&Ban) -> bool,
    ) -> Option<Arc<Ban>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let family = client.to_canonical().is_ipv4();
        let prefixes = state.prefixes.range((family, 0)..=(family, 128)).map(|((_, prefix), _)| *prefix);
        prefixes
            .filter_map(|prefix| state.by_network.get(&Cidr::around(client, prefix)))
            .find(|ban| ban.is_active(now) && counts(ban))
            .cloned()
    }

    /// The ban of exactly this network.
    pub(crate) fn get(&self, network: Cidr) -> Option<Arc<Ban>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).by_network.get(&network).cloned()
    }

    /// Takes a ban in, in place of one of the same network.
    pub(crate) fn insert(&self, ban: Ban) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let network = ban.network;
        if state.by_network.insert(network, Arc::new(ban)).is_none() {
            *state.prefixes.entry(prefix_of(network)).or_insert(0) += 1;
        }
    }

    pub(crate) fn remove(&self, network: Cidr) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.remove(network);
    }

    /// Puts all bans there are in place of what was known.
    pub(crate) fn replace(&self, bans: Vec<Ban>) {
        let mut fresh = State::default();
        for ban in bans {
            let network = ban.network;
            if fresh.by_network.insert(network, Arc::new(ban)).is_none() {
                *fresh.prefixes.entry(prefix_of(network)).or_insert(0) += 1;
            }
        }
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// Forgets the bans that are over.
    pub(crate) fn prune(&self, now: Duration) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let over: Vec<Cidr> =
            state.by_network.values().filter(|ban| !ban.is_active(now)).map(|ban| ban.network).collect();
        for network in over {
            state.remove(network);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.state.read().unwrap_or_else(PoisonError::into_inner).by_network.len()
    }
}

impl State {
    fn remove(&mut self, network: Cidr) {
        if self.by_network.remove(&network).is_none() {
            return;
        }
        let prefix = prefix_of(network);
        if let Some(count) = self.prefixes.get_mut(&prefix) {
            *count -= 1;
            if *count == 0 {
                self.prefixes.remove(&prefix);
            }
        }
    }
}

fn prefix_of(network: Cidr) -> (bool, u8) {
    (network.network().is_ipv4(), network.prefix())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ban(network: &str, until: Option<u64>) -> Ban {
        let (created, until) = (Duration::ZERO, until.map(Duration::from_secs));
        Ban { network: network.parse().unwrap(), reason: "x".into(), manual: true, created, until, times: 1 }
    }

    #[test]
    fn an_address_is_found_in_every_network_that_it_lies_in() {
        let table = BanTable::default();
        table.replace(vec![
            ban("192.0.2.0/24", Some(10)),
            ban("198.51.100.7", None),
            ban("2001:db8::/32", None),
        ]);
        let found = |address: &str, now| {
            let found = table.find(address.parse().unwrap(), Duration::from_secs(now), |_| true);
            found.map(|ban| ban.network.to_string())
        };
        assert_eq!(found("192.0.2.200", 9).as_deref(), Some("192.0.2.0/24"));
        assert_eq!(found("::ffff:192.0.2.200", 9).as_deref(), Some("192.0.2.0/24"));
        assert_eq!(found("192.0.2.200", 10), None, "it is over");
        assert_eq!(found("198.51.100.7", 10).as_deref(), Some("198.51.100.7/32"));
        assert_eq!(found("198.51.100.8", 10), None);
        assert_eq!(found("2001:db8:1::1", 10).as_deref(), Some("2001:db8::/32"));
        table.insert(ban("192.0.2.200", Some(20)));
        assert_eq!(found("192.0.2.200", 10).as_deref(), Some("192.0.2.200/32"));
        table.prune(Duration::from_secs(15));
        assert_eq!((table.len(), found("192.0.2.1", 0)), (3, None));
        table.remove("192.0.2.200/32".parse().unwrap());
        table.remove("192.0.2.200/32".parse().unwrap());
        assert_eq!((table.len(), found("192.0.2.200", 0)), (2, None));
    }
}
