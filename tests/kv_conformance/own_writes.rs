//! A transaction reads what it wrote, merged with its snapshot.

use ekitei_kv::{Error, RangeOptions, Transaction, decode_counter};

use crate::harness::{Store, rows};

pub async fn a_transaction_reads_its_own_writes(store: Store) {
    store.set(&[("kept", "old"), ("changed", "old"), ("cleared", "old"), ("in range", "old")]).await;
    let t = store.db.begin();
    let get = async |name: &str| t.get(&store.key(name)).await.unwrap();
    t.set(&store.key("changed"), b"new");
    t.set(&store.key("added"), b"new");
    t.clear(&store.key("cleared"));
    t.clear_range(store.range("in", "io"));
    assert_eq!(get("kept").await.as_deref(), Some(&b"old"[..]));
    assert_eq!(get("changed").await.as_deref(), Some(&b"new"[..]));
    assert_eq!(get("added").await.as_deref(), Some(&b"new"[..]));
    assert_eq!(get("cleared").await, None);
    assert_eq!(get("in range").await, None);
    t.set(&store.key("in range"), b"again");
    assert_eq!(get("in range").await.as_deref(), Some(&b"again"[..]));
    drop(t);
    let untouched = [("changed", "old"), ("cleared", "old"), ("in range", "old"), ("kept", "old")];
    assert_eq!(store.rows().await, rows(&untouched), "what is not committed never happened");
}

pub async fn ranges_merge_own_writes_in_both_directions(store: Store) {
    store.set(&[("a", "1"), ("c", "3"), ("d", "4"), ("e", "5"), ("g", "7"), ("h", "8")]).await;
    let t = store.db.begin();
    t.set(&store.key("b"), b"own");
    t.set(&store.key("c"), b"own");
    t.clear_range(store.range("d", "g"));
    t.set(&store.key("f"), b"own, in the cleared range");
    t.clear(&store.key("h"));
    t.set(&store.key("i"), b"own, behind all");
    let expected = rows(&[
        ("a", "1"),
        ("b", "own"),
        ("c", "own"),
        ("f", "own, in the cleared range"),
        ("g", "7"),
        ("i", "own, behind all"),
    ]);
    for limit in [0, 1, 2, 3, 4, 5, 6, 7] {
        let shown = if limit == 0 { expected.len() } else { limit.min(expected.len()) };
        let options = RangeOptions { limit, ..RangeOptions::default() };
        let forward = t.get_range(store.all(), options).await.unwrap();
        assert_eq!(store.readable(forward), expected[..shown], "limit {limit}");
        let backward = t.get_range(store.all(), RangeOptions { reverse: true, ..options }).await.unwrap();
        let reversed: Vec<_> = expected.iter().rev().take(shown).cloned().collect();
        assert_eq!(store.readable(backward), reversed, "limit {limit}, reverse");
    }
    t.commit().await.unwrap();
    assert_eq!(store.rows().await, expected);
}

pub async fn sums_are_visible_before_the_commit(store: Store) {
    store.change(|t| t.add(&store.key("sum"), 40)).await;
    let t = store.db.begin();
    let key = store.key("sum");
    t.add(&key, 1);
    t.add(&key, 1);
    assert_eq!(decode_counter(t.get(&key).await.unwrap().as_deref()), 42);
    let row = t.get_range(store.all(), RangeOptions::default()).await.unwrap().remove(0);
    assert_eq!(decode_counter(Some(&row.value)), 42);
    t.clear(&key);
    t.add(&key, -7);
    assert_eq!(decode_counter(t.get(&key).await.unwrap().as_deref()), -7);
    t.clear_range(store.all());
    t.add(&key, 3);
    t.add(&store.key("zero"), 0);
    t.commit().await.unwrap();
    let t = store.db.begin();
    assert_eq!(decode_counter(t.get(&key).await.unwrap().as_deref()), 3);
    assert_eq!(t.get(&store.key("zero")).await.unwrap().as_deref(), Some(&[0; 8][..]));
}

pub async fn reading_only_own_writes_does_not_conflict(store: Store) {
    store.set(&[("a", "1")]).await;
    let t = store.db.begin();
    t.read_version().await.unwrap();
    t.set(&store.key("a"), b"mine");
    t.clear_range(store.range("b", "c"));
    assert_eq!(t.get(&store.key("a")).await.unwrap().as_deref(), Some(&b"mine"[..]));
    assert_eq!(t.get(&store.key("bb")).await.unwrap(), None);
    store.set(&[("a", "theirs"), ("bb", "theirs")]).await;
    t.commit().await.unwrap();
    assert_eq!(store.rows().await, rows(&[("a", "mine")]));
}

/// A transaction that has written a versionstamped row of `log/` and a versionstamped `value`, and has read nothing.
fn stamping(store: &Store) -> Transaction {
    let t = store.db.begin();
    let (template, offset) = stamped_key(store, "log/");
    t.set_versionstamped_key(&template, offset, b"row");
    t.set_versionstamped_value(&store.key("value"), &[0; 10], 0);
    t
}

pub async fn versionstamped_rows_cannot_be_read_before_the_commit(store: Store) {
    store.set(&[("log/", "start")]).await;
    let range = async |t: &Transaction, start: &str, end: &str| {
        t.get_range(store.range(start, end), RangeOptions::default()).await
    };
    let t = stamping(&store);
    assert_unreadable(t.get(&store.key("value")).await);
    assert_refused(&store, t).await;
    let t = stamping(&store);
    assert_unreadable(range(&t, "v", "w").await);
    assert_refused(&store, t).await;
    let t = stamping(&store);
    assert_unreadable(range(&t, "log/", "log0").await);
    assert_refused(&store, t).await;
    let t = stamping(&store);
    let between = store.key("log/between");
    assert_unreadable(t.get(&between).await);
    assert_refused(&store, t).await;

    let t = stamping(&store);
    let certain = range(&t, "log", "log/\0").await.unwrap();
    assert_eq!(
        store.readable(certain),
        rows(&[("log/", "start")]),
        "a range that ends before the stamp is certain"
    );
    t.commit().await.unwrap();
    assert_eq!(store.rows().await.len(), 3);
}

pub async fn a_limit_before_a_versionstamped_row_promises_nothing(store: Store) {
    store.set(&[("log/", "start")]).await;
    let t = stamping(&store);
    let options = RangeOptions { limit: 1, ..RangeOptions::default() };
    match t.get_range(store.range("log/", "log0"), options).await {
        // FoundationDB stops there, unless it has looked further for reasons of its own.
        Ok(found) if store.control.is_none() => {
            assert_eq!(store.readable(found), rows(&[("log/", "start")]));
            t.commit().await.unwrap();
        }
        unreadable => {
            assert_unreadable(unreadable);
            assert_refused(&store, t).await;
        }
    }
}

pub async fn the_read_version_bounds_what_cannot_be_read(store: Store) {
    let (template, offset) = stamped_key(&store, "log/");
    let write = |t: &Transaction| t.set_versionstamped_key(&template, offset, b"row");
    store.change(write).await;
    store.set(&[("later", "")]).await;
    let earlier =
        store.db.read(async |t: Transaction| t.get_range(store.all(), RangeOptions::default()).await);
    let earlier = earlier.await.unwrap().remove(1).key;
    let t = store.db.begin();
    t.read_version().await.unwrap();
    write(&t);
    assert!(t.get(&earlier).await.unwrap().is_some(), "no later commit has that stamp");
    t.commit().await.unwrap();
    let t = store.db.begin();
    write(&t);
    assert_unreadable(t.get(&earlier).await);
}

pub async fn what_is_set_over_a_versionstamp_cannot_be_read_either(store: Store) {
    let key = store.key("value");
    let t = stamping(&store);
    t.set(&key, b"overwritten");
    t.clone().commit().await.unwrap();
    assert_eq!(store.get("value").await.as_deref(), Some("overwritten"));
    let t = stamping(&store);
    t.set(&key, b"overwritten");
    t.add(&key, 1);
    assert_unreadable(t.get(&key).await);
    assert_refused(&store, t).await;
    let t = stamping(&store);
    t.clear(&key);
    assert_eq!(t.get(&key).await.unwrap(), None);
    t.set(&key, b"after a clear");
    assert_eq!(t.get(&key).await.unwrap().as_deref(), Some(&b"after a clear"[..]));
    t.commit().await.unwrap();
    assert_eq!(store.get("value").await.as_deref(), Some("after a clear"));
}

pub async fn a_range_clear_undoes_a_versionstamped_row_from_its_lowest_key(store: Store) {
    store.set(&[("a", "")]).await;
    let (template, offset) = stamped_key(&store, "log/");
    let until = |version: u64| store.key("log/")..[&template[..offset], &version.to_be_bytes()[..]].concat();
    let t = store.db.begin();
    t.set_versionstamped_key(&template, offset, b"undone: written before the first read");
    let version = store.db.begin().read_version().await.unwrap();
    t.clear_range(until(version));
    t.commit().await.unwrap();
    assert_eq!(store.rows().await.len(), 1);
    let t = store.db.begin();
    let version = t.read_version().await.unwrap();
    t.set_versionstamped_key(&template, offset, b"kept");
    t.clear_range(until(version));
    t.clear(&template);
    t.commit().await.unwrap();
    assert_eq!(store.rows().await.len(), 2);
}

pub async fn a_spent_transaction_refuses(store: Store) {
    let t = store.db.begin();
    t.set(&store.key("a"), b"1");
    t.clone().commit().await.unwrap();
    assert!(matches!(t.get(&store.key("a")).await, Err(Error::Misuse(_))));
    t.set(&store.key("a"), b"2");
    assert!(matches!(t.commit().await, Err(Error::Misuse(_))));
    assert_eq!(store.rows().await, rows(&[("a", "1")]));
}

/// A key that ends with room for a versionstamp, and where that is.
pub fn stamped_key(store: &Store, name: &str) -> (Vec<u8>, usize) {
    let mut key = store.key(name);
    let offset = key.len();
    key.extend([0xFF; 10]);
    (key, offset)
}

fn assert_unreadable<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::AccessedUnreadable)), "{result:?}");
}

/// The commit of a transaction whose read failed fails like that, and changes nothing.
async fn assert_refused(store: &Store, t: Transaction) {
    let before = store.rows().await;
    assert_unreadable(t.commit().await);
    assert_eq!(store.rows().await, before);
}
