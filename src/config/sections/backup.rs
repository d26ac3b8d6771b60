//! Backups: where they go, when, and how many are kept.

use std::path::PathBuf;

use super::{BlobCredentials, BlobSse, BlobStore, Blobs, section};
use crate::{Duration, Secret};

section! {
    /// Backups of everything: see `docs/backup.md`.
    pub struct Backup {
        /// The key that backups are encrypted under: 32 octets in base64 (`openssl rand -base64 32`). Keep a copy of it where neither the service nor the backups
        /// are: without it, no backup can be read. Without it, there are no backups.
        encryption_key: Option<Secret> = None,
        /// Keys that were in force before: a repository that was made with one is opened with it, and then takes `encryptionKey`.
        previous_encryption_keys: Vec<Secret> = Vec::new(),
        /// The kind of object store that backups go to: another one than that of the mail.
        kind: BlobStore = BlobStore::Directory,
        /// The directory of backups, for `kind: directory`: on another disk, or mounted from another machine.
        path: PathBuf = "backups".into(),
        /// The URL of the server, for `kind: s3`, as in `blobs`; likewise the keys below.
        endpoint: Option<String> = None,
        /// The bucket. It must be there; another one than that of `blobs`, best of another account.
        bucket: String = String::new(),
        /// The region of the bucket.
        region: Option<String> = None,
        /// Whether the bucket is named in the path of a URL, and not in its host name.
        path_style: bool = false,
        /// What the names of all objects begin with.
        prefix: String = "backup/".to_owned(),
        /// Who asks.
        credentials: Option<BlobCredentials> = None,
        /// How the server encrypts what it stores, beside `encryptionKey`.
        sse: BlobSse = BlobSse::None,
        /// The id of the key for `sse: aws:kms`.
        sse_key_id: Option<String> = None,
        /// Certificates in PEM to trust beside the system's.
        ca_file: Option<PathBuf> = None,
        /// How long after one backup the next is made; `0` for none but those that are ordered.
        interval: Duration = Duration::seconds(0),
        /// The time of day of backups, `HH:MM` in UTC, in place of an `interval`.
        daily_at: Option<String> = None,
        /// Which backups are kept; the others are removed after each one by schedule.
        retention: BackupRetention = BackupRetention::default(),
        /// Messages, or changes, of one mailbox that are read in one transaction.
        #[schemars(range(min = 10, max = 50_000))]
        page: u32 = 5_000,
    }
}

section! {
    /// How many backups are kept, of each kind; one may count for several. With all of them 0, none is ever removed by schedule.
    pub struct BackupRetention {
        /// The latest ones.
        last: u32 = 3,
        /// The latest one of each of so many hours that have one.
        hourly: u32 = 0,
        /// Of days.
        daily: u32 = 7,
        /// Of weeks.
        weekly: u32 = 5,
        /// Of months.
        monthly: u32 = 12,
        /// Of years.
        yearly: u32 = 0,
    }
}

impl Backup {
    /// The store of backups as one of objects: with the patience of the mail's.
    pub fn objects(&self, blobs: &Blobs) -> Blobs {
        Blobs {
            kind: self.kind,
            path: self.path.clone(),
            endpoint: self.endpoint.clone(),
            bucket: self.bucket.clone(),
            region: self.region.clone(),
            path_style: self.path_style,
            prefix: self.prefix.clone(),
            credentials: self.credentials.clone(),
            sse: self.sse,
            sse_key_id: self.sse_key_id.clone(),
            ca_file: self.ca_file.clone(),
            ..blobs.clone()
        }
    }

    /// Minutes after midnight, in UTC, that `daily_at` says; `None` if it says nothing or nothing that is a time.
    pub fn daily_minutes(&self) -> Option<u32> {
        let (hours, minutes) = self.daily_at.as_deref()?.split_once(':')?;
        let number = |text: &str, below: u32| {
            (text.len() == 2).then(|| text.parse::<u32>().ok()).flatten().filter(|number| *number < below)
        };
        Some(number(hours, 24)? * 60 + number(minutes, 60)?)
    }
}
