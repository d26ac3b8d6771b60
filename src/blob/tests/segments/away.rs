//! The object store is away: bodies wait in rows, up to a limit, and are packed when it is back.

use bytes::Bytes;
use ekitei_blob::{Error, Operation, Owner, Packed, Packing, Settings};

use crate::support::{MAX_AGE, World, settings};

async fn world() -> World {
    let packing = Packing { hot_limit: 50_000, ..settings().packing };
    World::with(Settings { packing, ..settings() }).await
}

#[tokio::test(start_paused = true)]
async fn large_and_small_bodies_wait_for_it_in_rows_up_to_the_limit_and_are_packed_when_it_is_back() {
    let mut world = world().await;
    world.objects.set_away(true);
    world.store(1, 30_000).await;
    for n in 0..10 {
        world.clock.advance(std::time::Duration::from_secs(2));
        world.store(n, 1990).await;
    }
    world.clock.advance(std::time::Duration::from_secs(2));
    let full = world.store_for(Owner::Account(1), Bytes::from(vec![1; 2000])).await;
    assert!(full.is_ok(), "what compresses well fits");
    let octets = world.noise(2000);
    let full = world.store_for(Owner::Account(1), octets).await;
    assert!(matches!(full, Err(Error::NoRoom(_))), "{full:?}");
    world.check_bodies().await;

    world.objects.set_away(false);
    let octets = world.noise(2000);
    world.store_for(Owner::Account(1), octets).await.unwrap();
    assert_eq!(world.objects.names().len(), 1, "above the limit bodies become objects");
    // Until no more than half of the limit is used nothing is too young.
    world.pack().await;
    assert!(world.figures().await.hot_octets <= 25_000);
    world.check_bodies().await;
    world.clock.advance(std::time::Duration::from_secs(2));
    let puts = world.objects.calls(Operation::Put);
    world.store(1, 2000).await;
    assert_eq!(world.objects.calls(Operation::Put), puts, "there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_no_transaction_holds_is_refused_while_it_is_away() {
    let packing = Packing { hot_limit: 1 << 30, ..settings().packing };
    let mut world = World::with(Settings { packing, block_size: 256 << 10, ..settings() }).await;
    world.objects.set_away(true);
    world.store(1, 5_900_000).await;
    let octets = world.noise(6_100_000);
    assert!(matches!(world.store_for(Owner::Account(1), octets).await, Err(Error::NoRoom(_))));
    world.objects.set_away(false);
    world.clock.advance(MAX_AGE);
    assert_eq!(world.pack().await.segments, 1, "one body may be larger than a segment");
    world.check_bodies().await;
}

#[tokio::test(start_paused = true)]
async fn packing_fails_without_harm_while_it_is_away() {
    let mut world = world().await;
    world.store(1, 2000).await;
    world.clock.advance(MAX_AGE);
    world.objects.set_away(true);
    for lease in world.leases() {
        if let Err(error) = world.packer.round(&lease).await {
            assert!(matches!(error, Error::Objects(_)), "{error}");
        }
    }
    world.check_bodies().await;
    world.objects.set_away(false);
    assert_eq!(world.pack().await, Packed { segments: 1, bodies: 1, octets: 2000, ..Packed::default() });
    world.settle().await;
    world.check_nothing_is_left().await;
}
