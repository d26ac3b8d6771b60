//! What can go wrong with a body.

use ekitei_kv::AsKvError;

use crate::encryption::SealFailed;
use crate::{BodyId, KeyError, ObjectError, SegmentId};

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
    /// The rows of a segment are not what was written, or are of a later release.
    #[error("segment {segment} is damaged: {what}")]
    DamagedSegment {
        /// Which segment.
        segment: SegmentId,
        /// What does not fit.
        what: &'static str,
    },
    /// The collector took the object before the delivery that wrote it was committed: it took longer than the grace period. Try
    /// the whole delivery again.
    #[error("body {0} was collected before it was referred to")]
    IntentExpired(BodyId),
    /// The object store is away, and the body cannot wait for it in the metadata store: it is too large, or too much waits there already. Temporary.
    #[error("there is no room for the body until the object store is back: {0}")]
    NoRoom(ObjectError),
    /// The object store failed: temporary for a client.
    #[error("the object store failed: {0}")]
    Objects(#[from] ObjectError),
    /// The key of the body cannot be had, now or at all.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The body cannot be encrypted: the cryptographic library refuses it.
    #[error("the body cannot be encrypted")]
    NotEncrypted,
    /// The metadata store failed.
    #[error(transparent)]
    Store(#[from] ekitei_kv::Error),
}

impl AsKvError for Error {
    fn as_kv_error(&self) -> Option<&ekitei_kv::Error> {
        match self {
            Self::Store(error) => Some(error),
            Self::Key(error) => error.as_kv_error(),
            _ => None,
        }
    }
}

impl From<SealFailed> for Error {
    fn from(_: SealFailed) -> Self {
        Self::NotEncrypted
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Objects(error.into())
    }
}
