//! Compaction: segments of which little lives are rewritten, and those of which nothing lives are retired.

use std::ops::Range;

use bytes::Bytes;
use ekitei_kv::lease::Lease;
use ekitei_kv::{KeyValue, RangeOptions, Transaction, decode_counter};
use futures_util::future::try_join_all;

use super::build::Piece;
use super::rows::{Extent, SegmentRow, has_no_extents, read_segment, retire};
use super::{Packer, Packing};
use crate::encryption::BodyKey;
use crate::owner::Group;
use crate::record::{BodyRecord, Place};
use crate::{BodyId, Error, Result, SegmentId, rows};

/// Hints that a round looks at.
const HINTS: usize = 1_000;
/// Small segments that are worth making one of them.
const MERGE: usize = 8;
/// Octets between two bodies that are read rather than left out.
const GAP: u64 = 64 << 10;
/// Records that are read in one transaction.
const RECORDS: usize = 500;

/// What a round of compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Segments that were rewritten.
    pub rewritten: u64,
    /// Segments retired: their objects are deleted after the grace period.
    pub retired: u64,
    /// Bodies moved.
    pub bodies: u64,
    /// Octets of these.
    pub octets: u64,
    /// Bodies that are damaged, and stay where they are.
    pub damaged: u64,
    /// Whether there is more to be done at once.
    pub more: bool,
}

/// A segment that was hinted at.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    segment: SegmentId,
    row: SegmentRow,
    live: u64,
}

impl Candidate {
    fn is_sparse(&self, packing: &Packing) -> bool {
        below(self.live, self.row.octets, packing.compact_below)
    }
}

impl Packing {
    /// Whether a segment of so many octets could have been much larger.
    pub(super) fn is_small(&self, octets: u64) -> bool {
        below(octets, self.segment_size, self.compact_below)
    }

    /// Which of the candidates are made one segment: the emptiest, and small ones where there is room or many of them.
    fn choose_sources(&self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let (mut sparse, mut small): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|candidate| candidate.is_sparse(self));
        #[allow(clippy::cast_precision_loss)] // it is for an order only
        let share = |candidate: &Candidate| candidate.live as f64 / candidate.row.octets.max(1) as f64;
        sparse.sort_by(|a, b| share(a).total_cmp(&share(b)));
        if sparse.is_empty() && small.len() < MERGE {
            return Vec::new();
        }
        small.sort_by_key(|candidate| candidate.row.created);
        let mut octets = 0;
        let within = sparse.into_iter().chain(small).take_while(|candidate| {
            let is_first = octets == 0;
            octets += candidate.live;
            is_first || octets <= self.segment_size
        });
        within.collect()
    }
}

impl Packer {
    /// One round for the group that the lease is for: retires what is empty, and makes one segment of some of which little lives.
    ///
    /// # Errors
    /// As [`Packer::round`].
    pub async fn compact(&self, lease: &Lease) -> Result<Compacted> {
        let group = Self::group(lease)?;
        let mut compacted = Compacted::default();
        if self.rests() {
            return Ok(compacted);
        }
        let candidates = self.candidates(lease, group, &mut compacted).await?;
        let waiting = candidates.len();
        let sources = self.settings().choose_sources(candidates);
        if sources.is_empty() || !lease.holds() {
            return Ok(compacted);
        }
        let mut pieces = Vec::new();
        for source in &sources {
            self.read_source(source, &mut pieces, &mut compacted).await?;
        }
        // What belongs together side by side, as in packing.
        pieces.sort_unstable_by_key(|piece| (piece.record.owner, piece.body));
        if !pieces.is_empty() {
            let built = self.build(lease, group, pieces).await?;
            compacted.bodies += built.bodies;
            compacted.octets += built.octets;
        }
        compacted.rewritten += sources.len() as u64;
        for source in &sources {
            if self.retire(lease, group, source.segment).await? {
                compacted.retired += 1;
            } else {
                // Something in it cannot be moved. It is looked at again when something else in it dies.
                self.forget(lease, group, source.segment, true).await?;
            }
        }
        compacted.more = waiting > sources.len() && !lease.is_wanted_back();
        Ok(compacted)
    }

    /// The segments of the group's hints that may be rewritten; those that are empty are retired now, and hints that say nothing any more go.
    async fn candidates(
        &self,
        lease: &Lease,
        group: Group,
        compacted: &mut Compacted,
    ) -> Result<Vec<Candidate>> {
        let mut candidates = Vec::new();
        for (segment, found) in self.hints(group).await? {
            match found {
                Some(candidate) if candidate.live > 0 => {
                    if candidate.is_sparse(self.settings()) || self.settings().is_small(candidate.row.octets)
                    {
                        candidates.push(candidate);
                    } else {
                        self.forget(lease, group, segment, false).await?;
                    }
                }
                _ => compacted.retired += u64::from(self.retire(lease, group, segment).await?),
            }
        }
        Ok(candidates)
    }

    /// What the hints of a group are about; without those segments that are being filled.
    async fn hints(&self, group: Group) -> Result<Vec<(SegmentId, Option<Candidate>)>> {
        let options = RangeOptions { limit: HINTS, snapshot: true, ..RangeOptions::default() };
        let read = self.blobs.inner.database.read(|transaction| async move {
            let hints = transaction.get_range(rows::all_hints(group), options).await?;
            let looks = hints.iter().filter_map(|hint| rows::segment_of_hint(&hint.key));
            let looks = looks.map(|segment| look_at(&transaction, segment));
            Ok::<_, Error>(try_join_all(looks).await?.into_iter().flatten().collect())
        });
        read.await
    }

    /// Removes the hint of a segment, unless so much died in it meanwhile that it is to be rewritten; with `anyway` even then, as long as something
    /// lives in it.
    async fn forget(&self, lease: &Lease, group: Group, segment: SegmentId, anyway: bool) -> Result<()> {
        let hint = &rows::hint(group, segment);
        self.blobs
            .inner
            .database
            .transact(|transaction| async move {
                lease.check(&transaction).await?;
                // Whoever makes something dead writes it.
                let is_there = transaction.get(hint).await?.is_some();
                let found = look_at(&transaction, segment).await?;
                let candidate = found.and_then(|(_, candidate)| candidate);
                let is_kept = if anyway {
                    // What could not be moved may have died since: only the hint lets the segment be retired.
                    has_no_extents(&transaction, segment).await?
                } else {
                    candidate.is_none_or(|candidate| candidate.is_sparse(self.settings()))
                };
                if is_there && !is_kept {
                    transaction.clear(hint);
                }
                Ok(())
            })
            .await
    }

    /// Removes the rows of a segment in which nothing lives; whether that was so.
    async fn retire(&self, lease: &Lease, group: Group, segment: SegmentId) -> Result<bool> {
        let now = self.blobs.inner.clock.now();
        self.blobs
            .inner
            .database
            .transact(|transaction| async move {
                lease.check(&transaction).await?;
                retire(&transaction, group, segment, now).await
            })
            .await
    }

    /// Reads what lives in a segment.
    async fn read_source(
        &self,
        source: &Candidate,
        pieces: &mut Vec<Piece>,
        compacted: &mut Compacted,
    ) -> Result<()> {
        let living = self.blobs.living(source.segment).await?;
        for run in runs(&living) {
            let range = span(run);
            let name = source.segment.object_name();
            let octets = match self.blobs.inner.objects.get(&name, range.clone()).await {
                Ok(octets) => octets,
                Err(error) if error.is_not_found() => {
                    tracing::error!(segment = %source.segment, "the object of a segment is missing");
                    compacted.damaged += living.len() as u64;
                    return Ok(());
                }
                Err(error) if self.blobs.inner.objects.is_away() => return Err(error.into()),
                // The others must not wait for it. It is looked at again when something else in it dies.
                Err(error) => {
                    tracing::error!(segment = %source.segment, %error, "the object of a segment cannot be read");
                    compacted.damaged += living.len() as u64;
                    return Ok(());
                }
            };
            for (body, record, extent) in run {
                let at = |offset| usize::try_from(offset).map_or(octets.len(), |at| at.min(octets.len()));
                let begin = extent.offset - range.start;
                // A copy, so that what is around it is not kept.
                let own = Bytes::copy_from_slice(&octets[at(begin)..at(begin + extent.octets)]);
                let octets = match record.check_stored(*body, std::slice::from_ref(&own)) {
                    Ok(()) => Ok(own),
                    Err(_) => match self.blobs.read_again((&name, *extent), *body, record, None).await {
                        Err(error @ Error::Objects(_)) if !self.blobs.inner.objects.is_away() => Err(error),
                        again => again?,
                    },
                };
                match octets {
                    Ok(octets) => {
                        pieces.push(Piece { body: *body, record: record.clone(), octets: vec![octets] });
                    }
                    Err(error) => {
                        tracing::error!(segment = %source.segment, %error, "it stays where it is");
                        compacted.damaged += 1;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A body that is in a segment.
pub(crate) type Living = (BodyId, BodyRecord, Extent);

impl crate::Blobs {
    /// What the rows of a segment say is in it.
    pub(crate) async fn extents(&self, segment: SegmentId) -> Result<Vec<(BodyId, Extent)>> {
        let mut extents = Vec::new();
        let page = |page: Vec<KeyValue>| {
            extents.extend(
                page.iter().filter_map(|row| rows::body_of_extent(&row.key).zip(Extent::decode(&row.value))),
            );
            Ok::<_, Error>(())
        };
        self.inner.database.scan(rows::extents(segment), page).await?;
        Ok(extents)
    }

    /// The bodies of a segment whose records say so, too, in the order of their places.
    pub(crate) async fn living(&self, segment: SegmentId) -> Result<Vec<Living>> {
        let mut extents = self.extents(segment).await?;
        extents.sort_unstable_by_key(|(_, extent)| extent.offset);
        let mut living = Vec::with_capacity(extents.len());
        for batch in extents.chunks(RECORDS) {
            let read = self.inner.database.read(|transaction| async move {
                let records = batch.iter().map(|(body, _)| async {
                    transaction.get_snapshot(&rows::record(*body)).await.map_err(Error::Store)
                });
                try_join_all(records).await
            });
            for ((body, extent), record) in batch.iter().zip(read.await?) {
                let Some(record) = record else { continue };
                // What cannot be read is told by the scrubber, and stays where it is.
                let Ok(record) = BodyRecord::decode(*body, &record) else { continue };
                if record.place == (Place::Segment { segment, offset: extent.offset }) {
                    living.push((*body, record, *extent));
                }
            }
        }
        Ok(living)
    }
}

impl crate::Blobs {
    /// A body of a segment whose octets were not as they should be, which may have happened on their way: it is read once more, from the store
    /// itself. The inner error tells that it is damaged.
    pub(crate) async fn read_again(
        &self,
        (name, extent): (&str, Extent),
        body: BodyId,
        record: &BodyRecord,
        key: Option<&BodyKey>,
    ) -> Result<std::result::Result<Bytes, Error>> {
        self.inner.objects.forget(name);
        let octets = self.inner.objects.get(name, extent.offset..extent.offset + extent.octets).await?;
        let checked = record.check_blocks(body, 0..record.blocks.len(), key, std::slice::from_ref(&octets));
        Ok(checked.map(|()| octets))
    }
}

/// What is known of a segment that was hinted at: `None` if it is being filled or cannot be read, no candidate if it is gone.
async fn look_at(
    transaction: &Transaction,
    segment: SegmentId,
) -> Result<Option<(SegmentId, Option<Candidate>)>> {
    if transaction.get_snapshot(&rows::segment_intent(segment)).await?.is_some() {
        return Ok(None);
    }
    let live = transaction.get_snapshot(&rows::live_octets(segment)).await?;
    let live = u64::try_from(decode_counter(live.as_deref())).unwrap_or(0);
    let row = match read_segment(transaction, segment).await {
        // A later release may read it; the scrubber tells of it.
        Err(Error::DamagedSegment { .. }) => return Ok(None),
        row => row?,
    };
    Ok(Some((segment, row.map(|row| Candidate { segment, row, live }))))
}

/// Bodies that are read together, since little lies between them.
fn runs(living: &[Living]) -> impl Iterator<Item = &[Living]> {
    living.chunk_by(|(_, _, one), (_, _, next)| next.offset <= one.offset + one.octets + GAP)
}

/// The octets from the first to the last body of a run.
fn span(run: &[Living]) -> Range<u64> {
    let begin = run.first().map_or(0, |(_, _, extent)| extent.offset);
    begin..run.iter().map(|(_, _, extent)| extent.offset + extent.octets).max().unwrap_or(begin)
}

/// Whether `part` is less than `share` of `whole`.
fn below(part: u64, whole: u64, share: f64) -> bool {
    #[allow(clippy::cast_precision_loss)] // sizes of objects are far below 2^52
    let (part, whole) = (part as f64, whole as f64);
    part < whole * share
}
