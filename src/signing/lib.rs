//! Signatures: DKIM keys and signatures (RFC 6376, 8463), ARC seals (RFC 8617), and the rewritten senders of forwarded mail (SRS).

use std::sync::Arc;

use ekitei_directory::Domain;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something cannot be signed, or a key not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The domain is not ours.
    #[error("the domain is not one of this service")]
    NoSuchDomain,
    /// There is no such key.
    #[error("there is no such key")]
    NoSuchKey,
    /// The store failed: temporary.
    #[error(transparent)]
    Store(#[from] ekitei_kv::Error),
    /// A key is damaged, or was stored under another encryption key.
    #[error("a signing key cannot be used: {0}")]
    Key(String),
}

/// Signs what leaves: cheap to clone.
#[derive(Clone)]
pub struct Signing {
    inner: Arc<()>,
}

impl Signing {
    /// DKIM-Signature fields for a message of `domain`, one for each key that signs now, each with its CRLF; to be put in front of the message. Empty if
    /// the domain has no keys.
    ///
    /// # Errors
    /// [`Error`]; then the message must wait, not go unsigned.
    pub async fn sign(&self, domain: &Domain, message: &[u8]) -> Result<Vec<u8>> {
        let _ = (domain, message, &self.inner);
        unimplemented!()
    }

    /// The ARC set (three fields with their CRLF) for a message that is forwarded in the name of `domain`, whose checks came out as `results` (the value of an
    /// Authentication-Results field, with the authserv-id). Empty if the domain has no keys, or the chain must not be continued.
    ///
    /// # Errors
    /// As [`Signing::sign`].
    pub async fn seal(&self, domain: &Domain, message: &[u8], results: &str) -> Result<Vec<u8>> {
        let _ = (domain, message, results);
        unimplemented!()
    }
}
