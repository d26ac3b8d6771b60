//! How the store of large bodies is reached, and how patient the service is with it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::section;
use crate::{ByteSize, Duration, Secret};

/// The kinds of object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BlobStore {
    /// A directory on a local disk, for a service of one process.
    #[default]
    Directory,
    /// A bucket of S3, or of what speaks its protocol, for any number of processes.
    S3,
}

/// How the server encrypts what it stores, beside `encryption`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum BlobSse {
    /// As the bucket says.
    #[default]
    #[serde(rename = "none")]
    None,
    /// With keys of the server.
    #[serde(rename = "AES256")]
    Aes256,
    /// With a key of its key management service.
    #[serde(rename = "aws:kms")]
    Kms,
}

section! {
    /// Who asks the S3 server.
    pub struct BlobCredentials {
        /// The id of the access key.
        access_key_id: Secret = Secret::new(""),
        /// Its secret.
        secret_access_key: Secret = Secret::new(""),
        /// The token of temporary keys.
        session_token: Option<Secret> = None,
    }
}

section! {
    /// How long requests to the object store may take.
    pub struct BlobTimeouts {
        /// To make a connection.
        connect: Duration = Duration::seconds(3),
        /// One attempt, beside what its octets take at `minThroughput`.
        attempt: Duration = Duration::seconds(10),
        /// A call with all its attempts and pauses, beside what its octets take. Less than `smtp.timeouts.store`.
        total: Duration = Duration::seconds(45),
        /// Octets a second that a slow store carries: an attempt that carries more octets may take longer.
        min_throughput: ByteSize = ByteSize::mib(1),
    }
}

section! {
    /// How often requests to the object store are made again.
    pub struct BlobRetries {
        /// The pause before the first retry, at most; the bound doubles with each, and is five times that for a store that asks for fewer requests.
        first_delay: Duration = Duration::millis(100),
        /// No pause is longer.
        max_delay: Duration = Duration::seconds(5),
        /// Retries and second requests per hundred calls, over all calls, so that an outage does not multiply the load.
        share: u32 = 20,
        /// Retries and second requests beyond that after a quiet time.
        reserve: u32 = 100,
        /// How long a new object may be missing for readers, in a store that shows it late.
        visibility_delay: Duration = Duration::seconds(2),
    }
}

section! {
    /// What was read of a bucket, kept near: on top of `blobs.cacheSize`, which is of bodies as they are.
    pub struct BlobObjectCache {
        /// Memory for it; `0` for no cache.
        memory: ByteSize = ByteSize::mib(64),
        /// A folder on a local disk for more of it; of one process only. What it holds is as in the bucket: encrypted, if bodies are.
        disk: Option<PathBuf> = None,
        /// What the folder may take.
        disk_size: ByteSize = ByteSize::gib(10),
        /// What is read at once, 4KiB to 16MiB. Larger pages make fewer requests and waste more on single messages.
        page_size: ByteSize = ByteSize::kib(256),
        /// Pages that are read ahead when pages are read one after the other.
        read_ahead: u32 = 3,
    }
}
