//! What the filter counts.

use ekitei_telemetry::{CounterFamily, HistogramFamily, Registry, SECONDS};
use tokio::time::Instant;

use crate::{Disposition, Verdict};

/// The metrics of the pipeline; scanners, lists and limits have their own.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    checks: CounterFamily,
    seconds: HistogramFamily,
    verdicts: CounterFamily,
}

/// A check that runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running(Instant);

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            checks: registry.counters(
                "filter_checks_total",
                "Checks of clients, senders and messages, by what they found.",
                &["check", "result"],
            ),
            seconds: registry.histograms(
                "filter_check_seconds",
                "Time that a check took, most of it waiting for DNS.",
                &["check"],
                SECONDS,
            ),
            verdicts: registry.counters(
                "filter_verdicts_total",
                "What the filter said, by step of the dialogue.",
                &["step", "verdict"],
            ),
        }
    }

    pub(crate) fn start(&self) -> Running {
        Running(Instant::now())
    }

    /// Counts what is said at a step before the message.
    pub(crate) fn verdict(&self, step: &str, verdict: &Verdict) {
        let word = match verdict {
            Verdict::Continue => "continue",
            Verdict::Refuse(refusal) if refusal.is_temporary() => "defer",
            Verdict::Refuse(_) => "reject",
            Verdict::Disconnect(_) => "disconnect",
        };
        self.verdicts.with(&[step, word]).inc();
    }

    /// Counts what becomes of a message.
    pub(crate) fn disposition(&self, disposition: &Disposition) {
        let word = match disposition {
            Disposition::Accept => "accept",
            Disposition::Junk => "junk",
            Disposition::Discard => "discard",
            Disposition::Refuse(refusal) if refusal.is_temporary() => "defer",
            Disposition::Refuse(_) => "reject",
        };
        self.verdicts.with(&["message", word]).inc();
    }
}

impl Running {
    /// Counts what was found, and how long it took.
    pub(crate) fn finish(self, metrics: &Metrics, check: &str, result: &str) {
        metrics.checks.with(&[check, result]).inc();
        metrics.seconds.with(&[check]).observe(self.0.elapsed().as_secs_f64());
    }
}
