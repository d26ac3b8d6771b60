//! How many recipients a sender may write to in an hour or a day, and how many messages go out on a day of warm-up: counted in rows, so for
//! the whole cluster.
//!
//! | key | value |
//! |---|---|
//! | `(QUEUE, 8, end, kind, name)` | count u64, then the operation that counted last (16 octets); void after `end` (seconds since the epoch) |
//! | `(QUEUE, 8, end, "trace", operation)` | the operation has counted; empty |
//!
//! Hours and days begin with those of UTC, so a counter never has to be wound back: it is forgotten when its time is over.
//!
//! A process takes what it counts in portions of a fiftieth of the limit, so that not each recipient is a commit. What it took and did not use is lost for
//! that hour or day: the limit holds for the cluster, and may be reached up to a portion for each process early.
//!
//! When the result of a commit is unknown, the repetition looks for the trace of its operation. The count itself cannot tell: others may have
//! counted since.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ekitei_directory::{AccountId, Domain};
use ekitei_kv::keys::subspace::QUEUE;
use ekitei_kv::keys::{key, range};
use ekitei_kv::{Database, Transaction};

use crate::spool::Inner;
use crate::{Error, Queue, Result};

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;
/// Number of these rows in the subspace of the queue.
const ROWS: u32 = 8;

/// A limit that is reached: `450 4.7.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaExceeded {
    /// Whose limit it is.
    pub of: QuotaOf,
    /// The limit: so many recipients.
    pub limit: u64,
    /// In this time.
    pub window: Duration,
    /// When it counts anew.
    pub retry_in: Duration,
}

/// Whose limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaOf {
    /// Of one account.
    Account,
    /// Of all accounts of a domain.
    Domain,
}

impl fmt::Display for QuotaExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match self.of {
            QuotaOf::Account => "this account",
            QuotaOf::Domain => "this domain",
        };
        let window = if self.window.as_secs() == HOUR { "an hour" } else { "a day" };
        write!(f, "{of} may write to {} recipients of other domains in {window}", self.limit)
    }
}

/// A limit is taken in about as many portions.
const PORTIONS: u64 = 50;
/// Counters that are remembered before those whose time is over are looked for.
const REMEMBERED: usize = 10_000;

/// A counter and its limit.
#[derive(Clone)]
struct Counter {
    key: Vec<u8>,
    /// When its time is over, in seconds since the epoch.
    end: u64,
    limit: u64,
}

impl Counter {
    /// The counter of a window that `now` is in; windows are aligned to the epoch.
    fn new(kind: &str, name: &str, window: u64, now: Duration, limit: u64) -> Self {
        let end = (now.as_secs() / window + 1) * window;
        Self { key: key(&(QUEUE, ROWS, end, kind, name)), end, limit }
    }
}

/// What this process took of counters and has not used.
#[derive(Default)]
pub(crate) struct Portions {
    left: Mutex<HashMap<Vec<u8>, Portion>>,
}

struct Portion {
    end: u64,
    left: u64,
}

impl Portions {
    /// Counts `n` with all counters, if none would exceed its limit; otherwise says which one would, and nothing is counted.
    async fn count(
        &self,
        database: &Database,
        counters: &[Counter],
        n: u64,
        now: Duration,
    ) -> Result<Option<usize>> {
        loop {
            let Some(lacking) = self.use_up(counters, n, now) else { return Ok(None) };
            let taken = match reserve(database, counters, &lacking, n).await? {
                Ok(taken) => taken,
                Err(exceeded) => return Ok(Some(exceeded)),
            };
            let mut left = self.lock();
            for ((index, _), taken) in lacking.iter().zip(taken) {
                let counter = &counters[*index];
                let portion = left.entry(counter.key.clone());
                portion.or_insert(Portion { end: counter.end, left: 0 }).left += taken;
            }
            // Others may be faster; then there is more to take.
        }
    }

    /// Uses what is left, if it is enough of all counters; otherwise which ones have too little, and how much of those is left.
    fn use_up(&self, counters: &[Counter], n: u64, now: Duration) -> Option<Vec<(usize, u64)>> {
        let mut all = self.lock();
        if all.len() > REMEMBERED {
            all.retain(|_, portion| portion.end > now.as_secs());
        }
        let left = |counter: &Counter| all.get(&counter.key).map_or(0, |portion| portion.left);
        let of_each = counters.iter().map(left).enumerate();
        let lacking: Vec<(usize, u64)> = of_each.filter(|(_, left)| *left < n).collect();
        if !lacking.is_empty() {
            return Some(lacking);
        }
        for counter in counters {
            if let Some(portion) = all.get_mut(&counter.key) {
                portion.left -= n;
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Portion>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts: names itself in the rows, so that a repetition of the transaction does not count twice.
type Operation = [u8; 16];

/// How long the trace of an operation outlives the counter it is of; far longer than any transaction is repeated.
const TRACE_LIFETIME: u64 = HOUR;

/// What a transaction counts.
struct Count<'a> {
    counter: &'a Counter,
    /// What the counter shows then.
    total: u64,
}

/// Runs a transaction that counts so that it counts once, also when an attempt whose commit result was unknown turns out to be committed: what that one came to
/// is returned again. `work` reads, and says what it comes to and what is to be counted; `end` is that of its counters.
async fn once<'a, T, W, Fut>(database: &Database, end: u64, work: W) -> Result<T>
where
    T: Clone + Send,
    W: Fn(Transaction) -> Fut + Sync,
    Fut: Future<Output = Result<(T, Vec<Count<'a>>)>> + Send,
{
    let operation: &Operation = &rand::random();
    let trace = &key(&(QUEUE, ROWS, end + TRACE_LIFETIME, "trace", operation.as_slice()));
    let latest = &Mutex::new(None);
    let work = &work;
    database
        .transact(|transaction: Transaction| async move {
            if transaction.may_have_committed() && transaction.get(trace).await?.is_some() {
                let latest: Option<T> = latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
                return latest.ok_or(Error::Corrupt("the trace of a count"));
            }
            let (outcome, counts) = work(transaction.clone()).await?;
            for Count { counter, total } in &counts {
                transaction.set(&counter.key, &[&total.to_le_bytes()[..], operation].concat());
            }
            if !counts.is_empty() {
                transaction.set(trace, b"");
            }
            *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome.clone());
            Ok(outcome)
        })
        .await
}

/// Takes a portion of each lacking counter, at least what it lacks for `n`; or says which one has not so much any more, and takes nothing.
async fn reserve(
    database: &Database,
    counters: &[Counter],
    lacking: &[(usize, u64)],
    n: u64,
) -> Result<std::result::Result<Vec<u64>, usize>> {
    let end = counters.iter().map(|counter| counter.end).max().unwrap_or_default();
    once(database, end, |transaction: Transaction| async move {
        let (mut taken, mut counts) = (Vec::with_capacity(lacking.len()), Vec::with_capacity(lacking.len()));
        for &(index, left) in lacking {
            let counter = &counters[index];
            let count = read(&transaction, &counter.key).await?;
            let missing = n.saturating_sub(left);
            let room = counter.limit.saturating_sub(count);
            if room < missing {
                return Ok((Err(index), Vec::new()));
            }
            let portion = missing.max(counter.limit / PORTIONS).min(room);
            taken.push(portion);
            counts.push(Count { counter, total: count + portion });
        }
        Ok((Ok(taken), counts))
    })
    .await
}

async fn read(transaction: &Transaction, key: &[u8]) -> Result<u64> {
    let Some(value) = transaction.get(key).await? else { return Ok(0) };
    let count = value.split_first_chunk::<8>().filter(|(_, operation)| operation.len() == 16);
    let (count, _) = count.ok_or(Error::Corrupt("a count of the queue"))?;
    Ok(u64::from_le_bytes(*count))
}

/// Takes up to `want` of what a day of a warm-up schedule still allows; 0 when that is used up. `day` counts from the epoch.
pub(crate) async fn take(inner: &Inner, schedule: &str, day: u64, limit: u64, want: u64) -> Result<u64> {
    let now = Duration::from_secs(day * DAY);
    take_of(&inner.database, &Counter::new("warm-up", schedule, DAY, now, limit), want).await
}

/// Takes up to `want` of what is left of a counter.
async fn take_of(database: &Database, counter: &Counter, want: u64) -> Result<u64> {
    once(database, counter.end, |transaction: Transaction| async move {
        let count = read(&transaction, &counter.key).await?;
        let granted = want.min(counter.limit.saturating_sub(count));
        let counts = (granted > 0).then(|| Count { counter, total: count + granted });
        Ok((granted, counts.into_iter().collect()))
    })
    .await
}

/// Removes counters whose time is over.
pub(crate) async fn sweep(inner: &Inner) -> Result<()> {
    let mut over = range(&(QUEUE, ROWS));
    over.end = key(&(QUEUE, ROWS, inner.now().as_secs()));
    let over = &over;
    inner
        .database
        .transact(|transaction: Transaction| async move {
            transaction.clear_range(over.clone());
            Ok(())
        })
        .await
}

impl Queue {
    /// Counts `recipients` of other domains that an account of `domain` writes to, if that is within its limits (`queue.quotas`); otherwise tells which one is reached, and counts nothing.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn check_quota(
        &self,
        account: AccountId,
        domain: &Domain,
        recipients: u32,
    ) -> Result<Option<QuotaExceeded>> {
        let inner = &self.spool().inner;
        let config = inner.live.load();
        let quotas = &config.queue.quotas;
        let account = account.to_string();
        let limits = [
            (QuotaOf::Account, HOUR, quotas.recipients_per_account_per_hour),
            (QuotaOf::Domain, HOUR, quotas.recipients_per_domain_per_hour),
            (QuotaOf::Domain, DAY, quotas.recipients_per_domain_per_day),
        ];
        let limits: Vec<_> = limits.into_iter().filter(|&(_, _, limit)| limit > 0).collect();
        let now = inner.now();
        let counters: Vec<Counter> = limits
            .iter()
            .map(|&(of, window, limit)| {
                let (kind, name) = match of {
                    QuotaOf::Account => ("account", account.as_str()),
                    QuotaOf::Domain => ("domain", domain.as_ascii()),
                };
                Counter::new(&format!("{kind}/{window}"), name, window, now, u64::from(limit))
            })
            .collect();
        if counters.is_empty() {
            return Ok(None);
        }
        let exceeded = self.portions().count(&inner.database, &counters, u64::from(recipients), now).await?;
        Ok(exceeded.and_then(|index| limits.get(index)).map(|&(of, window, limit)| QuotaExceeded {
            of,
            limit: u64::from(limit),
            window: Duration::from_secs(window),
            retry_in: Duration::from_secs(window - now.as_secs() % window),
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ekitei_kv::{CommitFault, FaultScript, MemoryOptions};
    use std::sync::Arc;

    const NOW: Duration = Duration::from_secs(100 * DAY + 1800);

    fn hourly(name: &str, limit: u64) -> Counter {
        Counter::new("account/3600", name, HOUR, NOW, limit)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_a_limit_is_not_counted_and_an_hour_later_it_is_forgotten() {
        let (database, portions) = (Database::in_memory(), Portions::default());
        let count =
            async |counters: &[Counter], n| portions.count(&database, counters, n, NOW).await.unwrap();
        let both = [hourly("1", 10), Counter::new("domain/86400", "a.example", DAY, NOW, 12)];
        assert_eq!(count(&both, 8).await, None);
        assert_eq!(count(&both, 3).await, Some(0));
        assert_eq!(count(&both, 2).await, None);
        let later = NOW + Duration::from_secs(HOUR);
        let both = [
            Counter::new("account/3600", "1", HOUR, later, 10),
            Counter::new("domain/86400", "a.example", DAY, later, 12),
        ];
        assert_eq!(count(&both, 3).await, Some(1), "the day goes on");
        assert_eq!(count(&both, 2).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_transaction_counts_once() {
        let faults = Arc::new(FaultScript::default());
        let options = MemoryOptions { faults: faults.clone(), ..MemoryOptions::default() };
        let database = Database::in_memory_with(options).unwrap();
        let portions = Portions::default();
        let count = async |n| portions.count(&database, &[hourly("1", 10)], n, NOW).await.unwrap();
        faults.commits([Some(CommitFault::UnknownApplied)]);
        assert_eq!(count(6).await, None);
        assert_eq!(count(4).await, None);
        assert_eq!(count(1).await, Some(0));
    }

    /// A link that loses the answer to its first commit, and lets another process count before the repetition.
    struct OtherCounts {
        database: Database,
        steps: std::sync::atomic::AtomicU32,
    }

    impl ekitei_kv::Link for OtherCounts {
        fn pass(&self) -> ekitei_kv::LinkFuture<'_> {
            Box::pin(async {
                // To begin, to commit, and then comes the answer.
                if self.steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2 {
                    assert_eq!(take_of(&self.database, &hourly("1", 10), 3).await.unwrap(), 3);
                    return Err(ekitei_kv::Error::Unavailable("the answer is lost".into()));
                }
                Ok(())
            })
        }
    }

    fn losing_an_answer(database: &Database) -> Database {
        database.behind(Arc::new(OtherCounts { database: database.clone(), steps: 0.into() }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_repetition_counts_once_although_another_has_counted_since() {
        let database = Database::in_memory();
        let first = losing_an_answer(&database);
        assert_eq!(take_of(&first, &hourly("1", 10), 4).await.unwrap(), 4);
        assert_eq!(take_of(&database, &hourly("1", 10), 9).await.unwrap(), 3, "4 and 3 are taken");

        let database = Database::in_memory();
        let (first, portions) = (losing_an_answer(&database), Portions::default());
        assert_eq!(portions.count(&first, &[hourly("1", 10)], 4, NOW).await.unwrap(), None);
        assert_eq!(take_of(&database, &hourly("1", 10), 9).await.unwrap(), 3, "4 and 3 are taken");
    }

    #[tokio::test(start_paused = true)]
    async fn a_repetition_has_the_whole_portion_that_was_taken() {
        let faults = Arc::new(FaultScript::default());
        let options = MemoryOptions { faults: faults.clone(), ..MemoryOptions::default() };
        let database = Database::in_memory_with(options).unwrap();
        let portions = Portions::default();
        faults.commits([Some(CommitFault::UnknownApplied)]);
        assert_eq!(portions.count(&database, &[hourly("1", 1_000)], 1, NOW).await.unwrap(), None);
        let before = database.statistics().commits;
        for _ in 1..20 {
            assert_eq!(portions.count(&database, &[hourly("1", 1_000)], 1, NOW).await.unwrap(), None);
        }
        assert_eq!(database.statistics().commits, before, "a fiftieth of 1000 lasts for 20");
    }

    #[tokio::test(start_paused = true)]
    async fn several_processes_keep_to_one_limit_with_few_commits() {
        let database = Database::in_memory();
        let processes = [Portions::default(), Portions::default()];
        let mut counted = 0;
        let before = database.statistics().commits;
        while processes[counted % 2].count(&database, &[hourly("1", 1_000)], 1, NOW).await.unwrap().is_none()
        {
            counted += 1;
        }
        assert!((980..=1_000).contains(&counted), "{counted}");
        assert!(database.statistics().commits - before <= 50);
    }
}
