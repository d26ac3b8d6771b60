//! The handle of this crate, and what all its parts share.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ekitei_blob::{DataKey, DataKeyId, KeyScope};
use ekitei_config::Live;
use ekitei_kv::clock::SharedClock;
use ekitei_kv::{Database, RangeOptions, Transaction, Version};
use ekitei_telemetry::{GaugeFamily, Registry};
use quick_cache::sync::Cache;
use tokio::sync::Mutex;

use crate::error::{Error, Result};
use crate::master::MasterKeys;
use crate::rows;

/// Scopes whose first keys can be made at the same time.
const STRIPES: usize = 64;

/// Tells whether encrypted bodies may be written: every process of the cluster can read them.
pub type Gate = Arc<dyn Fn() -> bool + Send + Sync>;

/// What a keyring is made of.
pub struct Parts {
    /// Where keys are stored, wrapped.
    pub database: Database,
    /// The master keys.
    pub masters: MasterKeys,
    /// The configuration in force.
    pub live: Live,
    /// Whether encrypted bodies may be written.
    pub gate: Gate,
    /// The time.
    pub clock: SharedClock,
    /// Metrics.
    pub registry: Registry,
}

/// The data keys: cheap to clone. Spawn [`Keyring::follow_changes`] and [`Keyring::maintain_forever`].
#[derive(Clone)]
pub struct Keyring {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Database,
    pub(crate) masters: MasterKeys,
    pub(crate) live: Live,
    pub(crate) gate: Gate,
    pub(crate) clock: SharedClock,
    /// Unwrapped keys by their numbers. What is here goes on working while the master key is away.
    pub(crate) keys: Cache<DataKeyId, Arc<DataKey>>,
    /// The keys in force.
    pub(crate) current: Cache<KeyScope, Current>,
    /// The version of the last change that this process knows of.
    pub(crate) last_change: AtomicU64,
    /// First keys are made one at a time for a scope.
    pub(crate) making: [Mutex<()>; STRIPES],
    /// Data keys by state, as of the last round of maintenance.
    pub(crate) states: GaugeFamily,
}

/// The key in force for a scope, as it was at a version.
#[derive(Clone, Copy)]
pub(crate) struct Current {
    pub(crate) key: DataKeyId,
    pub(crate) read_at: Version,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("masters", &self.inner.masters).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Opens the keys. Nothing is read or made before it is asked for.
    pub fn new(parts: Parts) -> Self {
        let Parts { database, masters, live, gate, clock, registry } = parts;
        let cached = usize::try_from(live.load().encryption.cached_keys).unwrap_or(usize::MAX).max(1);
        let states = registry.gauges(
            "keyring_data_keys",
            "Data keys that bodies are encrypted with, by state.",
            &["state"],
        );
        masters.follow(&live);
        Self {
            inner: Arc::new(Inner {
                db: database,
                masters,
                live,
                gate,
                clock,
                keys: Cache::new(cached),
                current: Cache::new(cached),
                last_change: AtomicU64::new(0),
                making: std::array::from_fn(|_| Mutex::new(())),
                states,
            }),
        }
    }

    /// The master keys of the configuration in force.
    pub(crate) fn masters(&self) -> &MasterKeys {
        self.inner.masters.follow(&self.inner.live);
        &self.inner.masters
    }

    /// Seconds since the epoch.
    pub(crate) fn now(&self) -> u64 {
        self.inner.clock.now().as_secs()
    }

    /// Changes keys in one transaction, and tells all processes. The closure may run again after a commit that did happen.
    pub(crate) async fn change<T, F, Fut>(&self, operation: F) -> Result<T>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        Ok(self.change_at(operation).await?.0)
    }

    /// [`Keyring::change`], with the version that it was made at.
    pub(crate) async fn change_at<T, F, Fut>(&self, operation: F) -> Result<(T, Version)>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let touching = |tx: Transaction| {
            let work = operation(tx.clone());
            async move {
                let value = work.await?;
                rows::changes().touch(&tx);
                Ok::<_, Error>(value)
            }
        };
        match self.inner.db.transact_versioned(touching).await {
            Ok(committed) => {
                self.inner.last_change.fetch_max(committed.version, Ordering::AcqRel);
                Ok((committed.value, committed.version))
            }
            Err(error) => {
                // It may have happened all the same.
                self.inner.current.clear();
                Err(error)
            }
        }
    }

    /// Watches for changes that other processes make; runs until it is dropped.
    pub async fn follow_changes(&self) {
        let inner = &*self.inner;
        let notice = |version| self.notice_change(version);
        rows::changes().follow(&inner.db, "data keys", notice, || inner.current.clear()).await;
    }

    /// Forgets keys that are closed.
    async fn notice_change(&self, version: Version) -> Result<()> {
        let read = |tx: Transaction| async move {
            Ok::<_, Error>(tx.get_range(rows::all_closed(), RangeOptions::default()).await?)
        };
        for row in &self.inner.db.read(read).await? {
            self.inner.keys.remove(&rows::number_of(&row.key)?);
        }
        self.inner.last_change.fetch_max(version, Ordering::AcqRel);
        Ok(())
    }
}
