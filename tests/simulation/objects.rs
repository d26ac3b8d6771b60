//! The object store as the processes see it, and as somebody sees it who sees everything.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use ekitei_blob::{
    Fault, Faults, MemoryStore, ObjectError, ObjectFuture, ObjectInfo, ObjectStore, Operation, SeededFaults,
};

use crate::trace::Trace;
use crate::wire::Wire;

/// Faults of a seed, while there is trouble.
pub struct TroubledObjects {
    trouble: Arc<AtomicBool>,
    faults: SeededFaults,
    faulty: Faulty,
    trace: Trace,
}

/// How often calls for each object went wrong: cheap to clone.
#[derive(Clone, Default)]
pub struct Faulty(Arc<Mutex<BTreeMap<String, u32>>>);

impl Faulty {
    fn add(&self, name: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default() += 1;
    }

    /// How often calls for an object went wrong.
    pub fn count(&self, name: &str) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or_default()
    }
}

impl TroubledObjects {
    /// These faults, while `trouble` is set; what goes wrong is counted in `faulty`.
    pub fn new(trouble: Arc<AtomicBool>, faults: SeededFaults, faulty: Faulty, trace: Trace) -> Self {
        Self { trouble, faults, faulty, trace }
    }
}

impl Faults for TroubledObjects {
    fn next(&self, operation: Operation, name: &str) -> Fault {
        if !self.trouble.load(Ordering::SeqCst) {
            return Fault::default();
        }
        let fault = self.faults.next(operation, name);
        if fault != Fault::default() {
            self.faulty.add(name);
            self.trace.note("object", format_args!("{operation} {name}: {fault:?}"));
        }
        fault
    }
}

/// Names of objects that some process deleted.
pub type Deleted = Arc<Mutex<BTreeSet<String>>>;

/// The object store behind the wire of a process.
pub struct WiredObjects {
    store: MemoryStore,
    wire: Arc<Wire>,
    deleted: Deleted,
}

impl WiredObjects {
    /// That store behind that wire; notes in `deleted` what is deleted.
    pub fn new(store: MemoryStore, wire: Arc<Wire>, deleted: Deleted) -> Self {
        Self { store, wire, deleted }
    }

    async fn call<T>(
        &self,
        (operation, name): (Operation, &str),
        call: impl Future<Output = Result<T, ObjectError>>,
    ) -> Result<T, ObjectError> {
        let step = |error: ekitei_kv::Error| ObjectError::unavailable(error.to_string());
        self.wire.step(&format!("{operation} {name}")).await.map_err(step)?;
        let result = call.await;
        self.wire.step(&format!("answer to {operation} {name}")).await.map_err(step)?;
        result
    }
}

impl ObjectStore for WiredObjects {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        Box::pin(self.call((Operation::Put, name), self.store.put(name, pieces)))
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
        Box::pin(self.call((Operation::Get, name), self.store.get(name, range)))
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        Box::pin(self.call((Operation::Head, name), self.store.head(name)))
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Box::pin(self.call((Operation::Delete, name), self.store.delete(name)))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> ObjectFuture<'a, Vec<ObjectInfo>> {
        Box::pin(self.call((Operation::List, prefix), self.store.list(prefix, after, limit)))
    }
}

/// The same objects past all faults: for checks. It reads, and does nothing else.
pub struct AllSeeing(pub MemoryStore);

impl AllSeeing {
    /// The octets of an object.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn look(&self, name: &str) -> Result<Bytes, ObjectError> {
        let mut seen = Bytes::new();
        let found = self.0.damage(name, |octets| seen = Bytes::copy_from_slice(octets));
        if found { Ok(seen) } else { Err(ObjectError::not_found(name)) }
    }
}

impl ObjectStore for AllSeeing {
    fn put<'a>(&'a self, _: &'a str, _: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        Box::pin(async { Err(ObjectError::invalid("who sees everything writes nothing")) })
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
        Box::pin(async move {
            let octets = self.look(name)?;
            let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(octets.len());
            Ok(octets.slice(at(range.start)..at(range.end).max(at(range.start))))
        })
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        Box::pin(async move {
            let size = self.look(name)?.len() as u64;
            Ok(ObjectInfo { name: name.to_owned(), size, modified: std::time::Duration::ZERO })
        })
    }

    fn delete<'a>(&'a self, _: &'a str) -> ObjectFuture<'a, ()> {
        Box::pin(async { Err(ObjectError::invalid("who sees everything deletes nothing")) })
    }

    fn list<'a>(&'a self, _: &'a str, _: &'a str, _: usize) -> ObjectFuture<'a, Vec<ObjectInfo>> {
        Box::pin(async { Err(ObjectError::invalid("who sees everything need not list it")) })
    }
}
