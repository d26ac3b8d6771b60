//! Writing bodies: encoded first, then stored in the transaction that refers to them.

use bytes::Bytes;
use ekitei_kv::Transaction;

use crate::block::{self, Block};
use crate::record::{BodyRecord, Place};
use crate::rows::{self, CHUNK_SIZE, Intent};
use crate::{Blobs, BodyId, Error, Result};

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
        let record = BodyRecord { size, block_size, place, key: None, blocks };
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
}

fn encode_all(body: &Bytes, block_size: usize, level: i32) -> Vec<(Block, Bytes)> {
    (0..body.len())
        .step_by(block_size.max(1))
        .map(|begin| block::encode(body.slice(begin..body.len().min(begin + block_size)), level))
        .collect()
}
