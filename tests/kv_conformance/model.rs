//! Any sequence of transactions gives what a `BTreeMap` gives.

use std::collections::BTreeMap;
use std::ops::Range;

use ekitei_kv::{RangeOptions, Transaction, decode_counter};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};
use tokio::runtime::Handle;

use crate::harness::Store;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    Set(u8, u8),
    Clear(u8),
    ClearRange(u8, u8),
    Add(u8, i8),
    Get(u8),
    GetRange { start: u8, end: u8, limit: usize, reverse: bool },
}

/// Steps, and whether they are committed.
type Script = Vec<(Vec<Step>, bool)>;

const KEYS: u8 = 12;
const CASES: u32 = 48;

fn script() -> impl Strategy<Value = Script> {
    let key = 0..KEYS;
    let step = prop_oneof![
        (key.clone(), any::<u8>()).prop_map(|(key, value)| Step::Set(key, value)),
        key.clone().prop_map(Step::Clear),
        (key.clone(), key.clone()).prop_map(|(a, b)| Step::ClearRange(a.min(b), a.max(b))),
        (key.clone(), any::<i8>()).prop_map(|(key, delta)| Step::Add(key, delta)),
        key.clone().prop_map(Step::Get),
        (key.clone(), key, 0usize..6, any::<bool>()).prop_map(|(a, b, limit, reverse)| Step::GetRange {
            start: a.min(b),
            end: a.max(b),
            limit,
            reverse
        }),
    ];
    let transaction = (prop::collection::vec(step, 1..14), prop::bool::weighted(0.8));
    prop::collection::vec(transaction, 1..7)
}

pub async fn any_sequence_of_transactions_agrees_with_a_map(store: Store) {
    tokio::task::block_in_place(|| {
        let mut runner =
            TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
        let result = runner.run(&script(), |script| Handle::current().block_on(check(&store, script)));
        if let Err(error) = result {
            panic!("{error}");
        }
    });
}

async fn check(store: &Store, script: Script) -> TestCaseResult {
    store.change(|t| t.clear_range(store.all())).await;
    let mut committed = Model::new();
    for (steps, is_committed) in script {
        let t = store.db.begin();
        let mut model = committed.clone();
        for step in steps {
            take(store, &t, &mut model, step).await?;
        }
        if is_committed {
            t.commit().await.unwrap();
            committed = model;
        }
        let t = store.db.begin();
        let rows = t.get_range(store.all(), RangeOptions::default()).await.unwrap();
        let rows: Model = rows.into_iter().map(|row| (row.key.to_vec(), row.value.to_vec())).collect();
        prop_assert_eq!(&rows, &committed);
    }
    Ok(())
}

fn key(store: &Store, number: u8) -> Vec<u8> {
    // Some keys are prefixes of others.
    store.key(&"k".repeat(usize::from(number / 3))).into_iter().chain([b'a' + number % 3]).collect()
}

fn range(store: &Store, start: u8, end: u8) -> Range<Vec<u8>> {
    let (a, b) = (key(store, start), key(store, end));
    a.clone().min(b.clone())..a.max(b)
}

async fn take(store: &Store, t: &Transaction, model: &mut Model, step: Step) -> TestCaseResult {
    match step {
        Step::Set(number, value) => {
            t.set(&key(store, number), &[value]);
            model.insert(key(store, number), vec![value]);
        }
        Step::Clear(number) => {
            t.clear(&key(store, number));
            model.remove(&key(store, number));
        }
        Step::ClearRange(start, end) => {
            let range = range(store, start, end);
            t.clear_range(range.clone());
            model.retain(|key, _| !range.contains(key));
        }
        Step::Add(number, delta) => {
            let key = key(store, number);
            t.add(&key, delta.into());
            let mut bytes = model.get(&key).cloned().unwrap_or_default();
            bytes.resize(8, 0);
            let sum = decode_counter(Some(&bytes)).wrapping_add(delta.into());
            model.insert(key, sum.to_le_bytes().to_vec());
        }
        Step::Get(number) => {
            let key = key(store, number);
            let value = t.get(&key).await.unwrap();
            prop_assert_eq!(value.as_deref(), model.get(&key).map(Vec::as_slice));
        }
        Step::GetRange { start, end, limit, reverse } => {
            let range = range(store, start, end);
            let options = RangeOptions { limit, reverse, snapshot: false };
            let rows = t.get_range(range.clone(), options).await.unwrap();
            let rows: Vec<_> = rows.into_iter().map(|row| (row.key.to_vec(), row.value.to_vec())).collect();
            let mut expected: Vec<_> =
                model.range(range).map(|(key, value)| (key.clone(), value.clone())).collect();
            if reverse {
                expected.reverse();
            }
            if limit > 0 {
                expected.truncate(limit);
            }
            prop_assert_eq!(rows, expected);
        }
    }
    Ok(())
}
