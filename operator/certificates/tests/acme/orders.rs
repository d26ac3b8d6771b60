//! Orders that end well.

use std::process::Command;
use std::sync::Arc;

use ekitei_operator_certificates::acme::OrderRequest;
use ekitei_operator_certificates::{Certificate, Key, KeyType};
use jiff::Timestamp;

use crate::hosts;
use crate::pebble::{Pebble, Settings, key};

#[tokio::test]
async fn one_order_is_for_several_names_wildcards_and_aliases() {
    let Some(pebble) = Pebble::start(Settings::default()).await else { return };
    pebble.names.alias("_acme-challenge.mx.example.org", "mx-example-org.acme.example.net");
    let account = pebble.account().await;
    let wanted = hosts(&["example.org", "*.example.org", "mx.example.org", "imap.example.com"]);
    let order = OrderRequest::new(wanted.clone());
    let key = key();
    let certificate = account.issue(&order, &key, Arc::clone(&pebble.names) as _).await.unwrap();

    assert!(certificate.fits(&key));
    assert!(certificate.covers(&wanted));
    assert!(certificate.is_valid(Timestamp::now()));
    let mut written = pebble.names.written();
    written.sort();
    // The wildcard and its base are proven at the same name, with two values.
    assert_eq!(
        written,
        [
            "_acme-challenge.example.org",
            "_acme-challenge.example.org",
            "_acme-challenge.imap.example.com",
            "mx-example-org.acme.example.net"
        ]
    );
    assert_eq!(pebble.names.count(), 0, "and no record is left");
    verify(&certificate, &pebble.root().await);
}

/// That OpenSSL trusts the chain with this root alone.
fn verify(certificate: &Certificate, root: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (root_file, chain_file) = (dir.path().join("root.pem"), dir.path().join("chain.pem"));
    std::fs::write(&root_file, root).unwrap();
    std::fs::write(&chain_file, certificate.pem()).unwrap();
    let output = Command::new("openssl")
        .arg("verify")
        .args(["-x509_strict", "-no-CApath", "-no-CAstore", "-CAfile"])
        .arg(root_file)
        .arg("-untrusted")
        .arg(&chain_file)
        .arg(&chain_file)
        .output();
    match output {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => eprintln!("skipped: openssl is not installed, so the chain is not verified"),
    }
}

#[tokio::test]
async fn every_kind_of_key_gets_a_certificate_and_keeps_it_when_it_is_renewed() {
    let Some(pebble) = Pebble::start(Settings::default()).await else { return };
    let account = pebble.account().await;
    let order = OrderRequest::new(hosts(&["mx.example.org"]));
    for kind in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048] {
        let key = Key::generate(kind).unwrap();
        let first = account.issue(&order, &key, Arc::clone(&pebble.names) as _).await.unwrap();
        // As it comes back from where it was kept.
        let key = Key::from_pem(key.pem()).unwrap();
        let second = account.issue(&order, &key, Arc::clone(&pebble.names) as _).await.unwrap();
        assert_ne!(first.fingerprint(), second.fingerprint());
        assert_eq!(first.key(), second.key());
    }
}

#[tokio::test]
async fn a_profile_is_chosen_by_its_name() {
    let Some(pebble) = Pebble::start(Settings::default()).await else { return };
    let account = pebble.account().await;
    let mut order = OrderRequest::new(hosts(&["mx.example.org"]));
    order.profile = Some("shortlived".to_owned());
    let certificate = account.issue(&order, &key(), Arc::clone(&pebble.names) as _).await.unwrap();
    let days = (certificate.not_after().as_second() - certificate.not_before().as_second()) / 86_400;
    assert!((5..=6).contains(&days), "{days}");

    order.profile = Some("tlsserver".to_owned());
    let error = account.issue(&order, &key(), Arc::clone(&pebble.names) as _).await.unwrap_err();
    assert_eq!(error.reason(), "ACMEOrderRefused");
    assert!(error.to_string().contains("default") && error.to_string().contains("shortlived"), "{error}");
}

#[tokio::test]
async fn nonces_that_are_refused_do_no_harm() {
    let settings = Settings { refused_nonces: 40, ..Settings::default() };
    let Some(pebble) = Pebble::start(settings).await else { return };
    let server = pebble.server();
    // Making an account is repeated by the caller: it may, a nonce is refused before anything is done.
    let mut tries = 0;
    let account = loop {
        tries += 1;
        match ekitei_operator_certificates::acme::Account::create(&server, &Default::default()).await {
            Ok((account, _)) => break account,
            Err(error) => assert!(tries < 20 && error.reason() == "ACMEServerUnavailable", "{error}"),
        }
    };
    let order = OrderRequest::new(hosts(&["mx.example.org", "*.example.org"]));
    account.issue(&order, &key(), Arc::clone(&pebble.names) as _).await.unwrap();
    assert_eq!(pebble.names.count(), 0);
}
