//! Signing keys in and out in whole: for backups. Private keys stay as they are stored, encrypted under `signing.encryptionKey`, so a restored
//! one signs only where that key, or a later one with it among the previous ones, is configured.

use ekitei_directory::Domain;
use ekitei_kv::{Database, KeyValue, Transaction};

use crate::error::{Error, Result};
use crate::rows;

/// The stored keys of all domains; of very many, some at a later version than others.
///
/// # Errors
/// When the store fails.
pub async fn export(database: &Database) -> Result<Vec<KeyValue>> {
    let mut keys = Vec::new();
    let page = |rows: Vec<KeyValue>| {
        keys.extend(rows);
        Ok::<_, Error>(())
    };
    database.scan(rows::keys_of(None), page).await?;
    Ok(keys)
}

/// Writes the keys of one domain, or of all, that are not there; returns how many. Rows of [`export`].
///
/// # Errors
/// When the store fails, or a row is not one of a signing key.
pub async fn import(database: &Database, keys: &[KeyValue], domain: Option<&Domain>) -> Result<u64> {
    let mut added = 0;
    for row in keys {
        let named = rows::named(row)?;
        if domain.is_some_and(|domain| named.domain != *domain) {
            continue;
        }
        let write = |tx: Transaction| async move {
            if let Some(found) = tx.get(&row.key).await? {
                return Ok::<_, Error>(tx.may_have_committed() && found == row.value);
            }
            tx.set(&row.key, &row.value);
            rows::changes().touch(&tx);
            Ok(true)
        };
        added += u64::from(database.transact(write).await?);
    }
    Ok(added)
}
