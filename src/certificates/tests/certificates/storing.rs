//! What is stored, shown and refused.

use std::sync::Arc;
use std::time::Duration;

use ekitei_certificates::{Error, Revision};
use ekitei_config::Config;
use ekitei_kv::{CommitFault, Database, FaultScript, KeyValue, MemoryOptions, RangeOptions, Transaction};

use crate::support::{KEY, Process, again, configured, made, name};

async fn rows(database: &Database) -> Vec<KeyValue> {
    let all =
        |tx: Transaction| async move { tx.get_range(vec![0]..vec![0xFE], RangeOptions::default()).await };
    database.read(all).await.unwrap()
}

#[tokio::test]
async fn a_certificate_is_shown_without_its_key_and_stored_without_its_clear_text() {
    let database = Database::in_memory();
    let process = Process::start(&database, configured(KEY, &[]));
    let new = made(&["Mail.example.test", "*.example.test"]);
    let stored = process.certificates.put(&name("mail"), &new, None).await.unwrap();
    assert_eq!(stored.names, ["mail.example.test", "*.example.test"]);
    assert!(stored.not_before < stored.not_after);
    assert_eq!((stored.created, stored.updated), (1_000, 1_000));
    assert_eq!(process.certificates.find(&name("mail")).await.unwrap(), stored);
    let secret = new.key.lines().nth(1).unwrap().as_bytes().to_vec();
    for row in rows(&database).await {
        assert!(!row.value.windows(secret.len()).any(|window| window == secret), "the key is in the clear");
    }
}

#[tokio::test]
async fn the_same_again_changes_nothing_and_another_replaces_it() {
    let process = Process::alone();
    let certificates = &process.certificates;
    let new = made(&["a.test"]);
    let first = certificates.put(&name("a"), &new, None).await.unwrap();
    process.clock.advance(Duration::from_secs(60));
    assert_eq!(certificates.put(&name("a"), &again(&new), None).await.unwrap(), first);
    let second = certificates.put(&name("a"), &made(&["b.test"]), Some(first.revision)).await.unwrap();
    assert_eq!(
        (second.names.as_slice(), second.created, second.updated),
        (&["b.test".to_owned()][..], 1_000, 1_060)
    );
    assert_ne!(
        (second.revision, second.sha256, second.spki_sha256),
        (first.revision, first.sha256, first.spki_sha256)
    );
    let stale = certificates.put(&name("a"), &new, Some(first.revision)).await;
    assert!(matches!(stale, Err(Error::Stale(_))), "{stale:?}");
    let of_nothing = certificates.put(&name("other"), &new, Some(first.revision)).await;
    assert!(matches!(of_nothing, Err(Error::Stale(_))), "{of_nothing:?}");
}

#[tokio::test]
async fn what_no_client_could_use_is_refused() {
    let process = Process::alone();
    let (one, other, nameless) = (made(&["a.test"]), made(&["a.test"]), made(&[]));
    let long = "#".repeat(65 << 10);
    for (chain, key, expected) in [
        (&one.chain, other.key.as_str(), "the key does not fit the certificate"),
        (&one.chain, "nonsense", "key: not a private key in PEM"),
        (&"nonsense".to_owned(), one.key.as_str(), "certificate: it holds no certificate in PEM"),
        (&nameless.chain, nameless.key.as_str(), "certificate: it has no DNS name"),
        (&format!("{}{long}", one.chain), one.key.as_str(), "the certificate has 6"),
        (&one.chain, long.as_str(), "the key has 66560 octets; 16384 are allowed"),
    ] {
        let new = ekitei_certificates::NewCertificate { chain: chain.clone(), key: key.to_owned().into() };
        let error = process.certificates.put(&name("a"), &new, None).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)) && error.to_string().starts_with(expected), "{error}");
    }
    for nonsense in ["", "a/b", "..", ".a", "ü", &"a".repeat(254)] {
        assert!(nonsense.parse::<ekitei_certificates::CertificateName>().is_err(), "{nonsense:?}");
    }
    assert!(matches!(process.certificates.find(&name("a")).await, Err(Error::NoSuchCertificate(_))));
}

#[tokio::test]
async fn without_an_encryption_key_nothing_is_stored() {
    let process = Process::start(&Database::in_memory(), Config::default());
    let refused = process.certificates.put(&name("a"), &made(&["a.test"]), None).await;
    assert!(matches!(refused, Err(Error::NoEncryptionKey)));
}

#[tokio::test]
async fn their_number_is_bounded() {
    let mut config = configured(KEY, &[]);
    config.tls.max_stored_certificates = 2;
    let process = Process::start(&Database::in_memory(), config);
    let certificates = &process.certificates;
    for text in ["a", "b", "b"] {
        certificates.put(&name(text), &made(&["a.test"]), None).await.unwrap();
    }
    let third = certificates.put(&name("c"), &made(&["a.test"]), None).await;
    assert!(matches!(third, Err(Error::Full(2))));
    certificates.remove(&name("a")).await.unwrap();
    assert!(matches!(certificates.remove(&name("a")).await, Err(Error::NoSuchCertificate(_))));
    certificates.put(&name("c"), &made(&["a.test"]), None).await.unwrap();
}

#[tokio::test]
async fn listings_come_in_pages() {
    let process = Process::alone();
    for text in ["b", "a", "c"] {
        process.certificates.put(&name(text), &made(&["a.test"]), None).await.unwrap();
    }
    let page = async |after, limit| {
        let (found, more) = process.certificates.list(after, Some(limit)).await.unwrap();
        (found.iter().map(|info| info.name.to_string()).collect::<Vec<_>>(), more)
    };
    assert_eq!(page(None, 2).await, (vec!["a".to_owned(), "b".to_owned()], true));
    assert_eq!(page(Some("b"), 2).await, (vec!["c".to_owned()], false));
    assert!(matches!(process.certificates.list(Some("/"), None).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn a_commit_of_unknown_result_stores_and_removes_once() {
    let faults = Arc::new(FaultScript::default());
    let options = MemoryOptions { faults: faults.clone(), ..MemoryOptions::default() };
    let mut config = configured(KEY, &[]);
    config.tls.max_stored_certificates = 1;
    let process = Process::start(&Database::in_memory_with(options).unwrap(), config);
    let expected: Option<Revision> = None;
    for _ in 0..3 {
        faults.commits([Some(CommitFault::UnknownApplied)]);
        process.certificates.put(&name("a"), &made(&["a.test"]), expected).await.unwrap();
        faults.commits([Some(CommitFault::UnknownApplied)]);
        process.certificates.remove(&name("a")).await.unwrap();
    }
}
