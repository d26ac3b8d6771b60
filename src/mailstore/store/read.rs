//! Reading messages: records, octets, searching.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ekitei_kv::{KeyValue, RangeOptions, Transaction};
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
        while found.len() < ids.len() {
            found.extend(self.messages_within(account, &ids[found.len()..], u64::MAX).await?);
        }
        Ok(found)
    }

    /// As [`Self::messages`], but only for the first of them, at least one: until they take `max_weight` octets in memory. A record may be
    /// some thousand times what others are, and whoever sends a message chooses.
    ///
    /// # Errors
    /// When the store fails, or a record is damaged.
    pub async fn messages_within(
        &self,
        account: AccountId,
        ids: &[MessageId],
        max_weight: u64,
    ) -> Result<Vec<Option<Arc<MessageRecord>>>> {
        let batch = &ids[..ids.len().min(BATCH)];
        let records = &self.inner.records;
        let cached: Vec<_> = batch.iter().map(|&id| records.get(&(account, id))).collect();
        let missing: Vec<MessageId> =
            batch.iter().zip(&cached).filter(|(_, cached)| cached.is_none()).map(|(&id, _)| id).collect();
        let mut rows = self.record_rows(account, &missing).await?.into_iter();
        let (mut found, mut weight) = (Vec::with_capacity(batch.len()), 0u64);
        for (&id, cached) in batch.iter().zip(cached) {
            let record = match cached {
                Some(record) => Some(record),
                None => record::decode(id, &rows.next().unwrap_or_default())?.map(Arc::new),
            };
            if let Some(record) = &record {
                records.insert((account, id), Arc::clone(record));
                weight = weight.saturating_add(record.weight());
            }
            found.push(record);
            if weight >= max_weight {
                break;
            }
        }
        Ok(found)
    }

    /// The rows of records, still encoded.
    pub(super) async fn record_rows(
        &self,
        account: AccountId,
        ids: &[MessageId],
    ) -> Result<Vec<Vec<KeyValue>>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let read = |transaction: Transaction| async move {
            let transaction = &transaction;
            let options = RangeOptions { snapshot: true, ..RangeOptions::default() };
            let rows = ids.iter().map(|&id| transaction.get_range(rows::record(account, id), options));
            Ok::<_, Error>(try_join_all(rows).await?)
        };
        self.inner.database.read(read).await
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
