//! Collecting: what the filter says of DMARC and the relay of TLS, counted in memory, and written in batches.
//!
//! Nothing here waits for the store while mail is handled, and memory is bounded: what does not fit is only counted. What was not written when a process dies is lost;
//! these are statistics.

mod dmarc;
mod tls;

use std::sync::{Mutex, MutexGuard, PoisonError};

use ekitei_config::Live;
use ekitei_filter::{DmarcOutcome, DmarcReporter};
use ekitei_kv::{Database, Transaction};
use ekitei_relay::{TlsReporter, TlsSession};

pub(crate) use dmarc::{DmarcBatch, DmarcGroups, DmarcRecord, PublishedPolicy, Word};
pub(crate) use tls::{TlsBatch, TlsFailure, TlsGroups, TlsPolicy};

use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::rows::Collected;

/// Octets that are written in one transaction.
const TRANSACTION: usize = 1 << 20;
/// Octets that wait while the store fails; then the oldest are given up.
const BACKLOG: usize = 64 << 20;

/// What a process collected and did not write yet.
pub(crate) struct Collector {
    live: Live,
    metrics: Metrics,
    dmarc: Mutex<DmarcGroups>,
    tls: Mutex<TlsGroups>,
    /// Rows whose writing failed, with their keys: writing them again changes nothing.
    backlog: Mutex<Vec<Row>>,
}

/// A batch as it is written.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) kind: Collected,
    pub(crate) domain: String,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Row {
    fn size(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

impl Collector {
    pub(crate) fn new(live: Live, metrics: Metrics) -> Self {
        Self { live, metrics, dmarc: Mutex::default(), tls: Mutex::default(), backlog: Mutex::default() }
    }

    fn limit(&self) -> usize {
        usize::try_from(self.live.load().reports.max_collected).unwrap_or(usize::MAX)
    }

    /// What was collected as rows, which are collected no more.
    pub(crate) fn take(&self) -> Result<Vec<Row>> {
        let mut rows = std::mem::take(&mut *lock(&self.backlog));
        let (dmarc, tls) = (std::mem::take(&mut *lock(&self.dmarc)), std::mem::take(&mut *lock(&self.tls)));
        rows.extend(dmarc.into_rows()?);
        rows.extend(tls.into_rows()?);
        Ok(rows)
    }

    /// Writes rows; those that cannot be written wait for the next time.
    pub(crate) async fn write(&self, database: &Database, rows: Vec<Row>) -> Result<()> {
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            let mut octets = 0;
            let fits = |row: &&Row| {
                octets += row.size();
                octets <= TRANSACTION
            };
            let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let write = |tx: Transaction| async move {
                now.iter().for_each(|row| tx.set(&row.key, &row.value));
                Ok::<_, Error>(())
            };
            if let Err(error) = database.transact(write).await {
                self.keep(rest.to_vec());
                return Err(error);
            }
            rest = later;
        }
        Ok(())
    }

    fn keep(&self, rows: Vec<Row>) {
        let mut backlog = lock(&self.backlog);
        backlog.extend(rows);
        let mut octets: usize = backlog.iter().map(Row::size).sum();
        let surplus = |row: &Row| {
            let is_surplus = octets > BACKLOG;
            octets -= row.size();
            is_surplus
        };
        let given_up = backlog.iter().map(surplus).take_while(|&is_surplus| is_surplus).count();
        backlog.drain(..given_up);
        self.metrics.lost.inc_by(given_up as u64);
    }
}

impl DmarcReporter for Collector {
    fn report(&self, outcome: DmarcOutcome) {
        if !self.live.load().reports.send || outcome.policy.rua.is_empty() {
            return;
        }
        let kept = lock(&self.dmarc).add(outcome, self.limit());
        self.metrics.collected(Collected::Dmarc, kept);
    }
}

impl TlsReporter for Collector {
    fn session(&self, session: TlsSession) {
        if !self.live.load().reports.send {
            return;
        }
        let kept = lock(&self.tls).add(session, self.metrics.now(), self.limit());
        self.metrics.collected(Collected::Tls, kept);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first octets of a text, at most so many.
pub(crate) fn shortened(text: &str, octets: usize) -> &str {
    let mut end = octets.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
