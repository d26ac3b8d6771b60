//! Adding what a process counted to the rows of all, and learning what the others counted.

use std::sync::Arc;
use std::time::Duration;

use ekitei_kv::clock::SharedClock;
use ekitei_kv::{Database, Error, Result, Transaction, decode_counter};
use futures_util::future::try_join_all;
use tokio::sync::Mutex;

use super::counters::{Counters, Counting, Delta, Key, Totals};
use super::rows::{self, Period};

/// Counters in one transaction: two reads and a write each.
const BATCH: usize = 500;
/// After this time a batch that could not be added is given up: its windows are over.
const GIVE_UP: Duration = Duration::from_secs(3600);

/// The link between the counters of this process and those in the store.
pub(crate) struct Sharing {
    database: Database,
    clock: SharedClock,
    /// A random name: a process that starts again is another.
    process: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of the last batch.
    last: u64,
    /// A batch whose addition failed, or may have.
    pending: Option<Arc<Batch>>,
}

/// Counts that are added together.
struct Batch {
    number: u64,
    made: Duration,
    deltas: Vec<Delta>,
}

impl Sharing {
    pub(crate) fn new(database: Database, clock: SharedClock) -> Self {
        let process = format!("{:032x}", rand::random::<u128>());
        Self { database, clock, process, state: Mutex::default() }
    }

    /// Shares everything that is not shared yet, and returns which counters it has news of.
    ///
    /// # Errors
    /// When the store fails: nothing is lost, the next call goes on.
    pub(crate) async fn sync(&self, counters: &Counters) -> Result<Vec<Key>> {
        let mut state = self.state.lock().await;
        let mut shared = Vec::new();
        loop {
            let batch = match state.pending.take() {
                Some(batch) => batch,
                None => {
                    let deltas = counters.drain(BATCH);
                    if deltas.is_empty() {
                        return Ok(shared);
                    }
                    state.last += 1;
                    Arc::new(Batch { number: state.last, made: self.clock.now(), deltas })
                }
            };
            match self.add(&batch).await {
                Ok(totals) => {
                    for (delta, totals) in batch.deltas.iter().zip(totals) {
                        counters.learn(delta, totals, self.clock.now());
                        shared.push(delta.key);
                    }
                }
                Err(error) => {
                    if batch.made + GIVE_UP > self.clock.now() {
                        state.pending = Some(batch);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Adds a batch, unless it was added already, and returns the totals with it.
    async fn add(&self, batch: &Batch) -> Result<Vec<Totals>> {
        let guard = &rows::batch(&self.process);
        let now = self.clock.now();
        self.database
            .transact(|tx: Transaction| async move {
                let last = tx.get(guard).await?.as_deref().and_then(rows::decode_batch);
                let is_added = last.is_some_and(|(number, _)| number >= batch.number);
                let totals = batch.deltas.iter().map(|delta| totals(&tx, delta.key, delta.period));
                let mut totals = try_join_all(totals).await?;
                if !is_added {
                    for (delta, totals) in batch.deltas.iter().zip(&mut totals) {
                        let amount = i64::try_from(delta.amount).unwrap_or(i64::MAX);
                        tx.add(&row(delta.key, delta.period), amount);
                        totals.current = totals.current.saturating_add(delta.amount);
                    }
                    tx.set(guard, &rows::encode_batch(batch.number, now));
                }
                Ok::<_, Error>(totals)
            })
            .await
    }

    /// Reads what all counted, where this process has not asked for `interval`.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn ask(
        &self,
        counters: &Counters,
        key: Key,
        how: &Counting,
        interval: Duration,
    ) -> Result<()> {
        if !counters.is_stale(key, how.now, interval) {
            return Ok(());
        }
        let period = Period::at(how.now, how.window.length);
        let totals = self.database.read(|tx| async move { totals(&tx, key, period).await }).await?;
        counters.update(key, totals, how);
        Ok(())
    }
}

/// The row of a counter in a window.
pub(crate) fn row(key: Key, period: Period) -> Vec<u8> {
    rows::counter(period, key.kind.name(), &key.subject.to_string())
}

/// Without conflicts: others may add at the same time.
async fn totals(tx: &Transaction, key: Key, period: Period) -> Result<Totals> {
    let count = async |period| {
        let value = tx.get_snapshot(&row(key, period)).await?;
        Ok::<_, Error>(u64::try_from(decode_counter(value.as_deref())).unwrap_or(0))
    };
    Ok(Totals { current: count(period).await?, previous: count(period.before()).await? })
}
