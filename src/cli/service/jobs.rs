//! Work that one process of the cluster does for all, from time to time. Every piece may be cut off anywhere, and be done by two at once.

use std::time::Duration;

use ekitei_cluster::{Jobs, outcome};
use ekitei_telemetry::{Counter, Registry};

use super::Service;
use super::background::spawn;

/// How often old rows of rates, bans and the greylist are removed.
const LIMITS: Duration = Duration::from_secs(600);
/// How often locks that have ended are removed.
const LOCKS: Duration = Duration::from_secs(600);
/// How often MTA-STS policies that expired are removed.
const POLICIES: Duration = Duration::from_secs(86_400);

/// What the collector did.
#[derive(Clone)]
struct Collected {
    bodies: Counter,
    objects: Counter,
}

impl Collected {
    fn new(registry: &Registry) -> Self {
        Self {
            bodies: registry
                .counter("blob_collected_bodies_total", "Bodies deleted, since nobody referred to them."),
            objects: registry.counter(
                "blob_collected_objects_total",
                "Objects deleted: of such bodies, of segments that nothing is in, of deliveries that did not end.",
            ),
        }
    }

    fn count(&self, done: &ekitei_blob::Collected) {
        self.bodies.inc_by(done.bodies);
        self.objects.inc_by(done.objects);
    }
}

/// Starts all of it; it ends when the shutdown begins.
pub(super) fn start(service: &Service) {
    let shutdown = service.net.shutdown();
    let jobs = Jobs::new(service.sending.leases.clone(), &service.registry);
    let live = service.net.live().clone();
    let maintenance = move || live.load().mailstore.maintenance_interval.get();

    let (runner, interval, mailstore) = (jobs.clone(), maintenance.clone(), service.mailstore.clone());
    let collected = Collected::new(&service.registry);
    let maintain = move || {
        let (mailstore, collected) = (mailstore.clone(), collected.clone());
        async move {
            let done = mailstore.maintain().await;
            tracing::debug!(?done, "maintenance");
            if let Ok(done) = &done {
                collected.count(&done.collected);
            }
            outcome(done)
        }
    };
    spawn(shutdown, async move { runner.run("mailstore", interval, maintain).await });

    let (runner, queue) = (jobs.clone(), service.sending.queue.clone());
    let sweep = move || {
        let queue = queue.clone();
        async move { outcome(queue.sweep().await) }
    };
    spawn(shutdown, async move { runner.run("queue", maintenance, sweep).await });

    let (runner, limits) = (jobs.clone(), service.sending.limits.clone());
    let clean = move || {
        let limits = limits.clone();
        async move { outcome(limits.maintain().await) }
    };
    spawn(shutdown, async move { runner.run("limits", || LIMITS, clean).await });

    let (runner, locks) = (jobs.clone(), service.locks.clone());
    let sweep = move || {
        let locks = locks.clone();
        async move { outcome(locks.sweep().await) }
    };
    spawn(shutdown, async move { runner.run("locks", || LOCKS, sweep).await });

    let (runner, certificates) = (jobs.clone(), service.certificates.clone());
    let live = service.net.live().clone();
    let interval = move || live.load().signing.maintenance_interval.get();
    let reseal = move || {
        let certificates = certificates.clone();
        async move { outcome(certificates.maintain().await) }
    };
    spawn(shutdown, async move { runner.run("certificates", interval, reseal).await });

    let policies = service.sending.policies.clone();
    let forget = move || {
        let policies = policies.clone();
        async move { outcome(policies.sweep_now().await) }
    };
    spawn(shutdown, async move { jobs.run("policies", || POLICIES, forget).await });
}
