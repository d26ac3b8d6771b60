//! Writing and reading bodies.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ekitei_kv::clock::SharedClock;
use ekitei_kv::{Database, KeyValue, RangeOptions, Transaction};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::block::{self, Block};
use crate::object_store::ObjectStore;
use crate::record::{BodyRecord, Place};
use crate::rows::{self, CHUNK_SIZE, Intent};
use crate::{BodyId, Error, Result};

/// How bodies are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Up to this many octets, compressed, a body is stored in rows; larger ones are objects.
    pub hot_limit: usize,
    /// Octets of a block before compression.
    pub block_size: usize,
    /// Zstandard level; 0 does not compress.
    pub compression_level: i32,
    /// How long an unreferenced body, or an object whose delivery never ended, is kept.
    pub grace: Duration,
    /// Octets of decoded blocks kept in memory.
    pub cache_size: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hot_limit: 256 << 10,
            block_size: 256 << 10,
            compression_level: 1,
            grace: Duration::from_secs(3600),
            cache_size: 16 << 20,
        }
    }
}

/// The body store: cheap to clone, shared by all tasks.
#[derive(Clone)]
pub struct Blobs {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) objects: Box<dyn ObjectStore>,
    pub(crate) settings: Settings,
    pub(crate) clock: SharedClock,
    /// Decoded blocks by body and number: a client that fetches a message piece by piece decodes each block once.
    cache: Cache<(BodyId, usize), Bytes, ByLength>,
}

#[derive(Clone)]
struct ByLength;

impl Weighter<(BodyId, usize), Bytes> for ByLength {
    fn weight(&self, _: &(BodyId, usize), block: &Bytes) -> u64 {
        block.len() as u64 + 100
    }
}

/// A body that is encoded and, if it is large, in the object store already; to be [stored](Prepared::store) with what refers to it.
#[derive(Clone, Debug)]
pub struct Prepared {
    id: BodyId,
    record: BodyRecord,
    /// The encoded blocks of a hot body.
    hot: Vec<Bytes>,
}

impl Prepared {
    /// The body's id.
    pub fn id(&self) -> BodyId {
        self.id
    }

    /// Octets that [`Prepared::store`] adds to a transaction, about.
    pub fn row_size(&self) -> usize {
        200 + self.record.blocks.len() * 24 + self.hot.iter().map(Bytes::len).sum::<usize>()
    }

    /// Writes the body's rows. Add a reference in the same transaction.
    ///
    /// # Errors
    /// [`Error::IntentExpired`] when the object is gone already.
    pub async fn store(&self, transaction: &Transaction) -> Result<()> {
        if self.record.place == Place::Object {
            let intent = transaction.get(&rows::intent(self.id)).await?;
            match intent.as_deref().and_then(rows::decode_intent) {
                Some((Intent::Write, _)) => transaction.clear(&rows::intent(self.id)),
                // A large delivery takes several transactions; the first of them made the intent good.
                None if transaction.get(&rows::record(self.id)).await?.is_some() => {}
                _ => return Err(Error::IntentExpired(self.id)),
            }
        }
        transaction.set(&rows::record(self.id), &self.record.encode());
        for (n, chunk) in self.hot.iter().flat_map(|block| block.chunks(CHUNK_SIZE)).enumerate() {
            transaction.set(&rows::chunk(self.id, n), chunk);
        }
        Ok(())
    }
}

impl Blobs {
    /// A body store over a database and an object store.
    pub fn new(
        database: Database,
        objects: impl ObjectStore,
        settings: Settings,
        clock: SharedClock,
    ) -> Self {
        let cache = Cache::with_weighter(1000, settings.cache_size, ByLength);
        Self { inner: Arc::new(Inner { database, objects: Box::new(objects), settings, clock, cache }) }
    }

    /// Encodes a body under a new id and, if it is large, writes its object durably.
    ///
    /// # Errors
    /// When the object store or the metadata store fails; then nothing of the body is left but what the collector removes.
    pub async fn prepare(&self, body: Bytes) -> Result<Prepared> {
        self.prepare_within(body, usize::MAX).await
    }

    /// Like [`Blobs::prepare`], but a body that takes more than `max_hot` octets, encoded, becomes an object even if
    /// [`Settings::hot_limit`] would let it be rows: for transactions that store several bodies.
    ///
    /// # Errors
    /// As [`Blobs::prepare`].
    pub async fn prepare_within(&self, body: Bytes, max_hot: usize) -> Result<Prepared> {
        let settings = &self.inner.settings;
        let (block_size, level) = (settings.block_size, settings.compression_level);
        let size = body.len() as u64;
        // Compressing a small body takes less time than handing it to another thread.
        let encoded = if body.len() <= block_size {
            encode_all(&body, block_size, level)
        } else {
            tokio::task::spawn_blocking(move || encode_all(&body, block_size, level))
                .await
                .map_err(std::io::Error::other)?
        };
        let (blocks, stored): (Vec<Block>, Vec<Bytes>) = encoded.into_iter().unzip();
        let id = BodyId::generate(&*self.inner.clock);
        let hot = stored.iter().map(Bytes::len).sum::<usize>() <= settings.hot_limit.min(max_hot);
        let block_size = u32::try_from(block_size).unwrap_or(u32::MAX);
        let place = if hot { Place::Hot } else { Place::Object };
        let record = BodyRecord { size, block_size, place, blocks };
        if hot {
            return Ok(Prepared { id, record, hot: stored });
        }
        self.write_object(id, stored).await?;
        Ok(Prepared { id, record, hot: Vec::new() })
    }

    async fn write_object(&self, id: BodyId, stored: Vec<Bytes>) -> Result<()> {
        let intent = rows::encode_intent(Intent::Write, self.inner.clock.now());
        self.inner
            .database
            .transact(|transaction| async move {
                transaction.set(&rows::intent(id), &intent);
                Ok::<_, ekitei_kv::Error>(())
            })
            .await?;
        self.inner.objects.put(&id.to_string(), stored).await?;
        Ok(())
    }

    /// Octets of a body, cut to its size. Reads the blocks that hold them, no others.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Damaged`], and failures of the stores.
    pub async fn read(&self, body: BodyId, range: Range<u64>) -> Result<Bytes> {
        if let Some(bytes) = self.read_cached(body, &range) {
            return Ok(bytes);
        }
        let (record, chunks) = self
            .inner
            .database
            .read(|transaction| async move {
                let options = RangeOptions { snapshot: true, ..RangeOptions::default() };
                let rows = transaction.get_range(rows::record_and_chunks(body), options).await?;
                let (first, chunks) = rows.split_first().ok_or(Error::NotFound(body))?;
                if first.key != rows::record(body) {
                    return Err(Error::Damaged { body, what: "its record is missing" });
                }
                Ok((BodyRecord::decode(body, &first.value)?, chunks.to_vec()))
            })
            .await?;
        let range = range.start.min(record.size)..range.end.min(record.size);
        let blocks = record.blocks_of(&range);
        let decoded = self.read_blocks(body, &record, &chunks, blocks.clone()).await?;
        let skip = range.start - blocks.start as u64 * u64::from(record.block_size);
        Ok(cut(decoded, skip, range.end.saturating_sub(range.start)))
    }

    /// The range, if it lies within one block that is in memory. (Block sizes change only with the configuration, and the cache begins
    /// empty then.)
    fn read_cached(&self, body: BodyId, range: &Range<u64>) -> Option<Bytes> {
        let block_size = self.inner.settings.block_size as u64;
        let index = usize::try_from(range.start / block_size).ok()?;
        let block = self.inner.cache.get(&(body, index))?;
        let begin = range.start - index as u64 * block_size;
        let end = range.end.checked_sub(index as u64 * block_size)?;
        // A short block is the last one, or belongs to a body that was cut in other sizes: then the record must tell.
        (begin <= end && end <= block.len() as u64).then(|| block.slice(begin as usize..end as usize))
    }

    async fn read_blocks(
        &self,
        body: BodyId,
        record: &BodyRecord,
        chunks: &[KeyValue],
        blocks: Range<usize>,
    ) -> Result<Vec<Bytes>> {
        let wanted = blocks.clone();
        let begin = record.stored_offset(blocks.start);
        let end = record.stored_offset(blocks.end);
        let mut stored = match record.place {
            Place::Hot => cut(chunks.iter().map(|row| row.value.clone()).collect(), begin, end - begin),
            Place::Object => self.inner.objects.get(&body.to_string(), begin..end).await?,
        };
        let mut decoded = Vec::with_capacity(blocks.len());
        for index in blocks {
            let block =
                record.blocks.get(index).ok_or(Error::Damaged { body, what: "a block is missing" })?;
            let octets = stored.split_to(stored.len().min(block.stored as usize));
            let length = record.block_length(index);
            let raw = block::decode(block, octets, length).map_err(|what| Error::Damaged { body, what })?;
            // What is read in one go is rarely read again; what is read in pieces, at once.
            if wanted.len() == 1 && u64::from(record.block_size) == self.inner.settings.block_size as u64 {
                self.inner.cache.insert((body, index), raw.clone());
            }
            decoded.push(raw);
        }
        Ok(decoded)
    }
}

fn encode_all(body: &Bytes, block_size: usize, level: i32) -> Vec<(Block, Bytes)> {
    (0..body.len())
        .step_by(block_size.max(1))
        .map(|begin| block::encode(body.slice(begin..body.len().min(begin + block_size)), level))
        .collect()
}

/// `length` octets after the first `skip` of `pieces`; without copying if they lie in one piece.
fn cut(mut pieces: Vec<Bytes>, skip: u64, length: u64) -> Bytes {
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut all = if pieces.len() == 1 {
        pieces.remove(0)
    } else {
        let mut joined = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
        pieces.iter().for_each(|piece| joined.extend_from_slice(piece));
        joined.freeze()
    };
    let mut rest = all.split_off(skip.min(all.len()));
    rest.truncate(length);
    rest
}
