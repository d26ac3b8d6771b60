//! The collector: deletes bodies that nobody refers to, and objects whose delivery never ended.
//!
//! Both wait for the grace period. Every decision is one transaction that reads the reference rows (or the intent row), so a
//! delivery or copy that commits meanwhile makes it void; an object is deleted only under an intent row that says so, which a
//! late delivery sees. It may run in several processes at once.
//!
//! Segments that nothing lives in are retired by compaction, and their objects deleted here a grace period later: readers may be at them.

use std::time::Duration;

use ekitei_kv::{Database, KeyValue, RangeOptions, Transaction};

use crate::hot;
use crate::record::{BodyRecord, Place};
use crate::rows::{self, Intent};
use crate::segments::{bury, read_segment};
use crate::{Blobs, BodyId, Error, Result, SegmentId};

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
    /// Runs the collector once over all that waits for it.
    ///
    /// # Errors
    /// When a store fails; what is left waits for the next run.
    pub async fn collect(&self) -> Result<Collected> {
        let mut collected = Collected::default();
        for row in scan(&self.inner.database, rows::all_unreferenced()).await? {
            let marked = rows::decode_time(&row.value).unwrap_or_default();
            let Some(body) = rows::body_of(&row.key) else { continue };
            if !self.is_old(marked) {
                collected.waiting += 1;
            } else {
                match self.delete_unreferenced(body).await {
                    Ok(deleted) => collected.bodies += u64::from(deleted),
                    // Nobody knows what it needs: it stays, and the others go.
                    Err(error @ Error::Damaged { .. }) => tracing::error!(%error, "it is not deleted"),
                    Err(error) => return Err(error),
                }
            }
        }
        for row in scan(&self.inner.database, rows::all_intents()).await? {
            let Some((body, (state, begun))) = rows::body_of(&row.key).zip(rows::decode_intent(&row.value))
            else {
                continue;
            };
            if state == Intent::Write && !self.is_old(begun) {
                collected.waiting += 1;
            } else if self.delete_object(body).await? {
                collected.objects += 1;
            }
        }
        self.collect_segments(&mut collected).await?;
        Ok(collected)
    }

    /// Ends what packers left behind, and deletes the objects of segments that were retired a grace period ago.
    async fn collect_segments(&self, collected: &mut Collected) -> Result<()> {
        for row in scan(&self.inner.database, rows::all_segment_intents()).await? {
            let Some((segment, (state, since))) =
                rows::segment_of(&row.key).zip(rows::decode_intent(&row.value))
            else {
                continue;
            };
            if !self.is_old(since) {
                collected.waiting += 1;
            } else if state == Intent::Write {
                self.end_abandoned(segment).await?;
                collected.waiting += 1;
            } else {
                self.inner.objects.delete(&segment.object_name()).await?;
                self.clear_deletion(segment).await?;
                collected.objects += 1;
            }
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
                    None => transaction.set(&key, &rows::encode_intent(Intent::Delete, now)),
                }
                Ok(())
            })
            .await
    }

    async fn clear_deletion(&self, segment: SegmentId) -> Result<()> {
        self.inner
            .database
            .transact(|transaction| async move {
                transaction.clear(&rows::segment_intent(segment));
                Ok::<_, Error>(())
            })
            .await
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

    /// Deletes an object under an intent row that says so.
    async fn delete_object(&self, body: BodyId) -> Result<bool> {
        let now = self.inner.clock.now();
        let orphaned = self
            .inner
            .database
            .transact(|transaction| async move {
                let intent = rows::intent(body);
                if transaction.get(&intent).await?.is_none() {
                    return Ok::<_, Error>(false); // its delivery ended just now
                }
                transaction.set(&intent, &rows::encode_intent(Intent::Delete, now));
                Ok(true)
            })
            .await?;
        if orphaned {
            self.inner.objects.delete(&body.to_string()).await?;
            let clear = |transaction: Transaction| async move {
                transaction.clear(&rows::intent(body));
                Ok::<_, Error>(())
            };
            self.inner.database.transact(clear).await?;
        }
        Ok(orphaned)
    }
}

async fn scan(database: &Database, range: std::ops::Range<Vec<u8>>) -> Result<Vec<KeyValue>> {
    let mut found = Vec::new();
    database
        .scan(range, |page| {
            found.extend(page);
            Ok::<_, Error>(())
        })
        .await?;
    Ok(found)
}
