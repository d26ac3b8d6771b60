//! What lies between the cache of objects and the store: somebody who sees that no page is asked for twice at a time. And caches that are put together wrongly.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ekitei_blob::{CacheSettings, CachedStore, ObjectFuture, ObjectInfo, ObjectStore, Resilient};
use ekitei_telemetry::Registry;

use crate::disk::{Disk, Folder};
use crate::flaw::Flaw;
use crate::wire::Wire;
use crate::world::World;

/// The most octets of pages on disk.
const DISK: u64 = 15_000;

/// The store with what was read of it kept near, if the plan says so.
pub fn near(world: &Arc<World>, wire: &Arc<Wire>, disk: Disk, store: Resilient) -> Arc<dyn ObjectStore> {
    let Some(settings) = world.plan.cache.clone() else { return Arc::new(store) };
    let flights = Flights {
        store,
        world: Arc::clone(world),
        wire: Arc::clone(wire),
        page: settings.page_size,
        longest: settings.page_size * settings.longest_run,
        next: AtomicU64::new(0),
        under_way: Mutex::default(),
    };
    let flights = Arc::new(flights);
    let folder = Arc::new(Folder::new(disk, Arc::clone(wire)));
    let cache = |settings: CacheSettings| {
        CachedStore::within(Arc::clone(&flights), settings, (folder.clone(), DISK), &Registry::new())
    };
    let (Ok(first), Ok(second)) = (cache(settings.clone()), cache(settings)) else {
        world.ledger().accuse("the disk of a cache cannot be listed");
        return Arc::new(flights);
    };
    match world.plan.flaw {
        Some(Flaw::TwoCaches) => Arc::new(Both { caches: [first, second], turn: AtomicU64::new(0) }),
        Some(Flaw::SpoiledIsKept) => Arc::new(Unforgetting(first)),
        _ => Arc::new(first),
    }
}

/// Watches what a cache asks for.
struct Flights {
    store: Resilient,
    world: Arc<World>,
    wire: Arc<Wire>,
    page: u64,
    /// A longer range is read past the cache.
    longest: u64,
    next: AtomicU64,
    under_way: Mutex<BTreeMap<u64, (String, Range<u64>)>>,
}

/// A request for pages, until it ends.
struct Flight<'a> {
    of: &'a Flights,
    number: u64,
}

impl Flights {
    fn under_way(&self) -> MutexGuard<'_, BTreeMap<u64, (String, Range<u64>)>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pages are asked for; nobody may be at one of them.
    fn begin(&self, name: &str, range: &Range<u64>) -> Option<Flight<'_>> {
        let is_whole = range.start.is_multiple_of(self.page) && range.end.is_multiple_of(self.page);
        if !is_whole || range.end - range.start > self.longest {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let mut under_way = self.under_way();
        let meets = |other: &Range<u64>| other.start < range.end && range.start < other.end;
        let twice = under_way.values().any(|(other, asked)| other == name && meets(asked));
        under_way.insert(number, (name.to_owned(), range.clone()));
        drop(under_way);
        if twice {
            let what = format!("{} asks for {range:?} of {name} twice at a time", self.wire.name());
            self.world.ledger().accuse(what);
        }
        Some(Flight { of: self, number })
    }

    /// What is asked for after it was forgotten is another question.
    fn end_all(&self, name: &str) {
        self.under_way().retain(|_, (other, _)| other != name);
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.of.under_way().remove(&self.number);
    }
}

impl ObjectStore for Flights {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        self.store.put(name, pieces)
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
        Box::pin(async move {
            let _flight = self.begin(name, &range);
            self.store.get(name, range).await
        })
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        self.store.head(name)
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        self.end_all(name);
        self.store.delete(name)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> ObjectFuture<'a, Vec<ObjectInfo>> {
        self.store.list(prefix, after, limit)
    }

    fn is_away(&self) -> bool {
        self.store.is_away()
    }

    fn forget(&self, name: &str) {
        self.end_all(name);
        self.store.forget(name);
    }
}

type Cached = CachedStore<Arc<Flights>>;

/// Two caches where there should be one.
struct Both {
    caches: [Cached; 2],
    turn: AtomicU64,
}

impl ObjectStore for Both {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        self.caches[0].put(name, pieces)
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
        let turn = self.turn.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        self.caches[usize::from(turn)].get(name, range)
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        self.caches[0].head(name)
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        self.caches[1].forget(name);
        self.caches[0].delete(name)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> ObjectFuture<'a, Vec<ObjectInfo>> {
        self.caches[0].list(prefix, after, limit)
    }

    fn is_away(&self) -> bool {
        self.caches[0].is_away()
    }

    fn forget(&self, name: &str) {
        self.caches.iter().for_each(|cache| cache.forget(name));
    }
}

/// A cache that keeps what turned out to be spoiled.
struct Unforgetting(Cached);

impl ObjectStore for Unforgetting {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        self.0.put(name, pieces)
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
        self.0.get(name, range)
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        self.0.head(name)
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        self.0.delete(name)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> ObjectFuture<'a, Vec<ObjectInfo>> {
        self.0.list(prefix, after, limit)
    }

    fn is_away(&self) -> bool {
        self.0.is_away()
    }
}
