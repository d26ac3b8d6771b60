//! What a queue of many deferred entries costs: `million [entries] [destinations] [folder] [seconds]`.
//!
//! Fills an embedded store with messages for one recipient each, lets all of them wait for hours, and measures what an operator and the
//! scheduler do then: a page of a list, the figures, the scan for what is due, the processor time of a scheduler that has nothing to send for so
//! many seconds, and trying all mail of one domain.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use ekitei_blob::{Blobs, DirectoryStore};
use ekitei_config::{Config, Live};
use ekitei_directory::EmailAddress;
use ekitei_kv::clock::{Clock, SystemClock};
use ekitei_kv::lease::{Lease, LeaseOptions, Leases};
use ekitei_kv::{Database, EmbeddedOptions, MonotonicClock};
use ekitei_mailstore::{Fence as StoreFence, MailStore};
use ekitei_queue::{
    Action, DueCursor, Envelope, Fence, Filter, NewMessage, NewRecipient, Next, Origin, Queue, QueueContext,
    RecipientState, Scheduler, SchedulerContext, Settlement, Shard, Transport, TransportFuture,
};
use ekitei_relay::Shipment;
use ekitei_telemetry::Registry;

/// Messages that are put in at a time.
const WRITERS: usize = 256;
/// Entries that are loaded and settled at a time.
const BATCH: usize = 500;
const MESSAGE: &str = "From: a@here.example\r\nSubject: bench\r\n\r\nA message that waits.\r\n";

struct Bench {
    database: Database,
    queue: Queue,
    live: Live,
    leases: Vec<Lease>,
}

/// Counts what is sent, which should be nothing.
#[derive(Default)]
struct Nowhere(AtomicUsize);

impl Transport for Nowhere {
    fn send(&self, _: Shipment, _: Arc<dyn StoreFence>) -> TransportFuture<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Vec::new() })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: usize| {
        arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (entries, destinations) = (number(0, 1_000_000), number(1, 1_000).max(1));
    let folder = arguments.get(2).map_or_else(|| std::env::temp_dir().join("million"), PathBuf::from);
    let seconds = number(3, 60);
    let mut bench = Bench::open(&folder).await?;
    report("empty", None, &bench.database);
    bench.fill(entries, destinations).await?;
    bench.defer_all().await?;
    bench.look(destinations).await?;
    bench.wait(seconds as u64).await?;
    bench.flush("d0.example").await?;
    bench.send_all().await
}

impl Bench {
    async fn open(folder: &std::path::Path) -> anyhow::Result<Self> {
        let database = Database::open_embedded(folder.join("store"), EmbeddedOptions::default())?;
        let objects = DirectoryStore::open(folder.join("bodies"))?;
        let clock = Arc::new(SystemClock);
        let blobs = Blobs::new(database.clone(), objects, ekitei_blob::Settings::default(), clock.clone());
        let settings = ekitei_mailstore::Settings::default();
        let mailstore = MailStore::new(database.clone(), blobs.clone(), settings, clock.clone());
        let mut config = Config::default();
        config.queue.max_messages = 0;
        let live = Live::new(config);
        let context =
            QueueContext { database: database.clone(), blobs, mailstore, live: live.clone(), clock };
        let queue = Queue::new(context);
        let leases = hold(&database).await?.1;
        Ok(Self { database, queue, live, leases })
    }

    /// A scheduler with all shards, for which nothing is due: it reads all of them once, and then waits.
    async fn wait(&mut self, seconds: u64) -> anyhow::Result<()> {
        let nowhere = Arc::new(Nowhere::default());
        let duration = self.live.load().queue.lease.get();
        let options = LeaseOptions { duration, clock: MonotonicClock::system(), alone: true };
        let leases = Leases::new(self.database.clone(), options);
        let scheduler = Scheduler::new(SchedulerContext {
            queue: self.queue.clone(),
            leases: leases.clone(),
            transport: nowhere.clone(),
            live: self.live.clone(),
            clock: Arc::new(SystemClock),
            registry: Registry::default(),
            signer: None,
            variation: None,
        });
        let renewing = tokio::spawn({
            let leases = leases.clone();
            async move { leases.run().await }
        });
        let (began, used) = (Instant::now(), processor_seconds());
        scheduler.run(tokio::time::sleep(Duration::from_secs(seconds))).await;
        let used = processor_seconds() - used;
        report(
            &format!("a scheduler's {seconds} s: {used:.2} s of the processor"),
            Some(began),
            &self.database,
        );
        anyhow::ensure!(nowhere.0.load(Ordering::Relaxed) == 0, "nothing is due");
        leases.stop().await?;
        renewing.abort();
        self.leases = hold(&self.database).await?.1;
        Ok(())
    }

    async fn fill(&self, entries: usize, destinations: usize) -> anyhow::Result<()> {
        let began = Instant::now();
        let tasks = (0..WRITERS).map(|writer| {
            let queue = self.queue.clone();
            tokio::spawn(async move {
                for n in (writer..entries).step_by(WRITERS) {
                    queue.enqueue(Bytes::from_static(MESSAGE.as_bytes()), message(n, destinations)?).await?;
                }
                anyhow::Ok(())
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await??;
        }
        report(&format!("{entries} messages queued"), Some(began), &self.database);
        Ok(())
    }

    /// One failed attempt for every entry.
    async fn defer_all(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        for shard in Shard::all() {
            loop {
                let page = self.queue.spool().fresh(shard, None, BATCH).await?;
                if page.hints.is_empty() {
                    break;
                }
                let due = SystemClock.now() + Duration::from_secs(7_200);
                self.settle(shard, &page.hints, Next::At(due)).await?;
            }
        }
        report("all deferred", Some(began), &self.database);
        Ok(())
    }

    async fn settle(&self, shard: Shard, hints: &[ekitei_queue::Hint], next: Next) -> anyhow::Result<()> {
        let lease = self.leases.iter().find(|lease| Shard::of_lease(lease.name()) == Some(shard));
        let fence = Fence { shard, lease: lease.context("the shard's lease")?.clone() };
        let loaded = self.queue.spool().load(shard, hints).await?;
        let settlements = loaded.into_iter().flatten().map(|loaded| Settlement {
            entry: loaded.id,
            revision: loaded.entry.revision,
            recipients: vec![RecipientState::Waiting { last: None }; loaded.entry.recipients.len()],
            next,
            attempted: true,
            delay_notified: false,
            notifications: Vec::new(),
        });
        let settled = settlements.map(|settlement| self.queue.spool().settle(&fence, settlement));
        futures_util::future::try_join_all(settled).await?;
        Ok(())
    }

    /// What an operator looks at, and what the scheduler reads when nothing is due.
    async fn look(&self, destinations: usize) -> anyhow::Result<()> {
        let began = Instant::now();
        let first = self.queue.list(&Filter::default(), None, 100).await?;
        report("first page of 100", Some(began), &self.database);
        let began = Instant::now();
        self.queue.list(&Filter::default(), first.next, 100).await?;
        report("next page of 100", Some(began), &self.database);
        let of = Filter { destination: Some(format!("d{}.example", destinations / 2)), ..Filter::default() };
        let began = Instant::now();
        self.queue.list(&of, None, 100).await?;
        report("page of 100 of a destination", Some(began), &self.database);
        let rare = Filter { sender: Some("nobody@nowhere.example".to_owned()), ..Filter::default() };
        let began = Instant::now();
        self.queue.list(&rare, None, 100).await?;
        report("page of what nobody sent (10,000 rows)", Some(began), &self.database);
        let began = Instant::now();
        let figures = self.queue.statistics(10).await?;
        report(&format!("figures of {} destinations", figures.destinations), Some(began), &self.database);
        let began = Instant::now();
        let now = SystemClock.now();
        for shard in Shard::all() {
            let due = self.queue.spool().due(shard, None, now, BATCH).await?;
            anyhow::ensure!(due.is_empty(), "nothing is due yet");
            self.queue.spool().next_due(shard, None).await?;
        }
        report("looking for what is due, 64 shards", Some(began), &self.database);
        Ok(())
    }

    /// `ekitei queue retry --destination`, and sending all of it.
    async fn flush(&self, destination: &str) -> anyhow::Result<()> {
        let filter = Filter { destination: Some(destination.to_owned()), ..Filter::default() };
        let began = Instant::now();
        let (mut after, mut changed) = (None, 0);
        loop {
            let acted = self.queue.act_where(Action::Retry, &filter, after).await?;
            changed += acted.changed;
            after = acted.next;
            if after.is_none() {
                break;
            }
        }
        report(&format!("{changed} entries of a domain to be tried now"), Some(began), &self.database);
        let (shard, began) = (Shard::of(destination), Instant::now());
        loop {
            let page = self.queue.spool().fresh(shard, None, BATCH).await?;
            if page.hints.is_empty() {
                break;
            }
            self.settle(shard, &page.hints, Next::Remove).await?;
        }
        report("all of them settled as sent", Some(began), &self.database);
        Ok(())
    }

    /// Sends the rest, and looks at the empty queue: what was removed must not be in the way.
    async fn send_all(&self) -> anyhow::Result<()> {
        let (began, later) = (Instant::now(), SystemClock.now() + Duration::from_secs(86_400));
        for shard in Shard::all() {
            let mut after = None;
            loop {
                let due = self.queue.spool().due(shard, after, later, BATCH).await?;
                let Some(last) = due.last() else { break };
                after = DueCursor::of(last);
                self.settle(shard, &due, Next::Remove).await?;
            }
        }
        report("the rest settled as sent", Some(began), &self.database);
        let began = Instant::now();
        anyhow::ensure!(
            self.queue.list(&Filter::default(), None, 100).await?.items.is_empty(),
            "all is sent"
        );
        report("page of the empty queue", Some(began), &self.database);
        let began = Instant::now();
        self.queue.sweep().await?;
        report("sweep", Some(began), &self.database);
        Ok(())
    }
}

/// All shards, with a long lease: nobody else is there, and nothing renews it here.
async fn hold(database: &Database) -> anyhow::Result<(Leases, Vec<Lease>)> {
    let duration = Duration::from_secs(86_400);
    let leases = Leases::new(
        database.clone(),
        LeaseOptions { duration, clock: MonotonicClock::system(), alone: true },
    );
    let set = leases.join("queue", Shard::all().map(Shard::lease_name));
    leases.renew().await?;
    Ok((leases, set.held()))
}

fn message(n: usize, destinations: usize) -> anyhow::Result<NewMessage> {
    let address = EmailAddress::parse(&format!("user{n}@d{}.example", n % destinations))?;
    Ok(NewMessage {
        envelope: Envelope { reverse_path: Some("a@here.example".to_owned()), ..Envelope::default() },
        recipients: vec![NewRecipient { address, notify: None, original: None }],
        received: SystemClock.now(),
        size: MESSAGE.len() as u64,
        header: Bytes::new(),
        account: None,
        origin: Origin::Submission,
    })
}

fn report(what: &str, began: Option<Instant>, database: &Database) {
    let took = began
        .map_or_else(|| "-".to_owned(), |began| format!("{:.1} ms", began.elapsed().as_secs_f64() * 1e3));
    let resident = resident_kilobytes() / 1024;
    println!(
        "{what:<45} {took:>14}   resident {resident:>5} MiB   commits {:>8}",
        database.statistics().commits
    );
}

/// Time of the processor that this process used so far, in its code and in the kernel for it (proc(5), `stat`).
fn processor_seconds() -> f64 {
    /// `USER_HZ` of Linux, which is the same on all its platforms.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let times =
        behind_name.split_ascii_whitespace().skip(11).take(2).filter_map(|time| time.parse::<f64>().ok());
    times.sum::<f64>() / TICKS
}

fn resident_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
