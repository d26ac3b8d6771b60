//! A running service: every part built from one configuration, its listeners, its background work, and its end.

mod background;
pub(crate) mod backup;
mod bodies;
mod certificates;
mod cluster;
mod jobs;
mod keys;
mod metrics;
pub(crate) mod objects;
mod parts;
mod policies;
mod reload;
mod sending;
pub mod settings;
mod signals;
mod store;
pub mod traces;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ekitei_backup::jobs::Runner;
use ekitei_blob::Blobs;
use ekitei_certificates::Certificates;
use ekitei_cluster::{Cluster, Locks};
use ekitei_config::{Config, Live, Protocol};
use ekitei_directory::Directory;
use ekitei_doctor::Doctor;
use ekitei_keyring::Keyring;
use ekitei_kv::Database;
use ekitei_kv::clock::{SharedClock, SystemClock};
use ekitei_mailstore::MailStore;
use ekitei_net::{Listener, Net, Shutdown, Tls};
use ekitei_queue::Scheduler;
use ekitei_signing::Signing;
use ekitei_telemetry::{LogControl, Registry};

use parts::Parts;
pub use reload::Reloader;
use sending::{Base, Sending};

/// The parts of a service that is built and listens, and serves nobody yet.
pub struct Service {
    net: Net,
    registry: Registry,
    cluster: Cluster,
    keyring: Keyring,
    certificates: Certificates,
    locks: Locks,
    directory: Directory,
    blobs: Blobs,
    mailstore: MailStore,
    sending: Sending,
    backups: Runner,
    /// Until it runs.
    scheduler: Scheduler,
    servers: Servers,
    listeners: Vec<(Protocol, Listener)>,
}

/// The protocol servers, one for all listeners of its kind.
struct Servers {
    smtp: Arc<ekitei_smtp::Server>,
    imap: Arc<ekitei_imap::Server>,
    pop3: Arc<ekitei_pop3::Pop3Server>,
    http: Arc<ekitei_http::Server>,
}

impl Service {
    /// Opens the stores (with `accept_loss` also a damaged one, see [`ekitei_kv::EmbeddedOptions`]) and binds the listeners. When this returns, clients can connect and wait to be served.
    ///
    /// # Errors
    /// What cannot be opened, read or bound, with its name.
    pub async fn build(config: Config, accept_loss: bool) -> anyhow::Result<Self> {
        let database = store::open(&config.store, accept_loss).await?;
        Self::build_over(config, database).await
    }

    /// [`Service::build`] over a store that is open already, which `config.store` describes.
    ///
    /// # Errors
    /// As [`Service::build`].
    pub async fn build_over(config: Config, database: Database) -> anyhow::Result<Self> {
        let registry = metrics::registry(&config);
        let database = metrics::measured(&database, &registry);
        let clock: SharedClock = Arc::new(SystemClock);
        database.check_schema().await?;
        let (leases, cluster) = cluster::join(&config, &database, &clock, &registry).await?;
        if !config.cluster.work {
            leases.stand_aside();
        }
        let live = Live::new(config.clone());
        let objects = objects::open_live(&live, &registry).await?;
        let objects = objects::near(objects, &config.blobs, &registry)?;
        let parts = Parts::over(objects, &live, &database, &cluster, &clock, &registry).await?;
        let Parts { keyring, blobs, directory, mailstore, .. } = parts;
        let tls = Tls::new(&config.tls, config.limits.tls_handshake_timeout.get())?;
        let certificates = certificates::open(&live, &database, &clock, &tls, &registry).await?;
        let locks = cluster::locks(&live, &database, &clock);
        let wanted = config.listeners.clone();
        let net = Net::new(live.clone(), tls, Shutdown::new(), &registry);
        let base = Base {
            live: &live,
            database: &database,
            leases: &leases,
            keyring: &keyring,
            certificates: &certificates,
            locks: &locks,
            cluster: &cluster,
            blobs: &blobs,
            directory: &directory,
            mailstore: &mailstore,
            clock: &clock,
            registry: &registry,
        };
        let sending = Sending::build(&base)?;
        let scheduler = sending.scheduler(&base);
        sending.limits.load().await;
        let net = net.with_gate(Arc::new(sending.limits.clone()));
        let backups = backup::runner(&base).await?;
        let servers = Servers::new(&net, &base, &sending, &backups);
        let mut listeners = Vec::with_capacity(wanted.len());
        for listener in wanted {
            listeners.push((listener.protocol, Listener::bind(listener, &net).await?));
        }
        cluster::tell_listeners(&cluster, &listeners).await?;
        Ok(Self {
            net,
            registry,
            cluster,
            keyring,
            certificates,
            locks,
            directory,
            blobs,
            mailstore,
            sending,
            backups,
            scheduler,
            servers,
            listeners,
        })
    }

    /// The directory, for what is to be there before the first client.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The signing keys, for what is to be there before the first message.
    pub fn signing(&self) -> &Signing {
        &self.sending.signing
    }

    /// Where the service listens.
    ///
    /// # Errors
    /// The system's.
    pub fn addresses(&self) -> std::io::Result<Vec<(Protocol, SocketAddr)>> {
        self.listeners.iter().map(|(protocol, listener)| Ok((*protocol, listener.local_addr()?))).collect()
    }

    /// Serves until SIGTERM or SIGINT, and then lets what is in progress end. Reads the configuration again from `path`, if
    /// there is one, on SIGHUP and when the file changes.
    ///
    /// # Errors
    /// Signals cannot be waited for.
    pub async fn run(self, path: Option<&Path>, logs: LogControl) -> anyhow::Result<()> {
        let result = self.run_to_the_end(path, logs).await;
        store::close();
        result
    }

    async fn run_to_the_end(self, path: Option<&Path>, logs: LogControl) -> anyhow::Result<()> {
        let shutdown = self.net.shutdown().clone();
        let (leases, limits) = (self.sending.leases.clone(), self.sending.limits.clone());
        let reports = self.sending.reports.clone();
        let cluster = self.cluster.clone();
        background::start(&self);
        if self.net.live().load().queue.enabled {
            let (scheduler, until) = (self.scheduler, shutdown.clone());
            shutdown.spawn(send_mail(scheduler, until));
        }
        let reloader = Reloader::new(path, &self.net, &self.directory, logs);
        for (protocol, listener) in self.listeners {
            let servers = self.servers.clone();
            tokio::spawn(async move { servers.serve(protocol, listener).await });
        }
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "the service is ready");
        signals::until_told_to_stop(&reloader).await?;
        let grace = self.net.live().load().shutdown.grace.get();
        tracing::info!(tasks = shutdown.running(), ?grace, "stopping");
        let left = tokio::select! {
            left = shutdown.finish(grace) => left,
            () = signals::told_again() => {
                tracing::warn!("stopping at once");
                // Not by returning: the runtime would wait for what runs on its blocking threads.
                store::end_at_once();
            }
        };
        if left > 0 {
            tracing::warn!(left, "the grace is over; connections were cut off");
        }
        limits.finish().await;
        if let Err(error) = reports.finish().await {
            tracing::warn!(%error, "what was collected for reports since it was written last is lost");
        }
        if let Err(error) = cluster.leave().await {
            tracing::warn!(%error, "the row of this process stays; others remove it");
        }
        if let Err(error) = leases.stop().await {
            tracing::warn!(%error, "leases could not be given back; others take them when they end");
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Ends what the metadata store's client library runs; before the process returns from `main`.
pub fn close_store() {
    store::close();
}

/// Sends mail until the shutdown. A scheduler that died would keep its shards from everyone: the process ends instead, is started again, and takes
/// up the work, or another does.
async fn send_mail(scheduler: Scheduler, until: Shutdown) {
    let sending = tokio::spawn(async move { scheduler.run(until.graceful()).await });
    if let Err(error) = sending.await
        && error.is_panic()
    {
        tracing::error!(%error, "the scheduler of the queue died; so does the process");
        store::end_at_once();
    }
}

impl Servers {
    fn new(net: &Net, base: &Base<'_>, sending: &Sending, backups: &Runner) -> Self {
        let (live, tls, shutdown) = (net.live(), net.tls(), net.shutdown());
        let Base { directory, mailstore, registry, database, clock, .. } = *base;
        let time = Arc::clone(clock);
        let smtp = ekitei_smtp::ServerContext {
            live: live.clone(),
            tls: tls.clone(),
            shutdown: shutdown.clone(),
            directory: directory.clone(),
            limits: sending.limits.clone(),
            mailstore: mailstore.clone(),
            queue: sending.queue.clone(),
            signing: sending.signing.clone(),
            reports: Some(sending.reports.clone()),
            filter: sending.filter.clone(),
            clock: Arc::new(move || time.now()),
            metrics: ekitei_smtp::Metrics::new(registry),
        };
        let imap = ekitei_imap::ServerContext {
            live: live.clone(),
            tls: tls.clone(),
            shutdown: shutdown.clone(),
            directory: directory.clone(),
            limits: sending.limits.clone(),
            mailstore: mailstore.clone(),
            clock: Arc::clone(clock),
            registry: registry.clone(),
        };
        let (config, cluster) = (live.load(), base.cluster.clone());
        let sample = metrics::sampler(&config, database.clone(), cluster, mailstore.clone(), registry);
        let pop3 = ekitei_pop3::Pop3Server::new(
            net.clone(),
            directory.clone(),
            sending.limits.clone(),
            mailstore.clone(),
            database.clone(),
            Arc::clone(clock),
            registry,
        );
        let http = ekitei_http::Parts {
            cluster: base.cluster.clone(),
            directory: directory.clone(),
            blobs: base.blobs.clone(),
            mailstore: mailstore.clone(),
            queue: sending.queue.clone(),
            doctor: Doctor::new(live.clone(), sending.dns.clone()),
            signing: sending.signing.clone(),
            keyring: base.keyring.clone(),
            certificates: base.certificates.clone(),
            locks: base.locks.clone(),
            reports: sending.reports.clone(),
            backups: backups.clone(),
            limits: sending.limits.clone(),
            greylist: sending.greylist.clone(),
            live: live.clone(),
            tls: tls.clone(),
            shutdown: shutdown.clone(),
            registry: registry.clone(),
            sample,
        };
        Self {
            smtp: Arc::new(ekitei_smtp::Server::new(smtp)),
            imap: Arc::new(match sending.filter.learner() {
                Some(learner) => ekitei_imap::Server::teaching(imap, Arc::new(learner)),
                None => ekitei_imap::Server::new(imap),
            }),
            pop3: Arc::new(pop3),
            http: Arc::new(ekitei_http::Server::new(http)),
        }
    }

    async fn serve(self, protocol: Protocol, listener: Listener) {
        match protocol {
            Protocol::Smtp | Protocol::Submission | Protocol::Submissions | Protocol::Lmtp => {
                listener.serve(self.smtp).await;
            }
            Protocol::Imap | Protocol::Imaps => listener.serve(self.imap).await,
            Protocol::Pop3 | Protocol::Pop3s => listener.serve(self.pop3).await,
            Protocol::Http | Protocol::Https => listener.serve(self.http).await,
        }
    }
}

impl Clone for Servers {
    fn clone(&self) -> Self {
        Self {
            smtp: Arc::clone(&self.smtp),
            imap: Arc::clone(&self.imap),
            pop3: Arc::clone(&self.pop3),
            http: Arc::clone(&self.http),
        }
    }
}
