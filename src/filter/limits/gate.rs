//! The question at the door: bans, and rates of new connections.

use ekitei_net::{Arrival, Gate, Refusal};

use super::counters::{Key, Kind, Subject, Window};
use super::{Limits, narrow, wide};

impl Gate for Limits {
    fn admit(&self, arrival: &Arrival) -> Result<(), Refusal> {
        let inner = &self.inner;
        if let Some(ban) = self.banned(arrival.client) {
            inner.metrics.decided("ban", false);
            tracing::debug!(client = %arrival.client, network = %ban.network, reason = %ban.reason, "banned");
            return Err(if ban.until.is_some() { Refusal::Banned } else { Refusal::Blocked });
        }
        inner.metrics.decided("ban", true);
        let config = inner.live.load();
        let per_network = config.filter.limits.connections_per_network_per_minute;
        let limits = [
            ("connections_address", narrow(arrival.client), arrival.per_minute),
            ("connections_network", wide(arrival.client), per_network),
        ];
        for (name, network, per_minute) in limits {
            let key = Key { kind: Kind::Connections(arrival.group), subject: Subject::Network(network) };
            let within = inner.allow(&config, key, Window::MINUTE, per_minute);
            if !inner.metrics.decided(name, within) {
                return Err(Refusal::Rate);
            }
        }
        Ok(())
    }
}
