//! Locks with names.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use ekitei_cluster::{Lock, LockError, LockLimits, Locks};
use ekitei_kv::clock::ManualClock;
use ekitei_kv::{CommitFault, Database, FaultScript, MemoryOptions};

const LIMITS: LockLimits = LockLimits { count: 3, time: Duration::from_secs(60) };
const MINUTE: Duration = LIMITS.time;

fn locks_in(database: Database) -> (Locks, Arc<ManualClock>) {
    let clock = ManualClock::new(Duration::from_secs(1_000_000));
    (Locks::new(database, clock.clone(), || LIMITS), clock)
}

fn locks() -> (Locks, Arc<ManualClock>) {
    locks_in(Database::in_memory())
}

fn holder_in_force(refused: Result<impl Sized, LockError>) -> String {
    match refused.err() {
        Some(LockError::Held(lock)) => lock.holder,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_holds_it_until_it_ends_or_is_given_back() {
    let (locks, clock) = locks();
    let first = locks.take("zone", "a", MINUTE).await.unwrap();
    assert_eq!(first.expires, Duration::from_secs(1_000_060));
    assert_eq!(holder_in_force(locks.take("zone", "b", MINUTE).await), "a");
    assert_eq!(holder_in_force(locks.release("zone", "b").await), "a");
    assert_eq!(locks.find("zone").await.unwrap(), Some(first.clone()));

    clock.advance(Duration::from_secs(59));
    let renewed = locks.take("zone", "a", MINUTE).await.unwrap();
    assert_eq!((renewed.token, renewed.expires), (first.token, Duration::from_secs(1_000_119)));
    clock.advance(MINUTE);
    assert_eq!(locks.find("zone").await.unwrap(), None, "it ended");

    let second = locks.take("zone", "b", MINUTE).await.unwrap();
    assert!(second.token > first.token);
    locks.release("zone", "b").await.unwrap();
    locks.release("zone", "b").await.unwrap();
    let third = locks.take("zone", "a", MINUTE).await.unwrap();
    assert!(third.token > second.token, "the token rises though the row was removed");
}

#[tokio::test]
async fn whoever_let_it_end_has_another_token() {
    let (locks, clock) = locks();
    let before = locks.take("zone", "a", MINUTE).await.unwrap().token;
    clock.advance(MINUTE);
    assert!(
        locks.take("zone", "a", MINUTE).await.unwrap().token > before,
        "others may have had it meanwhile"
    );
}

#[tokio::test]
async fn their_number_is_bounded_and_those_that_ended_do_not_count() {
    let (locks, clock) = locks();
    for name in ["a", "b", "c"] {
        locks.take(name, "me", MINUTE).await.unwrap();
    }
    assert!(matches!(locks.take("d", "me", MINUTE).await, Err(LockError::Full(3))));
    locks.take("c", "me", MINUTE).await.unwrap();
    let names = |found: Vec<Lock>| found.into_iter().map(|lock| lock.name).collect::<Vec<_>>();
    assert_eq!(names(locks.list(None, 2).await.unwrap()), ["a", "b"]);
    assert_eq!(names(locks.list(Some("b"), 2).await.unwrap()), ["c"]);
    clock.advance(MINUTE);
    assert_eq!(names(locks.list(None, 9).await.unwrap()), [""; 0]);
    locks.take("d", "me", MINUTE).await.unwrap();
    assert_eq!(names(locks.list(None, 9).await.unwrap()), ["d"]);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let (locks, _) = locks();
    let long = "x".repeat(201);
    for (name, holder, time) in [
        ("", "me", MINUTE),
        ("a/b", "me", MINUTE),
        (&long, "me", MINUTE),
        ("a", "", MINUTE),
        ("a", "me\n", MINUTE),
        ("a", &long, MINUTE),
        ("a", "me", Duration::ZERO),
        ("a", "me", MINUTE + Duration::from_secs(1)),
    ] {
        let refused = locks.take(name, holder, time).await;
        assert!(matches!(refused, Err(LockError::Invalid(_))), "{name} {holder} {time:?}: {refused:?}");
    }
}

#[tokio::test]
async fn one_that_is_damaged_holds_up_no_other() {
    let database = Database::in_memory();
    let spoil = |transaction: ekitei_kv::Transaction| async move {
        let row = ekitei_kv::keys::key(&(ekitei_kv::keys::subspace::CLUSTER, "lock", "spoiled"));
        transaction.set(&row, b"nonsense");
        Ok::<_, ekitei_kv::Error>(())
    };
    database.transact(spoil).await.unwrap();
    let (locks, _) = locks_in(database);
    let lock = locks.take("zone", "a", MINUTE).await.unwrap();
    assert_eq!(locks.list(None, 9).await.unwrap(), [lock]);
    locks.sweep().await.unwrap();
    assert!(matches!(locks.take("spoiled", "a", MINUTE).await, Err(LockError::Store(_))));
}

#[tokio::test]
async fn a_commit_with_an_unknown_result_takes_it_once() {
    let faults = Arc::new(FaultScript::default());
    let options = MemoryOptions { faults: faults.clone(), ..MemoryOptions::default() };
    let (locks, _) = locks_in(Database::in_memory_with(options).unwrap());
    faults.commits([Some(CommitFault::UnknownApplied)]);
    let lock = locks.take("zone", "a", MINUTE).await.unwrap();
    assert_eq!(locks.find("zone").await.unwrap(), Some(lock));
}
