//! What can go wrong in the queue, and whose fault it is.

/// Why the queue cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such message or entry.
    #[error("there is no such message in the queue")]
    NotFound,
    /// The queue is full: `452 4.3.1`.
    #[error("the queue is full")]
    Full,
    /// A message without recipients: the caller's fault.
    #[error("the message has no recipients")]
    NoRecipients,
    /// More header fields in front of the message than a row holds: the caller's fault.
    #[error("the header fields in front of the message are too long")]
    TooLarge,
    /// What an administrator asks for does not make sense; says what is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The lease is another process's by now: the work is not this one's any more.
    #[error("another process works on this part of the queue now")]
    Fenced,
    /// A message of our own cannot be signed now; says why: temporary.
    #[error("the message cannot be signed: {0}")]
    Unsigned(String),
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
