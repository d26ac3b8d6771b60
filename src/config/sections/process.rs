//! The process itself: admin API, logs, limits, shutdown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::section;
use crate::{ByteSize, Duration, Secret};

section! {
    /// The admin API, served on listeners with `protocol: http`.
    pub struct Admin {
        /// The bearer token. Without one the admin API answers `503`; health and metrics are still served.
        token: Option<Secret> = None,
        /// Whether the admin API is served on listeners with `protocol: https` too.
        on_https: bool = false,
        /// The largest request, except for imports of messages.
        max_request_size: ByteSize = ByteSize::mib(1),
        /// The largest message that is imported.
        max_import_size: ByteSize = ByteSize::mib(100),
        /// The longest time of one request, except for imports and exports, counting again, the deletion of accounts and work on data keys; of an import, the longest pause of the client.
        request_timeout: Duration = Duration::seconds(30),
        /// Whether `/metrics` needs the token too.
        protect_metrics: bool = false,
    }
}

/// The least important events that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What someone must look at.
    Error,
    /// What someone may want to look at.
    Warn,
    /// One line for each thing that is done.
    #[default]
    Info,
    /// Why it was done; may show addresses.
    Debug,
    /// Every step, with protocol lines.
    Trace,
}

impl LogLevel {
    /// The name used in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

section! {
    /// Logs, written to standard error.
    pub struct Log {
        /// The least important events that are logged.
        level: LogLevel = LogLevel::Info,
        /// Levels of single parts, as in `ekitei_imap=debug,ekitei_kv=trace`; they come before `level`.
        filter: String = String::new(),
        /// How log lines are written.
        format: LogFormat = LogFormat::Text,
    }
}

section! {
    /// Stopping the service.
    pub struct Shutdown {
        /// How long connections and work in progress may take to end after SIGTERM. Longer than
        /// Kubernetes' `terminationGracePeriodSeconds` is of no use.
        grace: Duration = Duration::seconds(25),
    }
}
