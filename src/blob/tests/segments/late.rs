//! An object that is sent by a process which was paused for longer than the grace period: it comes after the collector has given it up.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{
    Error, FindingKind, MemoryStore, ObjectError, ObjectFuture, ObjectInfo, ObjectStore, Owner, Packer,
};
use ekitei_kv::lease::Lease;

use crate::scrub;
use crate::support::{GRACE, MAX_AGE, World, settings};

/// The name and the octets of an object.
type Sent = (String, Vec<Bytes>);

/// What is written through it is on its way until it arrives.
#[derive(Clone)]
struct Slow {
    objects: MemoryStore,
    on_the_way: Arc<Mutex<Vec<Sent>>>,
    /// Whether the writer is told that it arrived.
    pretends: bool,
}

impl Slow {
    fn new(world: &World, pretends: bool) -> Self {
        Self { objects: world.objects.clone(), on_the_way: Arc::default(), pretends }
    }

    /// It arrives now; the name of the only one.
    async fn arrive(&self) -> String {
        let sent = std::mem::take(&mut *self.on_the_way.lock().unwrap());
        let [(name, pieces)]: [_; 1] = sent.try_into().unwrap();
        self.objects.put(&name, pieces).await.unwrap();
        name
    }
}

impl ObjectStore for Slow {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        self.on_the_way.lock().unwrap().push((name.to_owned(), pieces));
        let answer = if self.pretends { Ok(()) } else { Err(ObjectError::unavailable("no answer")) };
        Box::pin(async move { answer })
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
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
        self.objects.list(prefix, after, limit)
    }
}

/// Time goes by, and the collector gives up what nobody came back to.
async fn give_up(world: &World) {
    for _ in 0..3 {
        world.clock.advance(GRACE);
        world.blobs.collect().await.unwrap();
    }
    assert!(world.objects.names().is_empty());
}

/// The object that came late goes with the next check, and is told to nobody.
async fn check_it_goes(world: &World, lease: &Lease, name: &str) {
    assert_eq!(world.objects.names(), [name.to_owned()]);
    // It may be on its way for good reasons, for all that anybody knows.
    assert_eq!(scrub::scrub(world, lease).await.0.repaired, 0);
    world.clock.advance(GRACE * 2);
    let (tally, _) = scrub::scrub(world, lease).await;
    assert_eq!((tally.repaired, tally.findings), (1, 0), "{:?}", scrub::findings(world).await);
    world.clock.advance(GRACE);
    world.blobs.collect().await.unwrap();
    assert!(world.objects.names().is_empty());
    assert_eq!(world.blobs.status().await.unwrap().backlog.objects, 0);
}

#[tokio::test(start_paused = true)]
async fn a_large_body_whose_delivery_was_paused_is_deleted_and_never_delivered() {
    let mut world = World::new().await;
    let lease = scrub::lease(&world.database).await;
    let slow = Slow::new(&world, true);
    let blobs = world.process(world.database.clone(), slow.clone(), settings());
    let octets = world.noise(12_000);
    let prepared = &blobs.prepare(octets).await.unwrap();
    let deliver = async || {
        let stored =
            world.database.transact(|tx| async move { prepared.store(&tx, Owner::Account(1)).await });
        assert!(matches!(stored.await, Err(Error::IntentExpired(_))));
    };
    give_up(&world).await;
    deliver().await;
    let name = slow.arrive().await;
    deliver().await;
    check_it_goes(&world, &lease, &name).await;
    deliver().await;
    // It may come more than once.
    world.objects.put(&name, vec![Bytes::from_static(b"again")]).await.unwrap();
    check_it_goes(&world, &lease, &name).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_became_rows_instead_is_not_touched() {
    let mut world = World::new().await;
    let lease = scrub::lease(&world.database).await;
    let slow = Slow::new(&world, false);
    let blobs = world.process(world.database.clone(), slow.clone(), settings());
    let octets = world.noise(12_000);
    let prepared = &blobs.prepare(octets.clone()).await.unwrap();
    world
        .database
        .transact(|transaction| async move {
            prepared.store(&transaction, Owner::Account(1)).await?;
            ekitei_blob::add_reference(&transaction, prepared.id(), 1);
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    give_up(&world).await;
    let name = slow.arrive().await;
    check_it_goes(&world, &lease, &name).await;
    assert!(world.blobs.read(prepared.id(), 0..u64::MAX).await.unwrap() == octets);
}

#[tokio::test(start_paused = true)]
async fn a_segment_whose_packer_was_paused_is_deleted() {
    let mut world = World::new().await;
    let lease = scrub::lease(&world.database).await;
    world.store(5, 2000).await;
    world.clock.advance(MAX_AGE);
    let slow = Slow::new(&world, false);
    let packer = Packer::new(world.process(world.database.clone(), slow.clone(), settings()));
    for lease in world.leases() {
        drop(packer.round(&lease).await);
    }
    give_up(&world).await;
    let name = slow.arrive().await;
    check_it_goes(&world, &lease, &name).await;
    world.check_bodies().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_not_given_up_here_is_told_and_left_alone() {
    let world = World::new().await;
    let lease = scrub::lease(&world.database).await;
    // Of another cluster in the same bucket, or of rows that are lost.
    for name in ["00112233445566778899aabbccddeeff", "segments/00112233445566778899aabbccddeeff"] {
        world.objects.put(name, vec![Bytes::from_static(b"whose")]).await.unwrap();
    }
    for _ in 0..5 {
        world.clock.advance(Duration::from_secs(30 * 24 * 3600));
        let (tally, _) = scrub::scrub(&world, &lease).await;
        assert_eq!((tally.repaired, tally.findings), (0, 2));
        world.blobs.collect().await.unwrap();
    }
    assert_eq!(world.objects.names().len(), 2);
    assert!(scrub::findings(&world).await.iter().all(|(kind, _)| *kind == FindingKind::Orphan));
}
