//! An object store in memory, for tests and the simulation: it fails, delays and damages as it is told.

mod faults;

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ekitei_kv::clock::SharedClock;
use tokio::time::Instant;

pub use faults::{Fault, Faults, Rates, ScriptedFaults, SeededFaults};

use crate::object_error::ObjectError;
use crate::object_store::{ObjectFuture, ObjectInfo, ObjectStore, check_name};
use crate::operation::Operation;

/// Objects in memory; clones share them.
#[derive(Clone)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

struct Inner {
    clock: SharedClock,
    faults: Box<dyn Faults>,
    away: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    /// Calls by operation, failed ones too.
    calls: BTreeMap<Operation, u64>,
}

struct Object {
    octets: Bytes,
    modified: Duration,
    /// Until then a reader does not find it.
    visible: Instant,
}

impl MemoryStore {
    /// A store without faults whose objects are dated by `clock`.
    pub fn new(clock: SharedClock) -> Self {
        Self::with_faults(clock, |_: Operation, _: &str| Fault::default())
    }

    /// A store that asks `faults` before every call what is to go wrong with it.
    pub fn with_faults(clock: SharedClock, faults: impl Faults) -> Self {
        let inner =
            Inner { clock, faults: Box::new(faults), away: AtomicBool::new(false), state: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Cuts the store off, or brings it back: while it is away every call fails, and has no effect.
    pub fn set_away(&self, away: bool) {
        self.inner.away.store(away, Ordering::SeqCst);
    }

    /// How often an operation was called.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.state().calls.get(&operation).copied().unwrap_or_default()
    }

    /// The names of all objects, without a call.
    pub fn names(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// Changes the octets of an object behind everybody's back; whether it was there.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        match self.state().objects.get_mut(name) {
            Some(object) => {
                let mut octets = object.octets.to_vec();
                change(&mut octets);
                object.octets = octets.into();
                true
            }
            None => false,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` with the faults of this call around it.
    async fn call<T>(
        &self,
        operation: Operation,
        name: &str,
        work: impl FnOnce(&mut State, &Fault) -> Result<T, ObjectError>,
    ) -> Result<T, ObjectError> {
        let fault = self.inner.faults.next(operation, name);
        *self.state().calls.entry(operation).or_default() += 1;
        if !fault.latency.is_zero() {
            tokio::time::sleep(fault.latency).await;
        }
        if self.inner.away.load(Ordering::SeqCst) {
            return Err(ObjectError::unavailable("the store is away"));
        }
        let injected = |kind| ObjectError::new(kind, format!("injected: {operation} {name}"));
        if let Some(kind) = fault.before {
            return Err(injected(kind));
        }
        if fault.hangs {
            std::future::pending::<()>().await;
        }
        let result = work(&mut self.state(), &fault)?;
        match fault.after {
            Some(kind) => Err(injected(kind)),
            None => Ok(result),
        }
    }
}

impl ObjectStore for MemoryStore {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        Box::pin(async move {
            check_name(name)?;
            let modified = self.inner.clock.now();
            self.call(Operation::Put, name, |state, fault| {
                let visible = Instant::now() + fault.invisible;
                // Written again, it stays as visible as it was.
                let visible = state.objects.get(name).map_or(visible, |old| old.visible.min(visible));
                let object = Object { octets: pieces.concat().into(), modified, visible };
                state.objects.insert(name.to_owned(), object);
                Ok(())
            })
            .await
        })
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
        Box::pin(async move {
            check_name(name)?;
            self.call(Operation::Get, name, |state, fault| {
                let object = state.visible(name)?;
                let size = object.octets.len();
                let at = |offset: u64| usize::try_from(offset).map_or(size, |offset| offset.min(size));
                Ok(fault.spoil(object.octets.slice(at(range.start)..at(range.end).max(at(range.start)))))
            })
            .await
        })
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        Box::pin(async move {
            check_name(name)?;
            self.call(Operation::Head, name, |state, _| Ok(state.visible(name)?.info(name))).await
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        Box::pin(async move {
            check_name(name)?;
            self.call(Operation::Delete, name, |state, _| {
                state.objects.remove(name);
                Ok(())
            })
            .await
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> ObjectFuture<'a, Vec<ObjectInfo>> {
        Box::pin(async move {
            self.call(Operation::List, prefix, |state, _| {
                let now = Instant::now();
                let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
                Ok(state
                    .objects
                    .range::<str, _>((from, Bound::Unbounded))
                    .take_while(|(name, _)| name.starts_with(prefix))
                    .filter(|(_, object)| object.visible <= now)
                    .take(limit)
                    .map(|(name, object)| object.info(name))
                    .collect())
            })
            .await
        })
    }
}

impl State {
    fn visible(&self, name: &str) -> Result<&Object, ObjectError> {
        let object = self.objects.get(name).filter(|object| object.visible <= Instant::now());
        object.ok_or_else(|| ObjectError::not_found(name))
    }
}

impl Object {
    fn info(&self, name: &str) -> ObjectInfo {
        ObjectInfo { name: name.to_owned(), size: self.octets.len() as u64, modified: self.modified }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::object_error::ObjectErrorKind;
    use ekitei_kv::clock::ManualClock;

    fn scripted(faults: Vec<Fault>) -> MemoryStore {
        MemoryStore::with_faults(ManualClock::new(Duration::from_secs(1)), ScriptedFaults::new(faults))
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_comes_before_or_after_the_effect() {
        let unavailable = Some(ObjectErrorKind::Unavailable);
        let before = Fault { before: unavailable, ..Fault::default() };
        let after = Fault { after: unavailable, ..Fault::default() };
        let store = scripted(vec![before, after]);
        store.put("abcd", vec!["x".into()]).await.unwrap_err();
        assert!(store.names().is_empty());
        store.put("abcd", vec!["x".into()]).await.unwrap_err();
        assert_eq!(store.get("abcd", 0..9).await.unwrap(), "x");
        assert_eq!((store.calls(Operation::Put), store.calls(Operation::Get)), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_object_is_seen_late() {
        let store = scripted(vec![Fault { invisible: Duration::from_secs(2), ..Fault::default() }]);
        store.put("abcd", vec!["x".into()]).await.unwrap();
        assert!(store.head("abcd").await.unwrap_err().is_not_found());
        assert!(store.list("", "", 9).await.unwrap().is_empty());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(store.list("", "", 9).await.unwrap(), [store.head("abcd").await.unwrap()]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_is_short_or_wrong_once() {
        let faults = vec![
            Fault::default(),
            Fault { cut: Some(2), ..Fault::default() },
            Fault { flip: Some(8), ..Fault::default() },
        ];
        let store = scripted(faults);
        store.put("abcd", vec!["abcd".into()]).await.unwrap();
        assert_eq!(store.get("abcd", 0..4).await.unwrap(), "ab");
        assert_eq!(store.get("abcd", 0..4).await.unwrap(), "accd");
        assert_eq!(store.get("abcd", 0..4).await.unwrap(), "abcd");
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_seed_goes_wrong_in_the_same_way() {
        let run = async |seed| {
            let clock = ManualClock::new(Duration::from_secs(1));
            let store = MemoryStore::with_faults(clock, SeededFaults::new(seed, Rates::harsh()));
            let mut results = Vec::new();
            for n in 0..200 {
                let name = format!("object-{n}");
                let put = store.put(&name, vec![Bytes::from_static(b"hello")]);
                let put = tokio::time::timeout(Duration::from_secs(60), put).await;
                results.push(put.ok().map(|result| result.map_err(|error| error.kind())));
            }
            (results, store.names())
        };
        let (one, again, other) = (run(1).await, run(1).await, run(2).await);
        assert_eq!(one, again);
        assert_ne!(one, other);
        assert!(one.0.contains(&Some(Err(ObjectErrorKind::Throttled))));
    }
}
