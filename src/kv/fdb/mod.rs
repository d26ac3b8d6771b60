//! The FoundationDB engine: the interface's semantics are its own, so this is translation, of errors most of all.

mod error;
mod prefix;
mod status;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use foundationdb::FdbResult;
use foundationdb::options::DatabaseOption;

use crate::statistics::{Counters, Statistics};
use crate::{GIVE_UP_AFTER, Result};
use prefix::Prefix;
pub(crate) use transaction::{FdbTransaction, FdbWatch};

/// A read or commit that takes longer means that the cluster is away.
const TIMEOUT_MILLISECONDS: i32 = 10_000;
/// Watches that may wait at once; FoundationDB's own default is 10,000, less than the connections of a busy pod.
const MAX_WATCHES: i32 = 1_000_000;

/// Versions after which FoundationDB has forgotten what a commit could conflict with, and refuses it: five seconds, and one
/// more for good measure.
const COMMIT_WINDOW: i64 = 6_000_000;
/// Between two looks at the cluster's version.
const FENCE_PAUSE: Duration = Duration::from_millis(500);

/// A cluster.
pub(crate) struct FdbDatabase {
    database: foundationdb::Database,
    prefix: Prefix,
    counters: Counters,
}

impl FdbDatabase {
    /// Connects to the cluster that the file names, and starts the network thread the first time. Returns at once; a
    /// cluster that cannot be reached shows in the first read. All keys begin with `prefix`.
    pub(crate) fn open(cluster_file: &str, prefix: &[u8]) -> Result<Self> {
        let prefix = Prefix::new(prefix)?;
        ekitei_kv_network::start().map_err(error::of_read)?;
        let database = foundationdb::Database::from_path(cluster_file).map_err(error::of_read)?;
        for option in [
            DatabaseOption::TransactionTimeout(TIMEOUT_MILLISECONDS),
            // A commit whose answer was lost is found out instead of reported as unknown.
            DatabaseOption::TransactionAutomaticIdempotency,
            DatabaseOption::MaxWatches(MAX_WATCHES),
        ] {
            database.set_option(option).map_err(error::of_read)?;
        }
        Ok(Self { database, prefix, counters: Counters::default() })
    }

    pub(crate) fn begin(self: &Arc<Self>) -> FdbTransaction {
        FdbTransaction::new(self.clone(), self.database.create_trx().map_err(error::of_read))
    }

    /// Returns when a commit that was given up can no longer happen; retrying earlier could do its work twice.
    ///
    /// Before the client library reports an unknown result it sees to that itself, but not before it reports a timeout. A
    /// commit is refused once its read version is older than [`COMMIT_WINDOW`] (each has one, and the client makes each
    /// conflict with itself), and its read version is not above one that is asked for now.
    ///
    /// Returns as well after [`GIVE_UP_AFTER`], when nothing is retried any more.
    async fn outlive_commits(&self) {
        let outlive = async {
            let mut first = None;
            loop {
                if let Ok(version) = self.read_version().await
                    && version > first.get_or_insert(version).saturating_add(COMMIT_WINDOW)
                {
                    return;
                }
                tokio::time::sleep(FENCE_PAUSE).await;
            }
        };
        if tokio::time::timeout(GIVE_UP_AFTER, outlive).await.is_err() {
            tracing::warn!("FoundationDB does not answer; whether a commit happened stays unknown");
        }
    }

    async fn read_version(&self) -> FdbResult<i64> {
        self.database.create_trx()?.get_read_version().await
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.counters.snapshot()
    }
}
