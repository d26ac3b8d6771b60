//! What the store has done since it was opened: for metrics, and for tests of transaction hygiene.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the database was opened. On FoundationDB, `batches` and `fsyncs` happen in the cluster and stay 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Commits of transactions that wrote something, acknowledged.
    pub commits: u64,
    /// Commits refused because of a conflict.
    pub conflicts: u64,
    /// Groups of commits written together.
    pub batches: u64,
    /// fsyncs of the journal.
    pub fsyncs: u64,
    /// Calls of `get`, `get_snapshot` and `get_range`.
    pub reads: u64,
    /// Rows that `get_range` returned.
    pub rows_read: u64,
    /// Keys and values committed, in bytes.
    pub bytes_written: u64,
}

/// The live counters behind [`Statistics`].
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) commits: Counter,
    pub(crate) conflicts: Counter,
    pub(crate) batches: Counter,
    pub(crate) fsyncs: Counter,
    pub(crate) reads: Counter,
    pub(crate) rows_read: Counter,
    pub(crate) bytes_written: Counter,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> Statistics {
        Statistics {
            commits: self.commits.get(),
            conflicts: self.conflicts.get(),
            batches: self.batches.get(),
            fsyncs: self.fsyncs.get(),
            reads: self.reads.get(),
            rows_read: self.rows_read.get(),
            bytes_written: self.bytes_written.get(),
        }
    }
}

/// One counter; relaxed, since nothing is ordered by it.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
