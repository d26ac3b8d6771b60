//! Bans in the store: made, removed, listed, and followed by every process.
//!
//! Each change of a ban writes the version row, which all processes watch, and an entry in a log of changes, so that a process reads only what
//! is new and not a hundred thousand bans again. One that was away for longer than the log reaches reads them all.

use std::time::Duration;

use ekitei_config::Cidr;
use ekitei_kv::clock::SharedClock;
use ekitei_kv::{AsKvError, Database, Error, KeyValue, RangeOptions, Result, Transaction};
use tokio::sync::Mutex;

use super::bans::{Ban, BanTable};
use super::rows::{self, BanRow, Stamp};

/// Changes that are read in one transaction.
const PAGE: RangeOptions = RangeOptions { limit: 500, reverse: false, snapshot: true };
/// How long the log of changes reaches back.
const LOG: Duration = Duration::from_secs(3600);
/// After this time the store is asked even if no watch has told of a change.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(30);

/// Why the administrator's wish cannot be done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BanError {
    /// There is no such ban: the caller's fault.
    #[error("{0} is not banned")]
    NotFound(Cidr),
    /// The request makes no sense: the caller's fault.
    #[error("{0}")]
    Invalid(String),
    /// There are `filter.limits.bans.maxBans` already: the caller may remove some.
    #[error("there are {0} bans already, which is the limit of filter.limits.bans.maxBans")]
    Full(usize),
    /// The store is away or busy: nobody's fault. Try again later.
    #[error("the store of bans is unavailable: {0}")]
    Unavailable(#[from] Error),
}

impl AsKvError for BanError {
    fn as_kv_error(&self) -> Option<&Error> {
        match self {
            Self::Unavailable(error) => Some(error),
            _ => None,
        }
    }
}

/// How long automatic bans last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
    pub(crate) memory: Duration,
}

impl Terms {
    /// The length of the ban after so many.
    fn length(&self, bans_before: u32) -> Duration {
        let factor = 1_u32.checked_shl(bans_before).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

/// The bans of all processes, and the table of this one.
pub(crate) struct BanStore {
    database: Database,
    clock: SharedClock,
    pub(crate) table: BanTable,
    /// The last change that the table has; `None` before the table was read.
    seen: Mutex<Option<Stamp>>,
}

impl BanStore {
    pub(crate) fn new(database: Database, clock: SharedClock) -> Self {
        Self { database, clock, table: BanTable::default(), seen: Mutex::default() }
    }

    /// Bans a network for what it did, unless it is banned already; each ban is twice as long as the one before. A repetition finds the ban that
    /// it made.
    pub(crate) async fn start(&self, network: Cidr, reason: &str, terms: Terms) -> Result<Ban> {
        let now = self.clock.now();
        let key = &rows::ban(network);
        let ban = self
            .database
            .transact(|tx: Transaction| async move {
                let before = tx.get(key).await?.map(|row| BanRow::decode(&row)).transpose()?;
                let before = before.map(|row| Ban::from_row(network, row));
                if let Some(ban) = before.as_ref().filter(|ban| ban.is_active(now)) {
                    return Ok(ban.clone());
                }
                let remembered =
                    before.filter(|ban| ban.until.is_some_and(|until| now < until + terms.memory));
                let times = remembered.map_or(0, |ban| ban.times);
                let until = Some(now + terms.length(times));
                let times = times.saturating_add(1);
                let ban =
                    Ban { network, reason: reason.to_owned(), manual: false, created: now, until, times };
                tx.set(key, &ban.to_row().encode()?);
                rows::note_ban_change(&tx, network, now);
                Ok::<_, Error>(ban)
            })
            .await?;
        self.table.insert(ban.clone());
        Ok(ban)
    }

    /// Bans a network by hand, in place of any ban that it has.
    pub(crate) async fn put(&self, network: Cidr, reason: &str, length: Option<Duration>) -> Result<Ban> {
        let now = self.clock.now();
        let until = length.map(|length| now.saturating_add(length));
        let ban = Ban { network, reason: reason.to_owned(), manual: true, created: now, until, times: 1 };
        let (key, row) = (&rows::ban(network), &ban.to_row().encode()?);
        self.database
            .transact(|tx: Transaction| async move {
                tx.set(key, row);
                rows::note_ban_change(&tx, network, now);
                Ok::<_, Error>(())
            })
            .await?;
        self.table.insert(ban.clone());
        Ok(ban)
    }

    /// Ends a ban, and forgets those before it.
    pub(crate) async fn remove(&self, network: Cidr) -> Result<(), BanError> {
        let now = self.clock.now();
        let key = &rows::ban(network);
        self.database
            .transact(|tx: Transaction| async move {
                let row = tx.get(key).await?.map(|row| BanRow::decode(&row)).transpose()?;
                let is_active = row.is_some_and(|row| Ban::from_row(network, row).is_active(now));
                // What a repetition does not find may be its own work.
                if !is_active && !tx.may_have_committed() {
                    return Err(BanError::NotFound(network));
                }
                tx.clear(key);
                rows::note_ban_change(&tx, network, now);
                Ok(())
            })
            .await?;
        self.table.remove(network);
        Ok(())
    }

    /// Up to `limit` bans that count, in the order of their networks' names, after the one with this name.
    pub(crate) async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<Ban>> {
        let now = self.clock.now();
        let mut range = rows::bans();
        if let Some(network) = after.and_then(|after| after.parse().ok()) {
            range.start = rows::ban(network);
            range.start.push(0);
        }
        let mut found = Vec::new();
        while found.len() < limit {
            let wanted = &range;
            let page =
                self.database.read(|tx| async move { tx.get_range(wanted.clone(), PAGE).await }).await?;
            for row in &page {
                let ban = decode(row)?;
                if ban.is_active(now) && found.len() < limit {
                    found.push(ban);
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE.limit => range.start = after_key(&last.key),
                _ => break,
            }
        }
        Ok(found)
    }

    /// Takes notice of all changes, and returns the networks that they are about when there may be another. The first call reads all bans.
    pub(crate) async fn follow(&self, changed: impl Fn(Cidr)) -> Result<()> {
        let version = rows::bans_version();
        let tx = self.database.begin();
        tx.get_snapshot(&version).await?;
        let watch = tx.watch(&version);
        tx.commit().await?;
        self.catch_up(changed).await?;
        match tokio::time::timeout(FOLLOW_INTERVAL, watch.changed()).await {
            Ok(ended) => ended,
            Err(_elapsed) => Ok(()),
        }
    }

    /// Brings the table up to date.
    pub(crate) async fn catch_up(&self, changed: impl Fn(Cidr)) -> Result<()> {
        let mut seen = self.seen.lock().await;
        loop {
            let Some(stamp) = *seen else {
                *seen = Some(self.read_all().await?);
                continue;
            };
            let Some(changes) = self.changes_after(&stamp).await? else {
                *seen = None;
                continue;
            };
            for (network, ban) in &changes.bans {
                match ban {
                    Some(ban) => self.table.insert(ban.clone()),
                    None => self.table.remove(*network),
                }
                changed(*network);
            }
            match changes.last {
                Some(last) => *seen = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// Reads all bans into the table, and returns the last change that was there before.
    async fn read_all(&self) -> Result<Stamp> {
        let version = &rows::bans_version();
        let stamp = self.database.read(|tx| async move { tx.get_snapshot(version).await }).await?;
        let now = self.clock.now();
        let mut bans = Vec::new();
        self.database
            .scan(rows::bans(), |page| {
                for row in &page {
                    bans.extend(Some(decode(row)?).filter(|ban| ban.is_active(now)));
                }
                Ok::<_, Error>(())
            })
            .await?;
        self.table.replace(bans);
        Ok(rows::decode_stamp(stamp.as_deref()))
    }

    /// What changed after `stamp`; `None` when the log does not reach back so far.
    async fn changes_after(&self, stamp: &Stamp) -> Result<Option<Changes>> {
        self.database
            .read(|tx| async move {
                let cut = tx.get_snapshot(&rows::ban_changes_cut()).await?;
                if rows::decode_stamp(cut.as_deref()) > *stamp {
                    return Ok(None);
                }
                let log = tx.get_range(rows::ban_changes_after(stamp), PAGE).await?;
                let mut changes = Changes { bans: Vec::with_capacity(log.len()), last: None };
                for entry in &log {
                    let (_, network) = rows::decode_ban_change(&entry.value)?;
                    let row = tx.get_snapshot(&rows::ban(network)).await?;
                    let ban = row.map(|row| BanRow::decode(&row)).transpose()?;
                    changes.bans.push((network, ban.map(|row| Ban::from_row(network, row))));
                    changes.last = Some(rows::stamp_of_change(&entry.key)?);
                }
                Ok(Some(changes))
            })
            .await
    }

    /// Removes what no process needs any more: bans whose memory has faded, and old entries of the log.
    pub(crate) async fn maintain(&self, memory: Duration) -> Result<()> {
        let now = self.clock.now();
        let mut faded = Vec::new();
        self.database
            .scan(rows::bans(), |page| {
                for row in &page {
                    faded.extend(Some(decode(row)?).filter(|ban| has_faded(ban, memory, now)));
                }
                Ok::<_, Error>(())
            })
            .await?;
        for ban in faded {
            let key = &rows::ban(ban.network);
            self.database
                .transact(|tx: Transaction| async move {
                    let row = tx.get(key).await?.map(|row| BanRow::decode(&row)).transpose()?;
                    if row.is_some_and(|row| has_faded(&Ban::from_row(ban.network, row), memory, now)) {
                        tx.clear(key);
                    }
                    Ok::<_, Error>(())
                })
                .await?;
        }
        while self.cut_log(now).await? {}
        Ok(())
    }

    /// Removes a page of old changes; whether there may be more.
    async fn cut_log(&self, now: Duration) -> Result<bool> {
        self.database
            .transact(|tx: Transaction| async move {
                let page = tx.get_range(rows::ban_changes(), PAGE).await?;
                let mut last = None;
                for entry in &page {
                    let (when, _) = rows::decode_ban_change(&entry.value)?;
                    if Duration::from_secs(when) + LOG > now {
                        break;
                    }
                    last = Some(&entry.key);
                }
                let Some(last) = last else { return Ok(false) };
                tx.clear_range(rows::ban_changes().start..after_key(last));
                // Another process may have cut off more meanwhile: then this read conflicts, and finds nothing when it is repeated.
                let cut = rows::decode_stamp(tx.get(&rows::ban_changes_cut()).await?.as_deref());
                tx.set(&rows::ban_changes_cut(), &rows::stamp_of_change(last)?.max(cut));
                Ok::<_, Error>(page.len() == PAGE.limit)
            })
            .await
    }
}

/// A page of changes.
struct Changes {
    bans: Vec<(Cidr, Option<Ban>)>,
    last: Option<Stamp>,
}

fn decode(row: &KeyValue) -> Result<Ban> {
    Ok(Ban::from_row(rows::network_of_ban(&row.key)?, BanRow::decode(&row.value)?))
}

fn has_faded(ban: &Ban, memory: Duration, now: Duration) -> bool {
    ban.until.is_some_and(|until| until.saturating_add(memory) <= now)
}

/// The first key after `key`.
fn after_key(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}
