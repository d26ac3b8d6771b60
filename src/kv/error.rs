//! What can go wrong in the store, and whether to try again.

/// An error of the key-value store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Another transaction changed what this one read. Retry.
    #[error("the transaction conflicts with another")]
    Conflict,
    /// The transaction is older than [`crate::limits::TRANSACTION_AGE`]. Retry, with less work in it.
    #[error("the transaction is too old")]
    TransactionTooOld,
    /// Whether the commit happened is not known. Retry only what may be repeated.
    #[error("the result of the commit is unknown")]
    CommitUnknown,
    /// The cluster asks to try again (throttling, a recovery in progress); nothing was committed. Retry.
    #[error("the store is busy: {0}")]
    Busy(&'static str),
    /// A key over [`crate::limits::KEY_SIZE`]: the caller's fault.
    #[error("a key of {0} bytes is over the limit of {limit}", limit = crate::limits::KEY_SIZE)]
    KeyTooLarge(usize),
    /// A value over [`crate::limits::VALUE_SIZE`]: the caller's fault.
    #[error("a value of {0} bytes is over the limit of {limit}", limit = crate::limits::VALUE_SIZE)]
    ValueTooLarge(usize),
    /// More than [`crate::limits::TRANSACTION_SIZE`]: the caller's fault.
    #[error("a transaction of {0} bytes is over the limit of {limit}", limit = crate::limits::TRANSACTION_SIZE)]
    TransactionTooLarge(usize),
    /// A versionstamped row was read in the transaction that wrote it: the caller's fault.
    #[error("a versionstamped row was read before its commit")]
    AccessedUnreadable,
    /// What FoundationDB refuses as an invalid use (an inverted range, a key of the system keyspace, a versionstamp
    /// that does not fit, a transaction used after its commit): the caller's fault.
    #[error("invalid use of a transaction: {0}")]
    Misuse(&'static str),
    /// The store cannot commit any more (failed fsync, full disk, lost cluster): nobody's fault, and temporary for a
    /// client of ours. Reads may still work.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A lease that the transaction depends on is another process's now ([`crate::lease::Lease::check`]): give the work up.
    #[error("another process does this work now")]
    Fenced,
    /// Stored data is damaged.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
}

impl Error {
    /// Whether [`crate::Database::transact`] tries again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Conflict | Self::TransactionTooOld | Self::CommitUnknown | Self::Busy(_))
    }
}

/// Error types that may carry an [`Error`] of the store, so that `transact` can see whether to retry.
pub trait AsKvError {
    /// The store's error inside, if that is what this is.
    fn as_kv_error(&self) -> Option<&Error>;
}

impl AsKvError for Error {
    fn as_kv_error(&self) -> Option<&Error> {
        Some(self)
    }
}
