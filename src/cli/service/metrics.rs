//! The figures of the process and of the stores, which know nothing of metrics.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ekitei_cluster::Cluster;
use ekitei_config::{BlobStore, Config, Store};
use ekitei_kv::{Database, Statistics};
use ekitei_mailstore::{MailStore, WatchFigures};
use ekitei_telemetry::{Counter, GaugeFamily, Registry, SECONDS};

/// One of the figures.
type Figure = fn(&Statistics) -> u64;

/// A registry whose metrics say in which region the process works, if that is configured.
pub(super) fn registry(config: &Config) -> Registry {
    let registry = Registry::with_labels(&[("region", &config.cluster.region)]);
    let info = "1; for the version and the kind of metadata store (embedded, foundationdb) of the process.";
    let store = match config.store {
        Store::Embedded { .. } => "embedded",
        Store::FoundationDb { .. } => "foundationdb",
    };
    registry
        .gauges("build_info", info, &["version", "store"])
        .with(&[env!("CARGO_PKG_VERSION"), store])
        .set(1);
    registry
}

/// The store through a handle that measures its commits.
pub(super) fn measured(database: &Database, registry: &Registry) -> Database {
    let seconds = registry.histogram(
        "kv_commit_seconds",
        "Time of commits that wrote something, until the store answered.",
        SECONDS,
    );
    database.timed(Arc::new(move |took| seconds.observe(took.as_secs_f64())))
}

/// Brings the figures up to date that change without anybody saying so, each time that they are looked at.
pub(super) fn sampler(
    config: &Config,
    database: Database,
    cluster: Cluster,
    mailstore: MailStore,
    registry: &Registry,
) -> Arc<dyn Fn() + Send + Sync> {
    let node =
        registry.gauges("node_info", "1; for the id of the process among those of the store.", &["node"]);
    node.with(&[&cluster.id().to_string()]).set(1);
    let disks = Disks::new(config, registry);
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
        disks.sample();
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

/// The disks of stores on this machine.
struct Disks {
    paths: Vec<(&'static str, PathBuf)>,
    free: GaugeFamily,
    size: GaugeFamily,
}

impl Disks {
    fn new(config: &Config, registry: &Registry) -> Self {
        let mut paths = Vec::new();
        if let Store::Embedded { path, .. } = &config.store {
            paths.push(("metadata", path.clone()));
        }
        if config.blobs.kind == BlobStore::Directory {
            paths.push(("bodies", config.blobs.path.clone()));
        }
        Self {
            paths,
            free: registry.gauges(
                "disk_free_bytes",
                "Octets that the service may still write to the disk of an embedded store: of metadata, or of bodies.",
                &["of"],
            ),
            size: registry.gauges("disk_size_bytes", "Octets of the disk of an embedded store.", &["of"]),
        }
    }

    /// What cannot be asked keeps its figures.
    fn sample(&self) {
        let whole = |octets: u64| i64::try_from(octets).unwrap_or(i64::MAX);
        for (of, path) in &self.paths {
            if let Ok(disk) = rustix::fs::statvfs(path) {
                self.free.with(&[of]).set(whole(disk.f_bavail.saturating_mul(disk.f_frsize)));
                self.size.with(&[of]).set(whole(disk.f_blocks.saturating_mul(disk.f_frsize)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use ekitei_config::Config;
    use ekitei_telemetry::{metrics_markdown, replace_section};

    use crate::cli::service::{Service, background};

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    const PATIENCE: Duration = Duration::from_secs(5);

    /// With everything that a configuration can turn on.
    fn config(folder: &std::path::Path) -> Config {
        let text = format!(
            "{{hostname: mx.example.test, store: {{kind: embedded, path: {folder}/store}}, listeners: [], \
             blobs: {{kind: s3, bucket: mail, region: us-east-1, endpoint: 'http://127.0.0.1:1', \
             credentials: {{accessKeyId: id, secretAccessKey: key}}}}}}",
            folder = folder.display()
        );
        Config::parse(&text, &|_| None).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_page_of_metrics_lists_all_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::build(config(folder.path()), false).await.unwrap();
        background::start(&service);
        let page = std::fs::read_to_string(PAGE).unwrap();
        let right = || {
            let listed = metrics_markdown(&service.registry.declared());
            replace_section(&page, "service", &listed).expect("docs/metrics.md has the section")
        };
        // Some parts declare theirs when their tasks begin.
        let begun = tokio::time::Instant::now();
        while right() != page && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if std::env::var_os("EKITEI_WRITE_DOCS").is_some() {
            std::fs::write(PAGE, right()).unwrap();
        } else {
            assert!(
                right() == page,
                "docs/metrics.md is not up to date: EKITEI_WRITE_DOCS=1 cargo test -p ekitei --lib metrics writes it"
            );
        }
    }
}
