//! What the IMAP server counts.

use ekitei_telemetry::{Counter, CounterFamily, Gauge, GaugeFamily, HistogramFamily, Registry, SECONDS};

use crate::proto::Command;

/// The metrics of all sessions of a process.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Sessions by state.
    pub(crate) sessions: GaugeFamily,
    /// Sessions in IDLE.
    pub(crate) idling: Gauge,
    /// Commands by name and result.
    pub(crate) commands: CounterFamily,
    /// How long commands take, by name.
    pub(crate) command_seconds: HistogramFamily,
    /// Logins by result.
    pub(crate) logins: CounterFamily,
    /// Octets from clients.
    pub(crate) received: Counter,
    /// Octets to clients.
    pub(crate) sent: Counter,
    /// Messages that FETCH answered for.
    pub(crate) fetched: Counter,
    /// Messages that APPEND added.
    pub(crate) appended: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let octets = registry.counters(
            "imap_bytes_total",
            "Octets exchanged with IMAP clients, without the overhead of TLS.",
            &["direction"],
        );
        Self {
            sessions: registry.gauges("imap_sessions", "IMAP sessions by state.", &["state"]),
            idling: registry.gauge("imap_idle_sessions", "IMAP sessions that wait in IDLE."),
            commands: registry.counters(
                "imap_commands_total",
                "IMAP commands by name and result.",
                &["command", "result"],
            ),
            command_seconds: registry.histograms(
                "imap_command_seconds",
                "Time from the whole command to its tagged response.",
                &["command"],
                SECONDS,
            ),
            logins: registry.counters("imap_logins_total", "IMAP logins by result.", &["result"]),
            received: octets.with(&["in"]),
            sent: octets.with(&["out"]),
            fetched: registry
                .counter("imap_messages_fetched_total", "Messages that a FETCH response was sent for."),
            appended: registry.counter("imap_messages_appended_total", "Messages that APPEND added."),
        }
    }
}

/// The name of a command in labels of metrics and in logs.
pub(crate) fn command_name(command: &Command) -> &'static str {
    match command {
        Command::Capability => "CAPABILITY",
        Command::Noop => "NOOP",
        Command::Logout => "LOGOUT",
        Command::StartTls => "STARTTLS",
        Command::Authenticate { .. } => "AUTHENTICATE",
        Command::Login { .. } => "LOGIN",
        Command::Id(_) => "ID",
        Command::Enable(_) => "ENABLE",
        Command::Select(_) => "SELECT",
        Command::Examine(_) => "EXAMINE",
        Command::Create { .. } => "CREATE",
        Command::Delete(_) => "DELETE",
        Command::Rename { .. } => "RENAME",
        Command::Subscribe(_) => "SUBSCRIBE",
        Command::Unsubscribe(_) => "UNSUBSCRIBE",
        Command::List(_) => "LIST",
        Command::Lsub { .. } => "LSUB",
        Command::Namespace => "NAMESPACE",
        Command::Status { .. } => "STATUS",
        Command::GetQuota(_) => "GETQUOTA",
        Command::GetQuotaRoot(_) => "GETQUOTAROOT",
        Command::SetQuota { .. } => "SETQUOTA",
        Command::Idle => "IDLE",
        Command::Check => "CHECK",
        Command::Close => "CLOSE",
        Command::Unselect => "UNSELECT",
        Command::Expunge => "EXPUNGE",
        Command::UidExpunge(_) => "UID EXPUNGE",
        Command::Search(search) if search.uid => "UID SEARCH",
        Command::Search(_) => "SEARCH",
        Command::Fetch(fetch) if fetch.uid => "UID FETCH",
        Command::Fetch(_) => "FETCH",
        Command::Store(store) if store.uid => "UID STORE",
        Command::Store(_) => "STORE",
        Command::Copy(transfer) if transfer.uid => "UID COPY",
        Command::Copy(_) => "COPY",
        Command::Move(transfer) if transfer.uid => "UID MOVE",
        Command::Move(_) => "MOVE",
    }
}
