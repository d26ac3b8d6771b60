//! What can go wrong with an object store, and what to do about it.

use std::fmt;
use std::io;

/// Whose fault an error is and whether it may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectErrorKind {
    /// There is no such object, or none yet: a store may show a new object late.
    NotFound,
    /// The store asks for fewer requests.
    Throttled,
    /// The store does not answer, or answers that it cannot now.
    Unavailable,
    /// The credentials were good and are not any more; new ones are fetched for the next try.
    Expired,
    /// The store knows who asks and refuses, or does not know. Somebody must change the configuration or the rights.
    Denied,
    /// What came is not what was written, or ended early.
    Damaged,
    /// The request is wrong: a name, a setting, a bucket that is not there.
    Invalid,
}

impl ObjectErrorKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::NotFound,
        Self::Throttled,
        Self::Unavailable,
        Self::Expired,
        Self::Denied,
        Self::Damaged,
        Self::Invalid,
    ];

    /// A word for metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Expired => "expired",
            Self::Denied => "denied",
            Self::Damaged => "damaged",
            Self::Invalid => "invalid",
        }
    }

    /// Whether the same request may succeed a moment later.
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable | Self::Expired | Self::Damaged)
    }

    /// Whether it is the store that is not well, and not this one request.
    pub const fn is_of_the_store(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable | Self::Expired | Self::Denied)
    }
}

impl fmt::Display for ObjectErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error of an object store: its kind, and its words with the id that the store gave the request, where it did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct ObjectError {
    kind: ObjectErrorKind,
    what: String,
}

impl ObjectError {
    /// An error of a kind, in words without a final stop.
    pub fn new(kind: ObjectErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into() }
    }

    /// There is no such object.
    pub fn not_found(name: &str) -> Self {
        Self::new(ObjectErrorKind::NotFound, format!("there is no object {name}"))
    }

    /// The request is wrong.
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::new(ObjectErrorKind::Invalid, what)
    }

    /// The store does not answer.
    pub fn unavailable(what: impl Into<String>) -> Self {
        Self::new(ObjectErrorKind::Unavailable, what)
    }

    /// What came is not what was written.
    pub fn damaged(what: impl Into<String>) -> Self {
        Self::new(ObjectErrorKind::Damaged, what)
    }

    /// Its kind.
    pub const fn kind(&self) -> ObjectErrorKind {
        self.kind
    }

    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.kind == ObjectErrorKind::NotFound
    }

    /// The same error with words before it that say what was being done.
    #[must_use]
    pub fn context(mut self, doing: &str) -> Self {
        self.what = format!("{doing}: {}", self.what);
        self
    }
}

impl From<io::Error> for ObjectError {
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ObjectErrorKind::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ObjectErrorKind::Denied,
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => ObjectErrorKind::Invalid,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => ObjectErrorKind::Damaged,
            _ => ObjectErrorKind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}
