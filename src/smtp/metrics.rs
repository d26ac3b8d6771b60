//! What the server counts.

use ekitei_telemetry::{BYTES, CounterFamily, GaugeFamily, Histogram, Registry, SECONDS};

use crate::proto::reply::Reply;
use crate::session::Role;

/// The client may try again.
const TEMPORARY: &str = "temporary";
/// Something is wrong here.
const SYSTEM: &str = "system";

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
    /// Replies that refuse something, by role, whether for now or for good, and what is wrong.
    pub(crate) refusals: CounterFamily,
    /// Sizes of messages that were accepted.
    pub(crate) message_bytes: Histogram,
    /// Time from the end of a message to its being durable.
    pub(crate) delivery_seconds: Histogram,
}

impl Metrics {
    /// Declares the metrics.
    pub fn new(registry: &Registry) -> Self {
        let by_outcome = &["role", "outcome"];
        let metrics = Self {
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
            refusals: registry.counters(
                "smtp_refusals_total",
                "Replies that refuse something: for now (temporary) or for good (permanent); what is wrong is the subject of the enhanced status code (RFC 3463): address, mailbox, system, network, protocol, content, policy; or authentication.",
                &["role", "reply", "reason"],
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
        };
        // From 0, so that the first of what should never be is seen as an increase.
        for role in [Role::Mx, Role::Submission, Role::Lmtp] {
            metrics.refusals.with(&[role.name(), TEMPORARY, SYSTEM]);
        }
        metrics
    }
}

/// Counts the refusals of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Refusals {
    family: CounterFamily,
    role: &'static str,
}

impl Refusals {
    /// Those in this role.
    pub(crate) fn new(metrics: &Metrics, role: Role) -> Self {
        Self { family: metrics.refusals.clone(), role: role.name() }
    }

    /// Counts a reply, if it refuses.
    pub(crate) fn count(&self, reply: &Reply) {
        if reply.code >= 400 {
            let reply_kind = if reply.is_temporary() { TEMPORARY } else { "permanent" };
            self.family.with(&[self.role, reply_kind, reason(reply)]).inc();
        }
    }
}

/// What is wrong: the subject of the enhanced status code (RFC 3463 §3), but that logins (RFC 4954 §6) are told from policy.
fn reason(reply: &Reply) -> &'static str {
    if matches!(reply.code, 454 | 530 | 534 | 535 | 538) {
        return "authentication";
    }
    match reply.enhanced.as_deref().and_then(|code| code.split('.').nth(1)) {
        Some("1") => "address",
        Some("2") => "mailbox",
        Some("3") => SYSTEM,
        Some("4") => "network",
        Some("5") => "protocol",
        Some("6") => "content",
        Some("7") => "policy",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::reply;

    #[test]
    fn refusals_are_told_apart_by_what_is_wrong() {
        let registry = Registry::new();
        let refusals = Refusals::new(&Metrics::new(&registry), Role::Mx);
        for said in [reply::OK, reply::UNKNOWN_RECIPIENT, reply::BAD_SEQUENCE, reply::TEMPORARY] {
            refusals.count(&said);
        }
        let text = registry.render();
        let shown = |labels: &str| {
            text.contains(&format!("ekitei_smtp_refusals_total{{{labels},role=\"smtp\"}} 1\n"))
        };
        assert!(shown("reason=\"address\",reply=\"permanent\""), "{text}");
        assert!(shown("reason=\"protocol\",reply=\"permanent\""), "{text}");
        assert!(shown("reason=\"system\",reply=\"temporary\""), "{text}");
        assert_eq!(text.matches("ekitei_smtp_refusals_total{").count(), 5, "{text}");
    }
}
