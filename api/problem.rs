//! Errors as problem details (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `about:blank`: the status and the code say it all (RFC 9457 §4.2.1).
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What exactly, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What exactly, for programs.
    pub code: ProblemCode,
}

impl Problem {
    /// A problem of this code.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        let (status, title) = code.status();
        Self { kind: about_blank(), title: title.to_owned(), status, detail: detail.into(), code }
    }
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

/// What a program may do about a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// The request is not what the API asks for; the same request will never succeed.
    Invalid,
    /// No token, or not the right one.
    Unauthorized,
    /// The token may not do this.
    Forbidden,
    /// No such object or path.
    NotFound,
    /// The path does not know this method.
    MethodNotAllowed,
    /// The name is taken.
    AlreadyExists,
    /// Others need the object; remove them first, or force it.
    InUse,
    /// The object is not the one that `If-Match` names; read it again.
    Stale,
    /// The request is larger than is configured.
    TooLarge,
    /// The account's quota is full.
    OverQuota,
    /// The request took longer than is configured.
    Timeout,
    /// The store is away or the service is busy; try again later.
    Unavailable,
    /// A fault of the service.
    Internal,
    /// A code that this version does not know.
    #[serde(other)]
    Other,
}

impl ProblemCode {
    /// The HTTP status of the code, and its words.
    pub const fn status(self) -> (u16, &'static str) {
        match self {
            Self::Invalid => (400, "Bad Request"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Forbidden => (403, "Forbidden"),
            Self::NotFound => (404, "Not Found"),
            Self::MethodNotAllowed => (405, "Method Not Allowed"),
            Self::Timeout => (408, "Request Timeout"),
            Self::AlreadyExists | Self::InUse => (409, "Conflict"),
            Self::Stale => (412, "Precondition Failed"),
            Self::TooLarge => (413, "Content Too Large"),
            Self::OverQuota => (507, "Insufficient Storage"),
            Self::Unavailable => (503, "Service Unavailable"),
            Self::Internal | Self::Other => (500, "Internal Server Error"),
        }
    }
}
