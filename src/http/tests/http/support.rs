//! A service with nothing but HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use ekitei_api::{Client, NewDomain};
use ekitei_blob::{Blobs, DirectoryStore};
use ekitei_certificates::Certificates;
use ekitei_cluster::{Cluster, Description, Feature, LockLimits, Locks};
use ekitei_config::{Config, ListenerConfig, Live, Protocol, Secret};
use ekitei_directory::{Argon2Cost, Directory, Settings};
use ekitei_dns::Resolver;
use ekitei_doctor::Doctor;
use ekitei_filter::{Attempt, Greylist, Limits};
use ekitei_http::{Parts, Server};
use ekitei_keyring::{Keyring, MasterKeys};
use ekitei_kv::clock::SystemClock;
use ekitei_kv::lease::{LeaseOptions, Leases};
use ekitei_kv::{Database, MonotonicClock};
use ekitei_mailstore::{DomainCounting, MailStore};
use ekitei_net::{Listener, Net, Shutdown, Tls};
use ekitei_queue::{Queue, QueueContext};
use ekitei_reports::{Ears, Reports};
use ekitei_signing::Signing;
use ekitei_telemetry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

pub const TOKEN: &str = "the token of this test";

/// A service with nothing but HTTP.
pub struct Service {
    router: axum::Router,
    greylist: Greylist,
    pub reports: Reports,
    pub database: Database,
    pub blobs: Blobs,
    pub mailstore: MailStore,
    pub queue: Queue,
    pub address: SocketAddr,
    pub shutdown: Shutdown,
    pub leases: Leases,
    pub keyring: Keyring,
    _bodies: tempfile::TempDir,
}

impl Service {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut config = Config::default();
        config.admin.token = Some(Secret::new(TOKEN));
        config.admin.max_import_size = ekitei_config::ByteSize::kib(64);
        change(&mut config);
        let (registry, shutdown, tls, live) =
            (Registry::new(), Shutdown::new(), Tls::none(), Live::new(config));
        let (database, clock, bodies) =
            (Database::in_memory(), Arc::new(SystemClock), tempfile::tempdir().unwrap());
        let duration = Duration::from_secs(15);
        let options = LeaseOptions { duration, clock: MonotonicClock::system(), alone: true };
        let leases = Leases::new(database.clone(), options);
        let cluster = ekitei_cluster::Parts {
            database: database.clone(),
            leases: leases.clone(),
            clock: clock.clone(),
            settings: ekitei_cluster::Settings {
                interval: duration,
                settle: duration,
                keep_dead: duration,
                alone: true,
            },
            description: Description { host: "mx1".to_owned(), pid: 7, ..Description::default() },
            registry: registry.clone(),
        };
        let cluster = Cluster::join(cluster).await.unwrap();
        let objects = DirectoryStore::open(bodies.path()).unwrap();
        let blobs = Blobs::new(database.clone(), objects, ekitei_blob::Settings::default(), clock.clone());
        let cheap =
            Settings { argon2: Argon2Cost { memory_kib: 8, passes: 1, lanes: 1 }, ..Settings::default() };
        let directory = Directory::new(database.clone(), cheap, clock.clone());
        let signing = Signing::open(ekitei_signing::Parts {
            database: database.clone(),
            directory: directory.clone(),
            live: live.clone(),
            clock: clock.clone(),
            resolver: None,
            key_file: Some(bodies.path().join("signing.key")),
            manual_gate: Arc::new(cluster.features().gate(Feature::ManualSigningKeys)),
            registry: registry.clone(),
        });
        let signing = signing.unwrap();
        let certificates = Certificates::open(ekitei_certificates::Parts {
            database: database.clone(),
            live: live.clone(),
            clock: clock.clone(),
            key_file: Some(bodies.path().join("signing.key")),
            tls: tls.clone(),
            registry: registry.clone(),
        });
        let certificates = certificates.unwrap();
        let limits = LockLimits { count: 3, time: duration };
        let locks = Locks::new(database.clone(), clock.clone(), move || limits);
        let (current, previous) = MasterKeys::local(&live.load().encryption).unwrap();
        let keyring = Keyring::new(ekitei_keyring::Parts {
            database: database.clone(),
            masters: MasterKeys::new(current, previous, &registry),
            live: live.clone(),
            gate: Arc::new(|| true),
            clock: clock.clone(),
            registry: registry.clone(),
        });
        let limits = Limits::new(live.clone(), database.clone(), clock.clone(), &registry);
        let greylist = Greylist::new(live.clone(), database.clone(), clock.clone(), &registry);
        let settings = ekitei_mailstore::Settings::default();
        let counting = DomainCounting { directory: directory.clone(), is_active: Arc::new(|| true) };
        let mailstore =
            MailStore::with_domains(database.clone(), blobs.clone(), settings, clock.clone(), counting);
        let queue = Queue::new(QueueContext {
            database: database.clone(),
            blobs: blobs.clone(),
            mailstore: mailstore.clone(),
            live: live.clone(),
            clock: clock.clone(),
        });
        let ears = Ears::new(live.clone(), clock.clone(), &registry);
        let dns = Resolver::new(&live.load().dns).unwrap();
        let reports = ekitei_reports::Parts {
            database: database.clone(),
            blobs: blobs.clone(),
            mailstore: mailstore.clone(),
            queue: queue.clone(),
            signing: signing.clone(),
            directory: directory.clone(),
            dns: dns.clone(),
            live: live.clone(),
            clock,
        };
        let reports = Reports::new(reports, ears);
        let net = Net::new(live.clone(), tls.clone(), shutdown.clone(), &registry);
        let sampled = registry.gauge("sampled", "Times that figures were brought up to date.");
        let sample = Arc::new(move || sampled.inc());
        let (reached, reached_below, reached_bodies) = (mailstore.clone(), database.clone(), blobs.clone());
        let backup = ekitei_backup::Backup {
            database: database.clone(),
            blobs: blobs.clone(),
            mailstore: mailstore.clone(),
            directory: directory.clone(),
            clock: Arc::new(SystemClock),
            options: ekitei_backup::Options::default(),
        };
        let repository = live.load().backup.encryption_key.is_some().then(|| {
            let store = DirectoryStore::open(bodies.path().join("backups")).unwrap();
            Arc::new(store) as Arc<dyn ekitei_blob::ObjectStore>
        });
        let backups = ekitei_backup::jobs::Runner::new(backup, repository, live.clone(), &registry).unwrap();
        let parts = Parts {
            backups: backups.clone(),
            cluster,
            directory,
            blobs,
            mailstore,
            queue: queue.clone(),
            doctor: Doctor::new(live.clone(), dns),
            signing,
            keyring: keyring.clone(),
            certificates,
            locks,
            reports: reports.clone(),
            limits,
            greylist: greylist.clone(),
            live,
            tls,
            shutdown: shutdown.clone(),
            registry,
            sample,
        };
        let listener = ListenerConfig::new(Protocol::Http, "127.0.0.1:0".parse().unwrap());
        let listener = Listener::bind(listener, &net).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(Server::new(parts));
        let router = server.router();
        tokio::spawn(listener.serve(server));
        Self {
            router,
            reports,
            database: reached_below,
            blobs: reached_bodies,
            mailstore: reached,
            greylist,
            queue,
            address,
            shutdown,
            leases,
            keyring,
            _bodies: bodies,
        }
    }

    pub fn client(&self) -> Client {
        self.client_with(Some(TOKEN))
    }

    pub fn client_with(&self, token: Option<&str>) -> Client {
        Client::new(&format!("http://{}", self.address), token.map(str::to_owned)).unwrap()
    }

    /// Sends a request as it is written, and returns the answer as it is.
    pub async fn raw(&self, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request =
            format!("{head}\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// A first mail, which is put off.
    pub async fn greylist(&self, client: &str, sender: &str, recipient: &str) {
        let client = client.parse().unwrap();
        self.greylist.check(Attempt { client, sender, recipient, spf_domain: None }).await;
    }

    /// Asks without a socket.
    pub async fn ask(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    pub async fn add_domain(&self, name: &str) {
        let new = NewDomain { name: name.to_owned(), ..NewDomain::default() };
        self.client().create_domain(&new).await.unwrap();
    }
}
