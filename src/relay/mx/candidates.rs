//! The order of hosts and addresses, and where we ourselves are among them.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use ekitei_config::Config;
use ekitei_dns::Mx;
use rand::Rng;
use rand::seq::SliceRandom as _;

use super::Host;
use crate::connect::interleave;

/// The names and addresses of this service.
pub(super) struct Ourselves {
    names: HashSet<String>,
    addresses: HashSet<IpAddr>,
}

impl Ourselves {
    pub(super) fn new(config: &Config) -> Self {
        let relay = &config.relay;
        let listed = relay.own_hosts.iter().filter_map(|host| host.parse::<IpAddr>().ok());
        let names = relay.own_hosts.iter().chain([&config.hostname, &relay.ehlo_name]);
        Self {
            names: names.filter_map(|name| ekitei_dns::normalize(name).ok()).collect(),
            addresses: listed.chain(relay.source_addresses.iter().copied()).collect(),
        }
    }

    /// One more name.
    pub(super) fn add(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    pub(super) fn is_host(&self, host: &Host) -> bool {
        self.is_name(&host.name)
            || self.is_name(&host.canonical)
            || host.addresses.iter().any(|address| self.addresses.contains(&address.ip().to_canonical()))
    }

    /// The MX records that are preferred to the best one that names us.
    pub(super) fn better_among(&self, exchangers: Vec<Mx>) -> Vec<Mx> {
        self.better_than_us(exchangers, |mx| mx.preference, |mx| self.is_name(&mx.exchange))
    }

    /// Only the hosts that are preferred to the best one that is us: mail must not go to its own level or further away again (RFC 5321 §5.1).
    pub(super) fn better_than_us<T>(
        &self,
        mut hosts: Vec<T>,
        preference: impl Fn(&T) -> u16,
        is_us: impl Fn(&T) -> bool,
    ) -> Vec<T> {
        if let Some(ours) = hosts.iter().filter(|host| is_us(host)).map(&preference).min() {
            hosts.retain(|host| preference(host) < ours);
        }
        hosts
    }
}

/// By preference; hosts of one preference in random order, to spread the load (RFC 5321 §5.1). A null MX beside others means nothing (RFC 7505 §3).
pub(super) fn order(mut exchangers: Vec<Mx>, random: &mut impl Rng) -> Vec<Mx> {
    exchangers.retain(|mx| !mx.exchange.is_empty());
    exchangers.shuffle(random);
    exchangers.sort_by_key(|mx| mx.preference);
    exchangers.dedup_by(|one, other| one == other);
    exchangers
}

/// The addresses of one host in the order to try them: IPv6 and IPv4 by turns, within a family at random; no more than `limit`.
pub(super) fn arrange(
    mut addresses: Vec<IpAddr>,
    port: u16,
    limit: usize,
    random: &mut impl Rng,
) -> Vec<SocketAddr> {
    addresses.shuffle(random);
    addresses.sort_by_key(IpAddr::is_ipv4);
    let addresses: Vec<SocketAddr> =
        addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
    let mut addresses = interleave(&addresses);
    addresses.truncate(limit);
    addresses
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn mx(preference: u16, exchange: &str) -> Mx {
        Mx { preference, exchange: exchange.to_owned() }
    }

    #[test]
    fn hosts_of_one_preference_take_turns_and_no_other() {
        let mut first = HashSet::new();
        for seed in 0..50 {
            let list = vec![mx(20, "c"), mx(10, "a"), mx(10, "b"), mx(0, "")];
            let ordered = order(list, &mut StdRng::seed_from_u64(seed));
            assert_eq!((ordered.len(), ordered[2].exchange.as_str()), (3, "c"));
            first.insert(ordered[0].exchange.clone());
        }
        assert_eq!(first.len(), 2, "sometimes a, sometimes b");
    }

    #[test]
    fn families_take_turns_within_the_limit() {
        let addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"]
            .iter()
            .filter_map(|text| text.parse().ok());
        let arranged = arrange(addresses.collect(), 25, 3, &mut StdRng::seed_from_u64(1));
        let families: Vec<bool> = arranged.iter().map(SocketAddr::is_ipv6).collect();
        assert_eq!(families, [true, false, false]);
    }
}
