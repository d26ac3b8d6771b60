//! The figures of a cluster, as one process sees it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ekitei_kv::lease::LeaseStatistics;
use ekitei_telemetry::{Counter, CounterFamily, GaugeFamily, Registry};

use crate::feature::Feature;
use crate::features::Features;

/// How many processes there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Alive, and with a row.
    pub(crate) alive: usize,
    /// Alive, of a release that writes no row.
    pub(crate) unknown: usize,
    pub(crate) dead: usize,
}

/// The metrics.
pub(crate) struct Metrics {
    nodes: GaugeFamily,
    features: GaugeFamily,
    held: GaugeFamily,
    takeovers: CounterFamily,
    late: Counter,
    failed: Counter,
    last: Mutex<LeaseStatistics>,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            nodes: registry.gauges(
                "cluster_nodes",
                "Processes that use the store, as this one sees them: alive, dead, or unknown (alive and of a release that does not say who it is).",
                &["state"],
            ),
            features: registry.gauges("cluster_feature_active", "1 for a feature that is active.", &["feature"]),
            held: registry.gauges("leases_held", "Leases that this process holds: what it leads.", &["group"]),
            takeovers: registry.counters(
                "lease_takeovers_total",
                "Leases that this process took from processes that died.",
                &["group"],
            ),
            late: registry.counter(
                "lease_renewals_late_total",
                "Renewals that came after the leases had ended: the process was paused, or the store slow.",
            ),
            failed: registry.counter("lease_renewals_failed_total", "Renewals of leases that failed."),
            last: Mutex::default(),
        }
    }

    pub(crate) fn count_nodes(&self, count: Count) {
        for (state, number) in [("alive", count.alive), ("unknown", count.unknown), ("dead", count.dead)] {
            self.nodes.with(&[state]).set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }

    /// Brings the figures up to date that change without anybody saying so.
    pub(crate) fn sample(&self, now: LeaseStatistics, features: &Features) {
        for &feature in Feature::ALL {
            self.features.with(&[feature.name()]).set(i64::from(features.is_active(feature)));
        }
        for (group, held) in &now.held {
            self.held.with(&[group]).set(i64::try_from(*held).unwrap_or(i64::MAX));
        }
        // Held throughout, so that what two readers see at once is added once.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = |groups: &BTreeMap<&str, u64>, group| groups.get(group).copied().unwrap_or(0);
        for (group, takeovers) in &now.takeovers {
            self.takeovers.with(&[group]).inc_by(takeovers.saturating_sub(before(&last.takeovers, group)));
        }
        self.late.inc_by(now.late.saturating_sub(last.late));
        self.failed.inc_by(now.failed.saturating_sub(last.failed));
        *last = now;
    }
}
