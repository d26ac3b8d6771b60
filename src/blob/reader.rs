//! Reading bodies: the record tells the blocks and where they are; only those that hold the octets asked for are read.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use ekitei_kv::{KeyValue, RangeOptions, Transaction};

use crate::block::{self, Encoding};
use crate::encryption::{BodyKey, KeyError};
use crate::record::{BodyRecord, Place};
use crate::{Blobs, BodyId, Error, Result, rows};

/// Times that a body is looked for before it is missing or damaged.
const ATTEMPTS: u32 = 3;

impl Blobs {
    /// Octets of a body, cut to its size. Reads the blocks that hold them, no others.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Damaged`], [`Error::Key`], and failures of the stores.
    pub async fn read(&self, body: BodyId, range: Range<u64>) -> Result<Bytes> {
        if let Some(bytes) = self.read_cached(body, &range) {
            return Ok(bytes);
        }
        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            let record = self.record_and_chunks(body).await?;
            match self.read_range(body, &record, range.clone()).await {
                // The object went away after its body had moved elsewhere, or was spoiled on its way.
                Err(Error::Objects(error)) if error.is_not_found() && attempts > 0 => {}
                Err(Error::Damaged { .. }) if record.0.place != Place::Hot && attempts > 0 => {
                    self.inner.objects.forget(&record.0.place.object_name(body));
                }
                result => return result,
            }
        }
    }

    /// A body's record and the chunks of a hot one, of one snapshot.
    async fn record_and_chunks(&self, body: BodyId) -> Result<(BodyRecord, Vec<KeyValue>)> {
        self.inner
            .database
            .read(|transaction| async move { read_record_and_chunks(&transaction, body).await })
            .await
    }

    async fn read_range(
        &self,
        body: BodyId,
        (record, chunks): &(BodyRecord, Vec<KeyValue>),
        range: Range<u64>,
    ) -> Result<Bytes> {
        let range = range.start.min(record.size)..range.end.min(record.size);
        let blocks = record.blocks_of(&range);
        let decoded = self.read_blocks(body, record, chunks, blocks.clone()).await?;
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
        if blocks.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = blocks.clone();
        let key = self.key_of(body, record).await?;
        let begin = record.stored_offset(blocks.start);
        let end = record.stored_offset(blocks.end);
        let mut stored = match record.place {
            Place::Hot => cut(chunks.iter().map(|row| row.value.clone()).collect(), begin, end - begin),
            Place::Object => self.inner.objects.get(&body.to_string(), begin..end).await?,
            Place::Segment { segment, offset } => {
                self.inner.objects.get(&segment.object_name(), offset + begin..offset + end).await?
            }
        };
        let mut decoded = Vec::with_capacity(blocks.len());
        for index in blocks {
            let block =
                record.blocks.get(index).ok_or(Error::Damaged { body, what: "a block is missing" })?;
            let octets = stored.split_to(stored.len().min(block.stored as usize));
            let length = record.block_length(index);
            let sealing = key.as_ref().map(|key| (key, index));
            let raw = block::decode(block, octets, length, sealing)
                .map_err(|what| Error::Damaged { body, what })?;
            // What is read in one go is rarely read again; what is read in pieces, at once.
            if wanted.len() == 1 && u64::from(record.block_size) == self.inner.settings.block_size as u64 {
                // What is not decoded is a piece of something larger, all of which a piece in the cache would keep in memory.
                let is_piece = key.is_none() && block.encoding == Encoding::Identity;
                let own = if is_piece { Bytes::copy_from_slice(&raw) } else { raw.clone() };
                self.inner.cache.insert((body, index), own);
            }
            decoded.push(raw);
        }
        Ok(decoded)
    }

    /// The key of an encrypted body.
    async fn key_of(&self, body: BodyId, record: &BodyRecord) -> Result<Option<BodyKey>> {
        let Some(seal) = &record.key else { return Ok(None) };
        let Some(keys) = &self.inner.settings.data_keys else {
            let reason = "the body is encrypted, and no keys are configured";
            return Err(KeyError::Missing { key: seal.data_key, reason }.into());
        };
        let data_key = keys.get(seal.data_key).await?;
        Ok(Some(BodyKey::derive(&data_key, seal, body, record.size, record.block_size)?))
    }
}

impl BodyRecord {
    /// Checks what is stored of all blocks, which takes no key.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub(crate) fn check_stored(&self, body: BodyId, pieces: &[Bytes]) -> Result<()> {
        self.check_blocks(body, 0..self.blocks.len(), None, pieces)
    }

    /// Checks what is stored of some blocks: with the key of a body that is encrypted by decrypting it, without by its checksums.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub(crate) fn check_blocks(
        &self,
        body: BodyId,
        blocks: Range<usize>,
        key: Option<&BodyKey>,
        pieces: &[Bytes],
    ) -> Result<()> {
        let damaged = |what| Error::Damaged { body, what };
        let mut rest = cut(pieces.to_vec(), 0, u64::MAX);
        for index in blocks {
            let block = self.blocks.get(index).ok_or_else(|| damaged("a block is missing"))?;
            let octets = rest.split_to(rest.len().min(block.stored as usize));
            if self.key.is_some() && key.is_none() {
                block::check_sealed(block, &octets).map_err(damaged)?;
            } else {
                let sealing = key.map(|key| (key, index));
                block::decode(block, octets, self.block_length(index), sealing).map_err(damaged)?;
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(damaged("there is more of it than its record says")) }
    }
}

/// A body's record and the chunks of a hot one, without a conflict.
pub(crate) async fn read_record_and_chunks(
    transaction: &Transaction,
    body: BodyId,
) -> Result<(BodyRecord, Vec<KeyValue>)> {
    let options = RangeOptions { snapshot: true, ..RangeOptions::default() };
    let rows = transaction.get_range(rows::record_and_chunks(body), options).await?;
    let (first, chunks) = rows.split_first().ok_or(Error::NotFound(body))?;
    if first.key != rows::record(body) {
        return Err(Error::Damaged { body, what: "its record is missing" });
    }
    Ok((BodyRecord::decode(body, &first.value)?, chunks.to_vec()))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use ekitei_kv::Database;
    use ekitei_kv::clock::SystemClock;

    use super::*;
    use crate::{MemoryStore, ObjectStore, Owner, Settings};

    #[tokio::test]
    async fn a_block_in_the_cache_keeps_nothing_else_in_memory() {
        let (database, objects) = (Database::in_memory(), MemoryStore::new(Arc::new(SystemClock)));
        let settings = Settings { hot_limit: 100, block_size: 1000, ..Settings::default() };
        let blobs = Blobs::new(database.clone(), objects.clone(), settings, Arc::new(SystemClock));
        // What does not compress.
        let body: Bytes = (0..4000).map(|_| rand::random::<u8>()).collect();
        let prepared = &blobs.prepare(body.clone()).await.unwrap();
        database
            .transact(|transaction| async move { prepared.store(&transaction, Owner::Account(1)).await })
            .await
            .unwrap();
        assert_eq!(blobs.read(prepared.id(), 10..20).await.unwrap(), body.slice(10..20));
        let kept = blobs.inner.cache.get(&(prepared.id(), 0)).unwrap();
        let object = objects.get(&prepared.id().to_string(), 0..u64::MAX).await.unwrap();
        assert!(!object.as_ptr_range().contains(&kept.as_ptr()), "it is a piece of the object");
    }
}
