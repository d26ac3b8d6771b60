//! What is promised of encrypted bodies: nobody reads, changes or moves them without the keys.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use ekitei_blob::{DataKeys as _, Error, KeyError, KeyScope};

use crate::support::{World, domain, local};

const MARKER: &[u8] = b"the-word-that-nobody-may-find";

/// A body that has the marker in it, and of which Zstandard leaves it as it is.
fn marked(length: usize) -> Bytes {
    let noise = (0..length).map(|_| rand::random::<u8>());
    MARKER.iter().copied().chain(noise).collect()
}

#[tokio::test]
async fn nothing_of_a_body_is_stored_in_the_clear() {
    let world = World::new();
    let process = world.process(local(&[1]));
    process.configure(|encryption| encryption.enabled = false);
    process.store(&domain("a.test"), marked(10)).await.unwrap();
    process.store(&domain("a.test"), marked(5000)).await.unwrap();
    assert!(world.has(MARKER).await, "or the test would find nothing in any case");

    let world = World::new();
    let process = world.process(local(&[1]));
    let mut stored = Vec::new();
    for length in [0, 10, 3000, 5000] {
        for scope in [KeyScope::Service, domain("a.test")] {
            let body = marked(length);
            stored.push((process.store(&scope, body.clone()).await.unwrap(), body));
        }
    }
    assert!(!world.has(MARKER).await);
    assert_eq!(world.files().len(), 4, "objects are among them");
    for (id, body) in stored {
        assert_eq!(world.process(local(&[1])).read(id).await.unwrap(), body);
        let part = process.blobs.read(id, 5..1500).await.unwrap();
        assert_eq!(part, body.slice(5.min(body.len())..1500.min(body.len())));
    }
}

#[tokio::test]
async fn encryption_is_about_new_bodies_and_may_change_at_any_time() {
    let world = World::new();
    let process = world.process(local(&[1]));
    let mut stored = Vec::new();
    for round in 0..4 {
        process.configure(|encryption| encryption.enabled = round % 2 == 1);
        assert_eq!(process.keyring.is_enabled(), round % 2 == 1);
        stored.push(process.store(&domain("a.test"), MARKER).await.unwrap());
    }
    let without_master = world.process(ekitei_config::Encryption::default());
    without_master.configure(|encryption| encryption.enabled = true);
    assert!(!without_master.keyring.is_enabled(), "its master key is known after a restart");
    process.configure(|encryption| encryption.enabled = true);
    process.gate.store(false, Ordering::SeqCst);
    assert!(!process.keyring.is_enabled(), "somebody runs who could not read them");
    stored.push(process.store(&domain("a.test"), MARKER).await.unwrap());
    for body in stored {
        assert_eq!(process.read(body).await.unwrap(), MARKER);
        assert_eq!(world.process(local(&[1])).read(body).await.unwrap(), MARKER);
    }
}

#[tokio::test]
async fn bodies_that_change_places_are_noticed() {
    let world = World::new();
    let process = world.process(local(&[1]));
    let scope = domain("a.test");
    process.store(&scope, marked(5000)).await.unwrap();
    let first = world.files().remove(0);
    let second = process.store(&scope, marked(5000)).await.unwrap();
    let other = world.files().into_iter().find(|path| *path != first).unwrap();
    // The same key, the same lengths: only what they are bound to differs.
    let (one, two) = (std::fs::read(&first).unwrap(), std::fs::read(&other).unwrap());
    assert_eq!(one.len(), two.len());
    std::fs::write(&other, &one).unwrap();
    let reader = world.process(local(&[1]));
    assert!(matches!(reader.read(second).await, Err(Error::Damaged { .. })));

    // And blocks within a body.
    let mut swapped = two[1016..2032].to_vec();
    swapped.extend_from_slice(&two[..1016]);
    swapped.extend_from_slice(&two[2032..]);
    std::fs::write(&other, &swapped).unwrap();
    assert!(matches!(reader.read(second).await, Err(Error::Damaged { .. })));
    std::fs::write(&other, &two).unwrap();
    assert!(reader.read(second).await.is_ok());
}

#[tokio::test]
async fn a_body_is_not_readable_without_its_master_key() {
    let world = World::new();
    let body = world.process(local(&[1])).store(&domain("a.test"), MARKER).await.unwrap();
    let error = world.process(local(&[2])).read(body).await.unwrap_err();
    let Error::Key(KeyError::Unusable { whose, reason }) = &error else { panic!("{error:?}") };
    assert!(whose.contains("a.test") && whose.contains("number 1"), "{whose}");
    assert!(reason.contains("encryption.previousMasterKeys"), "{reason}");
    let none = ekitei_config::Encryption::default();
    assert!(matches!(world.process(none).read(body).await, Err(Error::Key(KeyError::Unusable { .. }))));
}
