//! The clocks of nodes, which do not agree.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ekitei_kv::clock::Clock;
use tokio::time::Instant;

/// 2026-11-22 00:00:00 UTC: when every run begins.
pub const BEGIN: Duration = Duration::from_secs(20_779 * 86_400);

/// The time of day as one node has it: off by a time that can be set, and faster or slower than others.
pub struct NodeClock {
    began: Instant,
    rate: f64,
    offset_millis: AtomicI64,
}

impl NodeClock {
    /// A clock that is right.
    pub fn right(began: Instant) -> Arc<Self> {
        Self::wrong(began, 1.0, 0)
    }

    /// A clock that runs `rate` times as fast as it should, and is off by some milliseconds.
    pub fn wrong(began: Instant, rate: f64, offset_millis: i64) -> Arc<Self> {
        Arc::new(Self { began, rate, offset_millis: AtomicI64::new(offset_millis) })
    }

    /// Somebody sets it, forward or back.
    pub fn set(&self, offset_millis: i64) {
        self.offset_millis.store(offset_millis, Ordering::SeqCst);
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Duration {
        let right = BEGIN + self.began.elapsed().mul_f64(self.rate);
        let offset = self.offset_millis.load(Ordering::SeqCst);
        let by = Duration::from_millis(offset.unsigned_abs());
        if offset < 0 { right.saturating_sub(by) } else { right + by }
    }
}
