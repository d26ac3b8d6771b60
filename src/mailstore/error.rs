//! What the mailstore cannot do, whose fault that is, and whether to try again.

use ekitei_kv::AsKvError;

/// An error of the mailstore.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such mailbox (any more): `NONEXISTENT`, or `TRYCREATE` for the target of a copy.
    #[error("there is no such mailbox")]
    NoSuchMailbox,
    /// There is a mailbox of that name: `ALREADYEXISTS`.
    #[error("there is a mailbox of that name already")]
    MailboxExists,
    /// The operation can never succeed on this mailbox: `CANNOT`.
    #[error("{0}")]
    NotPermitted(&'static str),
    /// Other mailboxes are below it: `HASCHILDREN`.
    #[error("the mailbox has others below it")]
    HasChildren,
    /// The quota of the account, or of its domain, does not hold it: `OVERQUOTA`, `452 4.2.2`, `552 5.2.2`.
    #[error("the account or its domain is over its quota")]
    OverQuota,
    /// A configured limit: `LIMIT`.
    #[error("{0}")]
    Limit(&'static str),
    /// The message is larger than a message may be: `TOOBIG`, `552 5.3.4`.
    #[error("the message is too large")]
    TooLarge,
    /// The body could not be stored or read.
    #[error(transparent)]
    Body(#[from] ekitei_blob::Error),
    /// The store failed: temporary for a client.
    #[error(transparent)]
    Store(#[from] ekitei_kv::Error),
    /// A stored row does not decode.
    #[error("a stored row is damaged: {0}")]
    Corrupt(&'static str),
}

impl Error {
    /// Whether the operation may have been done all the same, now or after a restart of the store: then neither a confirmation nor a
    /// refusal would be true.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self.as_kv_error(), Some(ekitei_kv::Error::CommitUnknown))
    }

    /// Whether the key of a body cannot be had: then more room would not help.
    pub fn is_of_a_key(&self) -> bool {
        matches!(self, Self::Body(ekitei_blob::Error::Key(_) | ekitei_blob::Error::NotEncrypted))
    }
}

impl AsKvError for Error {
    fn as_kv_error(&self) -> Option<&ekitei_kv::Error> {
        match self {
            Self::Store(error) => Some(error),
            Self::Body(error) => error.as_kv_error(),
            _ => None,
        }
    }
}
