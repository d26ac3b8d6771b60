//! What reports count about themselves.

use ekitei_kv::clock::SharedClock;
use ekitei_telemetry::{Counter, CounterFamily, Registry};

use crate::rows::Collected;

/// The metrics, and the time that goes with what they count.
#[derive(Clone)]
pub(crate) struct Metrics {
    clock: SharedClock,
    collected: CounterFamily,
    /// Batches that were given up since the store was away for too long.
    pub(crate) lost: Counter,
    sent: CounterFamily,
    received: CounterFamily,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry, clock: SharedClock) -> Self {
        Self {
            clock,
            collected: registry.counters(
                "reports_collected_total",
                "Messages and TLS sessions that were counted for reports, or left out since there were too many kinds.",
                &["kind", "result"],
            ),
            lost: registry
                .counter("reports_lost_batches_total", "Batches that were given up since the store was away."),
            sent: registry.counters(
                "reports_sent_total",
                "Reports that were handed over, or given up.",
                &["kind", "result"],
            ),
            received: registry.counters(
                "reports_received_total",
                "Reports that others sent.",
                &["kind"],
            ),
        }
    }

    /// Seconds since the epoch.
    pub(crate) fn now(&self) -> u64 {
        self.clock.now().as_secs()
    }

    pub(crate) fn collected(&self, kind: Collected, kept: bool) {
        self.collected.with(&[kind.name(), if kept { "kept" } else { "left_out" }]).inc();
    }

    pub(crate) fn sent(&self, kind: Collected, result: &str) {
        self.sent.with(&[kind.name(), result]).inc();
    }

    pub(crate) fn received(&self, kind: &str) {
        self.received.with(&[kind]).inc();
    }
}
