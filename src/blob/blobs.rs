//! The body store: its settings, and what all of its parts share.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ekitei_kv::Database;
use ekitei_kv::clock::SharedClock;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::BodyId;
use crate::encryption::DataKeys;
use crate::hot::HotTotal;
use crate::object_store::ObjectStore;
use crate::segments::Packing;

/// How bodies are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Up to this many octets, compressed, a body is stored in rows; larger ones are objects.
    pub hot_limit: usize,
    /// Octets of a block before compression.
    pub block_size: usize,
    /// Zstandard level; 0 does not compress.
    pub compression_level: i32,
    /// How long an unreferenced body, or an object whose delivery never ended, is kept.
    pub grace: Duration,
    /// Octets of decoded blocks kept in memory.
    pub cache_size: u64,
    /// How hot bodies are packed into segments.
    pub packing: Packing,
    /// The keys that bodies are encrypted with, if there are any.
    pub data_keys: Option<Arc<dyn DataKeys>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hot_limit: 256 << 10,
            block_size: 256 << 10,
            compression_level: 1,
            grace: Duration::from_secs(3600),
            cache_size: 16 << 20,
            packing: Packing::default(),
            data_keys: None,
        }
    }
}

/// The body store: cheap to clone, shared by all tasks.
#[derive(Clone)]
pub struct Blobs {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) objects: Box<dyn ObjectStore>,
    pub(crate) settings: Settings,
    pub(crate) clock: SharedClock,
    pub(crate) hot_total: Mutex<HotTotal>,
    /// Decoded blocks by body and number: a client that fetches a message piece by piece decodes each block once.
    pub(crate) cache: Cache<(BodyId, usize), Bytes, ByLength>,
}

#[derive(Clone)]
pub(crate) struct ByLength;

impl Weighter<(BodyId, usize), Bytes> for ByLength {
    fn weight(&self, _: &(BodyId, usize), block: &Bytes) -> u64 {
        block.len() as u64 + 100
    }
}

impl Blobs {
    /// A body store over a database and an object store.
    pub fn new(
        database: Database,
        objects: impl ObjectStore,
        settings: Settings,
        clock: SharedClock,
    ) -> Self {
        let cache = Cache::with_weighter(1000, settings.cache_size, ByLength);
        let (objects, hot_total) = (Box::new(objects), Mutex::default());
        Self { inner: Arc::new(Inner { database, objects, settings, clock, hot_total, cache }) }
    }
}
