//! What the resolver counts.

use std::time::{Duration, Instant};

use ekitei_telemetry::{CounterFamily, Histogram, Registry, SECONDS};
use hickory_resolver::proto::rr::RecordType;

use crate::{Error, Security};

/// Given up after this time, a lookup has failed; given up sooner, its answer was not wanted any more.
const GIVEN_UP: Duration = Duration::from_secs(1);

/// The metrics of the resolver.
pub(crate) struct Metrics {
    /// Questions, by type and by what came of them.
    lookups: CounterFamily,
    /// How long they took, answers from the cache included.
    seconds: Histogram,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            lookups: registry.counters(
                "dns_lookups_total",
                "Lookups, by type and result: secure, insecure, absent, bogus, failed.",
                &["type", "result"],
            ),
            seconds: registry.histogram(
                "dns_lookup_seconds",
                "Time for a lookup, answers from the cache included.",
                SECONDS,
            ),
        }
    }

    /// Begins to count a lookup.
    pub(crate) fn begin(&self, record_type: RecordType) -> Lookup<'_> {
        Lookup { metrics: self, record_type, begun: Instant::now(), is_counted: false }
    }

    fn count(&self, record_type: RecordType, begun: Instant, result: &str) {
        self.lookups.with(&[&record_type.to_string(), result]).inc();
        self.seconds.observe(begun.elapsed().as_secs_f64());
    }
}

/// A lookup that is counted when it ends, also if whoever asked has not the time to wait for that.
pub(crate) struct Lookup<'a> {
    metrics: &'a Metrics,
    record_type: RecordType,
    begun: Instant,
    is_counted: bool,
}

impl Lookup<'_> {
    pub(crate) fn ended(mut self, outcome: Result<Security, &Error>) {
        let result = match outcome {
            Ok(Security::Secure) => "secure",
            Ok(Security::Insecure) => "insecure",
            Err(error) if error.is_absent() => "absent",
            Err(Error::Bogus) => "bogus",
            Err(_) => "failed",
        };
        self.is_counted = true;
        self.metrics.count(self.record_type, self.begun, result);
    }
}

impl Drop for Lookup<'_> {
    fn drop(&mut self) {
        if !self.is_counted && self.begun.elapsed() >= GIVEN_UP {
            self.metrics.count(self.record_type, self.begun, "failed");
        }
    }
}
