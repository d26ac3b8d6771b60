//! What the client counts.

use ekitei_telemetry::{CounterFamily, Gauge, Histogram, Registry, SECONDS};

use crate::outcome::{FailureKind, RecipientOutcome};

/// The metrics of the client.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Recipients, by outcome and, for failures, what failed.
    recipients: CounterFamily,
    /// Connections that were used for a message: `new`, `reused`, `stale`, `failed`.
    pub(crate) connections: CounterFamily,
    /// Handshakes, by version of TLS or `failed`.
    pub(crate) tls: CounterFamily,
    /// Connections that wait for their next message.
    pub(crate) idle: Gauge,
    /// Time for a connection.
    pub(crate) connect_seconds: Histogram,
    /// Time for a handshake.
    pub(crate) tls_seconds: Histogram,
    /// Time from MAIL to the last reply.
    pub(crate) dialogue_seconds: Histogram,
}

impl Metrics {
    /// Declares the metrics.
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            recipients: registry.counters(
                "relay_recipients_total",
                "Recipients at other servers, by what became of them; for failures by what failed.",
                &["outcome", "kind"],
            ),
            connections: registry.counters(
                "relay_connections_total",
                "Connections to other servers: new, reused, stale (closed while it was idle), failed.",
                &["result"],
            ),
            tls: registry.counters(
                "relay_tls_handshakes_total",
                "TLS handshakes with other servers, by version.",
                &["version"],
            ),
            idle: registry.gauge("relay_connections_idle", "Connections that wait for their next message."),
            connect_seconds: registry.histogram(
                "relay_connect_seconds",
                "Time until a server was connected to.",
                SECONDS,
            ),
            tls_seconds: registry.histogram("relay_tls_seconds", "Time for a TLS handshake.", SECONDS),
            dialogue_seconds: registry.histogram(
                "relay_dialogue_seconds",
                "Time for a message on a connection, from MAIL to the last reply.",
                SECONDS,
            ),
        }
    }

    /// Counts what became of a recipient.
    pub(crate) fn outcome(&self, outcome: &RecipientOutcome) {
        let labels = match outcome {
            RecipientOutcome::Sent { .. } => ["sent", ""],
            RecipientOutcome::Deferred(failure) => ["deferred", failure.kind.name()],
            RecipientOutcome::Failed(failure) => ["failed", failure.kind.name()],
        };
        self.recipients.with(&labels).inc();
    }
}

impl FailureKind {
    /// The name in labels of metrics and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connection => "connection",
            Self::Tls => "tls",
            Self::Host => "host",
            Self::Sender => "sender",
            Self::Recipient => "recipient",
            Self::Message => "message",
            Self::Protocol => "protocol",
            Self::Fenced => "fenced",
        }
    }
}
