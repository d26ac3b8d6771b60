//! What the POP3 server counts.

use ekitei_telemetry::{Counter, CounterFamily, Registry};

/// The metrics of the POP3 server.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Commands by name and by how they were answered.
    pub(crate) commands: CounterFamily,
    /// Logins by outcome.
    pub(crate) logins: CounterFamily,
    /// Messages sent by RETR.
    pub(crate) retrieved: Counter,
    /// Octets of messages sent by RETR and TOP.
    pub(crate) sent_octets: Counter,
    /// Messages removed at QUIT.
    pub(crate) deleted: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            commands: registry.counters("pop3_commands_total", "POP3 commands.", &["command", "result"]),
            logins: registry.counters("pop3_logins_total", "POP3 logins.", &["result"]),
            retrieved: registry.counter("pop3_retrieved_messages_total", "Messages sent by RETR."),
            sent_octets: registry
                .counter("pop3_sent_octets_total", "Octets of messages sent by RETR and TOP."),
            deleted: registry.counter("pop3_deleted_messages_total", "Messages removed at QUIT."),
        }
    }
}
