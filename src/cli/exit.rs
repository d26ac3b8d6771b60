//! How the command ends: one failure, one exit code, one line on standard error.

use std::fmt::Display;
use std::process::ExitCode;

use ekitei_api::{ClientError, ProblemCode};

/// Exit codes, as `ekitei --help` tells them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  it is done
  1  it failed
  2  the command line, a value in it or the configuration is wrong
  3  there is no such object
  4  the name is taken, the object is in use, or it changed meanwhile
  5  the service cannot be reached, or cannot answer at the moment
  6  the service refused the token";

/// Which exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Anything that has no code of its own.
    Failure = 1,
    /// The caller's mistake.
    Usage = 2,
    /// No such object.
    NotFound = 3,
    /// Somebody else has or needs it.
    Conflict = 4,
    /// Nobody answers, or not now: worth trying again.
    Unreachable = 5,
    /// Not allowed.
    Refused = 6,
}

/// Why the command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// For people, one line.
    pub message: String,
}

/// The result of every verb.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with this code.
    pub fn new(code: Code, message: impl Display) -> Self {
        Self { code, message: message.to_string() }
    }

    /// A failure without a code of its own.
    pub fn other(message: impl Display) -> Self {
        Self::new(Code::Failure, message)
    }

    /// A mistake of the caller.
    pub fn usage(message: impl Display) -> Self {
        Self::new(Code::Usage, message)
    }

    /// Says it on standard error, as JSON where objects are JSON too.
    pub fn report(&self, json: bool) -> ExitCode {
        if json {
            eprintln!("{}", serde_json::json!({ "error": self.message, "exit_code": self.code as u8 }));
        } else {
            eprintln!("ekitei: {}", self.message);
        }
        ExitCode::from(self.code as u8)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Address(_) => Code::Usage,
            ClientError::Unreachable { .. } => Code::Unreachable,
            ClientError::Unexpected(_) => Code::Failure,
            ClientError::Problem(problem) => match problem.code {
                ProblemCode::NotFound => Code::NotFound,
                ProblemCode::AlreadyExists | ProblemCode::InUse | ProblemCode::Stale => Code::Conflict,
                ProblemCode::Unauthorized | ProblemCode::Forbidden => Code::Refused,
                ProblemCode::Unavailable | ProblemCode::Timeout => Code::Unreachable,
                ProblemCode::Invalid => Code::Usage,
                ProblemCode::MethodNotAllowed
                | ProblemCode::TooLarge
                | ProblemCode::OverQuota
                | ProblemCode::Internal
                | ProblemCode::Other => Code::Failure,
            },
        };
        Self::new(code, error)
    }
}

/// Puts what was being done in front of an error.
pub trait Context<T> {
    /// `what: error`, as a failure without a code of its own.
    fn context(self, what: impl Display) -> Outcome<T>;
}

impl<T, E: Display> Context<T> for Result<T, E> {
    fn context(self, what: impl Display) -> Outcome<T> {
        self.map_err(|error| Failure::other(format!("{what}: {error}")))
    }
}
