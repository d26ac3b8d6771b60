//! What is kept near is what the store has, is asked for once, and stays within its bounds.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ekitei_kv::clock::ManualClock;
use ekitei_telemetry::Registry;
use futures_util::future::join_all;
use proptest::prelude::*;

use super::*;
use crate::memory_store::{Fault, MemoryStore};
use crate::operation::Operation;

const PAGE: u64 = 100;

fn settings(memory: u64) -> CacheSettings {
    CacheSettings { page_size: PAGE, longest_run: 5, read_ahead: 2, memory, disk: None }
}

fn octets(length: usize) -> Bytes {
    (0..length).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
}

/// A store with one object of 1,050 octets, slow enough that readers meet.
async fn store() -> MemoryStore {
    let slow = |_: Operation, _: &str| Fault { latency: Duration::from_millis(10), ..Fault::default() };
    let store = MemoryStore::with_faults(ManualClock::new(Duration::ZERO), slow);
    store.put("object", vec![octets(1050)]).await.unwrap();
    store
}

#[tokio::test(start_paused = true)]
async fn many_who_want_the_same_ask_once() {
    let store = store().await;
    let cached = CachedStore::new(store.clone(), settings(1 << 20), &Registry::new()).unwrap();
    let readers = (0..50).map(|n| {
        let (cached, range) = (cached.clone(), n..n + 120);
        async move {
            assert_eq!(
                cached.get("object", range.clone()).await.unwrap(),
                octets(1050).slice(range.start as usize..range.end as usize)
            )
        }
    });
    join_all(readers).await;
    assert_eq!(store.calls(Operation::Get), 1, "two pages in one request");
    cached.get("object", 0..400).await.unwrap();
    assert_eq!(store.calls(Operation::Get), 2, "only what is missing is asked for");
}

#[tokio::test(start_paused = true)]
async fn who_reads_on_gets_more_at_once() {
    let store = store().await;
    let cached = CachedStore::new(store.clone(), settings(1 << 20), &Registry::new()).unwrap();
    for start in (0..1050).step_by(50) {
        let range = start..(start + 50).min(1050);
        let expected = octets(1050).slice(range.start as usize..range.end as usize);
        assert_eq!(cached.get("object", range).await.unwrap(), expected);
    }
    assert_eq!(store.calls(Operation::Get), 5, "eleven pages: the first alone, then three at a time");
}

#[tokio::test(start_paused = true)]
async fn a_long_range_goes_by_and_pushes_nothing_out() {
    let store = store().await;
    let cached = CachedStore::new(store.clone(), settings(1 << 20), &Registry::new()).unwrap();
    for _ in 0..2 {
        assert_eq!(cached.get("object", 0..1050).await.unwrap(), octets(1050));
    }
    assert_eq!((store.calls(Operation::Get), cached.inner.memory.len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_and_not_kept() {
    let store = store().await;
    let cached = CachedStore::new(store.clone(), settings(1 << 20), &Registry::new()).unwrap();
    store.set_away(true);
    assert!(cached.get("object", 0..50).await.is_err());
    store.set_away(false);
    assert_eq!(cached.get("object", 0..50).await.unwrap(), octets(50));
}

#[tokio::test(start_paused = true)]
async fn a_spoiled_page_is_read_again_once_it_is_forgotten() {
    let store = store().await;
    let cached = CachedStore::new(store.clone(), settings(1 << 20), &Registry::new()).unwrap();
    store.damage("object", |octets| octets[5] ^= 1);
    assert_ne!(cached.get("object", 0..50).await.unwrap(), octets(50));
    store.damage("object", |octets| octets[5] ^= 1);
    cached.forget("object");
    assert_eq!(cached.get("object", 0..50).await.unwrap(), octets(50));
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded() {
    let store = store().await;
    let cached = CachedStore::new(store.clone(), settings(1000), &Registry::new()).unwrap();
    for start in (0..1050).step_by(100) {
        cached.get("object", start..start + 10).await.unwrap();
        assert!(cached.inner.memory.weight() <= 1000);
    }
}

/// Waits until everything is written.
async fn settled<S>(cached: &CachedStore<S>) {
    let disk = cached.inner.disk.as_ref().unwrap();
    disk.all_written().await;
}

fn with_disk(folder: &std::path::Path, limit: u64) -> CacheSettings {
    CacheSettings { disk: Some((folder.to_owned(), limit)), ..settings(0) }
}

#[tokio::test]
async fn pages_on_disk_outlive_the_process_and_stay_within_their_limit() {
    let (store, folder) = (store().await, tempfile::tempdir().unwrap());
    let cached = CachedStore::new(store.clone(), with_disk(folder.path(), 500), &Registry::new()).unwrap();
    for start in (0..1000).step_by(100) {
        cached.get("object", start..start + 10).await.unwrap();
        settled(&cached).await;
    }
    assert!(cached.inner.disk.as_ref().unwrap().size() <= 500);
    let asked = store.calls(Operation::Get);

    let next = CachedStore::new(store.clone(), with_disk(folder.path(), 500), &Registry::new()).unwrap();
    assert_eq!(next.get("object", 910..920).await.unwrap(), octets(1050).slice(910..920));
    assert_eq!(store.calls(Operation::Get), asked, "the youngest is still there");
    next.get("object", 10..20).await.unwrap();
    assert_eq!(store.calls(Operation::Get), asked + 1, "the oldest is not");
}

#[tokio::test]
async fn a_damaged_file_is_no_page() {
    let (store, folder) = (store().await, tempfile::tempdir().unwrap());
    let cached = CachedStore::new(store.clone(), with_disk(folder.path(), 5000), &Registry::new()).unwrap();
    cached.get("object", 0..10).await.unwrap();
    settled(&cached).await;
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let mut content = std::fs::read(&file).unwrap();
    content[3] ^= 1;
    std::fs::write(&file, content).unwrap();
    assert_eq!(cached.get("object", 0..10).await.unwrap(), octets(10));
    settled(&cached).await;
    cached.delete("object").await.unwrap();
    assert!(
        cached.get("object", 0..10).await.unwrap_err().is_not_found(),
        "a deleted object is gone everywhere"
    );
}

#[tokio::test]
async fn files_of_others_are_left_alone() {
    let (store, folder) = (store().await, tempfile::tempdir().unwrap());
    let others = ["important.txt", "notes.new", "a-1"].map(|name| folder.path().join(name));
    for other in &others {
        std::fs::write(other, vec![0; 1000]).unwrap();
    }
    let cached = CachedStore::new(store, with_disk(folder.path(), 500), &Registry::new()).unwrap();
    cached.get("object", 0..10).await.unwrap();
    settled(&cached).await;
    assert!(others.iter().all(|other| other.exists()));
    assert_eq!(cached.inner.disk.as_ref().unwrap().size(), PAGE + 16);
}

#[tokio::test]
async fn nothing_stays_of_a_page_that_cannot_be_written() {
    let (store, folder) = (store().await, tempfile::tempdir().unwrap());
    let id = PageId { object: "object".into(), number: 0 };
    // Nothing can be put in the place of a folder.
    let obstacle = folder.path().join(disk::file_name(&id));
    std::fs::create_dir(&obstacle).unwrap();
    let cached = CachedStore::new(store, with_disk(folder.path(), 5000), &Registry::new()).unwrap();
    assert_eq!(cached.get("object", 0..10).await.unwrap(), octets(10));
    settled(&cached).await;
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [obstacle]);
}

/// A folder that writes when it is told to.
struct Held(LocalFolder, Arc<tokio::sync::Semaphore>);

impl PageFolder for Held {
    fn list(&self) -> std::io::Result<Vec<PageFile>> {
        self.0.list()
    }

    fn read(&self, name: &str) -> PageFolderFuture<Vec<u8>> {
        self.0.read(name)
    }

    fn write(&self, name: &str, octets: Vec<u8>) -> PageFolderFuture<()> {
        let (held, write) = (Arc::clone(&self.1), self.0.write(name, octets));
        Box::pin(async move {
            held.acquire().await.unwrap().forget();
            write.await
        })
    }

    fn remove(&self, name: &str) {
        self.0.remove(name);
    }
}

#[tokio::test]
async fn a_page_that_is_being_written_when_its_object_is_forgotten_is_not_kept() {
    let (store, folder) = (store().await, tempfile::tempdir().unwrap());
    let held = Arc::new(tokio::sync::Semaphore::new(0));
    let pages = Arc::new(Held(LocalFolder::open(folder.path()).unwrap(), Arc::clone(&held)));
    let cached = CachedStore::within(store.clone(), settings(0), (pages, 5000), &Registry::new()).unwrap();
    store.damage("object", |octets| octets[5] ^= 1);
    assert_ne!(cached.get("object", 0..50).await.unwrap(), octets(50));
    store.damage("object", |octets| octets[5] ^= 1);
    cached.forget("object");
    held.add_permits(100);
    settled(&cached).await;
    assert_eq!(cached.get("object", 0..50).await.unwrap(), octets(50));
}

#[tokio::test(start_paused = true)]
async fn a_page_keeps_no_more_than_itself_in_memory() {
    let store = store().await;
    let cached = CachedStore::new(store, settings(1 << 20), &Registry::new()).unwrap();
    cached.get("object", 0..300).await.unwrap();
    let page = |number| cached.inner.memory.peek(&PageId { object: "object".into(), number }).unwrap();
    let (first, second) = (page(0), page(1));
    assert_ne!(first.as_ptr().wrapping_add(first.len()), second.as_ptr(), "they are one piece of memory");
}

#[tokio::test(start_paused = true)]
async fn what_goes_by_is_counted_by_what_came() {
    let (store, registry) = (store().await, Registry::new());
    let cached = CachedStore::new(store, settings(1 << 20), &registry).unwrap();
    cached.get("object", 0..u64::MAX).await.unwrap();
    let shown = registry.render();
    assert!(shown.contains("ekitei_blob_cache_pages_total{from=\"past\"} 11"), "{shown}");
}

proptest! {
    #[test]
    fn any_range_is_what_the_store_has(ranges in proptest::collection::vec((0..1200u64, 0..700u64), 1..30), memory in 0..2000u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let store = store().await;
            let cached = CachedStore::new(store.clone(), settings(memory), &Registry::new()).unwrap();
            for (start, length) in ranges {
                let expected = store.get("object", start..start + length).await.unwrap();
                prop_assert_eq!(cached.get("object", start..start + length).await.unwrap(), expected);
            }
            Ok(())
        })?;
    }
}

/// Clones share what is kept.
#[tokio::test(start_paused = true)]
async fn a_clone_is_the_same_cache() {
    let store = Arc::new(store().await);
    let cached = CachedStore::new(Arc::clone(&store), settings(1 << 20), &Registry::new()).unwrap();
    cached.get("object", 0..10).await.unwrap();
    cached.clone().get("object", 0..10).await.unwrap();
    assert_eq!(store.calls(Operation::Get), 1);
}
