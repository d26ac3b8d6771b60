//! Linearizability of one register: a history of concurrent operations must have an order that respects time and in
//! which every result is right. Checked by trying all orders, so histories are small and many.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ekitei_kv::{Error, Transaction};

use crate::harness::Store;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Read(Option<u8>),
    Write(u8),
    /// From, to, and whether it happened.
    CompareAndSet(u8, u8, bool),
}

/// An operation with the moments at which it was begun and answered.
#[derive(Clone, Copy, Debug)]
struct Event {
    operation: Operation,
    begun: u64,
    answered: u64,
}

const ROUNDS: u64 = 30;
const CLIENTS: u64 = 4;
const OPERATIONS: u64 = 4;

pub async fn a_register_is_linearizable(store: Store) {
    let store = Arc::new(store);
    for round in 0..ROUNDS {
        let register = store.key(&format!("register {round}"));
        let time = Arc::new(AtomicU64::new(0));
        let clients = (0..CLIENTS).map(|client| {
            let (store, register, time) = (store.clone(), register.clone(), time.clone());
            tokio::spawn(async move {
                let mut history = Vec::new();
                for step in 0..OPERATIONS {
                    let begun = time.fetch_add(1, Ordering::SeqCst);
                    let operation = run(&store, &register, round * 31 + client * 7 + step * 3).await;
                    let answered = time.fetch_add(1, Ordering::SeqCst);
                    history.push(Event { operation, begun, answered });
                }
                history
            })
        });
        let mut history = Vec::new();
        for client in clients.collect::<Vec<_>>() {
            history.extend(client.await.unwrap());
        }
        assert!(is_linearizable(&history), "round {round}: {history:#?}");
    }
}

/// Runs the operation that `choice` stands for.
async fn run(store: &Store, register: &[u8], choice: u64) -> Operation {
    let value = u8::try_from(choice % 4).unwrap();
    let decode = |bytes: Option<&[u8]>| bytes.map(|bytes| bytes[0]);
    match choice % 3 {
        0 => {
            let read = |t: Transaction| async move { t.get(register).await };
            Operation::Read(decode(store.db.read::<_, Error, _, _>(read).await.unwrap().as_deref()))
        }
        1 => {
            store.change(|t| t.set(register, &[value])).await;
            Operation::Write(value)
        }
        _ => {
            let to = (value + 1) % 4;
            let exchange = |t: Transaction| async move {
                let is_equal = decode(t.get(register).await?.as_deref()) == Some(value);
                if is_equal {
                    t.set(register, &[to]);
                }
                Ok::<_, Error>(is_equal)
            };
            Operation::CompareAndSet(value, to, store.db.transact(exchange).await.unwrap())
        }
    }
}

fn is_linearizable(history: &[Event]) -> bool {
    let mut refuted = HashSet::new();
    search(history, 0, None, &mut refuted)
}

/// Whether the events not in the set `done` have a right order from this value of the register on.
fn search(history: &[Event], done: u32, value: Option<u8>, refuted: &mut HashSet<(u32, Option<u8>)>) -> bool {
    let is_open = |index: &usize| done & (1 << index) == 0;
    let open: Vec<usize> = (0..history.len()).filter(is_open).collect();
    // What was begun after another open one had been answered cannot be next.
    let Some(first_answer) = open.iter().map(|&index| history[index].answered).min() else { return true };
    if !refuted.insert((done, value)) {
        return false;
    }
    open.iter().filter(|&&index| history[index].begun < first_answer).any(|&index| {
        let next = match history[index].operation {
            Operation::Read(seen) => (seen == value).then_some(value),
            Operation::Write(written) => Some(Some(written)),
            Operation::CompareAndSet(from, to, true) => (value == Some(from)).then_some(Some(to)),
            Operation::CompareAndSet(from, _, false) => (value != Some(from)).then_some(value),
        };
        next.is_some_and(|next| search(history, done | 1 << index, next, refuted))
    })
}

#[test]
fn the_checker_refuses_a_stale_read_and_a_lost_update() {
    let event = |operation, begun, answered| Event { operation, begun, answered };
    let stale = [event(Operation::Write(1), 0, 1), event(Operation::Read(None), 2, 3)];
    assert!(!is_linearizable(&stale));
    let concurrent = [event(Operation::Write(1), 0, 3), event(Operation::Read(None), 1, 2)];
    assert!(is_linearizable(&concurrent));
    let lost_update = [
        event(Operation::Write(1), 0, 1),
        event(Operation::CompareAndSet(1, 2, true), 2, 5),
        event(Operation::CompareAndSet(1, 3, true), 3, 4),
    ];
    assert!(!is_linearizable(&lost_update));
}
