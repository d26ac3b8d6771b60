//! What is wrong or doubtful in `backup`.

use super::Checks;
use crate::{BlobStore, Config, Duration};

/// More often than this, one backup hardly ends before the next.
const LEAST_INTERVAL: Duration = Duration::minutes(5);

impl Checks {
    pub(super) fn backup(&mut self, config: &Config) {
        let backup = &config.backup;
        let scheduled = !backup.interval.is_zero() || backup.daily_at.is_some();
        if scheduled && backup.encryption_key.is_none() {
            let message =
                "is needed for backups: `openssl rand -base64 32` makes one; keep a copy of it elsewhere";
            self.error("backup.encryptionKey", "none", message);
        }
        if !backup.interval.is_zero() && backup.daily_at.is_some() {
            self.error("backup.interval", backup.interval, "and backup.dailyAt exclude each other");
        }
        if !backup.interval.is_zero() && backup.interval < LEAST_INTERVAL {
            self.error(
                "backup.interval",
                backup.interval,
                format!("must be at least {LEAST_INTERVAL}, or 0 for never"),
            );
        }
        if let Some(time) = backup.daily_at.as_deref().filter(|_| backup.daily_minutes().is_none()) {
            self.error("backup.dailyAt", time, "must be a time of day in UTC such as 02:30");
        }
        if !(10..=50_000).contains(&backup.page) {
            self.error(
                "backup.page",
                backup.page,
                "must be 10 to 50000: more do not fit into the time of a transaction",
            );
        }
        let configured = backup.encryption_key.is_some();
        if configured && backup.kind == BlobStore::S3 && backup.bucket.is_empty() {
            self.error("backup.bucket", "", "must name the bucket of backups");
        }
        self.backup_apart(config, configured);
    }

    /// A backup beside what it is of goes with it.
    fn backup_apart(&mut self, config: &Config, configured: bool) {
        let (backup, blobs) = (&config.backup, &config.blobs);
        if !configured || backup.kind != blobs.kind {
            return;
        }
        match backup.kind {
            BlobStore::Directory
                if backup.path.starts_with(&blobs.path) || blobs.path.starts_with(&backup.path) =>
            {
                self.error("backup.path", backup.path.display(), "must be apart from blobs.path");
            }
            BlobStore::S3
                if backup.bucket == blobs.bucket
                    && backup.endpoint == blobs.endpoint
                    && backup.prefix == blobs.prefix =>
            {
                self.error(
                    "backup.prefix",
                    &backup.prefix,
                    "must differ from blobs.prefix in the same bucket",
                );
            }
            BlobStore::S3 if backup.bucket == blobs.bucket && backup.endpoint == blobs.endpoint => {
                self.warn(
                    "backup.bucket",
                    &backup.bucket,
                    "is the bucket of the mail: who loses that loses both",
                );
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::Config;

    fn problems(text: &str) -> String {
        let key = "encryptionKey: c2VjcmV0";
        let text = format!("backup: {{{}}}", text.replace("KEY", key));
        let parsed = Config::parse(&text, &|_| None);
        parsed.map_or_else(|error| error.to_string(), |config| format!("{:?}", config.check()))
    }

    #[test]
    fn a_schedule_needs_a_key_and_makes_sense() {
        assert!(!problems("KEY, dailyAt: '02:30'").contains("backup."));
        assert!(problems("dailyAt: '02:30'").contains("backup.encryptionKey"));
        assert!(problems("KEY, dailyAt: '24:30'").contains("backup.dailyAt"));
        assert!(problems("KEY, dailyAt: '2:30'").contains("backup.dailyAt"));
        assert!(problems("KEY, dailyAt: '02:30', interval: 1h").contains("exclude each other"));
        assert!(problems("KEY, interval: 1m").contains("backup.interval"));
        assert!(problems("KEY, kind: s3").contains("backup.bucket"));
        assert!(problems("KEY, path: data/blobs/backups").contains("backup.path"));
        assert!(problems("page: 5").contains("backup.page"));
    }
}
