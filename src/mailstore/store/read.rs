//! Reading messages: records, octets, searching.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ekitei_kv::{RangeOptions, Transaction};
use futures_util::future::try_join_all;

use super::MailStore;
use crate::record::{self, MessageRecord};
use crate::rows;
use crate::search::{self, Query};
use crate::types::{AccountId, MessageId, Uid};
use crate::view::Snapshot;
use crate::{Error, Result};

/// Records read in one transaction.
const BATCH: usize = 500;

impl MailStore {
    /// The records of messages, in order; `None` for one that is gone.
    ///
    /// # Errors
    /// When the store fails, or a record is damaged.
    pub async fn messages(
        &self,
        account: AccountId,
        ids: &[MessageId],
    ) -> Result<Vec<Option<Arc<MessageRecord>>>> {
        let mut found = Vec::with_capacity(ids.len());
        for batch in ids.chunks(BATCH) {
            let cached: Vec<_> = batch.iter().map(|&id| self.inner.records.get(&(account, id))).collect();
            if cached.iter().all(Option::is_some) {
                found.extend(cached);
                continue;
            }
            let cached = &cached;
            let read = |transaction: Transaction| async move {
                let transaction = &transaction;
                try_join_all(batch.iter().zip(cached).map(|(&id, cached)| async move {
                    if let Some(record) = cached {
                        return Ok::<_, Error>(Some(Arc::clone(record)));
                    }
                    let options = RangeOptions { snapshot: true, ..RangeOptions::default() };
                    let pieces = transaction.get_range(rows::record(account, id), options).await?;
                    Ok(record::decode(id, &pieces)?.map(Arc::new))
                }))
                .await
            };
            for record in self.inner.database.read(read).await? {
                if let Some(record) = &record {
                    self.inner.records.insert((account, record.id), Arc::clone(record));
                }
                found.push(record);
            }
        }
        Ok(found)
    }

    /// Octets of a message, cut to its size; from memory if they were read just now. Reads at most what the range covers, so a large
    /// message is streamed by asking for one piece after the other (256 KiB is a good one).
    ///
    /// # Errors
    /// [`Error::Body`] when it cannot be read, or is damaged; [`ekitei_blob::Error::NotFound`] in it when the message is gone.
    pub async fn read(&self, account: AccountId, message: MessageId, range: Range<u64>) -> Result<Bytes> {
        let record = self.messages(account, &[message]).await?.pop().flatten();
        let record = record.ok_or(ekitei_blob::Error::NotFound(message))?;
        let own = record.own_header.len() as u64;
        let end = range.end.min(record.size);
        if range.start >= end {
            return Ok(Bytes::new());
        }
        if range.start >= own {
            return Ok(self.inner.blobs.read(message, range.start - own..end - own).await?);
        }
        // Both are at most the length of a header.
        let cut = |at: u64| usize::try_from(at.min(own)).unwrap_or(record.own_header.len());
        let header = record.own_header.slice(cut(range.start)..cut(end));
        if end <= own {
            return Ok(header);
        }
        let mut joined = BytesMut::from(&header[..]);
        joined.extend_from_slice(&self.inner.blobs.read(message, 0..end - own).await?);
        Ok(joined.freeze())
    }

    /// The UIDs of a mailbox's snapshot that match, ascending.
    ///
    /// # Errors
    /// [`Error::Limit`] when it would read too many bodies.
    pub async fn search(&self, account: AccountId, snapshot: &Snapshot, query: &Query) -> Result<Vec<Uid>> {
        search::run(self, account, snapshot, query, self.inner.settings.max_search_bodies).await
    }
}
