//! A process: its own handles on the stores, its caches, its leases, its scheduler, and the work that it does in the background.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekitei_blob::{
    Blobs, DataKeys, Gate, Group, ObjectStore, Packer, Packing, Resilient, Scrubbed, Scrubber, resilience,
};
use ekitei_cluster::{Cluster, Description, Feature, Jobs, LockLimits, Locks, Parts, Settings, outcome};
use ekitei_directory::{Directory, Domain, EmailAddress};
use ekitei_keyring::Keyring;
use ekitei_kv::lease::{Lease, LeaseOptions, LeaseSet, Leases};
use ekitei_kv::{Database, MonotonicClock};
use ekitei_mailstore::{AccountId, DomainCounting, MailStore, Quota};
use ekitei_queue::{LocalOrRelay, Queue, QueueContext, Scheduler, SchedulerContext, Senders, Variation};
use ekitei_telemetry::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::check;
use crate::clock::NodeClock;
use crate::disk::Disk;
use crate::duties::{self, DUTIES, JOBS};
use crate::flaw::Flaw;
use crate::keys::{Generation, Keys};
use crate::near::near;
use crate::objects::WiredObjects;
use crate::plan::Plan;
use crate::servers::Servers;
use crate::wire::Wire;
use crate::world::World;

/// How long a body that nobody refers to is kept.
pub const GRACE: Duration = Duration::from_secs(25);
/// Octets of a body beyond which it is an object at once.
const HOT_LIMIT: usize = 3_000;
/// Octets of a block: most bodies have several.
const BLOCK_SIZE: usize = 1_024;
/// Between two rounds of maintenance.
const MAINTENANCE: Duration = Duration::from_secs(20);

/// Between two rounds of packing, as long as clients work and afterwards.
const PACKING: [Duration; 2] = [Duration::from_secs(6), Duration::from_secs(15)];
/// Between two runs of the scrubber, as long as clients work; then it is asked to begin.
const SCRUBBING: [Duration; 2] = [Duration::from_secs(50), Duration::from_secs(24 * 3_600)];
/// How often the scrubber looks whether there is something to do.
const LOOK: Duration = Duration::from_secs(8);
/// Between two rounds of a job.
const JOB: Duration = Duration::from_secs(20);
/// The part of a process in the cluster.
const CLUSTER: Settings = Settings {
    interval: Duration::from_secs(5),
    settle: Duration::from_secs(10),
    keep_dead: Duration::from_secs(30),
    alone: false,
};
/// How much there may be of locks.
const LOCKS: LockLimits = LockLimits { count: 10, time: Duration::from_secs(100) };
/// What the clock of a process is ahead that believes in a wrong time.
const AN_HOUR: i64 = 3_600_000;

/// A running process.
pub struct Node {
    /// What lies between it and everything else.
    pub wire: Arc<Wire>,
    /// Its time of day.
    pub clock: Arc<NodeClock>,
    /// Mailboxes.
    pub mailstore: MailStore,
    /// The queue.
    pub queue: Queue,
    /// Accounts.
    pub directory: Directory,
    /// Bodies.
    pub blobs: Blobs,
    /// Keys of bodies.
    pub keyring: Keyring,
    /// Its part in the cluster.
    pub cluster: Cluster,
    /// Locks of programs outside.
    pub locks: Locks,
    /// The master keys that it was started with.
    pub generation: Generation,
    leases: Leases,
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// Senders of forwarded mail stay as they are.
struct AsTheyAre;

impl Senders for AsTheyAre {
    fn rewrite(&self, sender: &EmailAddress, _: &Domain) -> EmailAddress {
        sender.clone()
    }

    fn restore(&self, _: &EmailAddress) -> Option<EmailAddress> {
        None
    }
}

/// How all processes keep bodies.
pub fn blob_settings(plan: &Plan, keys: Arc<dyn DataKeys>) -> ekitei_blob::Settings {
    ekitei_blob::Settings {
        compression_level: i32::from(plan.compresses),
        data_keys: Some(keys),
        hot_limit: HOT_LIMIT,
        block_size: BLOCK_SIZE,
        grace: GRACE,
        cache_size: 20_000,
        packing: Packing {
            min_age: Duration::from_secs(5),
            max_age: Duration::from_secs(30),
            segment_size: 12_000,
            ..Packing::default()
        },
    }
}

/// How all processes keep mailboxes.
pub fn mailstore_settings() -> ekitei_mailstore::Settings {
    ekitei_mailstore::Settings { change_log_length: 30, ..ekitei_mailstore::Settings::default() }
}

fn patience() -> resilience::Settings {
    resilience::Settings {
        attempt: Duration::from_secs(4),
        total: Duration::from_secs(12),
        ..resilience::Settings::default()
    }
}

impl Node {
    /// Starts a process, which joins the others first. `None` if it cannot.
    pub async fn start(
        world: &Arc<World>,
        wire: Arc<Wire>,
        disk: Disk,
        (clock, rate): (Arc<NodeClock>, f64),
        generation: Generation,
    ) -> Option<Arc<Self>> {
        let database = world.database.behind(wire.clone());
        let (live, registry) = (world.live.clone(), Registry::default());
        let leases = Self::leases(world, database.clone(), rate);
        let joined = Cluster::join(Parts {
            database: database.clone(),
            leases: leases.clone(),
            clock: clock.clone(),
            settings: CLUSTER,
            description: Description { host: wire.name().to_owned(), ..Description::default() },
            registry: registry.clone(),
        });
        let cluster = match joined.await {
            Ok(cluster) => cluster,
            Err(error) => {
                world.trace.note(wire.name(), format_args!("cannot join: {error}"));
                return None;
            }
        };
        let keyring = Keyring::new(ekitei_keyring::Parts {
            database: database.clone(),
            masters: generation.masters(Some(&wire)),
            live: live.clone(),
            gate: Arc::new(cluster.features().gate(Feature::EncryptedBodies)),
            clock: clock.clone(),
            registry: registry.clone(),
        });
        let keys = Keys { keyring: keyring.clone(), flaw: world.plan.flaw };
        let settings = blob_settings(&world.plan, Arc::new(keys));
        let gate = Gate::new(cluster.features().gate(Feature::SegmentedBodies));
        let settings = ekitei_blob::Settings { packing: Packing { gate, ..settings.packing }, ..settings };
        let objects = Self::objects(world, &wire, disk);
        let blobs = Blobs::new(database.clone(), objects, settings, clock.clone());
        let directory =
            Directory::new(database.clone(), ekitei_directory::Settings::default(), clock.clone());
        let mailstore = MailStore::with_domains(
            database.clone(),
            blobs.clone(),
            mailstore_settings(),
            clock.clone(),
            DomainCounting {
                directory: directory.clone(),
                is_active: Arc::new(cluster.features().gate(Feature::DomainUsage)),
            },
        );
        let queue = Queue::new(QueueContext {
            database: database.clone(),
            blobs: blobs.clone(),
            mailstore: mailstore.clone(),
            live,
            clock: clock.clone(),
        });
        let locks = Self::locks(world, &database, &wire, &clock);
        let (stop, tasks) = (watch::Sender::new(false), Mutex::default());
        let node = Arc::new(Self {
            wire,
            clock,
            mailstore,
            queue,
            directory,
            blobs,
            keyring,
            cluster,
            locks,
            generation,
            leases,
            stop,
            tasks,
        });
        node.begin(world, database, registry);
        Some(node)
    }

    fn leases(world: &World, database: Database, rate: f64) -> Leases {
        let duration = world.live.load().queue.lease.get();
        let clock = match world.plan.flaw {
            Some(Flaw::NobodyDies) => MonotonicClock::manual().0,
            _ => MonotonicClock::drifting(rate),
        };
        Leases::new(database, LeaseOptions { duration, clock, alone: false })
    }

    /// The object store, dependable and with what was read of it kept near.
    fn objects(world: &Arc<World>, wire: &Arc<Wire>, disk: Disk) -> Arc<dyn ObjectStore> {
        let objects = WiredObjects::new(world.objects.clone(), Arc::clone(wire), Arc::clone(&world.deleted));
        let metrics = resilience::Metrics::new(&Registry::default());
        near(world, wire, disk, Resilient::new(objects, patience(), metrics))
    }

    fn locks(world: &World, database: &Database, wire: &Wire, clock: &Arc<NodeClock>) -> Locks {
        let is_wrong = world.plan.flaw == Some(Flaw::WrongTimeForLocks) && wire.name().starts_with("n0");
        let clock = if is_wrong { world.clock(1.0, AN_HOUR) } else { Arc::clone(clock) };
        Locks::new(database.clone(), clock, || LOCKS)
    }

    /// Begins what it does in the background.
    fn begin(self: &Arc<Self>, world: &Arc<World>, database: Database, registry: Registry) {
        let (leases, wire) = (self.leases.clone(), Arc::clone(&self.wire));
        let packing = leases.join(Packer::LEASES, Group::all().map(Group::lease_name));
        let duties = leases.join(duties::GROUP, DUTIES.map(str::to_owned));
        let scrubbing = leases.join(Scrubber::LEASES, [Scrubber::LEASE.to_owned()]);
        let server = duties::Server { world: Arc::clone(world), wire, database, leases: leases.clone() };
        let jobs = Jobs::new(leases.clone(), &registry);
        let (directory, keyring) = (self.directory.clone(), self.keyring.clone());
        let mut tasks = vec![
            tokio::spawn(async move { directory.follow_changes().await }),
            tokio::spawn(async move { keyring.follow_changes().await }),
            tokio::spawn(follow(Arc::clone(world), self.cluster.clone())),
            tokio::spawn(maintain(self.mailstore.clone())),
            tokio::spawn(pack(Arc::clone(world), Packer::new(self.blobs.clone()), packing, leases.clone())),
            tokio::spawn(server.run(duties)),
            tokio::spawn(scrub(Arc::clone(world), self.blobs.clone(), scrubbing)),
            tokio::spawn(sweep_queue(jobs.clone(), self.queue.clone())),
            tokio::spawn(sweep_locks(jobs.clone(), self.locks.clone())),
        ];
        for job in JOBS {
            let wire = Arc::clone(&self.wire);
            tasks.push(tokio::spawn(duties::do_job(Arc::clone(world), wire, jobs.clone(), job)));
        }
        let (keyring, all) = (self.keyring.clone(), leases.clone());
        tasks.push(tokio::spawn(async move { keyring.maintain_forever(&all).await }));
        tasks.push(tokio::spawn(async move { leases.run().await }));
        tasks.push(tokio::spawn(self.scheduler(world, registry)));
        self.tasks().extend(tasks);
    }

    /// Sends what waits in the queue, until the process stops.
    fn scheduler(
        self: &Arc<Self>,
        world: &Arc<World>,
        registry: Registry,
    ) -> impl Future<Output = ()> + use<> {
        let (live, clock) = (world.live.clone(), self.clock.clone());
        let transport = Arc::new(LocalOrRelay {
            directory: self.directory.clone(),
            mailstore: self.mailstore.clone(),
            queue: self.queue.clone(),
            elsewhere: Servers::new(Arc::clone(world), Arc::clone(&self.wire)),
            senders: Arc::new(AsTheyAre),
            live: live.clone(),
            clock: clock.clone(),
        });
        let scheduler = Scheduler::new(SchedulerContext {
            queue: self.queue.clone(),
            leases: self.leases.clone(),
            transport,
            live,
            clock,
            registry,
            signer: None,
            variation: Some(variation(world, self.wire.name())),
        });
        let mut stopped = self.stop.subscribe();
        scheduler.run(async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        })
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an account may hold, as far as this process knows.
    pub async fn quota(&self, account: AccountId) -> Option<Quota> {
        self.unless_dead(self.directory.quota(account)).await?.ok()
    }

    /// Waits for something, unless the process dies before.
    pub async fn unless_dead<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = what => Some(done),
            () = self.wire.died() => None,
        }
    }

    /// Ends what it does: at once and without a trace, as a process that is killed.
    pub fn end(&self) {
        self.wire.die();
        self.tasks().drain(..).for_each(|task| task.abort());
    }

    /// Ends in an orderly way, as far as it can.
    pub async fn stop(self: Arc<Self>) {
        let _ = self.stop.send_replace(true);
        let scheduler = self.tasks().pop();
        let stopping = async {
            if let Some(scheduler) = scheduler {
                let _ = scheduler.await;
            }
            // Others take over what it could not give back, and find out that it is gone.
            let _ = self.cluster.leave().await;
            let _ = self.leases.stop().await;
        };
        let _ = self.unless_dead(stopping).await;
        self.end();
    }
}

fn variation(world: &World, name: &str) -> Variation {
    let dice = Mutex::new(world.dice(("variation", name)));
    Arc::new(move || dice.lock().unwrap_or_else(PoisonError::into_inner).share())
}

/// Collects what nobody refers to, and cuts off logs. Failures wait for the next round.
async fn maintain(mailstore: MailStore) {
    loop {
        sleep(MAINTENANCE).await;
        let _ = mailstore.maintain().await;
    }
}

/// Packs and compacts what its leases are for.
async fn pack(world: Arc<World>, packer: Packer, mut leases: LeaseSet, all: Leases) {
    loop {
        tokio::select! {
            biased;
            () = sleep(PACKING[usize::from(world.is_over())]) => {}
            () = leases.changed() => {}
        }
        for lease in leases.held() {
            if lease.is_wanted_back() {
                let _ = all.release(&lease).await;
            } else if lease.holds() {
                let _ = packer.round(&lease).await;
                let _ = packer.compact(&lease).await;
            }
        }
    }
}

/// Keeps up with the cluster: there is one release, so it ends only if something is wrong.
async fn follow(world: Arc<World>, cluster: Cluster) {
    let unknown = cluster.follow().await;
    world.ledger().accuse(unknown.to_string());
}

async fn sweep_queue(jobs: Jobs, queue: Queue) {
    let sweep = || {
        let queue = queue.clone();
        async move { outcome(queue.sweep().await) }
    };
    jobs.run("queue", || JOB, sweep).await;
}

async fn sweep_locks(jobs: Jobs, locks: Locks) {
    let sweep = || {
        let locks = locks.clone();
        async move { outcome(locks.sweep().await) }
    };
    jobs.run("locks", || JOB, sweep).await;
}

/// Scrubs, while this process has the lease.
async fn scrub(world: Arc<World>, blobs: Blobs, mut held: LeaseSet) {
    loop {
        let lease = held.held().into_iter().find(Lease::holds);
        let Some(lease) = lease.filter(|_| world.plan.flaw != Some(Flaw::NobodyScrubs)) else {
            let _ = tokio::time::timeout(LOOK, held.changed()).await;
            continue;
        };
        let interval = SCRUBBING[usize::from(world.is_over())];
        match Scrubber::new(blobs.clone(), interval).step(&lease).await {
            Ok(Scrubbed::Idle(time)) => sleep(time.min(LOOK)).await,
            Ok(Scrubbed::Step { .. }) => tokio::task::yield_now().await,
            Ok(Scrubbed::Finished(tally)) => {
                world.trace.note("scrub", format_args!("{tally:?}"));
                if tally.findings > 0 && !world.is_over() {
                    check::judge_findings(&world).await;
                }
            }
            // The step is done again.
            Err(_) => sleep(LOOK).await,
        }
    }
}
