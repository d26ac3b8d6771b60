//! Nodes of a queue in one process, over one store in memory, with a transport that does what a test says.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{Blobs, DataKey, DataKeyId, DataKeys, DirectoryStore, KeyError, KeyFuture, KeyScope};
use ekitei_config::{Config, Live};
use ekitei_directory::EmailAddress;
use ekitei_kv::clock::{Clock, SharedClock};
use ekitei_kv::lease::{LeaseOptions, Leases};
use ekitei_kv::{Database, Error, Link, LinkFuture, MemoryOptions, MonotonicClock, Transaction};
use ekitei_mailstore::{Fence, MailStore};
use ekitei_queue::{
    Handled, NewMessage, NewRecipient, Origin, Queue, QueueContext, QueueId, Scheduler, SchedulerContext,
    Signer, Transport, TransportFuture, Variation,
};
use ekitei_relay::{Envelope, Failure, FailureKind, RecipientOutcome, Shipment, Status};
use ekitei_telemetry::Registry;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The time of day, which goes with the runtime's clock.
pub struct RuntimeClock {
    base: Duration,
    began: Instant,
}

impl Clock for RuntimeClock {
    fn now(&self) -> Duration {
        self.base + self.began.elapsed()
    }
}

/// One store for all nodes.
pub struct World {
    _folder: tempfile::TempDir,
    folder: std::path::PathBuf,
    pub database: Database,
    pub clock: SharedClock,
    pub live: Live,
    /// A way in that nothing cuts off.
    pub queue: Queue,
}

impl World {
    pub fn new(options: MemoryOptions, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::in_memory_with(options).unwrap();
        // 2026-11-22 00:00:00 UTC
        let base = Duration::from_secs(20_779 * 86_400);
        let clock: SharedClock = Arc::new(RuntimeClock { base, began: Instant::now() });
        let mut config = Config { hostname: "mx.here.example".to_owned(), ..Config::default() };
        change(&mut config);
        let live = Live::new(config);
        let path = folder.path().to_owned();
        let queue = open(&database, &path, &live, &clock, Arc::default());
        Self { _folder: folder, folder: path, database, clock, live, queue }
    }

    pub async fn enqueue(&self, message: NewMessage, text: &str) -> QueueId {
        self.queue.enqueue(Bytes::from(text.to_owned()), message).await.unwrap()
    }

    pub fn message(&self, recipients: &[&str]) -> NewMessage {
        NewMessage {
            envelope: Envelope { reverse_path: Some("alice@here.example".into()), ..Envelope::default() },
            recipients: recipients.iter().map(|address| recipient(address)).collect(),
            received: self.clock.now(),
            size: 100,
            header: Bytes::new(),
            account: None,
            origin: Origin::Submission,
        }
    }

    /// Starts a node.
    pub fn node(&self, transport: Arc<dyn Transport>, options: NodeOptions) -> Node {
        let wire = options.wire;
        let database = self.database.behind(wire.clone());
        let queue = open(&database, &self.folder, &self.live, &self.clock, options.keys);
        let duration = self.live.load().queue.lease.get();
        let leases =
            Leases::new(database, LeaseOptions { duration, clock: MonotonicClock::runtime(), alone: false });
        let registry = Registry::default();
        let scheduler = Scheduler::new(SchedulerContext {
            queue: queue.clone(),
            leases: leases.clone(),
            transport,
            live: self.live.clone(),
            clock: self.clock.clone(),
            registry: registry.clone(),
            signer: options.signer,
            variation: Some(options.variation),
        });
        let (stop, mut stopped) = watch::channel(false);
        let renewing = tokio::spawn({
            let leases = leases.clone();
            async move { leases.run().await }
        });
        let running = tokio::spawn(scheduler.run(async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }));
        Node { wire, queue, leases, registry, stop, running: Some(running), renewing }
    }
}

fn open(
    database: &Database,
    folder: &std::path::Path,
    live: &Live,
    clock: &SharedClock,
    keys: Arc<Keys>,
) -> Queue {
    let objects = DirectoryStore::open(folder).unwrap();
    let settings = ekitei_blob::Settings { data_keys: Some(keys), ..ekitei_blob::Settings::default() };
    let blobs = Blobs::new(database.clone(), objects, settings, clock.clone());
    let settings = ekitei_mailstore::Settings::default();
    let mailstore = MailStore::new(database.clone(), blobs.clone(), settings, clock.clone());
    Queue::new(QueueContext {
        database: database.clone(),
        blobs,
        mailstore,
        live: live.clone(),
        clock: clock.clone(),
    })
}

pub struct NodeOptions {
    pub wire: Arc<Wire>,
    pub variation: Variation,
    pub signer: Option<Arc<dyn Signer>>,
    pub keys: Arc<Keys>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self { wire: Arc::default(), variation: Arc::new(|| 0.5), signer: None, keys: Arc::default() }
    }
}

/// A process that works on the queue.
pub struct Node {
    pub wire: Arc<Wire>,
    pub queue: Queue,
    pub leases: Leases,
    pub registry: Registry,
    stop: watch::Sender<bool>,
    running: Option<JoinHandle<()>>,
    renewing: JoinHandle<()>,
}

impl Node {
    /// Stops in an orderly way.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        self.running.take().unwrap().await.unwrap();
        self.leases.stop().await.unwrap();
        self.renewing.abort();
    }
}

impl Node {
    /// Stops in an orderly way, as far as that is possible.
    pub async fn stop_or_die(mut self) {
        let _ = self.stop.send(true);
        if let Some(running) = self.running.take() {
            let _ = running.await;
        }
        let _ = self.leases.stop().await;
    }
}

impl Drop for Node {
    /// Without [`Node::stop`] it dies: nothing of it runs on.
    fn drop(&mut self) {
        self.wire.cut();
        self.renewing.abort();
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

/// Keys of bodies, which are not encrypted; but who is to say that may be away.
#[derive(Debug, Default)]
pub struct Keys(pub AtomicBool);

impl DataKeys for Keys {
    fn is_enabled(&self) -> bool {
        true
    }

    fn current<'a>(&'a self, _: &'a KeyScope) -> KeyFuture<'a, Option<Arc<DataKey>>> {
        let away = || KeyError::Unavailable { whose: "the service".to_owned(), reason: "away".to_owned() };
        Box::pin(async move { if self.0.load(Ordering::SeqCst) { Err(away()) } else { Ok(None) } })
    }

    fn get(&self, key: DataKeyId) -> KeyFuture<'_, Arc<DataKey>> {
        Box::pin(async move { Err(KeyError::Missing { key, reason: "there are none" }) })
    }

    fn confirm<'a>(&'a self, _: &'a Transaction, _: DataKeyId) -> KeyFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// What lies between a node and everything else.
#[derive(Default)]
pub struct Wire {
    is_cut: AtomicBool,
    stands_still: AtomicBool,
    moved: Notify,
}

impl Wire {
    /// From now on everything fails.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.moved.notify_waiters();
    }

    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }

    /// From now on nothing goes on, as in a process that is stopped.
    pub fn pause(&self) {
        self.stands_still.store(true, Ordering::SeqCst);
    }

    pub fn resume(&self) {
        self.stands_still.store(false, Ordering::SeqCst);
        self.moved.notify_waiters();
    }

    /// Waits while the process stands still.
    pub async fn running(&self) {
        loop {
            let moved = self.moved.notified();
            if !self.stands_still.load(Ordering::SeqCst) {
                return;
            }
            moved.await;
        }
    }
}

impl Link for Wire {
    fn pass(&self) -> LinkFuture<'_> {
        Box::pin(async {
            self.running().await;
            if self.is_cut.load(Ordering::SeqCst) {
                // Somebody who is cut off learns it by waiting.
                tokio::time::sleep(Duration::from_millis(100)).await;
                return Err(Error::Unavailable("cut off".into()));
            }
            Ok(())
        })
    }
}

type Answer = dyn Fn(Shipment) -> Pin<Box<dyn Future<Output = Vec<RecipientOutcome>> + Send>> + Send + Sync;

/// A transport that does what a test says.
pub struct Fake(Box<Answer>);

impl Fake {
    pub fn new<F: Future<Output = Vec<RecipientOutcome>> + Send + 'static>(
        answer: impl Fn(Shipment) -> F + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self(Box::new(move |shipment| Box::pin(answer(shipment)))))
    }
}

impl Transport for Fake {
    fn send(&self, shipment: Shipment, _: Arc<dyn Fence>) -> TransportFuture<'_> {
        Box::pin(async move { (self.0)(shipment).await.into_iter().map(Handled::relayed).collect() })
    }
}

/// What was sent when.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<(Instant, String, String)>>>);

impl Journal {
    pub fn add(&self, shipment: &Shipment) {
        let text = String::from_utf8(shipment.message.concat()).unwrap();
        self.0.lock().unwrap().push((Instant::now(), shipment.destination.clone(), text));
    }

    /// Destinations and texts, in order.
    pub fn all(&self) -> Vec<(Instant, String, String)> {
        self.0.lock().unwrap().clone()
    }

    pub fn count(&self, destination: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|(_, to, _)| to == destination).count()
    }
}

pub fn recipient(address: &str) -> NewRecipient {
    NewRecipient { address: EmailAddress::parse(address).unwrap(), notify: None, original: None }
}

pub fn sent() -> RecipientOutcome {
    let remote = "mx.there.example [192.0.2.1]".to_owned();
    RecipientOutcome::Sent { remote, reply: "250 2.0.0 Ok".to_owned(), notifies: false }
}

pub fn failure(kind: FailureKind, code: Option<u16>, status: Status, text: &str) -> Failure {
    Failure {
        kind,
        status,
        code,
        text: text.to_owned(),
        remote: Some("mx.there.example [192.0.2.1]".to_owned()),
    }
}

pub fn unreachable() -> RecipientOutcome {
    let text = "connection refused by mx.there.example [192.0.2.1]";
    RecipientOutcome::Deferred(failure(FailureKind::Connection, None, Status(4, 4, 1), text))
}

pub fn deferred() -> RecipientOutcome {
    RecipientOutcome::Deferred(failure(FailureKind::Recipient, Some(450), Status(4, 2, 1), "try later"))
}

pub fn failed() -> RecipientOutcome {
    RecipientOutcome::Failed(failure(FailureKind::Recipient, Some(550), Status(5, 1, 1), "User unknown"))
}
