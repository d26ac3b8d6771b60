//! What administrators see of the queue, and do to it.
//!
//! Lists are pages: each reads a bounded number of rows, and may be short, or even empty, with a place to go on from. What is done to
//! entries changes where they wait; whoever sends them sees that by their turn.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use ekitei_kv::{KeyValue, Transaction};
use ekitei_relay::Failure;
use futures_util::future::join_all;

use crate::accept::{wake, write_fresh};
use crate::filter::{Filter, State};
use crate::model::{EntryId, EntryRow, MessageRow, Place, QueueId, RecipientState, Schedule, Shard};
use crate::rows::{self, Count, IndexRow, Named};
use crate::settle::{displace, read_entry, remove};
use crate::spool::{Inner, behind, snapshot};
use crate::tally::Tally;
use crate::{Error, Queue, Result};

/// Rows that one page looks at, at most: those that do not fit the filter count.
const BUDGET: usize = 10_000;
/// Rows that one read takes.
const READ: usize = 250;
/// Entries that one transaction changes.
const CHANGES: usize = 100;
/// The most entries of one page.
pub const MAX_PAGE: usize = 1_000;

/// An entry and its message.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Which.
    pub id: EntryId,
    /// Its message.
    pub message: MessageRow,
    /// The entry.
    pub entry: EntryRow,
}

impl Listed {
    /// Why it waits, in one line.
    pub fn reason(&self) -> String {
        if self.entry.bounce {
            return "it is to be returned to its sender".to_owned();
        }
        if self.entry.schedule == Schedule::Held {
            return "held by an administrator".to_owned();
        }
        let last = self.entry.waiting().find_map(|(_, row)| match &row.state {
            RecipientState::Waiting { last } => last.as_ref(),
            _ => None,
        });
        match last {
            Some(Failure { status, text, remote: Some(remote), .. }) => format!("{status} {text} ({remote})"),
            Some(Failure { status, text, remote: None, .. }) => format!("{status} {text}"),
            None => "it waits for its turn".to_owned(),
        }
    }
}

/// Some entries, in the order of arrival.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// They.
    pub items: Vec<Listed>,
    /// Where to go on, if there may be more.
    pub next: Option<EntryId>,
}

/// What to do to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Do not send it until it is released.
    Hold,
    /// Send it, if it was held.
    Release,
    /// Try it now, if it waits for its next attempt. What is held stays held.
    Retry,
    /// Return it to its sender, held or not.
    Bounce,
    /// Remove it, and tell nobody.
    Delete,
}

/// What an action did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acted {
    /// Entries that are different now, or gone.
    pub changed: u64,
    /// Where to go on, if there may be more.
    pub next: Option<EntryId>,
}

impl Queue {
    /// A page of entries that fit a filter, behind `after`; at most `limit`. With a destination, its index is read; otherwise what arrived, within
    /// the ages that are given.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a filter that makes no sense; failures of the store.
    pub async fn list(&self, filter: &Filter, after: Option<EntryId>, limit: usize) -> Result<ListPage> {
        let filter = filter.clone().normalised()?;
        let inner = &self.spool().inner;
        let limit = limit.clamp(1, MAX_PAGE);
        match &filter.destination {
            Some(destination) => inner.list_destination(&filter, destination, after, limit).await,
            None => inner.list_all(&filter, after, limit).await,
        }
    }

    /// A message and its entries.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn show(&self, id: QueueId) -> Result<Vec<Listed>> {
        let inner = &self.spool().inner;
        let found = inner
            .database
            .read(|transaction: Transaction| async move {
                let message = transaction.get_snapshot(&rows::message(id)).await?.ok_or(Error::NotFound)?;
                Ok::<_, Error>((message, transaction.get_range(rows::entries(id), snapshot(0)).await?))
            })
            .await?;
        let (message, entries) = (rows::decode_message(&found.0)?, found.1);
        entries.iter().map(|row| listed(&message, row)).collect()
    }

    /// What is stored of a message.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn message(&self, id: QueueId) -> Result<MessageRow> {
        let read = |transaction: Transaction| async move {
            transaction.get_snapshot(&rows::message(id)).await?.ok_or(Error::NotFound)
        };
        rows::decode_message(&self.spool().inner.database.read(read).await?)
    }

    /// Does something to entries by their ids; those that are gone, or are like that already, are passed over.
    ///
    /// # Errors
    /// When the store fails: some may be done, and it may be repeated.
    pub async fn act(&self, action: Action, entries: &[EntryId]) -> Result<u64> {
        let mut changed = 0;
        // One that is named twice is changed once.
        let entries: Vec<EntryId> = entries.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        for entries in entries.chunks(CHANGES) {
            changed += self.spool().inner.change(action, entries).await?;
        }
        Ok(changed)
    }

    /// Does something to the entries of a page that fit a filter. Go on until there is no more.
    ///
    /// # Errors
    /// As [`Queue::list`] and [`Queue::act`].
    pub async fn act_where(&self, action: Action, filter: &Filter, after: Option<EntryId>) -> Result<Acted> {
        let page = self.list(filter, after, MAX_PAGE).await?;
        let ids: Vec<EntryId> = page.items.iter().map(|listed| listed.id).collect();
        Ok(Acted { changed: self.act(action, &ids).await?, next: page.next })
    }
}

impl Inner {
    /// A page of one destination: the index tells where each entry waits, the rest is read for those who may fit.
    async fn list_destination(
        &self,
        filter: &Filter,
        destination: &str,
        after: Option<EntryId>,
        limit: usize,
    ) -> Result<ListPage> {
        let ids = filter.ids(self.now());
        let of = |message| rows::index(destination, EntryId { message, number: 0 });
        let mut range = rows::index_of(destination);
        range = range.start.clone().max(of(ids.0))..ids.1.map_or(range.end, of);
        let (mut page, mut after, mut budget) = (ListPage::default(), after, BUDGET);
        loop {
            let at = behind(range.clone(), after.map(|id| rows::index(destination, id)));
            let want = if filter.is_selective() { READ } else { limit.min(READ) };
            let (found, read) = self.read_indexed(filter, at, want).await?;
            budget = budget.saturating_sub(read.len());
            page.items.extend(found.into_iter().filter(|l| filter.fits(&l.message, &l.entry)));
            after = read.last().copied().or(after);
            if page.items.len() > limit {
                page.items.truncate(limit);
                page.next = page.items.last().map(|listed| listed.id);
                return Ok(page);
            }
            if read.len() < want {
                return Ok(page);
            }
            if page.items.len() >= limit || budget == 0 {
                page.next = after;
                return Ok(page);
            }
        }
    }

    /// Entries that an index names, and the names that were looked at.
    async fn read_indexed(
        &self,
        filter: &Filter,
        range: Range<Vec<u8>>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Vec<EntryId>)> {
        let range = &range;
        self.database
            .read(|transaction: Transaction| async move {
                let index = transaction.get_range(range.clone(), snapshot(limit)).await?;
                let (mut ids, mut wanted) = (Vec::with_capacity(index.len()), Vec::new());
                for row in &index {
                    let id = rows::indexed(&row.key)?;
                    let state = State::of_place(IndexRow::decode(&row.value)?.place);
                    ids.push(id);
                    wanted.extend(filter.state.is_none_or(|wanted| wanted == state).then_some(id));
                }
                let reads = wanted.into_iter().map(|id| read_listed(&transaction, id));
                let found = join_all(reads).await.into_iter().filter_map(Result::transpose);
                Ok::<_, Error>((found.collect::<Result<Vec<_>>>()?, ids))
            })
            .await
    }

    /// A page of all: messages and their entries lie side by side.
    async fn list_all(&self, filter: &Filter, after: Option<EntryId>, limit: usize) -> Result<ListPage> {
        let ids = filter.ids(self.now());
        let mut range = rows::messages();
        range = range.start.clone().max(rows::message(ids.0))..ids.1.map_or(range.end, rows::message);
        let mut current = None;
        let mut at = behind(range.clone(), after.map(rows::entry));
        let (mut page, mut budget) = (ListPage::default(), BUDGET);
        loop {
            // Most messages have one entry: two rows.
            let want = if filter.is_selective() { READ } else { (2 * limit).min(READ) };
            let read = self.read_rows(at.clone(), want).await?;
            let last = read.last().map(|row| row.key.to_vec());
            let is_last = read.len() < want;
            budget = budget.saturating_sub(read.len());
            for row in &read {
                let id = match rows::named(&row.key)? {
                    Named::Message(id) => {
                        current = Some((id, rows::decode_message(&row.value)?));
                        continue;
                    }
                    Named::Entry(id) => id,
                };
                let Some(message) = self.message_of(id, &mut current).await? else { continue };
                let entry = rows::decode_entry(&row.value)?;
                if filter.fits(message, &entry) {
                    page.items.push(Listed { id, message: message.clone(), entry });
                }
                page.next = Some(id);
                if page.items.len() >= limit {
                    return Ok(page);
                }
            }
            if is_last {
                page.next = None;
                return Ok(page);
            }
            if budget == 0 && page.next.is_some() {
                return Ok(page);
            }
            at = behind(range.clone(), last);
        }
    }

    /// The message of an entry: the one that was read in front of it, unless the page began behind that.
    async fn message_of<'a>(
        &self,
        id: EntryId,
        current: &'a mut Option<(QueueId, MessageRow)>,
    ) -> Result<Option<&'a MessageRow>> {
        if current.as_ref().is_none_or(|(known, _)| *known != id.message) {
            let read = |transaction: Transaction| async move {
                Ok::<_, Error>(transaction.get_snapshot(&rows::message(id.message)).await?)
            };
            let row = self.database.read(read).await?;
            *current = row.as_deref().map(rows::decode_message).transpose()?.map(|row| (id.message, row));
        }
        Ok(current.as_ref().map(|(_, message)| message))
    }

    async fn read_rows(&self, range: Range<Vec<u8>>, limit: usize) -> Result<Vec<KeyValue>> {
        let range = &range;
        let read = |transaction: Transaction| async move {
            Ok::<_, Error>(transaction.get_range(range.clone(), snapshot(limit)).await?)
        };
        self.database.read(read).await
    }

    /// Changes entries in one transaction; returns how many are different now.
    async fn change(&self, action: Action, entries: &[EntryId]) -> Result<u64> {
        // What an attempt changed that turns out to be committed, the next one finds changed already.
        let before = &AtomicU64::new(0);
        self.database
            .transact(|transaction: Transaction| async move {
                let mut tally = Tally::default();
                let reads = entries.iter().map(|&id| read_entry(&transaction, id));
                let mut changed = 0;
                for (&id, read) in entries.iter().zip(join_all(reads).await) {
                    let (Some(entry), Some(index)) = read? else { continue };
                    let done = match action {
                        Action::Delete => {
                            let now = self.now();
                            remove(&transaction, id, &entry, index, &mut tally, now).await?;
                            true
                        }
                        _ => reschedule(&transaction, action, id, entry, index, &mut tally),
                    };
                    changed += u64::from(done);
                }
                tally.write(&transaction);
                if transaction.may_have_committed() {
                    changed = changed.max(before.load(Ordering::Relaxed));
                }
                before.store(changed, Ordering::Relaxed);
                Ok::<_, Error>(changed)
            })
            .await
    }
}

/// Lets an entry wait elsewhere; `false` if it is there already.
fn reschedule(
    transaction: &Transaction,
    action: Action,
    id: EntryId,
    mut entry: EntryRow,
    index: IndexRow,
    tally: &mut Tally,
) -> bool {
    let state = State::of(entry.schedule);
    let applies = match action {
        Action::Hold => state != State::Held,
        Action::Release => state == State::Held,
        Action::Retry => state == State::Deferred,
        Action::Bounce => !entry.bounce,
        Action::Delete => false,
    };
    if !applies {
        return false;
    }
    displace(transaction, id, &entry, index, tally);
    entry.turn += 1;
    // To hold it is also to think better of returning it.
    entry.bounce = action == Action::Bounce || (entry.bounce && action != Action::Hold);
    if action == Action::Hold {
        entry.schedule = Schedule::Held;
        let index = IndexRow { turn: entry.turn, place: Place::Held };
        transaction.set(&rows::index(&entry.destination, id), &index.encode());
        tally.count(&entry.destination, Count::Held, 1);
    } else {
        entry.schedule = Schedule::Fresh;
        write_fresh(transaction, id, &entry);
        wake(transaction, Shard::of(&entry.destination));
        tally.count(&entry.destination, Count::Fresh, 1);
    }
    transaction.set(&rows::entry(id), &rows::encode(&entry));
    true
}

async fn read_listed(transaction: &Transaction, id: EntryId) -> Result<Option<Listed>> {
    let entry = transaction.get_snapshot(&rows::entry(id)).await?;
    let message = transaction.get_snapshot(&rows::message(id.message)).await?;
    let (Some(entry), Some(message)) = (entry, message) else { return Ok(None) };
    let (entry, message) = (rows::decode_entry(&entry)?, rows::decode_message(&message)?);
    Ok(Some(Listed { id, message, entry }))
}

fn listed(message: &MessageRow, row: &KeyValue) -> Result<Listed> {
    match rows::named(&row.key)? {
        Named::Entry(id) => {
            Ok(Listed { id, message: message.clone(), entry: rows::decode_entry(&row.value)? })
        }
        Named::Message(_) => Err(Error::Corrupt("the key of an entry of the queue")),
    }
}
