//! What is in force in the processes.

use ekitei_kv::keys::{self, subspace};
use ekitei_kv::{Database, Transaction};

use crate::support::{KEY, OTHER_KEY, Process, again, configured, made, name};

fn material(of: &str) -> Vec<u8> {
    keys::key(&(subspace::CERTIFICATES, 2u32, of))
}

/// Does to the store what no program of ours does.
async fn meddle(database: &Database, change: impl Fn(&Transaction, &[u8])) {
    let meddle = |tx: Transaction| {
        let change = &change;
        async move {
            let row = tx.get(&material("a")).await?.unwrap_or_default();
            change(&tx, &row);
            Ok::<_, ekitei_kv::Error>(())
        }
    };
    database.transact(meddle).await.unwrap();
}

#[tokio::test]
async fn every_process_has_a_certificate_within_a_second_until_it_is_removed() {
    let database = Database::in_memory();
    let (here, there) = (
        Process::start(&database, configured(KEY, &[])).following(),
        Process::start(&database, configured(KEY, &[])).following(),
    );
    assert!(!there.tls.is_available());
    here.certificates.put(&name("a"), &made(&["a.test"]), None).await.unwrap();
    for process in [&here, &there] {
        process.until(|process| process.in_force() == ["a"]).await;
    }
    here.certificates.put(&name("a"), &made(&["b.test"]), None).await.unwrap();
    there.until(|process| process.tls.certificates()[0].names == ["b.test"]).await;
    here.certificates.remove(&name("a")).await.unwrap();
    there.until(|process| !process.tls.is_available()).await;
}

#[tokio::test]
async fn the_default_is_the_configured_one_or_that_of_the_host_or_the_oldest() {
    let database = Database::in_memory();
    let process = Process::start(&database, configured(KEY, &[]));
    for (of, host) in [("z", "z.test"), ("a", "a.test"), ("host", "*.example.test"), ("c", "c.test")] {
        process.certificates.put(&name(of), &made(&[host]), None).await.unwrap();
        process.clock.advance(std::time::Duration::from_secs(1));
    }
    process.certificates.load().await.unwrap();
    assert_eq!(process.in_force(), ["host", "z", "a", "c"]);
    let mut config = configured(KEY, &[]);
    (config.hostname, config.tls.default_certificate) = ("elsewhere.test".to_owned(), Some("c".to_owned()));
    let other = Process::start(&database, config);
    other.certificates.load().await.unwrap();
    assert_eq!(other.in_force(), ["c", "z", "a", "host"]);
}

#[tokio::test]
async fn what_cannot_be_opened_leaves_the_others_in_force() {
    let database = Database::in_memory();
    let old = Process::start(&database, configured(OTHER_KEY, &[]));
    old.certificates.put(&name("a"), &made(&["a.test"]), None).await.unwrap();
    let process = Process::start(&database, configured(KEY, &[]));
    let new = made(&["b.test"]);
    process.certificates.put(&name("b"), &new, None).await.unwrap();
    process.certificates.load().await.unwrap();
    assert_eq!(process.in_force(), ["b"]);
    assert_eq!(process.metric("ekitei_certificates_unusable"), Some(1));
    process.certificates.put(&name("a"), &again(&new), None).await.unwrap();
    process.certificates.load().await.unwrap();
    assert_eq!(process.in_force(), ["a", "b"], "it can be replaced all the same");
    assert_eq!(process.metric("ekitei_certificates_unusable"), Some(0));
}

#[tokio::test]
async fn a_key_that_was_put_in_anothers_place_is_not_used() {
    let database = Database::in_memory();
    let process = Process::start(&database, configured(KEY, &[]));
    process.certificates.put(&name("a"), &made(&["a.test"]), None).await.unwrap();
    process.certificates.put(&name("b"), &made(&["b.test"]), None).await.unwrap();
    meddle(&database, |tx, row| tx.set(&material("b"), row)).await;
    process.certificates.load().await.unwrap();
    assert_eq!(process.in_force(), ["a"]);
}

#[tokio::test]
async fn a_process_goes_on_with_what_it_had_when_the_new_one_cannot_be_opened() {
    let database = Database::in_memory();
    let ours = Process::start(&database, configured(KEY, &[]));
    ours.certificates.put(&name("a"), &made(&["a.test"]), None).await.unwrap();
    ours.certificates.load().await.unwrap();
    let other = Process::start(&database, configured(OTHER_KEY, &[]));
    other.certificates.put(&name("a"), &made(&["b.test"]), None).await.unwrap();
    ours.certificates.load().await.unwrap();
    assert_eq!(ours.tls.certificates()[0].names, ["a.test"]);
    assert_eq!(ours.metric("ekitei_certificates_unusable"), Some(1));
    meddle(&database, |tx, _| tx.set(&material("a"), b"")).await;
    ours.certificates.load().await.unwrap();
    assert_eq!(ours.tls.certificates()[0].names, ["a.test"], "also when it is damaged");
}

#[tokio::test]
async fn the_encryption_key_can_be_replaced() {
    let database = Database::in_memory();
    let old = Process::start(&database, configured(KEY, &[]));
    old.certificates.put(&name("a"), &made(&["a.test"]), None).await.unwrap();
    let both = Process::start(&database, configured(OTHER_KEY, &[KEY]));
    both.certificates.load().await.unwrap();
    assert_eq!(both.in_force(), ["a"]);
    assert_eq!(both.certificates.maintain().await.unwrap(), 1);
    assert_eq!(both.certificates.maintain().await.unwrap(), 0);
    let new = Process::start(&database, configured(OTHER_KEY, &[]));
    new.certificates.load().await.unwrap();
    assert_eq!(new.in_force(), ["a"]);
}
