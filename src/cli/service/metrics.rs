//! The figures of the stores, which know nothing of metrics.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use ekitei_blob::{ObjectFuture, ObjectInfo, ObjectStore};
use ekitei_kv::{Database, Statistics};
use ekitei_telemetry::{Counter, CounterFamily, Registry};

/// One of the figures.
type Figure = fn(&Statistics) -> u64;

/// Brings the counters of the metadata store up to date each time that they are looked at.
pub(super) fn sampler(database: Database, registry: &Registry) -> Arc<dyn Fn() + Send + Sync> {
    let counters: [(Counter, Figure); 6] = [
        (registry.counter("kv_commits_total", "Commits that wrote something."), |now| now.commits),
        (registry.counter("kv_conflicts_total", "Commits refused because of a conflict."), |now| {
            now.conflicts
        }),
        (registry.counter("kv_batches_total", "Groups of commits written together."), |now| now.batches),
        (registry.counter("kv_fsyncs_total", "Times that the journal was made durable."), |now| now.fsyncs),
        (registry.counter("kv_reads_total", "Reads of a row or a range."), |now| now.reads),
        (registry.counter("kv_written_bytes_total", "Octets of keys and values committed."), |now| {
            now.bytes_written
        }),
    ];
    let last = Mutex::new(Statistics::default());
    Arc::new(move || {
        let now = database.statistics();
        // Held throughout, so that what two readers see at once is added once.
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        for (counter, figure) in &counters {
            counter.inc_by(figure(&now).saturating_sub(figure(&last)));
        }
        *last = now;
    })
}

/// An object store whose calls are counted.
pub(super) struct Counted<S> {
    store: S,
    writes: Counter,
    reads: Counter,
    deletions: Counter,
    failures: CounterFamily,
}

impl<S> Counted<S> {
    pub(super) fn new(store: S, registry: &Registry) -> Self {
        Self {
            store,
            writes: registry.counter("blob_object_writes_total", "Objects written."),
            reads: registry.counter("blob_object_reads_total", "Ranges of objects read."),
            deletions: registry.counter("blob_object_deletions_total", "Objects deleted."),
            failures: registry.counters("blob_object_failures_total", "Calls that failed.", &["call"]),
        }
    }
}

impl<S: ObjectStore> Counted<S> {
    fn count<'a, T>(
        &'a self,
        call: &'static str,
        counter: &'a Counter,
        work: ObjectFuture<'a, T>,
    ) -> ObjectFuture<'a, T>
    where
        T: Send + 'a,
    {
        Box::pin(async move {
            let result = work.await;
            match &result {
                Ok(_) => counter.inc(),
                Err(_) => self.failures.with(&[call]).inc(),
            }
            result
        })
    }
}

impl<S: ObjectStore> ObjectStore for Counted<S> {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        self.count("put", &self.writes, self.store.put(name, pieces))
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
        self.count("get", &self.reads, self.store.get(name, range))
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        self.store.head(name)
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        self.count("delete", &self.deletions, self.store.delete(name))
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
}
