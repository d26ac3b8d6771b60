//! A running service: the real binary with a data directory of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{ALICE, BOB, DOMAIN, Imap, Program, Smtp, password, wait_until};

/// The binary that is tested.
const EKITEI: &str = env!("CARGO_BIN_EXE_ekitei");
/// How long a start may take, recovery included.
const START: Duration = Duration::from_secs(60);
/// How many lines of the log a failing test shows.
const LOG_TAIL: usize = 60;
const TOKEN: &str = "token-of-the-tests";
/// The name in the certificate and in the greeting.
pub const HOST: &str = "localhost";

/// The stores of a cluster, in which each service of the tests has a place of its own: `make test-cluster` says where they are.
struct Cluster {
    /// FoundationDB's cluster file.
    file: String,
    /// The address of an S3 server with the bucket `ekitei`, and an identity of that name; without it, bodies are in a directory.
    s3: Option<String>,
    /// Different for each service.
    place: String,
}

impl Cluster {
    /// A new place, if the tests run on a cluster.
    fn from_environment() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let file = std::env::var("EKITEI_TEST_CLUSTER_FILE").ok()?;
        let s3 = std::env::var("EKITEI_TEST_S3").ok();
        let place = format!("e2e-{}-{}/", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Some(Self { file, s3, place })
    }

    fn store(&self) -> String {
        format!("store: {{kind: foundationdb, clusterFile: '{}', prefix: '{}'}}\n", self.file, self.place)
    }

    fn blobs(&self) -> Option<String> {
        let (s3, place) = (self.s3.as_ref()?, &self.place);
        Some(format!(
            "  kind: s3\n  endpoint: {s3}\n  bucket: ekitei\n  region: us-east-1\n  pathStyle: true\n  prefix: {place}\n  \
             credentials: {{accessKeyId: ekitei, secretAccessKey: ekitei-secret}}\n"
        ))
    }
}

/// The S3 server of the cluster that the tests run on, if they do; it has the bucket `ekitei-backup` beside that of the bodies.
pub fn s3() -> Option<String> {
    Cluster::from_environment()?.s3
}

/// Whether the services of the tests have the embedded store, with files of its own.
pub fn is_embedded() -> bool {
    std::env::var_os("EKITEI_TEST_CLUSTER_FILE").is_none()
}

/// The ports of one service, all on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub smtp: u16,
    pub submission: u16,
    pub submissions: u16,
    pub lmtp: u16,
    pub imap: u16,
    pub imaps: u16,
    pub pop3: u16,
    pub pop3s: u16,
    pub http: u16,
    /// An SMTP listener behind a load balancer that speaks the PROXY protocol from 192.0.2.0/24 only.
    pub proxied: u16,
}

/// A service that runs until it is dropped.
pub struct Server {
    /// Where it listens.
    pub ports: Ports,
    dir: TempDir,
    child: Option<Child>,
}

/// The configuration of a service to start: sections of lines `key: value`.
pub struct Builder {
    sections: BTreeMap<&'static str, Vec<String>>,
    /// `store` and the lines of `blobs`, if they are not the tests' own.
    stores: Option<(String, String)>,
}

impl Builder {
    /// Sets a key of a section, in place of the default and of what the tests set.
    pub fn set(mut self, section: &'static str, key: &str, value: &str) -> Self {
        let lines = self.sections.entry(section).or_default();
        lines.retain(|line| !line.starts_with(&format!("{key}:")));
        lines.push(format!("{key}: {value}"));
        self
    }

    /// Puts it over these stores: the value of `store`, and the directory of bodies.
    pub fn over(mut self, store: &str, bodies: &Path) -> Self {
        self.stores = Some((format!("store: {store}\n"), format!("  path: {}\n", bodies.display())));
        self
    }

    /// Starts it, with the domain of the tests and the accounts of Alice and Bob.
    pub fn start(self) -> Server {
        self.start_with(Path::new(EKITEI))
    }

    /// The same, with another binary until the next [`Server::launch`].
    pub fn start_with(self, binary: &Path) -> Server {
        let mut server = self.prepare();
        server.launch_with(binary);
        server.create("domains", &serde_json::json!({ "name": DOMAIN }));
        for address in [ALICE, BOB] {
            server.add_account(address);
        }
        server
    }

    /// Starts it without any account.
    pub fn start_empty(self) -> Server {
        self.start_on(|_| {})
    }

    /// Starts it on a data directory that `fill` has filled.
    pub fn start_on(self, fill: impl FnOnce(&Path)) -> Server {
        let mut server = self.prepare();
        fill(server.home());
        server.launch();
        server
    }

    fn prepare(self) -> Server {
        let dir = tempfile::Builder::new().prefix("ekitei-e2e-").tempdir().unwrap();
        let ports = free_ports();
        write_certificate(dir.path());
        fs::write(dir.path().join("ekitei.yaml"), self.yaml(dir.path(), ports)).unwrap();
        Server { ports, dir, child: None }
    }

    fn yaml(&self, dir: &Path, ports: Ports) -> String {
        let dir = dir.display();
        let cluster = Cluster::from_environment();
        let directory = || format!("  path: {dir}/blobs\n");
        let (store, blobs) = match (&self.stores, &cluster) {
            (Some(stores), _) => stores.clone(),
            (None, Some(cluster)) => (cluster.store(), cluster.blobs().unwrap_or_else(directory)),
            (None, None) => (format!("store: {{kind: embedded, path: {dir}/store}}\n"), directory()),
        };
        let mut yaml = format!(
            "hostname: {HOST}\n\
             {store}\
             tls: {{certificates: [{{certificate: {dir}/cert.pem, key: {dir}/key.pem}}]}}\n\
             admin: {{token: {TOKEN}}}\n\
             listeners:\n"
        );
        for (protocol, port) in [
            ("smtp", ports.smtp),
            ("submission", ports.submission),
            ("submissions", ports.submissions),
            ("lmtp", ports.lmtp),
            ("imap", ports.imap),
            ("imaps", ports.imaps),
            ("pop3", ports.pop3),
            ("pop3s", ports.pop3s),
            ("http", ports.http),
        ] {
            writeln!(yaml, "  - {{protocol: {protocol}, address: '127.0.0.1:{port}'}}").unwrap();
        }
        writeln!(
            yaml,
            "  - {{name: proxied, protocol: smtp, address: '127.0.0.1:{}', \
             proxyProtocol: {{trustedNetworks: [192.0.2.0/24]}}}}",
            ports.proxied
        )
        .unwrap();
        write!(yaml, "blobs:\n{blobs}").unwrap();
        for (section, lines) in &self.sections {
            let indent = if *section == "blobs" { "" } else { &format!("{section}:\n") };
            write!(yaml, "{indent}").unwrap();
            for line in lines {
                writeln!(yaml, "  {line}").unwrap();
            }
        }
        yaml
    }
}

impl Server {
    /// A service with the limits per address off, since every client here has one address, and with logins
    /// allowed without TLS on IMAP for the small client of the tests.
    pub fn builder() -> Builder {
        Builder { sections: BTreeMap::new(), stores: None }
            .set("smtp", "maxConnectionsPerAddress", "0")
            .set("smtp", "connectionsPerAddressPerMinute", "0")
            .set("smtp", "messagesPerAddressPerMinute", "0")
            .set("smtp", "tarpitDelay", "0s")
            .set(
                "smtp",
                "submission",
                "{messagesPerAccountPerMinute: 0, recipientsPerAccountPerDay: 0, allowInsecureAuth: true}",
            )
            // Nobody answers there, and at once.
            .set("dns", "servers", "['127.0.0.1:9']")
            .set("imap", "maxConnectionsPerAddress", "0")
            .set("imap", "connectionsPerAddressPerMinute", "0")
            .set("imap", "allowInsecureAuth", "true")
            .set("pop3", "connectionsPerAddressPerMinute", "0")
            // Where the store is a cluster, nobody makes one.
            .set("signing", "encryptionKey", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
    }

    /// Such a service, with the domain of the tests and the accounts of Alice and Bob.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Starts the process on the data directory as it is, and waits until it serves.
    pub fn launch(&mut self) {
        self.launch_with(Path::new(EKITEI));
    }

    fn launch_with(&mut self, binary: &Path) {
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let child = Command::new(binary)
            .args(["serve", "--config"])
            .arg(self.config_path())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + START;
        while self.http_status("/healthz/ready") != Some(200) {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("the service ended at its start: {status}");
            }
            assert!(Instant::now() < deadline, "not ready after {START:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The service as a program that is expected to end by itself.
    pub fn serve_with(&self, binary: &Path) -> Program {
        Program::new(&binary.to_string_lossy(), self.home()).args("serve --config").arg(self.config_path())
    }

    /// Ends the process in the middle of whatever it does: `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Takes both stores away from a service that does not run: it has empty ones at its next start.
    pub fn lose_stores(&self) {
        let yaml = fs::read_to_string(self.config_path()).unwrap();
        if let Some((_, place)) = yaml.split_once(", prefix: '") {
            let (place, _) = place.split_once("/'").unwrap();
            let elsewhere = yaml.replace(&format!("{place}/"), &format!("{place}-anew/"));
            fs::write(self.config_path(), elsewhere).unwrap();
        }
        for lost in ["store", "blobs"].map(|lost| self.home().join(lost)) {
            if lost.exists() {
                fs::remove_dir_all(lost).unwrap();
            }
        }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for the process to end by itself, and gives its exit code.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let mut code = None;
        wait_until("the service to end", limit, || match child.try_wait().unwrap() {
            Some(status) => {
                code = status.code();
                true
            }
            None => false,
        });
        code
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The command line with these arguments, told where the service is.
    pub fn command(&self, args: &str) -> Program {
        Program::new(EKITEI, self.home())
            .args(args)
            .env("EKITEI_SERVER", format!("http://127.0.0.1:{}", self.ports.http))
            .env("EKITEI_TOKEN", TOKEN)
    }

    /// Adds an account with the password that `support::password` gives it.
    pub fn add_account(&self, address: &str) {
        self.create("accounts", &serde_json::json!({ "address": address, "password": password(address) }));
    }

    /// Creates an object through the admin API.
    pub fn create(&self, collection: &str, object: &serde_json::Value) {
        let answer = self.http("POST", &format!("/api/v1/{collection}"), &object.to_string()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    }

    /// A directory for the programs of one test, which is their home.
    pub fn home(&self) -> &Path {
        self.dir.path()
    }

    /// The service's own certificate, which is what clients have to trust.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// The address of one of its ports.
    pub fn address(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// A connection to the port for mail from other hosts, after EHLO.
    pub fn smtp(&self) -> Smtp {
        Smtp::hello(Self::address(self.ports.smtp)).unwrap()
    }

    /// A connection to the submission port, logged in without TLS.
    pub fn submission(&self, user: &str) -> Smtp {
        let mut smtp = Smtp::hello(Self::address(self.ports.submission)).unwrap();
        smtp.authenticate(user);
        smtp
    }

    /// Delivers one message from a stranger and makes sure that it was accepted.
    #[track_caller]
    pub fn deliver(&self, to: &[&str], message: &[u8]) {
        let reply = self.smtp().deliver(super::STRANGER, to, message).unwrap();
        assert_eq!(reply.code, 250, "{reply:?}");
    }

    /// A logged-in IMAP connection.
    pub fn imap(&self, user: &str) -> Imap {
        Imap::login(Self::address(self.ports.imap), user, &password(user))
    }

    /// The bodies in INBOX.
    pub fn inbox(&self, user: &str) -> Vec<Vec<u8>> {
        let mut imap = self.imap(user);
        imap.select("INBOX");
        imap.bodies().into_iter().map(|(_, body)| body).collect()
    }

    /// The whole answer to a request to the HTTP port.
    pub fn http(&self, method: &str, path: &str, body: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(Self::address(self.ports.http))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn http_status(&self, path: &str) -> Option<u16> {
        self.http("GET", path, "").ok()?.split_whitespace().nth(1)?.parse().ok()
    }

    fn config_path(&self) -> PathBuf {
        self.dir.path().join("ekitei.yaml")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("ekitei.log")
    }

    /// All that the service logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself, which the test will have noticed.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "The end of the service's log:\n{}",
                lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
            );
        }
    }
}

/// Ports below the range that the kernel gives to outgoing connections, so that no client takes one between
/// this look and the service's start.
fn free_ports() -> Ports {
    let next = free_port;
    Ports {
        smtp: next(),
        submission: next(),
        submissions: next(),
        lmtp: next(),
        imap: next(),
        imaps: next(),
        pop3: next(),
        pop3s: next(),
        http: next(),
        proxied: next(),
    }
}

/// A port of 127.0.0.1 that nobody listens on, and that was not given before.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let mut free = std::iter::repeat_with(|| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = u16::try_from(std::process::id() % 10_000).unwrap();
        20_000 + (start + step) % 12_000
    })
    .filter(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    free.next().unwrap()
}

/// A self-signed certificate for `HOST`.
fn write_certificate(dir: &Path) {
    let certified =
        rcgen::generate_simple_self_signed(vec![HOST.to_owned(), "127.0.0.1".to_owned()]).unwrap();
    fs::write(dir.join("cert.pem"), certified.cert.pem()).unwrap();
    fs::write(dir.join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
}
