//! The scheduler: holds leases on shards, keeps what is due in memory by destination, and sends it as fast as the limits allow.
//!
//! One task owns all state and never waits for the store or the network: readers bring it entries, and tasks of their own send, put off and
//! settle. What it knows of a shard ends with the lease; the store knows everything else.

mod attempt;
mod backlog;
mod begin;
mod end;
mod lane;
mod reader;
mod room;
mod warm_up;

#[cfg(test)]
mod backlog_tests;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ekitei_config::{Config, Live};
use ekitei_kv::clock::SharedClock;
use ekitei_kv::lease::{Lease, LeaseSet, Leases};
use ekitei_telemetry::Registry;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::model::{EntryId, Hint, Shard};
use crate::notify::Signer;
use crate::spool::{Loaded, Spool};
use crate::transport::{Transport, Way};
use crate::{Queue, Result};
use attempt::{PutOff, Sent};
use backlog::{Backlog, Name, Offered};
use reader::{Batch, Entries, Reader, ReaderHandle};
use room::Room;
use warm_up::{Allowances, Granted};

/// The group of the leases.
const GROUP: &str = "queue";
/// Batches of readers that wait for the scheduler.
const EVENTS: usize = 16;
/// Entries that are put off at a time.
const DRAIN: usize = 256;
/// What has no event of its own is looked after this often.
const TICK: Duration = Duration::from_secs(1);
/// How often the depth of the queue is sampled.
const SAMPLE: Duration = Duration::from_secs(15);

/// Varies waits: a number from 0 to 1 with each call.
pub type Variation = Arc<dyn Fn() -> f64 + Send + Sync>;

/// What the scheduler is made of.
pub struct SchedulerContext {
    /// The queue.
    pub queue: Queue,
    /// The leases of the process, which somebody renews ([`Leases::run`]).
    pub leases: Leases,
    /// What carries the messages.
    pub transport: Arc<dyn Transport>,
    /// The configuration in force.
    pub live: Live,
    /// The time of day.
    pub clock: SharedClock,
    /// Metrics.
    pub registry: Registry,
    /// Signs notifications; `None` leaves them unsigned.
    pub signer: Option<Arc<dyn Signer>>,
    /// Varies waits, so that a simulation can repeat them; `None` for chance.
    pub variation: Option<Variation>,
}

/// What all tasks of the scheduler share.
pub(crate) struct Context {
    pub(crate) queue: Queue,
    pub(crate) spool: Spool,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) signer: Option<Arc<dyn Signer>>,
    pub(crate) live: Live,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: Metrics,
    pub(crate) variation: Variation,
    pub(crate) room: Room,
}

/// What readers tell.
pub(crate) enum Event {
    /// Entries were read.
    Read(Batch),
}

/// A shard that is worked on.
struct Owned {
    lease: Lease,
    /// `None` once it is wanted back: nothing new is begun.
    reader: Option<ReaderHandle>,
    /// Tasks that work on it.
    tasks: usize,
}

/// What tasks end with.
enum Outcome {
    Sent(Box<Sent>),
    PutOff(PutOff),
    Fed { name: Name, shard: Shard, token: u64, read: Result<(Entries, Option<EntryId>)> },
    Granted(Granted),
    GivenBack(Shard),
    Nothing,
}

/// What a task works on, should it die.
#[derive(Clone)]
enum Task {
    Send(Name, Way, Shard, EntryId),
    PutOff(Name, Way, Shard, Vec<EntryId>),
    Feed(Name, Shard),
    Other,
}

/// The scheduler of one process.
pub struct Scheduler {
    context: Arc<Context>,
    leases: Leases,
    config: Arc<Config>,
    owned: BTreeMap<Shard, Owned>,
    /// Leases are wanted back of shards that something is on its way for.
    gives_back: bool,
    /// Shards whose leases are being given back, with their tokens.
    returning: BTreeMap<Shard, u64>,
    backlog: Backlog,
    allowances: Allowances,
    /// Shards of which something was not taken, since there was no room for another destination.
    unread: BTreeSet<Shard>,
    /// Ways to destinations whose entries could not be put off when they should have been.
    stalled: Vec<(Name, Way)>,
    tasks: JoinSet<Outcome>,
    running: HashMap<Id, Task>,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    sampled: Option<Instant>,
}

impl Scheduler {
    /// A scheduler that owns nothing yet.
    pub fn new(context: SchedulerContext) -> Self {
        let SchedulerContext { queue, leases, transport, live, clock, registry, signer, variation } = context;
        let spool = queue.spool().clone();
        let metrics = Metrics::new(&registry);
        let variation = variation.unwrap_or_else(|| Arc::new(rand::random::<f64>));
        let config = live.load();
        let backlog = Backlog::new(Arc::new(config.queue.clone()));
        let room = Room::new(&config.queue);
        let context = Context { queue, spool, transport, signer, live, clock, metrics, variation, room };
        Self {
            context: Arc::new(context),
            leases,
            config,
            owned: BTreeMap::new(),
            gives_back: false,
            returning: BTreeMap::new(),
            backlog,
            allowances: Allowances::default(),
            unread: BTreeSet::new(),
            stalled: Vec::new(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            events: mpsc::channel(EVENTS),
            sampled: None,
        }
    }

    /// Sends mail until `stop`; then begins nothing new, lets what is on its way arrive within the grace of the configuration
    /// (`shutdown.grace`), and gives the leases back.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut leases = self.leases.join(GROUP, Shard::all().map(Shard::lease_name));
        let mut stop = pin!(stop);
        let mut tick = tokio::time::interval(TICK);
        loop {
            self.work();
            let wake = self.backlog.next_wake();
            // Biased, so that a simulation repeats itself; nothing here can keep the others waiting for long.
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = leases.changed() => self.own(&leases),
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                Some(Event::Read(batch)) = self.events.1.recv() => self.read(batch),
                _ = tick.tick() => {
                    if self.gives_back {
                        self.own(&leases);
                    }
                    self.tick();
                }
                () = sleep_until(wake) => {}
            }
        }
        self.finish(&leases).await;
    }

    /// Takes up shards whose leases came, and lets go of those whose leases went or are wanted back.
    fn own(&mut self, leases: &LeaseSet) {
        let held: BTreeMap<Shard, Lease> = leases
            .held()
            .into_iter()
            .filter_map(|lease| Some((Shard::of_lease(lease.name())?, lease)))
            .collect();
        let is_gone = |(shard, owned): (&Shard, &Owned)| {
            let is_same = held.get(shard).is_some_and(|lease| lease.token() == owned.lease.token());
            (!is_same).then_some(*shard)
        };
        let gone: Vec<Shard> = self.owned.iter().filter_map(is_gone).collect();
        for shard in gone {
            self.owned.remove(&shard);
            self.unread.remove(&shard);
            self.backlog.abandon(shard);
        }
        self.gives_back = false;
        for (shard, lease) in held {
            if lease.is_wanted_back() {
                self.gives_back = true;
                self.give_back(shard, &lease);
                continue;
            }
            let read = |lease: &Lease| {
                Some(Reader::start(&self.context, shard, lease.token(), self.events.0.clone()))
            };
            match self.owned.entry(shard) {
                Entry::Vacant(vacant) => {
                    let reader = read(&lease);
                    vacant.insert(Owned { lease, reader, tasks: 0 });
                }
                Entry::Occupied(mut owned) if owned.get().reader.is_none() => {
                    // It was wanted back, and is not any more.
                    owned.get_mut().reader = read(&lease);
                }
                Entry::Occupied(_) => {}
            }
        }
        self.context.metrics.shards.set(i64::try_from(self.owned.len()).unwrap_or(i64::MAX));
    }

    /// Begins nothing new in a shard, and gives its lease back when what is on its way has arrived.
    fn give_back(&mut self, shard: Shard, lease: &Lease) {
        let tasks = match self.owned.get_mut(&shard) {
            Some(owned) => {
                owned.reader = None;
                owned.tasks
            }
            None => 0,
        };
        self.backlog.abandon(shard);
        // Once: each time that leases change this is asked again, and each release is a transaction that renewals wait for.
        if tasks == 0 && self.returning.insert(shard, lease.token()) != Some(lease.token()) {
            self.owned.remove(&shard);
            let (leases, lease) = (self.leases.clone(), lease.clone());
            self.spawn(Task::Other, async move {
                if let Err(error) = leases.release(&lease).await {
                    tracing::warn!(%error, "a part of the queue cannot be given back");
                }
                Outcome::GivenBack(shard)
            });
        }
    }

    fn spawn(&mut self, task: Task, work: impl Future<Output = Outcome> + Send + 'static) {
        if let Some(owned) = task.shard().and_then(|shard| self.owned.get_mut(&shard)) {
            owned.tasks += 1;
        }
        let handle = self.tasks.spawn(work);
        self.running.insert(handle.id(), task);
    }

    /// Whether what was done under this token is for now.
    fn is_current(&self, shard: Shard, token: u64) -> bool {
        self.owned.get(&shard).is_some_and(|owned| owned.lease.token() == token && owned.reader.is_some())
    }

    fn read(&mut self, batch: Batch) {
        if self.is_current(batch.shard, batch.token) {
            self.offer_all(batch.entries);
        }
    }

    fn offer_all(&mut self, entries: Entries) {
        for (hint, loaded) in entries.found {
            self.offer(hint, loaded, Some(entries.read), false);
        }
    }

    /// Offers an entry; `waives_tls` is known only of one that was looked into.
    fn offer(&mut self, hint: Hint, loaded: Box<Loaded>, read: Option<Instant>, waives_tls: bool) {
        let shard = Shard::of(&loaded.entry.destination);
        let way = self.context.way(&loaded, waives_tls);
        if self.backlog.offer(hint, loaded, &way, read, Instant::now()) == Offered::NoDestination {
            self.unread.insert(shard);
        }
    }

    /// What has no event of its own.
    fn tick(&mut self) {
        let now = Instant::now();
        let config = self.context.live.load();
        if !Arc::ptr_eq(&config, &self.config) {
            self.backlog.configure(Arc::new(config.queue.clone()), now);
            self.config = config;
        }
        for (name, way) in std::mem::take(&mut self.stalled) {
            self.backlog.update(&name, now, |destination| destination.lane(&way).draining = false);
        }
        self.backlog.sweep(now);
        let capacity = usize::try_from(self.config.queue.backlog).unwrap_or(usize::MAX);
        if self.backlog.destinations(now).0 <= capacity / 2 {
            for shard in std::mem::take(&mut self.unread) {
                if let Some(reader) = self.owned.get(&shard).and_then(|owned| owned.reader.as_ref()) {
                    reader.again();
                }
            }
        }
        if self.sampled.is_none_or(|at| now.duration_since(at) >= SAMPLE) {
            self.sampled = Some(now);
            self.sample(now);
        }
    }

    fn sample(&mut self, now: Instant) {
        let (all, blocked) = self.backlog.destinations(now);
        let metrics = self.context.metrics.clone();
        metrics.destinations.with(&["all"]).set(i64::try_from(all).unwrap_or(i64::MAX));
        metrics.destinations.with(&["left-alone"]).set(i64::try_from(blocked).unwrap_or(i64::MAX));
        let (queue, time) = (self.context.queue.clone(), self.context.clock.now());
        self.spawn(Task::Other, async move {
            let figures = async { Ok::<_, crate::Error>((queue.totals().await?, queue.oldest().await?)) };
            match figures.await {
                Ok(((messages, octets), oldest)) => {
                    let age = oldest.map_or(0, |came| time.saturating_sub(came).as_secs());
                    metrics.oldest.set(i64::try_from(age).unwrap_or(i64::MAX));
                    metrics.depth.with(&["messages"]).set(i64::try_from(messages).unwrap_or(i64::MAX));
                    metrics.depth.with(&["octets"]).set(i64::try_from(octets).unwrap_or(i64::MAX));
                }
                Err(error) => tracing::warn!(%error, "the depth of the queue cannot be read"),
            }
            Outcome::Nothing
        });
    }

    /// Ends: what is on its way may arrive within the grace, and what does not is interrupted and tried again by others.
    async fn finish(mut self, leases: &LeaseSet) {
        for owned in self.owned.values_mut() {
            owned.reader = None;
        }
        let grace = self.config.shutdown.grace.get();
        let arrived = tokio::time::timeout(grace, async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                self.ended(ended);
            }
        });
        if arrived.await.is_err() {
            tracing::warn!(messages = self.backlog.active(), "the queue stops with messages on their way");
        }
        self.tasks.shutdown().await;
        for lease in leases.held() {
            if let Err(error) = self.leases.release(&lease).await {
                tracing::warn!(%error, "a part of the queue cannot be given back");
                return;
            }
        }
    }
}

impl Task {
    fn shard(&self) -> Option<Shard> {
        match self {
            Self::Send(_, _, shard, _) | Self::PutOff(_, _, shard, _) | Self::Feed(_, shard) => Some(*shard),
            Self::Other => None,
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
