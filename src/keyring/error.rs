//! Why something cannot be done with data keys.

use ekitei_blob::{DataKeyId, KeyError};
use ekitei_kv::AsKvError;

use crate::wrapper::WrapError;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate: it says whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such key: the caller's fault.
    #[error("there is no data key {}", .0.get())]
    NoSuchKey(DataKeyId),
    /// The scope has no key: the caller's fault.
    #[error("{0} has no data key; it gets one with its first encrypted message")]
    NoKeyYet(String),
    /// Bodies need the key: the caller may force it.
    #[error("the data key {key} is needed by body {body}, perhaps by others", key = .key.get())]
    InUse {
        /// The key.
        key: DataKeyId,
        /// The first body that needs it.
        body: String,
    },
    /// Another destruction of the key began meanwhile: the caller's, who may look at the key and try again.
    #[error("the data key {} is being destroyed by somebody else, too", .0.get())]
    Overtaken(DataKeyId),
    /// The master key cannot be used now, or at all.
    #[error("the data key of {whose} cannot be wrapped or unwrapped: {error}")]
    Master {
        /// Of which domain.
        whose: String,
        /// Why.
        error: WrapError,
    },
    /// The bodies could not be looked at.
    #[error("bodies cannot be looked at: {0}")]
    Bodies(ekitei_blob::Error),
    /// The store failed: temporary.
    #[error(transparent)]
    Store(#[from] ekitei_kv::Error),
}

impl AsKvError for Error {
    fn as_kv_error(&self) -> Option<&ekitei_kv::Error> {
        match self {
            Self::Store(error) => Some(error),
            Self::Bodies(error) => error.as_kv_error(),
            _ => None,
        }
    }
}

impl From<Error> for KeyError {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => Self::Store(error),
            Error::Master { whose, error: WrapError::Unavailable(reason) } => {
                Self::Unavailable { whose, reason }
            }
            Error::Master { whose, error: WrapError::Refused(reason) } => Self::Unusable { whose, reason },
            other => Self::Unusable { whose: "a body".to_owned(), reason: other.to_string() },
        }
    }
}
