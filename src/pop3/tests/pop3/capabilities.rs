//! CAPA, LANG and STLS.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::support::{Client, Fixture, PASSWORD, USER, config};

#[tokio::test]
async fn before_login_the_ways_to_log_in_are_listed_and_after_it_they_are_not() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    let before = client.ask_for_lines("CAPA").await;
    assert_eq!(
        before,
        [
            "TOP",
            "UIDL",
            "RESP-CODES",
            "AUTH-RESP-CODE",
            "PIPELINING",
            "UTF8 USER",
            "LANG",
            "EXPIRE NEVER",
            "USER",
            "SASL PLAIN LOGIN"
        ]
    );
    let mut client = fixture.log_in().await;
    let after = client.ask_for_lines("capa").await;
    assert!(
        !after.iter().any(|line| line.starts_with("SASL") || line == "USER" || line == "STLS"),
        "{after:?}"
    );
}

#[tokio::test]
async fn english_is_the_language() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    assert_eq!(client.ask_for_lines("LANG").await, ["en English", "i-default English"]);
    assert!(client.ask("LANG *").await.starts_with("+OK en "));
    assert!(client.ask("LANG tlh").await.starts_with("-ERR "));
}

#[tokio::test]
async fn passwords_are_taken_only_under_tls() {
    let mut secure = config();
    secure.pop3.allow_insecure_auth = false;
    let (_files, pem) = Fixture::certificate(&mut secure);
    let fixture = Fixture::with(secure).await;
    let mut client = fixture.connect().await;
    let capabilities = client.ask_for_lines("CAPA").await;
    assert!(capabilities.contains(&"STLS".to_owned()) && !capabilities.contains(&"USER".to_owned()));
    for command in ["USER alice@example.test", "PASS x", "AUTH PLAIN", "AUTH"] {
        let reply = client.ask(command).await;
        assert!(reply.starts_with("-ERR [AUTH] "), "{command}: {reply}");
    }

    assert_eq!(client.ask("STLS").await, "+OK begin TLS");
    let mut client = Client::new(shake_hands(client, &pem).await);
    let capabilities = client.ask_for_lines("CAPA").await;
    assert!(capabilities.contains(&"USER".to_owned()) && !capabilities.contains(&"STLS".to_owned()));
    assert!(client.ask("STLS").await.starts_with("-ERR "));
    client.ask(&format!("USER {USER}")).await;
    assert!(client.ask(&format!("PASS {PASSWORD}")).await.starts_with("+OK "));
}

#[tokio::test]
async fn what_was_said_before_tls_is_forgotten() {
    let mut config = config();
    let (_files, pem) = Fixture::certificate(&mut config);
    let fixture = Fixture::with(config).await;
    let mut client = fixture.connect().await;
    client.ask(&format!("USER {USER}")).await;
    client.ask("STLS").await;
    let mut client = Client::new(shake_hands(client, &pem).await);
    assert!(
        client.ask(&format!("PASS {PASSWORD}")).await.starts_with("-ERR "),
        "there was no USER under TLS"
    );
}

#[tokio::test]
async fn commands_behind_stls_end_the_session() {
    let mut config = config();
    let (_files, _pem) = Fixture::certificate(&mut config);
    let fixture = Fixture::with(config).await;
    let mut client = fixture.connect().await;
    client.send(b"STLS\r\nUSER mallory@example.test\r\n").await;
    assert_eq!(client.rest().await, "-ERR nothing may follow STLS before the handshake\r\n");
}

#[tokio::test]
async fn without_a_certificate_there_is_no_stls() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    assert!(client.ask("STLS").await.starts_with("-ERR "));
    assert!(client.ask("NOOP").await.starts_with("-ERR "), "and NOOP is for after login");
}

async fn shake_hands(client: Client, pem: &str) -> tokio_rustls::client::TlsStream<tokio::io::DuplexStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect("mx.example.test".try_into().unwrap(), client.stream.into_inner()).await.unwrap()
}
