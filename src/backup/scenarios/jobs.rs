//! Orders and schedules: one process of those that share a store does the work, all see it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{MemoryStore, ObjectFuture, ObjectInfo, ObjectStore};
use ekitei_config::{Config, Live, Secret};
use ekitei_kv::MonotonicClock;
use ekitei_kv::lease::{LeaseOptions, Leases};
use ekitei_telemetry::Registry;

use super::support::{DOMAIN, World, account, everything, request};
use crate::jobs::{Done, Job, Order, Runner, State};
use crate::{Depth, Error, Progress, Retention};

fn live(interval: u64) -> Live {
    use base64::Engine as _;
    let mut config = Config::default();
    let key = base64::engine::general_purpose::STANDARD.encode([7; 32]);
    config.backup.encryption_key = Some(Secret::new(key));
    config.backup.interval = ekitei_config::Duration::seconds(interval);
    config.backup.retention.last = 2;
    config.backup.retention.daily = 0;
    config.backup.retention.weekly = 0;
    config.backup.retention.monthly = 0;
    Live::new(config)
}

fn runner(world: &World, objects: &ekitei_blob::MemoryStore, interval: u64, registry: &Registry) -> Runner {
    let objects: Arc<dyn ekitei_blob::ObjectStore> = Arc::new(objects.clone());
    Runner::new(world.backup.clone(), Some(objects), live(interval), registry).unwrap()
}

fn leases(world: &World) -> Leases {
    let options =
        LeaseOptions { duration: Duration::from_secs(1), clock: MonotonicClock::system(), alone: false };
    let leases = Leases::new(world.backup.database.clone(), options);
    let renewed = leases.clone();
    tokio::spawn(async move { renewed.run().await });
    leases
}

async fn ended(runner: &Runner, id: u64) -> Job {
    for _ in 0..600 {
        let job = runner.job(id).await.unwrap();
        if matches!(job.state, State::Done | State::Failed) {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the job does not end: {:?}", runner.job(id).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ordered_through_any_process_is_done_by_one_and_seen_by_all() {
    let world = World::of(&["alice"]).await;
    world.deliver(&["alice"], "hello").await;
    let objects = world.repository_objects();
    let registries = [Registry::new(), Registry::new()];
    let runners = [0, 1].map(|n| runner(&world, &objects, 0, &registries[n]));
    let mut running = Vec::new();
    for runner in &runners {
        let (runner, leases) = (runner.clone(), leases(&world));
        running.push(tokio::spawn(async move { runner.run(&leases).await }));
    }
    let orders = [
        Order::Create { scheduled: false },
        Order::Verify { depth: Depth::Full },
        Order::Restore(request(account("alice"))),
        Order::Prune { retention: Retention { last: 1, ..Retention::default() }, dry_run: false },
    ];
    let mut jobs = Vec::new();
    for (n, order) in orders.into_iter().enumerate() {
        jobs.push(runners[n % 2].order(order).await.unwrap().id);
    }
    let mut done = Vec::new();
    for id in jobs {
        done.push(ended(&runners[1], id).await);
    }
    let outcomes: Vec<bool> = done.iter().map(|job| job.state == State::Done).collect();
    assert_eq!(outcomes, [true; 4], "{done:?}");
    assert!(matches!(&done[0].done, Some(Done::Created(info)) if info.totals.messages == 1));
    assert!(matches!(&done[1].done, Some(Done::Verified(report)) if report.problems.is_empty()));
    assert!(matches!(&done[2].done, Some(Done::Restored(restored)) if restored.present == 1));
    assert!(done.iter().all(|job| job.host == "here"));
    assert_eq!(runners[0].jobs().await.unwrap().len(), 4);
    let shown = registries.each_ref().map(Registry::render).concat();
    assert!(shown.contains("ekitei_backup_runs_total{action=\"create\",outcome=\"ok\"} 1"), "{shown}");
    let missing = runners[0].order(Order::Restore(request(account("nobody")))).await.unwrap();
    let failed = ended(&runners[0], missing.id).await;
    assert_eq!(failed.error, Some(format!("there is no account nobody@{DOMAIN} in the backup")));
    running.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_due_is_made_and_old_ones_go() {
    let world = World::of(&["alice"]).await;
    let objects = world.repository_objects();
    let registry = Registry::new();
    for _ in 0..3 {
        world.create(&objects).await.unwrap();
    }
    let (runner, leases) = (runner(&world, &objects, 3600, &registry), leases(&world));
    let worker = runner.clone();
    let running = tokio::spawn(async move { worker.run(&leases).await });
    // The order that the schedule gives, and the one that its retention does.
    for _ in 0..600 {
        if runner.jobs().await.unwrap().len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(ended(&runner, 1).await.order, Order::Create { scheduled: true });
    let pruned = ended(&runner, 2).await;
    assert!(
        matches!(&pruned.done, Some(Done::Pruned(pruned)) if pruned.kept.len() == 2 && pruned.removed.len() == 2)
    );
    assert_eq!(runner.snapshots().await.unwrap().len(), 2);
    assert!(registry.render().contains("ekitei_backup_last_failed 0"));
    running.abort();
}

#[tokio::test]
async fn without_a_key_or_into_a_store_in_use_nothing_is_ordered() {
    let world = World::of(&["alice"]).await;
    let objects = world.repository_objects();
    let with_key = runner(&world, &objects, 0, &Registry::new());
    let refused = with_key.order(Order::Restore(everything("latest"))).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert!(with_key.snapshots().await.unwrap().is_empty(), "there is no repository yet");
    let without =
        Runner::new(world.backup.clone(), None, Live::new(Config::default()), &Registry::new()).unwrap();
    let refused = without.order(Order::Create { scheduled: false }).await;
    assert!(refused.unwrap_err().to_string().contains("backup.encryptionKey"));
}

/// Writes that a process runs a job, as if it had died in it.
async fn dies_in(world: &World, runner: &Runner, order: Order) -> u64 {
    let mut job = runner.order(order).await.unwrap();
    job.state = State::Running;
    job.started = Some(1);
    let (row, octets) = (&crate::rows::job(job.id), &crate::document::encode(&job));
    let write = |tx: ekitei_kv::Transaction| async move {
        tx.set(row, octets);
        Ok::<_, ekitei_kv::Error>(())
    };
    world.backup.database.transact(write).await.unwrap();
    job.id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_its_process_died_of_is_a_failure_and_not_begun_again_at_once() {
    let world = World::of(&["alice"]).await;
    let registry = Registry::new();
    let objects = world.repository_objects();
    let (runner, leases) = (runner(&world, &objects, 3600, &registry), leases(&world));
    let died = dies_in(&world, &runner, Order::Create { scheduled: true }).await;
    let restore = dies_in(&world, &runner, Order::Restore(request(account("alice")))).await;
    let worker = runner.clone();
    let running = tokio::spawn(async move { worker.run(&leases).await });
    assert_eq!(ended(&runner, died).await.state, State::Failed);
    let told = ended(&runner, restore).await.error.unwrap_or_default();
    assert!(told.contains("same restore again"), "{told}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(runner.jobs().await.unwrap().len(), 2, "it waits before it tries again");
    assert!(registry.render().contains("ekitei_backup_last_failed 1"));
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_fails_is_not_tried_without_a_pause() {
    let world = World::of(&["alice"]).await;
    let objects = world.repository_objects();
    let (runner, leases) = (runner(&world, &objects, 0, &Registry::new()), leases(&world));
    let job = runner.order(Order::Create { scheduled: false }).await.unwrap();
    let row = &crate::rows::job(job.id);
    let spoil = |tx: ekitei_kv::Transaction| async move {
        tx.set(row, b"\x01nonsense");
        Ok::<_, ekitei_kv::Error>(())
    };
    world.backup.database.transact(spoil).await.unwrap();
    let running = tokio::spawn(async move { runner.run(&leases).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.observer.take();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = world.observer.take().begun;
    assert!(begun < 20, "{begun} transactions in 0.3 s");
    running.abort();
}

/// The first process hangs in a backup, and its lease ends; it is not dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_lost_the_lease_does_not_write_what_its_successor_wrote() {
    let world = World::of(&["alice"]).await;
    world.deliver(&["alice"], "hello").await;
    let hangs = |operation: ekitei_blob::Operation, name: &str| ekitei_blob::Fault {
        hangs: operation == ekitei_blob::Operation::Put && name.starts_with("packs/"),
        ..ekitei_blob::Fault::default()
    };
    let stuck = ekitei_blob::MemoryStore::with_faults(world.clock.clone(), hangs);
    let objects = world.repository_objects();
    let first = runner(&world, &stuck, 0, &Registry::new());
    let job = first.order(Order::Create { scheduled: false }).await.unwrap().id;
    let options =
        LeaseOptions { duration: Duration::from_secs(1), clock: MonotonicClock::system(), alone: false };
    let lost = Leases::new(world.backup.database.clone(), options);
    let (worker, renewed) = (first.clone(), lost.clone());
    let renewal = tokio::spawn(async move { renewed.run().await });
    let running = tokio::spawn(async move { worker.run(&lost).await });
    while first.job(job).await.unwrap().state == State::Waiting {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    renewal.abort();
    let (second, leases) = (runner(&world, &objects, 0, &Registry::new()), leases(&world));
    let worker = second.clone();
    let next = tokio::spawn(async move { worker.run(&leases).await });
    let failed = ended(&second, job).await;
    assert!(failed.error.is_some_and(|error| error.contains("the process that ran it ended")));
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(second.job(job).await.unwrap().state, State::Failed);
    }
    running.abort();
    next.abort();
}

#[tokio::test]
async fn orders_that_wait_are_not_dropped_for_new_ones() {
    let world = World::of(&["alice"]).await;
    let runner = runner(&world, &world.repository_objects(), 0, &Registry::new());
    let mut taken = 0;
    let refused = loop {
        match runner.order(Order::Create { scheduled: false }).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 200, "the first ones are gone");
    };
    assert!(refused.to_string().contains("wait"), "{refused}");
    assert_eq!(runner.jobs().await.unwrap().len(), taken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_verification_found_is_known_to_all_and_after_a_restart() {
    let world = World::of(&["alice"]).await;
    world.deliver(&["alice"], "hello").await;
    let objects = world.repository_objects();
    world.create(&objects).await.unwrap();
    let pack = objects.names().into_iter().find(|name| name.starts_with("packs/")).unwrap();
    objects.delete(&pack).await.unwrap();
    let working = async |registry: &Registry| {
        let (runner, leases) = (runner(&world, &objects, 0, registry), leases(&world));
        let worker = runner.clone();
        (runner, tokio::spawn(async move { worker.run(&leases).await }))
    };
    let (runner, running) = working(&Registry::new()).await;
    let job = runner.order(Order::Verify { depth: Depth::Quick }).await.unwrap();
    let done = ended(&runner, job.id).await.done;
    let Some(Done::Verified(report)) = done else { panic!("{done:?}") };
    running.abort();

    let registry = Registry::new();
    let (_, running) = working(&registry).await;
    let expected = format!("ekitei_backup_verify_problems {}\n", report.problems.len());
    for _ in 0..600 {
        if registry.render().contains(&expected) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shown = registry.render();
    assert!(!report.problems.is_empty() && shown.contains(&expected), "{shown}");
    assert!(shown.contains("ekitei_backup_last_verified_timestamp_seconds 17"), "{shown}");
    running.abort();
}

/// A store that does not list one object yet, though it is there.
struct Late {
    objects: MemoryStore,
    unlisted: String,
}

impl ObjectStore for Late {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        self.objects.put(name, pieces)
    }

    fn get<'a>(&'a self, name: &'a str, range: std::ops::Range<u64>) -> ObjectFuture<'a, Bytes> {
        self.objects.get(name, range)
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        self.objects.head(name)
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        self.objects.delete(name)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> ObjectFuture<'a, Vec<ObjectInfo>> {
        Box::pin(async move {
            let mut listed = self.objects.list(prefix, after, limit).await?;
            listed.retain(|info| info.name != self.unlisted);
            Ok(listed)
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_latest_backup_needs_is_not_removed_where_the_store_lists_it_late() {
    let world = World::of(&["alice"]).await;
    let objects = world.repository_objects();
    let leases = leases(&world);
    let sound = runner(&world, &objects, 0, &Registry::new());
    let worker = sound.clone();
    let running = tokio::spawn(async move { worker.run(&leases).await });
    for text in ["first", "second"] {
        world.deliver(&["alice"], text).await;
        let job = sound.order(Order::Create { scheduled: false }).await.unwrap();
        assert_eq!(ended(&sound, job.id).await.state, State::Done);
    }
    running.abort();
    let latest = sound.snapshots().await.unwrap().pop().unwrap().id;
    let late = Late { objects: objects.clone(), unlisted: format!("snapshots/{latest}") };
    let late = Runner::new(world.backup.clone(), Some(Arc::new(late)), live(0), &Registry::new()).unwrap();
    let prune = Order::Prune { retention: Retention { last: 1, ..Retention::default() }, dry_run: false };
    let refused = late.perform(&prune, &Progress::default()).await;
    assert!(matches!(&refused, Err(Error::Unlisted(id)) if *id == latest), "{refused:?}");
    assert_eq!(sound.snapshots().await.unwrap().len(), 2);
    assert_eq!(world.verify(&objects, Depth::Full).await.problems, [] as [String; 0]);
    sound.perform(&prune, &Progress::default()).await.unwrap();
    assert_eq!(world.verify(&objects, Depth::Full).await.problems, [] as [String; 0]);
}
