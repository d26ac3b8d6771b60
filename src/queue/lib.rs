//! The outgoing queue: mail that waits to be sent, who sends it, and what its senders are told.
//!
//! A message in the queue is a row with the envelope and one *entry* for each destination, with the state of the recipients there. Entries are
//! written in the transaction of the delivery that accepted the message ([`Queue::companion`]), so that `250` covers all
//! recipients. The scheduler holds leases on shards of destinations; see `docs/design/0005-queue.md`.

mod model;

use std::sync::Arc;

use bytes::Bytes;
use ekitei_kv::clock::SharedClock;
use ekitei_mailstore::{Companion, MailStore};

pub use model::{EntryId, NewMessage, NewRecipient, Origin, QueueId};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the queue cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such message or entry.
    #[error("there is no such message in the queue")]
    NotFound,
    /// The queue is full: `452 4.3.1`.
    #[error("the queue is full")]
    Full,
    /// The message cannot be stored.
    #[error(transparent)]
    MailStore(#[from] ekitei_mailstore::Error),
    /// The store failed: temporary.
    #[error(transparent)]
    Store(#[from] ekitei_kv::Error),
    /// A body could not be read or stored.
    #[error(transparent)]
    Body(#[from] ekitei_blob::Error),
    /// A stored row does not decode.
    #[error("a stored row is damaged: {0}")]
    Corrupt(&'static str),
}

impl ekitei_kv::AsKvError for Error {
    fn as_kv_error(&self) -> Option<&ekitei_kv::Error> {
        match self {
            Self::Store(error) => Some(error),
            Self::Body(error) => error.as_kv_error(),
            Self::MailStore(error) => error.as_kv_error(),
            _ => None,
        }
    }
}

/// The queue: cheap to clone, shared by all parts of a process.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

struct Inner {
    mailstore: MailStore,
    clock: SharedClock,
}

impl Queue {
    /// What has to be written with a delivery so that `message` is queued; `None` if it has no recipients.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn companion(&self, message: NewMessage) -> Result<Option<Arc<dyn Companion>>> {
        let _ = message;
        unimplemented!()
    }

    /// Queues a message that has no local recipients; returns once it is durable.
    ///
    /// # Errors
    /// [`Error::Full`], and failures of the stores. When [`ekitei_mailstore::Error::is_outcome_unknown`], it may be queued all the same.
    pub async fn enqueue(&self, octets: Bytes, message: NewMessage) -> Result<QueueId> {
        let _ = (octets, message, &self.inner.mailstore, &self.inner.clock);
        unimplemented!()
    }
}
