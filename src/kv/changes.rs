//! Hearing of changes that other processes make.
//!
//! Everything of one kind (the directory, the signing keys) has one row, which every change of it writes: the versionstamp of the last one. A process
//! keeps what it read together with the version that it read it at, watches the row, and forgets what is older than the last change.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use crate::{Database, Error, Result, Transaction, Version};

/// How long to wait before the row is looked at again after something failed.
const RETRY: Duration = Duration::from_secs(1);
/// How often the row is looked at even if no watch fired.
const INTERVAL: Duration = Duration::from_secs(60);

/// The row that every change of something writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRow {
    key: Vec<u8>,
}

impl ChangeRow {
    /// The row with this key.
    pub fn new(key: Vec<u8>) -> Self {
        Self { key }
    }

    /// Its key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Says that this transaction changes something.
    pub fn touch(&self, transaction: &Transaction) {
        transaction.set_versionstamped_value(&self.key, &[0; 10], 0);
    }

    /// The commit version of the last change, as this transaction sees it; 0 if there was none. No conflict comes of it.
    ///
    /// # Errors
    /// [`Error`] of the read.
    pub async fn last_change(&self, transaction: &Transaction) -> Result<Version> {
        let stamp = transaction.get_snapshot(&self.key).await?;
        let version = stamp.as_deref().and_then(|stamp| stamp.first_chunk::<8>());
        Ok(version.map_or(0, |bytes| Version::from_be_bytes(*bytes)))
    }

    /// Calls `notice` with the version of the last change: now, after every change, and once a minute whatever happened; several changes may be
    /// one call. When that fails, or the store does, calls `forget`, since nothing is known of changes then, and tries again. `what` names it in the log. Runs until it
    /// is dropped.
    pub async fn follow<E, F, Fut>(&self, database: &Database, what: &str, notice: F, forget: impl Fn())
    where
        F: Fn(Version) -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: From<Error> + Display,
    {
        loop {
            if let Err(error) = self.look(database, &notice).await {
                tracing::warn!(%error, "cannot watch {what} for changes");
                forget();
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// Takes notice of the last change, and returns when there may be another. What changes while `notice` works is after the watch, and another look.
    async fn look<E, F, Fut>(&self, database: &Database, notice: &F) -> Result<(), E>
    where
        F: Fn(Version) -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: From<Error>,
    {
        database.pass().await?;
        let transaction = database.begin();
        let version = self.last_change(&transaction).await?;
        let watch = transaction.watch(&self.key);
        database.commit(transaction).await?;
        notice(version).await?;
        match tokio::time::timeout(INTERVAL, watch.changed()).await {
            Ok(changed) => Ok(changed?),
            Err(_elapsed) => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::mpsc;

    use super::*;

    fn row() -> ChangeRow {
        ChangeRow::new(b"changes".to_vec())
    }

    async fn change(database: &Database) -> Version {
        let touch = |tx: Transaction| async move {
            row().touch(&tx);
            Ok::<_, Error>(())
        };
        database.transact_versioned(touch).await.unwrap().version
    }

    /// Sends what it notices; fails as often as `failures` says.
    fn notice(
        noticed: &mpsc::UnboundedSender<Version>,
        failures: &AtomicU32,
        version: Version,
    ) -> Result<()> {
        let fails = failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        noticed.send(version).unwrap();
        if fails.is_ok() { Err(Error::Unavailable("of the test".into())) } else { Ok(()) }
    }

    #[tokio::test]
    async fn every_change_is_noticed_also_one_from_before() {
        let database = Database::in_memory();
        let first = change(&database).await;
        let (sender, mut noticed) = mpsc::unbounded_channel();
        let (none, followed) = (AtomicU32::new(0), row());
        let follow = followed.follow(
            &database,
            "a test",
            |version| std::future::ready(notice(&sender, &none, version)),
            || {},
        );
        let changes = async {
            assert_eq!(noticed.recv().await, Some(first));
            let second = change(&database).await;
            assert!(second > first);
            assert_eq!(noticed.recv().await, Some(second));
        };
        tokio::select! {
            () = follow => unreachable!("it follows for ever"),
            () = changes => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_all_is_forgotten_and_looked_at_again() {
        let database = Database::in_memory();
        let (sender, mut noticed) = mpsc::unbounded_channel();
        let (twice, forgotten, followed) = (AtomicU32::new(2), AtomicU32::new(0), row());
        let forget = || {
            forgotten.fetch_add(1, Ordering::Relaxed);
        };
        let follow = followed.follow(
            &database,
            "a test",
            |version| std::future::ready(notice(&sender, &twice, version)),
            forget,
        );
        let looks = async {
            for _ in 0..3 {
                assert_eq!(noticed.recv().await, Some(0));
            }
        };
        tokio::select! {
            () = follow => unreachable!("it follows for ever"),
            () = looks => {}
        }
        assert_eq!(forgotten.load(Ordering::Relaxed), 2);
    }
}
