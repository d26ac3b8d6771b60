//! What is promised of data keys: one in force for each scope, in all processes; replaced and rewrapped without touching a body; gone when they are
//! destroyed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ekitei_blob::{DataKeyId, DataKeys as _, Error, KeyError, KeyScope};
use ekitei_config::Encryption;
use ekitei_config::Secret;
use ekitei_keyring::{Error as KeyringError, KeyState, MasterKeys, Rewrapped};

use crate::support::{OneWay, Process, Remote, World, domain, local, secret};

async fn current(process: &Process, scope: &KeyScope) -> DataKeyId {
    process.keyring.current(scope).await.unwrap().unwrap().id()
}

async fn states(process: &Process) -> Vec<(u64, KeyState)> {
    let page = process.keyring.list(None, None, 1000).await.unwrap();
    page.items.iter().map(|key| (key.id.get(), key.state)).collect()
}

/// Waits for what another process did to be seen.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

#[tokio::test]
async fn processes_that_race_for_the_first_key_end_with_the_same() {
    for round in 0..20 {
        let world = World::new();
        let (one, other) = (world.process(local(&[1])), world.process(local(&[1])));
        let scope = &domain("a.test");
        let mut found = Vec::new();
        let mut set = tokio::task::JoinSet::new();
        for (n, process) in [&one, &other].into_iter().cycle().take(4).enumerate() {
            let (keyring, scope) = (process.keyring.clone(), scope.clone());
            set.spawn(async move {
                if (n + round) % 3 == 0 {
                    tokio::task::yield_now().await;
                }
                keyring.current(&scope).await.unwrap().unwrap().id()
            });
        }
        while let Some(key) = set.join_next().await {
            found.push(key.unwrap());
        }
        assert!(found.iter().all(|key| *key == found[0]), "{found:?}");
        assert_eq!(states(&one).await.len(), 1);
        let body = one.store(scope, "text").await.unwrap();
        assert_eq!(other.read(body).await.unwrap(), "text");
    }
}

#[tokio::test]
async fn each_scope_has_a_key_of_its_own() {
    let world = World::new();
    let process = world.process(local(&[1]));
    let scopes = [KeyScope::Service, domain("a.test"), domain("b.test")];
    let mut keys = Vec::new();
    for scope in &scopes {
        keys.push(current(&process, scope).await.get());
    }
    assert_eq!(keys, [1, 2, 3]);
    let page = process.keyring.list(None, None, 2).await.unwrap();
    assert_eq!((page.items.len(), page.next), (2, Some(DataKeyId::new(2))));
    let rest = process.keyring.list(None, page.next, 2).await.unwrap();
    assert_eq!((rest.items[0].scope.clone(), rest.next), (domain("b.test"), None));
    let of_one = process.keyring.list(Some(&domain("a.test")), None, 10).await.unwrap();
    assert_eq!(of_one.items.len(), 1);
}

#[tokio::test]
async fn a_key_is_replaced_without_writing_bodies_again() {
    let world = World::new();
    let (process, other) = (world.process(local(&[1])), world.process(local(&[1])));
    let follow = other.keyring.clone();
    let follower = tokio::spawn(async move { follow.follow_changes().await });
    let scope = domain("a.test");
    assert!(matches!(process.keyring.rotate(&scope).await, Err(KeyringError::NoKeyYet(_))));
    let old = process.store(&scope, "old").await.unwrap();
    assert_eq!(current(&other, &scope).await.get(), 1);
    let before = world.everything().await;

    assert_eq!(process.keyring.rotate(&scope).await.unwrap().id.get(), 2);
    let after = world.everything().await;
    let lost: Vec<_> = before.iter().filter(|value| !after.contains(value)).collect();
    assert!(lost.len() <= 4, "only rows of keys change: {}", lost.len());
    assert_eq!(states(&process).await, [(1, KeyState::Retired), (2, KeyState::Active)]);
    eventually("the other process sees the new key", async || current(&other, &scope).await.get() == 2).await;
    let new = other.store(&scope, "new").await.unwrap();
    for reader in [&process, &other, &world.process(local(&[1]))] {
        assert_eq!(reader.read(old).await.unwrap(), "old");
        assert_eq!(reader.read(new).await.unwrap(), "new");
    }
    follower.abort();
}

#[tokio::test]
async fn keys_are_replaced_by_schedule_once() {
    let world = World::new();
    let (process, other) = (world.process(local(&[1])), world.process(local(&[1])));
    for process in [&process, &other] {
        process.configure(|encryption| encryption.rotate_after = ekitei_config::Duration::days(30));
    }
    current(&process, &domain("a.test")).await;
    world.clock.advance(Duration::from_secs(20 * 86_400));
    current(&process, &domain("b.test")).await;
    assert_eq!(process.keyring.maintain(true).await.unwrap().rotated, 0);
    world.clock.advance(Duration::from_secs(11 * 86_400));
    assert_eq!(other.keyring.maintain(false).await.unwrap().rotated, 0, "another process leads");
    assert_eq!(process.keyring.maintain(true).await.unwrap().rotated, 1);
    assert_eq!(other.keyring.maintain(true).await.unwrap().rotated, 0);
    assert_eq!(
        states(&process).await,
        [(1, KeyState::Retired), (2, KeyState::Active), (3, KeyState::Active)]
    );
    process.keyring.maintain(false).await.unwrap();
    let shown = process.registry.render();
    assert!(shown.contains("ekitei_keyring_data_keys{state=\"active\"} 2"), "{shown}");
    assert_eq!(process.keyring.rotate_all().await.unwrap().rotated, 2);
}

#[tokio::test]
async fn the_master_key_is_replaced_without_touching_bodies() {
    let world = World::new();
    let process = world.process(local(&[1]));
    let mut bodies = Vec::new();
    for scope in [KeyScope::Service, domain("a.test"), domain("b.test")] {
        bodies.push(process.store(&scope, "text").await.unwrap());
    }
    // First all processes learn the new key, then one after the other wraps by it.
    let learnt = world.process(local(&[1, 2]));
    let wrapping = world.process(local(&[2, 1]));
    bodies.push(wrapping.store(&domain("c.test"), "text").await.unwrap());
    assert_eq!(learnt.read(bodies[3]).await.unwrap(), "text");

    let done = wrapping.keyring.rewrap().await.unwrap();
    assert_eq!(done, Rewrapped { rewrapped: 3, current: 1, failed: 0 });
    let again = wrapping.keyring.rewrap().await.unwrap();
    assert_eq!(again, Rewrapped { rewrapped: 0, current: 4, failed: 0 });
    let only_new = world.process(local(&[2]));
    for &body in &bodies {
        assert_eq!(only_new.read(body).await.unwrap(), "text");
        assert!(world.process(local(&[1])).read(body).await.is_err());
    }
    let lost = world.process(local(&[3, 1])).keyring.rewrap().await.unwrap();
    assert_eq!(lost, Rewrapped { rewrapped: 0, current: 0, failed: 4 });
}

#[tokio::test]
async fn while_the_master_key_is_away_known_keys_go_on_and_nothing_is_stored_in_the_clear() {
    let world = World::new();
    let settings = local(&[1]);
    let away = Arc::new(AtomicBool::new(false));
    let start = || {
        let inner = MasterKeys::local(&settings).unwrap().0.unwrap();
        let remote = Remote { inner, away: Arc::clone(&away) };
        let encryption = Encryption { enabled: true, ..Encryption::default() };
        world.process_with(encryption, Some(Arc::new(remote)), Vec::new())
    };
    let process = start();
    let body = process.store(&domain("a.test"), "before").await.unwrap();

    away.store(true, Ordering::SeqCst);
    let during = process.store(&domain("a.test"), "during").await.unwrap();
    assert_eq!(process.read(body).await.unwrap(), "before");
    let error = process.store(&domain("b.test"), "nowhere").await.unwrap_err();
    let Error::Key(KeyError::Unavailable { whose, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(whose, "b.test");
    assert!(!world.has(b"nowhere").await);
    let restarted = start();
    assert!(matches!(restarted.read(body).await, Err(Error::Key(KeyError::Unavailable { .. }))));
    assert!(matches!(process.keyring.rotate(&domain("a.test")).await, Err(KeyringError::Master { .. })));
    assert!(process.registry.render().contains("ekitei_keyring_failures_total{operation=\"wrap\"} 2"));

    away.store(false, Ordering::SeqCst);
    assert_eq!(restarted.read(during).await.unwrap(), "during");
    restarted.store(&domain("b.test"), "after").await.unwrap();
}

#[tokio::test]
async fn a_key_that_bodies_need_is_destroyed_only_by_force() {
    let world = World::new();
    let (process, other) = (world.process(local(&[1])), world.process(local(&[1])));
    let scope = domain("a.test");
    let body = process.store(&scope, vec![b'x'; 5000]).await.unwrap();
    let kept = process.store(&domain("b.test"), "text").await.unwrap();
    assert_eq!(other.blobs.read(body, 0..1).await.unwrap(), "x");
    let key = DataKeyId::new(1);
    let Err(KeyringError::InUse { body: needed, .. }) = process.keyring.destroy(key, false).await else {
        panic!("it is needed")
    };
    assert_eq!(needed, body.to_string());
    assert!(process.read(body).await.is_ok(), "nothing happened but that it is retired");
    assert_eq!(process.keyring.key(key).await.unwrap().state, KeyState::Retired);

    let follow = other.keyring.clone();
    let follower = tokio::spawn(async move { follow.follow_changes().await });
    let destroyed = process.keyring.destroy(key, true).await.unwrap();
    assert_eq!((destroyed.state, destroyed.master_key), (KeyState::Destroyed, None));
    eventually("the other process forgets the key", async || other.keyring.get(key).await.is_err()).await;
    // (A block that was read by itself, such as the first one, may still be in memory, decoded.)
    for process in [&process, &other, &world.process(local(&[1]))] {
        let error = process.blobs.read(body, 4000..4001).await.unwrap_err();
        assert!(matches!(error, Error::Key(KeyError::Destroyed { .. })), "{error:?}");
        assert_eq!(error.to_string(), "the data key 1 of a.test was destroyed");
        assert_eq!(process.read(kept).await.unwrap(), "text");
    }
    process.keyring.destroy(key, true).await.unwrap();
    assert!(matches!(
        process.keyring.destroy(DataKeyId::new(9), true).await,
        Err(KeyringError::NoSuchKey(_))
    ));
    process.store(&scope, "new").await.unwrap();
    assert_eq!(current(&process, &scope).await.get(), 3, "what comes gets a new key");
    follower.abort();
}

#[tokio::test]
async fn no_body_is_stored_under_a_key_that_was_destroyed_meanwhile() {
    let world = World::new();
    let (process, other) = (world.process(local(&[1])), world.process(local(&[1])));
    let scope = domain("a.test");
    let prepared = process.prepare(&scope, "text").await.unwrap();
    let reopened = process.prepare(&scope, "text").await.unwrap();
    let body = process.commit(&reopened).await.unwrap();
    assert!(other.keyring.destroy(DataKeyId::new(1), false).await.is_err(), "it was needed");
    process.commit(&prepared).await.expect("a key that was not destroyed after all takes bodies again");

    let late = process.prepare(&scope, "text").await.unwrap();
    let key = current(&process, &scope).await;
    other.keyring.destroy(key, true).await.unwrap();
    let error = process.commit(&late).await.unwrap_err();
    assert!(matches!(error, Error::Key(KeyError::Destroyed { .. })), "{error:?}");
    assert_eq!(process.read(body).await.unwrap(), "text", "the first key is there");
}

#[tokio::test]
async fn a_row_that_is_copied_to_another_domain_opens_nothing() {
    let world = World::new();
    let process = world.process(local(&[1]));
    current(&process, &domain("a.test")).await;
    current(&process, &domain("b.test")).await;
    let key = |number: u64| ekitei_kv::keys::key(&(ekitei_kv::keys::subspace::KEYRING, 2u32, number));
    let row = world.database.transact(async |tx| tx.get(&key(1)).await).await.unwrap().unwrap().to_vec();
    // The wrapped key of a.test in a row that says b.test: both names have the same length.
    let at = row.windows(6).position(|part| part == b"a.test").unwrap();
    let mut forged = row.clone();
    forged[at..at + 6].copy_from_slice(b"b.test");
    let forged = &forged;
    world
        .database
        .transact(|tx| async move {
            tx.set(&key(2), forged);
            Ok::<_, ekitei_kv::Error>(())
        })
        .await
        .unwrap();
    let restarted = world.process(local(&[1]));
    let error = restarted.keyring.get(DataKeyId::new(2)).await.unwrap_err();
    assert!(matches!(error, KeyError::Unusable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_master_key_that_does_not_unwrap_wraps_nothing() {
    let world = World::new();
    let scope = &domain("a.test");
    let body = world.process(local(&[1])).store(scope, "text").await.unwrap();
    let inner = MasterKeys::local(&local(&[2])).unwrap().0.unwrap();
    let previous = MasterKeys::local(&local(&[1])).unwrap().0;
    let blind =
        world.process_with(local(&[1]), Some(Arc::new(OneWay(inner))), previous.into_iter().collect());
    let done = blind.keyring.rewrap().await.unwrap();
    assert_eq!(done, Rewrapped { rewrapped: 0, current: 0, failed: 1 });
    assert!(blind.store(&domain("b.test"), "another").await.is_err(), "nobody could read it after a restart");
    assert_eq!(world.process(local(&[1])).read(body).await.unwrap(), "text");
}

#[tokio::test]
async fn master_keys_are_taken_over_from_a_configuration_that_changes() {
    let world = World::new();
    let (process, scope) = (world.process(local(&[1])), &domain("a.test"));
    let body = process.store(scope, "text").await.unwrap();
    // One that is none changes nothing.
    process.configure(|encryption| encryption.master_key = Some(Secret::new("half of a ke")));
    assert_eq!(process.keyring.rewrap().await.unwrap(), Rewrapped { rewrapped: 0, current: 1, failed: 0 });
    // The one before is not forgotten, though the configuration does not have it any more.
    process.configure(|encryption| encryption.master_key = Some(secret(2)));
    assert_eq!(process.keyring.rewrap().await.unwrap(), Rewrapped { rewrapped: 1, current: 0, failed: 0 });
    let next = world.process(local(&[2]));
    assert_eq!(next.read(body).await.unwrap(), "text");
    next.store(&domain("b.test"), "another").await.unwrap();
    process.configure(|encryption| encryption.master_key = None);
    assert!(!process.blobs.encrypts());
    process.configure(|encryption| encryption.master_key = Some(secret(3)));
    assert!(process.blobs.encrypts());
    assert_eq!(process.keyring.rewrap().await.unwrap(), Rewrapped { rewrapped: 2, current: 0, failed: 0 });
}
