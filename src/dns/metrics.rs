//! What the resolver counts.

use std::time::Instant;

use ekitei_telemetry::{CounterFamily, Histogram, Registry, SECONDS};
use hickory_resolver::proto::rr::RecordType;

use crate::{Error, Security};

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

    pub(crate) fn count(&self, record_type: RecordType, begun: Instant, outcome: Result<Security, &Error>) {
        let result = match outcome {
            Ok(Security::Secure) => "secure",
            Ok(Security::Insecure) => "insecure",
            Err(error) if error.is_absent() => "absent",
            Err(Error::Bogus) => "bogus",
            Err(_) => "failed",
        };
        self.lookups.with(&[&record_type.to_string(), result]).inc();
        self.seconds.observe(begun.elapsed().as_secs_f64());
    }
}
