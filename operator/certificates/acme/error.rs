//! What goes wrong with ACME: whose fault it is, and when to try again.

use std::fmt;
use std::time::Duration;

use super::challenges::ChallengeError;
use super::http;
use crate::{CertificateError, KeyError};

/// Who has to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Who wrote what is wanted: names, profile, contact, external account.
    Configuration,
    /// Who runs the zones of the names, or what writes them.
    Names,
    /// Who runs the ACME server, or the network on the way.
    Server,
    /// Nobody: there were too many requests.
    Limits,
}

/// When it makes sense to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After the caller's usual backoff.
    Backoff,
    /// Not before this time has passed.
    After(Duration),
    /// Rarely: it will fail in the same way until somebody changes something.
    WhenChanged,
}

/// What an ACME server said (RFC 7807, RFC 8555 §6.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// The type without `urn:ietf:params:acme:error:`, such as `rateLimited`; empty if it gave none.
    pub kind: String,
    /// The text for people.
    pub detail: String,
}

impl Problem {
    pub(super) fn new(from: &instant_acme::Problem) -> Self {
        let kind = from.r#type.as_deref().unwrap_or_default();
        let mut detail = from.detail.clone().unwrap_or_default();
        for part in &from.subproblems {
            detail.push_str(if detail.is_empty() { "" } else { "; " });
            detail.push_str(&part.to_string());
        }
        Self { kind: kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind).to_owned(), detail }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.detail.as_str(), self.kind.as_str()) {
            ("", "") => f.write_str("no reason given"),
            ("", kind) => f.write_str(kind),
            (detail, "") => f.write_str(detail),
            (detail, kind) => write!(f, "{detail} ({kind})"),
        }
    }
}

/// Why there is no account, no advice or no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcmeError {
    /// The server cannot be reached, or has an internal error.
    #[error("the ACME server is away: {detail}")]
    Unavailable {
        /// What happened.
        detail: String,
        /// When it wants to be asked again (`Retry-After`).
        after: Option<Duration>,
    },
    /// Too many requests, orders or failures (RFC 8555 §6.6).
    #[error("the ACME server limits the rate: {problem}")]
    RateLimited {
        /// What it said.
        problem: Problem,
        /// When it wants to be asked again (`Retry-After`).
        after: Option<Duration>,
    },
    /// The account does not exist (any more) for the server: another one has to be made.
    #[error("the ACME server does not know the account: {0}")]
    UnknownAccount(Problem),
    /// The server will not have the account as asked for: contact, external account, terms.
    #[error("the ACME account is refused: {0}")]
    AccountRefused(Problem),
    /// The server will not have the order as asked for: names, profile, key.
    #[error("the ACME order is refused: {0}")]
    OrderRefused(Problem),
    /// The server looked for the TXT record of a name, and did not find what it should (or a CAA record forbids it).
    #[error("the ACME server could not validate {name}: {problem}")]
    Validation {
        /// The name.
        name: String,
        /// What it said.
        problem: Problem,
    },
    /// The TXT record of a challenge could not be written or seen.
    #[error("a DNS challenge could not be answered: {0}")]
    Challenge(#[from] ChallengeError),
    /// The order did not come to an end in time.
    #[error("the ACME server did not finish in time: {step}")]
    Slow {
        /// What was waited for.
        step: &'static str,
        /// When it wants to be asked again.
        after: Option<Duration>,
    },
    /// What the server answers makes no sense.
    #[error("the answer of the ACME server cannot be used: {0}")]
    BadAnswer(String),
    /// What this side was given to work with: a URL, authorities, credentials, an external account's key.
    #[error("{0}")]
    BadInput(String),
}

impl AcmeError {
    /// Who has to do something.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unavailable { .. } | Self::Slow { .. } | Self::BadAnswer(_) => Fault::Server,
            Self::RateLimited { .. } => Fault::Limits,
            Self::UnknownAccount(_) | Self::AccountRefused(_) | Self::OrderRefused(_) | Self::BadInput(_) => {
                Fault::Configuration
            }
            Self::Validation { .. } | Self::Challenge(_) => Fault::Names,
        }
    }

    /// When to try again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unavailable { after: Some(after), .. }
            | Self::RateLimited { after: Some(after), .. }
            | Self::Slow { after: Some(after), .. }
            | Self::Challenge(ChallengeError::Unavailable { after: Some(after), .. }) => Retry::After(*after),
            // Limits are counted by the hour, and each try counts.
            Self::RateLimited { after: None, .. } => Retry::After(Duration::from_secs(3600)),
            // Five failed validations of a name in an hour are what the best known authority allows.
            Self::Validation { .. } => Retry::After(Duration::from_secs(900)),
            Self::AccountRefused(_)
            | Self::OrderRefused(_)
            | Self::BadInput(_)
            | Self::Challenge(ChallengeError::Refused(_)) => Retry::WhenChanged,
            Self::Unavailable { .. }
            | Self::UnknownAccount(_)
            | Self::Challenge(_)
            | Self::Slow { .. }
            | Self::BadAnswer(_) => Retry::Backoff,
        }
    }

    /// One word for a condition of an object.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "ACMEServerUnavailable",
            Self::RateLimited { .. } => "ACMERateLimited",
            Self::UnknownAccount(_) => "ACMEAccountUnknown",
            Self::AccountRefused(_) => "ACMEAccountRefused",
            Self::OrderRefused(_) => "ACMEOrderRefused",
            Self::Validation { .. } => "ACMEValidationFailed",
            Self::Challenge(ChallengeError::NotVisible(_)) => "ChallengeNotVisible",
            Self::Challenge(_) => "ChallengeNotPublished",
            Self::Slow { .. } => "ACMEServerSlow",
            Self::BadAnswer(_) => "ACMEBadAnswer",
            Self::BadInput(_) => "ACMEBadConfiguration",
        }
    }

    /// What the library says, with what was noted of the answer it is about.
    pub(super) fn new(error: instant_acme::Error, step: Step) -> Self {
        let note = http::take_note();
        let after = note.retry_after;
        match error {
            instant_acme::Error::Api(problem) => Self::of_problem(&problem, step, after),
            instant_acme::Error::Timeout(next) => {
                let after = next.map(|next| next.saturating_duration_since(std::time::Instant::now()));
                Self::Slow { step: step.text(), after }
            }
            // An error without a problem document: what stands before the server answered, a proxy for instance.
            _ if note.status >= 500 || note.status == 429 => {
                Self::Unavailable { detail: format!("it answers with HTTP status {}", note.status), after }
            }
            _ if note.status >= 400 => {
                Self::BadAnswer(format!("HTTP status {} without a reason", note.status))
            }
            instant_acme::Error::Other(error) if note.status == 0 => {
                Self::Unavailable { detail: chain(error.as_ref()), after }
            }
            instant_acme::Error::KeyRejected | instant_acme::Error::Crypto => {
                Self::BadInput("the key of the ACME account cannot be used".to_owned())
            }
            other => Self::BadAnswer(other.to_string()),
        }
    }

    fn of_problem(problem: &instant_acme::Problem, step: Step, after: Option<Duration>) -> Self {
        let status = problem.status.unwrap_or(0);
        let problem = Problem::new(problem);
        match (problem.kind.as_str(), step) {
            ("rateLimited", _) => Self::RateLimited { problem, after },
            ("serverInternal" | "badNonce", _) => Self::Unavailable { detail: problem.to_string(), after },
            ("accountDoesNotExist", _) => Self::UnknownAccount(problem),
            (
                "externalAccountRequired" | "userActionRequired" | "invalidContact" | "unsupportedContact",
                _,
            ) => Self::AccountRefused(problem),
            (_, Step::Account) if status < 500 => Self::AccountRefused(problem),
            _ if status >= 500 => Self::Unavailable { detail: problem.to_string(), after },
            _ => Self::OrderRefused(problem),
        }
    }
}

impl From<KeyError> for AcmeError {
    fn from(error: KeyError) -> Self {
        Self::BadInput(error.to_string())
    }
}

impl From<CertificateError> for AcmeError {
    fn from(error: CertificateError) -> Self {
        Self::BadAnswer(error.to_string())
    }
}

/// What was asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Account,
    Order,
    Validation,
    Issuance,
    Advice,
}

impl Step {
    fn text(self) -> &'static str {
        match self {
            Self::Account => "the account",
            Self::Order => "the order",
            Self::Validation => "the validation of the names",
            Self::Issuance => "the certificate",
            Self::Advice => "renewal information",
        }
    }
}

/// An error with its causes, which for a connection say more than the error itself.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
