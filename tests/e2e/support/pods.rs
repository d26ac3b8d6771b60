//! Several services over one store in memory (or on FoundationDB, where the tests run on a cluster): what processes of a cluster see of one another.
//!
//! Each has a runtime of its own, so that ending that ends the service in the middle of whatever it does, as `kill -9` would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
#[cfg(feature = "foundationdb")]
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ekitei::cli::service::Service;
use ekitei_api::Client;
use ekitei_config::{Config, Protocol};
use ekitei_kv::Database;
use ekitei_telemetry::{LogControl, LogFormat, init_logs};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::{Imap, Smtp, password};

const TOKEN: &str = "token-of-the-tests";
/// A short lease, so that death is noticed soon.
pub const LEASE: Duration = Duration::from_secs(3);

/// The store and the bodies that all of them share.
pub struct Cluster {
    database: Database,
    dir: TempDir,
}

/// One service.
pub struct Pod {
    runtime: Option<Runtime>,
    addresses: Vec<(Protocol, SocketAddr)>,
}

/// An empty store: in memory, or where the tests run on a cluster, a place of its own there.
fn database() -> Database {
    #[cfg(feature = "foundationdb")]
    if let Ok(file) = std::env::var("EKITEI_TEST_CLUSTER_FILE") {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("pods-{}-{}/", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        return Database::open_foundationdb(file, prefix).unwrap();
    }
    Database::in_memory()
}

/// Logs begin once in a process.
fn logs() -> LogControl {
    static LOGS: OnceLock<LogControl> = OnceLock::new();
    LOGS.get_or_init(|| init_logs("warn", LogFormat::Text, None).unwrap()).clone()
}

impl Cluster {
    pub fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self { database: database(), dir: tempfile::tempdir().unwrap() }
    }

    /// Starts a service; `sections` are added to its configuration.
    pub fn start(&self, sections: &str) -> Pod {
        let dir = self.dir.path().display();
        let yaml = format!(
            "hostname: localhost\n\
             store: {{kind: foundationdb, clusterFile: /nowhere}}\n\
             blobs: {{path: {dir}/blobs}}\n\
             admin: {{token: {TOKEN}}}\n\
             signing: {{encryptionKey: '{key}'}}\n\
             queue: {{lease: {lease}s}}\n\
             cluster: {{interval: 500ms}}\n\
             dns: {{servers: ['127.0.0.1:9'], timeout: 10ms, attempts: 1}}\n\
             imap: {{allowInsecureAuth: true}}\n\
             pop3: {{allowInsecureAuth: true}}\n\
             directory: {{failedLoginDelay: 0s, passwordHashing: {{memory: 8KiB, iterations: 1}}}}\n\
             listeners:\n\
             \x20 - {{protocol: smtp, address: '127.0.0.1:0'}}\n\
             \x20 - {{protocol: submission, address: '127.0.0.1:0'}}\n\
             \x20 - {{protocol: imap, address: '127.0.0.1:0'}}\n\
             \x20 - {{protocol: pop3, address: '127.0.0.1:0'}}\n\
             \x20 - {{protocol: http, address: '127.0.0.1:0'}}\n\
             {sections}",
            key = "A".repeat(43) + "=",
            lease = LEASE.as_secs(),
        );
        let config = Config::parse(&yaml, &|_| None).unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let service = runtime.block_on(Service::build_over(config, self.database.clone())).unwrap();
        let addresses = service.addresses().unwrap();
        let logs = logs();
        runtime.spawn(async move { service.run(None, logs).await });
        Pod { runtime: Some(runtime), addresses }
    }
}

impl Pod {
    /// Where it listens for a protocol.
    pub fn address(&self, protocol: Protocol) -> SocketAddr {
        self.addresses.iter().find(|(listens, _)| *listens == protocol).unwrap().1
    }

    /// Ends it in the middle of whatever it does.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Asks its admin API.
    pub fn api<T>(&self, ask: impl AsyncFnOnce(Client) -> T) -> T {
        let server = format!("http://{}", self.address(Protocol::Http));
        let client = Client::new(&server, Some(TOKEN.to_owned())).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(ask(client))
    }

    /// Adds an account with the password that `support::password` gives it.
    pub fn add_account(&self, address: &str) {
        let new = ekitei_api::NewAccount {
            address: address.to_owned(),
            display_name: String::new(),
            password: Some(password(address)),
            password_hash: None,
            quota: None,
            enabled: true,
            forwarding: None,
        };
        self.api(async |client| client.create_account(&new).await.unwrap());
    }

    pub fn add_domain(&self, name: &str) {
        let new = ekitei_api::NewDomain { name: name.to_owned(), ..ekitei_api::NewDomain::default() };
        self.api(async |client| client.create_domain(&new).await.unwrap());
    }

    /// What `/metrics` says.
    pub fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.address(Protocol::Http)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn imap(&self, user: &str) -> Imap {
        Imap::login(self.address(Protocol::Imap), user, &password(user))
    }

    pub fn smtp(&self) -> Smtp {
        Smtp::hello(self.address(Protocol::Smtp)).unwrap()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.kill();
    }
}
