//! What cannot be read, or deleted, is left alone, and does not keep the others from being worked on.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{
    Blobs, BodyId, FindingKind, Group, MemoryStore, ObjectError, ObjectErrorKind, ObjectFuture, ObjectInfo,
    ObjectStore, Owner, Packer, Scrubbed, Scrubber,
};
use ekitei_kv::keys::{key, subspace::BODIES};
use ekitei_kv::{Link, LinkFuture};

use crate::scrub;
use crate::support::{GRACE, MAX_AGE, World, settings};

/// A store that never gives or deletes one of its objects.
struct Stubborn(MemoryStore, String);

impl Stubborn {
    fn check(&self, name: &str) -> Result<(), ObjectError> {
        if name == self.1 {
            return Err(ObjectError::new(ObjectErrorKind::Unavailable, "500 Internal Server Error"));
        }
        Ok(())
    }
}

impl ObjectStore for Stubborn {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        self.0.put(name, pieces)
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
        Box::pin(async move {
            self.check(name)?;
            self.0.get(name, range).await
        })
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        self.0.head(name)
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        Box::pin(async move {
            self.check(name)?;
            self.0.delete(name).await
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> ObjectFuture<'a, Vec<ObjectInfo>> {
        self.0.list(prefix, after, limit)
    }
}

/// Two segments of ten bodies each, and the names of their objects.
async fn two_segments() -> (World, Vec<BodyId>, Vec<String>) {
    let mut world = World::new().await;
    let mut bodies = Vec::new();
    for _ in 0..20 {
        bodies.push(world.store(5, 2000).await);
        world.clock.advance(Duration::from_millis(1));
    }
    world.clock.advance(MAX_AGE);
    assert_eq!(world.pack().await.segments, 2);
    let names = world.objects.names();
    (world, bodies, names)
}

/// The key of a table's row of a segment.
fn row(table: u32, object: &str) -> Vec<u8> {
    let segment = BodyId::parse(&object["segments/".len()..]).unwrap();
    key(&(BODIES, table, segment.as_bytes().as_slice()))
}

async fn set(world: &World, row: &[u8], value: &[u8]) {
    world
        .database
        .transact(|transaction| async move {
            transaction.set(row, value);
            Ok::<_, ekitei_kv::Error>(())
        })
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_segment_of_a_later_release_is_not_taken_for_none() {
    let (world, _, names) = two_segments().await;
    // Its packer died before its end.
    set(&world, &row(5, &names[0]), &[200, 1, 2, 3]).await;
    set(&world, &row(8, &names[0]), &[0; 9]).await;
    // Of this one the row is lost, and there is an intent that nobody knows.
    set(&world, &row(8, &names[1]), &[7, 0, 0, 0, 0, 0, 0, 0, 0]).await;
    world.settle().await;
    assert_eq!(world.objects.names(), names);
    // Not even if somebody decided so.
    for name in &names {
        set(&world, &row(8, name), &[1, 0, 0, 0, 0, 0, 0, 0, 0]).await;
    }
    world.settle().await;
    assert_eq!(world.objects.names(), names);
    world.check_bodies().await;
}

#[tokio::test(start_paused = true)]
async fn the_scrubber_goes_on_after_what_it_cannot_read() {
    for damage in [false, true] {
        let (mut world, _, names) = two_segments().await;
        let large = world.store(1, 12_000).await;
        world.clock.advance(GRACE * 2);
        let lease = scrub::lease(&world.database).await;
        let stubborn = if damage { large.to_string() } else { names[0].clone() };
        if damage {
            set(&world, &row(5, &names[0]), &[200]).await;
        }
        let objects = Stubborn(world.objects.clone(), stubborn);
        let blobs = world.process(world.database.clone(), objects, settings());
        let scrubber = Scrubber::new(blobs, Duration::from_secs(100_000));
        let tally = loop {
            if let Scrubbed::Finished(tally) = scrubber.step(&lease).await.unwrap() {
                break tally;
            }
        };
        assert_eq!((tally.segments, tally.objects), (2, 3));
        let found: Vec<_> = world.blobs.scrub_report().await.unwrap().findings;
        assert!(found.iter().all(|finding| finding.kind == FindingKind::Damaged), "{found:?}");
        let mut found: Vec<_> = found.into_iter().map(|finding| finding.name).collect();
        found.sort();
        let mut expected = vec![names[0].clone()];
        if damage {
            expected.insert(0, large.to_string());
        }
        assert_eq!(found, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn the_collector_deletes_the_others() {
    let (mut world, bodies, names) = two_segments().await;
    for body in bodies {
        world.remove(body).await;
    }
    let objects = Stubborn(world.objects.clone(), names[0].clone());
    let blobs = world.process(world.database.clone(), objects, settings());
    for _ in 0..4 {
        world.clock.advance(GRACE);
        blobs.collect().await.unwrap();
        for lease in world.leases() {
            Packer::new(blobs.clone()).compact(&lease).await.unwrap();
        }
    }
    assert_eq!(world.objects.names(), [names[0].clone()]);
    world.settle().await;
    assert!(world.objects.names().is_empty());
}

#[tokio::test(start_paused = true)]
async fn compaction_rewrites_the_others() {
    let (mut world, bodies, names) = two_segments().await;
    // Less lives in the first one.
    for body in bodies[..9].iter().chain(&bodies[10..18]) {
        world.remove(*body).await;
    }
    world.clock.advance(GRACE);
    world.blobs.collect().await.unwrap();
    let emptiest = segment_of(&world, bodies[9]);
    assert!(names.contains(&emptiest));
    let objects = Stubborn(world.objects.clone(), emptiest);
    let packer = Packer::new(world.process(world.database.clone(), objects, settings()));
    let (mut moved, mut damaged) = (0, 0);
    for lease in world.leases() {
        let done = packer.compact(&lease).await.unwrap();
        moved += done.bodies;
        damaged += done.damaged;
    }
    assert_eq!((moved, damaged), (2, 1));
    world.settle().await;
    world.check_bodies().await;
    // When the last one in it dies it goes.
    world.remove(bodies[9]).await;
    world.settle().await;
    world.check_nothing_is_left().await;
}

/// The name of the object that a body is in.
fn segment_of(world: &World, body: BodyId) -> String {
    let octets = &world.expected[&body].octets;
    let holds = |name: &String| {
        let mut found = false;
        world.objects.damage(name, |object| {
            found = object.windows(64).any(|window| window == &octets[..64]);
        });
        found
    };
    world.objects.names().into_iter().find(holds).unwrap()
}

/// Runs the collector of another process at one step of this one's.
struct Meanwhile {
    steps: AtomicI64,
    blobs: Blobs,
}

impl Link for Meanwhile {
    fn pass(&self) -> LinkFuture<'_> {
        Box::pin(async {
            if self.steps.fetch_sub(1, Ordering::SeqCst) == 0 {
                self.blobs.collect().await.unwrap();
            }
            Ok(())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_segment_goes_whenever_the_last_body_in_it_dies() {
    let mut steps = 0;
    loop {
        let (mut world, bodies, _) = two_segments().await;
        for body in &bodies[..9] {
            world.remove(*body).await;
        }
        world.clock.advance(GRACE);
        world.blobs.collect().await.unwrap();
        let objects = Stubborn(world.objects.clone(), segment_of(&world, bodies[9]));
        world.remove(bodies[9]).await;
        world.clock.advance(GRACE);
        let meanwhile = Arc::new(Meanwhile { steps: AtomicI64::new(steps), blobs: world.blobs.clone() });
        let database = world.database.behind(meanwhile.clone());
        let packer = Packer::new(world.process(database, objects, settings()));
        packer.compact(&world.lease(Group::of(Owner::Account(5)))).await.unwrap();
        world.settle().await;
        world.check_nothing_is_left().await;
        if meanwhile.steps.load(Ordering::SeqCst) >= 0 {
            break;
        }
        steps += 1;
    }
    assert!(steps > 5, "{steps} steps");
}
