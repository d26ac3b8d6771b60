//! Why something cannot be signed, or a key not be had.

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate: it says whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The domain is not ours: the caller's fault.
    #[error("{0} is not a domain of this service")]
    NoSuchDomain(String),
    /// There is no such key: the caller's fault.
    #[error("{domain} has no key {selector}")]
    NoSuchKey {
        /// The domain.
        domain: String,
        /// The selector.
        selector: String,
    },
    /// The selector is taken: the caller's fault.
    #[error("{domain} has a key {selector} already")]
    AlreadyExists {
        /// The domain.
        domain: String,
        /// The selector.
        selector: String,
    },
    /// The key signs mail that is under way: retire it first, or force it.
    #[error("the key {0} signs, or signed mail that may still be under way; retire it, and remove it later")]
    InUse(String),
    /// The request makes no sense: the caller's fault.
    #[error("{0}")]
    Invalid(String),
    /// Processes of an earlier release may run, which would activate and remove such a key by themselves: temporary.
    #[error(
        "keys that are activated by hand cannot be made while processes of an earlier release may run (ekitei cluster features: manual-signing-keys)"
    )]
    NotYet,
    /// The store failed: temporary.
    #[error(transparent)]
    Store(#[from] ekitei_kv::Error),
    /// A key is damaged, or was stored under another encryption key: the operator's.
    #[error("a signing key cannot be used: {0}")]
    Key(String),
    /// There is no encryption key to store a signing key under: the operator's.
    #[error("there is no signing.encryptionKey, so no signing key can be stored")]
    NoEncryptionKey,
    /// The encryption key cannot be read or kept: the operator's.
    #[error("{0}")]
    EncryptionKey(String),
}

impl ekitei_kv::AsKvError for Error {
    fn as_kv_error(&self) -> Option<&ekitei_kv::Error> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ekitei_directory::Error> for Error {
    fn from(error: ekitei_directory::Error) -> Self {
        use ekitei_directory::Error as Directory;
        match error {
            Directory::Unavailable(reason) => Self::Store(ekitei_kv::Error::Unavailable(reason)),
            other => Self::Invalid(other.to_string()),
        }
    }
}

impl From<aws_lc_rs::error::Unspecified> for Error {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Key("the cryptographic library refuses it".to_owned())
    }
}
