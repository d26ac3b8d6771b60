//! The FoundationDB engine: the interface's semantics are its own, so this is translation, of errors most of all.

mod error;
mod transaction;

use std::sync::Arc;

use foundationdb::options::DatabaseOption;

use crate::Result;
use crate::statistics::{Counters, Statistics};
pub(crate) use transaction::{FdbTransaction, FdbWatch};

/// A read or commit that takes longer means that the cluster is away.
const TIMEOUT_MILLISECONDS: i32 = 10_000;
/// Watches that may wait at once; FoundationDB's own default is 10,000, less than the connections of a busy pod.
const MAX_WATCHES: i32 = 1_000_000;

/// A cluster.
pub(crate) struct FdbDatabase {
    database: foundationdb::Database,
    counters: Counters,
}

impl FdbDatabase {
    /// Connects to the cluster that the file names, and starts the network thread the first time. Returns at once; a
    /// cluster that cannot be reached shows in the first read.
    pub(crate) fn open(cluster_file: &str) -> Result<Self> {
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
        Ok(Self { database, counters: Counters::default() })
    }

    pub(crate) fn begin(self: &Arc<Self>) -> FdbTransaction {
        FdbTransaction::new(self.clone(), self.database.create_trx().map_err(error::of_read))
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.counters.snapshot()
    }
}
