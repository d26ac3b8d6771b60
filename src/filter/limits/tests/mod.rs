//! What limits and bans promise: several processes over one store, with a clock that is moved by hand.
#![allow(clippy::unwrap_used)]

mod bans;
mod logins;
mod rates;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ekitei_config::{Cidr, Config, Live};
use ekitei_kv::clock::{Clock, ManualClock};
use ekitei_kv::keys::{self, subspace};
use ekitei_kv::{Database, Error, FaultScript, MemoryOptions, RangeOptions};
use ekitei_net::{Arrival, Gate, Refusal};
use ekitei_telemetry::Registry;

use super::{Event, Limits};

const CLIENT: &str = "192.0.2.7";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A store, and the time.
struct World {
    database: Database,
    faults: Arc<FaultScript>,
    clock: Arc<ManualClock>,
    config: Config,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let faults = Arc::new(FaultScript::default());
        let options = MemoryOptions { faults: faults.clone(), ..MemoryOptions::default() };
        let mut config = Config::default();
        change(&mut config);
        Self {
            database: Database::in_memory_with(options).unwrap(),
            faults,
            // The beginning of a day, and so of a minute and an hour.
            clock: ManualClock::new(DAY * 20_000),
            config,
        }
    }

    /// A process that has just begun.
    async fn process(&self) -> Limits {
        let live = Live::new(self.config.clone());
        let limits = Limits::new(live, self.database.clone(), self.clock.clone(), &Registry::new());
        limits.catch_up().await;
        limits
    }

    /// How many rows there are.
    async fn rows(&self) -> usize {
        let all = keys::range(&(subspace::LIMITS,));
        let rows = self.database.read(|tx| {
            let all = all.clone();
            async move { tx.get_range(all, RangeOptions::default()).await }
        });
        Result::<_, Error>::unwrap(rows.await).len()
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }
}

impl Limits {
    /// What a watch would bring about.
    async fn catch_up(&self) {
        self.inner.bans.catch_up(|network| self.inner.forgive(network)).await.unwrap();
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn network(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn connect(limits: &Limits, client: &str, per_minute: u32) -> Result<(), Refusal> {
    limits.admit(&Arrival { client: ip(client), group: "smtp", per_minute })
}

/// Does wrong as often.
fn misbehave(limits: &Limits, event: Event, times: usize) {
    for _ in 0..times {
        limits.event(ip(CLIENT), event);
    }
}
