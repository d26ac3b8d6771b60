//! The queue in and out in whole: for backups. A message is restored with the state of its entries, held: what was sent since the backup
//! would be sent twice otherwise, so an administrator looks at it and releases it.

use std::collections::BTreeSet;

use bytes::Bytes;
use ekitei_blob::{BodyId, Prepared};
use ekitei_kv::{Database, KeyValue, RangeOptions, Transaction, Version};
use serde::{Deserialize, Serialize};

use crate::accept::{wake, write_fresh};
use crate::model::{EntryId, EntryRow, MessageRow, Place, QueueId, Schedule, Shard};
use crate::rows::{self, Count, IndexRow, Named, Total};
use crate::tally::Tally;
use crate::{Error, Result};

/// Rows of one page of an export.
const PAGE: usize = 1000;

/// A message of the queue with its entries, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedCopy {
    id: QueueId,
    message: Vec<u8>,
    entries: Vec<(u32, Vec<u8>)>,
}

/// One page of an export.
#[derive(Clone, Debug)]
pub struct ExportPage {
    /// The messages, in the order of arrival, each with all its entries.
    pub messages: Vec<QueuedCopy>,
    /// The version they were read at.
    pub version: Version,
    /// What the next page goes on after; `None` after the last.
    pub next: Option<QueueId>,
}

impl QueuedCopy {
    /// Which message.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// The id of its body, and the octets of that.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn body(&self) -> Result<(BodyId, u64)> {
        let message = rows::decode_message(&self.message)?;
        Ok((message.body, message.size))
    }
}

/// One page of the queue as it is at one version, after a message or from the beginning.
///
/// # Errors
/// When the store fails, or a row is damaged.
pub async fn export(database: &Database, after: Option<QueueId>) -> Result<ExportPage> {
    let mut limit = PAGE;
    loop {
        let read = |tx: Transaction| async move {
            let mut range = rows::messages();
            if let Some(after) = after {
                range.start = rows::entries(after).end;
            }
            let options = RangeOptions { limit, snapshot: true, ..RangeOptions::default() };
            Ok::<_, Error>((tx.get_range(range, options).await?, tx.read_version().await?))
        };
        let (found, version) = database.read(read).await?;
        let full = found.len() == limit;
        let mut messages = copies(&found)?;
        if full {
            // The entries of the last one may go on behind the page.
            messages.pop();
        }
        if messages.is_empty() && full {
            limit *= 2;
            continue;
        }
        let next = if full { messages.last().map(|message| message.id) } else { None };
        return Ok(ExportPage { messages, version, next });
    }
}

fn copies(found: &[KeyValue]) -> Result<Vec<QueuedCopy>> {
    let mut messages: Vec<QueuedCopy> = Vec::new();
    for row in found {
        match rows::named(&row.key)? {
            Named::Message(id) => {
                messages.push(QueuedCopy { id, message: row.value.to_vec(), entries: Vec::new() });
            }
            Named::Entry(id) => {
                if let Some(message) = messages.last_mut().filter(|message| message.id == id.message) {
                    message.entries.push((id.number, row.value.to_vec()));
                }
            }
        }
    }
    Ok(messages)
}

/// Writes a message with its entries, unless it is in the queue. `body` is the id of its body here, and what to store of it, unless it is stored.
/// Entries are held with `hold`, else as good as new.
///
/// # Errors
/// When the store fails; [`ekitei_blob::Error::NotFound`] inside when the body that was there is gone: prepare it anew.
pub async fn import(
    database: &Database,
    copy: &QueuedCopy,
    body: (BodyId, Option<&Prepared>),
    hold: bool,
) -> Result<bool> {
    let message = rows::decode_message(&copy.message)?;
    let entries = copy.entries.iter().map(|(number, value)| Ok((*number, rows::decode_entry(value)?)));
    let entries = entries.collect::<Result<Vec<_>>>()?;
    let (message, entries) = (&message, &entries);
    database
        .transact(|tx: Transaction| async move {
            if tx.get(&rows::message(copy.id)).await?.is_some() {
                return Ok(tx.may_have_committed());
            }
            if !ekitei_blob::is_stored(&tx, body.0).await? {
                let prepared = body.1.ok_or(ekitei_blob::Error::NotFound(body.0))?;
                prepared.store(&tx, ekitei_blob::Owner::Transit).await?;
            }
            write(&tx, copy.id, &MessageRow { body: body.0, ..message.clone() }, entries, hold);
            Ok::<_, Error>(true)
        })
        .await
}

fn write(tx: &Transaction, id: QueueId, message: &MessageRow, entries: &[(u32, EntryRow)], hold: bool) {
    let mut tally = Tally::default();
    tx.set(&rows::message(id), &rows::encode(message));
    ekitei_blob::add_reference(tx, message.body, id.body_owner());
    tally.total(Total::Messages, 1);
    tally.total(Total::Bytes, i64::try_from(message.size).unwrap_or(i64::MAX));
    let mut shards = BTreeSet::new();
    for (number, entry) in entries {
        let (id, mut entry) = (EntryId { message: id, number: *number }, entry.clone());
        let held = hold || entry.schedule == Schedule::Held;
        entry.turn += 1;
        entry.schedule = if held { Schedule::Held } else { Schedule::Fresh };
        tx.set(&rows::entry(id), &rows::encode(&entry));
        if held {
            let index = IndexRow { turn: entry.turn, place: Place::Held };
            tx.set(&rows::index(&entry.destination, id), &index.encode());
        } else {
            write_fresh(tx, id, &entry);
            shards.insert(Shard::of(&entry.destination));
        }
        tally.count(&entry.destination, if held { Count::Held } else { Count::Fresh }, 1);
    }
    shards.into_iter().for_each(|shard| wake(tx, shard));
    tally.write(tx);
}

/// Addresses that mail is not sent to, as stored.
///
/// # Errors
/// When the store fails.
pub async fn export_suppressions(database: &Database) -> Result<Vec<(Bytes, Bytes)>> {
    let mut all = Vec::new();
    let page = |rows: Vec<KeyValue>| {
        all.extend(rows.into_iter().map(|row| (row.key, row.value)));
        Ok::<_, Error>(())
    };
    database.scan(rows::suppressions(), page).await?;
    Ok(all)
}

/// Writes rows of [`export_suppressions`] that are not there.
///
/// # Errors
/// When the store fails, or a row is not one of them.
pub async fn import_suppressions(database: &Database, rows: &[(Bytes, Bytes)]) -> Result<()> {
    for (key, value) in rows {
        rows::suppressed_address(key)?;
        rows::decode_suppression(value)?;
        let write = |tx: Transaction| async move {
            if tx.get(key).await?.is_none() {
                tx.set(key, value);
            }
            Ok::<_, Error>(())
        };
        database.transact(write).await?;
    }
    Ok(())
}
