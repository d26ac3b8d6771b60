//! A process: its own handles on the stores, its caches, its leases, its scheduler, and the work that it does in the background.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekitei_blob::{Blobs, Group, Packer, Packing, Resilient, resilience};
use ekitei_directory::{Directory, Domain, EmailAddress};
use ekitei_kv::lease::{LeaseOptions, LeaseSet, Leases};
use ekitei_kv::{Database, MonotonicClock};
use ekitei_mailstore::{AccountId, MailStore, Quota};
use ekitei_queue::{LocalOrRelay, Queue, QueueContext, Scheduler, SchedulerContext, Senders, Variation};
use ekitei_telemetry::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::clock::NodeClock;
use crate::objects::WiredObjects;
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

/// Between two rounds of packing.
const PACKING: Duration = Duration::from_secs(6);

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
pub fn blob_settings() -> ekitei_blob::Settings {
    ekitei_blob::Settings {
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
        ..ekitei_blob::Settings::default()
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
    /// Starts a process.
    pub fn start(world: &Arc<World>, wire: Arc<Wire>, clock: Arc<NodeClock>, rate: f64) -> Arc<Self> {
        let database = world.database.behind(wire.clone());
        let (live, registry) = (world.live.clone(), Registry::default());
        let objects = WiredObjects::new(world.objects.clone(), Arc::clone(&wire), Arc::clone(&world.deleted));
        let objects = Resilient::new(objects, patience(), resilience::Metrics::new(&registry));
        let blobs = Blobs::new(database.clone(), objects, blob_settings(), clock.clone());
        let mailstore = MailStore::new(database.clone(), blobs.clone(), mailstore_settings(), clock.clone());
        let directory =
            Directory::new(database.clone(), ekitei_directory::Settings::default(), clock.clone());
        let queue = Queue::new(QueueContext {
            database: database.clone(),
            blobs: blobs.clone(),
            mailstore: mailstore.clone(),
            live: live.clone(),
            clock: clock.clone(),
        });
        let leases = Self::leases(world, database, rate);
        let transport = Arc::new(LocalOrRelay {
            directory: directory.clone(),
            mailstore: mailstore.clone(),
            queue: queue.clone(),
            elsewhere: Servers::new(Arc::clone(world), Arc::clone(&wire)),
            senders: Arc::new(AsTheyAre),
            live: live.clone(),
            clock: clock.clone(),
        });
        let scheduler = Scheduler::new(SchedulerContext {
            queue: queue.clone(),
            leases: leases.clone(),
            transport,
            live,
            clock: clock.clone(),
            registry,
            signer: None,
            variation: Some(variation(world, wire.name())),
        });
        let (stop, tasks) = (watch::Sender::new(false), Mutex::default());
        let node = Arc::new(Self { wire, clock, mailstore, queue, directory, leases, stop, tasks });
        node.begin(scheduler, Packer::new(blobs));
        node
    }

    fn leases(world: &World, database: Database, rate: f64) -> Leases {
        let duration = world.live.load().queue.lease.get();
        let clock = MonotonicClock::drifting(rate);
        Leases::new(database, LeaseOptions { duration, clock, alone: false })
    }

    /// Begins what it does in the background.
    fn begin(self: &Arc<Self>, scheduler: Scheduler, packer: Packer) {
        let mut stopped = self.stop.subscribe();
        let stop = async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let (leases, directory, mailstore) =
            (self.leases.clone(), self.directory.clone(), self.mailstore.clone());
        let packing = self.leases.join(Packer::LEASES, Group::all().map(Group::lease_name));
        let tasks = [
            tokio::spawn(async move { leases.run().await }),
            tokio::spawn(async move { directory.follow_changes().await }),
            tokio::spawn(maintain(mailstore)),
            tokio::spawn(pack(packer, packing, self.leases.clone())),
            tokio::spawn(scheduler.run(stop)),
        ];
        self.tasks().extend(tasks);
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
            // Others take over what it could not give back.
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
async fn pack(packer: Packer, mut leases: LeaseSet, all: Leases) {
    loop {
        tokio::select! {
            biased;
            () = sleep(PACKING) => {}
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
