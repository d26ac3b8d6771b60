//! This process as one of a cluster: its leases, and who it says it is.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use ekitei_cluster::{Cluster, Description, LockLimits, Locks, Parts, Settings};
use ekitei_config::{Config, Live, Store};
use ekitei_kv::clock::SharedClock;
use ekitei_kv::lease::{LeaseOptions, Leases};
use ekitei_kv::{Database, MonotonicClock};
use ekitei_net::Listener;
use ekitei_telemetry::Registry;

/// Where Linux says what the host, or the pod, is called.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// Joins the processes that use the store, or is refused by what they wrote.
///
/// # Errors
/// The store has what this release does not understand, or fails.
pub(super) async fn join(
    config: &Config,
    database: &Database,
    clock: &SharedClock,
    registry: &Registry,
) -> anyhow::Result<(Leases, Cluster)> {
    let alone = matches!(config.store, Store::Embedded { .. });
    let options = LeaseOptions { duration: config.queue.lease.get(), clock: MonotonicClock::system(), alone };
    let leases = Leases::new(database.clone(), options);
    let given = &config.cluster;
    let parts = Parts {
        database: database.clone(),
        leases: leases.clone(),
        clock: Arc::clone(clock),
        settings: Settings {
            interval: given.interval.get(),
            settle: given.feature_delay.get(),
            keep_dead: given.keep_dead.get(),
            alone,
        },
        description: Description {
            host: host_name(config),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            region: given.region.clone(),
            started: clock.now().as_secs(),
            listeners: Vec::new(),
        },
        registry: registry.clone(),
    };
    let cluster = Cluster::join(parts).await.context("cannot join the cluster")?;
    Ok((leases, cluster))
}

/// The locks of programs outside, within the limits of the configuration in force.
pub(super) fn locks(live: &Live, database: &Database, clock: &SharedClock) -> Locks {
    let live = live.clone();
    let limits = move || {
        let given = &live.load().cluster;
        let count = usize::try_from(given.max_locks).unwrap_or(usize::MAX);
        LockLimits { count, time: given.max_lock_time.get() }
    };
    Locks::new(database.clone(), Arc::clone(clock), limits)
}

/// Says to the others where the process listens.
///
/// # Errors
/// The store's, and those of [`join`].
pub(super) async fn tell_listeners(
    cluster: &Cluster,
    listeners: &[(ekitei_config::Protocol, Listener)],
) -> anyhow::Result<()> {
    let shown = |(protocol, listener): &(ekitei_config::Protocol, Listener)| {
        Ok(format!("{} {}", protocol.name(), listener.local_addr()?))
    };
    let listeners = listeners.iter().map(shown).collect::<std::io::Result<_>>()?;
    Ok(cluster.listens(listeners).await?)
}

/// Keeps up with the cluster until the shutdown. Ends the process when others write what it cannot understand: it must not go on for a moment.
pub(super) async fn follow(cluster: Cluster) {
    let unknown = cluster.follow().await;
    tracing::error!(%unknown, "this release can not go on with the store; the process ends");
    super::store::end_at_once();
}

fn host_name(config: &Config) -> String {
    let name = std::fs::read_to_string(Path::new(HOST_NAME)).unwrap_or_default();
    match name.trim() {
        "" => config.hostname.clone(),
        name => name.to_owned(),
    }
}
