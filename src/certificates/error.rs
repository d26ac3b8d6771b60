//! Why a certificate cannot be stored or had.

use ekitei_keyring::{SealError, SecretError};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate: it says whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such certificate: the caller's fault.
    #[error("no certificate {0} is stored")]
    NoSuchCertificate(String),
    /// It is not the one that the caller saw: read it again.
    #[error("the certificate {0} was set anew meanwhile")]
    Stale(String),
    /// The request makes no sense, or the key is another's: the caller's fault.
    #[error("{0}")]
    Invalid(String),
    /// As many are stored as may be: the operator's.
    #[error("{0} certificates are stored already (tls.maxStoredCertificates); remove some")]
    Full(u64),
    /// The store failed: temporary.
    #[error(transparent)]
    Store(#[from] ekitei_kv::Error),
    /// What is stored is damaged, or is under another encryption key: the operator's.
    #[error("a stored certificate cannot be used: {0}")]
    Unusable(String),
    /// There is no encryption key to store a private key under: the operator's.
    #[error("there is no signing.encryptionKey, so no certificate can be stored")]
    NoEncryptionKey,
    /// The encryption key cannot be read or kept: the operator's.
    #[error(transparent)]
    EncryptionKey(#[from] SecretError),
    /// TLS refuses what is stored: a fault of the program.
    #[error(transparent)]
    Tls(#[from] ekitei_net::TlsError),
}

impl ekitei_kv::AsKvError for Error {
    fn as_kv_error(&self) -> Option<&ekitei_kv::Error> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<SealError> for Error {
    fn from(error: SealError) -> Self {
        match error {
            SealError::NoKey => Self::NoEncryptionKey,
            SealError::OtherKey(id) => Self::Unusable(format!(
                "its key is stored under the encryption key {id}, which is neither signing.encryptionKey nor among signing.previousEncryptionKeys"
            )),
            SealError::Changed => Self::Unusable(
                "what is stored of its key was changed since, or belongs to another certificate".to_owned(),
            ),
            SealError::Library => Self::Unusable(error.to_string()),
        }
    }
}
