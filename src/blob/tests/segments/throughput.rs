//! What packing costs: requests for each message, and rows and octets for each delivery.

use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{Operation, Owner, Packing, Settings};
use rand::RngExt;

use crate::support::World;

/// Octets of a mail as they come: most are a few kilobytes, some have a picture, few are large; in the mean 20 kB.
fn size(world: &mut World) -> usize {
    match world.random.random_range(0..100) {
        0..70 => world.random.random_range(1_000..8_000),
        70..95 => world.random.random_range(8_000..60_000),
        _ => world.random.random_range(60_000..250_000),
    }
}

#[tokio::test(start_paused = true)]
async fn a_minute_of_a_hundred_messages_a_second_takes_few_puts() {
    let packing = Packing { min_age: Duration::from_secs(5), ..Packing::default() };
    let mut world = World::with(Settings { packing, ..Settings::default() }).await;
    for second in 0..60 {
        for _ in 0..100 {
            let (account, size) = (world.random.random_range(0..500), size(&mut world));
            world.store(account, size).await;
            world.clock.advance(Duration::from_millis(10));
        }
        if second % 5 == 0 {
            world.pack().await;
        }
    }
    // Even if all that waits is packed at once.
    world.clock.advance(Duration::from_secs(24 * 3600));
    world.pack().await;
    let figures = world.figures().await;
    assert_eq!((figures.hot_bodies, figures.live_bodies), (0, 6000));
    let puts = world.objects.calls(Operation::Put);
    println!("{puts} PUTs for 6000 messages of {} octets", figures.live_octets);
    assert!(puts <= 300, "{puts} PUTs are more than 0.05 for each message");
    world.check_bodies().await;
}

#[tokio::test(start_paused = true)]
async fn the_index_costs_a_delivery_no_commit_and_few_octets() {
    let mut written = Vec::new();
    for enabled in [false, true] {
        let packing = Packing { enabled, ..Packing::default() };
        let world = World::with(Settings { packing, ..Settings::default() }).await;
        let before = world.database.statistics();
        for _ in 0..100 {
            let body = Bytes::from_static(b"a small body");
            world.store_for(Owner::Account(1), body).await.unwrap();
        }
        let after = world.database.statistics();
        assert_eq!(after.commits - before.commits, 100);
        written.push(after.bytes_written - before.bytes_written);
    }
    let each = (written[1] - written[0]) / 100;
    println!("{each} octets for each delivery, as the store counts the size of a transaction");
    // A row and two additions, each of which counts for a hundred octets more than its key and value.
    assert!(each <= 450, "{each} octets");
}
