//! Whether a store answers.

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
    failures: Mutex<Option<Failures>>,
    away: watch::Sender<bool>,
}

/// Failures without an answer between them.
struct Failures {
    since: Instant,
    last: Instant,
    count: u32,
}

impl Health {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, failures: Mutex::new(None), away: watch::Sender::new(false) }
    }

    pub(super) fn is_away(&self) -> bool {
        *self.away.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.away.subscribe()
    }

    /// The store answered, if only with a refusal.
    pub(super) fn answered(&self) {
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.away.send_if_modified(|away| std::mem::replace(away, false));
    }

    /// The store did not answer a request that began at this time; whether that makes it away.
    pub(super) fn failed(&self, begun: Instant) -> bool {
        let now = Instant::now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        // A failure long ago, with nothing asked since, is no evidence. The time that this request waited is not time without one.
        let known = failures.take().filter(|known| begun.duration_since(known.last) <= self.patience);
        let mut known = known.unwrap_or(Failures { since: now, last: now, count: 0 });
        known.last = now;
        known.count += 1;
        let gone = known.count >= LEAST_FAILURES && now.duration_since(known.since) >= self.patience;
        *failures = Some(known);
        gone && self.away.send_if_modified(|away| !std::mem::replace(away, true))
    }
}
