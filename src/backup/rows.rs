//! The rows of backups (subspace [`BACKUP`]):
//!
//! | key | value |
//! |---|---|
//! | `(BACKUP, 0)` | the name of this store, by which snapshots of it know each other: 16 random octets. Not restored |
//! | `(BACKUP, 1, job)` | a [`crate::jobs::Job`] |
//! | `(BACKUP, 2)` | versionstamp of the latest job that was asked for; watched |
//! | `(BACKUP, 3)` | when the last snapshot was made, and how that went |
//! | `(BACKUP, 4, domain, body)` | the id that the body of a backup has here, for accounts of that domain: 16 octets |
//! | `(BACKUP, 5)` | the incarnation of the store, u16 little-endian |
//! | `(BACKUP, 6)` | the id of the snapshot that all is being restored from |
//! | `(BACKUP, 7, account)` | the id of the snapshot that the account is being restored from as it was |
//! | `(BACKUP, 8)` | when the snapshots were last verified, and how many problems that found |
//!
//! Postcard values begin with a format octet.

use std::ops::Range;

use ekitei_blob::BodyId;
use ekitei_directory::AccountId;
use ekitei_kv::keys::subspace::BACKUP;
use ekitei_kv::keys::{key, range};
use ekitei_kv::{Database, Transaction};

use crate::error::Result;

pub(crate) fn job(id: u64) -> Vec<u8> {
    key(&(BACKUP, 1u32, id))
}

pub(crate) fn jobs() -> Range<Vec<u8>> {
    range(&(BACKUP, 1u32))
}

pub(crate) fn latest_job() -> Vec<u8> {
    key(&(BACKUP, 2u32))
}

pub(crate) fn last_run() -> Vec<u8> {
    key(&(BACKUP, 3u32))
}

pub(crate) fn last_verification() -> Vec<u8> {
    key(&(BACKUP, 8u32))
}

/// Where a body of a backup is told to have got another id.
pub(crate) fn renamed(domain: &str, body: BodyId) -> Vec<u8> {
    key(&(BACKUP, 4u32, domain, body.as_bytes().as_slice()))
}

fn incarnation_row() -> Vec<u8> {
    key(&(BACKUP, 5u32))
}

pub(crate) fn whole_restore() -> Vec<u8> {
    key(&(BACKUP, 6u32))
}

/// Where it says what an account is being restored from.
pub(crate) fn account_restore(account: AccountId) -> Vec<u8> {
    key(&(BACKUP, 7u32, account.get()))
}

/// The name of the store; the first call gives it one.
pub(crate) async fn id(database: &Database) -> Result<[u8; 16]> {
    let new: [u8; 16] = rand::random();
    let row = &key(&(BACKUP, 0u32));
    Ok(database
        .transact(|tx: Transaction| async move {
            if let Some(found) = tx.get(row).await?.and_then(|found| found[..].try_into().ok()) {
                return Ok(found);
            }
            tx.set(row, &new);
            Ok::<[u8; 16], ekitei_kv::Error>(new)
        })
        .await?)
}

/// How often the data of a store has moved to another one: what MODSEQ begins with, so that it keeps rising. To be given to the mailstore.
///
/// # Errors
/// When the store fails.
pub async fn incarnation(database: &Database) -> ekitei_kv::Result<u16> {
    database.read(|tx: Transaction| async move { read_incarnation(&tx).await }).await
}

async fn read_incarnation(tx: &Transaction) -> ekitei_kv::Result<u16> {
    let row = tx.get(&incarnation_row()).await?;
    Ok(row.and_then(|row| row[..].try_into().ok()).map_or(0, u16::from_le_bytes))
}

/// Raises the incarnation to at least this.
pub(crate) async fn raise_incarnation(database: &Database, least: u16) -> ekitei_kv::Result<u16> {
    database
        .transact(|tx: Transaction| async move {
            let now = read_incarnation(&tx).await?;
            if now < least {
                tx.set(&incarnation_row(), &least.to_le_bytes());
            }
            Ok(now.max(least))
        })
        .await
}
