//! Watches: no change is missed; a spurious wake is allowed, so only engines of ours are tested for silence.

use std::time::Duration;

use ekitei_kv::{Error, Transaction, Watch};

use crate::harness::{Store, soon};

/// A watch that began with a committed read.
async fn watch(store: &Store, name: &str) -> Watch {
    let key = store.key(name);
    store.db.read(async |t: Transaction| Ok::<_, Error>(t.watch(&key))).await.unwrap()
}

/// Whether a watch stays asleep for a while.
async fn sleeps(watch: Watch) -> bool {
    tokio::time::timeout(Duration::from_millis(50), watch.changed()).await.is_err()
}

pub async fn a_watch_wakes_on_a_change(store: Store) {
    store.set(&[("set", "1"), ("cleared", "1")]).await;
    let watches =
        [watch(&store, "set").await, watch(&store, "cleared").await, watch(&store, "created").await];
    store
        .change(|t| {
            t.set(&store.key("set"), b"2");
            t.clear(&store.key("cleared"));
            t.add(&store.key("created"), 1);
        })
        .await;
    for watch in watches {
        soon(watch.changed()).await.unwrap();
    }
}

pub async fn a_watch_sees_a_change_between_read_and_commit(store: Store) {
    store.set(&[("a", "1")]).await;
    let t = store.db.begin();
    t.get_snapshot(&store.key("a")).await.unwrap();
    let watch = t.watch(&store.key("a"));
    store.set(&[("a", "2")]).await;
    t.commit().await.unwrap();
    soon(watch.changed()).await.unwrap();
}

pub async fn what_is_watched_has_been_read(store: Store) {
    store.set(&[("a", "1")]).await;
    let t = store.db.begin();
    let _watch = t.watch(&store.key("a"));
    t.get_snapshot(&store.key("a")).await.unwrap();
    store.set(&[("a", "2")]).await;
    t.set(&store.key("b"), b"");
    assert!(matches!(t.commit().await, Err(Error::Conflict)));
}

pub async fn a_watch_counts_from_its_own_write(store: Store) {
    let own = async |t: Transaction| {
        t.set(&store.key("a"), b"mine");
        Ok::<_, Error>((t.watch(&store.key("a")), t.watch(&store.key("a"))))
    };
    let (watch, silent) = store.db.transact(own).await.unwrap();
    if store.control.is_some() {
        assert!(sleeps(silent).await, "its own write is what it saw");
    }
    store.set(&[("a", "theirs")]).await;
    soon(watch.changed()).await.unwrap();
}

pub async fn a_watch_sleeps_through_unrelated_writes(store: Store) {
    if store.control.is_none() {
        return;
    }
    store.set(&[("a", "1")]).await;
    let quiet = watch(&store, "a").await;
    let same_value = watch(&store, "a").await;
    store.set(&[("aa", "2"), ("b", "2")]).await;
    assert!(sleeps(quiet).await);
    store.set(&[("a", "1")]).await;
    assert!(sleeps(same_value).await);
}

pub async fn a_watch_of_a_range_clear_wakes(store: Store) {
    store.set(&[("a", "1"), ("b", "1")]).await;
    let watch = watch(&store, "b").await;
    store.change(|t| t.clear_range(store.all())).await;
    soon(watch.changed()).await.unwrap();
}

pub async fn a_watch_of_a_transaction_that_ends_is_cancelled(store: Store) {
    let t = store.db.begin();
    let watch = t.watch(&store.key("a"));
    drop(t);
    soon(watch.changed()).await.unwrap_err();

    let t = store.db.begin();
    t.get(&store.key("a")).await.unwrap();
    t.set(&store.key("b"), b"");
    let watch = t.watch(&store.key("a"));
    store.set(&[("a", "conflict")]).await;
    t.commit().await.unwrap_err();
    soon(watch.changed()).await.unwrap_err();
}

pub async fn a_watch_of_a_closed_store_is_cancelled(store: Store) {
    if store.control.is_none() {
        return;
    }
    let watch = watch(&store, "a").await;
    drop(store);
    soon(watch.changed()).await.unwrap_err();
}
