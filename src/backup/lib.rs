//! Backups of the whole service, and restoring all or a part of it.
//!
//! A [`Repository`] is in any object store: snapshots over content-addressed packs, encrypted under a key of the operator.
//! [`Backup::create`] adds a snapshot while the service runs, reading only what changed; [`Repository::verify`] proves that one can be restored;
//! [`Repository::prune`] removes what is not kept; [`Backup::restore`] brings back everything, a domain, an account or a mailbox.
//! [`jobs`] runs all of it in one process of a cluster, by order or by schedule. See `docs/design/0011-backup.md`.

mod create;
mod crypto;
mod document;
mod error;
pub mod jobs;
mod progress;
mod prune;
mod repository;
pub mod restore;
mod retention;
mod rows;
mod snapshot;
mod verify;
mod walk;

#[cfg(test)]
mod scenarios;

use std::path::PathBuf;
use std::time::Duration;

use ekitei_blob::Blobs;
use ekitei_directory::Directory;
use ekitei_kv::Database;
use ekitei_kv::clock::SharedClock;
use ekitei_mailstore::MailStore;

pub use crypto::{OperatorKey, OperatorKeys};
pub use document::Totals;
pub use error::{Error, Result};
pub use progress::{Figures, Progress};
pub use prune::Pruned;
pub use repository::{Holder, Lock, Purpose, Repository};
pub use retention::Retention;
pub use rows::incarnation;
pub use snapshot::SnapshotInfo;
pub use verify::{Depth, Report};

/// The parts of a service that are backed up and restored: cheap to clone.
#[derive(Clone)]
pub struct Backup {
    /// The metadata store.
    pub database: Database,
    /// Bodies.
    pub blobs: Blobs,
    /// Mail.
    pub mailstore: MailStore,
    /// Domains, accounts and names.
    pub directory: Directory,
    /// The time of day.
    pub clock: SharedClock,
    /// How it is done.
    pub options: Options,
}

/// How backups are made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Messages, or changes, that are read in one transaction: far fewer than five seconds take.
    pub page: usize,
    /// The name of this host, for people.
    pub host: String,
    /// The release of the service, for people.
    pub release: String,
    /// The incarnation of the store.
    pub incarnation: u16,
    /// Small files that belong to the store and lie beside it, such as the key of its signing keys: names in the backup, and where they are. A restore of
    /// everything writes those that are not there.
    pub files: Vec<(String, PathBuf)>,
}

impl Default for Options {
    fn default() -> Self {
        Self { page: 5_000, host: String::new(), release: String::new(), incarnation: 0, files: Vec::new() }
    }
}

impl Backup {
    fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Who this is, for the locks of a repository.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn holder(&self) -> Result<Holder> {
        let name = format!("{} (process {})", self.options.host, std::process::id());
        Ok(Holder { source: Some(rows::id(&self.database).await?), name })
    }
}
