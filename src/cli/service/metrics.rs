//! The figures of the stores, which know nothing of metrics.

use std::sync::{Arc, Mutex, PoisonError};

use ekitei_cluster::Cluster;
use ekitei_kv::{Database, Statistics};
use ekitei_mailstore::{MailStore, WatchFigures};
use ekitei_telemetry::{Counter, Registry};

/// One of the figures.
type Figure = fn(&Statistics) -> u64;

/// Brings the counters of the metadata store up to date each time that they are looked at.
pub(super) fn sampler(
    database: Database,
    cluster: Cluster,
    mailstore: MailStore,
    registry: &Registry,
) -> Arc<dyn Fn() + Send + Sync> {
    let watches = registry
        .gauge("mailstore_watches", "Watches on the store, one for each account that somebody waits for.");
    let polled = registry.gauge(
        "mailstore_polled_accounts",
        "Accounts that somebody waits for and that are polled, for want of a watch.",
    );
    let refused =
        registry.counter("mailstore_watch_failures_total", "Watches that the store refused or took back.");
    let counters: [(Counter, Figure); 6] = [
        (registry.counter("kv_commits_total", "Commits that wrote something."), |now| now.commits),
        (registry.counter("kv_conflicts_total", "Commits refused because of a conflict."), |now| {
            now.conflicts
        }),
        (registry.counter("kv_batches_total", "Groups of commits written together."), |now| now.batches),
        (registry.counter("kv_fsyncs_total", "Times that the journal was made durable."), |now| now.fsyncs),
        (registry.counter("kv_reads_total", "Reads of a row or a range."), |now| now.reads),
        (registry.counter("kv_written_bytes_total", "Octets of keys and values committed."), |now| {
            now.bytes_written
        }),
    ];
    let last = Mutex::new((Statistics::default(), WatchFigures::default()));
    Arc::new(move || {
        cluster.sample();
        let (now, waiting) = (database.statistics(), mailstore.watch_figures());
        watches.set(i64::try_from(waiting.watched).unwrap_or(i64::MAX));
        polled.set(i64::try_from(waiting.polled).unwrap_or(i64::MAX));
        // Held throughout, so that what two readers see at once is added once.
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        for (counter, figure) in &counters {
            counter.inc_by(figure(&now).saturating_sub(figure(&last.0)));
        }
        refused.inc_by(waiting.failed.saturating_sub(last.1.failed));
        *last = (now, waiting);
    })
}
