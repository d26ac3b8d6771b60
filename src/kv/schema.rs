//! The version of the rows: checked at start, so that a release never misreads what a later one wrote.
//!
//! Row: `(CLUSTER, "schema")` -> the version, u32 little-endian.

use crate::keys::key;
use crate::keys::subspace::CLUSTER;
use crate::{Database, Error, Transaction};

/// The version that this release reads and writes.
pub const SCHEMA: u32 = 1;

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
        let row = &key(&(CLUSTER, "schema"));
        self.transact(|transaction: Transaction| async move {
            match transaction.get(row).await? {
                None => transaction.set(row, &SCHEMA.to_le_bytes()),
                Some(value) => {
                    let found = <[u8; 4]>::try_from(&value[..]).map(u32::from_le_bytes);
                    let found = found.map_err(|_| Error::Corrupt("the row of the schema version".into()))?;
                    if found > SCHEMA {
                        return Err(SchemaError::TooNew { found });
                    }
                }
            }
            Ok(())
        })
        .await
    }
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
            transaction.set(&key(&(CLUSTER, "schema")), &(SCHEMA + 1).to_le_bytes());
            Ok::<_, Error>(())
        };
        database.transact(later).await.unwrap();
        let refused = database.check_schema().await;
        assert!(matches!(refused, Err(SchemaError::TooNew { found }) if found == SCHEMA + 1));
    }
}
