//! The process dies at each write to the repository: nothing that was complete is lost, and the next run goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ekitei_blob::{Fault, MemoryStore, ObjectErrorKind, Operation};

use super::support::{World, everything, keys};
use crate::{Depth, Error, Progress, Purpose, Repository, Retention};

/// A store where everything fails after so many writes and deletions.
struct Mortal {
    objects: MemoryStore,
    left: Arc<AtomicI64>,
}

impl Mortal {
    fn new(world: &World) -> Self {
        let left = Arc::new(AtomicI64::new(i64::MAX));
        let budget = Arc::clone(&left);
        let faults = move |operation: Operation, _: &str| {
            let writes = matches!(operation, Operation::Put | Operation::Delete);
            let left = budget.fetch_sub(i64::from(writes), Ordering::SeqCst);
            let dead = left <= 0;
            Fault { before: dead.then_some(ObjectErrorKind::Unavailable), ..Fault::default() }
        };
        Self { objects: MemoryStore::with_faults(world.clock.clone(), faults), left }
    }

    fn dies_after(&self, writes: i64) {
        self.left.store(writes, Ordering::SeqCst);
    }

    fn lives(&self) {
        self.left.store(i64::MAX, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_run_that_dies_anywhere_leaves_a_sound_repository_and_the_next_one_goes_on() {
    for writes in 0.. {
        let world = World::of(&["alice", "bob"]).await;
        let mortal = Mortal::new(&world);
        world.deliver(&["alice", "bob"], "first").await;
        let first = world.create(&mortal.objects).await.unwrap();
        let before = world.picture().await;
        world.deliver(&["alice"], "second").await;
        world.deliver(&["bob"], &"long ".repeat(3000)).await;
        mortal.dies_after(writes);
        let died = world.create(&mortal.objects).await;
        mortal.lives();
        let report = world.verify(&mortal.objects, Depth::Full).await;
        assert_eq!(report.problems, [] as [String; 0], "after {writes} writes");
        let (restored, done) = World::restored(&mortal.objects, &first.id).await;
        done.unwrap();
        assert_eq!(restored.picture().await, before, "after {writes} writes");
        let after = world.picture().await;
        let again = world.create(&mortal.objects).await.unwrap();
        let (restored, done) = World::restored(&mortal.objects, &again.id).await;
        done.unwrap();
        assert_eq!(restored.picture().await, after, "after {writes} writes");
        if died.is_ok() {
            assert!(writes > 4, "the run was not interrupted often enough");
            break;
        }
    }
}

#[tokio::test]
async fn bodies_that_a_run_wrote_before_it_died_are_not_read_again() {
    let world = World::of(&["alice"]).await;
    let mortal = Mortal::new(&world);
    world.deliver(&["alice"], "first").await;
    // Repository, lock, the pack of bodies; then it dies.
    mortal.dies_after(3);
    assert!(world.create(&mortal.objects).await.is_err());
    mortal.lives();
    assert!(mortal.objects.names().iter().any(|name| name.starts_with("packs/")));
    let snapshot = world.create(&mortal.objects).await.unwrap();
    assert_eq!((snapshot.totals.messages, snapshot.totals.new_bodies), (1, 0));
    let report = world.verify(&mortal.objects, Depth::Full).await;
    assert_eq!((report.problems.len(), report.checked), (0, report.chunks));
}

async fn prune(world: &World, objects: &MemoryStore, retention: Retention) -> crate::Result<crate::Pruned> {
    let repository = world.try_open(objects).await?;
    let lock = repository.lock(Purpose::Prune, world.backup.holder().await?).await?;
    let pruned = repository.prune(Arc::clone(&lock), &retention, false, &Progress::default()).await;
    lock.release().await;
    pruned
}

#[tokio::test]
async fn pruning_that_dies_anywhere_loses_nothing_that_is_kept_and_the_next_one_cleans_up() {
    for writes in 0.. {
        let world = World::of(&["alice"]).await;
        let mortal = Mortal::new(&world);
        for n in 0..4 {
            let long = format!(
                "message {n} {}",
                (0..2000).map(|k| format!("{:x}", (k * 7919 + n * 104_729) % 65_521)).collect::<String>()
            );
            world.deliver(&["alice"], &long).await;
            if n == 2 {
                let (alice, inbox) = (world.id("alice").await, ekitei_mailstore::MailboxId::INBOX);
                let scope = ekitei_mailstore::ExpungeScope::Exactly(
                    (1..=2).filter_map(ekitei_mailstore::Uid::new).collect(),
                );
                world.backup.mailstore.expunge(alice, inbox, &scope).await.unwrap();
            }
            world.create(&mortal.objects).await.unwrap();
        }
        let picture = world.picture().await;
        mortal.dies_after(writes);
        let died = prune(&world, &mortal.objects, Retention { last: 1, ..Retention::default() }).await;
        mortal.lives();
        assert_eq!(
            world.verify(&mortal.objects, Depth::Full).await.problems,
            [] as [String; 0],
            "after {writes}"
        );
        let pruned =
            prune(&world, &mortal.objects, Retention { last: 1, ..Retention::default() }).await.unwrap();
        assert_eq!(pruned.kept.len(), 1);
        let report = world.verify(&mortal.objects, Depth::Full).await;
        assert_eq!((report.problems.len(), report.snapshots, report.messages), (0, 1, 2), "after {writes}");
        assert!(report.unneeded < report.chunks / 2, "{report:?}");
        let (restored, done) = World::restored(&mortal.objects, "latest").await;
        done.unwrap();
        assert_eq!(restored.picture().await, picture, "after {writes} writes");
        if died.is_ok() {
            assert!(writes > 5, "pruning was not interrupted often enough");
            break;
        }
    }
}

#[tokio::test]
async fn a_restore_that_was_interrupted_goes_on() {
    let world = World::of(&["alice", "bob"]).await;
    let objects = world.repository_objects();
    world.append("alice", "INBOX", &(0..30).map(|n| format!("message {n}")).collect::<Vec<_>>()).await;
    world.deliver(&["alice", "bob"], "for both").await;
    let snapshot = world.create(&objects).await.unwrap();
    // Nothing can be read after so many reads.
    for reads in 0.. {
        let reader = Mortal::new(&world);
        for name in objects.names() {
            use ekitei_blob::ObjectStore;
            let octets = objects.get(&name, 0..u64::MAX).await.unwrap();
            reader.objects.put(&name, vec![octets]).await.unwrap();
        }
        let database = ekitei_kv::Database::in_memory();
        let first = World::with(10, 0, database.clone());
        let repository = first.open(&reader.objects).await;
        let incarnation = crate::restore::begin_all(&database, &repository, &snapshot.id).await.unwrap();
        let restored = World::with(10, incarnation, database);
        let progress = Progress::default();
        let lock = repository.lock(Purpose::Use, restored.backup.holder().await.unwrap()).await.unwrap();
        let request = everything(&snapshot.id);
        let unfinished = crate::restore::unfinished(&restored.backup.database).await.unwrap();
        assert_eq!(unfinished.as_ref(), Some(&snapshot.id), "nobody is served");
        let mut restoring =
            Box::pin(restored.backup.restore(&repository, Arc::clone(&lock), &request, &progress));
        let mut polls = 0;
        let done = std::future::poll_fn(|context| {
            polls += 1;
            if polls > reads {
                return std::task::Poll::Ready(None);
            }
            restoring.as_mut().poll(context).map(Some)
        })
        .await;
        drop(restoring);
        let finished = match done {
            Some(done) => done.is_ok(),
            None => false,
        };
        restored.restore(&reader.objects, &request).await.map_or_else(
            // Nothing is left to be done, and the store is in use.
            |error| assert!(finished && matches!(error, Error::Invalid(_)), "{error}"),
            |_| (),
        );
        assert_eq!(restored.picture().await, world.picture().await, "after {reads} steps");
        assert_eq!(crate::restore::unfinished(&restored.backup.database).await.unwrap(), None);
        if finished {
            break;
        }
    }
}

#[tokio::test]
async fn a_repository_opens_only_with_its_key() {
    let world = World::of(&["alice"]).await;
    let objects = world.repository_objects();
    world.create(&objects).await.unwrap();
    let open =
        async |keys| Repository::open(Arc::new(objects.clone()), &keys, world.clock.clone(), false).await;
    let other = crate::OperatorKeys(vec![super::support::key(9)]);
    assert!(matches!(open(other).await.err(), Some(Error::WrongKey)));
    let rotated = crate::OperatorKeys(vec![super::support::key(9), super::support::key(7)]);
    open(rotated).await.unwrap();
    let new = crate::OperatorKeys(vec![super::support::key(9)]);
    assert_eq!(open(new).await.unwrap().snapshots().await.unwrap().len(), 1, "it took the key in force");
    assert!(matches!(open(keys()).await.err(), Some(Error::WrongKey)));
}
