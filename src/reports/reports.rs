//! The handle of this crate, and its work in the background.

use std::sync::Arc;
use std::time::Duration;

use ekitei_blob::Blobs;
use ekitei_config::Live;
use ekitei_directory::Directory;
use ekitei_dns::Resolver;
use ekitei_filter::DmarcReporter;
use ekitei_kv::Database;
use ekitei_kv::clock::SharedClock;
use ekitei_kv::lease::{Lease, LeaseSet, Leases};
use ekitei_mailstore::MailStore;
use ekitei_queue::Queue;
use ekitei_relay::TlsReporter;
use ekitei_signing::Signing;
use ekitei_telemetry::Registry;

use crate::collect::Collector;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::send::post::{Https, Post};
use crate::send::{Days, Turn};

/// How often it is looked whether a report is due, and whether old ones can go.
const ROUND: Duration = Duration::from_secs(600);
/// How long to wait after a failure of the store.
const RETRY: Duration = Duration::from_secs(5);
/// The group of the lease of who sends; its only name.
const SENDING: &str = "reports, sending";
/// The group of the lease of who reads what came; its only name.
const READING: &str = "reports, reading";

/// What reports are made of.
pub struct Parts {
    /// Where they are kept.
    pub database: Database,
    /// The bodies of the same store.
    pub blobs: Blobs,
    /// The mailstore over both: reports leave through it.
    pub mailstore: MailStore,
    /// The queue that they leave by.
    pub queue: Queue,
    /// What signs them.
    pub signing: Signing,
    /// Whose addresses they come from.
    pub directory: Directory,
    /// Where it is looked up who wants them.
    pub dns: Resolver,
    /// The configuration in force.
    pub live: Live,
    /// The time.
    pub clock: SharedClock,
}

/// Reports to and from other domains: cheap to clone.
#[derive(Clone)]
pub struct Reports {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) blobs: Blobs,
    pub(crate) mailstore: MailStore,
    pub(crate) queue: Queue,
    pub(crate) signing: Signing,
    pub(crate) directory: Directory,
    pub(crate) dns: Resolver,
    pub(crate) live: Live,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: Metrics,
    pub(crate) collector: Arc<Collector>,
    pub(crate) post: Box<dyn Post>,
}

/// What the reports are told: made before the filter and the relay, which the rest of the parts need in turn.
#[derive(Clone)]
pub struct Ears {
    metrics: Metrics,
    collector: Arc<Collector>,
}

impl Ears {
    /// Collects from now on; [`Reports::new`] takes over what was heard.
    pub fn new(live: Live, clock: SharedClock, registry: &Registry) -> Self {
        let metrics = Metrics::new(registry, clock);
        Self { collector: Arc::new(Collector::new(live, metrics.clone())), metrics }
    }

    /// What the filter tells outcomes of DMARC.
    pub fn dmarc(&self) -> Arc<dyn DmarcReporter> {
        Arc::clone(&self.collector) as _
    }

    /// What the relay tells TLS sessions.
    pub fn tls(&self) -> Arc<dyn TlsReporter> {
        Arc::clone(&self.collector) as _
    }
}

impl Reports {
    /// The reports of a process. Spawn [`Reports::run`], and call [`Reports::finish`] before the process ends.
    pub fn new(parts: Parts, ears: Ears) -> Self {
        let post = Box::new(Https::new(parts.dns.clone(), parts.live.clone()));
        Self::with_post(parts, ears, post)
    }

    pub(crate) fn with_post(parts: Parts, ears: Ears, post: Box<dyn Post>) -> Self {
        let Parts { database, blobs, mailstore, queue, signing, directory, dns, live, clock } = parts;
        let Ears { metrics, collector } = ears;
        let inner = Inner {
            database,
            blobs,
            mailstore,
            queue,
            signing,
            directory,
            dns,
            live,
            clock,
            metrics,
            collector,
            post,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Seconds since the epoch.
    pub(crate) fn now(&self) -> u64 {
        self.inner.clock.now().as_secs()
    }

    /// Writes what was collected, sends what is due and reads what came, the last two in one process of the cluster at a time; runs until it is dropped.
    pub async fn run(&self, leases: &Leases) {
        let join = |group| leases.join(group, [String::from(group)]);
        tokio::join!(
            self.flush_forever(),
            self.send_forever(join(SENDING)),
            self.read_forever(join(READING))
        );
    }

    async fn flush_forever(&self) {
        loop {
            let interval = self.inner.live.load().reports.flush_interval.get();
            match self.ordered().await {
                // Whoever wants reports now wants all of them.
                Ok((_, order)) => drop(tokio::time::timeout(interval, order.changed()).await),
                Err(_) => tokio::time::sleep(interval).await,
            }
            if let Err(error) = self.flush().await {
                tracing::warn!(%error, "what was collected for reports waits in memory");
            }
        }
    }

    async fn send_forever(&self, mut leases: LeaseSet) {
        loop {
            let lease = held(&mut leases).await;
            let go_on = || lease.holds();
            let turn = Turn::of(&lease, &go_on);
            let order = self.obey(&turn).await;
            if let Err(error) = self.send(Days::Due, &turn).await {
                tracing::warn!(%error, "reports cannot be sent; the next round tries again");
            }
            if let Err(error) = self.remove_old(&go_on).await {
                tracing::warn!(%error, "old reports cannot be removed; the next round tries again");
            }
            match order {
                Ok(order) => drop(tokio::time::timeout(ROUND, order.changed()).await),
                Err(error) => {
                    tracing::warn!(%error, "reports that were ordered cannot be sent; the next round tries again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn read_forever(&self, mut leases: LeaseSet) {
        loop {
            let lease = held(&mut leases).await;
            let round = async {
                let watch = self.watch_pending().await?;
                self.read_pending(&|| lease.holds()).await?;
                Ok::<_, Error>(watch)
            };
            match round.await {
                Ok(watch) => {
                    // What fails to be heard of is found in the next round.
                    let _ = tokio::time::timeout(ROUND, watch.changed()).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "reports that came cannot be read; the next round tries again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Writes what was collected.
    ///
    /// # Errors
    /// When the store fails; it is kept for the next time.
    pub async fn flush(&self) -> Result<()> {
        let rows = self.inner.collector.take()?;
        let rows = self.without_unwanted(rows).await;
        self.inner.collector.write(&self.inner.database, rows).await
    }

    /// Writes what was collected, at the end of the process: nothing is looked up any more.
    ///
    /// # Errors
    /// When the store fails; then it is lost.
    pub async fn finish(&self) -> Result<()> {
        let rows = self.inner.collector.take()?;
        self.inner.collector.write(&self.inner.database, rows).await
    }
}

/// Waits until this process has the lease of a group.
async fn held(leases: &mut LeaseSet) -> Lease {
    loop {
        if let Some(lease) = leases.held().into_iter().find(Lease::holds) {
            return lease;
        }
        leases.changed().await;
    }
}
