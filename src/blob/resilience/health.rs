//! Whether a store answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Fewer failures than this say nothing, however long ago the first one was.
const LEAST_FAILURES: u32 = 3;

/// What the last requests told.
pub(super) struct Health {
    /// Nothing but failures for this long: away.
    patience: Duration,
    /// A longer time without a request between two failures breaks what they tell.
    gap: Duration,
    failures: Mutex<Option<Failures>>,
    away: watch::Sender<bool>,
    /// Times that it went away.
    outages: AtomicU64,
}

/// Failures without an answer between them.
struct Failures {
    since: Instant,
    last: Instant,
    count: u32,
}

impl Health {
    /// `pause`: the longest between two attempts of a call, which must not pass for a time in which nothing was asked.
    pub(super) fn new(patience: Duration, pause: Duration) -> Self {
        Self {
            patience,
            gap: patience.max(pause),
            failures: Mutex::new(None),
            away: watch::Sender::new(false),
            outages: AtomicU64::new(0),
        }
    }

    /// Which outage this is, or the last one was.
    pub(super) fn outage(&self) -> u64 {
        self.outages.load(Ordering::SeqCst)
    }

    pub(super) fn is_away(&self) -> bool {
        *self.away.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.away.subscribe()
    }

    /// The store answered, if only with a refusal; whether it was away.
    pub(super) fn answered(&self) -> bool {
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.away.send_if_modified(|away| std::mem::replace(away, false))
    }

    /// The store did not answer a request that began at this time; whether that makes it away.
    pub(super) fn failed(&self, begun: Instant) -> bool {
        let now = Instant::now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        // A failure long ago, with nothing asked since, is no evidence. The time that this request waited is not time without one.
        let known = failures.take().filter(|known| begun.duration_since(known.last) <= self.gap);
        let mut known = known.unwrap_or(Failures { since: now, last: now, count: 0 });
        known.last = now;
        known.count += 1;
        let gone = known.count >= LEAST_FAILURES && now.duration_since(known.since) >= self.patience;
        *failures = Some(known);
        let is_new = gone && self.away.send_if_modified(|away| !std::mem::replace(away, true));
        if is_new {
            self.outages.fetch_add(1, Ordering::SeqCst);
        }
        is_new
    }
}
