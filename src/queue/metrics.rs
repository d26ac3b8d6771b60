//! What the scheduler counts.

use ekitei_relay::RecipientOutcome;
use ekitei_telemetry::{Counter, CounterFamily, Gauge, GaugeFamily, Histogram, Registry};

use crate::classify::Category;
use crate::transport::Handled;

/// Bounds for the time in the queue, in seconds: from a tenth to five days.
const WAITED: &[f64] = &[
    0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0, 432_000.0,
];

/// The metrics of the scheduler.
#[derive(Clone)]
pub(crate) struct Metrics {
    outcomes: CounterFamily,
    waited: Histogram,
    notifications: CounterFamily,
    /// Messages on their way.
    pub(crate) active: Gauge,
    /// Entries in memory that wait for their turn.
    pub(crate) backlog: Gauge,
    /// Destinations in memory, and those that are left alone.
    pub(crate) destinations: GaugeFamily,
    /// Shards that this process works on.
    pub(crate) shards: Gauge,
    /// Entries that were put off without an attempt, since their destination is left alone.
    pub(crate) put_off: Counter,
    /// Results that could not be written, since the work was another's by then.
    pub(crate) fenced: Counter,
    /// Messages and octets in the whole queue.
    pub(crate) depth: GaugeFamily,
    /// The age of the oldest message.
    pub(crate) oldest: Gauge,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            outcomes: registry.counters(
                "queue_recipients_total",
                "Recipients of attempts to send, by outcome (sent, deferred, failed) and category of failure.",
                &["outcome", "category"],
            ),
            waited: registry.histogram(
                "queue_seconds",
                "Time from the acceptance of a message to its sending, for each recipient.",
                WAITED,
            ),
            notifications: registry.counters(
                "queue_notifications_total",
                "Delivery status notifications, by the action that they report first.",
                &["action"],
            ),
            active: registry.gauge("queue_active", "Messages that are being sent."),
            backlog: registry.gauge("queue_backlog", "Entries in memory that wait for their turn."),
            destinations: registry.gauges(
                "queue_destinations",
                "Destinations in memory: all of them, and those that are left alone since they cannot be reached.",
                &["state"],
            ),
            shards: registry.gauge("queue_shards", "Parts of the queue that this process works on."),
            put_off: registry.counter(
                "queue_put_off_total",
                "Entries deferred without an attempt, since their destination is left alone.",
            ),
            fenced: registry
                .counter("queue_fenced_total", "Results that were not written, since another process had taken over."),
            depth: registry.gauges("queue_depth", "The whole queue, sampled: messages and octets.", &["of"]),
            oldest: registry.gauge(
                "queue_oldest_seconds",
                "The age of the oldest message of the whole queue, sampled; 0 for an empty queue.",
            ),
        }
    }

    /// What became of the recipients of one attempt, `waited` seconds after the message was accepted.
    pub(crate) fn attempt(&self, handled: &[(usize, Handled)], waited: f64) {
        for (_, handled) in handled {
            let (outcome, category) = match &handled.outcome {
                RecipientOutcome::Sent { .. } => {
                    self.waited.observe(waited);
                    ("sent", "none")
                }
                RecipientOutcome::Deferred(failure) => ("deferred", Category::of(failure).as_str()),
                RecipientOutcome::Failed(failure) => ("failed", Category::of(failure).as_str()),
            };
            self.outcomes.with(&[outcome, category]).inc();
        }
    }

    pub(crate) fn notification(&self, action: crate::dsn::Action) {
        self.notifications.with(&[action.as_str()]).inc();
    }
}
