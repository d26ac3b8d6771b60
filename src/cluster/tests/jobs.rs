//! A job is done by one process at a time, and taken up by another when that one dies or goes.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ekitei_cluster::Jobs;
use ekitei_kv::lease::{LeaseOptions, Leases};
use ekitei_kv::{Database, MonotonicClock};
use ekitei_telemetry::Registry;
use tokio::task::JoinSet;

const LEASE: Duration = Duration::from_secs(15);
const INTERVAL: Duration = Duration::from_secs(1);
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A process that does jobs.
struct Node {
    leases: Leases,
    rounds: Arc<[AtomicU32; NAMES.len()]>,
    tasks: JoinSet<()>,
}

impl Node {
    fn start(database: &Database) -> Self {
        let options = LeaseOptions { duration: LEASE, clock: MonotonicClock::runtime(), alone: false };
        let leases = Leases::new(database.clone(), options);
        let jobs = Jobs::new(leases.clone(), &Registry::new());
        let rounds: Arc<[AtomicU32; NAMES.len()]> = Arc::default();
        let mut tasks = JoinSet::new();
        for (n, name) in NAMES.into_iter().enumerate() {
            let (jobs, rounds) = (jobs.clone(), Arc::clone(&rounds));
            let work = move || {
                let rounds = Arc::clone(&rounds);
                async move {
                    rounds[n].fetch_add(1, Ordering::SeqCst);
                    Ok(())
                }
            };
            tasks.spawn(async move { jobs.run(name, || INTERVAL, work).await });
        }
        let running = leases.clone();
        tasks.spawn(async move { running.run().await });
        Self { leases, rounds, tasks }
    }

    /// Rounds of each job since the last call.
    fn take(&self) -> [u32; NAMES.len()] {
        std::array::from_fn(|n| self.rounds[n].swap(0, Ordering::SeqCst))
    }
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn every_job_is_done_once_in_the_cluster_and_the_processes_share_them() {
    let database = Database::in_memory();
    let (first, second) = (Node::start(&database), Node::start(&database));
    seconds(60).await;
    first.take();
    second.take();
    seconds(100).await;
    let (ones, others) = (first.take(), second.take());
    for (one, other) in ones.into_iter().zip(others) {
        assert!((95..=101).contains(&(one + other)), "{ones:?} {others:?}");
        assert!(one == 0 || other == 0, "{ones:?} {others:?}");
    }
    assert_eq!(ones.iter().filter(|rounds| **rounds > 0).count(), NAMES.len() / 2);
}

#[tokio::test(start_paused = true)]
async fn the_jobs_of_a_process_that_dies_are_taken_up_within_thirty_seconds() {
    let database = Database::in_memory();
    let first = Node::start(&database);
    seconds(20).await;
    let mut second = Node::start(&database);
    seconds(60).await;
    assert!(second.take().iter().any(|rounds| *rounds > 0));
    second.tasks.abort_all();
    seconds(30).await;
    first.take();
    seconds(10).await;
    assert!(first.take().iter().all(|rounds| *rounds >= 9));
}

#[tokio::test(start_paused = true)]
async fn the_jobs_of_a_process_that_stops_are_taken_up_with_the_next_renewal() {
    let database = Database::in_memory();
    let first = Node::start(&database);
    seconds(20).await;
    let mut second = Node::start(&database);
    seconds(60).await;
    second.tasks.abort_all();
    second.leases.stop().await.unwrap();
    seconds(LEASE.as_secs() / 3 + 1).await;
    first.take();
    seconds(10).await;
    assert!(first.take().iter().all(|rounds| *rounds >= 9));
}

#[tokio::test(start_paused = true)]
async fn a_round_that_fails_is_tried_again() {
    let database = Database::in_memory();
    let options = LeaseOptions { duration: LEASE, clock: MonotonicClock::runtime(), alone: true };
    let leases = Leases::new(database, options);
    let registry = Registry::new();
    let jobs = Jobs::new(leases.clone(), &registry);
    let rounds = AtomicU32::new(0);
    let work = || async {
        rounds.fetch_add(1, Ordering::SeqCst);
        Err(Box::new("the store is away") as _)
    };
    tokio::select! {
        () = jobs.run("a", || INTERVAL, work) => {}
        () = leases.run() => {}
        () = seconds(10) => {}
    }
    assert!(rounds.load(Ordering::SeqCst) >= 9);
    let text = registry.render();
    assert!(text.contains("ekitei_job_rounds_total{name=\"a\",outcome=\"failed\"}"), "{text}");
}
