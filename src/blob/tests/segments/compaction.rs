//! Segments lose their bodies, are rewritten, and go.

use ekitei_blob::{BodyId, Compacted};

use crate::support::{GRACE, MAX_AGE, World};

/// Twenty bodies of one account in two segments.
async fn two_segments(world: &mut World) -> Vec<BodyId> {
    let mut bodies = Vec::new();
    for _ in 0..20 {
        bodies.push(world.store(5, 2000).await);
        world.clock.advance(std::time::Duration::from_millis(1));
    }
    world.clock.advance(MAX_AGE);
    assert_eq!(world.pack().await.segments, 2);
    bodies
}

async fn compact(world: &World) -> Compacted {
    let mut all = Compacted::default();
    for lease in world.leases() {
        let compacted = world.packer.compact(&lease).await.unwrap();
        all.rewritten += compacted.rewritten;
        all.retired += compacted.retired;
        all.bodies += compacted.bodies;
        all.damaged += compacted.damaged;
    }
    all
}

async fn remove(world: &mut World, bodies: &[BodyId]) {
    for body in bodies {
        world.remove(*body).await;
    }
    world.clock.advance(GRACE);
    world.blobs.collect().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_empty_segment_goes_after_the_grace() {
    let mut world = World::new().await;
    let bodies = two_segments(&mut world).await;
    remove(&mut world, &bodies[..10]).await;
    assert_eq!(compact(&world).await, Compacted { retired: 1, ..Compacted::default() });
    world.blobs.collect().await.unwrap();
    assert_eq!(world.objects.names().len(), 2, "somebody may be reading it");
    world.clock.advance(GRACE);
    world.blobs.collect().await.unwrap();
    assert_eq!(world.objects.names().len(), 1);
    world.check_bodies().await;
    world.check_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_segment_is_rewritten_when_less_than_half_of_it_lives() {
    let mut world = World::new().await;
    let bodies = two_segments(&mut world).await;
    remove(&mut world, &bodies[..5]).await;
    assert_eq!(compact(&world).await, Compacted::default(), "half of it lives");
    assert_eq!(compact(&world).await, Compacted::default());
    remove(&mut world, &bodies[5..6]).await;
    let done = compact(&world).await;
    assert_eq!(done, Compacted { rewritten: 1, retired: 1, bodies: 4, ..Compacted::default() });
    assert_eq!(world.objects.names().len(), 3);
    world.check_bodies().await;
    world.settle().await;
    assert_eq!(world.objects.names().len(), 2);
    world.check_bodies().await;
    world.check_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn who_read_the_record_before_still_finds_the_old_object() {
    let mut world = World::new().await;
    let bodies = two_segments(&mut world).await;
    let before = world.objects.names();
    remove(&mut world, &bodies[..8]).await;
    assert_eq!(compact(&world).await.rewritten, 1);
    world.blobs.collect().await.unwrap();
    assert!(before.iter().all(|name| world.objects.names().contains(name)));
}

#[tokio::test(start_paused = true)]
async fn small_segments_are_merged_when_there_are_many() {
    let mut world = World::new().await;
    for round in 0..8 {
        for _ in 0..2 {
            world.store(5, 1000).await;
        }
        world.clock.advance(MAX_AGE);
        assert_eq!(world.pack().await.segments, 1, "round {round}");
        let merged = compact(&world).await.rewritten;
        assert_eq!(merged, if round == 7 { 8 } else { 0 });
    }
    world.settle().await;
    assert_eq!(world.objects.names().len(), 1);
    world.check_bodies().await;
    world.check_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_body_stays_where_it_is_and_the_others_move() {
    let mut world = World::new().await;
    let bodies = two_segments(&mut world).await;
    remove(&mut world, &bodies[..8]).await;
    let damaged = bodies[8];
    let octets = world.expected[&damaged].octets.clone();
    for name in world.objects.names() {
        world.objects.damage(&name, |object| {
            if let Some(at) = object.windows(100).position(|window| window == &octets[..100]) {
                object[at + 50] ^= 1;
            }
        });
    }
    let done = compact(&world).await;
    assert_eq!((done.bodies, done.damaged, done.retired), (1, 1, 0));
    world.settle().await;
    assert!(world.blobs.read(damaged, 0..9999).await.is_err());
    assert!(world.blobs.read(damaged, 1000..9999).await.is_ok(), "what is sound of it is still read");
    assert_eq!(compact(&world).await, Compacted::default(), "it is not tried over and over");
}
