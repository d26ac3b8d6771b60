//! Writing bodies: encoded and encrypted first, then stored in the transaction that refers to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use ekitei_kv::Transaction;

use crate::block::{self, Block};
use crate::encryption::{BodyKey, BodySeal, DataKeys, KeyScope, SealFailed};
use crate::hot::{self, HotEntry};
use crate::owner::Owner;
use crate::record::{BodyRecord, Place};
use crate::rows::{self, CHUNK_SIZE, Intent};
use crate::segments::settle_alone;
use crate::{Blobs, BodyId, Error, Group, ObjectError, Result, SegmentId};

/// Octets of a body that is encoded by the task that stores it, and not by a thread for what takes long.
const ENCODED_HERE: usize = 256 << 10;

/// Octets of a body that becomes rows while the object store is away: a transaction has room for it and what refers to it.
const HOT_WHILE_AWAY: usize = 6_000_000;

/// Where the id of a body comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It is new: nothing is, or was, stored under it.
    New,
    /// The body had it in another store. An attempt before may have stored it here, and another one may be at it.
    Restored,
}

/// A body that is encoded and, if it is large, in the object store already; to be [stored](Prepared::store) with what refers to it.
#[derive(Clone, Debug)]
pub struct Prepared {
    id: BodyId,
    origin: Origin,
    record: BodyRecord,
    /// Where the key of an encrypted body is.
    keys: Option<Arc<dyn DataKeys>>,
    /// The encoded blocks of a hot body.
    hot: Vec<Bytes>,
    /// Whether a hot body is entered into the index, to be packed.
    indexed: bool,
    /// Whether a transaction has tried to store it.
    attempted: Arc<AtomicBool>,
}

impl Prepared {
    /// The body's id.
    pub fn id(&self) -> BodyId {
        self.id
    }

    /// Octets that [`Prepared::store`] adds to a transaction, about.
    pub fn row_size(&self) -> usize {
        /// Record, keys, index row and counters.
        const ROWS: usize = 1_000;
        ROWS + self.record.blocks.len() * 24 + self.hot.iter().map(Bytes::len).sum::<usize>()
    }

    /// Writes the body's rows. Add a reference in the same transaction. It may be called again, in the same transaction's next attempt or in another one that
    /// refers to the body, too; `owner` tells what the body lies beside.
    ///
    /// # Errors
    /// [`Error::IntentExpired`] when the object is gone already; [`Error::Key`] when the key was destroyed meanwhile.
    pub async fn store(&self, transaction: &Transaction, owner: Owner) -> Result<()> {
        // It may be there, and even be packed already.
        let may_be_there = self.attempted.swap(true, Ordering::Relaxed) || self.origin == Origin::Restored;
        if may_be_there && transaction.get(&rows::record(self.id)).await?.is_some() {
            return Ok(());
        }
        match self.record.place {
            Place::Hot => {}
            Place::Object => self.end_intent(transaction, &rows::intent(self.id)).await?,
            Place::Segment { segment, .. } => {
                self.end_intent(transaction, &rows::segment_intent(segment)).await?;
                settle_alone(transaction, Group::of(owner), segment, self.id, self.record.stored_octets());
            }
        }
        if let (Some(keys), Some(seal)) = (&self.keys, self.record.key) {
            keys.confirm(transaction, seal.data_key).await?;
        }
        let is_owned = self.indexed || matches!(self.record.place, Place::Segment { .. });
        let record = BodyRecord { owner: is_owned.then_some(owner), ..self.record.clone() };
        transaction.set(&rows::record(self.id), &record.encode());
        if self.indexed {
            hot::enter(transaction, self.id, HotEntry { owner, octets: record.stored_octets() });
        }
        for (n, chunk) in self.hot.iter().flat_map(|block| block.chunks(CHUNK_SIZE)).enumerate() {
            transaction.set(&rows::chunk(self.id, n), chunk);
        }
        Ok(())
    }

    /// Makes the object good, unless the collector has taken it for abandoned.
    async fn end_intent(&self, transaction: &Transaction, key: &[u8]) -> Result<()> {
        let intent = transaction.get(key).await?;
        let Some((Intent::Write, _)) = intent.as_deref().and_then(rows::decode_intent) else {
            return Err(Error::IntentExpired(self.id));
        };
        transaction.clear(key);
        Ok(())
    }
}

impl Blobs {
    /// Encodes a body under a new id and, if it is large, writes its object durably. It is mail of no domain: see [`Blobs::prepare_for`].
    ///
    /// # Errors
    /// When the keys, the object store or the metadata store fails; then nothing of the body is left but what the collector removes.
    pub async fn prepare(&self, body: Bytes) -> Result<Prepared> {
        self.prepare_within(body, usize::MAX).await
    }

    /// Like [`Blobs::prepare`], but a body that takes more than `max_hot` octets, encoded, becomes an object even if
    /// [`Settings::hot_limit`] would let it be rows: for transactions that store several bodies.
    ///
    /// # Errors
    /// As [`Blobs::prepare`].
    pub async fn prepare_within(&self, body: Bytes, max_hot: usize) -> Result<Prepared> {
        self.prepare_for(&KeyScope::Service, body, max_hot).await
    }

    /// Like [`Blobs::prepare_within`], encrypted with the key of this scope if bodies are encrypted.
    ///
    /// # Errors
    /// As [`Blobs::prepare`].
    pub async fn prepare_for(&self, scope: &KeyScope, body: Bytes, max_hot: usize) -> Result<Prepared> {
        self.prepare_under((BodyId::generate(&*self.inner.clock), Origin::New), scope, body, max_hot).await
    }

    /// Whether bodies are encrypted now, so that one for several domains is prepared for each of them.
    pub fn encrypts(&self) -> bool {
        self.inner.settings.data_keys.as_ref().is_some_and(|keys| keys.is_enabled())
    }

    /// Like [`Blobs::prepare`], under an id that the body had in another store: for a restore. In this one the id may be that of the same body only, as
    /// after an attempt that was interrupted, or beside another one; then [`Prepared::store`] leaves what is there.
    ///
    /// A large body becomes a segment of its own, whose object has a name that was never used: what other attempts write, or delete late, is elsewhere.
    /// Only where segments are not made is the object named by the id.
    ///
    /// # Errors
    /// As [`Blobs::prepare`]. If the object is named by the id: [`Error::IntentExpired`] when the body is there, or while what is left of another attempt
    /// waits for the collector, and [`ObjectErrorKind::Invalid`](crate::ObjectErrorKind::Invalid) for an object of that name that no row knows of: it
    /// may be that of a cluster which is alive.
    pub async fn prepare_as(
        &self,
        id: BodyId,
        scope: &KeyScope,
        body: Bytes,
        max_hot: usize,
    ) -> Result<Prepared> {
        self.prepare_under((id, Origin::Restored), scope, body, max_hot).await
    }

    async fn prepare_under(
        &self,
        (id, origin): (BodyId, Origin),
        scope: &KeyScope,
        body: Bytes,
        max_hot: usize,
    ) -> Result<Prepared> {
        let settings = &self.inner.settings;
        let (size, block_size) = (body.len() as u64, settings.block_size);
        let keys = settings.data_keys.clone();
        let (key, seal) = self.body_key(scope, id, size).await?.unzip();
        let encoder = Encoder { block_size, level: settings.compression_level, key };
        // Compressing a small body takes less time than handing it to another thread.
        let encoded = if body.len() <= ENCODED_HERE {
            encoder.encode_all(&body)
        } else {
            tokio::task::spawn_blocking(move || encoder.encode_all(&body))
                .await
                .map_err(std::io::Error::other)?
        };
        let (blocks, stored): (Vec<Block>, Vec<Bytes>) = encoded?.into_iter().unzip();
        let block_size = u32::try_from(block_size).unwrap_or(u32::MAX);
        let writing = Writing { id, origin, sealed: seal.is_some() };
        let place = self.write_if_large(writing, &stored, max_hot).await?;
        let record = BodyRecord { size, block_size, place, key: seal, owner: None, blocks };
        let hot = if place == Place::Hot { stored } else { Vec::new() };
        let indexed = place == Place::Hot && settings.packing.is_active();
        Ok(Prepared { id, origin, record, keys, hot, indexed, attempted: Arc::default() })
    }

    /// Decides where a body goes. Small ones become rows as long as not too many wait there to be packed; the others become objects, or, while the object
    /// store is away, rows if they fit. What is an object is written when this returns.
    async fn write_if_large(&self, writing: Writing, stored: &[Bytes], max_hot: usize) -> Result<Place> {
        let octets = stored.iter().map(Bytes::len).sum::<usize>();
        let packing = &self.inner.settings.packing;
        let is_packed = packing.is_active();
        let has_room =
            !is_packed || self.hot_octets().await.saturating_add(octets as u64) <= packing.hot_limit;
        if octets <= self.inner.settings.hot_limit.min(max_hot) && has_room {
            return Ok(Place::Hot);
        }
        let failure = if self.inner.objects.is_away() {
            ObjectError::unavailable("the object store is away")
        } else {
            match self.write_large(writing, stored.to_vec()).await {
                Ok(place) => return Ok(place),
                Err(Error::Objects(failure)) if failure.kind().is_of_the_store() => failure,
                Err(error) => return Err(error),
            }
        };
        if is_packed && has_room && octets <= HOT_WHILE_AWAY.min(max_hot) {
            tracing::debug!(body = %writing.id, octets, %failure, "a large body waits in rows for the object store");
            return Ok(Place::Hot);
        }
        Err(Error::NoRoom(failure))
    }

    /// The key of a new body, and what its record says of it; `None` if bodies are not encrypted now.
    async fn body_key(&self, scope: &KeyScope, id: BodyId, size: u64) -> Result<Option<(BodyKey, BodySeal)>> {
        let settings = &self.inner.settings;
        let Some(keys) = &settings.data_keys else { return Ok(None) };
        let Some(data_key) = keys.current(scope).await? else { return Ok(None) };
        let seal = BodySeal::new(data_key.id());
        let block_size = u32::try_from(settings.block_size).unwrap_or(u32::MAX);
        Ok(Some((BodyKey::derive(&data_key, &seal, id, size, block_size)?, seal)))
    }

    /// Writes a body that is too large for rows.
    async fn write_large(&self, writing: Writing, stored: Vec<Bytes>) -> Result<Place> {
        if writing.origin == Origin::Restored && self.inner.settings.packing.is_active() {
            return self.write_segment(stored).await;
        }
        self.begin_object(writing).await?;
        self.inner.objects.put(&writing.id.to_string(), stored).await?;
        Ok(Place::Object)
    }

    /// Writes a body as a segment of its own.
    async fn write_segment(&self, stored: Vec<Bytes>) -> Result<Place> {
        let segment = SegmentId::generate(&*self.inner.clock);
        let intent = &rows::encode_intent(Intent::Write, self.inner.clock.now());
        self.inner
            .database
            .transact(|transaction| async move {
                transaction.set(&rows::segment_intent(segment), intent);
                Ok::<_, ekitei_kv::Error>(())
            })
            .await?;
        self.inner.objects.put(&segment.object_name(), stored).await?;
        Ok(Place::Segment { segment, offset: 0 })
    }

    /// Says that the object named by a body's id is being written.
    async fn begin_object(&self, writing: Writing) -> Result<()> {
        let id = writing.id;
        if writing.origin == Origin::Restored {
            self.check_unused(id).await?;
        }
        let begun = &rows::encode_intent(Intent::Write, self.inner.clock.now());
        self.inner
            .database
            .transact(|transaction| async move {
                let key = rows::intent(id);
                let found = transaction.get(&key).await?;
                let is_free = match found.as_deref().map(rows::decode_intent) {
                    None => true,
                    // Sealed, each attempt writes other octets, and what the one before sent may still arrive.
                    Some(Some((Intent::Write, _))) => {
                        !writing.sealed
                            || (transaction.may_have_committed() && found.as_deref() == Some(&begun[..]))
                    }
                    Some(_) => false,
                };
                if !is_free || transaction.get(&rows::record(id)).await?.is_some() {
                    return Err(Error::IntentExpired(id));
                }
                transaction.set(&key, begun);
                Ok(())
            })
            .await
    }

    /// Makes sure that the object of a restored body is not somebody else's. An intent would let the collector delete it.
    async fn check_unused(&self, id: BodyId) -> Result<()> {
        let read = |transaction: Transaction| async move {
            let intent = transaction.get_snapshot(&rows::intent(id)).await?;
            Ok::<_, Error>(intent.is_some() || transaction.get_snapshot(&rows::record(id)).await?.is_some())
        };
        if self.inner.database.read(read).await? {
            return Ok(()); // it is ours
        }
        let name = id.to_string();
        match self.inner.objects.head(&name).await {
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => {
                let what = format!(
                    "there is an object {name} already, and no row knows of it: is the store another cluster's?"
                );
                Err(ObjectError::invalid(what).into())
            }
        }
    }
}

/// A body that may become an object.
#[derive(Clone, Copy)]
struct Writing {
    id: BodyId,
    origin: Origin,
    /// It is encrypted: no two attempts make the same of it.
    sealed: bool,
}

/// Makes blocks of a body.
struct Encoder {
    block_size: usize,
    level: i32,
    key: Option<BodyKey>,
}

impl Encoder {
    fn encode_all(&self, body: &Bytes) -> Result<Vec<(Block, Bytes)>, SealFailed> {
        let blocks = (0..body.len()).step_by(self.block_size.max(1)).enumerate();
        blocks
            .map(|(index, begin)| {
                let raw = body.slice(begin..body.len().min(begin + self.block_size));
                block::encode(raw, self.level, self.key.as_ref().map(|key| (key, index)))
            })
            .collect()
    }
}
