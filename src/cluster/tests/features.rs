//! Features become active when every live process understands them, and never before.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use ekitei_cluster::{Cluster, Description, Feature, JoinError, NodeState, Parts, Settings};
use ekitei_kv::clock::ManualClock;
use ekitei_kv::keys::{key, subspace::CLUSTER};
use ekitei_kv::lease::{LeaseOptions, Leases};
use ekitei_kv::schema::{SCHEMA, WITHOUT_FEATURES, schema};
use ekitei_kv::{Database, Error, ManualMonotonicClock, MonotonicClock, Transaction};
use ekitei_telemetry::Registry;

const LEASE: Duration = Duration::from_secs(15);
const SETTLE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_secs(5);

fn leases(database: &Database, alone: bool) -> (Leases, ManualMonotonicClock) {
    let (clock, hand) = MonotonicClock::manual();
    (Leases::new(database.clone(), LeaseOptions { duration: LEASE, clock, alone }), hand)
}

fn parts(database: &Database, leases: Leases, name: &str, alone: bool) -> Parts {
    let host = name.to_owned();
    Parts {
        database: database.clone(),
        leases,
        clock: ManualClock::new(Duration::from_secs(1_000_000)) as Arc<_>,
        settings: Settings { interval: INTERVAL, settle: SETTLE, keep_dead: 100 * LEASE, alone },
        registry: Registry::new(),
        description: Description { host, version: "2".to_owned(), ..Description::default() },
    }
}

async fn join(database: &Database, name: &str) -> Cluster {
    Cluster::join(parts(database, leases(database, false).0, name, false)).await.unwrap()
}

fn all_active(cluster: &Cluster) -> bool {
    Feature::ALL.iter().all(|feature| cluster.features().is_active(*feature))
}

fn none_active(cluster: &Cluster) -> bool {
    !Feature::ALL.iter().any(|feature| cluster.features().is_active(*feature))
}

/// A store that the release without features made.
async fn old_store() -> Database {
    let database = Database::in_memory();
    put(&database, key(&(CLUSTER, "schema")), WITHOUT_FEATURES.to_le_bytes().to_vec()).await;
    database
}

async fn put(database: &Database, key: Vec<u8>, value: Vec<u8>) {
    let (key, value) = (&key, &value);
    let put = |transaction: Transaction| async move {
        transaction.set(key, value);
        Ok::<_, Error>(())
    };
    database.transact(put).await.unwrap();
}

async fn schema_of(database: &Database) -> Option<u32> {
    database.read(async |transaction: Transaction| schema(&transaction).await).await.unwrap()
}

#[tokio::test]
async fn a_process_that_is_alone_has_all_features_at_once() {
    let database = old_store().await;
    let cluster = Cluster::join(parts(&database, leases(&database, true).0, "a", true)).await.unwrap();
    assert!(all_active(&cluster));
    assert_eq!(schema_of(&database).await, Some(SCHEMA), "the release before refuses to start from now on");
}

#[tokio::test]
async fn in_a_new_store_features_are_active_at_once() {
    let database = Database::in_memory();
    database.check_schema().await.unwrap();
    let (first, second) = (join(&database, "a").await, join(&database, "b").await);
    assert!(all_active(&first) && all_active(&second));
}

#[tokio::test(start_paused = true)]
async fn a_process_of_the_release_before_keeps_features_back_until_it_is_gone() {
    let database = old_store().await;
    let (old, _) = leases(&database, false);
    old.renew().await.unwrap();
    let new = join(&database, "new").await;
    let following = tokio::spawn({
        let new = new.clone();
        async move { new.follow().await }
    });
    tokio::time::sleep(10 * SETTLE).await;
    assert!(none_active(&new));
    assert_eq!(schema_of(&database).await, Some(WITHOUT_FEATURES), "the old release may be started still");
    let nodes = new.nodes().await.unwrap();
    assert!(nodes.iter().any(|node| node.description.is_none() && node.state == NodeState::Alive));

    old.stop().await.unwrap();
    tokio::time::sleep(SETTLE - INTERVAL).await;
    assert!(none_active(&new), "another of its kind may be about to start");
    tokio::time::timeout(3 * INTERVAL, new.features().until_active(Feature::SegmentedBodies)).await.unwrap();
    assert!(all_active(&new));
    assert_eq!(schema_of(&database).await, Some(SCHEMA));
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn a_dead_process_keeps_features_back_until_it_is_known_to_be_dead() {
    let database = old_store().await;
    let (dead, _) = leases(&database, false);
    dead.renew().await.unwrap();
    let (alive, hand) = leases(&database, false);
    let cluster = Cluster::join(parts(&database, alive.clone(), "alive", false)).await.unwrap();
    let following = tokio::spawn({
        let cluster = cluster.clone();
        async move { cluster.follow().await }
    });
    tokio::time::sleep(2 * SETTLE).await;
    assert!(none_active(&cluster));
    hand.advance(LEASE);
    alive.renew().await.unwrap();
    tokio::time::sleep(2 * SETTLE).await;
    assert!(all_active(&cluster));
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn features_that_become_active_are_seen_everywhere_at_once() {
    let database = old_store().await;
    let (first, second) = (join(&database, "a").await, join(&database, "b").await);
    let followers: Vec<_> =
        [&first, &second].map(Clone::clone).map(|c| tokio::spawn(async move { c.follow().await })).into();
    first.features().until_active(Feature::EncryptedBodies).await;
    let began = tokio::time::Instant::now();
    second.features().until_active(Feature::EncryptedBodies).await;
    assert!(began.elapsed() < Duration::from_millis(100));
    followers.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_does_not_know_an_active_feature_refuses_to_start_and_to_go_on() {
    let database = Database::in_memory();
    database.check_schema().await.unwrap();
    let running = join(&database, "running").await;
    let following = tokio::spawn({
        let running = running.clone();
        async move { running.follow().await }
    });
    // As a later release would do.
    put(&database, key(&(CLUSTER, "feature", "telepathy")), b"{\"since\":1,\"version\":\"9\"}".to_vec())
        .await;
    put(&database, key(&(CLUSTER, "features")), vec![9; 8]).await;

    let (refused, _) = leases(&database, false);
    let error = Cluster::join(parts(&database, refused, "late", false)).await.err().unwrap();
    assert!(matches!(&error, JoinError::UnknownFeatures(unknown) if unknown.names == ["telepathy"]));
    assert!(error.to_string().contains("does not know: telepathy"), "{error}");
    assert_eq!(following.await.unwrap().names, ["telepathy"]);
    let nodes = running.nodes().await.unwrap();
    assert_eq!(nodes.len(), 1, "who was refused is no member: {nodes:?}");
}

#[tokio::test]
async fn a_process_that_understands_less_keeps_a_feature_back() {
    let database = Database::in_memory();
    database.check_schema().await.unwrap();
    let (limited, _) = leases(&database, false);
    limited.renew().await.unwrap();
    let row = b"{\"host\":\"b\",\"features\":[\"segmented-bodies\"]}".to_vec();
    put(&database, key(&(CLUSTER, "node", limited.member().as_slice())), row).await;
    let full = join(&database, "a").await;
    assert!(full.features().is_active(Feature::SegmentedBodies));
    assert!(!full.features().is_active(Feature::EncryptedBodies));
}

/// Damage in the row of one process is not the end of all others.
#[tokio::test(start_paused = true)]
async fn a_row_of_a_process_that_is_damaged_keeps_nobody_from_working() {
    let database = Database::in_memory();
    database.check_schema().await.unwrap();
    let damaged = key(&(CLUSTER, "node", &[9u8; 16][..]));
    put(&database, damaged.clone(), b"nonsense".to_vec()).await;
    let cluster = join(&database, "a").await;
    assert!(all_active(&cluster), "it is of nobody who is alive");
    assert_eq!(cluster.nodes().await.unwrap().len(), 2);
    let following = tokio::spawn({
        let cluster = cluster.clone();
        async move { cluster.follow().await }
    });
    tokio::time::sleep(3 * INTERVAL).await;
    let states: Vec<_> = cluster.nodes().await.unwrap().into_iter().map(|node| node.state).collect();
    assert!(matches!(states[..], [NodeState::Alive, NodeState::Dead { .. }]), "{states:?}");
    let row = &damaged;
    let left = database.read(async |transaction: Transaction| transaction.get(row).await).await.unwrap();
    assert_ne!(left.as_deref(), Some(&b"nonsense"[..]), "it is marked as dead, and goes in time");
    following.abort();
}

/// A process that is alive, and whose row says nothing, may understand nothing.
#[tokio::test(start_paused = true)]
async fn a_process_whose_row_is_damaged_understands_no_feature() {
    let database = Database::in_memory();
    database.check_schema().await.unwrap();
    let (other, _) = leases(&database, false);
    other.renew().await.unwrap();
    put(&database, key(&(CLUSTER, "node", &other.member()[..])), b"nonsense".to_vec()).await;
    let cluster = Cluster::join(parts(&database, leases(&database, false).0, "a", false)).await.unwrap();
    assert!(none_active(&cluster));
}
