//! TLS over in-memory streams: STARTTLS, choice of certificate, reload.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::common::{Files, certificate, client_tls, client_tls_that_trusts_anything};
use ekitei_config::{Config, ListenerConfig, Live, Protocol, TlsConfig, TlsVersion};
use ekitei_net::{Certificate, CertificateError, Connection, Shutdown, Tls, TlsError};
use ekitei_telemetry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

fn tls_config(files: &[&Files]) -> TlsConfig {
    TlsConfig { certificates: files.iter().map(|files| files.pair()).collect(), ..TlsConfig::default() }
}

fn tls(files: &[&Files]) -> Tls {
    Tls::new(&tls_config(files), Duration::from_secs(5)).unwrap()
}

/// A connection in memory, and the client's end of it.
fn connection() -> (Connection, DuplexStream) {
    let (server, client) = tokio::io::duplex(64 * 1024);
    let listener = Arc::new(ListenerConfig::new(Protocol::Smtp, "127.0.0.1:25".parse().unwrap()));
    let peer = "192.0.2.1:5000".parse().unwrap();
    (Connection::over(server, peer, listener.address, listener), client)
}

/// Whether a client that trusts only `trusted` and asks for `host` gets through.
async fn reaches(tls: &Tls, trusted: &Files, host: &'static str) -> bool {
    let (connection, client) = connection();
    let server = connection.start_tls(tls, &[]);
    let client_tls = client_tls(trusted);
    let client = client_tls.connect(host.try_into().unwrap(), client);
    let (_, client) = tokio::join!(server, client);
    client.is_ok()
}

#[tokio::test]
async fn starttls_turns_the_same_connection_into_tls() {
    let files = certificate(&["mx.example.test"]);
    let (connection, client) = connection();
    let tls = tls(&[&files]);
    let connector = client_tls(&files);
    let client = connector.connect("mx.example.test".try_into().unwrap(), client);
    let (server, client) = tokio::join!(connection.start_tls(&tls, &[]), client);
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    let info = server.tls.clone().unwrap();
    assert_eq!((info.version, info.sni.as_deref()), ("TLSv1.3", Some("mx.example.test")));
    assert!(server.stream.is_tls());
    server.stream.write_all(b"secret").await.unwrap();
    server.stream.flush().await.unwrap();
    let mut bytes = [0; 6];
    client.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"secret");
    assert!(matches!(server.start_tls(&tls, &[]).await, Err(TlsError::AlreadyActive)));
}

#[tokio::test]
async fn plaintext_before_the_handshake_is_refused() {
    let files = certificate(&["mx.example.test"]);
    let (connection, _client) = connection();
    let result = connection.start_tls(&tls(&[&files]), b"MAIL FROM:<attacker@example.test>\r\n").await;
    assert!(matches!(result, Err(TlsError::PlaintextBuffered)));
}

#[tokio::test]
async fn without_a_certificate_tls_is_not_there() {
    let (connection, _client) = connection();
    let tls = Tls::none();
    assert!(!tls.is_available());
    assert!(matches!(connection.start_tls(&tls, &[]).await, Err(TlsError::NoCertificate)));
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_the_client_asks_for() {
    let first = certificate(&["first.test"]);
    let second = certificate(&["second.test", "*.wild.test"]);
    let tls = tls(&[&first, &second]);
    assert!(reaches(&tls, &first, "first.test").await);
    assert!(reaches(&tls, &second, "second.test").await);
    assert!(reaches(&tls, &second, "SECOND.test").await);
    assert!(reaches(&tls, &second, "any.wild.test").await);
    assert!(!reaches(&tls, &second, "first.test").await, "each name has its own certificate");
    assert!(!reaches(&tls, &second, "unknown.test").await, "an unknown name gets the first");
}

/// A certificate as the store gives it.
fn stored(name: &str, files: &Files) -> (String, Arc<Certificate>) {
    let key = std::fs::read(files.pair().key).unwrap();
    (name.to_owned(), Arc::new(Certificate::from_pem(files.pem.as_bytes(), &key).unwrap()))
}

/// A certificate that was valid for these days of 2026 and later.
fn valid(host: &str, from: u8, until: u8) -> Files {
    let mut files = certificate(&[host]);
    let mut parameters = rcgen::CertificateParams::new([host.to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2000 + i32::from(from), 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2000 + i32::from(until), 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    files.pem = parameters.self_signed(&key).unwrap().pem();
    std::fs::write(files.pair().key, key.serialize_pem()).unwrap();
    std::fs::write(files.pair().certificate, &files.pem).unwrap();
    files
}

/// Which of these a client gets that asks for `host`.
async fn answering(tls: &Tls, host: &'static str) -> Vec<u8> {
    let (connection, client) = connection();
    let any = client_tls_that_trusts_anything();
    let client = any.connect(host.try_into().unwrap(), client);
    let (server, client) = tokio::join!(connection.start_tls(tls, &[]), client);
    server.unwrap();
    client.unwrap().get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn der(files: &Files) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    CertificateDer::from_pem_slice(files.pem.as_bytes()).unwrap().to_vec()
}

#[tokio::test]
async fn a_stored_certificate_goes_before_a_file_and_makes_tls_available() {
    let (file, new, other) = (certificate(&["a.test"]), certificate(&["a.test"]), certificate(&["b.test"]));
    let tls = tls(&[]);
    assert!(!tls.is_available());
    tls.set_stored(vec![stored("b", &other), stored("a", &new)]).unwrap();
    assert!(tls.is_available());
    assert_eq!(answering(&tls, "a.test").await, der(&new));
    assert_eq!(answering(&tls, "unknown.test").await, der(&other), "the first stored one is the default");

    tls.reload(&tls_config(&[&file])).unwrap();
    assert_eq!(answering(&tls, "a.test").await, der(&new), "before the file");
    assert_eq!(answering(&tls, "b.test").await, der(&other));
    assert_eq!(answering(&tls, "unknown.test").await, der(&file), "a file is the default");
    let sources: Vec<String> = tls.certificates().iter().map(|status| status.source.to_string()).collect();
    assert_eq!(sources, [&file.pair().certificate.display().to_string(), "b", "a"]);

    tls.set_stored(Vec::new()).unwrap();
    assert_eq!(answering(&tls, "a.test").await, der(&file));
    tls.reload(&tls_config(&[])).unwrap();
    assert!(!tls.is_available());
}

#[tokio::test]
async fn of_several_for_a_name_the_latest_that_is_valid_is_used() {
    let (expired, valid_now) = (valid("a.test", 20, 21), valid("a.test", 19, 90));
    let (renewed, not_yet) = (valid("a.test", 21, 90), valid("a.test", 80, 90));
    let tls = tls(&[&valid_now]);
    tls.set_stored(vec![stored("a", &expired)]).unwrap();
    assert_eq!(answering(&tls, "a.test").await, der(&valid_now), "though it is a file");
    tls.set_stored(vec![stored("a", &expired), stored("renewed", &renewed), stored("next", &not_yet)])
        .unwrap();
    assert_eq!(answering(&tls, "a.test").await, der(&renewed));
    let only_expired = Tls::none();
    only_expired.set_stored(vec![stored("a", &expired)]).unwrap();
    assert_eq!(answering(&only_expired, "a.test").await, der(&expired), "better than none");
}

#[tokio::test]
async fn connections_go_on_when_certificates_are_replaced() {
    let (first, second) = (certificate(&["a.test"]), certificate(&["a.test"]));
    let tls = Tls::none();
    tls.set_stored(vec![stored("a", &first)]).unwrap();
    let (connection, client) = connection();
    let connector = client_tls(&first);
    let client = connector.connect("a.test".try_into().unwrap(), client);
    let (server, client) = tokio::join!(connection.start_tls(&tls, &[]), client);
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    tls.set_stored(vec![stored("a", &second)]).unwrap();
    assert!(reaches(&tls, &second, "a.test").await);
    server.stream.write_all(b"still here").await.unwrap();
    server.stream.flush().await.unwrap();
    let mut bytes = [0; 10];
    client.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"still here");
}

#[test]
fn a_chain_and_a_key_that_do_not_belong_together_are_refused() {
    let (files, other) = (certificate(&["a.test"]), certificate(&["a.test"]));
    let key = |files: &Files| std::fs::read(files.pair().key).unwrap();
    let refused = |chain: &[u8], key: &[u8]| Certificate::from_pem(chain, key).unwrap_err();
    assert!(matches!(refused(files.pem.as_bytes(), &key(&other)), CertificateError::Mismatch(_)));
    assert!(matches!(refused(files.pem.as_bytes(), b"no key"), CertificateError::Key(_)));
    assert!(matches!(refused(b"no chain", &key(&files)), CertificateError::Chain(_)));
    let broken = format!("{}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", files.pem);
    let error = refused(broken.as_bytes(), &key(&files)).to_string();
    assert!(error.starts_with("the certificate 2 of the chain"), "{error}");
}

#[tokio::test]
async fn when_stored_certificates_end_is_shown_until_they_are_gone() {
    let files = valid("a.test", 20, 30);
    let tls = Tls::none();
    let (shutdown, registry) = (Shutdown::new(), Registry::new());
    let watching = tokio::spawn({
        let (tls, shutdown, registry) = (tls.clone(), shutdown.clone(), registry.clone());
        async move { tls.watch(Live::new(Config::default()), shutdown, &registry).await }
    });
    let line = "ekitei_tls_certificate_expiry_timestamp_seconds{certificate=\"mail\"} 1893456000";
    let shown = async |wanted: bool| {
        for _ in 0..500 {
            if registry.render().contains(line) == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("shown is not {wanted}:\n{}", registry.render());
    };
    tls.set_stored(vec![stored("mail", &files)]).unwrap();
    shown(true).await;
    tls.set_stored(Vec::new()).unwrap();
    shown(false).await;
    shutdown.begin();
    watching.await.unwrap();
}

#[tokio::test]
async fn the_oldest_version_is_configured() {
    let files = certificate(&["mx.example.test"]);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let old_client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates({
            use rustls::pki_types::CertificateDer;
            use rustls::pki_types::pem::PemObject;
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(files.pem.as_bytes()).unwrap()).unwrap();
            roots
        })
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(old_client));
    for (oldest, expected) in [(TlsVersion::Tls12, Some("TLSv1.2")), (TlsVersion::Tls13, None)] {
        let config = TlsConfig { min_version: oldest, ..tls_config(&[&files]) };
        let tls = Tls::new(&config, Duration::from_secs(5)).unwrap();
        let (connection, client) = connection();
        let client = connector.connect("mx.example.test".try_into().unwrap(), client);
        let (server, _client) = tokio::join!(connection.start_tls(&tls, &[]), client);
        assert_eq!(server.ok().and_then(|connection| connection.tls).map(|info| info.version), expected);
    }
}

#[tokio::test]
async fn a_reload_takes_the_new_certificate_and_a_failed_one_keeps_the_old() {
    let mut files = certificate(&["old.test"]);
    let tls = tls(&[&files]);
    assert_eq!(tls.certificates()[0].names, ["old.test"]);
    assert!(tls.certificates()[0].not_after > SystemTime::now());

    files.replace(&["new.test"]);
    tls.reload(&tls_config(&[&files])).unwrap();
    assert!(reaches(&tls, &files, "new.test").await);

    let other = certificate(&["other.test"]);
    std::fs::copy(other.pair().key, files.pair().key).unwrap();
    let error = tls.reload(&tls_config(&[&files])).unwrap_err().to_string();
    assert!(error.contains("tls.key") && error.contains("does not fit"), "{error}");
    std::fs::write(files.pair().certificate, "no certificate").unwrap();
    let error = tls.reload(&tls_config(&[&files])).unwrap_err().to_string();
    assert!(error.contains("tls.crt") && error.contains("no certificate"), "{error}");
    std::fs::remove_file(files.pair().certificate).unwrap();
    assert!(matches!(tls.reload(&tls_config(&[&files])), Err(TlsError::Read { .. })));
    assert!(reaches(&tls, &files, "new.test").await, "still in force");
}

#[tokio::test]
async fn changed_files_are_noticed() {
    let mut files = certificate(&["old.test"]);
    let mut config = Config { tls: tls_config(&[&files]), ..Config::default() };
    config.tls.watch_interval = ekitei_config::Duration::millis(10);
    let tls = tls(&[&files]);
    let (shutdown, registry) = (Shutdown::new(), Registry::new());
    let watching = tokio::spawn({
        let (tls, shutdown, registry) = (tls.clone(), shutdown.clone(), registry.clone());
        async move { tls.watch(Live::new(config), shutdown, &registry).await }
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    files.replace(&["a-much-longer-name.new.test"]);
    for _ in 0..500 {
        if tls.certificates()[0].names == ["a-much-longer-name.new.test"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(tls.certificates()[0].names, ["a-much-longer-name.new.test"]);
    assert!(registry.render().contains("ekitei_tls_reloads_total{result=\"ok\"}"));
    shutdown.begin();
    watching.await.unwrap();
}
