//! Errors of the parts as problem details (RFC 9457): one place where it is decided which status an error has.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ekitei_api::{PROBLEM_JSON, Problem, ProblemCode};

/// Seconds after which a client may try again.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// The error of every operation.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Problem);

pub(crate) type Result<T> = std::result::Result<T, Refused>;

impl Refused {
    pub(crate) fn new(code: ProblemCode, detail: impl ToString) -> Self {
        Self(Problem::new(code, detail.to_string()))
    }

    pub(crate) fn invalid(detail: impl ToString) -> Self {
        Self::new(ProblemCode::Invalid, detail)
    }

    /// A fault of ours: the log has the reason, the client only that there is one.
    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "a request of the admin API failed");
        Self::new(ProblemCode::Internal, "a fault of the service; its log says more")
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        match self.0.code {
            ProblemCode::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ekitei\""));
            }
            ProblemCode::Unavailable => {
                headers.insert(RETRY_AFTER, RETRY_SECONDS);
            }
            _ => {}
        }
        response
    }
}

impl From<ekitei_directory::Error> for Refused {
    fn from(error: ekitei_directory::Error) -> Self {
        use ekitei_directory::Error;
        let code = match &error {
            Error::NotFound { .. } => ProblemCode::NotFound,
            Error::AlreadyExists { .. } => ProblemCode::AlreadyExists,
            Error::Invalid(_) => ProblemCode::Invalid,
            Error::InUse { .. } => ProblemCode::InUse,
            Error::Stale { .. } => ProblemCode::Stale,
            Error::Unavailable(_) | Error::NotYet => ProblemCode::Unavailable,
        };
        Self::new(code, error)
    }
}

impl From<ekitei_directory::AddressError> for Refused {
    fn from(error: ekitei_directory::AddressError) -> Self {
        Self::invalid(error)
    }
}

impl From<ekitei_signing::Error> for Refused {
    fn from(error: ekitei_signing::Error) -> Self {
        use ekitei_signing::Error;
        let code = match &error {
            Error::NoSuchDomain(_) | Error::NoSuchKey { .. } => ProblemCode::NotFound,
            Error::AlreadyExists { .. } => ProblemCode::AlreadyExists,
            Error::InUse(_) => ProblemCode::InUse,
            // The operator's fault, and the operator is who asks.
            Error::Invalid(_) | Error::NoEncryptionKey => ProblemCode::Invalid,
            Error::Store(_) | Error::NotYet => ProblemCode::Unavailable,
            Error::Key(_) | Error::EncryptionKey(_) => return Self::internal(&error),
        };
        Self::new(code, error)
    }
}

impl From<ekitei_queue::Error> for Refused {
    fn from(error: ekitei_queue::Error) -> Self {
        use ekitei_queue::Error;
        let code = match error {
            Error::NotFound => ProblemCode::NotFound,
            Error::Invalid(_) | Error::NoRecipients | Error::TooLarge => ProblemCode::Invalid,
            Error::Store(_) | Error::Full | Error::Fenced => ProblemCode::Unavailable,
            Error::MailStore(error) => return error.into(),
            Error::Body(_) | Error::Corrupt(_) | Error::Unsigned(_) => return Self::internal(&error),
        };
        Self::new(code, error)
    }
}

impl From<ekitei_reports::Error> for Refused {
    fn from(error: ekitei_reports::Error) -> Self {
        use ekitei_reports::Error;
        let code = match &error {
            Error::NoSuchReport(_) => ProblemCode::NotFound,
            Error::Invalid(_) => ProblemCode::Invalid,
            Error::Store(_) => ProblemCode::Unavailable,
            // What is only sent, not shown.
            _ => return Self::internal(&error),
        };
        Self::new(code, error)
    }
}

impl From<ekitei_mailstore::Error> for Refused {
    fn from(error: ekitei_mailstore::Error) -> Self {
        use ekitei_mailstore::Error;
        let code = match &error {
            Error::NoSuchMailbox => ProblemCode::NotFound,
            Error::MailboxExists => ProblemCode::AlreadyExists,
            Error::NotPermitted(_) | Error::HasChildren | Error::Limit(_) => ProblemCode::Invalid,
            Error::OverQuota => ProblemCode::OverQuota,
            Error::TooLarge => ProblemCode::TooLarge,
            Error::Store(_) => ProblemCode::Unavailable,
            Error::Body(ekitei_blob::Error::NoRoom(_) | ekitei_blob::Error::Objects(_)) => {
                ProblemCode::Unavailable
            }
            Error::Body(_) if error.is_of_a_key() => ProblemCode::Unavailable,
            Error::Body(ekitei_blob_error) => return Self::internal(ekitei_blob_error),
            Error::Corrupt(_) => return Self::internal(&error),
        };
        Self::new(code, error)
    }
}
