//! What is done through one handle of a database, whatever others do meanwhile: for budgets of transactions that tests keep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// What was done through the handle that [`crate::Database::observed`] gave, and through its clones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Transactions begun, the repeated ones and those that only read included.
    pub begun: u64,
    /// Commits of transactions that wrote something, acknowledged.
    pub commits: u64,
    /// Commits refused because of a conflict.
    pub conflicts: u64,
    /// Rows asked for by key, there or not.
    pub gets: u64,
    /// Ranges read.
    pub ranges: u64,
    /// Rows that the ranges held.
    pub rows: u64,
    /// Octets of the committed transactions, as they count against [`crate::limits::TRANSACTION_SIZE`].
    pub bytes: u64,
}

impl Observed {
    /// Calls that read: by key and by range.
    pub fn reads(&self) -> u64 {
        self.gets + self.ranges
    }
}

/// Counts what is done through a handle.
#[derive(Clone, Debug, Default)]
pub struct Observer(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    begun: AtomicU64,
    commits: AtomicU64,
    conflicts: AtomicU64,
    gets: AtomicU64,
    ranges: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl Observer {
    /// What was done since the last call, or since the handle was made.
    pub fn take(&self) -> Observed {
        let taken = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        Observed {
            begun: taken(&self.0.begun),
            commits: taken(&self.0.commits),
            conflicts: taken(&self.0.conflicts),
            gets: taken(&self.0.gets),
            ranges: taken(&self.0.ranges),
            rows: taken(&self.0.rows),
            bytes: taken(&self.0.bytes),
        }
    }

    pub(crate) fn begun(&self) {
        add(&self.0.begun, 1);
    }

    pub(crate) fn got(&self) {
        add(&self.0.gets, 1);
    }

    pub(crate) fn read_range(&self, rows: usize) {
        add(&self.0.ranges, 1);
        add(&self.0.rows, rows);
    }

    /// Counts the end of a transaction that wrote `bytes`, if it wrote anything.
    pub(crate) fn ended<T>(&self, bytes: usize, outcome: &Result<T>) {
        match outcome {
            Ok(_) => {
                add(&self.0.commits, 1);
                add(&self.0.bytes, bytes);
            }
            Err(Error::Conflict) => add(&self.0.conflicts, 1),
            Err(_) => {}
        }
    }
}

/// Relaxed, since nothing is ordered by it.
fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(u64::try_from(n).unwrap_or(u64::MAX), Ordering::Relaxed);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Arc, AtomicU64, Ordering};
    use crate::{Database, Error, RangeOptions, Transaction, prefix_range};

    #[tokio::test]
    async fn a_handle_counts_what_is_done_through_it_and_nothing_else() {
        let database = Database::in_memory();
        let (handle, observer) = database.observed();
        let write = |t: Transaction| async move {
            t.get(b"a").await?;
            t.set(b"a1", b"x");
            t.set(b"a2", b"y");
            Ok::<_, Error>(())
        };
        handle.clone().transact(write).await.unwrap();
        database.transact(write).await.unwrap();
        let written = observer.take();
        assert_eq!((written.begun, written.commits, written.gets, written.ranges), (1, 1, 1, 0));
        assert!(written.bytes >= 6, "{written:?}");
        let read =
            |t: Transaction| async move { t.get_range(prefix_range(b"a"), RangeOptions::default()).await };
        assert_eq!(handle.read(read).await.unwrap().len(), 2);
        let read = observer.take();
        assert_eq!((read.begun, read.commits, read.ranges, read.rows, read.bytes), (1, 0, 1, 2, 0));
        assert_eq!(observer.take(), super::Observed::default());
    }

    #[tokio::test]
    async fn commits_that_write_are_timed() {
        let told = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&told);
        let database = Database::in_memory().timed(Arc::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        let write = |t: Transaction| async move {
            t.set(b"a", b"x");
            Ok::<_, Error>(())
        };
        database.clone().transact(write).await.unwrap();
        database.transact(|t| async move { t.get(b"a").await }).await.unwrap();
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_conflict_counts_with_its_repetition() {
        let (database, observer) = Database::in_memory().observed();
        let (first, second) = (database.begin(), database.begin());
        for transaction in [&first, &second] {
            transaction.get(b"k").await.unwrap();
            transaction.set(b"k", b"v");
        }
        first.commit().await.unwrap();
        assert!(matches!(second.commit().await, Err(Error::Conflict)));
        let seen = observer.take();
        assert_eq!((seen.begun, seen.commits, seen.conflicts), (2, 1, 1));
    }
}
