//! Where metadata and message bodies are kept.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    BlobCredentials, BlobObjectCache, BlobPacking, BlobRetries, BlobScrub, BlobSse, BlobStore, BlobTimeouts,
    section,
};
use crate::{ByteSize, Duration};

/// How thoroughly the embedded store checks its files at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Every byte of every file: damage is found before anything is served. Takes as long as reading the store.
    #[default]
    Full,
    /// The lists of files, and that the files are there; blocks are checked when they are read.
    Quick,
}

/// The metadata store: everything but large message bodies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Store {
    /// A store of one machine, inside the service.
    Embedded {
        /// The directory of the store. One service uses it at a time.
        #[serde(default = "default_store_path")]
        path: PathBuf,
        /// Memory for the cache of data blocks.
        #[serde(default = "default_cache_size")]
        cache_size: ByteSize,
        /// Memory for rows that are not in a table on disk yet; up to four times as much under load.
        #[serde(default = "default_write_buffer")]
        write_buffer: ByteSize,
        /// How thoroughly files are checked at start.
        #[serde(default)]
        verify: Verify,
    },
    /// A FoundationDB cluster, shared by all pods of a region.
    #[serde(rename = "foundationdb")]
    FoundationDb {
        /// The cluster file of FoundationDB.
        #[serde(default = "default_cluster_file")]
        cluster_file: PathBuf,
        /// What all keys begin with, at most 256 octets: installations with different prefixes can share a cluster. It must never be changed, nor be the
        /// beginning of another's.
        #[serde(default)]
        prefix: String,
    },
}

fn default_store_path() -> PathBuf {
    "data/store".into()
}

fn default_cache_size() -> ByteSize {
    ByteSize::mib(32)
}

fn default_write_buffer() -> ByteSize {
    ByteSize::mib(16)
}

fn default_cluster_file() -> PathBuf {
    "/etc/foundationdb/fdb.cluster".into()
}

impl Default for Store {
    fn default() -> Self {
        Self::Embedded {
            path: default_store_path(),
            cache_size: default_cache_size(),
            write_buffer: default_write_buffer(),
            verify: Verify::default(),
        }
    }
}

section! {
    /// Message bodies.
    pub struct Blobs {
        /// The kind of object store for bodies above `inlineLimit`.
        kind: BlobStore = BlobStore::Directory,
        /// The directory of the object store, for `kind: directory`.
        path: PathBuf = "data/blobs".into(),
        /// The URL of the server, such as `https://s3.example.net:9000`. Without it, Amazon's of the region.
        endpoint: Option<String> = None,
        /// The bucket. It must be there.
        bucket: String = String::new(),
        /// The region of the bucket. Without it, that of the environment, or `us-east-1` for an `endpoint`.
        region: Option<String> = None,
        /// Whether the bucket is named in the path of a URL, and not in its host name. Most servers but Amazon's need it.
        path_style: bool = false,
        /// What the names of all objects begin with, such as `mail/`. Never change it.
        prefix: String = String::new(),
        /// Who asks. Without it, credentials come from where all AWS programs look: the environment, the profile, the web identity (IRSA) or the container of the
        /// pod, the machine.
        credentials: Option<BlobCredentials> = None,
        /// How the server encrypts what it stores.
        sse: BlobSse = BlobSse::None,
        /// The id of the key for `sse: aws:kms`. Without it, the account's own for S3.
        sse_key_id: Option<String> = None,
        /// Certificates in PEM to trust beside the system's.
        ca_file: Option<PathBuf> = None,
        /// A larger object is uploaded in parts of this size, 5MiB to 5GiB.
        part_size: ByteSize = ByteSize::mib(8),
        /// Parts of one object that are uploaded at the same time.
        part_uploads: u32 = 4,
        /// How long requests may take.
        timeouts: BlobTimeouts = BlobTimeouts::default(),
        /// How often requests are made again.
        retries: BlobRetries = BlobRetries::default(),
        /// After this long without an answer a read is asked a second time, and the first answer counts: about what one read of a hundred takes. `0` for never.
        hedge_after: Duration = Duration::seconds(1),
        /// Requests at the same time, by one process.
        max_requests: u32 = 64,
        /// After nothing but failures for this long, the store is away: calls fail at once until it answers again.
        away_after: Duration = Duration::seconds(10),
        /// How often a store that is away is asked whether it is back.
        probe_interval: Duration = Duration::seconds(2),
        /// What was read of a bucket, kept near.
        object_cache: BlobObjectCache = BlobObjectCache::default(),
        /// Bodies up to this size, after compression, are written with their metadata in one transaction.
        /// At most 1MiB.
        inline_limit: ByteSize = ByteSize::kib(256),
        /// Octets of small bodies that may wait in the metadata store to be moved into segments. While more wait, new ones become objects at once; if the
        /// object store does not answer either, mail is put off with `452 4.3.1`.
        hot_limit: ByteSize = ByteSize::gib(4),
        /// How they are moved.
        packing: BlobPacking = BlobPacking::default(),
        /// How all bodies are checked.
        scrub: BlobScrub = BlobScrub::default(),
        /// The zstd level, 1 to 19; 0 keeps bodies as they come.
        #[schemars(range(min = 0, max = 19))]
        compression_level: i32 = 1,
        /// How long a body that nothing refers to is kept before the collector removes it. Longer than any
        /// read or write of a body takes.
        grace_period: Duration = Duration::hours(1),
        /// Memory for the cache of bodies that are read often.
        cache_size: ByteSize = ByteSize::mib(16),
    }
}
