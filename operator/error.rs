//! Why a reconciliation ended early: whose fault it is, and when to try again.

use std::fmt;
use std::time::Duration;

use ekitei_api::{ClientError, ProblemCode};

/// The reasons of failures of the mail service.
const OF_SERVICE: [&str; 7] = [
    "ServiceUnavailable",
    "ServiceUnauthorized",
    "ServiceTokenMissing",
    "ServiceFailed",
    "ServiceRefused",
    "ServiceAnswerUnexpected",
    "ServiceAddressInvalid",
];

/// Whether the reason of a condition is a failure of the mail service: the same reason, as this program knows it.
pub fn of_service(reason: &str) -> Option<&'static str> {
    OF_SERVICE.into_iter().find(|one| *one == reason)
}

/// The result of a step.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Kubernetes API refused, or is away.
    #[error("the Kubernetes API: {0}")]
    Kubernetes(#[source] Box<kube::Error>),
    /// The admin API of the service refused, or is away.
    #[error("the mail service: {0}")]
    Service(#[source] ClientError),
    /// Something outside failed, and may work later: reason (CamelCase) and what to tell people.
    #[error("{message}")]
    Outside {
        /// Why, in one word for programs.
        reason: &'static str,
        /// Why, for people.
        message: String,
        /// When to try again at the soonest, where the other side said so.
        after: Option<Duration>,
    },
    /// The object, or one that it refers to, must be changed by a person: trying again is of little use.
    #[error("{message}")]
    Invalid {
        /// Why, in one word for programs.
        reason: &'static str,
        /// Why, for people.
        message: String,
    },
    /// Another process leads now, so this one may write nothing.
    #[error("another process leads")]
    NotLeader,
    /// A test wanted a failure here.
    #[error("the test wants a failure at {0}")]
    FailPoint(&'static str),
}

impl Error {
    /// Something outside failed.
    pub fn outside(reason: &'static str, message: impl fmt::Display) -> Self {
        Self::Outside { reason, message: message.to_string(), after: None }
    }

    /// A person has to change something.
    pub fn invalid(reason: &'static str, message: impl fmt::Display) -> Self {
        Self::Invalid { reason, message: message.to_string() }
    }

    /// Why, in one word, for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Kubernetes(error) => match error.as_ref() {
                kube::Error::Api(status) if status.is_conflict() => "Conflict",
                kube::Error::Api(status) if status.is_forbidden() => "Forbidden",
                kube::Error::Api(status) if status.is_invalid() => "Refused",
                _ => "KubernetesUnavailable",
            },
            Self::Service(ClientError::Unreachable { .. }) => "ServiceUnavailable",
            Self::Service(ClientError::Address(_)) => "ServiceAddressInvalid",
            Self::Service(ClientError::Unexpected(_)) => "ServiceAnswerUnexpected",
            Self::Service(ClientError::Problem(problem)) => match problem.code {
                ProblemCode::Unauthorized | ProblemCode::Forbidden => "ServiceUnauthorized",
                ProblemCode::Unavailable | ProblemCode::Timeout => "ServiceUnavailable",
                ProblemCode::Internal | ProblemCode::Other => "ServiceFailed",
                _ => "ServiceRefused",
            },
            Self::Outside { reason, .. } | Self::Invalid { reason, .. } => reason,
            Self::NotLeader => "NotLeader",
            Self::FailPoint(_) => "FailPoint",
        }
    }

    /// Whether this is the answer to the question for something that is not there.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Kubernetes(error) => {
                matches!(error.as_ref(), kube::Error::Api(status) if status.is_not_found())
            }
            Self::Service(ClientError::Problem(problem)) => problem.code == ProblemCode::NotFound,
            _ => false,
        }
    }

    /// Whether the mail service is in the way: it is away, does not let us in, or does not do what it should.
    pub fn is_of_service(&self) -> bool {
        of_service(self.reason()).is_some()
    }

    /// Whether a person has to do something first; then the condition and the event say what.
    pub fn needs_a_person(&self) -> bool {
        matches!(self, Self::Invalid { .. })
    }

    /// When to try again at the soonest, where the other side said so.
    pub fn after(&self) -> Option<Duration> {
        match self {
            Self::Outside { after, .. } => *after,
            _ => None,
        }
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        Self::Service(error)
    }
}

/// `None` for what is not there.
pub trait Optional<T> {
    /// Turns the answer that something is not there into `None`.
    ///
    /// # Errors
    /// All others.
    fn optional(self) -> Result<Option<T>>;
}

impl<T, E: Into<Error>> Optional<T> for std::result::Result<T, E> {
    fn optional(self) -> Result<Option<T>> {
        match self.map_err(Into::into) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use ekitei_api::Problem;

    use super::*;

    #[test]
    fn failures_of_the_service_are_told_apart() {
        let problem = |code| Error::from(ClientError::Problem(Problem::new(code, "no")));
        let away = ClientError::Unreachable { server: "s".to_owned(), reason: "r".to_owned() };
        let table = [
            (Error::from(away), "ServiceUnavailable"),
            (problem(ProblemCode::Unavailable), "ServiceUnavailable"),
            (problem(ProblemCode::Unauthorized), "ServiceUnauthorized"),
            (problem(ProblemCode::Forbidden), "ServiceUnauthorized"),
            (problem(ProblemCode::Internal), "ServiceFailed"),
            (problem(ProblemCode::Invalid), "ServiceRefused"),
            (Error::from(ClientError::Unexpected("HTTP status 502".to_owned())), "ServiceAnswerUnexpected"),
            (Error::from(ClientError::Address("mail".to_owned())), "ServiceAddressInvalid"),
            (Error::outside("ServiceTokenMissing", "no file"), "ServiceTokenMissing"),
        ];
        for (error, reason) in table {
            assert_eq!(error.reason(), reason);
            assert!(error.is_of_service(), "{reason}");
        }
        assert!(!Error::outside("ServerUnreachable", "the DNS server is away").is_of_service());
    }
}
