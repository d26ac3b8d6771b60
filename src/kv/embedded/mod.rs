//! The embedded engine: FoundationDB's semantics in one process, over an ordered storage.
//!
//! A transaction reads the last durable snapshot and collects its writes; [`committer`] decides and makes durable.
//! Nobody ever reads what could still be lost.

mod committer;
mod disk;
mod memory;
mod resolver;
mod storage;
mod transaction;
mod watches;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use crate::faults::{Faults, NoFaults};
use crate::monotonic::MonotonicClock;
use crate::statistics::Statistics;
use crate::{Error, Result, Version};
use committer::{Commit, Committer, Request, Shared};
use memory::MemoryStorage;
use storage::Storage;

pub use disk::{EmbeddedOptions, Verify};
pub(crate) use transaction::EmbeddedTransaction;
pub(crate) use watches::WatchHandle;

/// How a database in memory is made.
#[derive(Clone)]
pub struct MemoryOptions {
    /// Measures the age of transactions.
    pub clock: MonotonicClock,
    /// What goes wrong, for tests.
    pub faults: Arc<dyn Faults>,
    /// Commits are decided in groups by a thread, as on disk, instead of one by one by their callers.
    pub committing_thread: bool,
    /// Makes the pauses between attempts of a transaction repeatable, for simulation.
    pub jitter_seed: Option<u64>,
}

impl Default for MemoryOptions {
    /// The tokio runtime's clock, no faults.
    fn default() -> Self {
        Self {
            clock: MonotonicClock::runtime(),
            faults: Arc::new(NoFaults),
            committing_thread: false,
            jitter_seed: None,
        }
    }
}

/// The embedded engine.
pub(crate) struct EmbeddedDatabase {
    shared: Arc<Shared>,
    commits: Commits,
    next_watch: AtomicU64,
    /// The seed of the next operation's jitter, if it is to be repeatable.
    jitter: Option<AtomicU64>,
}

/// Where commits are decided.
enum Commits {
    /// On the caller's thread: nothing blocks, and a simulation with a paused clock replays exactly.
    Inline(Box<Mutex<Committer>>),
    /// On a thread of its own, which takes all that wait as one group.
    Thread(CommittingThread),
}

/// The committing thread and the way to it; ends it when dropped.
struct CommittingThread {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedDatabase {
    /// An empty database whose commits are decided on their callers' threads.
    pub(crate) fn in_memory(options: &MemoryOptions) -> Self {
        let committer = Self::memory_committer(options);
        Self {
            shared: committer.shared().clone(),
            commits: Commits::Inline(Box::new(Mutex::new(committer))),
            next_watch: AtomicU64::new(0),
            jitter: options.jitter_seed.map(AtomicU64::new),
        }
    }

    /// An empty database whose commits are decided by a thread.
    pub(crate) fn in_memory_on_thread(options: &MemoryOptions) -> Result<Self> {
        Self::on_thread(Self::memory_committer(options), options.jitter_seed)
    }

    /// Opens or creates a store on disk. Blocks; `path` is a folder.
    pub(crate) fn open(path: &Path, options: &EmbeddedOptions) -> Result<Self> {
        let (storage, version) = disk::open(path, options)?;
        let storage = Storage::Disk(Box::new(storage));
        Self::on_thread(Committer::new(storage, version, options.clock.clone(), options.faults.clone()), None)
    }

    fn on_thread(committer: Committer, jitter_seed: Option<u64>) -> Result<Self> {
        Ok(Self {
            shared: committer.shared().clone(),
            commits: Commits::Thread(CommittingThread::start(committer)?),
            next_watch: AtomicU64::new(0),
            jitter: jitter_seed.map(AtomicU64::new),
        })
    }

    fn memory_committer(options: &MemoryOptions) -> Committer {
        let storage = Storage::Memory(MemoryStorage::default());
        Committer::new(storage, 0, options.clock.clone(), options.faults.clone())
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.shared.counters.snapshot()
    }

    async fn commit(&self, commit: Commit) -> Result<Version> {
        match &self.commits {
            Commits::Inline(committer) => {
                let mut committer = committer.lock().unwrap_or_else(PoisonError::into_inner);
                committer.commit(&[commit]).pop().unwrap_or(Err(Error::CommitUnknown))
            }
            Commits::Thread(thread) => thread.commit(commit).await,
        }
    }

    pub(crate) fn next_jitter(&self) -> Option<u64> {
        self.jitter.as_ref().map(|seed| seed.fetch_add(1, Ordering::Relaxed))
    }

    fn next_watch(&self) -> u64 {
        self.next_watch.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for EmbeddedDatabase {
    fn drop(&mut self) {
        // Nobody is left who could change anything.
        self.shared.watches.cancel_all();
    }
}

impl CommittingThread {
    fn start(committer: Committer) -> Result<Self> {
        let (requests, waiting) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("kv-commit".into())
            .spawn(move || committer.run(waiting))
            .map_err(|error| Error::Unavailable(format!("cannot start the committing thread: {error}")))?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    async fn commit(&self, commit: Commit) -> Result<Version> {
        let (reply, result) = oneshot::channel();
        let ended = || Error::Unavailable("the store is closed".into());
        self.requests.as_ref().and_then(|requests| requests.send((commit, reply)).ok()).ok_or_else(ended)?;
        // Without an answer the thread died in the middle, and the commit with it or not.
        result.await.unwrap_or(Err(Error::CommitUnknown))
    }
}

impl Drop for CommittingThread {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the committing thread died");
        }
    }
}
