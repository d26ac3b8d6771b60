//! Settling: what became of entries is written, as many at a time as come while a commit is under way, each under the fence of its shard.
//!
//! A settlement names the revision of the entry that it was made from, and raises it, so that a repetition changes nothing: not the
//! entry, and not the notifications that go with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ekitei_blob::Owner;
use ekitei_kv::{AsKvError, RangeOptions, Transaction};
use ekitei_mailstore::Companion;
use ekitei_relay::Failure;
use futures_util::future::{join, join_all, try_join_all};
use tokio::sync::{mpsc, oneshot};

use crate::model::{EntryId, EntryRow, Place, RecipientState, Schedule, Shard};
use crate::rows::{self, Count, IndexRow, Total};
use crate::settlement::{Fence, Next, Settled, Settlement};
use crate::spool::Inner;
use crate::suppression;
use crate::tally::Tally;
use crate::{Error, Result};

/// Settlements in one transaction.
const BATCH: usize = 256;
/// Octets of rows in one transaction, about; the store takes 10 MB.
const BATCH_SIZE: usize = 4 << 20;
/// Octets that are kept of what a server said of a recipient, so that a hundred of them fit into a row.
const MAX_TEXT: usize = 300;
/// Octets that are kept of a server's name.
const MAX_REMOTE: usize = 200;

/// Hands settlements to the task that combines them.
#[derive(Clone)]
pub(crate) struct Combiner {
    queue: mpsc::Sender<Pending>,
}

/// A settlement that waits for its transaction.
struct Pending {
    fence: Fence,
    settlement: Settlement,
    done: oneshot::Sender<Result<Settled>>,
}

impl Pending {
    fn row_size(&self) -> usize {
        /// Keys, hints, indexes and figures.
        const ROWS: usize = 2_000;
        let states = self.settlement.recipients.len() * 1_000;
        let notifications = self.settlement.notifications.iter();
        let notifications = notifications.map(|n| n.body.row_size() + Companion::row_size(&n.accepted));
        ROWS + states + notifications.sum::<usize>()
    }
}

impl Combiner {
    pub(crate) fn start(inner: Arc<Inner>) -> Self {
        let (queue, waiting) = mpsc::channel(BATCH);
        tokio::spawn(combine(inner, waiting));
        Self { queue }
    }

    pub(crate) async fn settle(&self, fence: Fence, settlement: Settlement) -> Result<Settled> {
        let stopped = |_| Error::Store(ekitei_kv::Error::Unavailable("the service is stopping".into()));
        let (done, outcome) = oneshot::channel();
        self.queue.send(Pending { fence, settlement, done }).await.map_err(stopped)?;
        // Without an answer the task died in the middle, and the commit with it or not.
        outcome.await.unwrap_or(Err(Error::Store(ekitei_kv::Error::CommitUnknown)))
    }
}

/// Takes what waits, as much as one transaction holds, and commits it; ends when the last [`crate::Spool`] is gone.
async fn combine(inner: Arc<Inner>, mut waiting: mpsc::Receiver<Pending>) {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(pending) => pending,
            None => match waiting.recv().await {
                Some(pending) => pending,
                None => return,
            },
        };
        let mut size = first.row_size();
        let mut batch = vec![first];
        while batch.len() < BATCH {
            let Ok(pending) = waiting.try_recv() else { break };
            size += pending.row_size();
            if size > BATCH_SIZE {
                next = Some(pending);
                break;
            }
            batch.push(pending);
        }
        // A task of its own: a batch that panics takes only its own settlements along.
        if let Err(error) = tokio::spawn(settle(Arc::clone(&inner), batch)).await {
            tracing::error!(%error, "a batch of results of the queue was cut off");
        }
    }
}

/// Commits a batch and answers each settlement of it.
async fn settle(inner: Arc<Inner>, batch: Vec<Pending>) {
    match inner.commit(&batch).await {
        Ok(outcomes) => {
            for (pending, outcome) in batch.into_iter().zip(outcomes) {
                // Nobody may wait any more; it is written all the same.
                let _ = pending.done.send(outcome.ok_or(Error::Fenced));
            }
        }
        // What is wrong with one entry must not be the fault of the others.
        Err(error) if batch.len() > 1 && error.as_kv_error().is_none_or(is_of_one_entry) => {
            tracing::debug!(%error, entries = batch.len(), "a batch of results failed; writing one by one");
            for pending in batch {
                let outcome = inner.commit(std::slice::from_ref(&pending)).await;
                let outcome = outcome.and_then(|mut all| all.pop().flatten().ok_or(Error::Fenced));
                let _ = pending.done.send(outcome);
            }
        }
        Err(error) => {
            let cause = error.as_kv_error().cloned();
            let cause = cause.unwrap_or_else(|| ekitei_kv::Error::Unavailable(error.to_string()));
            let mut error = Some(error);
            for pending in batch {
                let _ = pending.done.send(Err(error.take().unwrap_or_else(|| Error::Store(cause.clone()))));
            }
        }
    }
}

/// Whether a failure of the store may be the fault of one entry; not when nothing can be committed, or nobody knows.
fn is_of_one_entry(error: &ekitei_kv::Error) -> bool {
    !matches!(error, ekitei_kv::Error::Unavailable(_) | ekitei_kv::Error::CommitUnknown)
}

impl Inner {
    /// Writes a batch in one transaction; `None` for those whose fence does not hold.
    async fn commit(&self, batch: &[Pending]) -> Result<Vec<Option<Settled>>> {
        self.database
            .transact(|transaction| async move {
                let mut writer = Writer { inner: self, transaction: &transaction, tally: Tally::default() };
                let (held, read) = join(check_fences(&transaction, batch), writer.read(batch)).await;
                let (held, read) = (held?, read?);
                let mut outcomes = Vec::with_capacity(batch.len());
                let mut seen = BTreeSet::new();
                for (pending, mut rows) in batch.iter().zip(read) {
                    // A settlement and its repetition may meet here: the second one has to see what the first one did.
                    if !seen.insert(pending.settlement.entry) {
                        rows = read_entry(&transaction, pending.settlement.entry).await?;
                    }
                    let (entry, index) = rows;
                    let holds = held.get(&(pending.fence.shard, pending.fence.lease.token())) == Some(&true);
                    outcomes.push(match (holds, entry.zip(index)) {
                        (false, _) => None,
                        (true, None) => Some(Settled::Gone),
                        (true, Some((entry, index))) => {
                            Some(writer.settle(&pending.settlement, entry, index).await?)
                        }
                    });
                }
                writer.tally.write(&transaction);
                Ok(outcomes)
            })
            .await
    }
}

/// Which of the fences of a batch hold, by shard and token.
async fn check_fences(transaction: &Transaction, batch: &[Pending]) -> Result<BTreeMap<(Shard, u64), bool>> {
    let fences: BTreeMap<(Shard, u64), &Fence> = batch
        .iter()
        .map(|pending| ((pending.fence.shard, pending.fence.lease.token()), &pending.fence))
        .collect();
    let checks = fences.into_iter().map(|(at, fence)| async move {
        match fence.lease.check(transaction).await {
            Ok(()) => Ok((at, true)),
            Err(ekitei_kv::Error::Fenced) => Ok((at, false)),
            Err(error) => Err(Error::Store(error)),
        }
    });
    Ok(try_join_all(checks).await?.into_iter().collect())
}

/// Writes the settlements of one transaction.
struct Writer<'a> {
    inner: &'a Inner,
    transaction: &'a Transaction,
    tally: Tally,
}

impl Writer<'_> {
    /// The entries of a batch and where they wait; read at once.
    async fn read(&self, batch: &[Pending]) -> Result<Vec<(Option<EntryRow>, Option<IndexRow>)>> {
        let rows = batch.iter().map(|pending| read_entry(self.transaction, pending.settlement.entry));
        join_all(rows).await.into_iter().collect()
    }

    async fn settle(&mut self, settlement: &Settlement, entry: EntryRow, index: IndexRow) -> Result<Settled> {
        let id = settlement.entry;
        if entry.revision != settlement.revision {
            return Ok(match index.place {
                Place::Held => Settled::Held,
                _ => Settled::Waits(index.hint(id)),
            });
        }
        for failure in newly_failed(&entry, settlement) {
            suppression::count(self.inner, self.transaction, failure.0, failure.1).await?;
        }
        for notification in &settlement.notifications {
            notification.body.store(self.transaction, Owner::Transit).await?;
            notification.accepted.write(self.transaction, notification.body.id(), &mut self.tally);
        }
        let next = self.changed(entry, settlement);
        let is_done = next.waiting().next().is_none();
        match settlement.next {
            Next::At(due) if !is_done => Ok(self.keep(id, next, index, due)),
            _ => {
                remove(self.transaction, id, &next, index, &mut self.tally, self.inner.now()).await?;
                Ok(Settled::Removed)
            }
        }
    }

    /// The entry with what a settlement says of it.
    fn changed(&self, mut entry: EntryRow, settlement: &Settlement) -> EntryRow {
        entry.revision += 1;
        if settlement.attempted {
            entry.attempts = entry.attempts.saturating_add(1);
            entry.last_attempt = Some(rows::whole_millis(self.inner.now()));
        }
        entry.delay_notified |= settlement.delay_notified;
        for (row, state) in entry.recipients.iter_mut().zip(&settlement.recipients) {
            row.state = bounded(state.clone());
        }
        entry
    }

    /// Lets an entry wait, for `due` if no administrator wanted something else meanwhile.
    fn keep(
        &mut self,
        id: EntryId,
        mut entry: EntryRow,
        index: IndexRow,
        due: std::time::Duration,
    ) -> Settled {
        let stays = entry.schedule == Schedule::Held || entry.bounce;
        if stays {
            self.transaction.set(&rows::entry(id), &rows::encode(&entry));
            let is_held = entry.schedule == Schedule::Held;
            return if is_held { Settled::Held } else { Settled::Waits(index.hint(id)) };
        }
        let due = rows::whole_millis(due);
        let place = Place::Due(due);
        displace(self.transaction, id, &entry, index, &mut self.tally);
        entry.turn += 1;
        entry.schedule = Schedule::At(due);
        let index = IndexRow { turn: entry.turn, place };
        let shard = Shard::of(&entry.destination);
        self.transaction.set(&rows::entry(id), &rows::encode(&entry));
        self.transaction.set(&rows::due(shard, due, id), &rows::encode_turn(entry.turn));
        self.transaction.set(&rows::index(&entry.destination, id), &index.encode());
        self.tally.count(&entry.destination, Count::Deferred, 1);
        Settled::Waits(index.hint(id))
    }
}

/// An entry and where it waits.
pub(crate) async fn read_entry(
    transaction: &Transaction,
    id: EntryId,
) -> Result<(Option<EntryRow>, Option<IndexRow>)> {
    let Some(entry) = transaction.get(&rows::entry(id)).await? else { return Ok((None, None)) };
    let entry = rows::decode_entry(&entry)?;
    let index = transaction.get(&rows::index(&entry.destination, id)).await?;
    let index = index.ok_or(Error::Corrupt("an entry of the queue that is not in its index"))?;
    Ok((Some(entry), Some(IndexRow::decode(&index)?)))
}

/// Takes an entry away from where it waits: its hint goes, and it is not counted there any more. The index row is left to be
/// written anew.
pub(crate) fn displace(
    transaction: &Transaction,
    id: EntryId,
    entry: &EntryRow,
    index: IndexRow,
    tally: &mut Tally,
) {
    let shard = Shard::of(&entry.destination);
    let count = match index.place {
        Place::Fresh(stamp) => {
            transaction.clear(&rows::fresh(shard, &stamp, id).0);
            Count::Fresh
        }
        Place::Due(due) => {
            transaction.clear(&rows::due(shard, due, id));
            Count::Deferred
        }
        Place::Held => Count::Held,
    };
    tally.count(&entry.destination, count, -1);
}

/// Removes an entry, and with its last entry the message.
pub(crate) async fn remove(
    transaction: &Transaction,
    id: EntryId,
    entry: &EntryRow,
    index: IndexRow,
    tally: &mut Tally,
    now: std::time::Duration,
) -> Result<()> {
    displace(transaction, id, entry, index, tally);
    transaction.clear(&rows::entry(id));
    transaction.clear(&rows::index(&entry.destination, id));
    let key = rows::message(id.message);
    let message = transaction.get(&key).await?;
    let message = rows::decode_message(&message.ok_or(Error::Corrupt("an entry without its message"))?)?;
    if message.entries > 1 {
        let one = RangeOptions { limit: 1, ..RangeOptions::default() };
        if !transaction.get_range(rows::entries(id.message), one).await?.is_empty() {
            return Ok(());
        }
    }
    transaction.clear(&key);
    ekitei_blob::remove_reference(transaction, message.body, id.message.body_owner(), now);
    tally.total(Total::Messages, -1);
    tally.total(Total::Bytes, -i64::try_from(message.size).unwrap_or(i64::MAX));
    Ok(())
}

/// The recipients that fail with this settlement, and why.
fn newly_failed<'a>(
    entry: &'a EntryRow,
    settlement: &'a Settlement,
) -> impl Iterator<Item = (&'a str, &'a Failure)> {
    let both = entry.recipients.iter().zip(&settlement.recipients);
    both.filter_map(|(row, state)| match (&row.state, state) {
        (RecipientState::Waiting { .. }, RecipientState::Failed { failure, .. }) => {
            Some((row.recipient.address.as_str(), failure))
        }
        _ => None,
    })
}

/// A state whose texts fit into the row.
fn bounded(state: RecipientState) -> RecipientState {
    let failure = |failure: Failure| Failure {
        text: cut(failure.text, MAX_TEXT),
        remote: failure.remote.map(|remote| cut(remote, MAX_REMOTE)),
        ..failure
    };
    match state {
        RecipientState::Waiting { last } => RecipientState::Waiting { last: last.map(failure) },
        RecipientState::Sent { remote, reply, at } => {
            RecipientState::Sent { remote: cut(remote, MAX_REMOTE), reply: cut(reply, MAX_TEXT), at }
        }
        RecipientState::Failed { failure: why, at } => RecipientState::Failed { failure: failure(why), at },
    }
}

fn cut(mut text: String, octets: usize) -> String {
    text.truncate(text.floor_char_boundary(octets));
    text
}
