//! A server with one account in memory, and a client that speaks to it.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use ekitei_blob::{Blobs, DirectoryStore};
use ekitei_config::{CertificateConfig, Config, ListenerConfig, Live, Protocol};
use ekitei_directory::{AccountId, Directory, Domain, EmailAddress, NewAccount, NewDomain, NewPassword};
use ekitei_filter::Limits;
use ekitei_kv::clock::{Clock, SharedClock, SystemClock};
use ekitei_kv::{Database, Faults, MemoryOptions};
use ekitei_mailstore::{Delivery, ExpungeScope, Flags, Folder, MailStore, MailboxId, Snapshot, Target, Uid};
use ekitei_net::{Connection, Handler, Net, Shutdown, Tls};
use ekitei_pop3::Pop3Server;
use ekitei_telemetry::Registry;
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream,
};

pub const USER: &str = "alice@example.test";
pub const PASSWORD: &str = "correct horse battery";

/// A server with the account `alice`.
pub struct Fixture {
    folder: tempfile::TempDir,
    database: Database,
    pub store: MailStore,
    pub account: AccountId,
    pub shutdown: Shutdown,
    pub registry: Registry,
    pub limits: Limits,
    pub disk: Arc<FullDisk>,
    pub server: Arc<Pop3Server>,
}

/// Makes an fsync fail, and the store stop.
#[derive(Default)]
pub struct FullDisk {
    /// Syncs until then; 0 for never.
    until: AtomicU64,
}

impl FullDisk {
    /// The `number`th sync from now fails.
    pub fn at_sync(&self, number: u64) {
        self.until.store(number, Ordering::SeqCst);
    }
}

impl Faults for FullDisk {
    fn sync(&self) -> Option<std::io::Error> {
        let left = self.until.load(Ordering::SeqCst);
        self.until.store(left.saturating_sub(1), Ordering::SeqCst);
        (left == 1).then(|| std::io::ErrorKind::StorageFull.into())
    }
}

/// Passwords without TLS, cheap hashes, no delay.
pub fn config() -> Config {
    let mut config = Config { hostname: "mx.example.test".to_owned(), ..Config::default() };
    config.pop3.allow_insecure_auth = true;
    config
}

impl Fixture {
    pub async fn new() -> Self {
        Self::with(config()).await
    }

    pub async fn with(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(FullDisk::default());
        let options =
            MemoryOptions { faults: disk.clone(), committing_thread: true, ..MemoryOptions::default() };
        let database = Database::in_memory_with(options).unwrap();
        let clock: SharedClock = Arc::new(SystemClock);
        let objects = DirectoryStore::open(folder.path().join("objects")).unwrap();
        let blobs = Blobs::new(database.clone(), objects, ekitei_blob::Settings::default(), clock.clone());
        let store =
            MailStore::new(database.clone(), blobs, ekitei_mailstore::Settings::default(), clock.clone());
        let settings = ekitei_directory::Settings {
            failed_login_delay: Duration::ZERO,
            argon2: ekitei_directory::Argon2Cost { memory_kib: 64, passes: 1, lanes: 1 },
            ..ekitei_directory::Settings::default()
        };
        let directory = Directory::new(database.clone(), settings, clock.clone());
        directory.create_domain(&Domain::parse("example.test").unwrap(), NewDomain::default()).await.unwrap();
        let account = directory
            .create_account(NewAccount {
                address: EmailAddress::parse(USER).unwrap(),
                display_name: String::new(),
                password: Some(NewPassword::Plain(PASSWORD.to_owned())),
                quota: None,
                enabled: true,
                forwarding: None,
            })
            .await
            .unwrap();
        let (shutdown, registry) = (Shutdown::new(), Registry::new());
        let tls = Tls::new(&config.tls, Duration::from_secs(5)).unwrap();
        let live = Live::new(config);
        let limits = Limits::new(live.clone(), database.clone(), clock.clone(), &registry);
        let net = Net::new(live, tls, shutdown.clone(), &registry);
        let server = Pop3Server::new(
            net,
            directory,
            limits.clone(),
            store.clone(),
            database.clone(),
            clock,
            &registry,
        );
        Self {
            folder,
            database,
            store,
            account: account.id,
            shutdown,
            registry,
            limits,
            disk,
            server: Arc::new(server),
        }
    }

    /// A client that has read nothing yet.
    pub fn open(&self) -> DuplexStream {
        let (server, client) = tokio::io::duplex(4096);
        let listener = Arc::new(ListenerConfig::new(Protocol::Pop3, "127.0.0.1:110".parse().unwrap()));
        let peer = "192.0.2.1:5000".parse().unwrap();
        let connection = Connection::over(server, peer, listener.address, listener);
        self.shutdown.spawn(Arc::clone(&self.server).handle(connection));
        client
    }

    /// A client after the greeting.
    pub async fn connect(&self) -> Client {
        let mut client = Client::new(self.open());
        assert_eq!(client.line().await, "+OK mx.example.test POP3 server ready");
        client
    }

    /// A client after login.
    pub async fn log_in(&self) -> Client {
        let mut client = self.connect().await;
        assert_eq!(client.ask(&format!("USER {USER}")).await, "+OK the password, please");
        let reply = client.ask(&format!("PASS {PASSWORD}")).await;
        assert!(reply.starts_with("+OK "), "{reply}");
        client
    }

    /// Puts a message into the INBOX.
    pub async fn deliver(&self, message: &str) {
        let delivery = Delivery {
            message: Bytes::copy_from_slice(message.as_bytes()),
            received: SystemClock.now(),
            targets: vec![Target {
                account: self.account,
                folder: Folder::Inbox,
                flags: Flags::NONE,
                quota: None,
                header: Bytes::new(),
            }],
            companions: Vec::new(),
            fence: None,
        };
        for outcome in self.store.deliver(delivery).await.unwrap() {
            outcome.unwrap();
        }
    }

    pub async fn snapshot(&self) -> Arc<Snapshot> {
        self.store.view(self.account, MailboxId::INBOX).await.unwrap().refresh().await.unwrap()
    }

    pub async fn uids(&self) -> Vec<u32> {
        self.snapshot().await.entries.iter().map(|entry| entry.uid.get()).collect()
    }

    /// Removes a message as another client would.
    pub async fn expunge(&self, uid: Uid) {
        let scope = ExpungeScope::Exactly(vec![uid]);
        self.store.expunge(self.account, MailboxId::INBOX, &scope).await.unwrap();
    }

    /// Takes the lease of the mailbox away from its session, as after a pause that was too long.
    pub async fn steal_lease(&self) {
        use ekitei_kv::keys::{key, subspace};
        let row = key(&(subspace::CLUSTER, "pop3", self.account.get()));
        let value = [[7_u8; 16].as_slice(), &u64::MAX.to_be_bytes()].concat();
        let put = |transaction: ekitei_kv::Transaction| {
            transaction.set(&row, &value);
            async { Ok::<_, ekitei_kv::Error>(()) }
        };
        self.database.transact(put).await.unwrap();
    }

    /// The files of a self-signed certificate for mx.example.test, and its PEM.
    pub fn certificate(config: &mut Config) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["mx.example.test".to_owned()]).unwrap();
        let pair = CertificateConfig {
            certificate: folder.path().join("tls.crt"),
            key: folder.path().join("tls.key"),
        };
        std::fs::write(&pair.certificate, made.cert.pem()).unwrap();
        std::fs::write(&pair.key, made.signing_key.serialize_pem()).unwrap();
        config.tls.certificates.push(pair);
        (folder, made.cert.pem())
    }

    /// How many large bodies are kept as objects.
    pub fn objects(&self) -> usize {
        fn files(path: &std::path::Path) -> usize {
            let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
            entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
        }
        files(&self.folder.path().join("objects"))
    }
}

/// A client over any stream.
pub struct Client<S = DuplexStream> {
    pub stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// One line without its line end.
    pub async fn line(&mut self) -> String {
        let mut line = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(3600), self.stream.read_until(b'\n', &mut line));
        read.await.unwrap().unwrap();
        String::from_utf8(line).unwrap().strip_suffix("\r\n").unwrap().to_owned()
    }

    /// Sends a command and reads one line.
    pub async fn ask(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes()).await;
        self.line().await
    }

    /// The lines of a multi-line reply after its first, with dots taken away.
    pub async fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            match line.strip_prefix('.') {
                Some("") => return lines,
                Some(rest) => lines.push(rest.to_owned()),
                None => lines.push(line),
            }
        }
    }

    /// Sends a command that has a multi-line reply, and reads it.
    pub async fn ask_for_lines(&mut self, command: &str) -> Vec<String> {
        let first = self.ask(command).await;
        assert!(first.starts_with("+OK"), "{command}: {first}");
        self.lines().await
    }

    /// Everything until the server closes.
    pub async fn rest(&mut self) -> String {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).await.unwrap();
        text
    }
}

pub fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}
