//! The parts that send mail and judge what comes in, built from one configuration.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use ekitei_blob::Blobs;
use ekitei_certificates::Certificates;
use ekitei_cluster::{Cluster, Feature, Locks};
use ekitei_config::{Config, Live, Store};
use ekitei_directory::{Directory, Domain, EmailAddress};
use ekitei_dns::Resolver;
use ekitei_filter::{Filter, FilterContext, Greylist, Limits};
use ekitei_keyring::Keyring;
use ekitei_kv::Database;
use ekitei_kv::clock::SharedClock;
use ekitei_kv::lease::Leases;
use ekitei_mailstore::MailStore;
use ekitei_queue::{LocalOrRelay, Queue, QueueContext, Scheduler, SchedulerContext, Senders, Signer};
use ekitei_relay::mx::OwnHosts;
use ekitei_relay::{Relay, RelayContext};
use ekitei_reports::{Ears, Reports};
use ekitei_signing::Signing;
use ekitei_telemetry::Registry;
use futures_util::future::BoxFuture;

use super::policies::StoredPolicies;

/// What all of them are made of.
pub(super) struct Base<'a> {
    pub(super) live: &'a Live,
    pub(super) database: &'a Database,
    pub(super) leases: &'a Leases,
    pub(super) keyring: &'a Keyring,
    pub(super) certificates: &'a Certificates,
    pub(super) locks: &'a Locks,
    pub(super) cluster: &'a Cluster,
    pub(super) blobs: &'a Blobs,
    pub(super) directory: &'a Directory,
    pub(super) mailstore: &'a MailStore,
    pub(super) clock: &'a SharedClock,
    pub(super) registry: &'a Registry,
}

/// The parts.
#[derive(Clone)]
pub(super) struct Sending {
    pub(super) dns: Resolver,
    pub(super) leases: Leases,
    pub(super) queue: Queue,
    pub(super) relay: Relay,
    pub(super) policies: StoredPolicies,
    pub(super) signing: Signing,
    pub(super) reports: Reports,
    pub(super) filter: Filter,
    pub(super) greylist: Greylist,
    pub(super) limits: Limits,
}

impl Sending {
    /// Builds them; nothing runs yet.
    ///
    /// # Errors
    /// What cannot be read: trust anchors, the key of the signing keys.
    pub(super) fn build(base: &Base<'_>) -> anyhow::Result<Self> {
        let config = base.live.load();
        let dns = Resolver::new(&config.dns).context("dns")?.with_metrics(base.registry);
        let queue = Queue::new(QueueContext {
            database: base.database.clone(),
            blobs: base.blobs.clone(),
            mailstore: base.mailstore.clone(),
            live: base.live.clone(),
            clock: Arc::clone(base.clock),
        });
        let ears = Ears::new(base.live.clone(), Arc::clone(base.clock), base.registry);
        let policies = StoredPolicies::new(base.database.clone());
        let relay = Relay::new(RelayContext {
            live: base.live.clone(),
            dns: dns.clone(),
            registry: base.registry.clone(),
            policies: Arc::new(policies.clone()),
            tls_reporter: ears.tls(),
            own_hosts: Some(Arc::new(HostsOfDomains(base.directory.clone()))),
        });
        let signing = Signing::open(ekitei_signing::Parts {
            database: base.database.clone(),
            directory: base.directory.clone(),
            live: base.live.clone(),
            clock: Arc::clone(base.clock),
            resolver: Some(dns.clone()),
            key_file: key_file(&config),
            manual_gate: Arc::new(base.cluster.features().gate(Feature::ManualSigningKeys)),
            registry: base.registry.clone(),
        })?;
        let (live, database, clock) = (base.live, base.database, base.clock);
        let greylist = Greylist::new(live.clone(), database.clone(), Arc::clone(clock), base.registry);
        let limits = Limits::new(live.clone(), database.clone(), Arc::clone(clock), base.registry);
        let filter = Filter::new(FilterContext {
            live: base.live.clone(),
            dns: dns.clone(),
            database: base.database.clone(),
            directory: base.directory.clone(),
            clock: Arc::clone(base.clock),
            greylist: greylist.clone(),
            registry: base.registry.clone(),
        });
        let filter = filter.with_reporter(ears.dmarc());
        let parts = ekitei_reports::Parts {
            database: base.database.clone(),
            blobs: base.blobs.clone(),
            mailstore: base.mailstore.clone(),
            queue: queue.clone(),
            signing: signing.clone(),
            directory: base.directory.clone(),
            dns: dns.clone(),
            live: base.live.clone(),
            clock: Arc::clone(base.clock),
        };
        let reports = Reports::new(parts, ears);
        let leases = base.leases.clone();
        Ok(Self { dns, leases, queue, relay, policies, signing, reports, filter, greylist, limits })
    }

    /// What sends the mail of the queue.
    pub(super) fn scheduler(&self, base: &Base<'_>) -> Scheduler {
        let transport = LocalOrRelay {
            directory: base.directory.clone(),
            mailstore: base.mailstore.clone(),
            queue: self.queue.clone(),
            elsewhere: Arc::new(self.relay.clone()),
            senders: Arc::new(Srs(self.signing.clone())),
            live: base.live.clone(),
            clock: Arc::clone(base.clock),
        };
        Scheduler::new(SchedulerContext {
            queue: self.queue.clone(),
            leases: self.leases.clone(),
            transport: Arc::new(transport),
            live: base.live.clone(),
            clock: Arc::clone(base.clock),
            registry: base.registry.clone(),
            signer: Some(Arc::new(OwnKeys(self.signing.clone()))),
            variation: None,
        })
    }
}

/// The hosts that domains name as theirs, for the relay.
struct HostsOfDomains(Directory);

impl OwnHosts for HostsOfDomains {
    fn is_ours<'a>(&'a self, host: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            self.0.is_own_mx_host(host).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "whether an MX host is this service cannot be looked up");
                false
            })
        })
    }
}

/// Rewritten senders, for the queue.
struct Srs(Signing);

impl Senders for Srs {
    fn rewrite(&self, sender: &EmailAddress, domain: &Domain) -> EmailAddress {
        self.0.srs_forward(sender, domain)
    }

    fn restore(&self, address: &EmailAddress) -> Option<EmailAddress> {
        self.0.srs_reverse(address.local())
    }
}

/// The keys of our domains, for what the queue writes itself.
struct OwnKeys(Signing);

impl Signer for OwnKeys {
    /// A host of a domain is vouched for by the domain: its own keys, or those of the nearest domain above it (aligned, RFC 9989 §4.4.1).
    fn sign<'a>(&'a self, domain: &'a Domain, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let mut signatures = Vec::new();
            let mut next = Some(domain.clone());
            while let Some(domain) = next.filter(|_| signatures.is_empty()) {
                signatures = self.0.sign(&domain, message).await.map_err(|error| error.to_string())?;
                next = domain.as_ascii().split_once('.').and_then(|(_, above)| Domain::parse(above).ok());
            }
            Ok(signatures)
        })
    }
}

/// Where the key of the signing keys is kept, if the configuration has none: beside the embedded store.
pub(super) fn key_file(config: &Config) -> Option<PathBuf> {
    match &config.store {
        Store::Embedded { path, .. } => Some(path.with_file_name("signing.key")),
        Store::FoundationDb { .. } => None,
    }
}
