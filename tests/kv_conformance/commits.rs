//! Commits: sums, versionstamps, many writers, unknown results, and a disk that fails.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ekitei_kv::{CommitFault, Error, RangeOptions, Transaction, decode_counter};

use crate::harness::{Store, rows, soon};
use crate::own_writes::stamped_key;

async fn counter(store: &Store, name: &str) -> i64 {
    let key = store.key(name);
    let read = async |t: Transaction| t.get(&key).await;
    decode_counter(store.db.read::<_, Error, _, _>(read).await.unwrap().as_deref())
}

pub async fn concurrent_adds_lose_nothing(store: Store) {
    let store = Arc::new(store);
    let adding = (1..=16).map(|delta| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                store.change(|t| t.add(&store.key("sum"), delta)).await;
            }
        })
    });
    for task in adding.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(counter(&store, "sum").await, 10 * (1..=16).sum::<i64>());
    if store.control.is_some() {
        assert_eq!(store.db.statistics().conflicts, 0, "an addition reads nothing");
    }
}

pub async fn adds_treat_other_sizes_as_foundationdb_does(store: Store) {
    store.change(|t| t.set(&store.key("short"), &[5])).await;
    store.change(|t| t.set(&store.key("long"), &[7, 0, 0, 0, 0, 0, 0, 0, 9])).await;
    store.change(|t| t.set(&store.key("max"), &i64::MAX.to_le_bytes())).await;
    store
        .change(|t| ["short", "long", "max", "absent"].iter().for_each(|name| t.add(&store.key(name), 1)))
        .await;
    assert_eq!(counter(&store, "short").await, 6);
    assert_eq!(counter(&store, "long").await, 8);
    assert_eq!(counter(&store, "max").await, i64::MIN);
    assert_eq!(counter(&store, "absent").await, 1);
}

pub async fn versionstamps_follow_the_order_of_commits(store: Store) {
    let store = Arc::new(store);
    let writers = (0..8).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut versions = Vec::new();
            for number in 0..8 {
                let (template, offset) = stamped_key(&store, "log/");
                let value = format!("{writer} {number}");
                let write = async |t: Transaction| {
                    t.set_versionstamped_key(&template, offset, value.as_bytes());
                    Ok::<_, Error>(())
                };
                versions.push((store.db.transact_versioned(write).await.unwrap().version, value));
            }
            versions
        })
    });
    let mut committed = Vec::new();
    for task in writers.collect::<Vec<_>>() {
        committed.extend(task.await.unwrap());
    }
    let t = store.db.begin();
    let log = t.get_range(store.range("log/", "log0"), RangeOptions::default()).await.unwrap();
    assert_eq!(log.len(), 64, "no two stamps are the same");
    let stamp = |key: &[u8]| u64::from_be_bytes(key[key.len() - 10..key.len() - 2].try_into().unwrap());
    for (version, value) in &committed {
        let row = log.iter().find(|row| row.value == value.as_bytes()).unwrap();
        assert_eq!(stamp(&row.key), *version, "the stamp is the commit's version");
    }
    for writer in 0..8 {
        let own: Vec<_> =
            log.iter().filter(|row| row.value.starts_with(format!("{writer} ").as_bytes())).collect();
        assert!(own.is_sorted_by_key(|row| row.value.to_vec()), "writer {writer} sees its rows in its order");
    }
    assert!(log.iter().all(|row| stamp(&row.key) <= log.last().map(|last| stamp(&last.key)).unwrap()));
}

pub async fn versionstamped_keys_and_values_carry_the_same_stamp(store: Store) {
    let (mut template, offset) = stamped_key(&store, "log/");
    template.extend(b"/tail");
    let write = async |t: Transaction| {
        t.set_versionstamped_key(&template, offset, b"row");
        t.set_versionstamped_value(&store.key("value"), b"<0123456789>", 1);
        Ok::<_, Error>(())
    };
    let version = store.db.transact_versioned(write).await.unwrap().version;
    let t = store.db.begin();
    let row = t.get_range(store.range("log/", "log0"), RangeOptions::default()).await.unwrap().remove(0);
    let value = t.get(&store.key("value")).await.unwrap().unwrap();
    assert!(row.key.ends_with(b"/tail"));
    assert_eq!(row.key[offset..offset + 10], value[1..11]);
    assert_eq!(value[1..9], version.to_be_bytes());
    assert_eq!((value[0], value[11]), (b'<', b'>'));
    assert!(t.read_version().await.unwrap() >= version, "who commits can read it");
}

pub async fn sixty_four_writers_increment_one_counter(store: Store) {
    let store = Arc::new(store);
    let writers = (0..64).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let key = store.key("counter");
            let increment = async |t: Transaction| {
                let value = decode_counter(t.get(&key).await?.as_deref());
                t.set(&key, &(value + 1).to_le_bytes());
                Ok::<_, Error>(value)
            };
            store.db.transact(increment).await.unwrap()
        })
    });
    let mut seen = Vec::new();
    for task in writers.collect::<Vec<_>>() {
        seen.push(task.await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..64).collect::<Vec<i64>>(), "each saw a value of its own");
    assert_eq!(counter(&store, "counter").await, 64);
}

pub async fn an_unknown_result_is_retried_and_counted_once(store: Store) {
    let Some(control) = &store.control else { return };
    for (case, fault) in
        [("applied", CommitFault::UnknownApplied), ("not applied", CommitFault::UnknownNotApplied)]
    {
        control.faults.commits([Some(fault)]);
        let attempts = AtomicU32::new(0);
        let operation = store.key(&format!("operation {case}"));
        let count = async |t: Transaction| {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed);
            assert_eq!(t.may_have_committed(), attempt > 0);
            if t.may_have_committed() && t.get(&operation).await?.is_some() {
                return Ok::<_, Error>(());
            }
            t.set(&operation, b"done");
            t.add(&store.key("count"), 1);
            Ok(())
        };
        store.db.transact(count).await.unwrap();
        assert_eq!(attempts.load(Ordering::Relaxed), 2, "{case}");
    }
    assert_eq!(counter(&store, "count").await, 2, "each operation counted once");
}

pub async fn a_conflict_is_retried(store: Store) {
    let Some(control) = &store.control else { return };
    control.faults.commits([Some(CommitFault::Conflict), Some(CommitFault::Conflict)]);
    let attempts = AtomicU32::new(0);
    let write = async |t: Transaction| {
        attempts.fetch_add(1, Ordering::Relaxed);
        assert!(!t.may_have_committed(), "a conflict is certain");
        t.add(&store.key("count"), 1);
        Ok::<_, Error>(())
    };
    store.db.transact(write).await.unwrap();
    assert_eq!(attempts.load(Ordering::Relaxed), 3);
    assert_eq!(counter(&store, "count").await, 1);
    assert_eq!(store.db.statistics().conflicts, 2);
}

pub async fn an_error_of_the_closure_commits_nothing(store: Store) {
    let refuse = async |t: Transaction| {
        t.set(&store.key("a"), b"");
        Err::<(), _>(Error::Misuse("the closure's own"))
    };
    assert!(matches!(store.db.transact(refuse).await, Err(Error::Misuse("the closure's own"))));
    assert_eq!(store.rows().await, []);
}

pub async fn read_only_work_does_not_write(store: Store) {
    store.set(&[("a", "1")]).await;
    let before = store.db.statistics();
    let read = async |t: Transaction| {
        t.get(&store.key("a")).await?;
        Ok::<_, Error>(())
    };
    store.db.transact(read).await.unwrap();
    let ignored = async |t: Transaction| {
        t.set(&store.key("b"), b"never");
        t.get(&store.key("b")).await
    };
    assert_eq!(store.db.read::<_, Error, _, _>(ignored).await.unwrap().as_deref(), Some(&b"never"[..]));
    assert_eq!(store.rows().await, rows(&[("a", "1")]));
    let after = store.db.statistics();
    assert_eq!((after.commits, after.fsyncs), (before.commits, before.fsyncs));
    assert!(after.reads >= before.reads + 2);
}

pub async fn after_a_failed_fsync_nothing_is_promised(store: Store) {
    let Some(control) = &store.control else { return };
    store.set(&[("a", "promised")]).await;
    control.faults.fail_sync(ErrorKind::Other);
    stops_with(store, "durable").await;
}

pub async fn after_a_full_disk_nothing_is_promised(store: Store) {
    let Some(control) = &store.control else { return };
    store.set(&[("a", "promised")]).await;
    control.faults.fail_write(ErrorKind::StorageFull);
    stops_with(store, "no storage space").await;
}

pub async fn an_unknown_result_stays_unknown_when_the_store_fails(store: Store) {
    let Some(control) = &store.control else { return };
    control.faults.fail_sync(ErrorKind::Other);
    let write = async |t: Transaction| {
        t.set(&store.key("a"), b"not promised");
        Ok::<_, Error>(())
    };
    let result = soon(store.db.transact(write)).await;
    assert!(matches!(result, Err(Error::CommitUnknown)), "{result:?}");
    let result = soon(store.db.transact(write)).await;
    assert!(matches!(result, Err(Error::Unavailable(_))), "this one surely did not happen: {result:?}");
}

/// The next commit ends unknown; then there are none, and reads still see what was promised and nothing else.
async fn stops_with(store: Store, reason: &str) {
    let t = store.db.begin();
    t.set(&store.key("a"), b"not promised");
    assert!(matches!(soon(t.commit()).await, Err(Error::CommitUnknown)));
    let write = async |t: Transaction| {
        t.set(&store.key("b"), b"");
        Ok::<_, Error>(())
    };
    match soon(store.db.transact(write)).await {
        Err(Error::Unavailable(why)) => assert!(why.contains(reason), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.rows().await, rows(&[("a", "promised")]));
}
