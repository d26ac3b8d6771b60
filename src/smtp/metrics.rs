//! What the server counts.

use ekitei_telemetry::{BYTES, CounterFamily, GaugeFamily, Histogram, Registry, SECONDS};

use crate::session::Role;

impl Role {
    /// The name in labels of metrics and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mx => "smtp",
            Self::Submission => "submission",
            Self::Lmtp => "lmtp",
        }
    }
}

/// The metrics of the server.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Connections, by role.
    pub(crate) connections: CounterFamily,
    /// Connections that are open, by role.
    pub(crate) open: GaugeFamily,
    /// Messages after their end, by role and outcome: `accepted`, `rejected`, `deferred`, `partial`.
    pub(crate) messages: CounterFamily,
    /// Recipients, by role and outcome.
    pub(crate) recipients: CounterFamily,
    /// Logins, by outcome.
    pub(crate) logins: CounterFamily,
    /// Commands that were answered with an error, by reply code.
    pub(crate) errors: CounterFamily,
    /// Sizes of messages that were accepted.
    pub(crate) message_bytes: Histogram,
    /// Time from the end of a message to its being durable.
    pub(crate) delivery_seconds: Histogram,
}

impl Metrics {
    /// Declares the metrics.
    pub fn new(registry: &Registry) -> Self {
        let by_outcome = &["role", "outcome"];
        Self {
            connections: registry.counters("smtp_connections_total", "Connections, by role.", &["role"]),
            open: registry.gauges("smtp_connections_open", "Connections that are open, by role.", &["role"]),
            messages: registry.counters(
                "smtp_messages_total",
                "Messages that were received to their end, by what became of them.",
                by_outcome,
            ),
            recipients: registry.counters(
                "smtp_recipients_total",
                "Recipients that clients named, by the answer.",
                by_outcome,
            ),
            logins: registry.counters("smtp_logins_total", "Logins, by outcome.", &["outcome"]),
            errors: registry.counters(
                "smtp_command_errors_total",
                "Commands that were answered with an error, by reply code.",
                &["code"],
            ),
            message_bytes: registry.histogram(
                "smtp_message_bytes",
                "Sizes of messages that were accepted.",
                BYTES,
            ),
            delivery_seconds: registry.histogram(
                "smtp_delivery_seconds",
                "Time from the end of a message until it was stored or not.",
                SECONDS,
            ),
        }
    }
}
