//! Bodies: hot ones and those in objects of their own are read; of those in segments, which were read before, the rows are compared.

use std::ops::Range;

use bytes::Bytes;
use ekitei_kv::lease::Lease;
use ekitei_kv::{KeyValue, RangeOptions, Transaction, prefix_end};

use super::{FindingKind, Scrubber, Step};
use crate::hot::{self, HotEntry};
use crate::owner::Owner;
use crate::reader::read_record_and_chunks;
use crate::record::{BodyRecord, Place};
use crate::segments::Extent;
use crate::{BodyId, Error, Result, rows};

/// Bodies of a step.
const BODIES: u64 = 200;
/// Octets after which a step ends.
const OCTETS: u64 = 8 << 20;
/// Octets of an object that are read at a time, about.
const PIECE: u64 = 4 << 20;

/// What is stored of one body.
struct Look {
    body: BodyId,
    read: Result<(BodyRecord, Vec<KeyValue>)>,
    /// Somebody who refers to it.
    holder: Option<u64>,
    /// The collector knows of it.
    marked: bool,
}

impl Scrubber {
    /// Scrubs the bodies after the cursor.
    pub(super) async fn bodies(&self, lease: &Lease, cursor: &[u8]) -> Result<Step> {
        let mut step = Step::default();
        let mut range = rows::all_bodies();
        if !cursor.is_empty() {
            range.start = cursor.to_vec();
        }
        while step.tally.bodies < BODIES && step.tally.octets < OCTETS {
            let Some(look) = self.look(&range).await? else { return Ok(step) };
            range.start = after(look.body);
            step.tally.bodies += 1;
            self.body(lease, &mut step, look).await?;
        }
        step.next = Some(range.start);
        Ok(step)
    }

    /// The first body of the range.
    async fn look(&self, range: &Range<Vec<u8>>) -> Result<Option<Look>> {
        let one = RangeOptions { limit: 1, snapshot: true, ..RangeOptions::default() };
        self.blobs
            .inner
            .database
            .read(|transaction| async move {
                let first = transaction.get_range(range.clone(), one).await?;
                let Some(body) = first.first().and_then(|row| rows::body_of_any(&row.key)) else {
                    return Ok(None);
                };
                let read = match read_record_and_chunks(&transaction, body).await {
                    Err(Error::Store(error)) => return Err(Error::Store(error)),
                    read => read,
                };
                let holder = holder(&transaction, body).await?;
                let marked = transaction.get_snapshot(&rows::unreferenced(body)).await?.is_some();
                Ok(Some(Look { body, read, holder, marked }))
            })
            .await
    }

    async fn body(&self, lease: &Lease, step: &mut Step, look: Look) -> Result<()> {
        let body = look.body;
        if look.holder.is_none() && !look.marked {
            step.find(FindingKind::Unreferenced, body, "nobody refers to it");
        }
        let (record, chunks) = match look.read {
            Ok(read) => read,
            // Only references are left of it: whoever removed the last of them marked it.
            Err(Error::NotFound(_)) if look.marked => return Ok(()),
            Err(error) => {
                step.find(FindingKind::Damaged, body, error.to_string());
                return Ok(());
            }
        };
        match record.place {
            Place::Hot => {
                let octets: Vec<Bytes> = chunks.into_iter().map(|chunk| chunk.value).collect();
                step.tally.octets += record.stored_octets();
                let key = self.key(step, body, &record).await?;
                match record.check_blocks(body, 0..record.blocks.len(), key.as_ref(), &octets) {
                    Ok(()) => {
                        let owner = look.holder.map_or(Owner::Transit, owner_of);
                        let entered = self.enter(lease, body, &record, owner).await?;
                        step.tally.repaired += u64::from(entered);
                    }
                    Err(error) => step.find(FindingKind::Damaged, body, error.to_string()),
                }
            }
            Place::Object => self.object(step, body, &record).await?,
            Place::Segment { segment, offset } => {
                let key = &rows::extent(segment, body);
                let read = self.blobs.inner.database.read(|transaction| async move {
                    let extent = transaction.get_snapshot(key).await?;
                    let record = transaction.get_snapshot(&rows::record(body)).await?;
                    Ok::<_, Error>((extent, record))
                });
                let (extent, now) = read.await?;
                let is_the_same = now.is_some_and(|now| now == record.encode());
                let extent = extent.as_deref().and_then(Extent::decode);
                if is_the_same && extent != Some(Extent { offset, octets: record.stored_octets() }) {
                    step.find(FindingKind::Damaged, body, format!("segment {segment} does not know of it"));
                }
            }
        }
        Ok(())
    }

    /// Reads a body that is an object, piece by piece.
    async fn object(&self, step: &mut Step, body: BodyId, record: &BodyRecord) -> Result<()> {
        let name = body.to_string();
        self.blobs.inner.objects.forget(&name);
        let key = self.key(step, body, record).await?;
        for blocks in record.runs(PIECE) {
            let range = record.stored_offset(blocks.start)..record.stored_offset(blocks.end);
            let octets = match self.blobs.inner.objects.get(&name, range.clone()).await {
                Ok(octets) => octets,
                Err(error) if error.is_not_found() => {
                    if self.blobs.record(body).await?.is_some() {
                        step.find(FindingKind::Missing, &name, "a body is in it");
                    }
                    return Ok(());
                }
                Err(error) => return self.unreadable(step, body, error).await,
            };
            step.tally.octets += octets.len() as u64;
            if record.check_blocks(body, blocks.clone(), key.as_ref(), &[octets]).is_err() {
                // It may have been spoiled on its way.
                self.blobs.inner.objects.forget(&name);
                let octets = match self.blobs.inner.objects.get(&name, range).await {
                    Ok(octets) => octets,
                    Err(error) => return self.unreadable(step, body, error).await,
                };
                if let Err(error) = record.check_blocks(body, blocks, key.as_ref(), &[octets]) {
                    step.find(FindingKind::Damaged, body, error.to_string());
                }
            }
        }
        Ok(())
    }

    /// Enters a hot body into the index, if it is not there: one of a release before, or one that was taken for damaged. Whether it was not.
    async fn enter(&self, lease: &Lease, body: BodyId, record: &BodyRecord, owner: Owner) -> Result<bool> {
        if !self.blobs.inner.settings.packing.is_active() {
            return Ok(false);
        }
        let owner = record.owner.unwrap_or(owner);
        self.blobs
            .inner
            .database
            .transact(|transaction| async move {
                lease.check(&transaction).await?;
                let now = transaction.get(&rows::record(body)).await?;
                let index = transaction.get(&rows::hot(crate::Group::of(owner), body)).await?;
                if index.is_some() || now.is_none_or(|now| now != record.encode()) {
                    return Ok(false);
                }
                let entered = BodyRecord { owner: Some(owner), ..record.clone() };
                transaction.set(&rows::record(body), &entered.encode());
                hot::enter(&transaction, body, HotEntry { owner, octets: record.stored_octets() });
                Ok::<_, Error>(true)
            })
            .await
    }
}

/// The least number of who refers to a body: an account, if one does.
async fn holder(transaction: &Transaction, body: BodyId) -> Result<Option<u64>> {
    let one = RangeOptions { limit: 1, snapshot: true, ..RangeOptions::default() };
    let first = transaction.get_range(rows::references(body), one).await?;
    Ok(first.first().and_then(|row| rows::holder_of(&row.key)))
}

/// Accounts have small numbers; what is on its way is referred to with the highest bit set.
fn owner_of(holder: u64) -> Owner {
    if holder >> 63 == 0 { Owner::Account(holder) } else { Owner::Transit }
}

/// The key after all rows of a body.
fn after(body: BodyId) -> Vec<u8> {
    let prefix = rows::body_prefix(body);
    prefix_end(&prefix).unwrap_or(prefix)
}

impl BodyRecord {
    /// The blocks in runs of about so many octets.
    fn runs(&self, octets: u64) -> Vec<Range<usize>> {
        let mut runs = Vec::new();
        let mut begin = 0;
        while begin < self.blocks.len() {
            let mut sum = 0;
            let count = self.blocks[begin..].iter().take_while(|block| {
                let fits = sum < octets;
                sum += u64::from(block.stored);
                fits
            });
            let end = begin + count.count().max(1);
            runs.push(begin..end);
            begin = end;
        }
        runs
    }
}
