//! What is done with bodies in the background: packing, compaction, scrubbing; and the figures of it.

use std::time::Duration;

use ekitei_blob::{
    Backlog, BlobStatus, Blobs, Compacted, FindingKind, Gate, Group, Packed, Packer, Packing, Scrubbed,
    Scrubber,
};
use ekitei_cluster::{Cluster, Feature};
use ekitei_config::Live;
use ekitei_kv::lease::{Lease, LeaseSet, Leases};
use ekitei_telemetry::{Counter, Gauge, GaugeFamily, Registry};

use super::Service;
use super::background::spawn;

/// How often the figures of the whole store are read, by each process.
const FIGURES: Duration = Duration::from_secs(60);
/// How often a scrubber that waits looks whether somebody wants it to begin.
const LOOK: Duration = Duration::from_secs(10);
/// The pause after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// How bodies are packed, by the configuration; the gate comes with [`behind`].
pub(super) fn packing(given: &ekitei_config::Blobs) -> Packing {
    let packing = &given.packing;
    Packing {
        enabled: packing.enabled,
        min_age: packing.min_age.get(),
        max_age: packing.max_age.get(),
        segment_size: packing.segment_size.get(),
        compact_below: f64::from(packing.compact_below) / 100.0,
        hot_limit: given.hot_limit.get(),
        ..Packing::default()
    }
}

/// The settings of a process of this cluster: segments are made when all of them can read them.
pub(super) fn behind(cluster: &Cluster, settings: ekitei_blob::Settings) -> ekitei_blob::Settings {
    let gate = Gate::new(cluster.features().gate(Feature::SegmentedBodies));
    let packing = Packing { gate, ..settings.packing };
    ekitei_blob::Settings { packing, ..settings }
}

/// Starts all of it; it ends when the shutdown begins, and every piece may be cut off anywhere.
pub(super) fn start(service: &Service) {
    let shutdown = service.net.shutdown();
    let (leases, live) = (service.sending.leases.clone(), service.net.live().clone());
    let figures = Figures::new(&service.registry);
    let work = PackingWork {
        packer: Packer::new(service.blobs.clone()),
        held: leases.join(Packer::LEASES, Group::all().map(Group::lease_name)),
        leases: leases.clone(),
        live: live.clone(),
        figures: figures.clone(),
    };
    spawn(shutdown, work.run());
    let held = leases.join(Scrubber::LEASES, [Scrubber::LEASE.to_owned()]);
    spawn(shutdown, scrub(service.blobs.clone(), live, leases, held, figures.clone()));
    let blobs = service.blobs.clone();
    spawn(shutdown, async move {
        loop {
            match blobs.status().await {
                Ok(status) => figures.show(&status),
                Err(error) => tracing::debug!(%error, "the figures of bodies cannot be read"),
            }
            tokio::time::sleep(FIGURES).await;
        }
    });
}

/// Packs and compacts for the groups whose leases this process has.
struct PackingWork {
    packer: Packer,
    leases: Leases,
    held: LeaseSet,
    live: Live,
    figures: Figures,
}

impl PackingWork {
    async fn run(mut self) {
        loop {
            let mut more = false;
            for lease in self.held.held() {
                if lease.is_wanted_back() {
                    if let Err(error) = self.leases.release(&lease).await {
                        tracing::debug!(?lease, %error, "packing cannot be handed over yet");
                    }
                } else if lease.holds() {
                    more |= self.serve(&lease).await;
                }
            }
            if !more {
                let interval = self.live.load().blobs.packing.interval.get();
                let _ = tokio::time::timeout(interval, self.held.changed()).await;
            }
        }
    }

    /// One round for a group; whether there is more to be done at once.
    async fn serve(&self, lease: &Lease) -> bool {
        let packed = self.packer.round(lease).await;
        let packed = self.ended(lease, "packing", packed).await;
        if let Some(packed) = &packed {
            self.figures.packed(packed);
        }
        let compacted = self.packer.compact(lease).await;
        let compacted = self.ended(lease, "compaction", compacted).await;
        if let Some(compacted) = &compacted {
            self.figures.compacted(compacted);
            let rate = self.live.load().blobs.packing.compact_rate.get();
            pause(compacted.octets, rate).await;
        }
        packed.is_some_and(|packed| packed.more) || compacted.is_some_and(|compacted| compacted.more)
    }

    async fn ended<T: std::fmt::Debug>(
        &self,
        lease: &Lease,
        work: &str,
        result: ekitei_blob::Result<T>,
    ) -> Option<T> {
        match result {
            Ok(done) => {
                tracing::debug!(work, group = lease.name(), ?done);
                Some(done)
            }
            Err(ekitei_blob::Error::Store(ekitei_kv::Error::Fenced)) => {
                tracing::debug!(work, group = lease.name(), "another process has this group now");
                None
            }
            Err(error) => {
                tracing::warn!(work, group = lease.name(), %error, "interrupted; it goes on in its next round");
                self.figures.failures.inc();
                tokio::time::sleep(AFTER_FAILURE).await;
                None
            }
        }
    }
}

/// Scrubs, while this process has the lease.
async fn scrub(blobs: Blobs, live: Live, leases: Leases, mut held: LeaseSet, figures: Figures) {
    loop {
        let lease = held.held().into_iter().find(Lease::holds);
        let given = live.load().blobs.scrub.clone();
        let Some(lease) = lease.filter(|_| given.enabled) else {
            let _ = tokio::time::timeout(LOOK, held.changed()).await;
            continue;
        };
        if lease.is_wanted_back() {
            if let Err(error) = leases.release(&lease).await {
                tracing::debug!(%error, "scrubbing cannot be handed over yet");
            }
            continue;
        }
        match Scrubber::new(blobs.clone(), given.interval.get()).step(&lease).await {
            Ok(Scrubbed::Idle(time)) => tokio::time::sleep(time.min(LOOK)).await,
            Ok(Scrubbed::Step { octets }) => {
                figures.scrubbed.inc_by(octets);
                pause(octets, given.rate.get()).await;
            }
            Ok(Scrubbed::Finished(tally)) => tracing::info!(?tally, "all bodies were checked"),
            Err(error) => {
                tracing::warn!(%error, "checking bodies was interrupted; it goes on where it was");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

/// Waits as long as so many octets take at this rate.
async fn pause(octets: u64, rate: u64) {
    let millis = octets.saturating_mul(1000) / rate.max(1);
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// The figures: counters of what this process did, gauges of the whole store, which every process shows alike.
#[derive(Clone)]
struct Figures {
    packed: Counter,
    packed_octets: Counter,
    segments_written: Counter,
    compacted: Counter,
    compacted_octets: Counter,
    retired: Counter,
    damaged: Counter,
    failures: Counter,
    scrubbed: Counter,
    hot_bodies: Gauge,
    hot_octets: Gauge,
    hot_limit: Gauge,
    hot_age: Gauge,
    segments: Gauge,
    segment_octets: Gauge,
    live_octets: Gauge,
    live_bodies: Gauge,
    backlog: GaugeFamily,
    findings: GaugeFamily,
    scrub_age: Gauge,
    scrub_bodies: Gauge,
}

impl Figures {
    fn new(registry: &Registry) -> Self {
        let counter = |name: &str, help: &str| registry.counter(name, help);
        let gauge = |name: &str, help: &str| registry.gauge(name, help);
        Self {
            packed: counter("blob_packed_bodies_total", "Bodies moved into segments."),
            packed_octets: counter("blob_packed_bytes_total", "Octets of bodies moved into segments."),
            segments_written: counter("blob_segments_written_total", "Segments made by packing."),
            compacted: counter(
                "blob_compacted_segments_total",
                "Segments rewritten, since little of them was needed.",
            ),
            compacted_octets: counter(
                "blob_compacted_bytes_total",
                "Octets moved out of segments that were rewritten.",
            ),
            retired: counter("blob_segments_retired_total", "Segments that nothing is in any more."),
            damaged: counter(
                "blob_packing_damaged_total",
                "Bodies that could not be moved, since they are damaged.",
            ),
            failures: counter("blob_packing_failures_total", "Rounds of packing and compaction that failed."),
            scrubbed: counter("blob_scrubbed_bytes_total", "Octets of bodies read again and checked."),
            hot_bodies: gauge(
                "blob_hot_bodies",
                "Bodies in the metadata store that wait to be moved into segments, in the whole store.",
            ),
            hot_octets: gauge("blob_hot_bytes", "Octets of these."),
            hot_limit: gauge(
                "blob_hot_limit_bytes",
                "Octets of these above which new bodies become objects, or are refused while the object store is away.",
            ),
            hot_age: gauge("blob_hot_oldest_seconds", "The age of the oldest of these."),
            segments: gauge("blob_segments", "Segments, in the whole store."),
            segment_octets: gauge("blob_segment_bytes", "Octets of all segments."),
            live_octets: gauge("blob_segment_live_bytes", "Octets of segments that are needed."),
            live_bodies: gauge("blob_segment_bodies", "Bodies in segments."),
            backlog: registry.gauges(
                "blob_collector_backlog",
                "What waits for the collector and compaction; at most 10,000 of each kind are counted.",
                &["kind"],
            ),
            findings: registry.gauges(
                "blob_scrub_findings",
                "What is damaged, missing or left over, by the last check; at most 1,000 are counted.",
                &["kind"],
            ),
            scrub_age: gauge(
                "blob_scrub_last_end_seconds",
                "When all bodies were last checked, in seconds since the epoch; 0 for never.",
            ),
            scrub_bodies: gauge("blob_scrub_bodies", "Bodies checked in the current round, or the last one."),
        }
    }

    fn packed(&self, packed: &Packed) {
        self.packed.inc_by(packed.bodies);
        self.packed_octets.inc_by(packed.octets);
        self.segments_written.inc_by(packed.segments);
        self.damaged.inc_by(packed.damaged);
    }

    fn compacted(&self, compacted: &Compacted) {
        self.compacted.inc_by(compacted.rewritten);
        self.compacted_octets.inc_by(compacted.octets);
        self.retired.inc_by(compacted.retired);
        self.damaged.inc_by(compacted.damaged);
    }

    fn show(&self, status: &BlobStatus) {
        let set = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        let figures = status.figures();
        set(&self.hot_bodies, figures.hot_bodies);
        set(&self.hot_octets, figures.hot_octets);
        set(&self.hot_limit, status.hot_limit);
        set(&self.hot_age, status.oldest().unwrap_or_default().as_secs());
        set(&self.segments, figures.segments);
        set(&self.segment_octets, figures.segment_octets);
        set(&self.live_octets, figures.live_octets);
        set(&self.live_bodies, figures.live_bodies);
        let Backlog { bodies, objects, segments, hints } = status.backlog;
        for (kind, rows) in
            [("bodies", bodies), ("objects", objects), ("segments", segments), ("hints", hints)]
        {
            set(&self.backlog.with(&[kind]), rows);
        }
        for kind in FindingKind::ALL {
            let found = status.scrub.findings.iter().filter(|finding| finding.kind == kind).count();
            set(&self.findings.with(&[kind.name()]), found as u64);
        }
        set(&self.scrub_age, status.scrub.ended.unwrap_or_default().as_secs());
        set(&self.scrub_bodies, status.scrub.tally.bodies);
    }
}
