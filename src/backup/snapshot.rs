//! Snapshots of a repository: their names, and finding them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::document::{Snapshot, Totals, decode, encode};
use crate::error::{Error, Result};
use crate::repository::Repository;

const KIND: &str = "ekitei backup snapshot";
/// The name of the last one.
pub(crate) const LATEST: &str = "latest";
/// What the name of the last one before some time begins with.
const BEFORE: &str = "before:";

/// A snapshot, as listings show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// Its name: the time it was begun, and eight random digits.
    pub id: String,
    /// The store it is of.
    pub source: [u8; 16],
    /// When it was begun and complete, since the epoch.
    pub began: Duration,
    /// See [`SnapshotInfo::began`].
    pub ended: Duration,
    /// The host that wrote it.
    pub host: String,
    /// The release that wrote it.
    pub release: String,
    /// The lowest and the highest version of the store that something of it was read at.
    pub versions: (u64, u64),
    /// Whether all of the directory is of one version.
    pub directory_consistent: bool,
    /// What is in it.
    pub totals: Totals,
}

impl SnapshotInfo {
    pub(crate) fn new(id: String, snapshot: &Snapshot) -> Self {
        Self {
            id,
            source: snapshot.source,
            began: Duration::from_secs(snapshot.began),
            ended: Duration::from_secs(snapshot.ended),
            host: snapshot.host.clone(),
            release: snapshot.release.clone(),
            versions: snapshot.versions,
            directory_consistent: snapshot.directory_consistent,
            totals: snapshot.totals,
        }
    }
}

fn object_name(id: &str) -> String {
    format!("snapshots/{id}")
}

impl Repository {
    /// The snapshots in the order of their time, but for those that are damaged: the log and a verification name them.
    ///
    /// # Errors
    /// When the store fails; [`Error::TooNew`].
    pub async fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        let mut found = Vec::new();
        for id in self.snapshot_ids().await? {
            match self.snapshot(&id).await {
                Ok(snapshot) => found.push(SnapshotInfo::new(id, &snapshot)),
                // Removed just now.
                Err(Error::NotFound { .. }) => {}
                Err(Error::Damaged(problem)) => tracing::warn!(problem, "a snapshot is damaged"),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Makes sure that the store lists these snapshots, as far as they are there: not every store lists at once what was written, and pruning goes by the list.
    ///
    /// # Errors
    /// [`Error::Unlisted`]; the store's.
    pub async fn check_listed(&self, ids: impl IntoIterator<Item = String>) -> Result<()> {
        let listed = self.snapshot_ids().await?;
        for id in ids {
            if listed.binary_search(&id).is_err() && self.has(&object_name(&id)).await? {
                return Err(Error::Unlisted(id));
            }
        }
        Ok(())
    }

    pub(crate) async fn snapshot_ids(&self) -> Result<Vec<String>> {
        let found = self.list("snapshots/", usize::MAX).await?;
        let mut ids: Vec<String> =
            found.iter().filter_map(|info| info.name.strip_prefix("snapshots/").map(str::to_owned)).collect();
        ids.sort();
        Ok(ids)
    }

    pub(crate) async fn snapshot(&self, id: &str) -> Result<Snapshot> {
        match self.get_sealed(KIND, &object_name(id)).await {
            Ok(octets) => decode(&octets, "a snapshot"),
            Err(Error::Objects(error)) if error.is_not_found() => Err(Error::not_found("snapshot", id)),
            Err(error) => Err(error),
        }
    }

    /// The snapshot that `which` names: its id, the beginning of it if no other begins so, `latest`, or `before:` and a time as ids have it, or its beginning, for the latest one that was
    /// begun before it. The latest one is that of `source`, if there is any of that store, else of any.
    pub(crate) async fn find_snapshot(&self, which: &str, source: &[u8; 16]) -> Result<(String, Snapshot)> {
        let mut ids = self.snapshot_ids().await?;
        let before = which.strip_prefix(BEFORE);
        if let Some(time) = before {
            check_time(time)?;
            // Ids sort by time.
            ids.retain(|id| id.as_str() < time);
        }
        let id = if which == LATEST || before.is_some() {
            for id in ids.iter().rev() {
                let snapshot = self.snapshot(id).await?;
                if snapshot.source == *source {
                    return Ok((id.clone(), snapshot));
                }
            }
            ids.pop().ok_or_else(|| Error::not_found("snapshot", which))?
        } else {
            ids.retain(|id| id.starts_with(which));
            match (ids.pop(), ids.pop()) {
                (Some(id), None) => id,
                (None, _) => return Err(Error::not_found("snapshot", which)),
                (Some(_), Some(_)) => {
                    return Err(Error::Invalid(format!(
                        "several snapshots begin with {which}: give more of its name"
                    )));
                }
            }
        };
        let snapshot = self.snapshot(&id).await?;
        Ok((id, snapshot))
    }

    pub(crate) async fn put_snapshot(&self, snapshot: &Snapshot) -> Result<(String, u64)> {
        let id = format!("{}-{:08x}", stamp(snapshot.began), rand::random::<u32>());
        let written = self.put_sealed(KIND, &object_name(&id), encode(snapshot)).await?;
        Ok((id, written))
    }

    pub(crate) async fn delete_snapshots(&self, ids: &[String]) -> Result<()> {
        let names: Vec<String> = ids.iter().map(|id| object_name(id)).collect();
        self.delete(&names).await
    }
}

/// Whether a text is the beginning of a time as ids have it.
fn check_time(text: &str) -> Result<()> {
    let fits = |(place, octet): (usize, u8)| if place == 8 { octet == b'-' } else { octet.is_ascii_digit() };
    if (4..=15).contains(&text.len()) && text.bytes().enumerate().all(fits) {
        return Ok(());
    }
    Err(Error::Invalid(format!("{text} is no time: write it as 20261122 or 20261122-1433, in UTC")))
}

/// A moment as `20261122-143305`, in UTC.
fn stamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The date of a day since the epoch, in the Gregorian calendar.
pub(crate) fn civil(days: u64) -> (u64, u64, u64) {
    // Years begin in March here, so that the leap day is the last one; 719,468 days lie between 0000-03-01 and 1970-01-01.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_given_as_ids_have_it() {
        for time in ["2026", "20261122", "20261122-1433", "20261122-143305"] {
            check_time(time).unwrap();
        }
        for none in ["", "202", "2026-11-22", "20261122 1433", "20261122-143305-0badcafe", "latest"] {
            assert!(matches!(check_time(none), Err(Error::Invalid(_))), "{none}");
        }
    }

    #[test]
    fn a_moment_is_written_so_that_names_sort_by_time() {
        assert_eq!(stamp(0), "19700101-000000");
        assert_eq!(stamp(951_782_399), "20000228-235959");
        assert_eq!(stamp(951_782_400), "20000229-000000");
        assert_eq!(stamp(1_795_271_585), "20261121-143305");
    }
}
