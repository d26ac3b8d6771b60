//! Several stores and several runs have one repository: none harms another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use ekitei_blob::{Fault, MemoryStore, ObjectErrorKind, ObjectFuture, ObjectInfo, ObjectStore, Operation};

use super::support::{World, account, keys, request};
use crate::{Depth, Error, Progress, Purpose, Repository, Retention};

const LAST: Retention = Retention { last: 1, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0 };

#[tokio::test]
async fn a_repository_whose_key_is_not_found_is_not_made_anew() {
    let world = World::of(&["alice"]).await;
    let is_late = Arc::new(AtomicBool::new(false));
    let late = Arc::clone(&is_late);
    let faults = move |operation: Operation, name: &str| {
        let hidden = late.load(Ordering::SeqCst) && operation == Operation::Get && name == "repository";
        Fault { before: hidden.then_some(ObjectErrorKind::NotFound), ..Fault::default() }
    };
    let objects = MemoryStore::with_faults(world.clock.clone(), faults);
    world.create(&objects).await.unwrap();
    is_late.store(true, Ordering::SeqCst);
    let refused = world.try_open(&objects).await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("repository") && refused.contains("snapshots/"), "{refused}");
    is_late.store(false, Ordering::SeqCst);
    assert_eq!(world.open(&objects).await.snapshots().await.unwrap().len(), 1);
}

#[tokio::test]
async fn of_two_that_make_a_repository_one_uses_it() {
    let (one, other) = (World::of(&["alice"]).await, World::of(&["bob"]).await);
    let objects = one.repository_objects();
    let repository = one.open(&objects).await;
    let lock = repository.lock(Purpose::Use, one.backup.holder().await.unwrap()).await.unwrap();
    // The other one looked before this one wrote, and writes after it.
    let elsewhere = one.repository_objects();
    other.create(&elsewhere).await.unwrap();
    let octets = elsewhere.get("repository", 0..u64::MAX).await.unwrap();
    objects.put("repository", vec![octets]).await.unwrap();
    let refused = one.backup.create(&repository, lock, &Progress::default()).await;
    assert!(refused.is_err(), "nobody could read it: {refused:?}");
    assert!(!objects.names().iter().any(|name| name.starts_with("snapshots/")));
    one.create(&objects).await.unwrap();
    assert_eq!(other.open(&objects).await.snapshots().await.unwrap().len(), 1);
}

#[tokio::test]
async fn each_store_keeps_its_snapshots_and_finds_its_latest() {
    let (one, other) = (World::of(&["alice"]).await, World::of(&["bob"]).await);
    one.deliver(&["alice"], "hello").await;
    let objects = one.repository_objects();
    let of_other = other.create(&objects).await.unwrap();
    one.clock.advance(std::time::Duration::from_secs(100));
    one.create(&objects).await.unwrap();
    let of_one = one.create(&objects).await.unwrap();
    let repository = one.open(&objects).await;
    let lock = repository.lock(Purpose::Prune, one.backup.holder().await.unwrap()).await.unwrap();
    let pruned = repository.prune(Arc::clone(&lock), &LAST, false, &Progress::default()).await.unwrap();
    lock.release().await;
    assert_eq!(pruned.kept, [of_other.id, of_one.id.clone()]);
    assert_eq!(one.verify(&objects, Depth::Full).await.problems, [] as [String; 0]);

    other.clock.advance(std::time::Duration::from_secs(1000));
    other.create(&objects).await.unwrap();
    let done = one.restore(&objects, &request(account("alice"))).await.unwrap();
    assert_eq!((done.snapshot, done.present), (of_one.id, 1));
}

/// Whoever has the lease of a store takes over from whoever had it before, who may be paused anywhere.
#[tokio::test]
async fn a_backup_that_was_paused_while_another_pruned_is_none() {
    let world = World::of(&["alice"]).await;
    world.deliver(&["alice"], "hello").await;
    let objects = world.repository_objects();
    let (repository, holder) = (world.open(&objects).await, world.backup.holder().await.unwrap());
    let paused = repository.lock(Purpose::Use, holder.clone()).await.unwrap();
    let next = repository.lock(Purpose::Prune, holder).await.unwrap();
    let created = world.backup.create(&repository, paused, &Progress::default()).await;
    assert!(matches!(created, Err(Error::LockLost)), "{created:?}");
    assert!(!objects.names().iter().any(|name| name.starts_with("snapshots/")));
    next.release().await;
}

#[tokio::test]
async fn a_pruning_that_was_paused_deletes_nothing_any_more() {
    let world = World::of(&["alice"]).await;
    let objects = world.repository_objects();
    for n in 0..3 {
        world.deliver(&["alice"], &format!("message {n}")).await;
        world.create(&objects).await.unwrap();
    }
    let (repository, holder) = (world.open(&objects).await, world.backup.holder().await.unwrap());
    let paused = repository.lock(Purpose::Prune, holder.clone()).await.unwrap();
    let _next = repository.lock(Purpose::Use, holder).await.unwrap();
    let before: Vec<String> = objects.names();
    let pruned = repository.prune(paused, &LAST, false, &Progress::default()).await;
    assert!(matches!(pruned, Err(Error::LockLost)), "{pruned:?}");
    assert!(before.iter().all(|name| objects.names().contains(name)));
}

/// The lock goes between the last look at it and the snapshot.
#[tokio::test]
async fn a_snapshot_that_came_too_late_is_taken_back() {
    let world = World::of(&["alice"]).await;
    let written = AtomicBool::new(false);
    let faults = move |operation: Operation, name: &str| {
        if operation == Operation::Put && name.starts_with("snapshots/") {
            written.store(true, Ordering::SeqCst);
        }
        let gone =
            operation == Operation::Head && name.starts_with("locks/") && written.load(Ordering::SeqCst);
        Fault { before: gone.then_some(ObjectErrorKind::NotFound), ..Fault::default() }
    };
    let objects = MemoryStore::with_faults(world.clock.clone(), faults);
    let created = world.create(&objects).await;
    assert!(matches!(created, Err(Error::LockLost)), "{created:?}");
    assert!(!objects.names().iter().any(|name| name.starts_with("snapshots/")));
}

/// A store where somebody adds a snapshot right after the packs were listed for the first time.
struct Growing {
    objects: MemoryStore,
    added: MemoryStore,
}

impl ObjectStore for Growing {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        self.objects.put(name, pieces)
    }

    fn get<'a>(&'a self, name: &'a str, range: std::ops::Range<u64>) -> ObjectFuture<'a, Bytes> {
        self.objects.get(name, range)
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        self.objects.head(name)
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        self.objects.delete(name)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> ObjectFuture<'a, Vec<ObjectInfo>> {
        Box::pin(async move {
            let listed = self.objects.list(prefix, after, limit).await?;
            if prefix == "packs/" {
                for name in self.added.names() {
                    self.objects.put(&name, vec![self.added.get(&name, 0..u64::MAX).await?]).await?;
                }
            }
            Ok(listed)
        })
    }
}

#[tokio::test]
async fn what_others_add_while_it_is_verified_is_not_missing() {
    let world = World::of(&["alice"]).await;
    let objects = world.repository_objects();
    world.deliver(&["alice"], "first").await;
    world.create(&objects).await.unwrap();
    let (before, added) = (world.repository_objects(), world.repository_objects());
    for name in objects.names() {
        before.put(&name, vec![objects.get(&name, 0..u64::MAX).await.unwrap()]).await.unwrap();
    }
    world.deliver(&["alice"], "second").await;
    world.create(&objects).await.unwrap();
    for name in objects.names().into_iter().filter(|name| !before.names().contains(name)) {
        added.put(&name, vec![objects.get(&name, 0..u64::MAX).await.unwrap()]).await.unwrap();
    }
    let growing = Arc::new(Growing { objects: before, added });
    let repository = Repository::open(growing, &keys(), world.clock.clone(), false).await.unwrap();
    let lock = repository.lock(Purpose::Use, world.backup.holder().await.unwrap()).await.unwrap();
    let report = repository.verify(&lock, Depth::Full, &Progress::default()).await.unwrap();
    assert_eq!((report.problems, report.snapshots), (Vec::new(), 1));
}

/// Its clock was set back, or stands still: others go by theirs.
#[tokio::test(start_paused = true)]
async fn a_lock_ends_whatever_becomes_of_the_time_of_day() {
    let world = World::of(&["alice"]).await;
    let repository = world.open(&world.repository_objects()).await;
    let lock = repository.lock(Purpose::Use, world.backup.holder().await.unwrap()).await.unwrap();
    tokio::time::advance(std::time::Duration::from_secs(24 * 60)).await;
    lock.check().unwrap();
    tokio::time::advance(std::time::Duration::from_secs(2 * 60)).await;
    assert!(matches!(lock.check(), Err(Error::LockLost)));
    // As long as it is renewed it holds.
    let lock = repository.lock(Purpose::Use, world.backup.holder().await.unwrap()).await.unwrap();
    for _ in 0..10 {
        let lost = tokio::time::timeout(std::time::Duration::from_secs(6 * 60), lock.keep()).await;
        assert!(lost.is_err(), "{lost:?}");
        lock.confirm().await.unwrap();
    }
}
