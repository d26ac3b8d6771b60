//! STARTTLS with a real certificate.

use std::sync::Arc;
use std::time::Duration;

use ekitei_config::{CertificateConfig, Protocol, TlsConfig};
use ekitei_net::Tls;
use rustls::pki_types::ServerName;
use tokio::io::DuplexStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Client, PASSWORD, STRANGER, World, plain};

/// A world with a certificate for its host name, and what a client needs to believe it.
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
    (World::with_tls(tls, |_| {}).await, TlsConnector::from(Arc::new(client)))
}

async fn secured(client: Client<DuplexStream>, connector: &TlsConnector) -> Client<TlsStream<DuplexStream>> {
    let name = ServerName::try_from("mail.example.test").unwrap();
    let stream = connector.connect(name, client.stream).await.unwrap();
    Client { stream, buffer: Vec::new() }
}

#[tokio::test]
async fn starttls_forgets_what_was_said_in_the_clear() {
    let (world, connector) = secure_world().await;
    let mut client = world.connect(Protocol::Smtp, STRANGER).await;
    let reply = client.say("EHLO client.test").await;
    assert!(reply.contains("STARTTLS") && !reply.contains("REQUIRETLS"), "{reply}");
    client.ask("MAIL FROM:<evil@b.test>", "250 ").await;
    client.ask("STARTTLS", "220 2.0.0 ").await;
    let mut client = secured(client, &connector).await;
    client.ask("MAIL FROM:<a@b.test>", "503 5.5.1 ").await;
    let reply = client.say("EHLO client.test").await;
    assert!(!reply.contains("STARTTLS") && reply.contains("REQUIRETLS"), "{reply}");
    client.ask("STARTTLS", "503 5.5.1 ").await;
    client.ask("MAIL FROM:<a@b.test> REQUIRETLS", "250 ").await;
    client.ask("RCPT TO:<alice@example.test>", "250 ").await;
    assert!(client.data("Subject: x\r\n").await.starts_with("250 "));
    let inbox = world.inbox("alice").await;
    assert!(inbox[0].contains(" with ESMTPS\r\n\ttls TLS_"), "{}", inbox[0]);
}

#[tokio::test]
async fn a_user_logs_in_behind_starttls() {
    let (world, connector) = secure_world().await;
    let mut client = world.connect(Protocol::Submission, STRANGER).await;
    let reply = client.say("EHLO client.test").await;
    assert!(reply.contains("STARTTLS") && !reply.contains("AUTH"), "{reply}");
    client.ask("STARTTLS", "220 ").await;
    let mut client = secured(client, &connector).await;
    assert!(client.say("EHLO client.test").await.contains("AUTH PLAIN LOGIN"));
    client.ask(&format!("AUTH PLAIN {}", plain("alice", PASSWORD)), "235 2.7.0 ").await;
    client.envelope("alice@example.test", &["alice@example.test"]).await;
    assert!(client.data("From: alice@example.test\r\n").await.starts_with("250 "));
}

#[tokio::test]
async fn commands_behind_starttls_are_not_obeyed() {
    let (world, _) = secure_world().await;
    let mut client = world.connect(Protocol::Smtp, STRANGER).await;
    client.say("EHLO client.test").await;
    client.send("STARTTLS\r\nEHLO injected.test\r\nMAIL FROM:<evil@b.test>\r\n").await;
    client.expect("501 5.5.4 ").await;
    client.expect_closed().await;
}

#[tokio::test]
async fn a_failed_handshake_ends_the_connection() {
    let (world, _) = secure_world().await;
    let mut client = world.connect(Protocol::Smtp, STRANGER).await;
    client.ask("STARTTLS", "220 ").await;
    client.send("EHLO injected.test\r\n").await;
    while !client.buffer.is_empty() || tokio::io::AsyncReadExt::read_u8(&mut client.stream).await.is_ok() {
        // A TLS alert may come; nothing of SMTP does.
    }
}
