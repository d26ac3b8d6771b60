//! Metrics named `ekitei_*`, with label values that come from short lists.
//!
//! A family accepts at most [`Labels::MAX`] different sets of label values; the ones after that are counted
//! together under `other`. So a label that wrongly takes a client's input cannot fill the memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use prometheus::core::{Atomic, Collector, GenericCounter, GenericGauge};
use prometheus::{Encoder, HistogramOpts, Opts, TextEncoder};

/// Bounds for histograms of time, in seconds: from half a millisecond to a minute.
pub const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Bounds for histograms of sizes, in bytes: from 1 KiB to 64 MiB.
pub const BYTES: &[f64] =
    &[1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0];

/// The content type of [`Registry::render`].
pub const EXPOSITION_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A set of metrics. Clones share it.
///
/// Families are declared at start; a name that is declared twice is a mistake in the program and panics with
/// the name, so that the first test which builds both parts shows it.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    inner: prometheus::Registry,
    declared: Arc<Mutex<Vec<Declared>>>,
}

/// A metric, or a family of them, as it was declared: what is there to be seen, before anything happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Declared {
    /// The name, with `ekitei_`.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// What it means.
    pub help: String,
}

/// A number that only grows.
pub type Counter = prometheus::IntCounter;
/// A number that goes up and down.
pub type Gauge = prometheus::IntGauge;
/// A distribution.
pub type Histogram = prometheus::Histogram;

/// Counters told apart by labels.
pub type CounterFamily = Labels<prometheus::IntCounterVec>;
/// Gauges told apart by labels.
pub type GaugeFamily = Labels<prometheus::IntGaugeVec>;
/// Histograms told apart by labels.
pub type HistogramFamily = Labels<prometheus::HistogramVec>;

impl Registry {
    /// A set with the metrics of the process itself: `process_resident_memory_bytes`, `process_open_fds`,
    /// `process_cpu_seconds_total` and the like, under the names that dashboards expect.
    pub fn new() -> Self {
        Self::with_labels(&[])
    }

    /// [`Registry::new`] whose metrics all have these labels, but for those without a value.
    pub fn with_labels(labels: &[(&str, &str)]) -> Self {
        let labels: HashMap<String, String> = labels
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let inner = match prometheus::Registry::new_custom(None, Some(labels)) {
            Ok(inner) => inner,
            Err(error) => panic!("the labels of all metrics are declared wrongly: {error}"),
        };
        let registry = Self { inner, declared: Arc::default() };
        let process = prometheus::process_collector::ProcessCollector::for_self();
        if let Err(error) = registry.inner.register(Box::new(process)) {
            tracing::warn!(%error, "the process is not measured");
        }
        registry
    }

    /// A counter `ekitei_<name>`; by convention the name ends in `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.declare("counter", name, help, &[]);
        self.register(name, Counter::new(full(name), help))
    }

    /// A gauge `ekitei_<name>`.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.declare("gauge", name, help, &[]);
        self.register(name, Gauge::new(full(name), help))
    }

    /// A histogram `ekitei_<name>` with upper bounds such as [`SECONDS`] or [`BYTES`].
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        self.declare("histogram", name, help, &[]);
        let options = HistogramOpts::new(full(name), help).buckets(bounds.to_vec());
        self.register(name, Histogram::with_opts(options))
    }

    /// Counters `ekitei_<name>{labels}`.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> CounterFamily {
        self.declare("counter", name, help, labels);
        let family = prometheus::IntCounterVec::new(Opts::new(full(name), help), labels);
        Labels::new(self.register(name, family), labels.len())
    }

    /// Gauges `ekitei_<name>{labels}`.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeFamily {
        self.declare("gauge", name, help, labels);
        let family = prometheus::IntGaugeVec::new(Opts::new(full(name), help), labels);
        Labels::new(self.register(name, family), labels.len())
    }

    /// Histograms `ekitei_<name>{labels}`.
    pub fn histograms(&self, name: &str, help: &str, labels: &[&str], bounds: &[f64]) -> HistogramFamily {
        self.declare("histogram", name, help, labels);
        let options = HistogramOpts::new(full(name), help).buckets(bounds.to_vec());
        Labels::new(self.register(name, prometheus::HistogramVec::new(options, labels)), labels.len())
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory fails only for a family without a name or without metrics, which cannot be registered.
        if let Err(error) = TextEncoder::new().encode(&self.inner.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be written");
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// All that was declared, by name; also families that have no member yet, which [`Registry::render`] does not show.
    pub fn declared(&self) -> Vec<Declared> {
        let mut declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        declared.sort();
        declared
    }

    fn declare(&self, kind: &'static str, name: &str, help: &str, labels: &[&str]) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let declared = Declared { name: full(name), kind, labels, help: help.to_owned() };
        self.declared.lock().unwrap_or_else(PoisonError::into_inner).push(declared);
    }

    fn register<M: Collector + Clone + 'static>(&self, name: &str, metric: prometheus::Result<M>) -> M {
        let metric = match metric {
            Ok(metric) => metric,
            Err(error) => panic!("the metric {name} is declared wrongly: {error}"),
        };
        if let Err(error) = self.inner.register(Box::new(metric.clone())) {
            panic!("the metric {name} cannot be registered: {error}");
        }
        metric
    }
}

fn full(name: &str) -> String {
    format!("ekitei_{name}")
}

/// A kind of family: how one member is found by its label values.
pub trait Family: Clone {
    /// One member.
    type Member: Clone;

    /// The member with these label values.
    fn member(&self, values: &[&str]) -> Self::Member;

    /// Shows the member with these label values no more.
    fn forget(&self, values: &[&str]);
}

impl<P: Atomic> Family for prometheus::core::GenericCounterVec<P> {
    type Member = GenericCounter<P>;

    fn member(&self, values: &[&str]) -> Self::Member {
        self.with_label_values(values)
    }

    fn forget(&self, values: &[&str]) {
        // That it is not there is as well.
        let _ = self.remove_label_values(values);
    }
}

impl<P: Atomic> Family for prometheus::core::GenericGaugeVec<P> {
    type Member = GenericGauge<P>;

    fn member(&self, values: &[&str]) -> Self::Member {
        self.with_label_values(values)
    }

    fn forget(&self, values: &[&str]) {
        // That it is not there is as well.
        let _ = self.remove_label_values(values);
    }
}

impl Family for prometheus::HistogramVec {
    type Member = Histogram;

    fn member(&self, values: &[&str]) -> Self::Member {
        self.with_label_values(values)
    }

    fn forget(&self, values: &[&str]) {
        // That it is not there is as well.
        let _ = self.remove_label_values(values);
    }
}

/// Between the values in the key of a member; no value has it.
const SEPARATOR: &str = "\u{1f}";

/// A family whose number of members is bounded.
#[derive(Clone)]
pub struct Labels<F: Family> {
    family: F,
    width: usize,
    /// Members by their label values.
    members: Arc<RwLock<HashMap<String, F::Member>>>,
}

impl<F: Family> std::fmt::Debug for Labels<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Labels").field("width", &self.width).finish_non_exhaustive()
    }
}

impl<F: Family> Labels<F> {
    /// The most sets of label values of one family.
    pub const MAX: usize = 200;

    fn new(family: F, width: usize) -> Self {
        Self { family, width, members: Arc::default() }
    }

    /// The member with these label values, in the order of the declaration. Where it is used often, keep it.
    ///
    /// # Panics
    /// When the number of values is not that of the declaration, which is a mistake in the program.
    pub fn with(&self, values: &[&str]) -> F::Member {
        assert_eq!(values.len(), self.width, "label values {values:?} do not fit the declaration");
        let key = values.join(SEPARATOR);
        let known = self.members.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(member) = known.get(&key) {
            return member.clone();
        }
        drop(known);
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        if members.len() >= Self::MAX {
            return self.family.member(&vec!["other"; self.width]);
        }
        members.entry(key).or_insert_with(|| self.family.member(values)).clone()
    }

    /// Shows the member with these label values no more: what it was about is gone.
    pub fn forget(&self, values: &[&str]) {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        if members.remove(&values.join(SEPARATOR)).is_some() {
            self.family.forget(values);
        }
    }

    /// Shows no member any more.
    pub fn clear(&self) {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        for (key, _) in members.drain() {
            self.family.forget(&key.split(SEPARATOR).collect::<Vec<_>>());
        }
        self.family.forget(&vec!["other"; self.width]);
    }
}

/// Counts something for as long as it lives, such as a connection.
#[derive(Debug)]
pub struct GaugeGuard(Gauge);

impl GaugeGuard {
    /// Adds one now and takes it away when dropped.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Measures from its creation until [`Timer::observe`].
#[derive(Debug, Clone, Copy)]
pub struct Timer(Instant);

impl Timer {
    /// Starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Puts the time since the start, in seconds, into `histogram`, and returns it.
    pub fn observe(self, histogram: &Histogram) -> Duration {
        let elapsed = self.0.elapsed();
        histogram.observe(elapsed.as_secs_f64());
        elapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_rendered_in_the_text_format() {
        let registry = Registry::new();
        registry.counter("things_total", "Things.").inc_by(3);
        registry.gauges("open", "Open things.", &["protocol"]).with(&["imap"]).set(2);
        registry.histogram("delay_seconds", "Delay.", SECONDS).observe(0.2);
        let text = registry.render();
        assert!(text.contains("# TYPE ekitei_things_total counter\nekitei_things_total 3\n"), "{text}");
        assert!(text.contains("ekitei_open{protocol=\"imap\"} 2\n"), "{text}");
        assert!(text.contains("ekitei_delay_seconds_bucket{le=\"0.25\"} 1\n"), "{text}");
    }

    #[test]
    fn the_process_is_measured() {
        let text = Registry::new().render();
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
            assert!(text.contains(&format!("\n{name} ")), "{name} is missing");
        }
    }

    #[test]
    fn all_metrics_have_the_labels_of_their_registry() {
        let registry = Registry::with_labels(&[("region", "tokyo"), ("zone", "")]);
        registry.gauges("open", "Open things.", &["protocol"]).with(&["imap"]).set(2);
        let text = registry.render();
        assert!(text.contains("ekitei_open{protocol=\"imap\",region=\"tokyo\"} 2\n"), "{text}");
        assert!(text.contains("process_open_fds{region=\"tokyo\"} "), "{text}");
    }

    #[test]
    fn what_is_declared_can_be_listed_before_it_is_seen() {
        let registry = Registry::new();
        registry.counters("things_total", "Things.", &["kind", "colour"]);
        registry.gauge("open", "Open things.");
        let declared = registry.declared();
        let shown: Vec<_> =
            declared.iter().map(|one| (one.name.as_str(), one.kind, one.labels.len())).collect();
        assert_eq!(shown, [("ekitei_open", "gauge", 0), ("ekitei_things_total", "counter", 2)]);
        assert!(!registry.render().contains("things_total"));
    }

    #[test]
    fn label_values_are_bounded() {
        let registry = Registry::new();
        let family = registry.counters("replies_total", "Replies.", &["code"]);
        for n in 0..Labels::<prometheus::IntCounterVec>::MAX + 50 {
            family.with(&[&n.to_string()]).inc();
        }
        assert_eq!(family.with(&["never seen"]).get(), 50);
        assert_eq!(family.with(&["7"]).get(), 1, "members from before the bound keep counting");
    }

    #[test]
    fn what_is_gone_is_shown_no_more() {
        let registry = Registry::new();
        let family = registry.gauges("reachable", "Regions.", &["region"]);
        family.with(&["tokyo"]).set(1);
        family.with(&["singapore"]).set(1);
        family.forget(&["tokyo"]);
        family.forget(&["nowhere"]);
        let text = registry.render();
        assert!(!text.contains("tokyo") && text.contains("singapore"), "{text}");
        family.with(&["tokyo"]).set(1);
        assert!(registry.render().contains("tokyo"), "and it may come back");
        family.clear();
        assert!(!registry.render().contains("region="), "nothing is left");
    }

    #[test]
    fn a_guard_counts_while_it_lives() {
        let gauge = Registry::new().gauge("sessions", "Sessions.");
        let guard = GaugeGuard::new(&gauge);
        assert_eq!(gauge.get(), 1);
        drop(guard);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    #[should_panic(expected = "twice_total")]
    fn a_name_declared_twice_is_found_at_once() {
        let registry = Registry::new();
        registry.counter("twice_total", "One.");
        registry.counter("twice_total", "Two.");
    }
}
