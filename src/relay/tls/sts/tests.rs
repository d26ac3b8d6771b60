//! Policies of a fetcher that counts, and of an HTTPS server with faults.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::net::SocketAddr;

use ekitei_dns::testing::{Behaviour, TestDns};
use futures_util::future::{BoxFuture, ready};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::policy::Mode;
use super::*;
use crate::tls::verify::provider;

/// Gives prepared answers, one after the other, then none.
#[derive(Default)]
struct Prepared {
    answers: std::sync::Mutex<VecDeque<Result<String, FetchError>>>,
    asked: std::sync::atomic::AtomicUsize,
}

impl Prepared {
    fn of(answers: impl IntoIterator<Item = Result<String, FetchError>>) -> Arc<Self> {
        Arc::new(Self { answers: std::sync::Mutex::new(answers.into_iter().collect()), ..Default::default() })
    }

    fn asked(&self) -> usize {
        self.asked.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Fetch for Prepared {
    fn fetch<'a>(&'a self, _domain: &'a str) -> BoxFuture<'a, Result<String, FetchError>> {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let answer = self.answers.lock().unwrap().pop_front();
        Box::pin(ready(answer.unwrap_or_else(|| Err(FetchError::Fetch("nothing prepared".to_owned())))))
    }
}

/// Remembers in a map.
#[derive(Default)]
struct Remembering(std::sync::Mutex<std::collections::HashMap<String, StoredPolicy>>);

impl PolicyStore for Remembering {
    fn load<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Option<StoredPolicy>> {
        Box::pin(ready(self.0.lock().unwrap().get(domain).cloned()))
    }

    fn save<'a>(&'a self, domain: &'a str, policy: &'a StoredPolicy) -> BoxFuture<'a, ()> {
        self.0.lock().unwrap().insert(domain.to_owned(), policy.clone());
        Box::pin(ready(()))
    }
}

fn text(mode: &str, max_age: u64) -> String {
    format!("version: STSv1\nmode: {mode}\nmx: mx.example.org\nmax_age: {max_age}\n")
}

fn published(id: &str) -> String {
    format!("_mta-sts.example.org TXT \"v=STSv1; id={id};\"")
}

/// Wall time: now, or an hour later.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}
fn an_hour_later() -> SystemTime {
    now() + Duration::from_secs(3_600)
}

fn mode(found: &Found) -> Option<Mode> {
    found.policy.as_ref().map(|policy| policy.mode)
}

#[tokio::test]
async fn a_policy_is_fetched_once_for_each_id() {
    let dns = TestDns::start(&published("1"));
    let fetch = Prepared::of([Ok(text("testing", 600)), Ok(text("enforce", 600))]);
    let sts = Sts::new(dns.resolver(), fetch.clone(), Arc::new(InProcess), now);
    assert_eq!(mode(&sts.find("example.org").await), Some(Mode::Testing));
    assert_eq!(mode(&sts.find("example.org").await), Some(Mode::Testing));
    assert_eq!(fetch.asked(), 1);
    dns.set(&published("2"));
    assert_eq!(mode(&sts.find("example.org").await), Some(Mode::Enforce));
    assert_eq!(fetch.asked(), 2);
    assert_eq!(mode(&sts.find("other.example").await), None);
    assert_eq!(fetch.asked(), 2, "no record, no fetch");
}

#[tokio::test]
async fn many_messages_at_once_fetch_once() {
    let dns = TestDns::start(&published("1"));
    let fetch = Prepared::of([Ok(text("enforce", 600))]);
    let sts = Sts::new(dns.resolver(), fetch.clone(), Arc::new(InProcess), now);
    let all = futures_util::future::join_all((0..50).map(|_| sts.find("example.org"))).await;
    assert!(all.iter().all(|found| mode(found) == Some(Mode::Enforce)));
    assert_eq!(fetch.asked(), 1);
}

#[tokio::test]
async fn who_takes_record_or_server_away_does_not_take_the_policy_away() {
    let dns = TestDns::start(&published("1"));
    let store = Arc::new(Remembering::default());
    let fetch = Prepared::of([Ok(text("enforce", 600))]);
    let sts = Sts::new(dns.resolver(), fetch.clone(), store.clone(), now);
    sts.find("example.org").await;
    dns.set(&published("2"));
    let found = sts.find("example.org").await;
    assert_eq!(mode(&found), Some(Mode::Enforce));
    assert!(found.trouble.is_some());
    dns.set("");
    assert_eq!(mode(&sts.find("example.org").await), Some(Mode::Enforce));
    dns.behave("_mta-sts.example.org", Behaviour::ServFail);
    assert_eq!(mode(&sts.find("example.org").await), Some(Mode::Enforce));
    let restarted = Sts::new(dns.resolver(), fetch.clone(), store.clone(), now);
    assert_eq!(mode(&restarted.find("example.org").await), Some(Mode::Enforce));
    let later = Sts::new(dns.resolver(), fetch, store, an_hour_later);
    assert_eq!(mode(&later.find("example.org").await), None, "until it expires");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_is_left_alone_for_a_while() {
    let sts = Sts::new(
        Resolver::new(&ekitei_config::Dns::default()).unwrap(),
        Prepared::of([Err(FetchError::Fetch("down".to_owned())), Ok(text("enforce", 600))]),
        Arc::new(InProcess),
        now,
    );
    assert!(sts.renew("example.org", "1".to_owned()).await.is_err());
    assert!(sts.renew("example.org", "1".to_owned()).await.is_err());
    tokio::time::advance(PAUSE + Duration::from_secs(1)).await;
    assert!(sts.renew("example.org", "1".to_owned()).await.is_ok());
}

#[tokio::test]
async fn policies_are_fetched_anew_before_they_expire() {
    let dns = TestDns::start(&published("1"));
    let store = Arc::new(Remembering::default());
    let fetch = Prepared::of([Ok(text("enforce", 6_000)), Ok(text("testing", 6_000))]);
    Sts::new(dns.resolver(), fetch.clone(), store.clone(), now).find("example.org").await;
    let later = Sts::new(dns.resolver(), fetch.clone(), store, an_hour_later);
    assert_eq!(mode(&later.find("example.org").await), Some(Mode::Enforce), "it is still valid");
    later.refresh().await;
    assert_eq!(mode(&later.find("example.org").await), Some(Mode::Testing));
    later.refresh().await;
    assert_eq!(fetch.asked(), 2, "what is fresh is left alone");
}

/// An HTTPS server on the loopback for one name that gives one answer to everybody.
async fn serve(name: &str, answer: Vec<u8>) -> (SocketAddr, Arc<RootCertStore>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap_or_default();
                assert!(request[..length].starts_with(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\n"));
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (address, Arc::new(roots))
}

fn http(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

async fn fetched(name: &str, answer: Vec<u8>) -> Result<String, FetchError> {
    let (address, roots) = serve(name, answer).await;
    let dns = TestDns::start("mta-sts.example.org A 127.0.0.1");
    let https = Https::new(roots, dns.resolver(), Vec::new(), Duration::from_secs(2), address.port());
    https.fetch("example.org").await
}

#[tokio::test]
async fn a_policy_comes_over_https_as_plain_text() {
    let answer = http("200 OK\r\nContent-Type: text/plain; charset=utf-8", &text("enforce", 600));
    assert_eq!(fetched("mta-sts.example.org", answer).await.unwrap(), text("enforce", 600));
}

#[tokio::test]
async fn what_the_rfc_forbids_is_not_followed() {
    let policy = text("enforce", 600);
    for (what, answer) in [
        (
            "a redirect",
            http(
                "301 Moved\r\nLocation: https://mta-sts.example.org/elsewhere\r\nContent-Type: text/plain",
                &policy,
            ),
        ),
        ("another type", http("200 OK\r\nContent-Type: text/html", &policy)),
        ("no type", http("200 OK", &policy)),
        ("not found", http("404 Not Found\r\nContent-Type: text/plain", &policy)),
        ("too long", http("200 OK\r\nContent-Type: text/plain", &"x".repeat(LARGEST_AND_ONE))),
        ("no HTTP", b"220 mail.example.org ESMTP\r\n".to_vec()),
        (
            "no end",
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nversion".to_vec(),
        ),
    ] {
        let outcome = fetched("mta-sts.example.org", answer).await;
        assert!(matches!(outcome, Err(FetchError::Fetch(_))), "{what}: {outcome:?}");
    }
}

const LARGEST_AND_ONE: usize = 64 * 1024 + 1;

#[tokio::test]
async fn the_certificate_must_be_for_the_name() {
    let answer = http("200 OK\r\nContent-Type: text/plain", &text("enforce", 600));
    let outcome = fetched("example.org", answer).await;
    assert!(matches!(outcome, Err(FetchError::Certificate(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dns = TestDns::start("mta-sts.example.org A 127.0.0.1");
    let https = Https::new(
        Arc::new(RootCertStore::empty()),
        dns.resolver(),
        Vec::new(),
        Duration::from_millis(200),
        port,
    );
    assert!(matches!(https.fetch("example.org").await, Err(FetchError::Fetch(_))));
}

#[tokio::test]
async fn a_policy_is_not_fetched_from_this_machine() {
    let answer = http("200 OK\r\nContent-Type: text/plain", &text("enforce", 600));
    let (address, roots) = serve("mta-sts.example.org", answer).await;
    let dns = TestDns::start("mta-sts.example.org A 127.0.0.1");
    let ignored = ekitei_config::Relay::default().ignore_addresses;
    let https = Https::new(roots, dns.resolver(), ignored, Duration::from_secs(2), address.port());
    assert!(matches!(https.fetch("example.org").await, Err(FetchError::Fetch(_))));
}
