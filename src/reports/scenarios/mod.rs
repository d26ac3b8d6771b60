//! What reports promise, by example: over in-memory stores, a DNS server on the loopback, and a clock that is moved by hand.

#![allow(clippy::unwrap_used)]

mod incoming;
mod outgoing;
mod vectors;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{Blobs, DirectoryStore};
use ekitei_config::{Config, Live, Secret};
use ekitei_directory::{Directory, Domain, EmailAddress, NewDomain};
use ekitei_dns::testing::TestDns;
use ekitei_filter::{
    AlignedResults, DkimIdentity, DmarcOutcome, EvaluatedDisposition, PublishedPolicy, SpfIdentity, SpfScope,
};
use ekitei_kv::clock::ManualClock;
use ekitei_kv::{Database, FaultScript, MemoryOptions};
use ekitei_mailstore::MailStore;
use ekitei_queue::{MessageRow, Queue, QueueContext};
use ekitei_signing::{NewKey, Signing};
use ekitei_telemetry::Registry;

use crate::send::post::{Post, Refusal};
use crate::{Ears, Parts, Reports};

/// 2026-11-22 12:00 UTC.
const NOON: Duration = Duration::from_secs(1_795_348_800);
const HOUR: Duration = Duration::from_secs(3_600);

/// An address, and what was posted there.
type Posted = (String, Vec<u8>);

/// A server that takes reports by HTTPS, or does not.
#[derive(Clone, Default)]
struct Taker {
    refuses: Arc<Mutex<bool>>,
    taken: Arc<Mutex<Vec<Posted>>>,
}

impl Post for Taker {
    fn post<'a>(
        &'a self,
        url: &'a str,
        packed: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>> {
        let answer = if *self.refuses.lock().unwrap() {
            Err("HTTP status 503".to_owned())
        } else {
            self.taken.lock().unwrap().push((url.to_owned(), packed));
            Ok(())
        };
        Box::pin(std::future::ready(answer))
    }
}

/// One process of a service for `ours.test`.
struct Node {
    reports: Reports,
    ears: Ears,
}

/// A service and the world around it.
struct World {
    database: Database,
    faults: Arc<FaultScript>,
    clock: Arc<ManualClock>,
    live: Live,
    dns: TestDns,
    taker: Taker,
    blobs: Blobs,
    mailstore: MailStore,
    queue: Queue,
    _bodies: tempfile::TempDir,
}

impl World {
    /// A world whose DNS is `zone`.
    async fn new(zone: &str) -> Self {
        Self::configured(zone, |_| {}).await
    }

    async fn configured(zone: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { hostname: "mx.ours.test".to_owned(), ..Config::default() };
        config.signing.encryption_key = Some(Secret::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
        change(&mut config);
        let (live, clock, faults) =
            (Live::new(config), ManualClock::new(NOON), Arc::new(FaultScript::default()));
        let options = MemoryOptions { faults: faults.clone(), ..MemoryOptions::default() };
        let database = Database::in_memory_with(options).unwrap();
        let bodies = tempfile::tempdir().unwrap();
        let objects = DirectoryStore::open(bodies.path()).unwrap();
        let blobs = Blobs::new(database.clone(), objects, ekitei_blob::Settings::default(), clock.clone());
        let settings = ekitei_mailstore::Settings::default();
        let mailstore = MailStore::new(database.clone(), blobs.clone(), settings, clock.clone());
        let queue = Queue::new(QueueContext {
            database: database.clone(),
            blobs: blobs.clone(),
            mailstore: mailstore.clone(),
            live: live.clone(),
            clock: clock.clone(),
        });
        let (dns, taker) = (TestDns::start(zone), Taker::default());
        Self { database, faults, clock, live, dns, taker, blobs, mailstore, queue, _bodies: bodies }
    }

    /// Another process.
    async fn node(&self) -> Node {
        let registry = Registry::default();
        let settings = ekitei_directory::Settings::default();
        let directory = Directory::new(self.database.clone(), settings, self.clock.clone());
        let ours = Domain::parse("ours.test").unwrap();
        let signing = Signing::open(ekitei_signing::Parts {
            database: self.database.clone(),
            directory: directory.clone(),
            live: self.live.clone(),
            clock: self.clock.clone(),
            resolver: None,
            key_file: None,
            manual_gate: Arc::new(|| true),
            registry: registry.clone(),
        });
        let signing = signing.unwrap();
        if !directory.is_local_domain(&ours).await.unwrap() {
            directory.create_domain(&ours, NewDomain::default()).await.unwrap();
            signing.create(&ours, NewKey { now: true, ..NewKey::default() }).await.unwrap();
        }
        let ears = Ears::new(self.live.clone(), self.clock.clone(), &registry);
        let parts = Parts {
            database: self.database.clone(),
            blobs: self.blobs.clone(),
            mailstore: self.mailstore.clone(),
            queue: self.queue.clone(),
            signing,
            directory,
            dns: self.dns.resolver(),
            live: self.live.clone(),
            clock: self.clock.clone(),
        };
        Node { reports: Reports::with_post(parts, ears.clone(), Box::new(self.taker.clone())), ears }
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// The keys of everything that is kept about reports.
    async fn rows_of_reports(&self) -> Vec<Bytes> {
        let all = ekitei_kv::keys::range(&(ekitei_kv::keys::subspace::REPORTS,));
        let rows = self.database.begin().get_range(all, ekitei_kv::RangeOptions::default()).await.unwrap();
        rows.into_iter().map(|row| row.key).collect()
    }

    /// All messages in the queue, with their recipients.
    async fn queued(&self) -> Vec<(MessageRow, Vec<String>, Bytes)> {
        let page = self.queue.list(&ekitei_queue::Filter::default(), None, 100).await.unwrap();
        let mut found: Vec<(MessageRow, Vec<String>, Bytes)> = Vec::new();
        for listed in page.items {
            let recipients =
                listed.entry.recipients.iter().map(|row| row.recipient.address.clone()).collect();
            let body = self.blobs.read(listed.message.body, 0..listed.message.size).await.unwrap();
            found.push((listed.message, recipients, body));
        }
        found
    }
}

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

/// A message from `source` in the name of `domain`, whose owner wants reports at `rua`.
fn outcome(domain: &str, source: &str, rua: &[&str]) -> DmarcOutcome {
    DmarcOutcome {
        time: NOON,
        source: source.parse::<IpAddr>().unwrap(),
        header_from: domain.to_owned(),
        envelope_from: Some(domain.to_owned()),
        envelope_to: Some("ours.test".to_owned()),
        policy: PublishedPolicy {
            domain: domain.to_owned(),
            p: "reject",
            sp: "quarantine",
            np: "reject",
            strict_dkim: true,
            strict_spf: false,
            testing: false,
            failure_options: "1",
            rua: rua.iter().map(|uri| ((*uri).to_owned(), 0)).collect(),
        },
        disposition: EvaluatedDisposition::Reject,
        aligned: AlignedResults { dkim: false, spf: false },
        reasons: Vec::new(),
        dkim: vec![DkimIdentity { domain: domain.to_owned(), selector: "s<1>".to_owned(), result: "fail" }],
        spf: Some(SpfIdentity { domain: domain.to_owned(), scope: SpfScope::MailFrom, result: "softfail" }),
    }
}
