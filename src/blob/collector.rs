//! The collector: deletes bodies that nobody refers to, and objects whose delivery never ended.
//!
//! Both wait for the grace period. Every decision is one transaction that reads the reference rows (or the intent row), so a
//! delivery or copy that commits meanwhile makes it void; an object is deleted only under an intent row that says so, which a
//! late delivery sees. It may run in several processes at once.
//!
//! Who wrote an object that is given up may only be paused, and send it afterwards. So its name is kept in a row: the scrubber knows it by that when it
//! meets it, and hands it over to be deleted once more.
//!
//! Segments that nothing lives in are retired by compaction, and their objects deleted here a grace period later: readers may be at them.

use std::ops::Range;
use std::time::Duration;

use ekitei_kv::{KeyValue, RangeOptions, Transaction};
use futures_util::{StreamExt, TryStreamExt};

use crate::hot;
use crate::record::{BodyRecord, Place};
use crate::rows::{self, Intent};
use crate::segments::{bury, has_no_extents, read_segment};
use crate::{Blobs, BodyId, Error, Result, SegmentId};

/// Rows that are read at a time.
const PAGE: usize = 1_000;
/// Bodies, or objects, that are deleted at the same time: one after the other they would go slower than busy processes deliver.
const AT_ONCE: usize = 16;

/// What one run of the collector did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Bodies deleted.
    pub bodies: u64,
    /// Objects deleted, those of deleted bodies among them.
    pub objects: u64,
    /// Markers looked at that are younger than the grace period.
    pub waiting: u64,
}

impl Blobs {
    /// Runs the collector once over all that waits for it. What cannot be read or deleted stays, and the others go.
    ///
    /// # Errors
    /// When a store fails; what is left waits for the next run.
    pub async fn collect(&self) -> Result<Collected> {
        let mut collected = Collected::default();
        self.collect_bodies(&mut collected).await?;
        self.collect_objects(&mut collected).await?;
        self.collect_segments(&mut collected).await?;
        Ok(collected)
    }

    /// The first rows of a range, which is then what comes after them; `None` at its end.
    async fn page(&self, range: &mut Range<Vec<u8>>) -> Result<Option<Vec<KeyValue>>> {
        let options = RangeOptions { limit: PAGE, snapshot: true, ..RangeOptions::default() };
        let rest = &*range;
        let read = self
            .inner
            .database
            .read(|transaction| async move { transaction.get_range(rest.clone(), options).await });
        let rows = read.await?;
        let Some(last) = rows.last() else { return Ok(None) };
        range.start = [&last.key[..], &[0]].concat();
        Ok(Some(rows))
    }

    /// Deletes bodies that nobody refers to.
    async fn collect_bodies(&self, collected: &mut Collected) -> Result<()> {
        let mut range = rows::all_unreferenced();
        while let Some(page) = self.page(&mut range).await? {
            let mut due = Vec::new();
            for row in page {
                let marked = rows::decode_time(&row.value).unwrap_or_default();
                let Some(body) = rows::body_of(&row.key) else { continue };
                if self.is_old(marked) {
                    due.push(self.delete_unreferenced(body));
                } else {
                    collected.waiting += 1;
                }
            }
            collected.bodies += all_of(due).await?;
        }
        Ok(())
    }

    /// Deletes the objects of deleted bodies, and those whose deliveries did not end.
    async fn collect_objects(&self, collected: &mut Collected) -> Result<()> {
        let mut range = rows::all_intents();
        while let Some(page) = self.page(&mut range).await? {
            let mut due = Vec::new();
            for row in page {
                let read = rows::body_of(&row.key).zip(rows::decode_intent(&row.value));
                let Some((body, (state, begun))) = read else { continue };
                if state == Intent::Write && !self.is_old(begun) {
                    collected.waiting += 1;
                } else {
                    due.push(self.delete_object(body));
                }
            }
            collected.objects += all_of(due).await?;
        }
        Ok(())
    }

    /// Ends what packers left behind, and deletes the objects of segments that were retired a grace period ago.
    async fn collect_segments(&self, collected: &mut Collected) -> Result<()> {
        let mut range = rows::all_segment_intents();
        while let Some(page) = self.page(&mut range).await? {
            let mut due = Vec::new();
            for row in page {
                let read = rows::segment_of(&row.key).zip(rows::decode_intent(&row.value));
                let Some((segment, (state, since))) = read else { continue };
                if !self.is_old(since) {
                    collected.waiting += 1;
                } else if state == Intent::Write {
                    unless_damaged(self.end_abandoned(segment).await)?;
                    collected.waiting += 1;
                } else {
                    due.push(self.delete_segment(segment));
                }
            }
            collected.objects += all_of(due).await?;
        }
        Ok(())
    }

    /// Decides about a segment whose packer did not come to its end: if bodies are in it, it is one; else its object will be deleted.
    async fn end_abandoned(&self, segment: SegmentId) -> Result<()> {
        let now = self.inner.clock.now();
        self.inner
            .database
            .transact(|transaction| async move {
                let key = rows::segment_intent(segment);
                let intent = transaction.get(&key).await?;
                // The packer's swaps read this row, too.
                let Some((Intent::Write, _)) = intent.as_deref().and_then(rows::decode_intent) else {
                    return Ok::<_, Error>(());
                };
                match read_segment(&transaction, segment).await? {
                    Some(row) => {
                        transaction.clear(&key);
                        transaction.set(&rows::hint(row.group, segment), &rows::encode_time(now));
                    }
                    None => {
                        check_empty(&transaction, segment).await?;
                        give_up(&transaction, &segment.object_name(), now);
                        transaction.set(&key, &rows::encode_intent(Intent::Delete, now));
                    }
                }
                Ok(())
            })
            .await
    }

    /// Deletes the object of a segment that was retired; whether it is gone.
    async fn delete_segment(&self, segment: SegmentId) -> Result<bool> {
        let check = |transaction: Transaction| async move {
            if read_segment(&transaction, segment).await?.is_some() {
                return Err(Error::DamagedSegment { segment, what: "it has a row, and is to be deleted" });
            }
            check_empty(&transaction, segment).await
        };
        self.inner.database.read(check).await?;
        if !self.delete_from_store(&segment.object_name()).await? {
            return Ok(false);
        }
        let clear = |transaction: Transaction| async move {
            transaction.clear(&rows::segment_intent(segment));
            Ok::<_, Error>(())
        };
        self.inner.database.transact(clear).await?;
        Ok(true)
    }

    /// Deletes an object; whether it is gone. One that a store which is there does not delete keeps its row, and is tried again in the next run.
    async fn delete_from_store(&self, name: &str) -> Result<bool> {
        match self.inner.objects.delete(name).await {
            Ok(()) => Ok(true),
            Err(error) if self.inner.objects.is_away() => Err(error.into()),
            Err(error) => {
                tracing::error!(%error, name, "an object cannot be deleted");
                Ok(false)
            }
        }
    }

    fn is_old(&self, since: Duration) -> bool {
        since.saturating_add(self.inner.settings.grace) <= self.inner.clock.now()
    }

    /// Deletes the rows of a body, if nothing refers to it; its object is left to [`Blobs::delete_object`].
    async fn delete_unreferenced(&self, body: BodyId) -> Result<bool> {
        let now = self.inner.clock.now();
        self.inner
            .database
            .transact(|transaction| async move {
                // The marker may be newer than it was: then a reference went away just now, and somebody may be reading.
                let marker = transaction.get(&rows::unreferenced(body)).await?;
                if !marker.as_deref().and_then(rows::decode_time).is_some_and(|marked| self.is_old(marked)) {
                    return Ok(false);
                }
                transaction.clear(&rows::unreferenced(body));
                let one = RangeOptions { limit: 1, ..RangeOptions::default() };
                if !transaction.get_range(rows::references(body), one).await?.is_empty() {
                    return Ok::<_, Error>(false);
                }
                let Some(record) = transaction.get(&rows::record(body)).await? else { return Ok(false) };
                let record = BodyRecord::decode(body, &record)?;
                match record.place {
                    Place::Hot => {
                        if let Some(group) = hot::index_of(&record) {
                            hot::leave(&transaction, group, body).await?;
                        }
                    }
                    Place::Object => {
                        transaction.set(&rows::intent(body), &rows::encode_intent(Intent::Delete, now));
                    }
                    Place::Segment { .. } => bury(&transaction, body, &record, now),
                }
                transaction.clear_range(rows::record_and_chunks(body));
                Ok(true)
            })
            .await
    }

    /// Deletes an object under an intent row that says so, unless a body is in it.
    async fn delete_object(&self, body: BodyId) -> Result<bool> {
        let now = self.inner.clock.now();
        let orphaned = self
            .inner
            .database
            .transact(|transaction| async move {
                let key = rows::intent(body);
                let intent = transaction.get(&key).await?;
                let is_abandoned = match intent.as_deref().and_then(rows::decode_intent) {
                    Some((Intent::Delete, _)) => false,
                    Some((Intent::Write, begun)) if self.is_old(begun) => true,
                    // Its delivery ended just now, or began again.
                    _ => return Ok::<_, Error>(false),
                };
                let record = transaction.get(&rows::record(body)).await?;
                let record = record.map(|record| BodyRecord::decode(body, &record)).transpose()?;
                if record.is_some_and(|record| record.place == Place::Object) {
                    tracing::warn!(%body, "an object was to be deleted that a body is in");
                    transaction.clear(&key);
                    return Ok(false);
                }
                if is_abandoned {
                    give_up(&transaction, &body.to_string(), now);
                }
                transaction.set(&key, &rows::encode_intent(Intent::Delete, now));
                Ok(true)
            })
            .await?;
        if !orphaned || !self.delete_from_store(&body.to_string()).await? {
            return Ok(false);
        }
        let clear = |transaction: Transaction| async move {
            let intent = transaction.get(&rows::intent(body)).await?;
            if let Some((Intent::Delete, _)) = intent.as_deref().and_then(rows::decode_intent) {
                transaction.clear(&rows::intent(body));
            }
            Ok::<_, Error>(())
        };
        self.inner.database.transact(clear).await?;
        Ok(true)
    }
}

/// Keeps the name of an object that is deleted although somebody may still be about to write it.
pub(crate) fn give_up(transaction: &Transaction, name: &str, now: Duration) {
    transaction.set(&rows::given_up(name), &rows::encode_time(now));
}

/// Makes sure that no row says that a body is in the segment.
async fn check_empty(transaction: &Transaction, segment: SegmentId) -> Result<()> {
    if has_no_extents(transaction, segment).await? {
        return Ok(());
    }
    Err(Error::DamagedSegment { segment, what: "bodies are in it, and it has no row or is to be deleted" })
}

/// Does all of it, some at the same time; of how many it was true.
async fn all_of(deletions: Vec<impl Future<Output = Result<bool>>>) -> Result<u64> {
    futures_util::stream::iter(deletions)
        .buffer_unordered(AT_ONCE)
        .map(|deleted| Ok(u64::from(unless_damaged(deleted)?.unwrap_or(false))))
        .try_fold(0, async |sum, deleted| Ok(sum + deleted))
        .await
}

/// What became of one; `None` for what is damaged. Nobody knows what that needs: it stays, and the others go.
fn unless_damaged<T>(done: Result<T>) -> Result<Option<T>> {
    match done {
        Err(error @ (Error::Damaged { .. } | Error::DamagedSegment { .. })) => {
            tracing::error!(%error, "it is not deleted");
            Ok(None)
        }
        done => done.map(Some),
    }
}
