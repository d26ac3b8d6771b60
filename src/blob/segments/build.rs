//! Making one segment: intent, object, the swap of the records, and the end of the intent.

use std::time::Duration;

use bytes::Bytes;
use ekitei_kv::Transaction;
use ekitei_kv::lease::Lease;
use futures_util::future::try_join_all;

use super::rows::{Extent, SegmentRow, read_segment, settle};
use super::{Packer, bury};
use crate::hot::{self, Count, signed};
use crate::owner::Group;
use crate::record::{BodyRecord, Place};
use crate::rows::{self, Intent};
use crate::{BodyId, Error, ObjectError, Result, SegmentId};

/// Bodies that are swapped in one transaction.
const SWAPS: usize = 250;
/// Pauses before a new object is read once more: a store may show it late.
const READ_BACK: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];

/// A body that goes into a segment.
pub(super) struct Piece {
    pub(super) body: BodyId,
    /// Its record as it was read.
    pub(super) record: BodyRecord,
    /// Its blocks as they are stored, in pieces.
    pub(super) octets: Vec<Bytes>,
}

/// A body and where in the new segment it is.
struct Placed {
    body: BodyId,
    before: BodyRecord,
    extent: Extent,
}

/// A segment that was made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Built {
    /// Bodies that are in it.
    pub(super) bodies: u64,
    /// Octets of them.
    pub(super) octets: u64,
}

impl Packer {
    /// Makes a segment of these bodies, each of which has an owner of this group. Bodies that went away or elsewhere since they were read are holes in it.
    ///
    /// # Errors
    /// Failures of the stores, [`ekitei_kv::Error::Fenced`]; what was done is taken up or removed by the collector.
    pub(super) async fn build(&self, lease: &Lease, group: Group, pieces: Vec<Piece>) -> Result<Built> {
        let segment = SegmentId::generate(&*self.blobs.inner.clock);
        self.begin(lease, segment).await?;
        let mut octets = 0;
        let mut contents = Vec::new();
        let mut placed = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let extent = Extent { offset: octets, octets: piece.record.stored_octets() };
            octets += extent.octets;
            contents.extend(piece.octets);
            placed.push(Placed { body: piece.body, before: piece.record, extent });
        }
        self.write(segment, contents, octets).await?;
        let now = self.blobs.inner.clock.now();
        let row = SegmentRow {
            group,
            octets,
            bodies: u32::try_from(placed.len()).unwrap_or(u32::MAX),
            created: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        };
        let mut built = Built::default();
        for batch in placed.chunks(SWAPS) {
            let swapped = self.swap(lease, segment, row, batch).await?;
            built.bodies += swapped.bodies;
            built.octets += swapped.octets;
        }
        if built.bodies > 0 {
            self.end(lease, segment, row, built).await?;
        }
        Ok(built)
    }

    /// Says that the object is being written.
    async fn begin(&self, lease: &Lease, segment: SegmentId) -> Result<()> {
        let intent = &rows::encode_intent(Intent::Write, self.blobs.inner.clock.now());
        self.blobs
            .inner
            .database
            .transact(|transaction| async move {
                lease.check(&transaction).await?;
                transaction.set(&rows::segment_intent(segment), intent);
                Ok(())
            })
            .await
    }

    /// Writes the object and reads it back: what it is made of is deleted next.
    async fn write(&self, segment: SegmentId, contents: Vec<Bytes>, octets: u64) -> Result<()> {
        let (objects, name) = (&self.blobs.inner.objects, segment.object_name());
        objects.put(&name, contents.clone()).await?;
        let mut failure = ObjectError::not_found(&name);
        for pause in READ_BACK {
            tokio::time::sleep(pause).await;
            match objects.get(&name, 0..octets).await {
                Ok(read) if is_same(&read, &contents) => return Ok(()),
                Ok(_) => {
                    objects.forget(&name);
                    failure = ObjectError::damaged(format!("{name} is not what was written"));
                }
                Err(error) if error.is_not_found() => failure = error,
                Err(error) => return Err(error.into()),
            }
        }
        tracing::warn!(%segment, error = %failure, "a new segment cannot be read back");
        Err(failure.into())
    }

    /// Makes the records of some bodies say that they are in the segment. A repetition finds them so and changes nothing.
    async fn swap(
        &self,
        lease: &Lease,
        segment: SegmentId,
        row: SegmentRow,
        batch: &[Placed],
    ) -> Result<Built> {
        let now = self.blobs.inner.clock.now();
        self.blobs
            .inner
            .database
            .transact(|transaction| async move {
                lease.check(&transaction).await?;
                check_intent(&transaction, segment).await?;
                let records = batch.iter().map(|placed| async {
                    transaction.get(&rows::record(placed.body)).await.map_err(Error::Store)
                });
                let mut built = Built::default();
                let mut from_index = Vec::new();
                for (placed, found) in batch.iter().zip(try_join_all(records).await?) {
                    let Some(found) = found else { continue };
                    let Extent { offset, octets } = placed.extent;
                    let after =
                        BodyRecord { place: Place::Segment { segment, offset }, ..placed.before.clone() };
                    let is_there = found == after.encode();
                    if !is_there && found != placed.before.encode() {
                        continue;
                    }
                    built.bodies += 1;
                    built.octets += octets;
                    if is_there {
                        continue;
                    }
                    transaction.clear_range(rows::record_and_chunks(placed.body));
                    transaction.set(&rows::record(placed.body), &after.encode());
                    settle(&transaction, row.group, segment, placed.body, placed.extent);
                    match placed.before.place {
                        Place::Hot => from_index.push(placed.body),
                        Place::Segment { .. } => bury(&transaction, placed.body, &placed.before, now),
                        Place::Object => {}
                    }
                }
                let leaving = from_index.iter().map(|body| hot::leave(&transaction, row.group, *body));
                try_join_all(leaving).await?;
                if built.bodies > 0 && read_segment(&transaction, segment).await?.is_none() {
                    transaction.set(&rows::segment(segment), &row.encode());
                    hot::count(&transaction, row.group, Count::Segments, 1);
                    hot::count(&transaction, row.group, Count::SegmentOctets, signed(row.octets));
                }
                Ok(built)
            })
            .await
    }

    /// Ends the intent. A segment that is small or has holes is looked at by compaction.
    async fn end(&self, lease: &Lease, segment: SegmentId, row: SegmentRow, built: Built) -> Result<()> {
        let hint = built.octets < row.octets || self.settings().is_small(row.octets);
        let now = self.blobs.inner.clock.now();
        self.blobs
            .inner
            .database
            .transact(|transaction| async move {
                lease.check(&transaction).await?;
                if transaction.may_have_committed() {
                    let intent = transaction.get(&rows::segment_intent(segment)).await?;
                    if intent.is_none() {
                        return Ok(());
                    }
                }
                check_intent(&transaction, segment).await?;
                transaction.clear(&rows::segment_intent(segment));
                if hint {
                    transaction.set(&rows::hint(row.group, segment), &rows::encode_time(now));
                }
                Ok(())
            })
            .await
    }
}

/// Makes sure that the collector did not take the segment for abandoned.
async fn check_intent(transaction: &Transaction, segment: SegmentId) -> Result<()> {
    let intent = transaction.get(&rows::segment_intent(segment)).await?;
    match intent.as_deref().and_then(rows::decode_intent) {
        Some((Intent::Write, _)) => Ok(()),
        _ => Err(ekitei_kv::Error::Fenced.into()),
    }
}

/// Whether octets are those of the pieces one after the other.
fn is_same(octets: &[u8], pieces: &[Bytes]) -> bool {
    let mut rest = octets;
    let begins = pieces.iter().all(|piece| match rest.split_at_checked(piece.len()) {
        Some((begin, after)) if begin == &piece[..] => {
            rest = after;
            true
        }
        _ => false,
    });
    begins && rest.is_empty()
}
