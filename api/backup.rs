//! Backups: snapshots, and the jobs that make, check, restore and remove them.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::client::{Client, Result};
use crate::types::Page;

/// A point in time of everything. Times are seconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupSnapshot {
    /// Its name: when it was begun, and eight random digits.
    #[schema(example = "20261122-143305-1a2b3c4d")]
    pub id: String,
    /// When it was begun.
    pub began: u64,
    /// When it was complete.
    pub ended: u64,
    /// The host that made it.
    pub host: String,
    /// The release that made it.
    pub release: String,
    /// The lowest version of the store that something of it was read at.
    pub first_version: u64,
    /// The highest.
    pub last_version: u64,
    /// Whether all of the directory is of one version.
    pub directory_consistent: bool,
    /// Domains.
    pub domains: u64,
    /// Accounts.
    pub accounts: u64,
    /// Accounts that had changed since the snapshot before.
    pub changed_accounts: u64,
    /// Mailboxes.
    pub mailboxes: u64,
    /// Messages in mailboxes.
    pub messages: u64,
    /// Octets of them.
    pub bytes: u64,
    /// Messages in the queue.
    pub queued: u64,
    /// Bodies that were read for it.
    pub new_bodies: u64,
    /// Octets of them.
    pub new_body_bytes: u64,
    /// Octets that were written for it.
    pub written: u64,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "lowercase", deny_unknown_fields)]
pub enum BackupAction {
    /// Make a snapshot.
    Create {},
    /// Prove that snapshots can be restored.
    Verify {
        /// Read every pack, and compare everything with its checksum.
        #[serde(default)]
        full: bool,
    },
    /// Bring something back.
    Restore(BackupRestore),
    /// Remove snapshots, and what only they need.
    Prune(BackupPrune),
}

/// What becomes of mail that waited to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackupQueue {
    /// It is held in the queue.
    #[default]
    Hold,
    /// It is sent.
    Send,
    /// It is left out.
    Skip,
}

/// What is restored, and where to. With neither domain nor account: everything, which a running service does not do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackupRestore {
    /// The id of a snapshot, its beginning, `before:` and a time as ids have it (`before:20261122-1433`), or `latest`, which is the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// A domain with its accounts, aliases, groups and signing keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The address of an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Of the account, only this mailbox and those below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    /// The address of the account that gets it, if it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// The mailbox that the restored ones are put below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Only say what would be restored.
    pub dry_run: bool,
    /// What becomes of mail that waited to be sent, when everything is restored.
    pub queue: BackupQueue,
}

/// How many snapshots are kept, of each kind; one may count for several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackupPrune {
    /// The latest ones.
    pub keep_last: u32,
    /// The latest one of each of so many hours that have one.
    pub keep_hourly: u32,
    /// Of days.
    pub keep_daily: u32,
    /// Of weeks.
    pub keep_weekly: u32,
    /// Of months.
    pub keep_monthly: u32,
    /// Of years.
    pub keep_yearly: u32,
    /// Only say what would be removed.
    pub dry_run: bool,
}

/// How a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackupJobState {
    /// It waits for those before it.
    Waiting,
    /// It runs.
    Running,
    /// It ended well.
    Done,
    /// It failed.
    Failed,
}

/// A job. Times are seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupJob {
    /// Its number.
    pub id: u64,
    /// `create`, `verify`, `restore` or `prune`.
    pub action: String,
    /// How it is.
    pub state: BackupJobState,
    /// When it was ordered.
    pub ordered: u64,
    /// When it began.
    pub started: Option<u64>,
    /// When it ended.
    pub ended: Option<u64>,
    /// The host that does it.
    pub host: String,
    /// How far it is.
    pub progress: BackupProgress,
    /// Why it failed.
    pub error: Option<String>,
    /// What came of it, if that was a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<BackupSnapshot>,
    /// What came of it, if that was a verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<BackupReport>,
    /// What came of it, if that was a restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<BackupRestored>,
    /// What came of it, if snapshots were removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<BackupPruned>,
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupProgress {
    /// What it does now.
    pub step: String,
    /// Accounts that are done.
    pub accounts: u64,
    /// Accounts in all, as far as that is known.
    pub all_accounts: u64,
    /// Messages that are done.
    pub messages: u64,
    /// Octets of bodies.
    pub bytes: u64,
    /// Octets read from the repository.
    pub read: u64,
    /// Octets written to it.
    pub written: u64,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupReport {
    /// Snapshots.
    pub snapshots: u64,
    /// Accounts of all of them.
    pub accounts: u64,
    /// Messages of all of them.
    pub messages: u64,
    /// Bodies, each once.
    pub bodies: u64,
    /// Packs.
    pub packs: u64,
    /// Octets of them.
    pub pack_bytes: u64,
    /// Chunks in them.
    pub chunks: u64,
    /// Chunks that were compared with their checksums by a full verification.
    pub checked: u64,
    /// Chunks that no snapshot needs.
    pub unneeded: u64,
    /// What is missing or damaged, and what needs it. Empty if everything can be restored.
    pub problems: Vec<String>,
}

/// What was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupRestored {
    /// The snapshot.
    pub snapshot: String,
    /// Domains that were added.
    pub domains: u64,
    /// Accounts that were added.
    pub accounts: u64,
    /// Aliases and groups that were added.
    pub names: u64,
    /// Signing keys that were added.
    pub keys: u64,
    /// Messages that were added.
    pub messages: u64,
    /// Messages that were there.
    pub present: u64,
    /// Octets of the messages that were added.
    pub bytes: u64,
    /// Messages that were added to the queue.
    pub queued: u64,
    /// What somebody should know.
    pub warnings: Vec<String>,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupPruned {
    /// Snapshots that were removed.
    pub removed: Vec<String>,
    /// Snapshots that are kept.
    pub kept: Vec<String>,
    /// Packs that were deleted.
    pub deleted_packs: u64,
    /// Packs of which a part was needed, and is in another now.
    pub rewritten_packs: u64,
    /// Octets that the repository has less.
    pub freed: u64,
}

impl Client {
    /// The snapshots in the order of their time.
    pub async fn list_backups(&self) -> Result<Page<BackupSnapshot>> {
        self.get(&["backups"]).await
    }

    /// Orders a job.
    pub async fn order_backup(&self, action: &BackupAction) -> Result<BackupJob> {
        self.send(Method::POST, &["backup-jobs"], action, None).await
    }

    /// The jobs that are remembered, the latest first.
    pub async fn list_backup_jobs(&self) -> Result<Page<BackupJob>> {
        self.get(&["backup-jobs"]).await
    }

    /// A job.
    pub async fn backup_job(&self, id: u64) -> Result<BackupJob> {
        self.get(&["backup-jobs", &id.to_string()]).await
    }
}
