//! FoundationDB's limits: at the limit passes, one more fails.

use std::time::Duration;

use ekitei_kv::{Error, RangeOptions, Transaction, limits};

use crate::harness::{Store, soon};

async fn commit(store: &Store, write: impl FnOnce(&Transaction)) -> Result<u64, Error> {
    let t = store.db.begin();
    write(&t);
    t.commit().await
}

pub async fn a_key_of_exactly_the_limit_passes(store: Store) {
    let mut key = store.key("");
    key.resize(limits::KEY_SIZE, b'k');
    commit(&store, |t| t.set(&key, b"at the limit")).await.unwrap();
    let t = store.db.begin();
    assert_eq!(t.get(&key).await.unwrap().as_deref(), Some(&b"at the limit"[..]));
    key.push(b'k');
    for write in [
        (|t, key| t.set(key, b"")) as fn(&Transaction, &[u8]),
        |t, key| t.clear(key),
        |t, key| t.add(key, 1),
        |t, key| t.set_versionstamped_value(key, &[0; 10], 0),
        |t, key| t.set_versionstamped_key(key, 20, b""),
    ] {
        let result = commit(&store, |t| write(t, &key)).await;
        assert!(matches!(result, Err(Error::KeyTooLarge(10_001))), "{result:?}");
    }
}

pub async fn a_value_of_exactly_the_limit_passes(store: Store) {
    let mut value = vec![b'v'; limits::VALUE_SIZE];
    commit(&store, |t| t.set(&store.key("a"), &value)).await.unwrap();
    value.push(b'v');
    let result = commit(&store, |t| t.set(&store.key("a"), &value)).await;
    assert!(matches!(result, Err(Error::ValueTooLarge(100_001))), "{result:?}");
    let t = store.db.begin();
    assert_eq!(t.get(&store.key("a")).await.unwrap().unwrap().len(), limits::VALUE_SIZE);
}

pub async fn a_transaction_of_exactly_the_limit_passes(store: Store) {
    let fill = |t: &Transaction, size: usize| {
        let value = vec![b'v'; limits::VALUE_SIZE];
        let mut number = 0;
        let mut row = |length: usize| {
            t.set(&store.key(&format!("{number:08}")), &value[..length]);
            number += 1;
        };
        row(0);
        let overhead = t.size();
        while t.size() + limits::VALUE_SIZE + 2 * overhead < size {
            row(limits::VALUE_SIZE);
        }
        // What is left is one value and its overhead, or two.
        let rest = size - t.size();
        if rest > limits::VALUE_SIZE + overhead {
            row(rest / 2 - overhead);
        }
        row(size - t.size() - overhead);
    };
    if store.control.is_none() {
        // A cluster counts its own structures; ours must only not be more generous.
        commit(&store, |t| fill(t, limits::TRANSACTION_SIZE)).await.unwrap();
        return;
    }
    commit(&store, |t| fill(t, limits::TRANSACTION_SIZE)).await.unwrap();
    let result = commit(&store, |t| fill(t, limits::TRANSACTION_SIZE + 1)).await;
    assert!(matches!(result, Err(Error::TransactionTooLarge(10_000_001))), "{result:?}");

    let t = store.db.begin();
    let before = t.size();
    t.add_read_conflict(store.range("a", "b"));
    t.add_write_conflict(store.range("a", "b"));
    assert_eq!(
        t.size() - before,
        2 * (2 * store.key("a").len() + limits::RANGE_OVERHEAD),
        "conflict ranges count"
    );
}

pub async fn what_is_only_read_has_no_limit(store: Store) {
    let t = store.db.begin();
    t.get(&store.key("a")).await.unwrap();
    let end = "k".repeat(limits::KEY_SIZE / 2);
    for number in 0..=limits::TRANSACTION_SIZE / end.len() {
        t.add_read_conflict(store.range("a", &format!("{end}{number}")));
    }
    assert!(t.size() > limits::TRANSACTION_SIZE);
    t.commit().await.unwrap();
}

pub async fn invalid_ranges_and_system_keys_are_refused(store: Store) {
    let t = store.db.begin();
    let inverted = store.key("b")..store.key("a");
    assert_misuse(t.get_range(inverted.clone(), RangeOptions::default()).await);
    assert_misuse(commit(&store, |t| t.clear_range(inverted.clone())).await);
    assert_misuse(commit(&store, |t| t.set(b"\xFF/system", b"")).await);
    assert_misuse(commit(&store, |t| t.clear_range(b"a".to_vec()..b"\xFF\x01".to_vec())).await);
    assert_misuse(commit(&store, |t| t.set_versionstamped_key(&[b'k'; 12], 3, b"")).await);
    assert_misuse(commit(&store, |t| t.set_versionstamped_value(&store.key("a"), &[0; 9], 0)).await);
    assert_eq!(store.rows().await, []);
}

pub async fn a_transaction_may_live_five_seconds(store: Store) {
    store.set(&[("a", "1")]).await;
    let read = store.db.begin();
    let write = store.db.begin();
    for t in [&read, &write] {
        t.get(&store.key("a")).await.unwrap();
    }
    write.set(&store.key("b"), b"");
    let Some(control) = &store.control else {
        // A cluster forgets in its own time, an idle one later; and what a transaction has read once it knows.
        tokio::time::sleep(limits::TRANSACTION_AGE).await;
        soon(async {
            for n in 0.. {
                if read.get(&store.key(&format!("b{n}"))).await.is_err() {
                    break;
                }
                store.set(&[("c", "1")]).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        assert_too_old(read.get(&store.key("b")).await);
        assert_too_old(read.commit().await);
        assert_too_old(write.commit().await);
        return;
    };
    let blind = store.db.begin();
    blind.set(&store.key("c"), b"");
    let at_the_limit = store.db.begin();
    at_the_limit.get(&store.key("a")).await.unwrap();
    at_the_limit.set(&store.key("d"), b"");
    control.clock.advance(limits::TRANSACTION_AGE);
    read.get(&store.key("b")).await.unwrap();
    at_the_limit.commit().await.unwrap();
    control.clock.advance(Duration::from_nanos(1));
    assert_too_old(read.get(&store.key("b")).await);
    assert_too_old(read.get_range(store.all(), RangeOptions::default()).await);
    assert_too_old(read.commit().await);
    assert_too_old(write.commit().await);
    control.clock.advance(Duration::from_secs(60));
    blind.commit().await.expect("who read nothing does not age");
}

fn assert_misuse<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::Misuse(_))), "{result:?}");
}

fn assert_too_old<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::TransactionTooOld)), "{result:?}");
}
