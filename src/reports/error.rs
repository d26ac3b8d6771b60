//! Why something about reports cannot be done.

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate: it says whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such report: the caller's fault.
    #[error("there is no report {0}")]
    NoSuchReport(String),
    /// The request makes no sense: the caller's fault.
    #[error("{0}")]
    Invalid(String),
    /// No address to send reports from: the operator's.
    #[error("there is no address to send reports from: {0}")]
    NoSender(String),
    /// The store failed: temporary.
    #[error(transparent)]
    Store(#[from] ekitei_kv::Error),
    /// A body could not be read: temporary, or damage.
    #[error(transparent)]
    Body(#[from] ekitei_blob::Error),
    /// The report could not be put into the queue: temporary.
    #[error(transparent)]
    MailStore(#[from] ekitei_mailstore::Error),
    /// The queue takes nothing: temporary.
    #[error(transparent)]
    Queue(#[from] ekitei_queue::Error),
    /// The report could not be signed: temporary, or the operator's.
    #[error(transparent)]
    Signing(#[from] ekitei_signing::Error),
    /// The directory is away: temporary.
    #[error(transparent)]
    Directory(#[from] ekitei_directory::Error),
    /// Where a report goes cannot be looked up now: temporary.
    #[error("where the report goes cannot be looked up: {0}")]
    Dns(#[from] ekitei_dns::Error),
    /// The report could not be composed: a fault of this service.
    #[error("the report cannot be composed: {0}")]
    Compose(String),
}

impl ekitei_kv::AsKvError for Error {
    fn as_kv_error(&self) -> Option<&ekitei_kv::Error> {
        match self {
            Self::Store(error) => Some(error),
            Self::Body(error) => error.as_kv_error(),
            _ => None,
        }
    }
}
