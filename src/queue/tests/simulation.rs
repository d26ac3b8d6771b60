//! Several nodes over one store, under faults that a seed decides: commits whose result is unknown, nodes that die, stand still or are cut off from the
//! store, servers that are slow, refuse, or vanish after they took a message. A ledger of what servers saw is compared with what is promised:
//!
//! - no recipient is lost: each is delivered, or its sender hears that it failed, once;
//! - nothing is sent again after its success was written;
//! - each notification is made once.
//!
//! The seed of a failure is printed; `EKITEI_SIMULATION_SEED=n` runs it alone, and `EKITEI_LONG=1` runs many.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekitei_kv::{CommitFault, Faults, MemoryOptions};
use ekitei_queue::{Action, Filter, Listed, Origin, Queue, QueueId, RecipientState, dsn};
use ekitei_relay::{Failure, FailureKind, Notify, RecipientOutcome, Shipment, Status};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{Fake, Node, NodeOptions, Wire, World, failure, recipient, sent};
use tokio::time::{Instant, sleep};

const NODES: usize = 3;
const MESSAGES: usize = 60;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// For so long things go wrong.
const TROUBLE: Duration = Duration::from_secs(600);
const SEEDS: u64 = 12;
const LONG: u64 = 300;

#[test]
fn nothing_is_lost_and_nothing_known_is_repeated() {
    let only = std::env::var("EKITEI_SIMULATION_SEED").ok().map(|seed| seed.parse().unwrap());
    let many = std::env::var_os("EKITEI_LONG").is_some();
    let seeds: Vec<u64> = match only {
        Some(seed) => vec![seed],
        None => (0..if many { LONG } else { SEEDS }).collect(),
    };
    for seed in seeds {
        run(seed);
    }
}

#[test]
fn a_seed_repeats_its_run() {
    let (first, second) = (run(1), run(1));
    let differs = first.iter().zip(&second).find(|(first, second)| first != second);
    assert_eq!((differs, first.len()), (None, second.len()));
}

/// Runs a seed to its end; what servers took, in order.
fn run(seed: u64) -> Vec<String> {
    /// Ids ascend within a process, so two runs at the same time would change each other's.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _named = Named(seed);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(simulate(seed))
}

/// Names the seed if its run panics.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation failed; EKITEI_SIMULATION_SEED={} repeats it", self.0);
        }
    }
}

/// A number that depends on nothing but the seed and what it is for, so that one event more does not change all others.
fn chance(seed: u64, what: impl Hash) -> f64 {
    let mut hasher = DefaultHasher::new();
    (seed, what).hash(&mut hasher);
    StdRng::seed_from_u64(hasher.finish()).random()
}

/// Commits that fail while there is trouble.
struct Unreliable {
    seed: u64,
    commits: AtomicU64,
    trouble: AtomicBool,
}

impl Faults for Unreliable {
    fn commit(&self) -> Option<CommitFault> {
        let number = self.commits.fetch_add(1, Ordering::SeqCst);
        let chance = chance(self.seed, ("commit", number));
        match chance {
            _ if !self.trouble.load(Ordering::SeqCst) => None,
            0.0..0.03 => Some(CommitFault::Conflict),
            0.03..0.06 => Some(CommitFault::UnknownApplied),
            0.06..0.09 => Some(CommitFault::UnknownNotApplied),
            _ => None,
        }
    }
}

/// What servers elsewhere saw.
#[derive(Default)]
struct Ledger {
    ids: BTreeMap<String, QueueId>,
    attempts: BTreeMap<(String, String), u64>,
    /// How often a server took a message for a recipient.
    taken: BTreeMap<(String, String), u32>,
    /// Notifications by message, recipient and action: their Message-IDs.
    told: BTreeMap<(String, String, &'static str), BTreeSet<String>>,
    broken: Vec<String>,
    /// What servers took, in order.
    trace: Vec<String>,
}

/// Servers elsewhere, as one node sees them.
struct Servers {
    seed: u64,
    began: Instant,
    ledger: Arc<Mutex<Ledger>>,
    /// Looks into the store past all trouble.
    store: Queue,
    wire: Arc<Wire>,
}

/// What a server does with one attempt.
enum Plan {
    Unreachable,
    Refuse421,
    Answer { latency: Duration, cut: bool },
}

impl Servers {
    fn plan(&self, message: &str, destination: &str, attempt: u64) -> Plan {
        let chance = |what| chance(self.seed, (what, message, destination, attempt));
        let kind = destination.split('.').next().unwrap_or_default();
        let dead = match kind {
            "dead" => self.began.elapsed() < 4 * MINUTE,
            "gone" => true,
            _ => false,
        };
        let slowness = if kind == "slow" { 40.0 } else { 1.5 };
        match chance("plan") {
            _ if dead => Plan::Unreachable,
            0.0..0.05 if kind != "here" => Plan::Unreachable,
            0.05..0.1 if kind != "here" => Plan::Refuse421,
            _ => {
                let cut = kind != "here" && chance("cut") < 0.1;
                Plan::Answer { latency: SECOND.mul_f64(chance("latency") * slowness), cut }
            }
        }
    }

    async fn send(self: Arc<Self>, shipment: Shipment) -> Vec<RecipientOutcome> {
        self.wire.running().await;
        let text = String::from_utf8(shipment.message.concat()).unwrap();
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        let id = field("Message-ID: ");
        // The ids of notifications are random; what they are about is not.
        let report = dsn::parse(text.as_bytes());
        let message = report.as_ref().map_or_else(|| id.clone(), |report| format!("{report:?}"));
        let attempt = {
            let mut ledger = self.ledger.lock().unwrap();
            let attempts =
                ledger.attempts.entry((message.clone(), shipment.destination.clone())).or_default();
            *attempts += 1;
            *attempts
        };
        let all = |failure: Failure| vec![RecipientOutcome::Deferred(failure); shipment.recipients.len()];
        let (latency, cut) = match self.plan(&message, &shipment.destination, attempt) {
            Plan::Unreachable => {
                sleep(SECOND).await;
                return all(failure(FailureKind::Connection, None, Status(4, 4, 1), "connection refused"));
            }
            Plan::Refuse421 => {
                sleep(SECOND).await;
                return all(failure(FailureKind::Host, Some(421), Status(4, 3, 2), "too busy"));
            }
            Plan::Answer { latency, cut } => (latency, cut),
        };
        sleep(latency).await;
        self.wire.running().await;
        let outcomes: Vec<RecipientOutcome> = shipment
            .recipients
            .iter()
            .map(|recipient| self.outcome(&message, &recipient.address, attempt))
            .collect();
        let taken: Vec<&str> = shipment
            .recipients
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| matches!(outcome, RecipientOutcome::Sent { .. }))
            .map(|(recipient, _)| recipient.address.as_str())
            .collect();
        if !taken.is_empty() {
            if !(shipment.may_finish)() {
                return all(failure(FailureKind::Fenced, None, Status(4, 3, 0), "not ours any more"));
            }
            self.take(&message, &id, &taken, report).await;
            // The server has it, and its reply is on the way.
            sleep(SECOND / 10).await;
            self.wire.running().await;
            if cut {
                return all(failure(FailureKind::Connection, None, Status(4, 4, 2), "connection lost"));
            }
        }
        outcomes
    }

    fn outcome(&self, message: &str, address: &str, attempt: u64) -> RecipientOutcome {
        let bad = failure(FailureKind::Recipient, Some(550), Status(5, 1, 1), "User unknown");
        let busy = failure(FailureKind::Recipient, Some(450), Status(4, 2, 1), "try later");
        if address.ends_with("@here.example") {
            return sent();
        }
        let never = address.starts_with("never");
        match chance(self.seed, ("outcome", message, address, attempt)) {
            _ if never => RecipientOutcome::Deferred(busy),
            0.0..0.15 => RecipientOutcome::Deferred(busy),
            0.15..0.2 => RecipientOutcome::Failed(bad),
            _ => sent(),
        }
    }

    /// A server takes a message: checks the promise, and keeps what it is.
    async fn take(&self, message: &str, name: &str, addresses: &[&str], report: Option<dsn::ParsedReport>) {
        let id = self.ledger.lock().unwrap().ids.get(message).copied();
        if let Some(id) = id {
            // Entries that are gone are settled, whatever became of them.
            let entries = self.store.show(id).await.unwrap_or_default();
            let waits = |address: &str| {
                let rows = entries.iter().flat_map(|listed| &listed.entry.recipients);
                let mut rows = rows.filter(|row| row.recipient.address == address);
                rows.any(|row| matches!(row.state, RecipientState::Waiting { .. }))
            };
            for address in addresses.iter().filter(|address| !waits(address)) {
                let broken = format!("{message} is sent to {address} after that was settled");
                self.ledger.lock().unwrap().broken.push(broken);
            }
        }
        let mut ledger = self.ledger.lock().unwrap();
        ledger.trace.push(format!("{:?} {message} {addresses:?}", self.began.elapsed()));
        for address in addresses {
            *ledger.taken.entry((message.to_owned(), (*address).to_owned())).or_default() += 1;
        }
        if let Some(report) = report {
            let about = report.envelope_id.unwrap();
            for told in report.recipients {
                let key = (about.clone(), told.final_recipient.unwrap(), told.action.unwrap().as_str());
                ledger.told.entry(key).or_default().insert(name.to_owned());
            }
        }
    }
}

/// A recipient of the plan.
struct Expected {
    message: String,
    address: String,
    notify: Option<Notify>,
}

/// One run.
struct Simulation {
    seed: u64,
    rng: StdRng,
    began: Instant,
    world: World,
    faults: Arc<Unreliable>,
    ledger: Arc<Mutex<Ledger>>,
    nodes: Vec<Option<Node>>,
    expected: Vec<Expected>,
}

async fn simulate(seed: u64) -> Vec<String> {
    let faults = Arc::new(Unreliable { seed, commits: AtomicU64::new(0), trouble: AtomicBool::new(true) });
    let options =
        MemoryOptions { faults: faults.clone(), jitter_seed: Some(seed), ..MemoryOptions::default() };
    let world = World::new(options, |config| {
        let seconds =
            |all: &[u64]| all.iter().map(|&s| ekitei_config::Duration::seconds(s)).collect::<Vec<_>>();
        config.queue.retry_schedule = seconds(&[10, 30, 60, 120]);
        config.queue.backoff = seconds(&[10, 30, 60]);
        config.queue.lifetime = ekitei_config::Duration::minutes(20);
        config.queue.delay_notice = ekitei_config::Duration::minutes(3);
        config.queue.suppression.bounces = 0;
        config.queue.backlog = 100;
        config.queue.concurrency = 5;
    });
    let mut simulation = Simulation {
        seed,
        rng: StdRng::seed_from_u64(seed),
        began: Instant::now(),
        world,
        faults,
        ledger: Arc::default(),
        nodes: (0..NODES).map(|_| None).collect(),
        expected: Vec::new(),
    };
    simulation.run().await;
    std::mem::take(&mut simulation.ledger.lock().unwrap().trace)
}

impl Simulation {
    async fn run(&mut self) {
        for n in 0..NODES {
            self.start(n);
        }
        let mut messages = 0;
        let mut next_trouble = 5 * SECOND;
        while self.began.elapsed() < TROUBLE {
            sleep(Duration::from_millis(self.rng.random_range(1..8_000))).await;
            if messages < MESSAGES {
                messages += 1;
                self.submit(messages).await;
            }
            if self.began.elapsed() >= next_trouble {
                next_trouble += Duration::from_millis(self.rng.random_range(2_000..40_000));
                self.trouble().await;
            }
        }
        self.faults.trouble.store(false, Ordering::SeqCst);
        for n in 0..NODES {
            match &self.nodes[n] {
                Some(node) => {
                    node.wire.resume();
                    node.wire.mend();
                }
                None => self.start(n),
            }
        }
        self.release_all().await;
        let end = self.began.elapsed() + 40 * MINUTE;
        while !self.is_empty().await {
            assert!(self.began.elapsed() < end, "the queue does not get empty: {:?}", self.left().await);
            sleep(10 * SECOND).await;
        }
        self.check().await;
    }

    fn start(&mut self, n: usize) {
        let wire = Arc::<Wire>::default();
        let servers = Arc::new(Servers {
            seed: self.seed,
            began: self.began,
            ledger: Arc::clone(&self.ledger),
            store: self.world.queue.clone(),
            wire: Arc::clone(&wire),
        });
        let transport = Fake::new(move |shipment| Arc::clone(&servers).send(shipment));
        let (seed, calls) = (self.seed, AtomicU64::new(0));
        let variation =
            Arc::new(move || chance(seed, ("variation", n, calls.fetch_add(1, Ordering::SeqCst))));
        self.nodes[n] =
            Some(self.world.node(transport, NodeOptions { wire, variation, ..NodeOptions::default() }));
    }

    async fn submit(&mut self, number: usize) {
        const DOMAINS: [&str; 6] = ["good", "fine", "slow", "dead", "gone", "odd"];
        let name = format!("<m{number}@test>");
        let mut message = self.world.message(&[]);
        message.envelope.envelope_id = Some(name.clone());
        for n in 0..self.rng.random_range(1..=4) {
            let local = if self.rng.random_bool(0.05) { "never" } else { "user" };
            let domain = DOMAINS[self.rng.random_range(0..DOMAINS.len())];
            let mut to = recipient(&format!("{local}{n}@{domain}.example"));
            to.notify = match self.rng.random_range(0..4) {
                0 => Some(Notify::NEVER),
                1 => Some(Notify { success: true, failure: true, delay: true }),
                _ => None,
            };
            let address = to.address.to_wire();
            self.expected.push(Expected { message: name.clone(), address, notify: to.notify });
            message.recipients.push(to);
        }
        // Known before it can be sent.
        let text = format!("Message-ID: {name}\r\nSubject: test\r\n\r\nbody\r\n");
        let id = self.world.enqueue(message, &text).await;
        self.ledger.lock().unwrap().ids.insert(name, id);
    }

    /// Something goes wrong, or gets well.
    async fn trouble(&mut self) {
        let n = self.rng.random_range(0..NODES);
        let Some(node) = &self.nodes[n] else { return self.start(n) };
        let wire = Arc::clone(&node.wire);
        let time = Duration::from_millis(self.rng.random_range(1_000..60_000));
        match self.rng.random_range(0..6) {
            0 => self.nodes[n] = None,
            1 => {
                wire.pause();
                tokio::spawn(async move {
                    sleep(time).await;
                    wire.resume();
                });
            }
            2 | 3 => {
                wire.cut();
                tokio::spawn(async move {
                    sleep(time).await;
                    wire.mend();
                });
            }
            4 => {
                // An orderly end takes as long as it takes; a new process is there before.
                let node = self.nodes[n].take().unwrap();
                tokio::spawn(node.stop_or_die());
            }
            _ => self.administrate().await,
        }
    }

    /// Somebody holds, releases, retries or returns what waits or is on its way. (A notification that is returned is told to nobody.)
    async fn administrate(&mut self) {
        let actions = [Action::Hold, Action::Release, Action::Retry, Action::Bounce];
        let action = actions[self.rng.random_range(0..actions.len())];
        let page = self.world.queue.list(&Filter::default(), None, 5).await.unwrap();
        let may_act =
            |item: &&Listed| action != Action::Bounce || item.message.origin != Origin::Notification;
        let entries: Vec<_> = page.items.iter().filter(may_act).map(|item| item.id).collect();
        self.world.queue.act(action, &entries).await.unwrap();
    }

    async fn release_all(&self) {
        let page = self.world.queue.list(&Filter::default(), None, 1_000).await.unwrap();
        let entries: Vec<_> = page.items.iter().map(|item| item.id).collect();
        self.world.queue.act(Action::Release, &entries).await.unwrap();
    }

    async fn is_empty(&self) -> bool {
        self.world.queue.list(&Filter::default(), None, 1).await.unwrap().items.is_empty()
    }

    async fn left(&self) -> Vec<String> {
        let page = self.world.queue.list(&Filter::default(), None, 20).await.unwrap();
        page.items.iter().map(|item| format!("{} {:?} {:?}", item.id, item.message, item.entry)).collect()
    }

    /// The promises hold, and nothing is left behind.
    async fn check(&self) {
        self.compare();
        let statistics = self.world.queue.statistics(10).await.unwrap();
        assert_eq!((statistics.messages, statistics.bytes, statistics.figures.entries()), (0, 0, 0));
    }

    /// Compares the ledger with the promises.
    fn compare(&self) {
        let ledger = self.ledger.lock().unwrap();
        assert_eq!(ledger.broken, Vec::<String>::new());
        for Expected { message, address, notify } in &self.expected {
            let key = |action| (message.clone(), address.clone(), action);
            let told = |action| ledger.told.get(&key(action)).map_or(0, BTreeSet::len);
            let taken = ledger.taken.get(&(message.clone(), address.clone())).copied().unwrap_or(0);
            let context = format!("{message} to {address}: taken {taken} times");
            let notify = notify.unwrap_or(Notify::DEFAULT);
            let (failed, relayed, delayed) = (told("failed"), told("relayed"), told("delayed"));
            if notify.failure {
                assert!(
                    taken > 0 || failed == 1,
                    "{context}, and the sender was told {failed} times of a failure"
                );
            }
            assert!(failed <= usize::from(notify.failure), "{context}, failed told {failed} times");
            assert!(relayed <= usize::from(notify.success), "{context}, relayed told {relayed} times");
            assert!(delayed <= usize::from(notify.delay), "{context}, delayed told {delayed} times");
            if notify.success {
                assert_eq!(failed + relayed, 1, "{context}: one end, told once");
            }
        }
    }
}
