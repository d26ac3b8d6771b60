//! Packing: the oldest hot bodies of a group become segments.

use ekitei_kv::lease::Lease;

use super::build::Piece;
use super::plan::{Situation, choose};
use super::{Packer, Packing};
use crate::hot::{self, HotBody};
use crate::owner::Group;
use crate::reader::read_record_and_chunks;
use crate::record::{BodyRecord, Place};
use crate::{BodyId, Error, Result, rows};

/// Bodies that a round looks at.
const WINDOW: usize = 20_000;
/// Segments that a round makes.
const SEGMENTS: u64 = 4;
/// Rows of the index that are read at a time.
const PAGE: usize = 1_000;
/// Octets of bodies that are read in one transaction.
const READ: u64 = 2 << 20;

/// What a round of packing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Segments made.
    pub segments: u64,
    /// Bodies in them.
    pub bodies: u64,
    /// Octets of these bodies.
    pub octets: u64,
    /// Rows of the index removed, whose bodies were gone or were no more what the rows say.
    pub void: u64,
    /// Bodies that are damaged, and are left where they are.
    pub damaged: u64,
    /// Whether there is more to be done at once.
    pub more: bool,
}

impl Packer {
    /// One round for the group that the lease is for: packs what is due, at most a few segments.
    ///
    /// # Errors
    /// Failures of the stores; [`ekitei_kv::Error::Fenced`] when the lease is another's. The next round takes up what is left.
    pub async fn round(&self, lease: &Lease) -> Result<Packed> {
        let group = Self::group(lease)?;
        let mut packed = Packed::default();
        if self.rests() {
            return Ok(packed);
        }
        let requested = self.is_requested(group).await?;
        let Some((oldest, situation)) = self.look(group, requested).await? else {
            if requested {
                self.end_request(lease, group).await?;
            }
            return Ok(packed);
        };
        let is_cut_off = oldest.len() >= WINDOW || octets_of(&oldest) >= self.window_octets();
        for bodies in choose(oldest, situation, self.settings()) {
            if !lease.holds() || lease.is_wanted_back() {
                return Ok(packed);
            }
            let pieces = self.read_pieces(lease, group, &bodies, &mut packed).await?;
            if pieces.is_empty() {
                continue;
            }
            let built = self.build(lease, group, pieces).await?;
            packed.segments += 1;
            packed.bodies += built.bodies;
            packed.octets += built.octets;
        }
        packed.more = (is_cut_off || requested) && packed != Packed::default();
        Ok(packed)
    }

    fn window_octets(&self) -> u64 {
        self.settings().segment_size.saturating_mul(SEGMENTS)
    }

    /// The oldest bodies of a group; `None` if two cheap reads tell that nothing is due.
    async fn look(&self, group: Group, requested: bool) -> Result<Option<(Vec<HotBody>, Situation)>> {
        let packing: &Packing = self.settings();
        let figures = self.blobs.figures().await?;
        let total: u64 = figures.iter().map(|(_, figures)| figures.hot_octets).sum();
        let own = figures.iter().find(|(known, _)| *known == group).map(|(_, figures)| *figures);
        let own = own.unwrap_or_default();
        let pressed = requested || total > packing.hot_limit / 2;
        let situation = Situation { group, now: self.blobs.inner.clock.now(), pressed };
        let Some(oldest) = self.blobs.oldest_hot(group).await? else { return Ok(None) };
        if own.hot_octets < packing.enough() && !situation.is_overdue(packing, &oldest) {
            return Ok(None);
        }
        Ok(Some((self.window(group).await?, situation)))
    }

    /// Whether somebody asked to pack all there is.
    async fn is_requested(&self, group: Group) -> Result<bool> {
        let read =
            self.blobs.inner.database.read(|transaction| async move {
                transaction.get_snapshot(&rows::pack_request(group)).await
            });
        Ok(read.await?.is_some())
    }

    async fn end_request(&self, lease: &Lease, group: Group) -> Result<()> {
        self.blobs
            .inner
            .database
            .transact(|transaction| async move {
                lease.check(&transaction).await?;
                transaction.clear(&rows::pack_request(group));
                Ok(())
            })
            .await
    }

    async fn window(&self, group: Group) -> Result<Vec<HotBody>> {
        let mut window: Vec<HotBody> = Vec::new();
        while window.len() < WINDOW && octets_of(&window) < self.window_octets() {
            let after = window.last().map(|hot| hot.body);
            let page = self
                .blobs
                .inner
                .database
                .read(|transaction| async move { hot::oldest(&transaction, group, after, PAGE).await });
            let page = page.await?;
            let is_last = page.len() < PAGE;
            window.extend(page);
            if is_last {
                break;
            }
        }
        Ok(window)
    }

    /// The bodies as they are stored. Those that are not, or not any more, what the index says leave it.
    async fn read_pieces(
        &self,
        lease: &Lease,
        group: Group,
        bodies: &[HotBody],
        packed: &mut Packed,
    ) -> Result<Vec<Piece>> {
        let mut pieces = Vec::with_capacity(bodies.len());
        let mut rest = bodies;
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(count_within(rest, READ));
            rest = after;
            let read = self.blobs.inner.database.read(|transaction| async move {
                let read = batch.iter().map(|hot| read_record_and_chunks(&transaction, hot.body));
                Ok::<_, Error>(futures_util::future::join_all(read).await)
            });
            for (hot, read) in batch.iter().zip(read.await?) {
                match self.piece(group, hot.body, read) {
                    Ok(Some(piece)) => pieces.push(piece),
                    Ok(None) => packed.void += u64::from(self.void(lease, group, hot.body).await?),
                    Err(Error::Damaged { body, what }) => {
                        tracing::error!(%body, what, "a hot body is damaged; it stays where it is");
                        packed.damaged += 1;
                        self.give_up(lease, group, body).await?;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(pieces)
    }

    /// A body that was read for packing; `None` if it is not one of this index.
    fn piece(
        &self,
        group: Group,
        body: BodyId,
        read: Result<(BodyRecord, Vec<ekitei_kv::KeyValue>)>,
    ) -> Result<Option<Piece>> {
        let (record, chunks) = match read {
            Ok(read) => read,
            Err(Error::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        if hot::index_of(&record) != Some(group) {
            return Ok(None);
        }
        let octets: Vec<_> = chunks.into_iter().map(|chunk| chunk.value).collect();
        record.check_stored(body, &octets)?;
        Ok(Some(Piece { body, record, octets }))
    }

    /// Removes the row of a body that is not of this index; whether it still was not.
    async fn void(&self, lease: &Lease, group: Group, body: BodyId) -> Result<bool> {
        self.blobs
            .inner
            .database
            .transact(|transaction| async move {
                lease.check(&transaction).await?;
                let record = transaction.get(&rows::record(body)).await?;
                let record = record.map(|record| BodyRecord::decode(body, &record)).transpose()?;
                if record.as_ref().and_then(hot::index_of) == Some(group) {
                    return Ok(false);
                }
                hot::leave(&transaction, group, body).await
            })
            .await
    }

    /// Takes a damaged body out of the index. It is read as far as it can be; the scrubber tells of it, and enters it again if it turns out to be sound.
    async fn give_up(&self, lease: &Lease, group: Group, body: BodyId) -> Result<()> {
        self.blobs
            .inner
            .database
            .transact(|transaction| async move {
                lease.check(&transaction).await?;
                hot::leave(&transaction, group, body).await?;
                let Some(record) = transaction.get(&rows::record(body)).await? else { return Ok(()) };
                if let Ok(mut record) = BodyRecord::decode(body, &record)
                    && record.place == Place::Hot
                {
                    record.owner = None;
                    transaction.set(&rows::record(body), &record.encode());
                }
                Ok::<_, Error>(())
            })
            .await
    }
}

impl crate::Blobs {
    /// Lets all hot bodies be packed now, however young and few.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub async fn request_packing(&self) -> Result<()> {
        self.inner
            .database
            .transact(|transaction| async move {
                Group::all().for_each(|group| transaction.set(&rows::pack_request(group), b""));
                Ok(())
            })
            .await
    }

    /// The oldest body of a group that waits to be packed.
    pub(crate) async fn oldest_hot(&self, group: Group) -> Result<Option<HotBody>> {
        let read = self
            .inner
            .database
            .read(|transaction| async move { hot::oldest(&transaction, group, None, 1).await });
        Ok(read.await?.pop())
    }
}

fn octets_of(bodies: &[HotBody]) -> u64 {
    bodies.iter().map(|hot| hot.entry.octets).sum()
}

/// How many of the first bodies have together at most `octets`; at least one.
fn count_within(bodies: &[HotBody], octets: u64) -> usize {
    let mut sum = 0;
    let within = bodies.iter().take_while(|hot| {
        sum += hot.entry.octets;
        sum <= octets
    });
    within.count().clamp(1, PAGE)
}
