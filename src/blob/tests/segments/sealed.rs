//! Encrypted bodies are checked with their keys, where these are at hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use ekitei_blob::{DataKey, DataKeyId, DataKeys, FindingKind, KeyError, KeyFuture, KeyScope, Settings};
use ekitei_kv::Transaction;

use crate::scrub;
use crate::support::{MAX_AGE, World, settings};

/// What the service of keys does.
const GIVES: u8 = 0;
const GIVES_ANOTHER: u8 = 1;
const IS_AWAY: u8 = 2;
const HAS_NONE: u8 = 3;

#[derive(Debug, Default)]
struct Keys(AtomicU8);

const ID: DataKeyId = DataKeyId::new(7);

impl DataKeys for Keys {
    fn is_enabled(&self) -> bool {
        true
    }

    fn current<'a>(&'a self, _: &'a KeyScope) -> KeyFuture<'a, Option<Arc<DataKey>>> {
        Box::pin(async { self.get(ID).await.map(Some) })
    }

    fn get(&self, key: DataKeyId) -> KeyFuture<'_, Arc<DataKey>> {
        let octet = match self.0.load(Ordering::SeqCst) {
            GIVES => Ok(1),
            GIVES_ANOTHER => Ok(2),
            IS_AWAY => {
                Err(KeyError::Unavailable { whose: "the service".to_owned(), reason: "away".to_owned() })
            }
            _ => Err(KeyError::Missing { key, reason: "its row is lost" }),
        };
        Box::pin(async move { Ok(Arc::new(DataKey::new(key, &[octet?; 32]))) })
    }

    fn confirm<'a>(&'a self, _: &'a Transaction, _: DataKeyId) -> KeyFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_decrypt_is_damaged_wherever_it_is() {
    let keys = Arc::new(Keys::default());
    let mut world = World::with(Settings { data_keys: Some(keys.clone()), ..settings() }).await;
    let lease = scrub::lease(&world.database).await;
    let packed = world.store(5, 2000).await;
    world.clock.advance(MAX_AGE);
    assert_eq!(world.pack().await.bodies, 1);
    let (hot, object) = (world.store(5, 2000).await, world.store(5, 12_000).await);
    assert_eq!(scrub::scrub(&world, &lease).await.0.findings, 0);

    // The checksums are right: only the tags tell.
    keys.0.store(GIVES_ANOTHER, Ordering::SeqCst);
    assert_eq!(scrub::scrub(&world, &lease).await.0.findings, 3);
    let mut expected = [packed, hot, object].map(|body| (FindingKind::Damaged, body.to_string())).to_vec();
    expected.sort();
    assert_eq!(scrub::findings(&world).await, expected);

    // Without keys there are still checksums, and no cry for each body.
    keys.0.store(IS_AWAY, Ordering::SeqCst);
    assert_eq!(scrub::scrub(&world, &lease).await.0.findings, 0);
    keys.0.store(HAS_NONE, Ordering::SeqCst);
    scrub::scrub(&world, &lease).await;
    assert_eq!(scrub::findings(&world).await, [(FindingKind::Damaged, "data key 7".to_owned())]);
    keys.0.store(GIVES, Ordering::SeqCst);
    assert_eq!(scrub::scrub(&world, &lease).await.0.findings, 0);
    world.check_bodies().await;
}
