//! Signatures of outgoing mail.

use super::section;
use crate::Secret;

section! {
    /// DKIM and ARC signatures, and rewritten senders of forwarded mail.
    pub struct Signing {
        /// The key that signing keys are stored under: 32 octets in base64 (`openssl rand -base64 32`). Without it, one is made on the first start
        /// and kept beside the embedded store; a cluster needs it here.
        encryption_key: Option<Secret> = None,
    }
}
