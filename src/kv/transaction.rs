//! The transaction that both engines offer.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::embedded::{EmbeddedTransaction, WatchHandle};
use crate::faults::Link;
#[cfg(feature = "foundationdb")]
use crate::fdb::{FdbTransaction, FdbWatch};
use crate::observer::Observer;
use crate::{Error, KeyValue, RangeOptions, Result, Version};

/// A transaction: a handle, cheap to clone, so that a closure can move it into its future.
///
/// Reads see one snapshot plus the transaction's own writes. All methods take `&self`. The snapshot is taken at the
/// first read, and can be read for about [`crate::limits::TRANSACTION_AGE`].
///
/// What only the commit makes, with a versionstamp in it, cannot be read before ([`Error::AccessedUnreadable`]): no key from
/// the lowest to the highest that a versionstamped key may become (any versionstamp after the read version; any at all if it
/// is written before the first read), and no key that a versionstamped value was written to, whatever is set there later. A
/// range with such a key may be refused even where its limit ends it before. A clear undoes what was written before it: of a
/// versionstamped value by its key, and of a versionstamped key if a range clear covers the lowest key that it may become.
///
/// A read that fails with this or with [`Error::TransactionTooOld`] fails the transaction: its commit gives that error too.
#[derive(Clone)]
pub struct Transaction {
    engine: Engine,
    may_have_committed: bool,
    observer: Option<Observer>,
    /// What lies between it and the store, in simulations.
    link: Option<Arc<dyn Link>>,
}

/// Which engine runs it. An enum, since embedded reads are ready at once and need no boxed future.
#[derive(Clone)]
enum Engine {
    Embedded(Arc<EmbeddedTransaction>),
    #[cfg(feature = "foundationdb")]
    FoundationDb(Arc<FdbTransaction>),
}

impl Transaction {
    pub(crate) fn embedded(
        transaction: EmbeddedTransaction,
        may_have_committed: bool,
        observer: Option<Observer>,
    ) -> Self {
        Self { engine: Engine::Embedded(Arc::new(transaction)), may_have_committed, observer, link: None }
    }

    #[cfg(feature = "foundationdb")]
    pub(crate) fn foundationdb(
        transaction: FdbTransaction,
        may_have_committed: bool,
        observer: Option<Observer>,
    ) -> Self {
        Self { engine: Engine::FoundationDb(Arc::new(transaction)), may_have_committed, observer, link: None }
    }

    /// The same transaction for a process behind a link: its watches wake over that.
    pub(crate) fn behind(self, link: Option<Arc<dyn Link>>) -> Self {
        Self { link, ..self }
    }

    /// The value of a key, with a read conflict on it (unless this transaction's own writes decide it).
    ///
    /// # Errors
    /// [`Error::TransactionTooOld`], [`Error::AccessedUnreadable`] and the engine's failures.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        if let Some(observer) = &self.observer {
            observer.got();
        }
        match &self.engine {
            Engine::Embedded(transaction) => transaction.get(key, false),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => transaction.get(key, false).await,
        }
    }

    /// The value of a key without a read conflict.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn get_snapshot(&self, key: &[u8]) -> Result<Option<Bytes>> {
        if let Some(observer) = &self.observer {
            observer.got();
        }
        match &self.engine {
            Engine::Embedded(transaction) => transaction.get(key, true),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => transaction.get(key, true).await,
        }
    }

    /// The rows of `[range.start, range.end)` in key order (reversed if asked); all of them up to `options.limit`.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn get_range(&self, range: Range<Vec<u8>>, options: RangeOptions) -> Result<Vec<KeyValue>> {
        let found = match &self.engine {
            Engine::Embedded(transaction) => transaction.get_range(range, options),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => transaction.get_range(range, options).await,
        };
        if let Some(observer) = &self.observer {
            observer.read_range(found.as_ref().map_or(0, Vec::len));
        }
        found
    }

    /// Sets a key. Limits are checked at commit.
    pub fn set(&self, key: &[u8], value: &[u8]) {
        match &self.engine {
            Engine::Embedded(transaction) => transaction.set(key, value),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => transaction.set(key, value),
        }
    }

    /// Removes a key.
    pub fn clear(&self, key: &[u8]) {
        match &self.engine {
            Engine::Embedded(transaction) => transaction.clear(key),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => transaction.clear(key),
        }
    }

    /// Removes every key of `[range.start, range.end)`.
    pub fn clear_range(&self, range: Range<Vec<u8>>) {
        match &self.engine {
            Engine::Embedded(transaction) => transaction.clear_range(range),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => transaction.clear_range(range),
        }
    }

    /// Adds to a little-endian 64-bit integer (an absent one is 0), without a read conflict. Read it with
    /// [`crate::decode_counter`].
    pub fn add(&self, key: &[u8], delta: i64) {
        match &self.engine {
            Engine::Embedded(transaction) => transaction.add(key, delta),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => transaction.add(key, delta),
        }
    }

    /// Sets a key whose ten bytes at `offset` are replaced by the commit's versionstamp (eight bytes of commit version and two
    /// of order within it, big-endian). The key cannot be read in this transaction ([`Error::AccessedUnreadable`]).
    pub fn set_versionstamped_key(&self, key: &[u8], offset: usize, value: &[u8]) {
        match &self.engine {
            Engine::Embedded(transaction) => transaction.set_versionstamped_key(key, offset, value),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => transaction.set_versionstamped_key(key, offset, value),
        }
    }

    /// Sets a value whose ten bytes at `offset` are replaced by the commit's versionstamp. The key cannot be read in this
    /// transaction ([`Error::AccessedUnreadable`]).
    pub fn set_versionstamped_value(&self, key: &[u8], value: &[u8], offset: usize) {
        match &self.engine {
            Engine::Embedded(transaction) => transaction.set_versionstamped_value(key, value, offset),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => transaction.set_versionstamped_value(key, value, offset),
        }
    }

    /// Makes the commit fail if another transaction writes the range after this one's read version. (A transaction that
    /// reads nothing has none before its commit, and so cannot conflict.)
    pub fn add_read_conflict(&self, range: Range<Vec<u8>>) {
        match &self.engine {
            Engine::Embedded(transaction) => transaction.add_read_conflict(range),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => transaction.add_read_conflict(range),
        }
    }

    /// Makes others that read the range conflict with this transaction.
    pub fn add_write_conflict(&self, range: Range<Vec<u8>>) {
        match &self.engine {
            Engine::Embedded(transaction) => transaction.add_write_conflict(range),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => transaction.add_write_conflict(range),
        }
    }

    /// A future that completes once the key's value differs from what this transaction saw (including its own
    /// write), or spuriously. It counts from the commit on.
    pub fn watch(&self, key: &[u8]) -> Watch {
        let engine = match &self.engine {
            Engine::Embedded(transaction) => WatchEngine::Embedded(transaction.watch(key)),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => WatchEngine::FoundationDb(transaction.watch(key)),
        };
        Watch { engine, link: self.link.clone() }
    }

    /// The version whose state this transaction reads.
    ///
    /// # Errors
    /// The engine's failures.
    pub async fn read_version(&self) -> Result<Version> {
        match &self.engine {
            Engine::Embedded(transaction) => transaction.read_version(),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => transaction.read_version().await,
        }
    }

    /// True when an earlier attempt of this closure ended with an unknown commit result, so what it writes may be there
    /// already.
    pub fn may_have_committed(&self) -> bool {
        self.may_have_committed
    }

    /// Bytes so far of what counts against [`crate::limits::TRANSACTION_SIZE`]; each operation counts.
    pub fn size(&self) -> usize {
        match &self.engine {
            Engine::Embedded(transaction) => transaction.size(),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => transaction.size(),
        }
    }

    /// Commits, once; the handle and its clones are spent. A transaction that wrote nothing commits trivially.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::CommitUnknown`], limits, what a read failed with, and the engine's failures.
    pub async fn commit(self) -> Result<Version> {
        let written = (self.observer.is_some() && self.writes()).then(|| self.size());
        let outcome = match &self.engine {
            Engine::Embedded(transaction) => transaction.commit().await,
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => transaction.commit().await,
        };
        if let (Some(observer), Some(bytes)) = (&self.observer, written) {
            observer.ended(bytes, &outcome);
        }
        outcome
    }

    /// Whether its commit would change anything, or make others conflict.
    pub(crate) fn writes(&self) -> bool {
        match &self.engine {
            Engine::Embedded(transaction) => transaction.writes(),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => transaction.writes(),
        }
    }

    /// Ends a transaction whose writes are not wanted; its watches begin.
    pub(crate) async fn end_read(self) {
        match &self.engine {
            Engine::Embedded(transaction) => transaction.end_read(),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(transaction) => transaction.end_read().await,
        }
    }
}

/// A pending watch; completes when the key changed. Dropping it cancels it.
pub struct Watch {
    engine: WatchEngine,
    /// What the news has to pass, in simulations.
    link: Option<Arc<dyn Link>>,
}

enum WatchEngine {
    Embedded(WatchHandle),
    #[cfg(feature = "foundationdb")]
    FoundationDb(FdbWatch),
}

impl Watch {
    /// Waits for the change.
    ///
    /// # Errors
    /// When the engine can no longer tell (closed, its transaction was not committed, or too many watches): treat it as a
    /// change, and read again.
    pub async fn changed(self) -> Result<()> {
        match self.engine {
            WatchEngine::Embedded(mut watch) => {
                let ended = |_| Error::Unavailable("the watch was cancelled".into());
                (&mut watch.woken).await.map_err(ended)?;
            }
            #[cfg(feature = "foundationdb")]
            WatchEngine::FoundationDb(watch) => watch.changed().await?,
        }
        match self.link {
            Some(link) => link.wake().await,
            None => Ok(()),
        }
    }
}
