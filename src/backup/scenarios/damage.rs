//! What is damaged or gone is found and named, and what is not damaged is restored.

use ekitei_blob::{MemoryStore, ObjectStore as _};

use super::support::{World, account, request};
use crate::{Depth, Error};

async fn world_with_backup() -> (World, MemoryStore) {
    let world = World::of(&["alice"]).await;
    for n in 0..3 {
        world.deliver(&["alice"], &format!("message {n}")).await;
    }
    let objects = world.repository_objects();
    world.create(&objects).await.unwrap();
    (world, objects)
}

fn packs(objects: &MemoryStore) -> Vec<String> {
    objects.names().into_iter().filter(|name| name.starts_with("packs/")).collect()
}

#[tokio::test]
async fn every_flipped_octet_of_a_pack_is_found_by_a_full_verification() {
    let (world, objects) = world_with_backup().await;
    assert_eq!(packs(&objects).len(), 2, "one of bodies, one of documents");
    for pack in packs(&objects) {
        let length = objects.get(&pack, 0..u64::MAX).await.unwrap().len();
        for place in (0..length).step_by(37) {
            objects.damage(&pack, |octets| octets[place] ^= 1);
            let problems = world.verify(&objects, Depth::Full).await.problems;
            assert!(
                problems.iter().any(|problem| problem.contains(&pack)),
                "octet {place} of {pack}: {problems:?}"
            );
            objects.damage(&pack, |octets| octets[place] ^= 1);
        }
    }
    assert_eq!(world.verify(&objects, Depth::Full).await.problems, [] as [String; 0]);
}

#[tokio::test]
async fn a_pack_that_is_cut_off_or_gone_is_named_with_what_needs_it() {
    let (world, objects) = world_with_backup().await;
    for pack in packs(&objects) {
        let whole = objects.get(&pack, 0..u64::MAX).await.unwrap();
        objects.damage(&pack, |octets| octets.truncate(octets.len() / 2));
        for depth in [Depth::Quick, Depth::Full] {
            let problems = world.verify(&objects, depth).await.problems;
            assert!(problems.iter().any(|problem| problem.contains(&pack)), "{problems:?}");
        }
        objects.delete(&pack).await.unwrap();
        let problems = world.verify(&objects, Depth::Quick).await.problems;
        assert!(problems.iter().any(|problem| *problem == format!("{pack} is missing")), "{problems:?}");
        assert!(problems.iter().any(|problem| problem.starts_with("snapshot ")), "{problems:?}");
        let (_, done) = World::restored(&objects, "latest").await;
        assert!(matches!(&done, Err(Error::Damaged(what)) if what.contains(&pack)), "{done:?}");
        objects.put(&pack, vec![whole]).await.unwrap();
    }
    World::restored(&objects, "latest").await.1.unwrap();
}

#[tokio::test]
async fn an_index_that_is_damaged_or_gone_loses_nothing() {
    let (world, objects) = world_with_backup().await;
    let index = objects.names().into_iter().find(|name| name.starts_with("index/")).unwrap();
    objects.damage(&index, |octets| octets[30] ^= 1);
    let report = world.verify(&objects, Depth::Full).await;
    assert_eq!((report.problems.len(), report.checked), (1, report.chunks), "{:?}", report.problems);
    assert!(report.problems[0].contains(&index));
    objects.delete(&index).await.unwrap();
    assert_eq!(world.verify(&objects, Depth::Full).await.problems, [] as [String; 0]);
    let (restored, done) = World::restored(&objects, "latest").await;
    done.unwrap();
    assert_eq!(restored.picture().await, world.picture().await);
}

#[tokio::test]
async fn the_next_backup_brings_back_what_the_repository_lost() {
    let (world, objects) = world_with_backup().await;
    for pack in packs(&objects) {
        objects.delete(&pack).await.unwrap();
    }
    let snapshot = world.create(&objects).await.unwrap();
    assert_eq!(snapshot.totals.new_bodies, 3);
    let (restored, done) = World::restored(&objects, &snapshot.id).await;
    done.unwrap();
    assert_eq!(restored.picture().await, world.picture().await);
    assert_eq!(
        world.verify(&objects, Depth::Full).await.problems.len(),
        2,
        "the index names the lost packs still"
    );
}

#[tokio::test]
async fn a_snapshot_that_is_not_there_is_said_to_be_so() {
    let (world, objects) = world_with_backup().await;
    for which in ["1999", "latest-but-one"] {
        let asked = crate::restore::Request { snapshot: which.into(), ..request(account("alice")) };
        let refused = world.restore(&objects, &asked).await;
        assert!(matches!(refused, Err(Error::NotFound { what: "snapshot", .. })), "{refused:?}");
    }
    let refused = world.restore(&objects, &request(account("nobody"))).await;
    assert!(matches!(refused, Err(Error::NotFound { what: "account", .. })), "{refused:?}");
}
