//! The ordered transactional key-value store: one interface, two engines.
//!
//! Semantics are FoundationDB's: serializable optimistic transactions with read-conflict ranges, snapshot
//! reads, atomic add, versionstamped keys and values, watches, and its limits (see [`limits`]). Data enters
//! and leaves through [`Database::transact`], which retries conflicts with backoff.

pub mod clock;
pub mod keys;
pub mod lease;
pub mod limits;

mod buffer;
mod changes;
mod embedded;
mod error;
mod faults;
#[cfg(feature = "foundationdb")]
mod fdb;
mod monotonic;
mod observer;
mod range_set;
mod retry;
mod rules;
pub mod schema;
mod span;
mod statistics;
mod transaction;
mod versionstamp;

pub use changes::ChangeRow;
pub use embedded::{EmbeddedOptions, MemoryOptions, Verify};
pub use error::{AsKvError, Error};
pub use faults::{CommitFault, FaultScript, Faults, Link, LinkFuture};
pub use monotonic::{ManualMonotonicClock, MonotonicClock};
pub use observer::{Observed, Observer};
pub use statistics::Statistics;
pub use transaction::{Transaction, Watch};

use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use embedded::{EmbeddedDatabase, EmbeddedTransaction};
#[cfg(feature = "foundationdb")]
use fdb::FdbDatabase;
use retry::Backoff;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The version of a commit: rises with every commit of the database; unit-less. FoundationDB advances it by about a
/// million a second.
pub type Version = u64;

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key, at most [`limits::KEY_SIZE`] bytes.
    pub key: Bytes,
    /// The value, at most [`limits::VALUE_SIZE`] bytes.
    pub value: Bytes,
}

/// How a range is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeOptions {
    /// At most this many rows; 0 for all of them.
    pub limit: usize,
    /// From the end of the range to its beginning.
    pub reverse: bool,
    /// Without a read-conflict range: the rows may change before the commit.
    pub snapshot: bool,
}

/// A database: cheap to clone, shared by all tasks.
#[derive(Clone)]
pub struct Database {
    engine: Engine,
    /// What lies between this handle and the store, in simulations.
    link: Option<Arc<dyn Link>>,
    /// Counts what is done through this handle, in tests.
    observer: Option<Observer>,
    /// Told how long commits through this handle take.
    timer: Option<CommitTimer>,
}

/// Told the time of each commit that wrote something, from its request to its answer, whatever that is.
pub type CommitTimer = Arc<dyn Fn(Duration) + Send + Sync>;

#[derive(Clone)]
enum Engine {
    Embedded(Arc<EmbeddedDatabase>),
    #[cfg(feature = "foundationdb")]
    FoundationDb(Arc<FdbDatabase>),
}

/// After this time [`Database::transact`] does not try again.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// One page of [`Database::scan`].
const SCAN: RangeOptions = RangeOptions { limit: 1_000, reverse: false, snapshot: true };

/// What a successful [`Database::transact_versioned`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed<T> {
    /// What the closure returned.
    pub value: T,
    /// The version the transaction committed at: the first eight bytes of its versionstamps. For a transaction
    /// that wrote nothing, its read version.
    pub version: Version,
}

impl Database {
    /// An empty database in memory: the embedded engine without its files, for tests and simulation.
    pub fn in_memory() -> Self {
        Self::embedded(EmbeddedDatabase::in_memory(&MemoryOptions::default()))
    }

    /// [`Database::in_memory`] with an injected clock or faults.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the committing thread cannot be started.
    pub fn in_memory_with(options: MemoryOptions) -> Result<Self> {
        if options.committing_thread {
            return Ok(Self::embedded(EmbeddedDatabase::in_memory_on_thread(&options)?));
        }
        Ok(Self::embedded(EmbeddedDatabase::in_memory(&options)))
    }

    /// Opens the embedded store in the folder `path`, or creates it. Blocks while the files are checked.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when files are damaged or promised commits are lost: it names the file, what is lost and the way
    /// out. [`Error::Unavailable`] when another process has the store (it names it), or the system refuses.
    pub fn open_embedded(path: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Self> {
        Ok(Self::embedded(EmbeddedDatabase::open(path.as_ref(), &options)?))
    }

    /// Connects to the FoundationDB cluster that `cluster_file` names. All keys begin with `prefix` there, so that several
    /// installations can share a cluster; it is at most 256 octets. A program that did must call
    /// [`stop_foundationdb`] before it returns from `main`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the client library refuses, [`Error::Misuse`] for a wrong prefix. That the cluster cannot be reached shows later, in reads.
    #[cfg(feature = "foundationdb")]
    pub fn open_foundationdb(cluster_file: impl AsRef<str>, prefix: impl AsRef<[u8]>) -> Result<Self> {
        let database = FdbDatabase::open(cluster_file.as_ref(), prefix.as_ref())?;
        let engine = Engine::FoundationDb(Arc::new(database));
        Ok(Self { engine, link: None, observer: None, timer: None })
    }

    fn embedded(database: EmbeddedDatabase) -> Self {
        Self { engine: Engine::Embedded(Arc::new(database)), link: None, observer: None, timer: None }
    }

    /// The same database for a process behind a link that may break, for simulations.
    pub fn behind(&self, link: Arc<dyn Link>) -> Self {
        Self { link: Some(link), ..self.clone() }
    }

    /// The same database through a handle that counts what is done through it and its clones.
    pub fn observed(&self) -> (Self, Observer) {
        let observer = Observer::default();
        (Self { observer: Some(observer.clone()), ..self.clone() }, observer)
    }

    /// The same database through a handle that tells how long the commits of [`Database::transact`] take.
    #[must_use]
    pub fn timed(&self, timer: CommitTimer) -> Self {
        Self { timer: Some(timer), ..self.clone() }
    }

    async fn pass(&self) -> Result<()> {
        match &self.link {
            Some(link) => link.pass().await,
            None => Ok(()),
        }
    }

    /// Commits, over the link in both directions.
    async fn commit(&self, transaction: Transaction) -> Result<Version> {
        self.pass().await?;
        let timer = self.timer.as_ref().filter(|_| transaction.writes());
        let began = timer.map(|_| Instant::now());
        let outcome = transaction.commit().await;
        if let (Some(timer), Some(began)) = (timer, began) {
            timer(began.elapsed());
        }
        let version = outcome?;
        // It is done, and the answer may be lost.
        self.pass().await.map_err(|_| Error::CommitUnknown)?;
        Ok(version)
    }

    /// What the store has done since it was opened.
    pub fn statistics(&self) -> Statistics {
        match &self.engine {
            Engine::Embedded(database) => database.statistics(),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(database) => database.statistics(),
        }
    }

    /// What the cluster says of itself, in JSON as FoundationDB documents it; nothing for an embedded store.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the cluster does not answer.
    #[cfg(feature = "foundationdb")]
    pub async fn cluster_status(&self) -> Result<Option<Bytes>> {
        match &self.engine {
            Engine::Embedded(_) => Ok(None),
            Engine::FoundationDb(database) => database.status().await,
        }
    }

    /// Begins a transaction. Prefer [`Database::transact`], which also retries.
    pub fn begin(&self) -> Transaction {
        self.begin_attempt(false)
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(match &self.engine {
            Engine::Embedded(database) => database.next_jitter(),
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(_) => None,
        })
    }

    fn begin_attempt(&self, may_have_committed: bool) -> Transaction {
        let observer = self.observer.clone();
        if let Some(observer) = &observer {
            observer.begun();
        }
        let transaction = match &self.engine {
            Engine::Embedded(database) => {
                let transaction = EmbeddedTransaction::new(database.clone());
                Transaction::embedded(transaction, may_have_committed, observer)
            }
            #[cfg(feature = "foundationdb")]
            Engine::FoundationDb(database) => {
                Transaction::foundationdb(database.begin(), may_have_committed, observer)
            }
        };
        transaction.behind(self.link.clone())
    }

    /// Runs `operation` in a transaction and commits it; repeats both while the error is retryable (conflict,
    /// read version too old, commit result unknown), with backoff and jitter, and gives up after a minute.
    ///
    /// The closure may therefore run after an attempt whose commit *did* happen: it must be written so that a repetition
    /// changes nothing ([`Transaction::may_have_committed`] tells when that is possible, so that the check for the
    /// operation's own traces can be skipped otherwise).
    ///
    /// In a task that is spawned, write the closure as `|t| async move { .. }` over references: of an async closure that
    /// borrows, the compiler cannot prove that its future is `Send`.
    ///
    /// # Errors
    /// What the closure returned, if it is not retryable; [`Error`] of the commit. [`Error::CommitUnknown`] when the result of some
    /// attempt is unknown and no later one could settle it: what the closure wrote may be there, or come back with a restart.
    pub async fn transact<T, E, F, Fut>(&self, operation: F) -> Result<T, E>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + AsKvError,
    {
        Ok(self.transact_versioned(operation).await?.value)
    }

    /// [`Database::transact`] that also tells the commit version.
    ///
    /// # Errors
    /// As [`Database::transact`].
    pub async fn transact_versioned<T, E, F, Fut>(&self, operation: F) -> Result<Committed<T>, E>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + AsKvError,
    {
        let mut backoff = self.backoff();
        let mut may_have_committed = false;
        loop {
            if let Err(error) = self.pass().await {
                return Err(E::from(if may_have_committed { Error::CommitUnknown } else { error }));
            }
            let transaction = self.begin_attempt(may_have_committed);
            let failure = match operation(transaction.clone()).await {
                Ok(value) => match self.commit(transaction).await {
                    Ok(version) => return Ok(Committed { value, version }),
                    Err(error) => {
                        may_have_committed |= matches!(error, Error::CommitUnknown);
                        E::from(error)
                    }
                },
                Err(error) => error,
            };
            if backoff.elapsed() >= GIVE_UP_AFTER || !is_retryable(&failure) {
                // What an earlier attempt did stays unknown: a failure of this one must not pass for a refusal.
                let is_store_failure = failure.as_kv_error().is_some();
                return Err(if may_have_committed && is_store_failure {
                    E::from(Error::CommitUnknown)
                } else {
                    failure
                });
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// Reads outside of any transaction's conflicts: a closure over one consistent snapshot, retried when it grew
    /// too old. Nothing that the closure writes is committed.
    ///
    /// # Errors
    /// As [`Database::transact`].
    pub async fn read<T, E, F, Fut>(&self, operation: F) -> Result<T, E>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + AsKvError,
    {
        let mut backoff = self.backoff();
        loop {
            self.pass().await?;
            let transaction = self.begin();
            let failure = match operation(transaction.clone()).await {
                Ok(value) => {
                    transaction.end_read().await;
                    return Ok(value);
                }
                Err(error) => error,
            };
            if backoff.elapsed() >= GIVE_UP_AFTER || !is_retryable(&failure) {
                return Err(failure);
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// Reads a range of any size page by page, each page in a transaction of its own when the range is too large for one
    /// (so not one consistent snapshot past [`limits::TRANSACTION_AGE`]); calls `page` with each.
    ///
    /// # Errors
    /// [`Error`] of a read, or what `page` returned.
    pub async fn scan<E, F>(&self, range: Range<Vec<u8>>, mut page: F) -> Result<(), E>
    where
        F: FnMut(Vec<KeyValue>) -> Result<(), E>,
        E: From<Error> + AsKvError,
    {
        let Range { mut start, end } = range;
        loop {
            let (from, end) = (&start, &end);
            let rows = self.read(async |t: Transaction| t.get_range(from.clone()..end.clone(), SCAN).await);
            let rows = rows.await?;
            let Some(last) = rows.last() else { return Ok(()) };
            let next = span::successor(&last.key);
            let is_last = rows.len() < SCAN.limit;
            page(rows)?;
            if is_last {
                return Ok(());
            }
            start = next.into();
        }
    }
}

/// Ends the client library's thread, as a program must before it returns from `main`.
#[cfg(feature = "foundationdb")]
pub fn stop_foundationdb() {
    ekitei_kv_network::stop();
}

fn is_retryable<E: AsKvError>(error: &E) -> bool {
    error.as_kv_error().is_some_and(Error::is_retryable)
}

/// Reads a counter that [`Transaction::add`] keeps; absent is 0.
pub fn decode_counter(value: Option<&[u8]>) -> i64 {
    value.and_then(|v| <[u8; 8]>::try_from(v).ok()).map_or(0, i64::from_le_bytes)
}

/// The first key after all keys that begin with `prefix`; `None` for a prefix of only 0xFF bytes.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&b| b != 0xFF)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// The range of all keys that begin with `prefix`.
pub fn prefix_range(prefix: &[u8]) -> Range<Vec<u8>> {
    prefix.to_vec()..prefix_end(prefix).unwrap_or_else(|| vec![0xFF; prefix.len() + 1])
}
