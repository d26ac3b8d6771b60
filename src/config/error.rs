//! What can be wrong with a configuration, said so that it can be put right.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong, or doubtful, at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The place: `smtp.timeouts.command`, `listeners[2].address`; empty for the whole file.
    pub path: String,
    /// What is there, shortened and never a secret; `None` if nothing is.
    pub value: Option<String>,
    /// What is wrong and what is allowed.
    pub message: String,
    /// Whether the service can start all the same.
    pub severity: Severity,
}

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The service must not start like this.
    Error,
    /// The service can start; someone should know.
    Warning,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The text is no YAML; the message has line and column.
    #[error("the configuration is not valid YAML: {0}")]
    Syntax(String),
    /// The YAML is no configuration of this service: all problems, in the order of the file.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
}

impl Problem {
    /// A problem with which the service must not start.
    pub(crate) fn error(path: impl Into<String>, value: Option<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), value, message: message.into(), severity: Severity::Error }
    }

    /// Something that someone should know.
    pub(crate) fn warning(
        path: impl Into<String>,
        value: Option<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(path, value, message) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        match &self.value {
            Some(value) => write!(f, "{value}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

fn list(problems: &[Problem]) -> String {
    match problems {
        [one] => format!("in the configuration: {one}"),
        many => {
            let lines: Vec<String> = many.iter().map(|problem| format!("  {problem}")).collect();
            format!("in the configuration, {} problems:\n{}", many.len(), lines.join("\n"))
        }
    }
}
