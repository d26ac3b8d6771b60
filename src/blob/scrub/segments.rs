//! Segments: every body in them is read, and what is counted of them is counted again.

use std::collections::HashSet;

use bytes::Bytes;
use ekitei_kv::lease::Lease;
use ekitei_kv::{RangeOptions, decode_counter};

use super::{FindingKind, Scrubber, Step};
use crate::encryption::BodyKey;
use crate::hot::signed;
use crate::record::{BodyRecord, Place};
use crate::segments::{Extent, Living, SegmentRow};
use crate::{BodyId, Error, Result, SegmentId, rows};

/// Octets of a segment that is checked by the task that read it.
const CHECKED_HERE: usize = 256 << 10;
/// Extents that are counted in one transaction.
const COUNTED: usize = 50_000;

impl Scrubber {
    /// Scrubs the segment that comes after the cursor.
    pub(super) async fn segment(&self, lease: &Lease, cursor: &[u8]) -> Result<Step> {
        let Some((segment, row)) = self.segment_after(cursor).await? else { return Ok(Step::default()) };
        let mut step = Step { next: Some(segment.as_bytes().to_vec()), ..Step::default() };
        step.tally.segments += 1;
        let Some(row) = row else {
            step.find(FindingKind::Damaged, segment.object_name(), "its row does not decode");
            return Ok(step);
        };
        step.tally.repaired += u64::from(self.recount(lease, segment).await?);
        let living = self.blobs.living(segment).await?;
        let name = segment.object_name();
        let objects = &self.blobs.inner.objects;
        // What is kept near says nothing of the store.
        objects.forget(&name);
        let octets = match objects.get(&name, 0..row.octets).await {
            Ok(octets) => octets,
            Err(error) if error.is_not_found() => {
                if self.is_still_there(segment).await? {
                    step.find(FindingKind::Missing, &name, format!("{} bodies are in it", living.len()));
                }
                return Ok(step);
            }
            Err(error) => {
                self.unreadable(&mut step, &name, error).await?;
                return Ok(step);
            }
        };
        step.tally.octets += octets.len() as u64;
        step.tally.bodies += living.len() as u64;
        let mut bodies = Vec::with_capacity(living.len());
        for living in living {
            bodies.push((self.key(&mut step, living.0, &living.1).await?, living));
        }
        for (key, living) in unsound(bodies, octets).await? {
            self.look_again(&mut step, segment, &living, key.as_ref()).await?;
        }
        Ok(step)
    }

    /// The segment that comes after the cursor, and its row if it can be read.
    async fn segment_after(&self, cursor: &[u8]) -> Result<Option<(SegmentId, Option<SegmentRow>)>> {
        let mut range = rows::all_segments();
        if let Ok(last) = cursor.try_into() {
            range.start = rows::segment(SegmentId::from_bytes(last));
            range.start.push(0);
        }
        let options = RangeOptions { limit: 1, snapshot: true, ..RangeOptions::default() };
        let range = &range;
        let read = self
            .blobs
            .inner
            .database
            .read(|transaction| async move { transaction.get_range(range.clone(), options).await });
        let found = read.await?.pop();
        Ok(found.and_then(|row| Some((rows::segment_of(&row.key)?, SegmentRow::decode(&row.value)))))
    }

    async fn is_still_there(&self, segment: SegmentId) -> Result<bool> {
        let read = self
            .blobs
            .inner
            .database
            .read(|transaction| async move { transaction.get_snapshot(&rows::segment(segment)).await });
        Ok(read.await?.is_some())
    }

    /// A body that was not read as it should be: it may be elsewhere by now, or have been spoiled on its way.
    async fn look_again(
        &self,
        step: &mut Step,
        segment: SegmentId,
        living: &Living,
        key: Option<&BodyKey>,
    ) -> Result<()> {
        let (body, record, extent) = living;
        let now = self.blobs.record(*body).await?;
        if now.as_ref() != Some(record) {
            return Ok(());
        }
        let name = segment.object_name();
        let again = match self.blobs.read_again((&name, *extent), *body, record, key).await {
            Err(Error::Objects(error)) => return self.unreadable(step, body, error).await,
            again => again?,
        };
        if let Err(error) = again {
            step.find(FindingKind::Damaged, body, format!("in segment {segment}: {error}"));
        }
        Ok(())
    }

    /// Counts the live octets of a segment again, and removes what its rows say of bodies that are elsewhere; whether that changed anything.
    async fn recount(&self, lease: &Lease, segment: SegmentId) -> Result<bool> {
        let options = RangeOptions { limit: COUNTED, ..RangeOptions::default() };
        let mut void = Vec::new();
        let living: HashSet<BodyId> =
            self.blobs.living(segment).await?.into_iter().map(|(body, ..)| body).collect();
        for (body, _) in self.blobs.extents(segment).await? {
            if !living.contains(&body) {
                void.push(body);
            }
        }
        let void = &void;
        self.blobs
            .inner
            .database
            .transact(|transaction| async move {
                lease.check(&transaction).await?;
                let mut repaired = false;
                for body in void {
                    let record = transaction.get(&rows::record(*body)).await?;
                    let key = rows::extent(segment, *body);
                    if !record.is_some_and(|record| may_be_in(*body, &record, segment))
                        && transaction.get(&key).await?.is_some()
                    {
                        transaction.clear(&key);
                        repaired = true;
                    }
                }
                let extents = transaction.get_range(rows::extents(segment), options).await?;
                if extents.len() == COUNTED {
                    return Ok(repaired);
                }
                let sum: u64 = extents
                    .iter()
                    .filter_map(|row| Extent::decode(&row.value))
                    .map(|extent| extent.octets)
                    .sum();
                let key = rows::live_octets(segment);
                let counted = decode_counter(transaction.get(&key).await?.as_deref());
                if counted != signed(sum) && transaction.get(&rows::segment(segment)).await?.is_some() {
                    tracing::warn!(%segment, counted, sum, "live octets were miscounted");
                    transaction.add(&key, signed(sum) - counted);
                    repaired = true;
                }
                Ok(repaired)
            })
            .await
    }
}

/// Whether a record says that its body is in the segment, or nobody knows what it says.
fn may_be_in(body: BodyId, record: &[u8], segment: SegmentId) -> bool {
    BodyRecord::decode(body, record).map_or(
        true,
        |record| matches!(record.place, Place::Segment { segment: known, .. } if known == segment),
    )
}

/// A body of a segment, and its key if it is encrypted and that is at hand.
type Keyed = (Option<BodyKey>, Living);

/// Those that are not what was written. Decoding a whole segment takes long enough for a thread of its own.
async fn unsound(bodies: Vec<Keyed>, segment: Bytes) -> Result<Vec<Keyed>> {
    let is_small = segment.len() <= CHECKED_HERE;
    let work = move || bodies.into_iter().filter(|body| !is_sound(body, &segment)).collect();
    if is_small {
        return Ok(work());
    }
    Ok(tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?)
}

fn is_sound((key, (body, record, extent)): &Keyed, segment: &Bytes) -> bool {
    let at = |offset: u64| usize::try_from(offset).map_or(segment.len(), |at| at.min(segment.len()));
    let octets = segment.slice(at(extent.offset)..at(extent.offset + extent.octets));
    record.check_blocks(*body, 0..record.blocks.len(), key.as_ref(), &[octets]).is_ok()
}

impl crate::Blobs {
    /// The record of a body, if it is there and can be read.
    pub(super) async fn record(&self, body: BodyId) -> Result<Option<BodyRecord>> {
        let read = self
            .inner
            .database
            .read(|transaction| async move { transaction.get_snapshot(&rows::record(body)).await });
        Ok(read.await?.and_then(|record| BodyRecord::decode(body, &record).ok()))
    }
}
