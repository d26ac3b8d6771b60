//! Figures of backups.

use std::time::Duration;

use ekitei_telemetry::{Counter, CounterFamily, Gauge, Histogram, Registry};

use super::model::{Done, LastRun, LastVerification, Order};
use crate::Figures;
use crate::error::Result;

/// Bounds of durations in seconds: a second to a day.
const DURATIONS: &[f64] =
    &[1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0, 86_400.0];

#[derive(Clone)]
pub(super) struct Metrics {
    last_success: Gauge,
    age: Gauge,
    last_duration: Gauge,
    failed: Gauge,
    runs: CounterFamily,
    seconds: Histogram,
    read: Counter,
    written: Counter,
    problems: Gauge,
    verified: Gauge,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            last_success: registry.gauge(
                "backup_last_success_timestamp_seconds",
                "When the last backup was begun that succeeded; 0 for never.",
            ),
            age: registry
                .gauge("backup_age_seconds", "How much would be lost with the store now; -1 for everything."),
            last_duration: registry
                .gauge("backup_last_duration_seconds", "How long the last backup took that succeeded."),
            failed: registry.gauge("backup_last_failed", "Whether the last backup failed."),
            runs: registry.counters(
                "backup_runs_total",
                "Jobs of backups by what they do and their outcome.",
                &["action", "outcome"],
            ),
            seconds: registry.histogram("backup_create_seconds", "How long backups take.", DURATIONS),
            read: registry.counter("backup_read_bytes_total", "Octets read from the repository."),
            written: registry.counter("backup_written_bytes_total", "Octets written to the repository."),
            problems: registry.gauge(
                "backup_verify_problems",
                "Problems that the last verification found, whichever process made it.",
            ),
            verified: registry.gauge(
                "backup_last_verified_timestamp_seconds",
                "When the last verification ended, whichever process made it; 0 for never.",
            ),
        }
    }

    /// Shows the last runs, whichever process made them.
    pub(super) fn observe(&self, last: &LastRun, now: Duration) {
        let whole = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        let (began, took) = last.success.unwrap_or_default();
        self.last_success.set(whole(began));
        self.last_duration.set(whole(took));
        self.age.set(last.success.map_or(-1, |_| whole(now.as_secs().saturating_sub(began))));
        self.failed.set(i64::from(last.failure.is_some()));
    }

    /// Shows the last verification.
    pub(super) fn observe_verification(&self, last: &LastVerification) {
        self.problems.set(i64::try_from(last.problems).unwrap_or(i64::MAX));
        self.verified.set(i64::try_from(last.ended).unwrap_or(i64::MAX));
    }

    pub(super) fn ended(&self, order: &Order, outcome: &Result<Done>, figures: &Figures, took: Duration) {
        let word = if outcome.is_ok() { "ok" } else { "failed" };
        self.runs.with(&[order.name(), word]).inc();
        self.read.inc_by(figures.read);
        self.written.inc_by(figures.written);
        if let Ok(Done::Created(_)) = outcome {
            self.seconds.observe(took.as_secs_f64());
        }
    }
}
