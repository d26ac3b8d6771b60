//! Objects: each is one that rows know of. Others are told, not deleted: they may be of another installation, or of rows that are lost. Except those of
//! which a row says that they were given up: they were written here, by a process that was paused for so long that the collector had deleted them
//! before they came.

use std::time::Duration;

use ekitei_kv::lease::Lease;
use ekitei_kv::{KeyValue, Transaction};

use super::{FindingKind, Scrubber, Step};
use crate::collector::give_up;
use crate::record::{BodyRecord, Place};
use crate::rows::Intent;
use crate::segments::{has_no_extents, read_segment};
use crate::{BodyId, Error, ObjectInfo, Result, SegmentId, rows};

/// Objects of a step.
const OBJECTS: usize = 1_000;
/// How long the name of an object that was given up is kept: no process is paused for longer, and goes on.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
/// Names that are dropped at a time; the others with the next run.
const DROPPED: usize = 5_000;

/// What names an object.
#[derive(Clone, Copy)]
enum Named {
    Body(BodyId),
    Segment(SegmentId),
}

impl Named {
    /// `None` for somebody else's: backups lie in folders of their own.
    fn parse(name: &str) -> Option<Self> {
        BodyId::parse(name).map(Self::Body).or_else(|| SegmentId::of_object(name).map(Self::Segment))
    }

    /// The row of who is writing or deleting the object.
    fn intent(self) -> Vec<u8> {
        match self {
            Self::Body(body) => rows::intent(body),
            Self::Segment(segment) => rows::segment_intent(segment),
        }
    }

    /// Whether rows refer to the object, or may, or somebody is at it; with a conflict, so that who begins to makes it void.
    async fn is_needed(self, transaction: &Transaction) -> Result<bool> {
        if transaction.get(&self.intent()).await?.is_some() {
            return Ok(true);
        }
        match self {
            // A body whose object had no answer became rows, and may be in a segment by now.
            Self::Body(body) => {
                let record = transaction.get(&rows::record(body)).await?;
                let record = record.map(|record| BodyRecord::decode(body, &record));
                Ok(record.is_some_and(|record| record.map_or(true, |record| record.place == Place::Object)))
            }
            Self::Segment(segment) => match read_segment(transaction, segment).await {
                Ok(None) => Ok(!has_no_extents(transaction, segment).await?),
                Ok(Some(_)) | Err(Error::DamagedSegment { .. }) => Ok(true),
                Err(error) => Err(error),
            },
        }
    }
}

/// An object that nothing refers to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// It came after it had been given up.
    Late,
    /// Nobody knows whose it is.
    Unknown,
}

impl Scrubber {
    /// Looks at the objects after the cursor.
    pub(super) async fn objects(&self, lease: &Lease, cursor: &[u8]) -> Result<Step> {
        let mut step = Step::default();
        if cursor.is_empty() {
            self.drop_names(lease).await?;
        }
        let after = String::from_utf8_lossy(cursor);
        let page = self.blobs.inner.objects.list("", &after, OBJECTS).await?;
        for object in &page {
            step.tally.objects += 1;
            let Some((named, left)) = self.look_at(object).await? else { continue };
            if left == Left::Unknown {
                let what = format!("{} octets that no row knows of", object.size);
                step.find(FindingKind::Orphan, &object.name, what);
            } else if self.hand_over(lease, &object.name, named).await? {
                tracing::info!(
                    object = object.name,
                    "it came after it had been given up, and is deleted again"
                );
                step.tally.repaired += 1;
            }
        }
        if page.len() == OBJECTS {
            step.next = page.last().map(|last| next_to_look_at(&last.name).into_bytes());
        }
        Ok(step)
    }

    /// An object that nothing refers to although it is older than what is on its way can be.
    async fn look_at(&self, object: &ObjectInfo) -> Result<Option<(Named, Left)>> {
        let grace = self.blobs.inner.settings.grace;
        if object.modified + grace * 2 > self.blobs.inner.clock.now() {
            return Ok(None);
        }
        let Some(named) = Named::parse(&object.name) else { return Ok(None) };
        let given_up = &rows::given_up(&object.name);
        let left = self.blobs.inner.database.read(|transaction| async move {
            if named.is_needed(&transaction).await? {
                return Ok::<_, Error>(None);
            }
            let is_late = transaction.get_snapshot(given_up).await?.is_some();
            Ok(Some(if is_late { Left::Late } else { Left::Unknown }))
        });
        Ok(left.await?.map(|left| (named, left)))
    }

    /// Leaves an object that was given up to the collector, unless somebody needs it by now; whether that was done.
    ///
    /// Whoever wrote it and is still at it fails: the row says that it is deleted, and not that it is written.
    async fn hand_over(&self, lease: &Lease, name: &str, named: Named) -> Result<bool> {
        let now = self.blobs.inner.clock.now();
        self.blobs
            .inner
            .database
            .transact(|transaction| async move {
                lease.check(&transaction).await?;
                let is_given_up = transaction.get(&rows::given_up(name)).await?.is_some();
                if !is_given_up || named.is_needed(&transaction).await? {
                    return Ok::<_, Error>(false);
                }
                give_up(&transaction, name, now);
                transaction.set(&named.intent(), &rows::encode_intent(Intent::Delete, now));
                Ok(true)
            })
            .await
    }

    /// Drops the names of objects that were given up long ago.
    async fn drop_names(&self, lease: &Lease) -> Result<()> {
        let now = self.blobs.inner.clock.now();
        let mut old = Vec::new();
        let page = |page: Vec<KeyValue>| {
            let is_old = |row: &&KeyValue| rows::decode_time(&row.value).is_none_or(|time| time + KEPT < now);
            old.extend(page.iter().filter(is_old).map(|row| row.key.to_vec()));
            Ok::<_, Error>(())
        };
        self.blobs.inner.database.scan(rows::all_given_up(), page).await?;
        old.truncate(DROPPED);
        if old.is_empty() {
            return Ok(());
        }
        let old = &old;
        self.blobs
            .inner
            .database
            .transact(|transaction| async move {
                lease.check(&transaction).await?;
                old.iter().for_each(|key| transaction.clear(key));
                Ok::<_, Error>(())
            })
            .await
    }
}

/// Where to go on after an object; folders that are somebody else's are passed over.
fn next_to_look_at(name: &str) -> String {
    match name.split_once('/') {
        // The octet after the slash: past all that is in the folder.
        Some((folder, _)) if SegmentId::of_object(name).is_none() => format!("{folder}0"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_others_are_passed_over() {
        assert_eq!(next_to_look_at("backup/2026/data"), "backup0");
        let body = "00112233445566778899aabbccddeeff";
        assert_eq!(next_to_look_at(body), body);
        let segment = format!("segments/{body}");
        assert_eq!(next_to_look_at(&segment), segment);
    }
}
