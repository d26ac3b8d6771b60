//! The version of the rows: checked at start, so that a release never misreads what a later one wrote.
//!
//! Row: `(CLUSTER, "schema")` -> the version, u32 little-endian.
//!
//! | version | what a store of it may have |
//! |---|---|
//! | 1 | the rows of the first release, which knows no features |
//! | 2 | rows of features that became active (`src/cluster`): a release that knows features asks for them before it starts |
//!
//! A store of version 1 stays one until the first feature becomes active, so that processes of the first release can be started beside those of the
//! next one until then.

use crate::keys::key;
use crate::keys::subspace::CLUSTER;
use crate::{Database, Error, Result, Transaction};

/// The version of new stores, and the latest that this release knows.
pub const SCHEMA: u32 = 2;
/// The earliest version, of stores that may be in use by a release that knows no features.
pub const WITHOUT_FEATURES: u32 = 1;

/// Why the store cannot be used by this release.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A later release wrote it.
    #[error(
        "the store has schema {found}, written by a later release; this one knows schema {SCHEMA}: start the later release again"
    )]
    TooNew {
        /// The version that was found.
        found: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl crate::AsKvError for SchemaError {
    fn as_kv_error(&self) -> Option<&Error> {
        match self {
            Self::Store(error) => Some(error),
            Self::TooNew { .. } => None,
        }
    }
}

impl Database {
    /// Sees that the rows have a version that this release knows, and gives it to a new store.
    ///
    /// # Errors
    /// [`SchemaError`].
    pub async fn check_schema(&self) -> Result<(), SchemaError> {
        self.transact(|transaction: Transaction| async move {
            match schema(&transaction).await? {
                None => raise_schema(&transaction),
                Some(found) if found > SCHEMA => return Err(SchemaError::TooNew { found }),
                Some(_) => {}
            }
            Ok(())
        })
        .await
    }
}

/// The version of the store; `None` for a new one.
///
/// # Errors
/// Failures of the read; [`Error::Corrupt`].
pub async fn schema(transaction: &Transaction) -> Result<Option<u32>> {
    let Some(value) = transaction.get(&row()).await? else { return Ok(None) };
    let found = <[u8; 4]>::try_from(&value[..]).map(u32::from_le_bytes);
    found.map(Some).map_err(|_| Error::Corrupt("the row of the schema version".into()))
}

/// Gives the store the version of this release, so that earlier ones refuse to start on it.
pub fn raise_schema(transaction: &Transaction) {
    transaction.set(&row(), &SCHEMA.to_le_bytes());
}

fn row() -> Vec<u8> {
    key(&(CLUSTER, "schema"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_of_a_later_release_is_refused() {
        let database = Database::in_memory();
        database.check_schema().await.unwrap();
        database.check_schema().await.unwrap();
        let later = |transaction: Transaction| async move {
            transaction.set(&row(), &(SCHEMA + 1).to_le_bytes());
            Ok::<_, Error>(())
        };
        database.transact(later).await.unwrap();
        let refused = database.check_schema().await;
        assert!(matches!(refused, Err(SchemaError::TooNew { found }) if found == SCHEMA + 1));
    }
}
