//! What operations cost the store: see `docs/transactions.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;
#[path = "../../../tests/transactions/table.rs"]
mod table;

use ekitei_mailstore::{
    AccountId, DomainQuota, ExpungeScope, FlagChange, FlagOperation, Flags, Keywords, MailboxId, MailboxName,
    Quota, Repair, Uid,
};
use support::{Fixture, domain};
use table::{Budget, Table};

const ALICE: AccountId = AccountId::new(1);
const BOB: AccountId = AccountId::new(2);
const INBOX: MailboxId = MailboxId::INBOX;

fn uids(numbers: std::ops::RangeInclusive<u32>) -> Vec<Uid> {
    numbers.filter_map(Uid::new).collect()
}

fn change(operation: FlagOperation, flags: Flags) -> FlagChange {
    FlagChange { operation, flags, keywords: Keywords::default() }
}

/// Fills an INBOX by copying what is in it.
async fn fill(fixture: &Fixture, account: AccountId, count: u32) {
    fixture.append(account, INBOX, 500).await;
    let mut filled = 500;
    while filled < count {
        let next = filled.min(count - filled);
        fixture.store.copy(account, INBOX, &uids(1..=next), INBOX, None).await.unwrap();
        filled += next;
    }
}

const fn budget(commits: u64, gets: u64, ranges: u64, rows: u64, kib: u64) -> Budget {
    Budget { commits, gets, ranges, rows, kib }
}

#[tokio::test]
async fn budgets_of_deliveries() {
    let fixture = Fixture::counting().await;
    let (store, observer) = (&fixture.store, &fixture.observer);
    let mut table = Table::new("mailstore: deliveries");
    observer.take();

    fixture.deliver(&[ALICE], "first").await;
    table.spent("deliver to 1, the first message of an account", observer.take(), budget(1, 8, 1, 0, 8));
    fixture.deliver(&[ALICE], "second").await;
    observer.take();
    fixture.deliver(&[ALICE], "one").await;
    table.spent("deliver to 1", observer.take(), budget(1, 1, 0, 0, 4));

    let mut limited = fixture.delivery(&[ALICE], "limited");
    let of_domain = DomainQuota { domain: domain(), limit: 1 << 30 };
    limited.targets[0].quota = Some(Quota { account: Some(1 << 30), domain: Some(of_domain) });
    store.deliver(limited).await.unwrap();
    table.spent("deliver to 1, with quotas of account and domain", observer.take(), budget(1, 2, 1, 2, 4));

    let many = fixture.more_accounts(100).await;
    fixture.deliver(&many, "first").await;
    fixture.deliver(&many, "to all").await;
    observer.take();
    fixture.deliver(&many, "to all again").await;
    table.spent("deliver to 100 accounts here", observer.take(), budget(1, 100, 0, 0, 230));

    let delivery = fixture.delivery(&[ALICE], "together");
    let together = (0..100).map(|_| store.deliver(delivery.clone()));
    futures_util::future::try_join_all(together).await.unwrap();
    table.spent("100 messages to 1, at once", observer.take(), budget(2, 2, 0, 0, 170));
    table.finish();
}

#[tokio::test]
async fn budgets_of_a_large_mailbox() {
    let fixture = Fixture::counting().await;
    let (store, observer) = (&fixture.store, &fixture.observer);
    fill(&fixture, ALICE, 10_000).await;
    let archive = store.mailbox(ALICE, &MailboxName::new("Archive").unwrap()).await.unwrap().unwrap().id;
    let mut table = Table::new("mailstore: 10 000 messages");
    observer.take();

    store.status(ALICE, INBOX).await.unwrap();
    table.spent("STATUS", observer.take(), budget(0, 6, 1, 1, 0));
    let view = store.view(ALICE, INBOX).await.unwrap();
    assert_eq!(view.snapshot().entries.len(), 10_000);
    table.spent("SELECT, and FETCH 1:* (UID FLAGS)", observer.take(), budget(0, 2, 2, 10_001, 0));
    store.view(ALICE, INBOX).await.unwrap();
    table.spent("the same by another session of the process", observer.take(), budget(0, 0, 0, 0, 0));
    view.refresh().await.unwrap();
    table.spent("NOOP, nothing is new", observer.take(), budget(0, 1, 1, 0, 0));

    let ids: Vec<_> = view.snapshot().entries.iter().take(500).map(|entry| entry.message).collect();
    fixture.another_pod().messages(ALICE, &ids).await.unwrap();
    table.spent("FETCH 1:500 ENVELOPE", observer.take(), budget(0, 0, 500, 500, 0));

    let seen = change(FlagOperation::Add, Flags::SEEN);
    store.store_flags(ALICE, INBOX, &uids(7..=7), &seen).await.unwrap();
    table.spent("STORE 7 +FLAGS (\\Seen)", observer.take(), budget(1, 1, 1, 1, 1));
    view.refresh().await.unwrap();
    table.spent("NOOP, the flags of 1 are new", observer.take(), budget(0, 2, 2, 2, 0));
    store.store_flags(ALICE, INBOX, &uids(1..=10_000), &seen).await.unwrap();
    table.spent("STORE 1:* +FLAGS (\\Seen)", observer.take(), budget(3, 3, 3, 10_000, 2_000));

    store.copy(ALICE, INBOX, &uids(1..=1), archive, None).await.unwrap();
    table.spent("COPY 1", observer.take(), budget(1, 3, 1, 1, 2));
    store.copy(ALICE, INBOX, &uids(1..=1_000), archive, None).await.unwrap();
    table.spent("COPY 1:1000", observer.take(), budget(1, 3, 1, 1_000, 340));
    store.move_messages(ALICE, archive, &uids(1..=1_000), INBOX).await.unwrap();
    table.spent("MOVE 1:1000", observer.take(), budget(1, 3, 1, 1_000, 670));
    store.expunge(ALICE, INBOX, &ExpungeScope::Exactly(uids(1..=1))).await.unwrap();
    table.spent("UID EXPUNGE 1", observer.take(), budget(1, 1, 2, 2, 2));
    store.expunge(ALICE, INBOX, &ExpungeScope::Exactly(uids(2..=1_001))).await.unwrap();
    table.spent("UID EXPUNGE 2:1001", observer.take(), budget(1, 1, 1_001, 2_000, 500));

    fixture.append(ALICE, INBOX, 1).await;
    table.spent("APPEND", observer.take(), budget(1, 2, 1, 6, 4));
    store.room(ALICE, &Quota::of_account(1 << 40)).await.unwrap();
    table.spent("whether there is room, at RCPT", observer.take(), budget(0, 1, 0, 0, 0));
    assert_eq!(store.recount(ALICE, Repair::No).await.unwrap(), []);
    table.spent("recount of the account", observer.take(), budget(0, 20, 30, 10_100, 0));
    table.finish();
}

/// A session waits while another process delivers: what it reads when it is woken.
#[tokio::test]
async fn budgets_of_waiting() {
    let fixture = Fixture::counting().await;
    let observer = &fixture.observer;
    fixture.deliver(&[BOB], "first").await;
    let view = fixture.store.view(BOB, INBOX).await.unwrap();
    let mut changes = fixture.store.watch(BOB);
    changes.changed().await.unwrap();
    view.refresh().await.unwrap();
    let other = fixture.unobserved_pod();
    let mut table = Table::new("mailstore: waiting");
    observer.take();
    changes.mark_unchanged();
    other.deliver(fixture.delivery(&[BOB], "second")).await.unwrap();
    changes.changed().await.unwrap();
    assert_eq!(view.refresh().await.unwrap().entries.len(), 2);
    table.spent("IDLE is woken by a delivery", observer.take(), budget(0, 2, 2, 2, 0));
    let sessions: Vec<_> = (0..10).map(|_| fixture.store.watch(BOB)).collect();
    other.deliver(fixture.delivery(&[BOB], "third")).await.unwrap();
    for mut session in sessions {
        session.changed().await.unwrap();
        view.refresh().await.unwrap();
    }
    table.spent("10 sessions in IDLE are woken by a delivery", observer.take(), budget(0, 11, 11, 2, 0));
    table.finish();
}
