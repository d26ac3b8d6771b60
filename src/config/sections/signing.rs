//! Signatures of outgoing mail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::section;
use crate::{Duration, Secret};

/// What a DKIM key signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DkimAlgorithm {
    /// RSA with 2048 bits and SHA-256: every verifier knows it (RFC 8301).
    Rsa,
    /// Ed25519 with SHA-256 (RFC 8463): small, and known to some.
    Ed25519,
}

section! {
    /// DKIM and ARC signatures, and rewritten senders of forwarded mail.
    pub struct Signing {
        /// The key that signing keys are stored under: 32 octets in base64 (`openssl rand -base64 32`). Without it, one is made on the first start
        /// and kept beside the embedded store; a cluster needs it here.
        encryption_key: Option<Secret> = None,
        /// Encryption keys that were in force before. What is stored under one of them is stored under `encryptionKey` within `maintenanceInterval`; then it can go.
        previous_encryption_keys: Vec<Secret> = Vec::new(),
        /// What new keys of a domain sign with: a message gets one signature for each.
        algorithms: Vec<DkimAlgorithm> = vec![DkimAlgorithm::Rsa, DkimAlgorithm::Ed25519],
        /// The selectors of new keys: `{yyyy}`, `{mm}` and `{dd}` are the day they are made, `{a}` is `r` or `e` for the algorithm. A name that is taken gets a number.
        selector: String = "ek{yyyy}{mm}{a}".to_owned(),
        /// How old keys become before new ones are made for their domain; `0` for never, where nobody publishes new records.
        rotation: Duration = Duration::seconds(0),
        /// How long a new key is published before it signs: longer than the TTL of its record.
        activate_after: Duration = Duration::hours(24),
        /// Whether a new key waits for its record to be seen in DNS before it signs. Activation by hand does not wait.
        require_published: bool = true,
        /// How long a key that signs no more is kept published: longer than mail is under way, which is `queue.lifetime` here.
        keep_retired: Duration = Duration::days(7),
        /// How long a signature is valid (`x=`, RFC 6376 §3.5); `0` for no limit. Shorter than `queue.lifetime` makes mail that waited fail.
        expiration: Duration = Duration::seconds(0),
        /// Header fields that are signed as often as they are there and once more, so that nobody can add one. `From` always is.
        oversigned_headers: Vec<String> = names(&[
            "From", "Reply-To", "Subject", "Date", "Message-ID", "To", "Cc", "MIME-Version", "Content-Type",
            "Content-Transfer-Encoding", "In-Reply-To", "References",
        ]),
        /// Header fields that are signed if they are there (RFC 6376 §5.4.1). Mailing lists add some of these, so others may add them.
        signed_headers: Vec<String> = names(&[
            "Sender", "Content-Disposition", "Content-ID", "Content-Description", "Content-Language", "Resent-From", "Resent-To", "Resent-Cc",
            "Resent-Date", "Resent-Message-ID", "List-Id", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post",
            "List-Subscribe", "List-Post", "List-Owner", "List-Archive",
        ]),
        /// Keys of one domain, of all stages.
        max_keys: u32 = 20,
        /// How long a key is believed to sign if no change is heard of.
        key_cache_ttl: Duration = Duration::minutes(1),
        /// How often keys are looked at for what is due.
        maintenance_interval: Duration = Duration::minutes(10),
        /// How long a bounce to a rewritten sender (SRS) finds its way back.
        srs_validity: Duration = Duration::days(21),
    }
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}
