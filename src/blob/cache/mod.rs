//! What was read of the object store, kept near: pages of objects in bounded memory and, if there is a folder for it, on a local disk.
//!
//! Objects never change, so a page is right for as long as its object is there; what is kept are the octets as the store has them, encrypted
//! ones still encrypted. A page is asked for once, however many want it at the same time, and pages that follow each other are asked for in
//! one request. Long ranges go by: what is read in one go is rarely read again, and would push everything else out.

mod disk;
mod folder;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ekitei_telemetry::{CounterFamily, Gauge, Registry};
use quick_cache::sync::{Cache, DefaultLifecycle, GuardResult, PlaceholderGuard};
use quick_cache::{DefaultHashBuilder, Weighter};

use crate::object_error::ObjectError;
use crate::object_store::{ObjectFuture, ObjectInfo, ObjectStore};
use disk::DiskCache;
use folder::LocalFolder;
pub use folder::{PageFile, PageFolder, PageFolderFuture};

/// How much is kept near.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// Octets of a page.
    pub page_size: u64,
    /// A range of more pages than this is read past the cache.
    pub longest_run: u64,
    /// When pages are read one after the other, so many more are asked for in the same request.
    pub read_ahead: u64,
    /// Octets of pages in memory.
    pub memory: u64,
    /// The folder of pages on disk, and how many octets they may have; `None` for none.
    pub disk: Option<(PathBuf, u64)>,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { page_size: 256 << 10, longest_run: 8, read_ahead: 3, memory: 64 << 20, disk: None }
    }
}

/// Which page of which object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct PageId {
    object: Arc<str>,
    number: u64,
}

/// An object store with what was read of it kept near. Clones share it.
#[derive(Clone)]
pub struct CachedStore<S> {
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    store: S,
    settings: CacheSettings,
    memory: Cache<PageId, Bytes, ByLength>,
    disk: Option<DiskCache>,
    metrics: Metrics,
}

/// The place of a page that is being read.
type Place<'a> =
    PlaceholderGuard<'a, PageId, Bytes, ByLength, DefaultHashBuilder, DefaultLifecycle<PageId, Bytes>>;

#[derive(Clone)]
struct ByLength;

impl Weighter<PageId, Bytes> for ByLength {
    fn weight(&self, id: &PageId, page: &Bytes) -> u64 {
        (page.len() + id.object.len() + 100) as u64
    }
}

/// What the cache is good for.
struct Metrics {
    pages: CounterFamily,
    memory: Gauge,
    disk: Gauge,
}

impl Metrics {
    fn new(registry: &Registry) -> Self {
        Self {
            pages: registry.counters(
                "blob_cache_pages_total",
                "Pages of objects that were wanted, by where they were: memory, disk, store, or past (read past the cache).",
                &["from"],
            ),
            memory: registry.gauge("blob_cache_memory_bytes", "Octets of pages of objects in memory."),
            disk: registry.gauge("blob_cache_disk_bytes", "Octets of pages of objects on disk."),
        }
    }

    fn count(&self, from: &str, pages: u64) {
        self.pages.with(&[from]).inc_by(pages);
    }
}

impl<S: ObjectStore> CachedStore<S> {
    /// Keeps what is read of `store`. Pages that an earlier process left on disk are used again.
    ///
    /// # Errors
    /// The folder cannot be made or listed.
    pub fn new(store: S, settings: CacheSettings, registry: &Registry) -> std::io::Result<Self> {
        let folder: Option<(Arc<dyn PageFolder>, u64)> = match &settings.disk {
            Some((path, limit)) => Some((Arc::new(LocalFolder::open(path)?), *limit)),
            None => None,
        };
        Self::with_folder(store, settings, folder, registry)
    }

    /// Like [`CachedStore::new`], with pages in this folder, which have at most `limit` octets; [`CacheSettings::disk`] is not looked at.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn within(
        store: S,
        settings: CacheSettings,
        folder: (Arc<dyn PageFolder>, u64),
        registry: &Registry,
    ) -> std::io::Result<Self> {
        Self::with_folder(store, settings, Some(folder), registry)
    }

    fn with_folder(
        store: S,
        settings: CacheSettings,
        folder: Option<(Arc<dyn PageFolder>, u64)>,
        registry: &Registry,
    ) -> std::io::Result<Self> {
        let metrics = Metrics::new(registry);
        let disk = match folder {
            Some((folder, limit)) => Some(DiskCache::open(folder, limit, metrics.disk.clone())?),
            None => None,
        };
        let expected = (settings.memory / settings.page_size.max(1)).max(16);
        let expected = usize::try_from(expected).unwrap_or(usize::MAX);
        let memory = Cache::with_weighter(expected, settings.memory, ByLength);
        Ok(Self { inner: Arc::new(Inner { store, settings, memory, disk, metrics }) })
    }

    /// The octets of `range`, page by page; each page that is not near is read once.
    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let size = self.inner.settings.page_size;
        let pages = range.start / size..range.end.div_ceil(size);
        if pages.end.saturating_sub(pages.start) > self.inner.settings.longest_run {
            let octets = self.inner.store.get(name, range).await?;
            self.inner.metrics.count("past", (octets.len() as u64).div_ceil(size));
            return Ok(octets);
        }
        let skip = usize::try_from(range.start - pages.start * size).unwrap_or(usize::MAX);
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut found = self.pages(name, pages).await?;
        let mut octets = match found.len() {
            1 => found.remove(0),
            _ => {
                let mut joined = BytesMut::with_capacity(found.iter().map(Bytes::len).sum());
                found.iter().for_each(|page| joined.extend_from_slice(page));
                joined.freeze()
            }
        };
        let mut octets = octets.split_off(skip.min(octets.len()));
        octets.truncate(length);
        Ok(octets)
    }

    /// These pages of an object, as far as it has them.
    ///
    /// Whoever finds one missing holds its place while it is read, so that nobody else reads it. Places are taken in rising order, so that two who
    /// want some of the same pages never wait for each other in a circle.
    async fn pages(&self, name: &str, wanted: Range<u64>) -> Result<Vec<Bytes>, ObjectError> {
        let inner = &*self.inner;
        let object: Arc<str> = name.into();
        let mut pages = Vec::with_capacity(usize::try_from(wanted.end - wanted.start).unwrap_or_default());
        let mut missing = Vec::new();
        for number in wanted.clone() {
            let id = PageId { object: Arc::clone(&object), number };
            match inner.memory.get_value_or_guard_async(&id).await {
                Ok(page) => {
                    inner.metrics.count("memory", 1);
                    pages.push(Some(page));
                }
                Err(place) => {
                    if let Some(page) = self.disk_page(&id).await {
                        inner.metrics.count("disk", 1);
                        // A place that went away with the eviction of its page needs nothing.
                        let _ = place.insert(page.clone());
                        pages.push(Some(page));
                    } else {
                        missing.push((number, place));
                        pages.push(None);
                    }
                }
            }
        }
        self.read_ahead(&object, wanted.end, &mut missing);
        let mut missing = missing.into_iter().peekable();
        while let Some((first, place)) = missing.next() {
            let mut run = vec![place];
            while let Some((_, place)) = missing.next_if(|(number, _)| *number == first + run.len() as u64) {
                run.push(place);
            }
            let read = self.fetch_pages(&object, first..first + run.len() as u64).await?;
            for (number, (page, place)) in (first..).zip(read.into_iter().zip(run)) {
                let _ = place.insert(page.clone());
                if let Some(disk) = &inner.disk {
                    disk.insert(&PageId { object: Arc::clone(&object), number }, page.clone());
                }
                let index = usize::try_from(number - wanted.start).unwrap_or(usize::MAX);
                if let Some(slot) = pages.get_mut(index) {
                    *slot = Some(page);
                }
            }
        }
        inner.metrics.memory.set(i64::try_from(inner.memory.weight()).unwrap_or(i64::MAX));
        Ok(pages.into_iter().flatten().collect())
    }

    /// Takes the places of pages that will be wanted next, if the last of `missing` is the next one after a page that was read.
    fn read_ahead<'a>(&'a self, object: &Arc<str>, end: u64, missing: &mut Vec<(u64, Place<'a>)>) {
        let memory = &self.inner.memory;
        let id = |number| PageId { object: Arc::clone(object), number };
        let Some(&(last, _)) = missing.last() else { return };
        let first_of_run = missing.first().map_or(last, |&(number, _)| number);
        let follows = first_of_run.checked_sub(1).is_some_and(|before| memory.peek(&id(before)).is_some());
        if !follows || last + 1 != end {
            return;
        }
        for number in end..end + self.inner.settings.read_ahead {
            // Never waits: a page that is there or on its way ends the run.
            match memory.get_value_or_guard(&id(number), Some(Duration::ZERO)) {
                GuardResult::Guard(place) => missing.push((number, place)),
                GuardResult::Value(_) | GuardResult::Timeout => return,
            }
        }
    }

    async fn disk_page(&self, id: &PageId) -> Option<Bytes> {
        let disk = self.inner.disk.as_ref()?;
        disk.get(id).await
    }

    /// Pages that follow each other, in one request; those past the end of the object are empty.
    async fn fetch_pages(&self, object: &str, pages: Range<u64>) -> Result<Vec<Bytes>, ObjectError> {
        let size = self.inner.settings.page_size;
        self.inner.metrics.count("store", pages.end - pages.start);
        let mut octets = self.inner.store.get(object, pages.start * size..pages.end * size).await?;
        let octets_of_answer = octets.len();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        // A page that shares its memory with others would keep all of it, and be counted as one.
        let own = |page: Bytes| if octets_of_answer > size { Bytes::copy_from_slice(&page) } else { page };
        Ok(pages.map(|_| own(octets.split_to(octets.len().min(size)))).collect())
    }

    /// Drops all that is kept of an object.
    fn forget_object(&self, name: &str) {
        self.inner.memory.retain(|id, _| &*id.object != name);
        if let Some(disk) = &self.inner.disk {
            disk.forget(name);
        }
    }
}

impl<S: ObjectStore> ObjectStore for CachedStore<S> {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        self.inner.store.put(name, pieces)
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
        Box::pin(async move {
            if range.is_empty() {
                return Ok(Bytes::new());
            }
            self.read(name, range).await
        })
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        self.inner.store.head(name)
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        self.forget_object(name);
        self.inner.store.delete(name)
    }

    fn delete_many<'a>(&'a self, names: &'a [String]) -> ObjectFuture<'a, ()> {
        names.iter().for_each(|name| self.forget_object(name));
        self.inner.store.delete_many(names)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> ObjectFuture<'a, Vec<ObjectInfo>> {
        self.inner.store.list(prefix, after, limit)
    }

    fn is_away(&self) -> bool {
        self.inner.store.is_away()
    }

    fn forget(&self, name: &str) {
        self.forget_object(name);
        self.inner.store.forget(name);
    }
}
