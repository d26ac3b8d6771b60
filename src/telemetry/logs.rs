//! Structured logs on standard error, as text or JSON, with a level that can change while the service runs.

use std::str::FromStr;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::TRACES;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logs cannot be as asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not `level` or `target=level,...`; the operator must correct it.
    #[error("the log filter {filter:?} is not a list such as info,ekitei_imap=debug: {reason}")]
    Filter {
        /// What was asked.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Logs were started before, in this process.
    #[error("logs are already started")]
    Started,
}

/// Changes the level while the service runs.
#[derive(Debug, Clone)]
pub struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
}

/// What takes the spans for traces.
pub type TraceLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logs with `filter`: a level (`info`) and, after commas, levels of parts (`ekitei_imap=debug`). `traces` gets the spans for traces; without
/// it these are disabled.
///
/// # Errors
/// [`LogError`] for a filter that cannot be read, and when called twice in one process.
pub fn init_logs(
    filter: &str,
    format: LogFormat,
    traces: Option<TraceLayer>,
) -> Result<LogControl, LogError> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let lines: Box<dyn Layer<_> + Send + Sync> = match format {
        LogFormat::Text => fmt::layer().with_writer(std::io::stderr).with_ansi(is_terminal()).boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_writer(std::io::stderr)
            .boxed(),
    };
    // With traces the filter of logs must not be that of everything.
    let layers = match traces {
        Some(traces) => vec![lines.with_filter(filter).boxed(), traces],
        None => vec![filter.and_then(lines).boxed()],
    };
    tracing_subscriber::registry().with(layers).try_init().map_err(|_| LogError::Started)?;
    Ok(LogControl { filter: handle })
}

impl LogControl {
    /// Puts another filter in force; the form is that of [`init_logs`].
    ///
    /// # Errors
    /// [`LogError::Filter`], and the old filter stays.
    pub fn set(&self, filter: &str) -> Result<(), LogError> {
        let parsed = parse(filter)?;
        self.filter
            .reload(parsed)
            .map_err(|error| LogError::Filter { filter: filter.to_owned(), reason: error.to_string() })
    }
}

/// Reads a filter; spans for traces are never for logs.
fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::from_str(&format!("{filter},{TRACES}=off"))
        .map_err(|error| LogError::Filter { filter: filter.to_owned(), reason: error.to_string() })
}

fn is_terminal() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_level_changes_while_running_and_a_bad_filter_keeps_the_old_one() {
        let logs = init_logs("warn", LogFormat::Json, None).unwrap();
        assert!(!tracing::enabled!(tracing::Level::INFO));
        logs.set("info").unwrap();
        assert!(tracing::enabled!(tracing::Level::INFO));
        assert!(matches!(logs.set("a=b=c"), Err(LogError::Filter { .. })));
        assert!(tracing::enabled!(tracing::Level::INFO), "the old filter is still in force");
        assert!(crate::trace_span!("x").is_disabled(), "nobody wants it");
        assert!(matches!(init_logs("info", LogFormat::Text, None), Err(LogError::Started)));
    }
}
