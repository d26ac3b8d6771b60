//! The handle of the directory, and what all its parts share: transactions, lookups, and hearing of changes.

use std::future::{Future, ready};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use ekitei_kv::clock::SharedClock;
use ekitei_kv::{ChangeRow, Database, Transaction, Version};

use crate::cache::{Key, Lookups, Value};
use crate::error::{Error, Result};
use crate::login::RememberedLogins;
use crate::model::Timestamp;
use crate::rows::{self, TxError, TxResult};
use crate::settings::Settings;
use crate::verifier::Verifier;

/// Whether something may be done yet.
pub type Gate = Arc<dyn Fn() -> bool + Send + Sync>;

/// The directory: cheap to clone, shared by all servers of the process.
#[derive(Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

struct Inner {
    db: Database,
    clock: SharedClock,
    /// Whether all processes understand what this release added to rows.
    additions: Gate,
    /// The version of the last change that this process knows of; outlives the caches of a reload.
    last_change: Arc<AtomicU64>,
    current: ArcSwap<Current>,
}

/// What a reload replaces.
pub(crate) struct Current {
    pub(crate) settings: Settings,
    pub(crate) lookups: Lookups,
    pub(crate) logins: RememberedLogins,
    pub(crate) verifier: Verifier,
}

impl Current {
    fn new(settings: Settings, last_change: Arc<AtomicU64>) -> Self {
        Self {
            lookups: Lookups::new(settings.lookup_cache_entries, settings.lookup_cache_ttl, last_change),
            logins: RememberedLogins::new(settings.credential_cache_entries, settings.credential_cache_ttl),
            verifier: Verifier::new(&settings),
            settings,
        }
    }
}

impl Directory {
    /// Opens the directory in `db`. Spawn [`Directory::follow_changes`] to hear of other processes' changes at once.
    pub fn new(db: Database, settings: Settings, clock: SharedClock) -> Self {
        Self::gated(db, settings, clock, Arc::new(|| true))
    }

    /// The same, where earlier releases may use the store, too: forwarding of accounts and hosts of domains are refused until the gate opens, since such a release would
    /// deliver by its own rules, and drop these fields from rows that it writes.
    pub fn gated(db: Database, settings: Settings, clock: SharedClock, additions: Gate) -> Self {
        let last_change = Arc::new(AtomicU64::new(0));
        let current = ArcSwap::from_pointee(Current::new(settings, Arc::clone(&last_change)));
        Self { inner: Arc::new(Inner { db, clock, additions, last_change, current }) }
    }

    /// Refuses what an earlier release would not understand, while one may run.
    pub(crate) fn require_additions(&self) -> Result<()> {
        if (self.inner.additions)() { Ok(()) } else { Err(Error::NotYet) }
    }

    /// Replaces the settings (a reload of the configuration). Remembered lookups and logins are forgotten.
    pub fn reload(&self, settings: Settings) {
        if self.current().settings != settings {
            let last_change = Arc::clone(&self.inner.last_change);
            self.inner.current.store(Arc::new(Current::new(settings, last_change)));
        }
    }

    /// Watches the version row and forgets old lookups when it changes; runs until it is dropped. Without it, changes of other
    /// processes are seen after `lookup_cache_ttl` at the latest.
    pub async fn follow_changes(&self) {
        let notice = |version| {
            self.current().lookups.changed_at(version);
            ready(Ok::<_, Error>(()))
        };
        let forget = || self.current().lookups.clear();
        ChangeRow::new(rows::version_key()).follow(&self.inner.db, "the directory", notice, forget).await;
    }

    /// The commit version of the last change of the directory; 0 for an empty one.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`].
    pub async fn version(&self) -> Result<Version> {
        self.read(|tx| async move { rows::last_change(&tx).await }).await
    }

    /// Runs a closure over one snapshot.
    pub(crate) async fn read<T, F, Fut>(&self, operation: F) -> Result<T>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = TxResult<T>>,
    {
        Ok(self.inner.db.read(operation).await?)
    }

    /// What is remembered for `key`, or else what the closure finds.
    pub(crate) async fn look_up<F, Fut>(&self, key: Key, operation: F) -> Result<Value>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = TxResult<Value>>,
    {
        let current = self.current();
        if let Some(value) = current.lookups.get(&key) {
            return Ok(value);
        }
        let versioned = |tx: Transaction| {
            let found = operation(tx.clone());
            async move { Ok::<_, TxError>((found.await?, tx.read_version().await?)) }
        };
        let (value, read_at) = self.inner.db.read(versioned).await?;
        current.lookups.insert(key, value.clone(), read_at);
        Ok(value)
    }

    /// Changes the directory in one transaction, and forgets what was looked up before. The closure may run again after a commit
    /// that did happen, and must then find that its work is done.
    pub(crate) async fn change<T, F, Fut>(&self, operation: F) -> Result<T>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = TxResult<T>>,
    {
        let touching = |tx: Transaction| {
            let work = operation(tx.clone());
            async move {
                let value = work.await?;
                rows::touch(&tx);
                Ok::<_, TxError>(value)
            }
        };
        match self.inner.db.transact_versioned(touching).await {
            Ok(committed) => {
                self.current().lookups.changed_at(committed.version);
                Ok(committed.value)
            }
            Err(error) => {
                // It may have happened all the same.
                self.current().lookups.clear();
                Err(error.into())
            }
        }
    }

    /// Writes what no lookup depends on, so that nothing needs to be forgotten.
    pub(crate) async fn maintain<F, Fut>(&self, operation: F) -> Result<()>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = TxResult<()>>,
    {
        Ok(self.inner.db.transact(operation).await?)
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        self.inner.current.load_full()
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::of(&*self.inner.clock)
    }
}
