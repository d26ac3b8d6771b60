//! What the operator measures.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use ekitei_telemetry::{CounterFamily, Gauge, GaugeFamily, HistogramFamily, Registry, SECONDS};

/// Whether an object is ready, by its kind and UID.
type Objects = HashMap<(&'static str, String), bool>;

/// How records can be. All are shown from the beginning: alerts look for those that should be 0.
const STATES: [&str; 7] = ["Pending", "Published", "Verified", "Drifted", "Conflict", "Manual", "Failed"];

/// All metrics of the operator.
#[derive(Debug)]
pub struct Metrics {
    /// Where they are declared and rendered.
    pub registry: Registry,
    /// How long reconciliations took, by kind.
    pub reconcile_seconds: HistogramFamily,
    /// Reconciliations that failed, by kind and reason.
    pub reconcile_failures: CounterFamily,
    /// Objects that are worked on or wait to be, by kind.
    pub queue_depth: GaugeFamily,
    /// Things that somebody else had changed and that were corrected, by kind.
    pub drift_corrected: CounterFamily,
    /// Whether this process leads.
    pub is_leader: Gauge,
    /// When certificates end, by name; seconds since 1970.
    pub certificate_expiry: GaugeFamily,
    /// How long DKIM keys have been signing, by domain and selector.
    pub dkim_key_age: GaugeFamily,
    /// Whether regions can be reached, by region.
    pub region_reachable: GaugeFamily,
    /// MX replicas, by region and state.
    pub mx_replicas: GaugeFamily,
    objects_family: GaugeFamily,
    objects: Mutex<Objects>,
    dns_records: GaugeFamily,
    records: Mutex<HashMap<String, HashMap<&'static str, i64>>>,
}

impl Metrics {
    /// Declares them.
    pub fn new(registry: Registry) -> Self {
        let metrics = Self {
            reconcile_seconds: registry.histograms(
                "operator_reconcile_seconds",
                "How long reconciliations took.",
                &["kind"],
                SECONDS,
            ),
            reconcile_failures: registry.counters(
                "operator_reconcile_failures_total",
                "Reconciliations that failed.",
                &["kind", "reason"],
            ),
            queue_depth: registry.gauges(
                "operator_queue_depth",
                "Objects that are worked on or wait to be.",
                &["kind"],
            ),
            drift_corrected: registry.counters(
                "operator_drift_corrected_total",
                "Things that somebody else had changed and that were corrected.",
                &["kind"],
            ),
            is_leader: registry.gauge("operator_is_leader", "Whether this process leads: 1 if so."),
            certificate_expiry: registry.gauges(
                "operator_certificate_expiry_timestamp_seconds",
                "When certificates end, in seconds since 1970.",
                &["name"],
            ),
            dkim_key_age: registry.gauges(
                "operator_dkim_key_age_seconds",
                "How long DKIM keys have been signing.",
                &["domain", "selector"],
            ),
            region_reachable: registry.gauges(
                "operator_region_reachable",
                "Whether the cluster of a region can be reached: 1 if so.",
                &["region"],
            ),
            mx_replicas: registry.gauges(
                "operator_mx_replicas",
                "MX replicas: desired, there, and ready.",
                &["region", "state"],
            ),
            objects_family: registry.gauges(
                "operator_objects",
                "Objects, by whether they are ready.",
                &["kind", "ready"],
            ),
            objects: Mutex::default(),
            dns_records: registry.gauges(
                "operator_dns_records",
                "Records that should be in DNS, by their state.",
                &["state"],
            ),
            records: Mutex::default(),
            registry,
        };
        for state in STATES {
            metrics.dns_records.with(&[state]);
        }
        metrics
    }

    /// That an object is ready or not; `None` when it is gone.
    pub fn object(&self, kind: &'static str, uid: &str, ready: Option<bool>) {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        match ready {
            Some(ready) => objects.insert((kind, uid.to_owned()), ready),
            None => objects.remove(&(kind, uid.to_owned())),
        };
        for ready in [true, false] {
            let count = objects.iter().filter(|((of, _), is)| *of == kind && **is == ready).count();
            let member = self.objects_family.with(&[kind, if ready { "true" } else { "false" }]);
            member.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// How many records an object has in each state; none when it is gone.
    pub fn records(&self, uid: &str, states: impl IntoIterator<Item = &'static str>) {
        let mut counts: HashMap<&'static str, i64> = HashMap::new();
        for state in states {
            *counts.entry(state).or_default() += 1;
        }
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let before = records.remove(uid).unwrap_or_default();
        let states: HashSet<&'static str> = before.keys().chain(counts.keys()).copied().collect();
        for state in states {
            let change = counts.get(state).unwrap_or(&0) - before.get(state).unwrap_or(&0);
            self.dns_records.with(&[state]).add(change);
        }
        if !counts.is_empty() {
            records.insert(uid.to_owned(), counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_counted_by_what_is_true_of_them_now() {
        let metrics = Metrics::new(Registry::new());
        metrics.object("MailDomain", "a", Some(false));
        metrics.object("MailDomain", "b", Some(true));
        metrics.object("MailDomain", "a", Some(true));
        metrics.object("MailRegion", "c", Some(true));
        metrics.object("MailDomain", "b", None);
        let text = metrics.registry.render();
        assert!(text.contains("ekitei_operator_objects{kind=\"MailDomain\",ready=\"true\"} 1\n"), "{text}");
        assert!(text.contains("ekitei_operator_objects{kind=\"MailDomain\",ready=\"false\"} 0\n"), "{text}");
        assert!(text.contains("ekitei_operator_objects{kind=\"MailRegion\",ready=\"true\"} 1\n"), "{text}");
    }

    #[test]
    fn records_are_counted_over_all_objects() {
        let metrics = Metrics::new(Registry::new());
        metrics.records("a", ["Verified", "Verified", "Pending"]);
        metrics.records("b", ["Verified"]);
        metrics.records("a", ["Verified", "Drifted"]);
        let text = metrics.registry.render();
        for line in ["{state=\"Verified\"} 2\n", "{state=\"Pending\"} 0\n", "{state=\"Drifted\"} 1\n"] {
            assert!(text.contains(&format!("ekitei_operator_dns_records{line}")), "{line} is not in {text}");
        }
        metrics.records("a", []);
        assert!(metrics.registry.render().contains("ekitei_operator_dns_records{state=\"Verified\"} 1\n"));
    }
}
