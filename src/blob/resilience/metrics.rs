//! The figures of an object store.

use std::time::Instant;

use ekitei_telemetry::{Counter, CounterFamily, Gauge, GaugeGuard, HistogramFamily, Registry, SECONDS};

use crate::object_error::ObjectErrorKind;
use crate::operation::Operation;

/// Requests, what became of them, and how long they took.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: CounterFamily,
    seconds: HistogramFamily,
    retries: CounterFamily,
    given_up: CounterFamily,
    refused: CounterFamily,
    hedges: CounterFamily,
    in_flight: Gauge,
    away: Gauge,
    gone: Counter,
    writes: Counter,
    written: Counter,
    read: Counter,
}

/// A request that is on its way.
pub(super) struct Measured<'a> {
    metrics: &'a Metrics,
    operation: Operation,
    begun: Instant,
    ended: bool,
    _in_flight: GaugeGuard,
}

impl Metrics {
    /// Declares them.
    pub fn new(registry: &Registry) -> Self {
        Self {
            requests: registry.counters(
                "blob_object_requests_total",
                "Requests to the object store, retries and second requests too, by how they ended.",
                &["operation", "outcome"],
            ),
            seconds: registry.histograms(
                "blob_object_request_seconds",
                "How long requests to the object store took.",
                &["operation"],
                SECONDS,
            ),
            retries: registry.counters(
                "blob_object_retries_total",
                "Requests to the object store made again, by why.",
                &["operation", "reason"],
            ),
            given_up: registry.counters(
                "blob_object_given_up_total",
                "Calls that failed with time or retries used up.",
                &["operation"],
            ),
            refused: registry.counters(
                "blob_object_refused_total",
                "Calls that were not tried because the object store is away.",
                &["operation"],
            ),
            hedges: registry.counters(
                "blob_object_hedges_total",
                "Second requests for slow reads: won, lost, or refused for want of room.",
                &["outcome"],
            ),
            in_flight: registry.gauge("blob_object_requests_in_flight", "Requests to the object store now."),
            away: registry.gauge("blob_object_store_away", "1 while the object store does not answer."),
            writes: registry.counter("blob_object_writes_total", "Objects written."),
            written: registry.counter("blob_object_written_bytes_total", "Octets of objects written."),
            read: registry.counter("blob_object_read_bytes_total", "Octets read of objects."),
            gone: registry
                .counter("blob_object_store_outages_total", "Times that the object store went away."),
        }
    }

    pub(super) fn begin(&self, operation: Operation) -> Measured<'_> {
        let in_flight = GaugeGuard::new(&self.in_flight);
        Measured { metrics: self, operation, begun: Instant::now(), ended: false, _in_flight: in_flight }
    }

    pub(super) fn retried(&self, operation: Operation, reason: ObjectErrorKind) {
        self.retries.with(&[operation.name(), reason.name()]).inc();
    }

    pub(super) fn given_up(&self, operation: Operation) {
        self.given_up.with(&[operation.name()]).inc();
    }

    pub(super) fn refused(&self, operation: Operation) {
        self.refused.with(&[operation.name()]).inc();
    }

    pub(super) fn hedged(&self, outcome: &str) {
        self.hedges.with(&[outcome]).inc();
    }

    pub(super) fn wrote(&self, octets: u64) {
        self.writes.inc();
        self.written.inc_by(octets);
    }

    pub(super) fn read(&self, octets: usize) {
        self.read.inc_by(octets as u64);
    }

    pub(super) fn away(&self, away: bool) {
        self.away.set(away.into());
        if away {
            self.gone.inc();
        }
    }
}

impl Measured<'_> {
    pub(super) fn end(mut self, outcome: &str) {
        self.count(outcome);
        let seconds = self.begun.elapsed().as_secs_f64();
        self.metrics.seconds.with(&[self.operation.name()]).observe(seconds);
    }

    fn count(&mut self, outcome: &str) {
        self.ended = true;
        self.metrics.requests.with(&[self.operation.name(), outcome]).inc();
    }
}

impl Drop for Measured<'_> {
    /// Nobody waits for the answer any more: the other request won, or the caller is gone.
    fn drop(&mut self) {
        if !self.ended {
            self.count("dropped");
        }
    }
}
