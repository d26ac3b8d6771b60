//! The world of a run: one store and one object store, the processes that come and go, the clients, and somebody who sees everything.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{Blobs, MemoryStore, SeededFaults};
use ekitei_config::{Config, Live};
use ekitei_directory::{Directory, Domain, EmailAddress, NewAccount, NewDomain, Settings};
use ekitei_keyring::Keyring;
use ekitei_kv::keys::{self as rows, subspace::CLUSTER};
use ekitei_kv::{Database, KeyValue, MemoryOptions};
use ekitei_mailstore::{AccountId, DomainCounting, Entry, MailStore, MailboxId, MessageId, Snapshot};
use ekitei_queue::{Filter, Listed, MAX_PAGE, Queue, QueueContext, RecipientState, dsn};
use ekitei_telemetry::Registry;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::clock::NodeClock;
use crate::commits::TroubledCommits;
use crate::dice::Dice;
use crate::disk::Disk;
use crate::keys::{Generation, Keys};
use crate::ledger::{Ledger, Marks};
use crate::node::{Node, blob_settings, mailstore_settings};
use crate::objects::{AllSeeing, Deleted, Faulty, TroubledObjects};
use crate::plan::{Encryption, Plan};
use crate::process::Process;
use crate::servers::token_of;
use crate::trace::Trace;
use crate::wire::Wire;

/// How many nodes there are.
pub const NODES: usize = 3;
/// The domains of the accounts.
pub const DOMAINS: [&str; 2] = ["here.example", "also.example"];

/// Everything of a run.
pub struct World {
    /// The seed.
    pub seed: u64,
    /// What the seed makes of the run.
    pub plan: Plan,
    /// What happened.
    pub trace: Trace,
    /// The store, past all faults.
    pub database: Database,
    /// The object store.
    pub objects: MemoryStore,
    /// What was deleted from it.
    pub deleted: Deleted,
    /// The configuration.
    pub live: Live,
    /// Objects with which something went wrong.
    pub faulty: Faulty,
    /// The bodies, past all faults.
    pub god_blobs: Blobs,
    /// The mailboxes, past all faults.
    pub god: MailStore,
    /// The queue, past all faults.
    pub god_queue: Queue,
    began: Instant,
    disks: Vec<Disk>,
    trouble: Arc<AtomicBool>,
    deaths: mpsc::UnboundedSender<String>,
    /// The processes at the places.
    places: Mutex<Vec<Option<Arc<Process>>>>,
    /// All that are not dead, also those that were replaced and have not ended.
    processes: Mutex<Vec<Arc<Process>>>,
    generation: Mutex<Generation>,
    starts: Mutex<[u32; NODES]>,
    ledger: Mutex<Ledger>,
    /// Whole messages, by account, for all that somebody looked at.
    whole: Mutex<BTreeMap<(AccountId, MessageId), Bytes>>,
    accounts: Mutex<Vec<(AccountId, String)>>,
}

impl World {
    /// A new world without processes, and who hears of deaths in it.
    ///
    /// # Errors
    /// When the store cannot be made, or accounts in it.
    pub async fn begin(
        seed: u64,
        plan: Plan,
    ) -> Result<(Arc<Self>, mpsc::UnboundedReceiver<String>), String> {
        let (began, trace) = (Instant::now(), Trace::begin());
        let trouble = Arc::new(AtomicBool::new(false));
        let commits = TroubledCommits::new(
            Arc::clone(&trouble),
            plan.commits,
            Dice::new(seed, "commits"),
            trace.clone(),
        );
        let options =
            MemoryOptions { faults: Arc::new(commits), jitter_seed: Some(seed), ..MemoryOptions::default() };
        let database = Database::in_memory_with(options).map_err(|error| error.to_string())?;
        let clock = NodeClock::right(began);
        let (faults, faulty) = (SeededFaults::new(seed, plan.objects), Faulty::default());
        let objects = MemoryStore::with_faults(
            clock.clone(),
            TroubledObjects::new(Arc::clone(&trouble), faults, faulty.clone(), trace.clone()),
        );
        let live = Live::new(config(&plan));
        let see_all =
            SeeAll { database: &database, objects: &objects, clock: &clock, live: &live, plan: &plan };
        let (blobs, god) = see_all.with(Generation::default().next().unwrap_or_default());
        let god_queue = Queue::new(QueueContext {
            database: database.clone(),
            blobs: blobs.clone(),
            mailstore: god.clone(),
            live: live.clone(),
            clock: clock.clone(),
        });
        let disk = |place| Disk::new(Dice::new(seed, ("disk", place)), Arc::clone(&trouble), trace.clone());
        let disks = (0..NODES).map(disk).collect();
        let (deaths, died) = mpsc::unbounded_channel();
        let world = Self {
            seed,
            plan,
            trace,
            database,
            objects,
            deleted: Deleted::default(),
            live,
            faulty,
            god_blobs: blobs,
            god,
            god_queue,
            began,
            disks,
            trouble,
            deaths,
            places: Mutex::new(vec![None; NODES]),
            processes: Mutex::default(),
            generation: Mutex::default(),
            starts: Mutex::default(),
            ledger: Mutex::default(),
            whole: Mutex::default(),
            accounts: Mutex::default(),
        };
        world.populate(clock).await?;
        Ok((Arc::new(world), died))
    }

    async fn populate(&self, clock: Arc<NodeClock>) -> Result<(), String> {
        let directory = Directory::new(self.database.clone(), Settings::default(), clock);
        for domain in DOMAINS {
            let domain = Domain::parse(domain).map_err(|error| error.to_string())?;
            let created = directory.create_domain(&domain, NewDomain::default()).await;
            created.map_err(|error| error.to_string())?;
        }
        for (n, domain) in (0..self.plan.accounts).zip(DOMAINS.into_iter().cycle()) {
            let address = format!("a{n}@{domain}");
            let new = NewAccount {
                address: EmailAddress::parse(&address).map_err(|error| error.to_string())?,
                display_name: String::new(),
                password: None,
                quota: None,
                enabled: true,
                forwarding: None,
            };
            let account = directory.create_account(new).await.map_err(|error| error.to_string())?.id;
            lock(&self.accounts).push((account, address));
            for mailbox in self.god.mailboxes(account).await.map_err(|error| error.to_string())? {
                // Only INBOX is used of those that every account has.
                if mailbox.id == MailboxId::INBOX {
                    self.ledger().open(
                        account,
                        mailbox.id,
                        mailbox.name.as_str(),
                        mailbox.uid_validity,
                        None,
                    );
                }
            }
        }
        Ok(())
    }

    /// A stream of chance.
    pub fn dice(&self, purpose: impl Hash) -> Dice {
        Dice::new(self.seed, purpose)
    }

    /// The ledger. Not to be held over an await.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// Whether things go wrong now.
    pub fn is_trouble(&self) -> bool {
        self.trouble.load(Ordering::SeqCst)
    }

    /// Things go wrong from now on, or not any more.
    pub fn set_trouble(&self, trouble: bool) {
        self.trouble.store(trouble, Ordering::SeqCst);
    }

    /// How long the run lasts by now.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether clients are to end.
    pub fn is_over(&self) -> bool {
        self.elapsed() >= self.plan.length
    }

    /// The accounts.
    pub fn accounts(&self) -> Vec<AccountId> {
        lock(&self.accounts).iter().map(|(account, _)| *account).collect()
    }

    /// Whether an account has a quota now and then, so that it may refuse messages; never the first, which hears of failures.
    pub fn may_be_full(&self, account: AccountId) -> bool {
        let accounts = self.accounts();
        accounts.len() > 1 && accounts.last() == Some(&account)
    }

    /// The address of an account.
    pub fn address_of(&self, account: AccountId) -> String {
        let accounts = lock(&self.accounts);
        accounts
            .iter()
            .find(|(id, _)| *id == account)
            .map_or_else(String::new, |(_, address)| address.clone())
    }

    /// A process that runs, if any does.
    pub fn some_node(&self, dice: &mut Dice) -> Option<Arc<Node>> {
        let running: Vec<Arc<Node>> = (0..NODES).filter_map(|place| self.node(place)).collect();
        dice.pick(&running).cloned()
    }

    /// The process at a place, when it has joined the others.
    pub fn node(&self, place: usize) -> Option<Arc<Node>> {
        lock(&self.places).get(place)?.as_ref()?.node()
    }

    /// Takes a process from its place.
    pub fn take_process(&self, place: usize) -> Option<Arc<Process>> {
        lock(&self.places).get_mut(place)?.take()
    }

    /// The place of the process with this name, if it has one.
    pub fn place_of(&self, name: &str) -> Option<usize> {
        let is_it = |process: &Option<Arc<Process>>| {
            process.as_ref().is_some_and(|process| process.wire.name() == name)
        };
        lock(&self.places).iter().position(is_it)
    }

    /// All processes that have not ended, in the order in which they were started.
    pub fn processes(&self) -> Vec<Arc<Process>> {
        let mut processes = lock(&self.processes);
        processes.retain(|process| !process.wire.is_dead());
        processes.clone()
    }

    /// The master keys that processes are started with.
    pub fn generation(&self) -> Generation {
        *lock(&self.generation)
    }

    /// Processes are started with other master keys from now on.
    pub fn set_generation(&self, generation: Generation) {
        *lock(&self.generation) = generation;
    }

    /// A clock that runs `rate` times as fast as it should, and is off by some milliseconds.
    pub fn clock(&self, rate: f64, offset_millis: i64) -> Arc<NodeClock> {
        NodeClock::wrong(self.began, rate, offset_millis)
    }

    /// How much clocks of processes differ at most.
    pub fn clock_doubt(&self) -> Duration {
        let drifted = self.elapsed().mul_f64(2.0 * self.plan.drift);
        Duration::from_millis(2 * self.plan.skew_millis + 10) + drifted
    }

    /// Starts a process at a place, unless there is one.
    pub fn start_node(self: &Arc<Self>, place: usize) {
        if lock(&self.places).get(place).is_none_or(Option::is_some) {
            return;
        }
        let number = {
            let mut starts = lock(&self.starts);
            starts[place] += 1;
            starts[place]
        };
        let name = format!("n{place}.{number}");
        self.trace.note(&name, format_args!("starts"));
        let mut dice = self.dice(("node", place));
        let rate = 1.0 + (dice.share() * 2.0 - 1.0) * self.plan.drift;
        let skew = self.plan.skew_millis;
        let offset = dice.between(0, 2 * skew) as i64 - skew as i64;
        let wire = Wire::new(
            name.clone(),
            self.plan.link,
            self.dice(("wire", &name)),
            Arc::clone(&self.trouble),
            self.trace.clone(),
            self.deaths.clone(),
        );
        let process = Process::new(Arc::clone(&wire), self.generation());
        if let Some(free) = lock(&self.places).get_mut(place) {
            *free = Some(Arc::clone(&process));
        }
        lock(&self.processes).push(Arc::clone(&process));
        let (world, clock) = (Arc::clone(self), self.clock(rate, offset));
        let disk = self.disks[place].clone();
        if self.is_trouble() && self.dice(("crash", &name)).chance(0.5) {
            disk.crash();
        }
        tokio::spawn(async move {
            match Node::start(&world, wire, disk, (clock, rate), process.generation).await {
                Some(node) => process.begins(node),
                // As whatever looks after it would do, somebody starts another.
                None => process.wire.die(),
            }
        });
    }

    /// Features that some process made active.
    pub async fn active_features(&self) -> Vec<String> {
        let mut features = Vec::new();
        let scanned = self.database.scan(rows::range(&(CLUSTER, "feature")), |page| {
            features.extend(page.iter().map(|row| format!("{:?}", row.key)));
            Ok::<_, ekitei_kv::Error>(())
        });
        if let Err(error) = scanned.await {
            self.ledger().accuse(format!("features cannot be read: {error}"));
        }
        features
    }

    /// Bodies are encrypted from now on.
    pub fn turn_on_encryption(&self) {
        let mut config = (*self.live.load()).clone();
        config.encryption.enabled = true;
        self.live.replace(config);
    }

    /// If all processes encrypt by now, so will those that come later, and no message that is made from now on may be found as it is.
    pub fn encrypts_from_now(&self) {
        let encrypts = |process: &Arc<Process>| process.node().is_some_and(|node| node.blobs.encrypts());
        let processes = self.processes();
        let mut ledger = self.ledger();
        if ledger.encrypted_from.is_none() && !processes.is_empty() && processes.iter().all(encrypts) {
            ledger.encrypted_from = Some(ledger.contents.len() + 1);
            drop(ledger);
            self.trace.note("keys", format_args!("all processes encrypt"));
        }
    }

    /// The keys, past all faults and all caches: with the master keys that are left at the end.
    pub fn fresh_keyring(&self) -> Keyring {
        keyring(&self.database, &self.live, &NodeClock::right(self.began), self.generation())
    }

    /// A new message with a name of its own.
    pub fn compose(&self, dice: &mut Dice) -> (String, Bytes) {
        let mut ledger = self.ledger();
        let name = format!("m{}@test", ledger.contents.len() + 1);
        let length = match dice.below(10) {
            0 => dice.between(4_000, 12_000),
            1..=3 => dice.between(1_000, 4_000),
            _ => dice.between(0, 600),
        };
        let mut text = format!("Message-ID: {name}\r\nFrom: a@b.example\r\nSubject: {name}\r\n\r\n");
        while (text.len() as u64) < length {
            // Numbers, so that little can be compressed.
            text.push_str(&format!(
                "{:016x}{:016x}\r\n",
                dice.between(0, u64::MAX),
                dice.between(0, u64::MAX)
            ));
        }
        let message = Bytes::from(text);
        ledger.contents.insert(name.clone(), message.clone());
        (name, message)
    }

    /// A mailbox as it is stored now; `None` if it is not there.
    pub async fn stored(&self, account: AccountId, mailbox: MailboxId) -> Option<Arc<Snapshot>> {
        let view = self.god.view(account, mailbox).await.ok()?;
        let snapshot = view.refresh().await.ok()?;
        (!snapshot.gone).then_some(snapshot)
    }

    /// The name of a message that was seen in an account.
    pub async fn name_of(&self, account: AccountId, message: MessageId) -> String {
        let known = self.ledger().messages.get(&message).cloned();
        if let Some(name) = known.filter(|_| self.whole(account, message).is_some()) {
            return name;
        }
        let octets = match self.god.read(account, message, 0..u64::MAX).await {
            Ok(octets) => octets,
            // It is gone meanwhile.
            Err(_) => return self.ledger().messages.get(&message).cloned().unwrap_or_default(),
        };
        let name = token_of(&octets);
        let mut ledger = self.ledger();
        if let Some(report) = dsn::parse(&octets) {
            for told in report.recipients {
                let about = report.envelope_id.clone().unwrap_or_default();
                let action = told.action.map_or("nothing", dsn::Action::as_str);
                ledger.post.notified.insert((about, told.final_recipient.unwrap_or_default(), action));
            }
        } else if !ledger.contents.get(&name).is_some_and(|sent| octets.ends_with(sent)) {
            ledger.accuse(format!("{name} has other octets than were handed in"));
        }
        ledger.messages.insert(message, name.clone());
        lock(&self.whole).insert((account, message), octets);
        name
    }

    /// The octets of a message that somebody looked at.
    pub fn whole(&self, account: AccountId, message: MessageId) -> Option<Bytes> {
        lock(&self.whole).get(&(account, message)).cloned()
    }

    /// Somebody saw a message in a mailbox.
    pub async fn learn(&self, account: AccountId, mailbox: MailboxId, entry: &Entry) {
        let name = self.name_of(account, entry.message).await;
        if name.is_empty() {
            return;
        }
        let mut ledger = self.ledger();
        if mailbox == MailboxId::INBOX {
            ledger.post.see(account, &name, entry.uid);
        }
        let Some(book) = ledger.book(account, mailbox) else { return };
        let kept = book.entry(entry.uid);
        kept.added = true;
        kept.marks = kept.marks.or_else(|| Some(Marks::of_entry(entry)));
        let other_message = kept.message.replace(entry.message).is_some_and(|before| before != entry.message);
        let other_name = kept.name.replace(name.clone()).filter(|before| *before != name);
        if other_message || other_name.is_some() {
            let what =
                format!("UID {} of mailbox {} is {name}, and was {other_name:?}", entry.uid, mailbox.0);
            ledger.accuse(what);
        }
    }

    /// A server elsewhere takes a message.
    pub async fn taken(&self, node: &str, name: &str, addresses: &[&str], octets: &[u8]) {
        self.trace.note(node, format_args!("{name} is taken for {addresses:?}"));
        let waiting = self.waiting(name).await;
        let mut ledger = self.ledger();
        if !ledger.contents.get(name).is_some_and(|sent| octets.ends_with(sent)) {
            ledger.accuse(format!("{name} is sent with other octets than were handed in"));
        }
        for address in addresses {
            if !waiting.iter().any(|waits| waits == address) {
                ledger.accuse(format!("{name} is sent to {address} after that was settled"));
            }
            ledger.figures.taken += 1;
            *ledger.post.taken.entry((name.to_owned(), (*address).to_owned())).or_default() += 1;
        }
    }

    /// The recipients elsewhere that a message waits for.
    async fn waiting(&self, name: &str) -> Vec<String> {
        let items = self.queued().await.into_iter();
        items
            .filter(|item| item.message.envelope.envelope_id.as_deref() == Some(name))
            .flat_map(|item| item.entry.recipients)
            .filter(|row| matches!(row.state, RecipientState::Waiting { .. }))
            .map(|row| row.recipient.address)
            .collect()
    }

    /// All rows of the store.
    pub async fn rows(&self) -> Vec<KeyValue> {
        let mut rows = Vec::new();
        let scanned = self.database.scan(vec![]..vec![0xFF], |page| {
            rows.extend(page);
            Ok::<_, ekitei_kv::Error>(())
        });
        if let Err(error) = scanned.await {
            self.ledger().accuse(format!("the store cannot be read: {error}"));
        }
        rows
    }

    /// The mailboxes, past all faults and all caches.
    pub fn fresh_eyes(&self) -> MailStore {
        let clock = &NodeClock::right(self.began);
        let Self { database, objects, live, plan, .. } = self;
        SeeAll { database, objects, clock, live, plan }.with(self.generation()).1
    }

    /// Objects by name, but for those that arrived after they were deleted: a process that stood still for longer than the grace period, or whose clock is
    /// wrong by that, may write one when nobody waits for it any more. No row knows of it; the scrubber tells.
    pub fn kept_objects(&self) -> Vec<String> {
        let deleted = lock(&self.deleted);
        self.objects.names().into_iter().filter(|name| !deleted.contains(name)).collect()
    }

    /// What waits in the queue.
    pub async fn queued(&self) -> Vec<Listed> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            match self.god_queue.list(&Filter::default(), after, MAX_PAGE).await {
                Ok(page) => {
                    all.extend(page.items);
                    after = page.next;
                }
                Err(error) => {
                    self.ledger().accuse(format!("the queue cannot be listed: {error}"));
                    return all;
                }
            }
            if after.is_none() {
                return all;
            }
        }
    }
}

/// What one needs to see everything.
struct SeeAll<'a> {
    database: &'a Database,
    objects: &'a MemoryStore,
    clock: &'a Arc<NodeClock>,
    live: &'a Live,
    plan: &'a Plan,
}

impl SeeAll<'_> {
    /// Bodies and mailboxes past all faults, with these master keys.
    fn with(&self, generation: Generation) -> (Blobs, MailStore) {
        let (database, clock) = (self.database.clone(), self.clock.clone());
        let keys = Keys { keyring: keyring(&database, self.live, self.clock, generation), flaw: None };
        let settings = blob_settings(self.plan, Arc::new(keys));
        let blobs = Blobs::new(database.clone(), AllSeeing(self.objects.clone()), settings, clock.clone());
        let directory = Directory::new(database.clone(), Settings::default(), clock.clone());
        let domains = DomainCounting { directory, is_active: Arc::new(|| true) };
        let store = MailStore::with_domains(database, blobs.clone(), mailstore_settings(), clock, domains);
        (blobs, store)
    }
}

fn keyring(database: &Database, live: &Live, clock: &Arc<NodeClock>, generation: Generation) -> Keyring {
    Keyring::new(ekitei_keyring::Parts {
        database: database.clone(),
        masters: generation.masters(None),
        live: live.clone(),
        gate: Arc::new(|| true),
        clock: clock.clone(),
        registry: Registry::new(),
    })
}

/// A service whose queue gives up soon.
fn config(plan: &Plan) -> Config {
    let seconds = |all: &[u64]| all.iter().map(|&s| ekitei_config::Duration::seconds(s)).collect::<Vec<_>>();
    let mut config = Config { hostname: format!("mx.{}", DOMAINS[0]), ..Config::default() };
    config.queue.retry_schedule = seconds(&[5, 10, 20]);
    config.queue.backoff = seconds(&[5, 10, 20]);
    // Longer than clocks differ and than processes are away in turn: otherwise what tells of a failure is itself given up, and nobody is told.
    config.queue.lifetime = ekitei_config::Duration::seconds(200);
    config.queue.delay_notice = ekitei_config::Duration::seconds(30);
    config.queue.suppression.bounces = 0;
    config.queue.backlog = 100;
    config.queue.concurrency = 5;
    config.encryption.enabled = plan.encryption == Encryption::On;
    config.encryption.rotate_after = ekitei_config::Duration::seconds(45);
    config.encryption.maintenance_interval = ekitei_config::Duration::seconds(20);
    config.encryption.cached_keys = 3;
    config
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
