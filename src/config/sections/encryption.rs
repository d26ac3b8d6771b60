//! Encryption of message bodies at rest.

use std::path::PathBuf;

use super::{BlobCredentials, section};
use crate::{Duration, Secret};

section! {
    /// Encryption of message bodies at rest.
    pub struct Encryption {
        /// Whether new bodies are encrypted. It may be changed at any time: what is stored stays as it is, and readable as long as its keys are here.
        enabled: bool = false,
        /// The key that wraps the data keys: 32 octets in base64 (`openssl rand -base64 32`). Keep a copy of it where the stores are not: without it, encrypted
        /// mail is lost. With `kms` it only unwraps what it wrapped before.
        master_key: Option<Secret> = None,
        /// Master keys that were in force before, or will be. They unwrap; after `ekitei key rewrap` they can go.
        previous_master_keys: Vec<Secret> = Vec::new(),
        /// A key in AWS KMS that wraps the data keys, in place of `masterKey`.
        kms: Option<Kms> = None,
        /// Keys in KMS that were in force before. They unwrap; after `ekitei key rewrap` they can go.
        previous_kms: Vec<Kms> = Vec::new(),
        /// How old the data key of a domain becomes before a new one is made for new mail; `0` for never.
        rotate_after: Duration = Duration::seconds(0),
        /// How often data keys are looked at for what is due.
        maintenance_interval: Duration = Duration::hours(1),
        /// Data keys that are kept in memory. As long as all that are in use fit, KMS is asked only for new ones and after a start.
        cached_keys: u32 = 100_000,
    }
}

section! {
    /// A key in AWS KMS, or in what speaks its protocol.
    pub struct Kms {
        /// The key: its id, its ARN, or `alias/` and its alias. It must be symmetric, for encryption and decryption.
        key_id: String = String::new(),
        /// The region of the key. Without it, that of the environment.
        region: Option<String> = None,
        /// Another address than that of the region's KMS: `http://127.0.0.1:5000`.
        endpoint: Option<String> = None,
        /// Who asks. Without it, credentials come from where all AWS programs look: the environment, the profile, the role of the pod or machine.
        credentials: Option<BlobCredentials> = None,
        /// Certificates of authorities that are trusted beside the system's, in PEM.
        ca_file: Option<PathBuf> = None,
        /// How long one call may take, attempts included.
        timeout: Duration = Duration::seconds(5),
    }
}
