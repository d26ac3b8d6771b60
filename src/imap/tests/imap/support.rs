//! A service in memory, and a client that speaks to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ekitei_blob::{Blobs, DirectoryStore, ObjectStore};
use ekitei_config::{Config, ListenerConfig, Live, Protocol};
use ekitei_directory::{Argon2Cost, Directory, Domain, EmailAddress, NewAccount, NewDomain, NewPassword};
use ekitei_filter::Limits;
use ekitei_imap::{Server, ServerContext};
use ekitei_kv::clock::ManualClock;
use ekitei_kv::{Database, FaultScript, MemoryOptions, Observer};
use ekitei_mailstore::{AccountId, DomainCounting, Flags, Keywords, MailStore, MailboxName, NewMessage};
use ekitei_net::{Connection, Handler, Shutdown, Tls};
use ekitei_telemetry::Registry;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

pub const PASSWORD: &str = "correct horse";

/// 2026-01-02 03:04:05 UTC.
pub const NOW: Duration = Duration::from_secs(1_767_323_045);

/// How long a test waits for an answer before it fails.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct World {
    folder: tempfile::TempDir,
    pub server: Arc<Server>,
    pub mailstore: MailStore,
    pub directory: Directory,
    pub limits: Limits,
    pub shutdown: Shutdown,
    pub registry: Registry,
    pub faults: Arc<FaultScript>,
    /// Counts what the service does in its store.
    pub observer: Observer,
}

impl World {
    /// `example.test` with alice, bob, and carol who has a quota of 2000 octets. Passwords may be sent without TLS.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_tls(Tls::none(), change).await
    }

    pub async fn with_tls(tls: Tls, change: impl FnOnce(&mut Config)) -> Self {
        Self::over(|objects| objects, tls, change).await
    }

    /// With objects as `wrap` gives them.
    pub async fn over<O: ObjectStore>(
        wrap: impl FnOnce(DirectoryStore) -> O,
        tls: Tls,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let faults = Arc::new(FaultScript::default());
        let options =
            MemoryOptions { faults: faults.clone(), committing_thread: true, ..MemoryOptions::default() };
        let (database, observer) = Database::in_memory_with(options).unwrap().observed();
        let clock = ManualClock::new(NOW);
        let objects = wrap(DirectoryStore::open(folder.path()).unwrap());
        let blobs = Blobs::new(database.clone(), objects, ekitei_blob::Settings::default(), clock.clone());
        let settings = ekitei_directory::Settings {
            argon2: Argon2Cost { memory_kib: 8, passes: 1, lanes: 1 },
            failed_login_delay: Duration::ZERO,
            ..ekitei_directory::Settings::default()
        };
        let directory = Directory::new(database.clone(), settings, clock.clone());
        let mailstore = MailStore::with_domains(
            database.clone(),
            blobs,
            ekitei_mailstore::Settings::default(),
            clock.clone(),
            DomainCounting { directory: directory.clone(), is_active: Arc::new(|| true) },
        );
        let mut config = Config { hostname: "mail.example.test".into(), ..Config::default() };
        config.imap.allow_insecure_auth = true;
        change(&mut config);
        let (shutdown, registry) = (Shutdown::new(), Registry::new());
        let live = Live::new(config);
        let limits = Limits::new(live.clone(), database, clock.clone(), &registry);
        let server = Arc::new(Server::new(ServerContext {
            live,
            tls,
            shutdown: shutdown.clone(),
            directory: directory.clone(),
            limits: limits.clone(),
            mailstore: mailstore.clone(),
            clock,
            registry: registry.clone(),
        }));
        let world =
            Self { folder, server, mailstore, directory, limits, shutdown, registry, faults, observer };
        world.populate().await;
        world
    }

    async fn populate(&self) {
        let domain = Domain::parse("example.test").unwrap();
        self.directory.create_domain(&domain, NewDomain::default()).await.unwrap();
        for (name, quota) in [("alice", None), ("bob", None), ("carol", Some(2000))] {
            let account = NewAccount {
                address: address(name),
                display_name: String::new(),
                password: Some(NewPassword::Plain(PASSWORD.into())),
                quota,
                enabled: true,
                forwarding: None,
            };
            self.directory.create_account(account).await.unwrap();
        }
    }

    /// Where large bodies are.
    pub fn objects(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub async fn account(&self, name: &str) -> AccountId {
        self.directory.account_by_address(&address(name)).await.unwrap().id
    }

    /// Puts messages into a mailbox behind the server's back.
    pub async fn put(&self, name: &str, mailbox: &str, messages: &[&str]) {
        let account = self.account(name).await;
        self.mailstore.mailboxes(account).await.unwrap();
        let mailbox = MailboxName::new(mailbox).unwrap();
        let mailbox = self.mailstore.mailbox(account, &mailbox).await.unwrap().unwrap();
        let new = |message: &&str| NewMessage {
            message: message.as_bytes().to_vec().into(),
            flags: Flags::NONE,
            keywords: Keywords::default(),
            received: None,
        };
        let messages = messages.iter().map(new).collect();
        self.mailstore.append(account, mailbox.id, messages, None).await.unwrap();
    }

    /// Connects without a word.
    pub fn open(&self) -> Client {
        // Small, so that a server that writes without waiting for its client is caught.
        let (ours, theirs) = tokio::io::duplex(4096);
        tokio::spawn(Arc::clone(&self.server).handle(connection(theirs)));
        Client::over(ours)
    }

    /// Connects and reads the greeting.
    pub async fn connect(&self) -> Client {
        let mut client = self.open();
        let greeting = client.response().await;
        assert!(greeting.starts_with("* OK [CAPABILITY IMAP4rev2 IMAP4rev1 "), "{greeting}");
        client
    }

    /// Connects and logs in.
    pub async fn login(&self, name: &str) -> Client {
        let mut client = self.connect().await;
        client.ok(&format!("LOGIN {name}@example.test {PASSWORD:?}")).await;
        client
    }

    /// Connects, logs in and selects the INBOX.
    pub async fn select(&self, name: &str) -> Client {
        let mut client = self.login(name).await;
        client.ok("SELECT INBOX").await;
        client
    }
}

/// A connection from somewhere.
pub fn connection(stream: DuplexStream) -> Connection {
    let peer: SocketAddr = "203.0.113.9:40000".parse().unwrap();
    let local: SocketAddr = "192.0.2.1:143".parse().unwrap();
    Connection::over(stream, peer, local, Arc::new(ListenerConfig::new(Protocol::Imap, local)))
}

pub fn address(name: &str) -> EmailAddress {
    EmailAddress::parse(&format!("{name}@example.test")).unwrap()
}

/// A small message.
pub fn message(text: &str) -> String {
    format!(
        "From: Ann <ann@example.test>\r\nSubject: {text}\r\nDate: Thu, 1 Jan 2026 10:00:00 +0000\r\n\r\n{text}\r\n"
    )
}

/// A client that keeps to the grammar, unless told otherwise.
pub struct Client<S = DuplexStream> {
    pub stream: S,
    buffer: Vec<u8>,
    tags: u32,
}

/// What came back for a command.
#[derive(Debug)]
pub struct Answer {
    /// Untagged responses, without `* `, literals in place.
    pub untagged: Vec<String>,
    /// The tagged response without its tag.
    pub tagged: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// A client over a connection that is there already.
    pub fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), tags: 0 }
    }

    pub async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).await.unwrap();
    }

    async fn fill(&mut self) -> bool {
        let mut octets = [0; 4096];
        let read = self.stream.read(&mut octets);
        let length =
            tokio::time::timeout(PATIENCE, read).await.expect("the server says nothing").unwrap_or(0);
        self.buffer.extend_from_slice(&octets[..length]);
        length > 0
    }

    /// One response, with its literals and without its last line end; empty at the end of the connection.
    pub async fn response(&mut self) -> String {
        String::from_utf8_lossy(&self.raw_response().await).into_owned()
    }

    async fn raw_response(&mut self) -> Vec<u8> {
        let mut taken = 0;
        loop {
            while !self.buffer[taken..].windows(2).any(|pair| pair == b"\r\n") {
                if !self.fill().await {
                    return std::mem::take(&mut self.buffer);
                }
            }
            let end = self.buffer[taken..].windows(2).position(|pair| pair == b"\r\n").unwrap();
            let line = &self.buffer[taken..taken + end];
            let literal = line.strip_suffix(b"}").and_then(|line| {
                let open = line.iter().rposition(|&b| b == b'{')?;
                std::str::from_utf8(&line[open + 1..]).ok()?.parse::<usize>().ok()
            });
            taken += end + 2;
            let Some(size) = literal else { break };
            taken += size;
            while self.buffer.len() < taken {
                assert!(self.fill().await, "the connection ends inside a literal");
            }
        }
        let rest = self.buffer.split_off(taken);
        let mut response = std::mem::replace(&mut self.buffer, rest);
        response.truncate(taken - 2);
        response
    }

    /// Sends a command and reads everything up to its tagged response.
    pub async fn command(&mut self, command: &str) -> Answer {
        let tag = self.begin(command).await;
        self.finish(&tag).await
    }

    /// Sends a command and returns its tag.
    pub async fn begin(&mut self, command: &str) -> String {
        self.tags += 1;
        let tag = format!("a{}", self.tags);
        self.send(format!("{tag} {command}\r\n")).await;
        tag
    }

    /// Reads up to the tagged response.
    pub async fn finish(&mut self, tag: &str) -> Answer {
        let mut untagged = Vec::new();
        loop {
            let response = self.response().await;
            if let Some(rest) = response.strip_prefix("* ") {
                untagged.push(rest.to_owned());
            } else if let Some(tagged) = response.strip_prefix(&format!("{tag} ")) {
                return Answer { untagged, tagged: tagged.to_owned() };
            } else {
                panic!("{response:?} after {untagged:?}, waiting for {tag}");
            }
        }
    }

    /// A command that succeeds; its untagged responses.
    pub async fn ok(&mut self, command: &str) -> Vec<String> {
        let answer = self.command(command).await;
        assert!(answer.tagged.starts_with("OK "), "{command}: {answer:?}");
        answer.untagged
    }

    /// A command that fails with this tagged response, or one that begins so.
    pub async fn fails(&mut self, command: &str, expected: &str) -> Vec<String> {
        let answer = self.command(command).await;
        assert!(answer.tagged.starts_with(expected), "{command}: {answer:?} is not {expected}");
        answer.untagged
    }

    /// A command with exactly these untagged responses, and a tagged response that begins so.
    pub async fn dialogue(&mut self, command: &str, untagged: &[&str], tagged: &str) {
        let answer = self.command(command).await;
        assert_eq!(answer.untagged, untagged, "{command}: {}", answer.tagged);
        assert!(answer.tagged.starts_with(tagged), "{command}: {answer:?} is not {tagged}");
    }

    /// The server closes the connection, after this last response.
    pub async fn ends_with(&mut self, expected: &str) {
        let last = self.response().await;
        assert!(last.starts_with(expected), "{last:?} is not {expected}");
        assert_eq!(self.response().await, "", "the connection is closed");
    }

    /// The other end goes away.
    pub async fn closed(&mut self) {
        assert_eq!(self.response().await, "");
    }
}
