//! A service in memory, and a client that speaks to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use ekitei_blob::{Blobs, MemoryStore, Packing};
use ekitei_config::{Config, ListenerConfig, Live, Protocol};
use ekitei_directory::{
    AccountChange, Argon2Cost, Directory, Domain, EmailAddress, Forwarding, NewAccount, NewDomain,
    NewPassword,
};
use ekitei_dns::Resolver;
use ekitei_dns::testing::TestDns;
use ekitei_filter::{Filter, FilterContext, Greylist, Limits};
use ekitei_kv::clock::{Clock, ManualClock};
use ekitei_kv::{Database, FaultScript, MemoryOptions};
use ekitei_mailstore::{AccountId, DomainCounting, MailStore, MailboxName};
use ekitei_net::{Connection, Handler, Shutdown, Tls, TlsInfo};
use ekitei_queue::{Queue, QueueContext};
use ekitei_reports::{Ears, Reports};
use ekitei_signing::Signing;
use ekitei_smtp::{Metrics, Server, ServerContext};
use ekitei_telemetry::Registry;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

pub const PASSWORD: &str = "correct horse";
pub const STRANGER: &str = "203.0.113.9:40000";

/// Octets of hot bodies while the object store is away.
pub const HOT_LIMIT: u64 = 1_000_000;

/// 2026-01-02 03:04:05 UTC.
const NOW: Duration = Duration::from_secs(1_767_323_045);

pub struct World {
    _folder: tempfile::TempDir,
    pub server: Arc<Server>,
    pub directory: Directory,
    pub mailstore: MailStore,
    pub queue: Queue,
    pub signing: Signing,
    pub reports: Reports,
    pub limits: Limits,
    pub shutdown: Shutdown,
    pub faults: Arc<FaultScript>,
    pub registry: Registry,
    pub database: Database,
    pub objects: MemoryStore,
    pub blobs: Blobs,
    pub clock: Arc<ManualClock>,
}

pub fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

impl World {
    /// `example.test` with alice, bob, carol who has a quota of 2000 octets, and dora who is disabled.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_tls(Tls::none(), change).await
    }

    pub async fn with_tls(tls: Tls, change: impl FnOnce(&mut Config)) -> Self {
        Self::build(tls, None, change).await
    }

    /// A service whose filter asks `dns`.
    pub async fn filtering(dns: &TestDns, change: impl FnOnce(&mut Config)) -> Self {
        Self::build(Tls::none(), Some(dns), change).await
    }

    async fn build(tls: Tls, dns: Option<&TestDns>, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let faults = Arc::new(FaultScript::default());
        let options =
            MemoryOptions { faults: faults.clone(), committing_thread: true, ..MemoryOptions::default() };
        let database = Database::in_memory_with(options).unwrap();
        let clock = ManualClock::new(NOW);
        let objects = MemoryStore::new(clock.clone());
        let packing = Packing { hot_limit: HOT_LIMIT, ..Packing::default() };
        let bodies = ekitei_blob::Settings { packing, ..ekitei_blob::Settings::default() };
        let blobs = Blobs::new(database.clone(), objects.clone(), bodies, clock.clone());
        let settings = ekitei_directory::Settings {
            argon2: Argon2Cost { memory_kib: 8, passes: 1, lanes: 1 },
            failed_login_delay: Duration::ZERO,
            ..ekitei_directory::Settings::default()
        };
        let directory = Directory::new(database.clone(), settings, clock.clone());
        let mailstore = MailStore::with_domains(
            database.clone(),
            blobs.clone(),
            ekitei_mailstore::Settings::default(),
            clock.clone(),
            DomainCounting { directory: directory.clone(), is_active: Arc::new(|| true) },
        );
        let mut config = Config { hostname: "mail.example.test".into(), ..Config::default() };
        config.smtp.tarpit_delay = ekitei_config::Duration::millis(0);
        change(&mut config);
        let (shutdown, registry) = (Shutdown::new(), Registry::new());
        let live = Live::new(config);
        let queue = Queue::new(QueueContext {
            database: database.clone(),
            blobs: blobs.clone(),
            mailstore: mailstore.clone(),
            live: live.clone(),
            clock: clock.clone(),
        });
        let signing = Signing::open(ekitei_signing::Parts {
            database: database.clone(),
            directory: directory.clone(),
            live: live.clone(),
            clock: clock.clone(),
            resolver: None,
            key_file: Some(folder.path().join("signing.key")),
            manual_gate: Arc::new(|| true),
            registry: registry.clone(),
        })
        .unwrap();
        let limits = Limits::new(live.clone(), database.clone(), clock.clone(), &registry);
        let filter = dns.map_or_else(Filter::none, |dns| {
            Filter::new(FilterContext {
                live: live.clone(),
                dns: dns.resolver(),
                database: database.clone(),
                directory: directory.clone(),
                clock: clock.clone(),
                greylist: Greylist::new(live.clone(), database.clone(), clock.clone(), &registry),
                registry: registry.clone(),
            })
        });
        let parts = ekitei_reports::Parts {
            database: database.clone(),
            blobs: blobs.clone(),
            mailstore: mailstore.clone(),
            queue: queue.clone(),
            signing: signing.clone(),
            directory: directory.clone(),
            dns: Resolver::new(&live.load().dns).unwrap(),
            live: live.clone(),
            clock: clock.clone(),
        };
        let reports = Reports::new(parts, Ears::new(live.clone(), clock.clone(), &registry));
        let server = Arc::new(Server::new(ServerContext {
            live,
            tls,
            shutdown: shutdown.clone(),
            directory: directory.clone(),
            limits: limits.clone(),
            mailstore: mailstore.clone(),
            queue: queue.clone(),
            signing: signing.clone(),
            reports: Some(reports.clone()),
            filter,
            clock: {
                let clock = clock.clone();
                Arc::new(move || clock.now())
            },
            metrics: Metrics::new(&registry),
        }));
        let world = Self {
            _folder: folder,
            server,
            directory,
            mailstore,
            queue,
            signing,
            reports,
            limits,
            shutdown,
            faults,
            registry,
            database,
            objects,
            blobs,
            clock,
        };
        world.populate().await;
        world
    }

    async fn populate(&self) {
        let domain = Domain::parse("example.test").unwrap();
        let new = NewDomain { postmaster: Some(address("bob@example.test")), ..NewDomain::default() };
        self.directory.create_domain(&domain, new).await.unwrap();
        for (name, quota) in [("alice", None), ("bob", None), ("carol", Some(2000)), ("dora", None)] {
            let account = NewAccount {
                address: address(&format!("{name}@example.test")),
                display_name: String::new(),
                password: Some(NewPassword::Plain(PASSWORD.into())),
                quota,
                enabled: true,
                forwarding: None,
            };
            self.directory.create_account(account).await.unwrap();
        }
        let off = AccountChange { enabled: Some(false), ..AccountChange::default() };
        self.directory.update_account(self.account("dora").await, off, None).await.unwrap();
    }

    pub async fn account(&self, name: &str) -> AccountId {
        self.directory.account_by_address(&address(&format!("{name}@example.test"))).await.unwrap().id
    }

    /// Sends an account's mail on.
    pub async fn forward(&self, name: &str, to: &[&str], keep_copy: bool) {
        let addresses = to.iter().copied().map(address).collect();
        let forwarding = Some(Some(Forwarding { addresses, keep_copy }));
        let change = AccountChange { forwarding, ..AccountChange::default() };
        self.directory.update_account(self.account(name).await, change, None).await.unwrap();
    }

    /// All messages in a mailbox, whole.
    pub async fn mail_in(&self, name: &str, mailbox: &str) -> Vec<String> {
        let account = self.account(name).await;
        self.mailstore.mailboxes(account).await.unwrap();
        let mailbox = MailboxName::new(mailbox).unwrap();
        let mailbox = self.mailstore.mailbox(account, &mailbox).await.unwrap().unwrap();
        let view = self.mailstore.view(account, mailbox.id).await.unwrap();
        let mut messages = Vec::new();
        for entry in &view.refresh().await.unwrap().entries {
            let octets = self.mailstore.read(account, entry.message, 0..u64::MAX).await.unwrap();
            messages.push(String::from_utf8_lossy(&octets).into_owned());
        }
        messages
    }

    /// All messages in an INBOX.
    pub async fn inbox(&self, name: &str) -> Vec<String> {
        self.mail_in(name, "INBOX").await
    }

    /// Connects and reads the greeting.
    pub async fn connect(&self, protocol: Protocol, peer: &str) -> Client<DuplexStream> {
        let mut client = self.open(protocol, peer, false);
        client.expect("220 mail.example.test ESMTP Ekitei").await;
        client
    }

    /// Connects and introduces itself.
    pub async fn hello(&self, protocol: Protocol, peer: &str) -> Client<DuplexStream> {
        let mut client = self.connect(protocol, peer).await;
        let hello = if protocol == Protocol::Lmtp { "LHLO" } else { "EHLO" };
        client.say(&format!("{hello} client.test")).await;
        client
    }

    /// A stranger who says EHLO to the MX.
    pub async fn mx(&self) -> Client<DuplexStream> {
        self.hello(Protocol::Smtp, STRANGER).await
    }

    /// A user who is logged in over TLS.
    pub async fn user(&self, name: &str) -> Client<DuplexStream> {
        let mut client = self.open(Protocol::Submissions, STRANGER, true);
        client.expect("220 ").await;
        client.say("EHLO client.test").await;
        client.ask(&format!("AUTH PLAIN {}", plain(name, PASSWORD)), "235 2.7.0 ").await;
        client
    }

    /// Opens a connection, as if behind TLS if `tls`.
    pub fn open(&self, protocol: Protocol, peer: &str, tls: bool) -> Client<DuplexStream> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let local: SocketAddr = "192.0.2.25:25".parse().unwrap();
        let listener = Arc::new(ListenerConfig::new(protocol, local));
        let mut connection = Connection::over(far, peer.parse().unwrap(), local, listener);
        if tls {
            connection.tls = Some(TlsInfo {
                version: "TLSv1.3",
                cipher: "TLS_AES_256_GCM_SHA384".into(),
                sni: None,
                client_certificate: None,
            });
        }
        self.serve(connection);
        Client { stream: near, buffer: Vec::new() }
    }

    pub fn serve(&self, connection: Connection) {
        tokio::spawn(Arc::clone(&self.server).handle(connection));
    }
}

/// The response of PLAIN.
pub fn plain(name: &str, password: &str) -> String {
    base64(&format!("\0{name}@example.test\0{password}"))
}

pub fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

pub struct Client<S> {
    pub stream: S,
    pub buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Reads one reply, with all its lines.
    pub async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let line = self.line().await;
            let last = line.as_bytes().get(3) != Some(&b'-');
            reply.push_str(&line);
            if last {
                return reply;
            }
            reply.push('\n');
        }
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
                self.buffer.drain(..end + 2);
                return line;
            }
            assert!(self.more().await, "the server closed the connection");
        }
    }

    async fn more(&mut self) -> bool {
        let mut block = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(10), self.stream.read(&mut block));
        let read = read.await.expect("the server says nothing").unwrap_or(0);
        self.buffer.extend_from_slice(&block[..read]);
        read > 0
    }

    /// Reads a reply that begins with this.
    pub async fn expect(&mut self, beginning: &str) -> String {
        let reply = self.reply().await;
        assert!(reply.starts_with(beginning), "expected {beginning:?}, got {reply:?}");
        reply
    }

    /// Sends a command and reads its reply.
    pub async fn say(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n")).await;
        self.reply().await
    }

    /// Sends a command whose reply begins with this.
    pub async fn ask(&mut self, command: &str, beginning: &str) -> String {
        let reply = self.say(command).await;
        assert!(reply.starts_with(beginning), "{command:?}: expected {beginning:?}, got {reply:?}");
        reply
    }

    /// The server says nothing more.
    pub async fn expect_closed(&mut self) {
        while self.more().await {}
        assert_eq!(String::from_utf8_lossy(&self.buffer), "");
    }

    /// MAIL and RCPT that are accepted.
    pub async fn envelope(&mut self, from: &str, to: &[&str]) {
        self.ask(&format!("MAIL FROM:<{from}>"), "250 2.1.0 ").await;
        for to in to {
            self.ask(&format!("RCPT TO:<{to}>"), "250 2.1.5 ").await;
        }
    }

    /// DATA with this content, and the final reply.
    pub async fn data(&mut self, content: impl AsRef<[u8]>) -> String {
        self.ask("DATA", "354 ").await;
        self.send(content).await;
        self.send("\r\n.\r\n").await;
        self.reply().await
    }
}
