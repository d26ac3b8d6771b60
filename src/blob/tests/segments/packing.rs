//! Hot bodies become segments.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;
use ekitei_blob::{
    Error, Fault, Gate, MemoryStore, ObjectErrorKind, Operation, Owner, Packed, Packer, Packing, Settings,
};
use ekitei_kv::lease::{LeaseOptions, Leases};

use crate::support::{GRACE, MAX_AGE, MIN_AGE, World, settings};

#[tokio::test(start_paused = true)]
async fn bodies_are_packed_when_they_fill_a_segment_or_are_old() {
    let mut world = World::new().await;
    for _ in 0..14 {
        world.store(7, 1000).await;
    }
    world.clock.advance(MIN_AGE);
    world.store(7, 1000).await;
    assert_eq!(
        world.pack().await,
        Packed::default(),
        "14,000 octets do not fill three quarters; one is too young"
    );
    world.clock.advance(MIN_AGE);
    assert_eq!(world.pack().await.bodies, 15);
    world.store(7, 1000).await;
    world.clock.advance(MAX_AGE - MIN_AGE);
    assert_eq!(world.pack().await, Packed::default());
    world.clock.advance(MIN_AGE);
    assert_eq!(world.pack().await.bodies, 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_packed_is_read_as_before_and_its_rows_are_gone() {
    let mut world = World::new().await;
    for n in 0..60 {
        world.store(n % 3, 900 + 30 * usize::try_from(n).unwrap()).await;
    }
    world.store(1, 0).await;
    let hot = world.figures().await;
    assert_eq!(hot.hot_bodies, 61);
    world.clock.advance(MAX_AGE);
    let packed = world.pack().await;
    assert_eq!((packed.bodies, packed.octets), (61, hot.hot_octets));
    assert_eq!(world.objects.calls(Operation::Put), packed.segments);
    assert!(packed.segments <= 3 + hot.hot_octets / 20_000);
    world.check_bodies().await;
    world.check_nothing_is_left().await;
    let figures = world.figures().await;
    assert_eq!((figures.hot_bodies, figures.live_bodies), (0, 61));
    assert_eq!(world.pack().await, Packed::default(), "and there is nothing more to be done");
}

#[tokio::test(start_paused = true)]
async fn a_range_of_a_packed_body_is_read_without_the_rest() {
    let mut world = World::new().await;
    let body = world.store(1, 2900).await;
    world.store(1, 2900).await;
    world.clock.advance(MAX_AGE);
    world.pack().await;
    let whole = world.expected[&body].octets.clone();
    assert_eq!(world.blobs.read(body, 1100..1900).await.unwrap(), whole.slice(1100..1900));
    assert_eq!(world.blobs.read(body, 0..9999).await.unwrap(), whole);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_transit_is_left_alone_until_it_is_old() {
    let world = World::new().await;
    let octets = Bytes::from(vec![7; 2000]);
    for _ in 0..30 {
        world.store_for(Owner::Transit, octets.clone()).await.unwrap();
    }
    world.clock.advance(MIN_AGE * 2);
    assert_eq!(world.pack().await, Packed::default());
    world.clock.advance(MAX_AGE);
    assert_eq!(world.pack().await.bodies, 30);
}

#[tokio::test(start_paused = true)]
async fn bodies_that_went_away_leave_the_index() {
    let mut world = World::new().await;
    let (gone, kept) = (world.store(1, 1000).await, world.store(1, 1000).await);
    world.remove(gone).await;
    world.clock.advance(GRACE);
    world.blobs.collect().await.unwrap();
    assert_eq!(world.figures().await.hot_bodies, 1, "the collector keeps the figures right");
    world.clock.advance(MAX_AGE);
    assert_eq!(world.pack().await.bodies, 1);
    assert!(matches!(world.blobs.read(gone, 0..9).await, Err(Error::NotFound(_))));
    assert!(world.blobs.read(kept, 0..9).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_packed_before_all_can_read_it() {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Gate::new({
        let open = Arc::clone(&open);
        move || open.load(Ordering::SeqCst)
    });
    let packing = Packing { gate, ..settings().packing };
    let mut world = World::with(Settings { packing, ..settings() }).await;
    world.store(1, 2000).await;
    world.clock.advance(MAX_AGE);
    assert_eq!(world.pack().await, Packed::default());
    assert_eq!(world.figures().await.hot_bodies, 0, "nor is it entered into the index");
    open.store(true, Ordering::SeqCst);
    world.store(1, 2000).await;
    world.clock.advance(MAX_AGE);
    assert_eq!(world.pack().await.bodies, 1);
    world.check_bodies().await;
}

#[tokio::test(start_paused = true)]
async fn who_lost_the_lease_swaps_nothing() {
    let mut world = World::new().await;
    let body = world.store(3, 2000).await;
    world.clock.advance(MAX_AGE);
    let lease = world.lease(ekitei_blob::Group::of(Owner::Account(3)));
    // Another process that is alone takes all over at once.
    let options = LeaseOptions { duration: MAX_AGE, clock: ekitei_kv::MonotonicClock::system(), alone: true };
    let other = Leases::new(world.database.clone(), options);
    let theirs = other.join(Packer::LEASES, [lease.name().to_owned()]);
    other.renew().await.unwrap();
    let result = world.packer.round(&lease).await;
    assert!(matches!(result, Err(Error::Store(ekitei_kv::Error::Fenced))), "{result:?}");
    assert!(world.objects.names().is_empty());
    assert_eq!(world.packer.round(&theirs.held()[0]).await.unwrap().bodies, 1);
    assert!(world.blobs.read(body, 0..9).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_packer_that_was_paused_for_the_grace_does_not_swap() {
    let mut world = World::new().await;
    world.store(3, 2000).await;
    world.clock.advance(MAX_AGE);
    // While its object is on its way, the collector runs twice, a grace period apart.
    let (clock, collector) = (world.clock.clone(), world.blobs.clone());
    let paused = Arc::new(AtomicBool::new(true));
    let slow = MemoryStore::with_faults(clock.clone(), move |operation: Operation, _: &str| {
        let first = operation == Operation::Put && paused.swap(false, Ordering::SeqCst);
        Fault { latency: if first { GRACE } else { std::time::Duration::ZERO }, ..Fault::default() }
    });
    let packer = Packer::new(world.process(world.database.clone(), slow, settings()));
    let lease = world.lease(ekitei_blob::Group::of(Owner::Account(3)));
    let collecting = async {
        tokio::time::sleep(GRACE / 2).await;
        clock.advance(GRACE);
        collector.collect().await.unwrap();
    };
    let (result, ()) = tokio::join!(packer.round(&lease), collecting);
    assert!(matches!(result, Err(Error::Store(ekitei_kv::Error::Fenced))), "{result:?}");
    world.check_bodies().await;
    assert_eq!(world.figures().await.segments, 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_shows_an_object_late_or_wrong_is_not_trusted() {
    for (fault, packs) in [
        (Fault { invisible: std::time::Duration::from_secs(2), ..Fault::default() }, true),
        (Fault { invisible: std::time::Duration::from_secs(60), ..Fault::default() }, false),
    ] {
        let mut world = World::new().await;
        world.store(3, 2000).await;
        world.clock.advance(MAX_AGE);
        let late = MemoryStore::with_faults(world.clock.clone(), move |operation: Operation, _: &str| {
            if operation == Operation::Put { fault.clone() } else { Fault::default() }
        });
        let blobs = world.process(world.database.clone(), late, settings());
        let lease = world.lease(ekitei_blob::Group::of(Owner::Account(3)));
        let result = Packer::new(blobs.clone()).round(&lease).await;
        assert_eq!(result.is_ok_and(|packed| packed.bodies == 1), packs);
        for (id, expected) in &world.expected {
            assert_eq!(blobs.read(*id, 0..u64::MAX).await.unwrap(), expected.octets);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_whose_object_went_away_looks_for_the_body_again() {
    let mut world = World::new().await;
    let body = world.store(3, 2000).await;
    world.clock.advance(MAX_AGE);
    let gone = Arc::new(AtomicU32::new(0));
    let objects = {
        let gone = Arc::clone(&gone);
        MemoryStore::with_faults(world.clock.clone(), move |operation: Operation, _: &str| {
            let fails = operation == Operation::Get
                && gone.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            Fault { before: fails.then_some(ObjectErrorKind::NotFound), ..Fault::default() }
        })
    };
    let blobs = world.process(world.database.clone(), objects, settings());
    let lease = world.lease(ekitei_blob::Group::of(Owner::Account(3)));
    assert_eq!(Packer::new(blobs.clone()).round(&lease).await.unwrap().bodies, 1);
    gone.store(2, Ordering::SeqCst);
    assert_eq!(blobs.read(body, 0..u64::MAX).await.unwrap(), world.expected[&body].octets);
    gone.store(3, Ordering::SeqCst);
    assert!(matches!(blobs.read(body, 0..u64::MAX).await, Err(Error::Objects(_))));
}
