//! The rows of the queue, for those who work on it: what is fresh and due, what it is, and what became of it.
//!
//! Everything here is stateless. Who reads a shard keeps the cursors in memory, and begins anew at the start after taking over
//! its lease.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::Blobs;
use ekitei_config::Live;
use ekitei_kv::clock::SharedClock;
use ekitei_kv::{Database, KeyValue, RangeOptions, Transaction, Watch};
use futures_util::future::{join, join_all};

use crate::accept::Accepted;
use crate::model::{
    EntryId, EntryRow, Hint, MessageRow, NewMessage, Origin, Place, QueueId, QueueIds, Shard, Stamp,
};
use crate::rows::{self, IndexRow};
use crate::settle::Combiner;
use crate::settlement::{Fence, Notification, Settled, Settlement};
use crate::suppression::Suppressed;
use crate::{Error, Result};

/// Octets of a body that are read at a time.
const PIECE: u64 = 1 << 20;
/// Octets that a notification takes in the transaction of its settlement; a longer one is an object.
const MAX_HOT_NOTIFICATION: usize = 64 << 10;
/// Entries that one transaction reads.
const LOADS: usize = 500;

/// The stored queue: cheap to clone. From [`crate::Queue::spool`].
#[derive(Clone)]
pub struct Spool {
    pub(crate) inner: Arc<Inner>,
    combiner: Combiner,
}

pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) blobs: Blobs,
    pub(crate) live: Live,
    pub(crate) clock: SharedClock,
    pub(crate) ids: QueueIds,
}

impl Inner {
    /// An id for a new message.
    pub(crate) fn new_id(&self) -> QueueId {
        self.ids.next(&*self.clock)
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }
}

/// Work that came into a shard, in the order of commits.
pub struct FreshPage {
    /// At most as many as were asked for.
    pub hints: Vec<Hint>,
    /// Where to go on, now or after a wake: behind the last hint, or where this page began if there was none.
    pub next: Option<FreshCursor>,
    /// Whether there may be more behind [`FreshPage::next`] now.
    pub more: bool,
    /// Completes when work came into the shard after this page was read (or spuriously).
    pub watch: Watch,
}

/// The place of a fresh hint in its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FreshCursor {
    stamp: Stamp,
    entry: EntryId,
}

/// The place of a deferred hint in its shard: by time, then by entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueCursor {
    due: Duration,
    entry: EntryId,
}

impl DueCursor {
    /// The place of a hint among what is deferred; `None` for one of another kind.
    pub fn of(hint: &Hint) -> Option<Self> {
        match hint.place {
            Place::Due(due) => Some(Self { due, entry: hint.entry }),
            Place::Fresh(_) | Place::Held => None,
        }
    }
}

/// An entry and its message, as stored at the same moment.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Which.
    pub id: EntryId,
    /// Its message.
    pub message: MessageRow,
    /// The entry.
    pub entry: EntryRow,
    /// Which of its recipients are suppressed (places in [`EntryRow::recipients`]), because mail to them kept bouncing; looked at before the
    /// first attempt only. The scheduler fails them with [`Suppressed::failure`], and the notification that goes with it.
    pub suppressed: Vec<(usize, Suppressed)>,
}

impl Spool {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { combiner: Combiner::start(Arc::clone(&inner)), inner }
    }

    /// What came into `shard` after the cursor, at most `limit`, with a watch for what comes later. One read of `limit` rows.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn fresh(&self, shard: Shard, after: Option<FreshCursor>, limit: usize) -> Result<FreshPage> {
        let all = rows::all_fresh(shard);
        let after_key = after.map(|cursor| rows::fresh(shard, &cursor.stamp, cursor.entry).0);
        let range = &behind(all, after_key);
        let (found, watch) = self
            .inner
            .database
            .read(|transaction: Transaction| async move {
                let watch = transaction.watch(&rows::latest_fresh(shard));
                let found = transaction.get_range(range.clone(), snapshot(limit)).await?;
                Ok::<_, Error>((found, watch))
            })
            .await?;
        let hint = |row: &KeyValue| {
            let (stamp, entry) = rows::fresh_of(shard, &row.key)?;
            Ok(Hint { entry, turn: rows::decode_turn(&row.value)?, place: Place::Fresh(stamp) })
        };
        let hints = found.iter().map(hint).collect::<Result<Vec<Hint>>>()?;
        let cursor = |hint: &Hint| match hint.place {
            Place::Fresh(stamp) => Some(FreshCursor { stamp, entry: hint.entry }),
            _ => None,
        };
        let next = hints.last().and_then(cursor).or(after);
        Ok(FreshPage { more: hints.len() == limit, hints, next, watch })
    }

    /// What is deferred in `shard` until `until` at the latest (since the epoch), behind the cursor, in the order of time; at most `limit`.
    /// Only settlements write such hints, so only the shard's owner does.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn due(
        &self,
        shard: Shard,
        after: Option<DueCursor>,
        until: Duration,
        limit: usize,
    ) -> Result<Vec<Hint>> {
        let range = behind(rows::due_until(shard, until), after.map(|c| rows::due(shard, c.due, c.entry)));
        let found = self.range(range, limit).await?;
        found.iter().map(deferred).collect()
    }

    /// When the first deferred entry of `shard` behind the cursor is due: what to sleep for.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn next_due(&self, shard: Shard, after: Option<DueCursor>) -> Result<Option<Duration>> {
        let range = behind(rows::all_due(shard), after.map(|c| rows::due(shard, c.due, c.entry)));
        let found = self.range(range, 1).await?;
        found.first().map(|row| Ok(rows::due_of(&row.key)?.0)).transpose()
    }

    /// Entries for a destination behind `after`, in the order of arrival, at most `limit`; held and deferred ones are among them
    /// (see [`Hint::place`]).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn by_destination(
        &self,
        destination: &str,
        after: Option<EntryId>,
        limit: usize,
    ) -> Result<Vec<Hint>> {
        let range = behind(rows::index_of(destination), after.map(|id| rows::index(destination, id)));
        let found = self.range(range, limit).await?;
        let hint = |row: &KeyValue| Ok(IndexRow::decode(&row.value)?.hint(rows::indexed(&row.key)?));
        found.iter().map(hint).collect()
    }

    async fn range(&self, range: Range<Vec<u8>>, limit: usize) -> Result<Vec<KeyValue>> {
        let range = &range;
        let read = |transaction: Transaction| async move {
            Ok::<_, Error>(transaction.get_range(range.clone(), snapshot(limit)).await?)
        };
        self.inner.database.read(read).await
    }

    /// Reads entries of a shard: `None` where the hint is void (the entry is gone, held, or of another turn), whose row is removed then.
    ///
    /// # Errors
    /// When the store fails, or a row is damaged.
    pub async fn load(&self, shard: Shard, hints: &[Hint]) -> Result<Vec<Option<Loaded>>> {
        let mut all = Vec::with_capacity(hints.len());
        for hints in hints.chunks(LOADS) {
            let loaded = self
                .inner
                .database
                .read(|transaction: Transaction| async move {
                    let loads = hints.iter().map(|hint| self.load_one(&transaction, hint));
                    join_all(loads).await.into_iter().collect::<Result<Vec<_>>>()
                })
                .await?;
            let void: Vec<Hint> = hints
                .iter()
                .zip(&loaded)
                .filter(|(_, loaded)| loaded.is_none())
                .map(|(hint, _)| *hint)
                .collect();
            if !void.is_empty() {
                self.discard(shard, &void).await?;
            }
            all.extend(loaded);
        }
        Ok(all)
    }

    async fn load_one(&self, transaction: &Transaction, hint: &Hint) -> Result<Option<Loaded>> {
        let (entry_key, message_key) = (rows::entry(hint.entry), rows::message(hint.entry.message));
        let (entry, message) =
            join(transaction.get_snapshot(&entry_key), transaction.get_snapshot(&message_key)).await;
        let (Some(entry), Some(message)) = (entry?, message?) else { return Ok(None) };
        let entry = rows::decode_entry(&entry)?;
        if entry.turn != hint.turn || hint.place == Place::Held {
            return Ok(None);
        }
        let message = rows::decode_message(&message)?;
        let mut suppressed = Vec::new();
        if entry.attempts == 0 && message.origin != Origin::Notification {
            for (place, row) in entry.waiting() {
                let found = self.inner.suppressed_in(transaction, &row.recipient.address).await?;
                suppressed.extend(found.map(|found| (place, found)));
            }
        }
        Ok(Some(Loaded { id: hint.entry, message, entry, suppressed }))
    }

    /// Removes the rows of void hints. A row is read again before: the same place may have a hint of a later turn by now.
    async fn discard(&self, shard: Shard, void: &[Hint]) -> Result<()> {
        self.inner
            .database
            .transact(|transaction: Transaction| async move {
                for hint in void {
                    let key = match hint.place {
                        Place::Fresh(stamp) => rows::fresh(shard, &stamp, hint.entry).0,
                        Place::Due(due) => rows::due(shard, due, hint.entry),
                        Place::Held => continue,
                    };
                    let row = transaction.get(&key).await?;
                    if row.as_deref().map(rows::decode_turn).transpose()? == Some(hint.turn) {
                        transaction.clear(&key);
                    }
                }
                Ok(())
            })
            .await
    }

    /// The octets of a message in pieces: the header fields put in front, then the body.
    ///
    /// # Errors
    /// [`Error::Body`]: when the object store is away, temporary.
    pub async fn body(&self, message: &MessageRow) -> Result<Vec<Bytes>> {
        let mut pieces = Vec::new();
        if !message.header.is_empty() {
            pieces.push(Bytes::copy_from_slice(&message.header));
        }
        let mut at = 0;
        loop {
            let piece = self.inner.blobs.read(message.body, at..at + PIECE).await?;
            let length = piece.len() as u64;
            if length > 0 {
                pieces.push(piece);
            }
            if length < PIECE {
                return Ok(pieces);
            }
            at += length;
        }
    }

    /// Some octets of a message, cut to its length; the header fields put in front count.
    ///
    /// # Errors
    /// As [`Spool::body`].
    pub async fn read(&self, message: &MessageRow, range: Range<u64>) -> Result<Bytes> {
        let own = message.header.len() as u64;
        let of_body = range.start.saturating_sub(own)..range.end.saturating_sub(own);
        let body = if of_body.is_empty() {
            Bytes::new()
        } else {
            self.inner.blobs.read(message.body, of_body).await?
        };
        let place = |offset: u64| usize::try_from(offset.min(own)).unwrap_or(usize::MAX);
        let header = &message.header[place(range.start)..place(range.end)];
        if header.is_empty() {
            return Ok(body);
        }
        Ok([header, &body].concat().into())
    }

    /// The first `limit` octets of a message, for a notification that returns its header.
    ///
    /// # Errors
    /// As [`Spool::body`].
    pub async fn head(&self, message: &MessageRow, limit: u64) -> Result<Bytes> {
        self.read(message, 0..limit).await
    }

    /// Makes a notification ready for a [`Settlement`].
    ///
    /// # Errors
    /// When it is large, and the object store is away; [`Error::TooLarge`]; [`Error::NoRecipients`].
    pub async fn prepare(&self, octets: Bytes, message: NewMessage) -> Result<Notification> {
        let accepted = Accepted::new(message, self.inner.new_id())?;
        let body = self.inner.blobs.prepare_within(octets, MAX_HOT_NOTIFICATION).await?;
        Ok(Notification { body, accepted })
    }

    /// Writes what became of an entry; returns once it is durable. Settlements that come at the same time, of any shards, share
    /// transactions. May be repeated: what is applied already is answered again, without effect.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the lease is another's: nothing is written, drop the entry. [`Error::Store`] when it is temporary: settle
    /// it again, as long as the lease holds.
    pub async fn settle(&self, fence: &Fence, settlement: Settlement) -> Result<Settled> {
        self.combiner.settle(fence.clone(), settlement).await
    }
}

fn deferred(row: &KeyValue) -> Result<Hint> {
    let (due, entry) = rows::due_of(&row.key)?;
    Ok(Hint { entry, turn: rows::decode_turn(&row.value)?, place: Place::Due(due) })
}

/// Reads of indexes conflict with nothing: what they say is confirmed later.
pub(crate) fn snapshot(limit: usize) -> RangeOptions {
    RangeOptions { limit, snapshot: true, ..RangeOptions::default() }
}

/// The rows of a range that are behind a key; an empty range if that is behind all of them.
pub(crate) fn behind(mut range: Range<Vec<u8>>, after: Option<Vec<u8>>) -> Range<Vec<u8>> {
    if let Some(mut key) = after {
        key.push(0);
        range.start = range.start.max(key);
    }
    range.start = range.start.min(range.end.clone());
    range
}
