//! What can go wrong with a body.

use ekitei_kv::AsKvError;

use crate::{BodyId, ObjectError};

/// An error of the body store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such body: it was collected, or never stored.
    #[error("there is no body {0}")]
    NotFound(BodyId),
    /// What is stored is not what was written.
    #[error("body {body} is damaged: {what}")]
    Damaged {
        /// Which body.
        body: BodyId,
        /// What does not fit.
        what: &'static str,
    },
    /// The collector took the object before the delivery that wrote it was committed: it took longer than the grace period. Try
    /// the whole delivery again.
    #[error("body {0} was collected before it was referred to")]
    IntentExpired(BodyId),
    /// The object store failed: temporary for a client.
    #[error("the object store failed: {0}")]
    Objects(#[from] ObjectError),
    /// The metadata store failed.
    #[error(transparent)]
    Store(#[from] ekitei_kv::Error),
}

impl AsKvError for Error {
    fn as_kv_error(&self) -> Option<&ekitei_kv::Error> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Objects(error.into())
    }
}
