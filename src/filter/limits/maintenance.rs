//! What runs beside the questions: sharing counts, following bans, removing what is over.

use std::ops::Range;
use std::sync::PoisonError;
use std::time::Duration;

use ekitei_config::Cidr;
use ekitei_kv::{Database, Error, RangeOptions, Result, Transaction};

use super::counters::{Key, Kind, Subject};
use super::rows::{self, Period};
use super::sharing::row;
use super::{Limits, narrow, patiently, points_window, terms};

/// The least time between two synchronisations, however much is going on.
const BREATH: Duration = Duration::from_millis(100);
/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// How often bans that are over are forgotten.
const PRUNING: Duration = Duration::from_secs(600);
/// Rows that are removed in one transaction.
const PAGE: RangeOptions = RangeOptions { limit: 1_000, reverse: false, snapshot: true };
/// How long the number of a process's last batch is kept: longer than a batch is tried.
const BATCH_MEMORY: Duration = Duration::from_secs(86_400);

impl Limits {
    /// Reads the bans, before the first client is let in. If the store does not answer soon, [`Limits::run`] goes on trying.
    pub async fn load(&self) {
        if let Err(error) = patiently(self.inner.bans.catch_up(|_| {})).await {
            tracing::warn!(%error, "bans are not known yet");
        }
    }

    /// Shares counts and bans with the other processes until it is dropped. Stopping it anywhere does no harm.
    pub async fn run(&self) {
        tokio::join!(self.keep_sharing(), self.keep_following(), self.keep_pruning());
    }

    async fn keep_sharing(&self) {
        loop {
            let interval = self.inner.live.load().filter.limits.sync_interval.get();
            // Which of the two it was makes no difference.
            let _ = tokio::time::timeout(interval, self.inner.wake.notified()).await;
            if let Err(error) = self.sync().await {
                tracing::warn!(%error, "counts of clients are not shared at the moment");
                tokio::time::sleep(RETRY).await;
            }
            tokio::time::sleep(BREATH).await;
        }
    }

    async fn keep_following(&self) {
        loop {
            if let Err(error) = self.inner.bans.follow(|network| self.inner.forgive(network)).await {
                tracing::warn!(%error, "bans cannot be followed at the moment");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn keep_pruning(&self) {
        loop {
            tokio::time::sleep(PRUNING).await;
            self.inner.bans.table.prune(self.inner.clock.now());
        }
    }

    /// Shares what was counted since the last time, and writes bans that are due.
    ///
    /// # Errors
    /// When the store fails; the next call goes on.
    pub async fn sync(&self) -> Result<()> {
        let inner = &self.inner;
        let started = tokio::time::Instant::now();
        let result = self.try_sync().await;
        inner.metrics.sync_seconds.observe(started.elapsed().as_secs_f64());
        inner.metrics.keys.set(i64::try_from(inner.counters.len()).unwrap_or(i64::MAX));
        inner.metrics.bans.set(i64::try_from(inner.bans.table.len()).unwrap_or(i64::MAX));
        if result.is_err() {
            inner.metrics.sync_failures.inc();
        }
        result
    }

    /// Shares what was counted last, before the process ends.
    pub async fn finish(&self) {
        if let Err(error) = patiently(self.sync()).await {
            tracing::warn!(%error, "what clients did last is not counted");
        }
    }

    async fn try_sync(&self) -> Result<()> {
        let inner = &self.inner;
        for key in inner.sharing.sync(&inner.counters).await? {
            self.look_at_points(key);
        }
        self.write_bans().await?;
        self.write_familiar().await
    }

    /// Bans a network whose points are too many only together with what other processes saw.
    fn look_at_points(&self, key: Key) {
        let (Kind::Points, Subject::Network(network)) = (key.kind, key.subject) else { return };
        let config = self.inner.live.load();
        let bans = &config.filter.limits.bans;
        let is_client = narrow(network.network()) == network;
        let threshold = if is_client { bans.threshold } else { bans.network_threshold };
        let how = self.inner.counting(&config, points_window(bans), threshold, true);
        if bans.enabled && threshold != 0 && self.inner.counters.is_over(key, &how) {
            self.inner.ban_soon(network, "what several servers saw", &config);
        }
    }

    async fn write_bans(&self) -> Result<()> {
        let inner = &self.inner;
        loop {
            let next = {
                let due = inner.due.lock().unwrap_or_else(PoisonError::into_inner);
                due.iter().next().map(|(network, reason)| (*network, *reason))
            };
            let Some((network, reason)) = next else { return Ok(()) };
            let config = inner.live.load();
            let bans = &config.filter.limits.bans;
            let ban = inner.bans.start(network, reason, terms(bans)).await?;
            // Only now, since until then it is due.
            inner.due.lock().unwrap_or_else(PoisonError::into_inner).remove(&network);
            inner.metrics.bans_made.with(&["automatic"]).inc();
            tracing::info!(network = %ban.network, reason, until = ?ban.until, times = ban.times, "banned");
            self.clear_points(network, bans.window.get()).await?;
        }
    }

    /// Points that led to a ban have done their work: after it the client begins anew, with a longer ban ahead.
    async fn clear_points(&self, network: Cidr, window: Duration) -> Result<()> {
        let key = Key { kind: Kind::Points, subject: Subject::Network(network) };
        let period = Period::at(self.inner.clock.now(), window);
        let rows = &[row(key, period), row(key, period.before())];
        let cleared = self.inner.database.transact(|tx: Transaction| async move {
            rows.iter().for_each(|row| tx.clear(row));
            Ok::<_, Error>(())
        });
        cleared.await?;
        self.inner.forgive(network);
        Ok(())
    }

    /// Removes rows that nobody looks for any more: from time to time, in one process of the cluster. Several at once do no harm.
    ///
    /// # Errors
    /// When the store fails; what is left waits for the next time.
    pub async fn maintain(&self) -> Result<()> {
        let inner = &self.inner;
        let now = inner.clock.now();
        for table in rows::EXPIRING {
            while remove_page(&inner.database, rows::dead_rows(table, now)).await? {}
        }
        let memory = inner.live.load().filter.limits.bans.memory.get();
        inner.bans.maintain(memory).await?;
        self.forget_processes(now).await
    }

    /// Removes the numbers of the last batches of processes that are gone.
    async fn forget_processes(&self, now: Duration) -> Result<()> {
        let mut gone = Vec::new();
        self.inner
            .database
            .scan(rows::batches(), |page| {
                for row in page {
                    let when = rows::decode_batch(&row.value).map_or(0, |(_, when)| when);
                    if Duration::from_secs(when) + BATCH_MEMORY <= now {
                        gone.push(row.key);
                    }
                }
                Ok::<_, Error>(())
            })
            .await?;
        for page in gone.chunks(PAGE.limit) {
            let removed = self.inner.database.transact(|tx: Transaction| async move {
                page.iter().for_each(|key| tx.clear(key));
                Ok::<_, Error>(())
            });
            removed.await?;
        }
        Ok(())
    }
}

/// Removes the first rows of a range that nobody writes to; whether there are more.
async fn remove_page(database: &Database, range: Range<Vec<u8>>) -> Result<bool> {
    let range = &range;
    database
        .transact(|tx: Transaction| async move {
            let page = tx.get_range(range.clone(), PAGE).await?;
            let Some(last) = page.last() else { return Ok::<_, Error>(false) };
            tx.clear_range(range.start.clone()..[&last.key[..], &[0]].concat());
            Ok(page.len() == PAGE.limit)
        })
        .await
}
