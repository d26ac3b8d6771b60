//! Order and isolation: transactions run as if one after the other.

use ekitei_kv::{Error, RangeOptions, Result};

use crate::harness::{Store, rows};

pub async fn rows_are_read_in_key_order_from_both_ends(store: Store) {
    store.set(&[("b", "2"), ("a", "1"), ("ba", "3"), ("b\0", "4"), ("c", "5")]).await;
    let t = store.db.begin();
    let all = RangeOptions::default();
    let forward = t.get_range(store.all(), all).await.unwrap();
    let ordered = rows(&[("a", "1"), ("b", "2"), ("b\0", "4"), ("ba", "3"), ("c", "5")]);
    assert_eq!(store.readable(forward), ordered);

    let backward = t.get_range(store.all(), RangeOptions { reverse: true, ..all }).await.unwrap();
    assert_eq!(store.readable(backward), ordered.iter().rev().cloned().collect::<Vec<_>>());

    let first = t.get_range(store.all(), RangeOptions { limit: 2, ..all }).await.unwrap();
    assert_eq!(store.readable(first), ordered[..2]);
    let last = t.get_range(store.all(), RangeOptions { limit: 2, reverse: true, ..all }).await.unwrap();
    assert_eq!(store.readable(last), rows(&[("c", "5"), ("ba", "3")]));

    let without_end = t.get_range(store.range("b", "ba"), all).await.unwrap();
    assert_eq!(store.readable(without_end), rows(&[("b", "2"), ("b\0", "4")]));
    assert!(t.get_range(store.range("b", "b"), all).await.unwrap().is_empty());
}

pub async fn a_transaction_reads_one_snapshot(store: Store) {
    store.set(&[("a", "old"), ("b", "old"), ("gone", "old")]).await;
    let t = store.db.begin();
    assert_eq!(t.get(&store.key("a")).await.unwrap().as_deref(), Some(&b"old"[..]));
    let version = t.read_version().await.unwrap();
    store
        .change(|t| {
            t.set(&store.key("b"), b"new");
            t.set(&store.key("c"), b"new");
            t.clear(&store.key("gone"));
        })
        .await;
    assert_eq!(t.get(&store.key("b")).await.unwrap().as_deref(), Some(&b"old"[..]));
    let seen = t.get_range(store.all(), RangeOptions::default()).await.unwrap();
    assert_eq!(store.readable(seen), rows(&[("a", "old"), ("b", "old"), ("gone", "old")]));
    assert_eq!(t.read_version().await.unwrap(), version);
    assert_eq!(store.rows().await, rows(&[("a", "old"), ("b", "new"), ("c", "new")]));
}

pub async fn a_lost_update_is_refused(store: Store) {
    store.set(&[("n", "0")]).await;
    let (first, second) = (store.db.begin(), store.db.begin());
    for t in [&first, &second] {
        t.get(&store.key("n")).await.unwrap();
    }
    first.set(&store.key("n"), b"1");
    second.set(&store.key("n"), b"2");
    first.commit().await.unwrap();
    assert_conflict(second.commit().await);
    assert_eq!(store.get("n").await.as_deref(), Some("1"));
}

pub async fn write_skew_is_refused(store: Store) {
    store.set(&[("alice on call", "yes"), ("bob on call", "yes")]).await;
    let (alice, bob) = (store.db.begin(), store.db.begin());
    for (t, leaves) in [(&alice, "alice on call"), (&bob, "bob on call")] {
        t.get(&store.key("alice on call")).await.unwrap();
        t.get(&store.key("bob on call")).await.unwrap();
        t.set(&store.key(leaves), b"no");
    }
    alice.commit().await.unwrap();
    assert_conflict(bob.commit().await);
    assert_eq!(store.get("bob on call").await.as_deref(), Some("yes"), "someone must be left");
}

pub async fn a_phantom_is_refused(store: Store) {
    store.set(&[("room/1", "taken")]).await;
    let (first, second) = (store.db.begin(), store.db.begin());
    for (t, row) in [(&first, "room/2"), (&second, "room/3")] {
        let seen = t.get_range(store.range("room/", "room0"), RangeOptions::default()).await.unwrap();
        assert_eq!(seen.len(), 1);
        t.set(&store.key(row), b"taken");
    }
    first.commit().await.unwrap();
    assert_conflict(second.commit().await);
    let absent = store.db.begin();
    assert!(absent.get(&store.key("absent")).await.unwrap().is_none());
    absent.set(&store.key("mine"), b"");
    store.set(&[("absent", "now here")]).await;
    assert_conflict(absent.commit().await);
}

pub async fn a_limited_read_conflicts_only_with_what_it_saw(store: Store) {
    store.set(&[("a", ""), ("b", ""), ("c", ""), ("d", "")]).await;
    for (reverse, unseen, seen) in [(false, "c", "aa"), (true, "b", "cc")] {
        let options = RangeOptions { limit: 2, reverse, ..RangeOptions::default() };
        let lucky = store.db.begin();
        lucky.get_range(store.range("a", "e"), options).await.unwrap();
        lucky.set(&store.key("result"), b"");
        store.set(&[(unseen, "changed")]).await;
        lucky.commit().await.unwrap();

        let unlucky = store.db.begin();
        unlucky.get_range(store.range("a", "e"), options).await.unwrap();
        unlucky.set(&store.key("result"), b"");
        store.change(|t| t.set(&store.key(seen), b"between the rows it saw")).await;
        assert_conflict(unlucky.commit().await);
        store.change(|t| t.clear(&store.key(seen))).await;
    }
}

pub async fn snapshot_reads_do_not_conflict(store: Store) {
    store.set(&[("a", "1"), ("b", "1")]).await;
    let t = store.db.begin();
    t.get_snapshot(&store.key("a")).await.unwrap();
    t.get_range(store.all(), RangeOptions { snapshot: true, ..RangeOptions::default() }).await.unwrap();
    t.set(&store.key("result"), b"");
    store.set(&[("a", "2"), ("b", "2"), ("bb", "new")]).await;
    t.commit().await.unwrap();
}

pub async fn explicit_conflict_ranges_count(store: Store) {
    let reader = store.db.begin();
    reader.read_version().await.unwrap();
    reader.add_read_conflict(store.range("a", "b"));
    reader.set(&store.key("result"), b"");
    store.set(&[("aa", "")]).await;
    assert_conflict(reader.commit().await);

    let beside = store.db.begin();
    beside.read_version().await.unwrap();
    beside.add_read_conflict(store.range("a", "b"));
    beside.set(&store.key("result"), b"");
    store.set(&[("b", "")]).await;
    beside.commit().await.unwrap();

    let reader = store.db.begin();
    reader.get(&store.key("x")).await.unwrap();
    reader.set(&store.key("result"), b"");
    let writer = store.db.begin();
    writer.add_write_conflict(store.range("x", "y"));
    writer.commit().await.unwrap();
    assert_conflict(reader.commit().await);
    assert_eq!(store.get("x").await, None, "a write conflict writes nothing");
}

pub async fn blind_writes_and_adds_do_not_conflict(store: Store) {
    let (first, second) = (store.db.begin(), store.db.begin());
    for (t, value) in [(&first, b"1"), (&second, b"2")] {
        t.read_version().await.unwrap();
        t.set(&store.key("set"), value);
        t.add(&store.key("sum"), 1);
    }
    second.commit().await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(store.get("set").await.as_deref(), Some("1"), "the last commit wins");
}

pub async fn a_cleared_range_conflicts_with_its_readers(store: Store) {
    store.set(&[("a", ""), ("b", "")]).await;
    let reader = store.db.begin();
    reader.get(&store.key("bb")).await.unwrap();
    reader.set(&store.key("result"), b"");
    store.change(|t| t.clear_range(store.range("a", "c"))).await;
    assert_conflict(reader.commit().await);
    assert_eq!(store.rows().await, []);
}

pub async fn a_scan_gives_all_rows_in_pages(store: Store) {
    let names: Vec<String> = (0..2_500).map(|number| format!("{number:04}")).collect();
    store.change(|t| names.iter().for_each(|name| t.set(&store.key(name), name.as_bytes()))).await;
    let mut pages = 0;
    let mut scanned = Vec::new();
    let collect = |page| {
        pages += 1;
        scanned.extend(store.readable(page).into_iter().map(|(key, _)| key));
        Ok::<_, Error>(())
    };
    store.db.scan(store.all(), collect).await.unwrap();
    assert!(pages > 1);
    assert_eq!(scanned, names);
}

fn assert_conflict<T: std::fmt::Debug>(result: Result<T>) {
    assert!(matches!(result, Err(Error::Conflict)), "{result:?}");
}
