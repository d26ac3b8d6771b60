//! Scripted servers, and a client to judge.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use ekitei_config::{Config, Live};
use ekitei_filter::{Client, Disposition, Envelope, Login, Peer, Refusal, Scanners, TlsSession};
use ekitei_telemetry::Registry;
use tokio::net::{TcpListener, TcpStream};

/// A message with a folded field.
pub const MAIL: &[u8] =
    b"Subject: One\r\nX-Folded: a\r\n b\r\nX-Spam: No\r\nFrom: carol@elsewhere.test\r\n\r\nHello\r\n";

/// The message to scan.
pub fn mail() -> Bytes {
    Bytes::from_static(MAIL)
}

/// Scanners as `filter.scanners` with these lines has them.
pub fn scanners(yaml: &str) -> Scanners {
    scanners_and_registry(yaml).0
}

/// The same, with their metrics.
pub fn scanners_and_registry(yaml: &str) -> (Scanners, Registry) {
    let registry = Registry::default();
    let config = Config::parse(&format!("filter: {{scanners: {{{yaml}}}}}"), &|_| None).unwrap();
    (Scanners::new(Live::new(config), &registry), registry)
}

/// A client with all that can be known of one.
pub fn peer() -> Peer {
    Peer {
        client: Client {
            address: "192.0.2.7".parse().unwrap(),
            trusted: false,
            authenticated: false,
            tls: true,
        },
        port: 4711,
        name: Some("mail.elsewhere.test".to_owned()),
        hello: "helo.elsewhere.test".to_owned(),
        login: Some(Login { name: "carol".to_owned(), mechanism: "PLAIN".to_owned() }),
        tls: Some(TlsSession {
            version: "TLSv1.3".to_owned(),
            cipher: "TLS13_AES_256_GCM_SHA384".to_owned(),
        }),
        hostname: "mx.example.test".to_owned(),
    }
}

pub fn envelope() -> Envelope {
    Envelope {
        id: "t1".to_owned(),
        sender: "carol@elsewhere.test".to_owned(),
        recipients: vec!["alice@example.test".to_owned(), "bob@example.test".to_owned()],
    }
}

/// Serves every connection with a task of its own.
pub async fn serve<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    address
}

/// An address that nobody listens on.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// The refusal in a disposition.
#[track_caller]
pub fn refusal(disposition: &Disposition) -> &Refusal {
    match disposition {
        Disposition::Refuse(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// Fails the test if it takes longer than a test may.
pub async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it takes for ever")
}
