//! Reading bodies: the record tells the blocks and where they are; only those that hold the octets asked for are read.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use ekitei_kv::{KeyValue, RangeOptions};

use crate::block;
use crate::record::{BodyRecord, Place};
use crate::{Blobs, BodyId, Error, Result, rows};

impl Blobs {
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
