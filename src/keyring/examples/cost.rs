//! What encryption costs a message: time to encode and to read bodies of several sizes, with and without it, in microseconds.
//!
//! `cargo run --release -p ekitei-keyring --example cost`
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ekitei_blob::{Blobs, DirectoryStore, Error, KeyScope, Owner, Settings};
use ekitei_config::{Config, Encryption, Live, Secret};
use ekitei_keyring::{Keyring, MasterKeys, Parts};
use ekitei_kv::Database;
use ekitei_kv::clock::SystemClock;
use ekitei_telemetry::Registry;

/// Time for each figure.
const TIME: Duration = Duration::from_secs(1);

/// Text that compresses about as mail does.
fn text(octets: usize) -> Bytes {
    let words = ["the", "message", "which", "you", "sent", "was", "read", "by", "nobody", "here"];
    let mut text = String::new();
    while text.len() < octets {
        text.push_str(words[rand::random::<u64>() as usize % words.len()]);
        text.push_str(if rand::random::<u8>() < 30 { "\r\n" } else { " " });
    }
    text.truncate(octets);
    text.into()
}

fn blobs(folder: &std::path::Path, enabled: bool) -> (Database, Blobs) {
    let database = Database::in_memory();
    let registry = Registry::new();
    let encryption = Encryption {
        enabled,
        master_key: Some(Secret::new("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")),
        ..Encryption::default()
    };
    let (current, previous) = MasterKeys::local(&encryption).unwrap();
    let keyring = Keyring::new(Parts {
        database: database.clone(),
        masters: MasterKeys::new(current, previous, &registry),
        live: Live::new(Config { encryption, ..Config::default() }),
        gate: Arc::new(|| true),
        clock: Arc::new(SystemClock),
        registry,
    });
    // Nothing comes from the cache.
    let settings = Settings { cache_size: 0, data_keys: Some(Arc::new(keyring)), ..Settings::default() };
    let objects = DirectoryStore::open(folder).unwrap();
    (database.clone(), Blobs::new(database, objects, settings, Arc::new(SystemClock)))
}

/// Microseconds of one run, as a mean over [`TIME`].
async fn mean(mut work: impl AsyncFnMut()) -> f64 {
    work().await;
    let (begin, mut runs) = (Instant::now(), 0u32);
    while begin.elapsed() < TIME {
        work().await;
        runs += 1;
    }
    begin.elapsed().as_secs_f64() * 1e6 / f64::from(runs)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let scope = &KeyScope::Domain("example.test".into());
    println!("{:>10} {:>10} {:>16} {:>16}", "octets", "encrypted", "encode, us", "read, us");
    for octets in [5_000, 50_000, 250_000] {
        for enabled in [false, true] {
            let (database, blobs) = &blobs(folder.path(), enabled);
            let body = text(octets);
            let encode = mean(async || {
                blobs.prepare_for(scope, body.clone(), usize::MAX).await.unwrap();
            })
            .await;
            let prepared = &blobs.prepare_for(scope, body.clone(), usize::MAX).await.unwrap();
            database
                .transact(|transaction| async move {
                    prepared.store(&transaction, Owner::Account(1)).await?;
                    Ok::<_, Error>(())
                })
                .await
                .unwrap();
            let id = prepared.id();
            let read = mean(async || {
                assert_eq!(blobs.read(id, 0..u64::MAX).await.unwrap().len(), body.len());
            })
            .await;
            println!("{octets:>10} {enabled:>10} {encode:>16.1} {read:>16.1}");
        }
    }
}
