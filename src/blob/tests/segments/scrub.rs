//! The scrubber tells damage, repairs what follows from other rows, and goes on where it was.

use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{FindingKind, Gate, ObjectStore, Owner, Packing, ScrubTally, Scrubbed, Scrubber, Settings};
use ekitei_kv::Database;
use ekitei_kv::keys::{key, subspace::BODIES};
use ekitei_kv::lease::{Lease, LeaseOptions, Leases};

use crate::support::{GRACE, MAX_AGE, World, settings};

const INTERVAL: Duration = Duration::from_secs(100_000);

pub async fn lease(database: &Database) -> Lease {
    let options = LeaseOptions {
        duration: Duration::from_secs(1_000_000),
        clock: ekitei_kv::MonotonicClock::system(),
        alone: false,
    };
    let leases = Leases::new(database.clone(), options);
    let set = leases.join(Scrubber::LEASES, [Scrubber::LEASE.to_owned()]);
    leases.renew().await.unwrap();
    // The leases are held as long as this process lives.
    std::mem::forget(leases);
    set.held().remove(0)
}

/// One whole run, and how many steps it took.
pub async fn scrub(world: &World, lease: &Lease) -> (ScrubTally, u32) {
    let scrubber = Scrubber::new(world.blobs.clone(), INTERVAL);
    world.blobs.request_scrub().await.unwrap();
    let mut steps = 0;
    loop {
        steps += 1;
        match scrubber.step(lease).await.unwrap() {
            Scrubbed::Finished(tally) => return (tally, steps),
            Scrubbed::Step { .. } => {}
            Scrubbed::Idle(time) => panic!("idle for {time:?}"),
        }
    }
}

pub async fn findings(world: &World) -> Vec<(FindingKind, String)> {
    let report = world.blobs.scrub_report().await.unwrap();
    report.findings.into_iter().map(|finding| (finding.kind, finding.name)).collect()
}

/// Hot bodies, segments and an object.
pub async fn full() -> World {
    let mut world = World::new().await;
    for n in 0..30 {
        world.store(n % 4, 1500).await;
    }
    world.store(1, 12_000).await;
    world.clock.advance(MAX_AGE);
    world.pack().await;
    for n in 0..5 {
        world.store(n, 1000).await;
    }
    world.clock.advance(GRACE * 2);
    world
}

#[tokio::test(start_paused = true)]
async fn everything_is_read_and_nothing_is_found_where_all_is_well() {
    let world = full().await;
    let lease = lease(&world.database).await;
    let figures = world.figures().await;
    let (tally, _) = scrub(&world, &lease).await;
    assert_eq!(tally.octets, 30 * 1500 + 12_000 + 5 * 1000);
    assert_eq!((tally.segments, tally.objects), (figures.segments, figures.segments + 1));
    assert_eq!((tally.repaired, tally.findings), (0, 0));
    let scrubber = Scrubber::new(world.blobs.clone(), INTERVAL);
    assert_eq!(scrubber.step(&lease).await.unwrap(), Scrubbed::Idle(INTERVAL));
    world.clock.advance(INTERVAL);
    assert!(matches!(scrubber.step(&lease).await.unwrap(), Scrubbed::Step { .. }));
}

#[tokio::test(start_paused = true)]
async fn damage_is_told_and_forgotten_when_it_is_gone() {
    let world = full().await;
    let lease = lease(&world.database).await;
    let (small, large): (Vec<_>, Vec<_>) =
        world.expected.iter().partition(|(_, expected)| expected.octets.len() < 12_000);
    let large = *large[0].0;
    let (packed, octets) = small.iter().map(|(id, expected)| (**id, expected.octets.clone())).next().unwrap();
    let flip = || {
        for name in world.objects.names() {
            world.objects.damage(&name, |object| {
                let at = object.windows(64).position(|window| window == &octets[..64]);
                let at = at.or((name == large.to_string()).then_some(5000));
                if let Some(at) = at {
                    object[at + 70] ^= 1;
                }
            });
        }
    };
    flip();
    world.objects.put("00112233445566778899aabbccddeeff", vec![Bytes::from_static(b"whose")]).await.unwrap();
    world.objects.put("backup/2026/data", vec![Bytes::from_static(b"not ours")]).await.unwrap();
    world.clock.advance(GRACE * 2);
    let (tally, _) = scrub(&world, &lease).await;
    assert_eq!(tally.findings, 3);
    let found = findings(&world).await;
    let orphan = (FindingKind::Orphan, "00112233445566778899aabbccddeeff".to_owned());
    let damaged = |body: ekitei_blob::BodyId| (FindingKind::Damaged, body.to_string());
    assert_eq!(found.len(), 3);
    assert!(found.contains(&damaged(packed)) && found.contains(&damaged(large)) && found.contains(&orphan));
    assert_eq!(
        world.objects.names().len(),
        2 + usize::try_from(tally.segments + 1).unwrap(),
        "none was deleted"
    );

    // Somebody brings the right octets back: the windows are where they were.
    for name in world.objects.names() {
        world.objects.damage(&name, |object| {
            if name == large.to_string() {
                object[5070] ^= 1;
            } else if let Some(at) = object.windows(64).position(|window| window == &octets[..64]) {
                object[at + 70] ^= 1;
            }
        });
    }
    world.objects.delete("00112233445566778899aabbccddeeff").await.unwrap();
    assert_eq!(scrub(&world, &lease).await.0.findings, 0);
    assert_eq!(findings(&world).await, []);
    world.check_bodies().await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_object_is_told() {
    let world = full().await;
    let lease = lease(&world.database).await;
    let names = world.objects.names();
    for name in &names {
        world.objects.delete(name).await.unwrap();
    }
    assert_eq!(scrub(&world, &lease).await.0.findings, names.len() as u64);
    assert!(findings(&world).await.iter().all(|(kind, _)| *kind == FindingKind::Missing));
}

#[tokio::test(start_paused = true)]
async fn bodies_of_the_release_before_are_entered_into_the_index() {
    let open = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let gate = Gate::new({
        let open = open.clone();
        move || open.load(std::sync::atomic::Ordering::SeqCst)
    });
    let mut world =
        World::with(Settings { packing: Packing { gate, ..settings().packing }, ..settings() }).await;
    for n in 0..9 {
        world.store(n, 1500).await;
    }
    let queued = Bytes::from(vec![9; 1500]);
    let prepared = &world.blobs.prepare(queued).await.unwrap();
    world
        .database
        .transact(|transaction| async move {
            prepared.store(&transaction, Owner::Transit).await?;
            ekitei_blob::add_reference(&transaction, prepared.id(), 5 | 1 << 63);
            Ok::<_, ekitei_blob::Error>(())
        })
        .await
        .unwrap();
    assert_eq!(world.figures().await.hot_bodies, 0);
    open.store(true, std::sync::atomic::Ordering::SeqCst);
    let lease = lease(&world.database).await;
    let (tally, _) = scrub(&world, &lease).await;
    assert_eq!((tally.repaired, tally.findings), (10, 0));
    assert_eq!(world.figures().await.hot_bodies, 10);
    let transit = world.blobs.figures().await.unwrap().pop().unwrap();
    assert_eq!((transit.0, transit.1.hot_bodies), (ekitei_blob::Group::TRANSIT, 1));
    assert_eq!(scrub(&world, &lease).await.0.repaired, 0);
    world.clock.advance(MAX_AGE);
    assert_eq!(world.pack().await.bodies, 10);
    world.check_bodies().await;
}

#[tokio::test(start_paused = true)]
async fn counters_are_put_right() {
    let world = full().await;
    let lease = lease(&world.database).await;
    let before = world.figures().await;
    world
        .database
        .transact(|transaction| async move {
            for group in 0..9u32 {
                transaction.add(&key(&(BODIES, 4u32, group, 1u32)), 12_345);
            }
            Ok::<_, ekitei_kv::Error>(())
        })
        .await
        .unwrap();
    assert_eq!(world.figures().await.hot_octets, before.hot_octets + 9 * 12_345);
    assert_eq!(scrub(&world, &lease).await.0.repaired, 9);
    assert_eq!(world.figures().await, before);
}

#[tokio::test(start_paused = true)]
async fn another_process_goes_on_where_one_stopped() {
    let world = full().await;
    let lease = lease(&world.database).await;
    let (whole, steps) = scrub(&world, &lease).await;
    world.blobs.request_scrub().await.unwrap();
    for step in 1..=steps {
        // A new process each time.
        let blobs = world.process(world.database.clone(), world.objects.clone(), settings());
        let scrubbed = Scrubber::new(blobs, INTERVAL).step(&lease).await.unwrap();
        match scrubbed {
            Scrubbed::Finished(tally) => assert_eq!((step, tally), (steps, whole)),
            _ => assert!(step < steps),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_it_has_all_packed_at_once() {
    let mut world = World::new().await;
    world.store(3, 1000).await;
    assert_eq!(world.pack().await.bodies, 0);
    world.blobs.request_packing().await.unwrap();
    assert_eq!(world.pack().await.bodies, 1);
    world.store(3, 1000).await;
    assert_eq!(world.pack().await.bodies, 0, "it was asked for once");
    let status = world.blobs.status().await.unwrap();
    assert_eq!((status.figures().hot_bodies, status.figures().live_bodies), (1, 1));
    assert_eq!(status.oldest(), Some(Duration::ZERO));
}
