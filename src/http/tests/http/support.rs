//! A service with nothing but HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use ekitei_api::{Client, NewDomain};
use ekitei_blob::{Blobs, DirectoryStore};
use ekitei_config::{Config, ListenerConfig, Live, Protocol, Secret};
use ekitei_directory::{Argon2Cost, Directory, Settings};
use ekitei_http::{Parts, Server};
use ekitei_kv::Database;
use ekitei_kv::clock::SystemClock;
use ekitei_mailstore::MailStore;
use ekitei_net::{Listener, Net, Shutdown, Tls};
use ekitei_telemetry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

pub const TOKEN: &str = "the token of this test";

/// A service with nothing but HTTP.
pub struct Service {
    router: axum::Router,
    pub address: SocketAddr,
    pub shutdown: Shutdown,
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
        let objects = DirectoryStore::open(bodies.path()).unwrap();
        let blobs = Blobs::new(database.clone(), objects, ekitei_blob::Settings::default(), clock.clone());
        let cheap =
            Settings { argon2: Argon2Cost { memory_kib: 8, passes: 1, lanes: 1 }, ..Settings::default() };
        let directory = Directory::new(database.clone(), cheap, clock.clone());
        let mailstore = MailStore::new(database, blobs, ekitei_mailstore::Settings::default(), clock);
        let net = Net::new(live.clone(), tls.clone(), shutdown.clone(), &registry);
        let sampled = registry.gauge("sampled", "Times that figures were brought up to date.");
        let sample = Arc::new(move || sampled.inc());
        let parts = Parts { directory, mailstore, live, tls, shutdown: shutdown.clone(), registry, sample };
        let listener = ListenerConfig::new(Protocol::Http, "127.0.0.1:0".parse().unwrap());
        let listener = Listener::bind(listener, &net).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(Server::new(parts));
        let router = server.router();
        tokio::spawn(listener.serve(server));
        Self { router, address, shutdown, _bodies: bodies }
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
