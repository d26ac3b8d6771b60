//! What the operations of the API work on.

use std::sync::Arc;
use std::time::SystemTime;

use ekitei_backup::jobs::Runner;
use ekitei_blob::Blobs;
use ekitei_certificates::Certificates;
use ekitei_cluster::{Cluster, Locks};
use ekitei_config::Live;
use ekitei_directory::Directory;
use ekitei_doctor::Doctor;
use ekitei_filter::{Greylist, Limits};
use ekitei_keyring::Keyring;
use ekitei_mailstore::MailStore;
use ekitei_net::{Shutdown, Tls};
use ekitei_queue::Queue;
use ekitei_reports::Reports;
use ekitei_signing::Signing;
use ekitei_telemetry::{Gauge, Registry};
use tokio::sync::Semaphore;

/// Messages that are imported at the same time: each is whole in memory.
const CONCURRENT_IMPORTS: usize = 4;

/// The parts of the service that the API shows and changes.
#[derive(Clone)]
pub struct Parts {
    /// The processes that use the store.
    pub cluster: Cluster,
    /// Domains, accounts, aliases, groups.
    pub directory: Directory,
    /// Message bodies.
    pub blobs: Blobs,
    /// Mailboxes and messages.
    pub mailstore: MailStore,
    /// Mail that waits to be sent.
    pub queue: Queue,
    /// What receivers see of domains.
    pub doctor: Doctor,
    /// DKIM keys.
    pub signing: Signing,
    /// Keys that bodies are encrypted with.
    pub keyring: Keyring,
    /// Certificates that are stored.
    pub certificates: Certificates,
    /// Locks with names.
    pub locks: Locks,
    /// Reports of others.
    pub reports: Reports,
    /// Backups, and their jobs.
    pub backups: Runner,
    /// Bans.
    pub limits: Limits,
    /// What the greylist knows.
    pub greylist: Greylist,
    /// The configuration in force: the token, and the limits of requests.
    pub live: Live,
    /// Certificates, for the doctor.
    pub tls: Tls,
    /// Tells when the service is no longer ready.
    pub shutdown: Shutdown,
    /// What `/metrics` shows.
    pub registry: Registry,
    /// Called before `/metrics` is answered, to bring figures up to date that nobody else does.
    pub sample: Arc<dyn Fn() + Send + Sync>,
}

/// The state behind every route.
pub(crate) struct State {
    pub(crate) parts: Parts,
    pub(crate) imports: Semaphore,
    pub(crate) started: SystemTime,
    /// Whether the service is ready, as `/metrics` says.
    pub(crate) ready: Gauge,
}

pub(crate) type AppState = Arc<State>;

impl State {
    pub(crate) fn new(parts: Parts) -> AppState {
        let ready = parts
            .registry
            .gauge("ready", "1 if the process can take mail and logins, as its readiness probe says.");
        let imports = Semaphore::new(CONCURRENT_IMPORTS);
        Arc::new(Self { parts, imports, started: SystemTime::now(), ready })
    }
}
