//! What limits and bans count for the operator.

use ekitei_telemetry::{Counter, CounterFamily, Gauge, Histogram, Registry, SECONDS};

/// The metrics of [`super::Limits`].
pub(crate) struct Metrics {
    /// By limit and result.
    pub(crate) decisions: CounterFamily,
    /// What clients did wrong, by event.
    pub(crate) events: CounterFamily,
    /// Bans that were made, by source.
    pub(crate) bans_made: CounterFamily,
    /// Bans that could not be made, since there are too many.
    pub(crate) bans_dropped: Counter,
    /// Bans known to this process.
    pub(crate) bans: Gauge,
    /// Counters in memory.
    pub(crate) keys: Gauge,
    /// The time of sharing counts.
    pub(crate) sync_seconds: Histogram,
    pub(crate) sync_failures: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            decisions: registry.counters(
                "limits_decisions_total",
                "Questions whether a client or an account may do one thing more, by limit.",
                &["limit", "result"],
            ),
            events: registry.counters("limits_events_total", "What clients did wrong.", &["event"]),
            bans_made: registry.counters("bans_made_total", "Bans that this process made.", &["source"]),
            bans_dropped: registry.counter(
                "bans_dropped_total",
                "Bans that were not made, since there are filter.limits.bans.maxBans already.",
            ),
            bans: registry.gauge("bans", "Bans that this process knows of."),
            keys: registry.gauge("limits_keys", "Addresses, networks and accounts that this process counts."),
            sync_seconds: registry.histogram(
                "limits_sync_seconds",
                "How long it takes to share counts with the other processes.",
                SECONDS,
            ),
            sync_failures: registry.counter(
                "limits_sync_failures_total",
                "Failures to share counts; they are kept, and shared later.",
            ),
        }
    }

    /// Counts a decision and hands it on.
    pub(crate) fn decided(&self, limit: &str, within: bool) -> bool {
        self.decisions.with(&[limit, if within { "within" } else { "over" }]).inc();
        within
    }
}
