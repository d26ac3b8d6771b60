//! STARTTLS with a real certificate (RFC 9051 §6.2.1).

use std::sync::Arc;
use std::time::Duration;

use ekitei_config::{CertificateConfig, TlsConfig};
use ekitei_net::Tls;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::support::{Client, PASSWORD, World};

/// A world with a certificate for its host name, where passwords need TLS, and what a client needs to believe it.
async fn secure_world() -> (World, TlsConnector) {
    let folder = tempfile::tempdir().unwrap();
    let issued = rcgen::generate_simple_self_signed(vec!["mail.example.test".to_owned()]).unwrap();
    let files =
        CertificateConfig { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    std::fs::write(&files.certificate, issued.cert.pem()).unwrap();
    std::fs::write(&files.key, issued.signing_key.serialize_pem()).unwrap();
    let config = TlsConfig { certificates: vec![files], ..TlsConfig::default() };
    let tls = Tls::new(&config, Duration::from_secs(5)).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let world = World::with_tls(tls, |config| config.imap.allow_insecure_auth = false).await;
    (world, TlsConnector::from(Arc::new(client)))
}

#[tokio::test]
async fn a_user_logs_in_behind_starttls() {
    let (world, connector) = secure_world().await;
    let mut client = world.connect().await;
    let list = client.ok("CAPABILITY").await;
    assert!(list[0].ends_with(" STARTTLS LOGINDISABLED"), "{list:?}");
    client.dialogue("STARTTLS", &[], "OK ").await;
    let name = ServerName::try_from("mail.example.test").unwrap();
    let mut client = Client::over(connector.connect(name, client.stream).await.unwrap());
    let list = client.ok("CAPABILITY").await;
    assert!(list[0].contains(" AUTH=PLAIN") && !list[0].contains("STARTTLS"), "{list:?}");
    client.fails("STARTTLS", "BAD [CLIENTBUG] ").await;
    client.ok(&format!("LOGIN alice@example.test {PASSWORD:?}")).await;
    client.ok("SELECT INBOX").await;
    client.dialogue("LOGOUT", &["BYE Goodbye"], "OK ").await;
    client.closed().await;
}

/// CVE-2011-0411: what an attacker puts behind STARTTLS must not be obeyed inside TLS.
#[tokio::test]
async fn commands_behind_starttls_end_the_connection() {
    let (world, _) = secure_world().await;
    let mut client = world.connect().await;
    client.send("a STARTTLS\r\nb NOOP\r\n").await;
    let answer = client.finish("a").await;
    assert!(answer.tagged.starts_with("BAD [CLIENTBUG] "), "{answer:?}");
    client.ends_with("* BYE ").await;
}

#[tokio::test]
async fn a_client_that_sends_no_handshake_is_given_up() {
    let (world, _) = secure_world().await;
    let mut client = world.connect().await;
    client.ok("STARTTLS").await;
    client.send("b NOOP\r\n\r\n\r\n").await;
    // An alert, and the end; nothing that IMAP would say.
    assert!(!client.response().await.contains("OK"));
}
