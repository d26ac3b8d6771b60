//! What is promised of the stored queue, as scenarios over a store in memory, with faults.
#![allow(clippy::unwrap_used)]

mod admin;
mod budgets;
mod random;
mod spool;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{Blobs, DirectoryStore};
use ekitei_config::{Config, Live};
use ekitei_directory::EmailAddress;
use ekitei_kv::clock::{Clock, ManualClock};
use ekitei_kv::keys::{range, subspace};
use ekitei_kv::lease::{LeaseOptions, LeaseSet, Leases};
use ekitei_kv::{
    CommitFault, Database, FaultScript, KeyValue, MemoryOptions, MonotonicClock, Observer, decode_counter,
};
use ekitei_mailstore::MailStore;
use ekitei_relay::{Envelope, Failure, FailureKind, Status};

use crate::rows::{self, Count, IndexRow, Named, Total};
use crate::{
    EntryId, EntryRow, Error, Fence, Hint, Loaded, MessageRow, NewMessage, NewRecipient, Next, Origin, Place,
    Queue, QueueContext, QueueId, RecipientState, Schedule, Settlement, Shard, Spool,
};

const GRACE: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);

/// A store with a queue, and a process that holds all shards.
struct Fixture {
    _folder: tempfile::TempDir,
    database: Database,
    blobs: Blobs,
    clock: Arc<ManualClock>,
    live: Live,
    queue: Queue,
    faults: Arc<FaultScript>,
    observer: Observer,
    leases: Leases,
    set: LeaseSet,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let faults = Arc::new(FaultScript::default());
        let options =
            MemoryOptions { faults: faults.clone(), committing_thread: true, ..MemoryOptions::default() };
        let (database, observer) = Database::in_memory_with(options).unwrap().observed();
        let clock = ManualClock::new(Duration::from_secs(1_700_000_000));
        let objects = DirectoryStore::open(folder.path()).unwrap();
        let settings = ekitei_blob::Settings { grace: GRACE, ..ekitei_blob::Settings::default() };
        let blobs = Blobs::new(database.clone(), objects, settings, clock.clone());
        let settings = ekitei_mailstore::Settings::default();
        let mailstore = MailStore::new(database.clone(), blobs.clone(), settings, clock.clone());
        let mut config = Config::default();
        change(&mut config);
        let live = Live::new(config);
        let queue = Queue::new(QueueContext {
            database: database.clone(),
            blobs: blobs.clone(),
            mailstore,
            live: live.clone(),
            clock: clock.clone(),
        });
        let (leases, set) = process(&database);
        leases.renew().await.unwrap();
        Self { _folder: folder, database, blobs, clock, live, queue, faults, observer, leases, set }
    }

    fn spool(&self) -> &Spool {
        self.queue.spool()
    }

    fn message(&self, recipients: &[&str]) -> NewMessage {
        NewMessage {
            envelope: Envelope { reverse_path: Some("alice@here.example".into()), ..Envelope::default() },
            recipients: recipients.iter().copied().map(recipient).collect(),
            received: self.clock.now(),
            size: 100,
            header: Bytes::new(),
            account: None,
            origin: Origin::Submission,
        }
    }

    async fn enqueue(&self, recipients: &[&str]) -> QueueId {
        self.queue.enqueue(octets("hello"), self.message(recipients)).await.unwrap()
    }

    fn fence(&self, destination: &str) -> Fence {
        fence(&self.set, destination)
    }

    /// What is fresh for a destination's shard.
    async fn fresh(&self, destination: &str) -> Vec<Hint> {
        self.spool().fresh(Shard::of(destination), None, 1_000).await.unwrap().hints
    }

    async fn load(&self, destination: &str, hint: Hint) -> Option<Loaded> {
        self.spool().load(Shard::of(destination), &[hint]).await.unwrap().remove(0)
    }

    /// The only fresh entry of a destination.
    async fn take(&self, destination: &str) -> Loaded {
        let hints = self.fresh(destination).await;
        assert_eq!(hints.len(), 1);
        self.load(destination, hints[0]).await.unwrap()
    }

    fn next_commits_unknown(&self, applied: bool) {
        let fault = if applied { CommitFault::UnknownApplied } else { CommitFault::UnknownNotApplied };
        self.faults.commits([Some(fault)]);
    }

    async fn rows<T>(&self, of: std::ops::Range<Vec<u8>>, read: impl Fn(&KeyValue) -> T) -> Vec<T> {
        let mut found = Vec::new();
        let page = |rows: Vec<KeyValue>| {
            found.extend(rows.iter().map(&read));
            Ok::<_, Error>(())
        };
        self.database.scan(of, page).await.unwrap();
        found
    }

    /// Everything that is stored agrees: each entry has one hint, one index row and one message, each message has an entry and its body, and
    /// the figures are right. Returns the entries.
    async fn check(&self) -> BTreeMap<EntryId, EntryRow> {
        let mut messages: BTreeMap<QueueId, MessageRow> = BTreeMap::new();
        let mut entries: BTreeMap<EntryId, EntryRow> = BTreeMap::new();
        for row in self.rows(rows::messages(), Clone::clone).await {
            match rows::named(&row.key).unwrap() {
                Named::Message(id) => drop(messages.insert(id, rows::decode_message(&row.value).unwrap())),
                Named::Entry(id) => drop(entries.insert(id, rows::decode_entry(&row.value).unwrap())),
            }
        }
        let with_entries: BTreeSet<QueueId> = entries.keys().map(|id| id.message).collect();
        assert_eq!(with_entries, messages.keys().copied().collect());
        let mut hints: BTreeMap<EntryId, (Shard, u32, Place)> = BTreeMap::new();
        for shard in Shard::all() {
            let fresh = |row: &KeyValue| (rows::fresh_of(shard, &row.key).unwrap(), row.value.clone());
            for ((stamp, id), turn) in self.rows(rows::all_fresh(shard), fresh).await {
                let hint = (shard, rows::decode_turn(&turn).unwrap(), Place::Fresh(stamp));
                assert_eq!(hints.insert(id, hint), None, "two hints");
            }
            let due = |row: &KeyValue| (rows::due_of(&row.key).unwrap(), row.value.clone());
            for ((due, id), turn) in self.rows(rows::all_due(shard), due).await {
                let hint = (shard, rows::decode_turn(&turn).unwrap(), Place::Due(due));
                assert_eq!(hints.insert(id, hint), None, "two hints");
            }
        }
        let mut figures: BTreeMap<(String, Count), i64> = BTreeMap::new();
        let mut indexed = 0;
        for (id, entry) in &entries {
            let index =
                self.rows(single(rows::index(&entry.destination, *id)), |row| row.value.clone()).await;
            let index = IndexRow::decode(&index[0]).unwrap();
            indexed += 1;
            assert_eq!(index.turn, entry.turn);
            let count = match (entry.schedule, index.place) {
                (Schedule::Fresh, Place::Fresh(_)) => Count::Fresh,
                (Schedule::At(due), Place::Due(at)) if due == at => Count::Deferred,
                (Schedule::Held, Place::Held) => Count::Held,
                other => panic!("{other:?}"),
            };
            let hint = (Shard::of(&entry.destination), entry.turn, index.place);
            assert_eq!(hints.remove(id), (index.place != Place::Held).then_some(hint));
            *figures.entry((entry.destination.clone(), count)).or_default() += 1;
        }
        assert_eq!(hints, BTreeMap::new(), "hints of nothing");
        let all = self.rows(range(&(subspace::QUEUE, 3u32)), |_| ()).await;
        assert_eq!(all.len(), indexed, "index rows of nothing");
        let counts = self.rows(rows::counts(), |row| {
            (rows::count_of(&row.key).unwrap(), decode_counter(Some(&row.value)))
        });
        let counts: BTreeMap<_, _> = counts.await.into_iter().filter(|(_, n)| *n != 0).collect();
        assert_eq!(counts, figures);
        let total = async |total| {
            let found = self.rows(single(rows::total(total)), |row| decode_counter(Some(&row.value))).await;
            found.first().copied().unwrap_or(0)
        };
        assert_eq!(total(Total::Messages).await, i64::try_from(messages.len()).unwrap());
        let bytes: u64 = messages.values().map(|message| message.size).sum();
        assert_eq!(total(Total::Bytes).await, i64::try_from(bytes).unwrap());
        self.clock.advance(2 * GRACE);
        self.blobs.collect().await.unwrap();
        for message in messages.values() {
            assert!(!self.spool().body(message).await.unwrap().is_empty(), "the collector keeps the body");
        }
        entries
    }
}

/// The leases of a process.
fn process(database: &Database) -> (Leases, LeaseSet) {
    let options =
        LeaseOptions { duration: Duration::from_secs(15), clock: MonotonicClock::system(), alone: false };
    let leases = Leases::new(database.clone(), options);
    let set = leases.join("queue", Shard::all().map(Shard::lease_name));
    (leases, set)
}

fn fence(set: &LeaseSet, destination: &str) -> Fence {
    let shard = Shard::of(destination);
    let lease = set.held().into_iter().find(|lease| Shard::of_lease(lease.name()) == Some(shard)).unwrap();
    Fence { shard, lease }
}

fn single(key: Vec<u8>) -> std::ops::Range<Vec<u8>> {
    let mut end = key.clone();
    end.push(0);
    key..end
}

fn recipient(address: &str) -> NewRecipient {
    NewRecipient { address: EmailAddress::parse(address).unwrap(), notify: None, original: None }
}

fn octets(text: &str) -> Bytes {
    format!("Subject: test\r\n\r\n{text}\r\n").into()
}

fn failure(status: Status, text: &str) -> Failure {
    Failure {
        kind: FailureKind::Recipient,
        status,
        code: Some(450),
        text: text.to_owned(),
        remote: Some("mx.example [192.0.2.1]".to_owned()),
    }
}

fn deferred(text: &str) -> RecipientState {
    RecipientState::Waiting { last: Some(failure(Status(4, 2, 1), text)) }
}

fn sent() -> RecipientState {
    RecipientState::Sent { remote: "mx.example".into(), reply: "250 ok".into(), at: Duration::from_secs(1) }
}

fn failed(status: Status) -> RecipientState {
    RecipientState::Failed { failure: failure(status, "no such user"), at: Duration::from_secs(1) }
}

/// A settlement in which every recipient ends like this.
fn settlement(loaded: &Loaded, state: &RecipientState, next: Next) -> Settlement {
    Settlement {
        entry: loaded.id,
        revision: loaded.entry.revision,
        recipients: vec![state.clone(); loaded.entry.recipients.len()],
        next,
        attempted: true,
        delay_notified: false,
        notifications: Vec::new(),
    }
}
