//! What the operator measures.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use ekitei_operator_api::CertificateStatus;
use ekitei_telemetry::{CounterFamily, Gauge, GaugeFamily, HistogramFamily, Registry, SECONDS};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

mod per_object;

pub use per_object::{First, Object, PerObject};

/// How records can be. All are shown from the beginning: alerts look for those that should be 0.
const STATES: [&str; 7] = ["Pending", "Published", "Verified", "Drifted", "Conflict", "Manual", "Failed"];

/// How long before its end a certificate should be renewed whose time is for others to choose, in seconds.
const RENEWED_BY_OTHERS: i64 = 10 * 86_400;

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
    pub certificate_expiry: PerObject,
    /// When certificates are to be renewed, by name; seconds since 1970.
    pub certificate_renewal: PerObject,
    /// How long DKIM keys have been signing, by domain and selector.
    pub dkim_key_age: PerObject,
    /// When DKIM keys that sign are to be replaced, by domain and selector; seconds since 1970.
    pub dkim_rotation: PerObject,
    /// Whether regions can be reached, by region.
    pub region_reachable: PerObject,
    /// MX replicas, by region and state.
    pub mx_replicas: PerObject,
    objects_family: GaugeFamily,
    objects: Mutex<HashMap<Object, bool>>,
    dns_records: GaugeFamily,
    records: Mutex<HashMap<Object, HashMap<&'static str, i64>>>,
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
            certificate_expiry: PerObject::new(
                registry.gauges(
                    "operator_certificate_expiry_timestamp_seconds",
                    "When certificates end, in seconds since 1970.",
                    &["name"],
                ),
                First::Smallest,
            ),
            certificate_renewal: PerObject::new(
                registry.gauges(
                    "operator_certificate_renewal_timestamp_seconds",
                    "When certificates are to be renewed, in seconds since 1970; of those that others renew, ten days before they end.",
                    &["name"],
                ),
                First::Smallest,
            ),
            dkim_key_age: PerObject::new(
                registry.gauges(
                    "operator_dkim_key_age_seconds",
                    "How long DKIM keys have been signing.",
                    &["domain", "selector"],
                ),
                First::Largest,
            ),
            dkim_rotation: PerObject::new(
                registry.gauges(
                    "operator_dkim_rotation_timestamp_seconds",
                    "When DKIM keys that sign are to be replaced, in seconds since 1970.",
                    &["domain", "selector"],
                ),
                First::Smallest,
            ),
            region_reachable: PerObject::new(
                registry.gauges(
                    "operator_region_reachable",
                    "Whether the cluster of a region can be reached: 1 if so.",
                    &["region"],
                ),
                First::Smallest,
            ),
            mx_replicas: PerObject::new(
                registry.gauges(
                    "operator_mx_replicas",
                    "MX replicas: desired, there, and ready.",
                    &["region", "state"],
                ),
                First::Smallest,
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

    /// Whether an object is ready.
    pub fn object(&self, object: &Object, ready: bool) {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.insert(object.clone(), ready);
        self.count(&objects, object.kind);
    }

    /// An object is gone, and nothing is shown of it any more.
    pub fn gone(&self, object: &Object) {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.remove(object);
        self.count(&objects, object.kind);
        drop(objects);
        self.records(object, []);
        self.per_object().into_iter().for_each(|gauge| gauge.gone(object));
    }

    /// This process does not lead any more: how objects are is for another one to say, and what was true of them will soon be so no more.
    pub fn leads_no_more(&self) {
        self.is_leader.set(0);
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.objects_family.clear();
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clear();
        STATES.iter().for_each(|state| self.dns_records.with(&[state]).set(0));
        self.per_object().into_iter().for_each(PerObject::clear);
    }

    fn per_object(&self) -> [&PerObject; 6] {
        [
            &self.certificate_expiry,
            &self.certificate_renewal,
            &self.dkim_key_age,
            &self.dkim_rotation,
            &self.region_reachable,
            &self.mx_replicas,
        ]
    }

    /// The certificate that an object has under a name: when it ends, and when it is to be renewed.
    pub fn certificate(&self, object: &Object, name: &str, status: &CertificateStatus) {
        let seconds = |time: &Option<Time>| time.as_ref().map(|time| time.0.as_second());
        let end = seconds(&status.not_after);
        let renewal =
            seconds(&status.renewal).or_else(|| end.map(|end| end.saturating_sub(RENEWED_BY_OTHERS)));
        self.certificate_expiry.show(object, end.map(|end| ([name], end)));
        self.certificate_renewal.show(object, renewal.map(|renewal| ([name], renewal)));
    }

    fn count(&self, objects: &HashMap<Object, bool>, kind: &'static str) {
        for ready in [true, false] {
            let count = objects.iter().filter(|(object, is)| object.kind == kind && **is == ready).count();
            let member = self.objects_family.with(&[kind, if ready { "true" } else { "false" }]);
            member.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// How many records an object has in each state; none when it is gone.
    pub fn records(&self, object: &Object, states: impl IntoIterator<Item = &'static str>) {
        let mut counts: HashMap<&'static str, i64> = HashMap::new();
        for state in states {
            *counts.entry(state).or_default() += 1;
        }
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let before = records.remove(object).unwrap_or_default();
        let states: HashSet<&'static str> = before.keys().chain(counts.keys()).copied().collect();
        for state in states {
            let change = counts.get(state).unwrap_or(&0) - before.get(state).unwrap_or(&0);
            self.dns_records.with(&[state]).add(change);
        }
        if !counts.is_empty() {
            records.insert(object.clone(), counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn domain(name: &str) -> Object {
        Object::named("MailDomain", Some("mail"), name)
    }

    #[test]
    fn objects_are_counted_by_what_is_true_of_them_now() {
        let metrics = Metrics::new(Registry::new());
        metrics.object(&domain("a"), false);
        metrics.object(&domain("b"), true);
        metrics.object(&domain("a"), true);
        metrics.object(&Object::named("MailRegion", Some("mail"), "c"), true);
        metrics.gone(&domain("b"));
        let text = metrics.registry.render();
        assert!(text.contains("ekitei_operator_objects{kind=\"MailDomain\",ready=\"true\"} 1\n"), "{text}");
        assert!(text.contains("ekitei_operator_objects{kind=\"MailDomain\",ready=\"false\"} 0\n"), "{text}");
        assert!(text.contains("ekitei_operator_objects{kind=\"MailRegion\",ready=\"true\"} 1\n"), "{text}");
    }

    #[test]
    fn records_are_counted_over_all_objects() {
        let metrics = Metrics::new(Registry::new());
        metrics.records(&domain("a"), ["Verified", "Verified", "Pending"]);
        metrics.records(&domain("b"), ["Verified"]);
        metrics.records(&domain("a"), ["Verified", "Drifted"]);
        let text = metrics.registry.render();
        for line in ["{state=\"Verified\"} 2\n", "{state=\"Pending\"} 0\n", "{state=\"Drifted\"} 1\n"] {
            assert!(text.contains(&format!("ekitei_operator_dns_records{line}")), "{line} is not in {text}");
        }
        metrics.gone(&domain("a"));
        assert!(metrics.registry.render().contains("ekitei_operator_dns_records{state=\"Verified\"} 1\n"));
    }

    #[test]
    fn certificates_that_others_renew_are_late_ten_days_before_they_end() {
        let metrics = Metrics::new(Registry::new());
        let shown = |renewal: Option<i64>| {
            let time = |second| Timestamp::from_second(second).ok().map(Time);
            let status = CertificateStatus {
                names: Vec::new(),
                source: "secret".to_owned(),
                secret: None,
                not_after: time(1_000_000),
                renewal: renewal.and_then(time),
                fingerprint: None,
                deployed: true,
                rollover: None,
                message: None,
            };
            metrics.certificate(&domain("a"), "a.test", &status);
            let text = metrics.registry.render();
            let name = "ekitei_operator_certificate_renewal_timestamp_seconds{name=\"a.test\"} ";
            text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
        };
        assert_eq!(shown(Some(900_000)).as_deref(), Some("900000"));
        assert_eq!(shown(None).as_deref(), Some("136000"));
    }

    #[test]
    fn who_does_not_lead_any_more_says_nothing_of_objects() {
        let metrics = Metrics::new(Registry::new());
        metrics.is_leader.set(1);
        metrics.object(&domain("a"), false);
        metrics.records(&domain("a"), ["Drifted"]);
        metrics.certificate_expiry.show(&domain("a"), [(["a.test"], 1)]);
        metrics.dkim_key_age.show(&domain("a"), [(["a.test", "s"], 1)]);
        let region = Object::named("MailRegion", Some("mail"), "tokyo");
        metrics.region_reachable.show(&region, [(["tokyo"], 0)]);
        metrics.mx_replicas.show(&region, [(["tokyo", "desired"], 2)]);
        metrics.leads_no_more();
        let text = metrics.registry.render();
        let shown: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("ekitei_operator_") && !line.ends_with(" 0"))
            .collect();
        assert_eq!(shown, Vec::<&str>::new());
        assert!(!text.contains("tokyo"), "an unreachable region is 0, too: {text}");

        metrics.records(&domain("a"), ["Verified"]);
        assert!(metrics.registry.render().contains("ekitei_operator_dns_records{state=\"Drifted\"} 0\n"));
    }
}
