//! The clock that transaction ages are measured with, injected so that tests do not sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A monotonic clock; cheap to clone.
#[derive(Clone, Debug)]
pub struct MonotonicClock(Source);

#[derive(Clone, Debug)]
enum Source {
    System(Instant),
    Runtime(tokio::time::Instant),
    Drifting { start: tokio::time::Instant, rate: f64 },
    Manual(Arc<AtomicU64>),
}

/// The hand of a clock made by [`MonotonicClock::manual`].
#[derive(Clone, Debug)]
pub struct ManualMonotonicClock(Arc<AtomicU64>);

impl MonotonicClock {
    /// The machine's monotonic clock.
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    /// The clock of the surrounding tokio runtime, which tests may pause. Only for engines that commit on the
    /// caller's thread: other threads do not see a paused clock.
    pub fn runtime() -> Self {
        Self(Source::Runtime(tokio::time::Instant::now()))
    }

    /// The clock of the surrounding tokio runtime, running `rate` times as fast: one of several clocks of a simulation, which do not agree.
    pub fn drifting(rate: f64) -> Self {
        Self(Source::Drifting { start: tokio::time::Instant::now(), rate })
    }

    /// A clock that moves only when its hand is moved.
    pub fn manual() -> (Self, ManualMonotonicClock) {
        let nanos = Arc::new(AtomicU64::new(0));
        (Self(Source::Manual(nanos.clone())), ManualMonotonicClock(nanos))
    }

    /// Time since the clock was made.
    pub(crate) fn now(&self) -> Duration {
        match &self.0 {
            Source::System(start) => start.elapsed(),
            Source::Runtime(start) => start.elapsed(),
            Source::Drifting { start, rate } => start.elapsed().mul_f64(*rate),
            Source::Manual(nanos) => Duration::from_nanos(nanos.load(Ordering::Acquire)),
        }
    }
}

impl ManualMonotonicClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::AcqRel);
    }
}
