//! What accounts and domains hold: exact whatever happened to commits, and set right when rows are damaged.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ekitei_kv::keys::key;
use ekitei_kv::keys::subspace::MAILBOXES;
use ekitei_kv::{Database, Transaction};
use ekitei_mailstore::{
    AccountId, Counted, CountedPlace, Difference, DomainQuota, Error, ExpungeScope, FlagChange,
    FlagOperation, Flags, Keywords, MailboxId, MailboxName, Quota, Repair, Uid, Usage,
};
use support::{Fixture, domain};

const ALICE: AccountId = AccountId::new(1);
const BOB: AccountId = AccountId::new(2);
const INBOX: MailboxId = MailboxId::INBOX;

fn uids(numbers: std::ops::RangeInclusive<u32>) -> Vec<Uid> {
    numbers.filter_map(Uid::new).collect()
}

async fn sum(fixture: &Fixture) -> Usage {
    let (alice, bob) = (fixture.store.usage(ALICE).await.unwrap(), fixture.store.usage(BOB).await.unwrap());
    Usage { bytes: alice.bytes + bob.bytes, messages: alice.messages + bob.messages }
}

/// Adds to a counter behind the store's back.
async fn damage(database: &Database, key: Vec<u8>, by: i64) {
    let key = &key;
    let add = |transaction: Transaction| async move {
        transaction.add(key, by);
        Ok::<_, ekitei_kv::Error>(())
    };
    database.transact(add).await.unwrap();
}

fn difference(place: CountedPlace, what: Counted, counter: i64, actual: i64) -> Difference {
    Difference { place, what, counter, actual }
}

#[tokio::test]
async fn a_domain_holds_what_its_accounts_hold_at_every_step() {
    let fixture = Fixture::counting().await;
    let store = &fixture.store;
    fixture.deliver(&[ALICE, BOB], "one").await;
    fixture.next_commit_unknown(true);
    fixture.deliver(&[ALICE], "two").await;
    fixture.next_commit_unknown(false);
    fixture.append(BOB, INBOX, 3).await;
    assert_eq!(store.domain_usage(&domain()).await.unwrap(), sum(&fixture).await);
    assert_eq!(sum(&fixture).await.messages, 6);

    let archive = store.mailbox(ALICE, &MailboxName::new("Archive").unwrap()).await.unwrap().unwrap();
    fixture.next_commit_unknown(true);
    store.copy(ALICE, INBOX, &uids(1..=2), archive.id, None).await.unwrap();
    fixture.next_commit_unknown(true);
    store.expunge(BOB, INBOX, &ExpungeScope::Exactly(uids(1..=1))).await.unwrap();
    assert_eq!(sum(&fixture).await.messages, 7);
    assert_eq!(store.domain_usage(&domain()).await.unwrap(), sum(&fixture).await);

    fixture.next_commit_unknown(true);
    store.delete_mailbox(ALICE, &archive.name).await.unwrap();
    assert_eq!(store.domain_usage(&domain()).await.unwrap(), sum(&fixture).await);
    fixture.recount(&[ALICE, BOB]).await;

    store.delete_account(ALICE).await.unwrap();
    assert_eq!(store.usage(ALICE).await.unwrap(), Usage::default());
    assert_eq!(store.domain_usage(&domain()).await.unwrap(), store.usage(BOB).await.unwrap());
    store.delete_account(BOB).await.unwrap();
    assert_eq!(store.domain_usage(&domain()).await.unwrap(), Usage::default());
    // An account whose mail was deleted goes on.
    fixture.another_pod().deliver(fixture.delivery(&[ALICE], "again")).await.unwrap();
    assert_eq!(store.domain_usage(&domain()).await.unwrap(), store.usage(ALICE).await.unwrap());
    fixture.recount(&[ALICE, BOB]).await;
}

#[tokio::test]
async fn accounts_of_an_earlier_release_bring_along_what_they_hold() {
    let fixture = Fixture::counting().await;
    let earlier = fixture.earlier_release();
    earlier.deliver(fixture.delivery(&[ALICE, BOB], "before")).await.unwrap();
    assert_eq!(fixture.store.domain_usage(&domain()).await.unwrap(), Usage::default());
    // With the next change of what it holds, or when all are counted.
    fixture.next_commit_unknown(true);
    fixture.deliver(&[ALICE], "after").await;
    assert_eq!(
        fixture.store.domain_usage(&domain()).await.unwrap(),
        fixture.store.usage(ALICE).await.unwrap()
    );
    // From then on a process that lets no account begin counts those that did.
    earlier.deliver(fixture.delivery(&[ALICE], "mixed")).await.unwrap();
    fixture.store.count_all().await.unwrap();
    assert_eq!(fixture.store.domain_usage(&domain()).await.unwrap(), sum(&fixture).await);
    assert_eq!(sum(&fixture).await.messages, 4);
    fixture.recount(&[ALICE, BOB]).await;
}

#[tokio::test]
async fn the_quota_of_a_domain_holds_for_all_its_accounts_together() {
    let fixture = Fixture::counting().await;
    fixture.deliver(&[ALICE, BOB], "one").await;
    let held = fixture.store.domain_usage(&domain()).await.unwrap().bytes;
    let size = held / 2;
    let quota = |limit| Quota { account: None, domain: Some(DomainQuota { domain: domain(), limit }) };
    // Two more fit, of three recipients' copies in two messages.
    let mut delivery = fixture.delivery(&[ALICE, BOB], "two");
    delivery.targets.iter_mut().for_each(|target| target.quota = Some(quota(held + size)));
    let outcomes = fixture.store.deliver(delivery).await.unwrap();
    assert!(outcomes[0].is_ok() && matches!(outcomes[1], Err(Error::OverQuota)), "{outcomes:?}");
    let copied = fixture.store.copy(ALICE, INBOX, &uids(1..=1), INBOX, Some(quota(held + size))).await;
    assert!(matches!(copied, Err(Error::OverQuota)), "{copied:?}");
    fixture.store.copy(ALICE, INBOX, &uids(1..=1), INBOX, Some(quota(held + 2 * size))).await.unwrap();
    assert_eq!(fixture.store.room(BOB, &quota(held + 2 * size)).await.unwrap(), Some(0));
    assert_eq!(fixture.store.room(BOB, &Quota::default()).await.unwrap(), None);
    fixture.recount(&[ALICE, BOB]).await;
}

#[tokio::test]
async fn damaged_counters_are_found_and_repaired_once() {
    let fixture = Fixture::counting().await;
    fixture.deliver(&[ALICE, BOB], "one").await;
    fixture.deliver(&[ALICE, BOB], "two").await;
    let usage = fixture.store.usage(ALICE).await.unwrap();
    let bytes = i64::try_from(usage.bytes).unwrap();
    let database = &fixture.database;
    damage(database, key(&(MAILBOXES, 1u64, 3u32, INBOX.0, 1u32)), -3).await;
    damage(database, key(&(MAILBOXES, 1u64, 5u32, 0u32)), 1000).await;
    damage(database, key(&(MAILBOXES, "domain", domain().as_ascii(), 0u32, 2u64, 1u32)), 7).await;

    let inbox = CountedPlace::Mailbox(INBOX, MailboxName::inbox());
    let expected = [
        difference(inbox, Counted::Unseen, -1, 2),
        difference(CountedPlace::Account, Counted::Octets, bytes + 1000, bytes),
    ];
    assert_eq!(fixture.store.recount(ALICE, Repair::No).await.unwrap(), expected);
    assert_eq!(fixture.store.recount(BOB, Repair::No).await.unwrap(), []);
    // A repair whose result stays unknown is not made twice.
    fixture.next_commit_unknown(true);
    assert_eq!(fixture.store.recount(ALICE, Repair::Yes).await.unwrap(), expected);
    let of_domain = fixture.store.recount_domain(&domain(), Repair::Yes).await.unwrap();
    assert_eq!(of_domain, [difference(CountedPlace::Domain, Counted::Messages, 9, 2)]);
    assert_eq!(fixture.store.usage(ALICE).await.unwrap(), usage);
    assert_eq!(fixture.store.domain_usage(&domain()).await.unwrap(), sum(&fixture).await);
    fixture.recount(&[ALICE, BOB]).await;
}

/// More messages than are read at once, while others deliver, change flags and remove: a recount finds what was damaged, exactly, and a repair
/// loses nothing of what happened meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_in_use_is_counted_exactly() {
    let fixture = Fixture::counting().await;
    fixture.append(ALICE, INBOX, 700).await;
    for doubled in [700, 1400, 2800] {
        fixture.store.copy(ALICE, INBOX, &uids(1..=doubled), INBOX, None).await.unwrap();
    }
    assert_eq!(fixture.store.usage(ALICE).await.unwrap().messages, 5600);
    for counter in 0..4u32 {
        damage(&fixture.database, key(&(MAILBOXES, 1u64, 3u32, INBOX.0, counter)), 5).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (store, delivery) = (fixture.another_pod(), fixture.delivery(&[ALICE, BOB], "meanwhile"));
    let stopped = Arc::clone(&stop);
    let others = tokio::spawn(async move {
        let mut round = 0;
        while !stopped.load(Ordering::Relaxed) {
            round += 1;
            store.deliver(delivery.clone()).await.unwrap();
            let change = FlagChange {
                operation: if round % 2 == 0 { FlagOperation::Remove } else { FlagOperation::Add },
                flags: Flags::SEEN.union(Flags::DELETED),
                keywords: Keywords::default(),
            };
            store.store_flags(ALICE, INBOX, &uids(100..=400), &change).await.unwrap();
            let gone = ExpungeScope::Exactly(uids(1000 + round..=1001 + round));
            store.expunge(ALICE, INBOX, &gone).await.unwrap();
        }
        round
    });
    for repair in [Repair::No, Repair::Yes] {
        let found = fixture.store.recount(ALICE, repair).await.unwrap();
        let of_inbox: Vec<_> = found.iter().filter(|found| found.place != CountedPlace::Account).collect();
        assert_eq!(of_inbox.len(), 4, "{found:?}");
        assert!(of_inbox.iter().all(|found| found.counter - found.actual == 5), "{found:?}");
    }
    for _ in 0..3 {
        assert_eq!(fixture.store.recount(ALICE, Repair::No).await.unwrap(), []);
        assert_eq!(fixture.store.recount_domain(&domain(), Repair::No).await.unwrap(), []);
    }
    stop.store(true, Ordering::Relaxed);
    assert!(others.await.unwrap() > 1);
    fixture.recount(&[ALICE, BOB]).await;
    fixture.check(ALICE).await;
}
