//! What is promised of the mailstore, as scenarios.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ekitei_kv::keys::key;
use ekitei_kv::keys::subspace::{INDEX, QUEUE};
use ekitei_kv::{Transaction, decode_counter};
use ekitei_mailstore::search::Query;
use ekitei_mailstore::{
    AccountId, BodyId, Companion, Entry, Error, ExpungeScope, FlagChange, FlagOperation, Flags, Folder,
    Keywords, MailboxId, MailboxName, MessageId, NewMessage, Quota, Snapshot, SpecialUse, Status, Uid,
};
use support::{Fixture, message};

const ALICE: AccountId = AccountId::new(1);
const BOB: AccountId = AccountId::new(2);
const INBOX: MailboxId = MailboxId::INBOX;

fn name(text: &str) -> MailboxName {
    MailboxName::new(text).unwrap()
}

fn uid(number: u32) -> Uid {
    Uid::new(number).unwrap()
}

fn add(flags: Flags) -> FlagChange {
    FlagChange { operation: FlagOperation::Add, flags, keywords: Keywords::default() }
}

#[tokio::test]
async fn one_delivery_to_many_is_one_commit_and_one_body() {
    let fixture = Fixture::new();
    let accounts: Vec<AccountId> = (1..=100).map(AccountId::new).collect();
    fixture.deliver(&accounts, "first").await; // creates the mailboxes
    let before = fixture.database.statistics();
    let outcomes = fixture.deliver(&accounts, "hello").await;
    let after = fixture.database.statistics();
    assert_eq!(after.commits - before.commits, 1);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok((INBOX, uid)) if uid.get() == 2)));
    for account in accounts {
        let snapshot = fixture.snapshot(account, INBOX).await;
        let record = fixture.record(account, snapshot.entries[1].message).await;
        let read = fixture.store.read(account, record.id, 0..u64::MAX).await.unwrap();
        let expected = [format!("Delivered-To: {account}\r\n").as_bytes(), &message("hello")].concat();
        assert_eq!(read, expected, "each has a header of its own");
        assert_eq!(record.size, expected.len() as u64);
        let root = &record.structure;
        assert_eq!(&read[usize::try_from(root.body.offset).unwrap()..], b"hello\r\n");
        assert_eq!(fixture.store.read(account, record.id, 5..20).await.unwrap(), expected[5..20]);
    }
}

#[tokio::test]
async fn concurrent_deliveries_share_commits_and_get_ascending_uids() {
    let fixture = Fixture::new();
    fixture.deliver(&[ALICE], "first").await;
    let before = fixture.database.statistics();
    let all = (0..200).map(|n| {
        let (store, delivery) = (fixture.store.clone(), fixture.delivery(&[ALICE], &format!("{n}")));
        tokio::spawn(async move { store.deliver(delivery).await.unwrap().pop().unwrap().unwrap().1 })
    });
    let mut uids = Vec::new();
    for task in all.collect::<Vec<_>>() {
        uids.push(task.await.unwrap());
    }
    uids.sort();
    assert_eq!(uids, (2..=201).map(uid).collect::<Vec<_>>());
    let commits = fixture.database.statistics().commits - before.commits;
    assert!(commits <= 20, "{commits} commits for 200 messages");
    fixture.check(ALICE).await;
}

#[tokio::test]
async fn a_recipient_over_quota_does_not_keep_the_others_from_the_message() {
    let fixture = Fixture::new();
    let mut delivery = fixture.delivery(&[ALICE, BOB, ALICE], "hello");
    delivery.targets[0].quota = Some(Quota::of_account(10));
    let outcomes = fixture.store.deliver(delivery).await.unwrap();
    assert!(matches!(outcomes[0], Err(Error::OverQuota)));
    assert!(outcomes[1].is_ok());
    assert_eq!(fixture.store.usage(ALICE).await.unwrap().messages, 0);
    assert_eq!(fixture.store.usage(BOB).await.unwrap().messages, 1);

    let mut nobody = fixture.delivery(&[ALICE], "hello");
    nobody.targets[0].quota = Some(Quota::of_account(10));
    let before = fixture.database.statistics().commits;
    assert!(matches!(fixture.store.deliver(nobody).await.unwrap()[0], Err(Error::OverQuota)));
    assert_eq!(fixture.database.statistics().commits, before);
    fixture.check(ALICE).await;
    fixture.check(BOB).await;
}

#[tokio::test]
async fn a_delivery_goes_to_the_folder_it_names_or_to_the_inbox() {
    for (folder, expected) in [
        (Folder::SpecialUse(SpecialUse::Junk), "Junk"),
        (Folder::Named(name("Sent")), "Sent"),
        (Folder::Named(name("no such mailbox")), "INBOX"),
    ] {
        let fixture = Fixture::new(); // also with the first delivery that an account gets
        let mut delivery = fixture.delivery(&[ALICE], "x");
        delivery.targets[0].folder = folder;
        let (mailbox, _) = fixture.store.deliver(delivery).await.unwrap().pop().unwrap().unwrap();
        let found = fixture.store.mailbox(ALICE, &name(expected)).await.unwrap().unwrap();
        assert_eq!(mailbox, found.id);
    }
}

#[tokio::test]
async fn a_new_account_has_its_mailboxes_with_their_uses() {
    let fixture = Fixture::new();
    let mailboxes = fixture.store.mailboxes(ALICE).await.unwrap();
    let names: Vec<_> = mailboxes.iter().map(|m| (m.name.as_str(), m.special_use)).collect();
    use SpecialUse::{Archive, Drafts, Junk, Sent, Trash};
    let expected = [
        ("Archive", Some(Archive)),
        ("Drafts", Some(Drafts)),
        ("INBOX", None),
        ("Junk", Some(Junk)),
        ("Sent", Some(Sent)),
        ("Trash", Some(Trash)),
    ];
    assert_eq!(names, expected);
    assert_eq!(fixture.store.subscriptions(ALICE).await.unwrap().len(), 6);
    let mut validity: Vec<u32> = mailboxes.iter().map(|m| m.uid_validity).collect();
    validity.sort_unstable();
    validity.dedup();
    assert_eq!(validity.len(), 6);
}

#[tokio::test]
async fn mailboxes_are_created_with_their_parents_renamed_with_their_children_and_deleted_alone() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store.create_mailbox(ALICE, &name("a/b/c"), None).await.unwrap();
    assert!(store.mailbox(ALICE, &name("a")).await.unwrap().is_some());
    assert!(matches!(store.create_mailbox(ALICE, &name("a/b"), None).await, Err(Error::MailboxExists)));
    let duplicate = store.create_mailbox(ALICE, &name("Other"), Some(SpecialUse::Sent)).await;
    assert!(matches!(duplicate, Err(Error::NotPermitted(_))));

    store.rename_mailbox(ALICE, &name("a/b"), &name("x/y")).await.unwrap();
    assert!(store.mailbox(ALICE, &name("x/y/c")).await.unwrap().is_some());
    assert!(store.mailbox(ALICE, &name("x")).await.unwrap().is_some());
    assert!(store.mailbox(ALICE, &name("a/b")).await.unwrap().is_none());
    let rename = |from: &'static str, to: &'static str| async move {
        store.rename_mailbox(ALICE, &name(from), &name(to)).await
    };
    assert!(matches!(rename("a/b", "z").await, Err(Error::NoSuchMailbox)));
    assert!(matches!(rename("a", "x/y").await, Err(Error::MailboxExists)));
    assert!(matches!(rename("x", "x/y/z").await, Err(Error::NotPermitted(_))));
    assert!(matches!(rename("x", "inbox").await, Err(Error::MailboxExists)));

    assert!(matches!(store.delete_mailbox(ALICE, &name("x")).await, Err(Error::HasChildren)));
    assert!(matches!(store.delete_mailbox(ALICE, &name("INBOX")).await, Err(Error::NotPermitted(_))));
    store.delete_mailbox(ALICE, &name("x/y/c")).await.unwrap();
    assert!(matches!(store.delete_mailbox(ALICE, &name("x/y/c")).await, Err(Error::NoSuchMailbox)));
}

#[tokio::test]
async fn a_deleted_mailbox_takes_its_messages_along_and_its_name_comes_back_with_another_validity() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let old = store.create_mailbox(ALICE, &name("old"), None).await.unwrap();
    fixture.append(ALICE, old.id, 3).await;
    fixture.deliver(&[ALICE], "stays").await;
    let kept = store.usage(ALICE).await.unwrap();
    let view = store.view(ALICE, old.id).await.unwrap();
    store.delete_mailbox(ALICE, &name("old")).await.unwrap();
    assert!(view.refresh().await.unwrap().gone);
    assert_eq!(store.usage(ALICE).await.unwrap().messages, kept.messages - 3);
    assert_eq!(store.finish_purges().await.unwrap(), 0);
    let new = store.create_mailbox(ALICE, &name("old"), None).await.unwrap();
    assert!(new.uid_validity > old.uid_validity && new.id != old.id);
    let gone = store.append(ALICE, old.id, vec![], None).await;
    assert!(matches!(gone, Err(Error::NoSuchMailbox)));
    fixture.check(ALICE).await;
    assert_eq!(fixture.collect().await.bodies, 3);
}

#[tokio::test]
async fn renaming_inbox_moves_its_messages() {
    let fixture = Fixture::new();
    fixture.deliver(&[ALICE], "one").await;
    fixture.store.rename_mailbox(ALICE, &name("INBOX"), &name("2026")).await.unwrap();
    let moved = fixture.store.mailbox(ALICE, &name("2026")).await.unwrap().unwrap();
    assert_eq!(fixture.snapshot(ALICE, moved.id).await.entries.len(), 1);
    assert_eq!(fixture.snapshot(ALICE, INBOX).await.entries.len(), 0);
    fixture.deliver(&[ALICE], "two").await;
    assert_eq!(fixture.snapshot(ALICE, INBOX).await.entries[0].uid, uid(2), "UIDs are not used again");
}

#[tokio::test]
async fn appending_is_all_or_nothing() {
    let fixture = Fixture::new();
    let new = |text: &str| NewMessage {
        message: message(text),
        flags: Flags::SEEN,
        keywords: ["$Forwarded"].into_iter().collect(),
        received: Some(Duration::from_secs(1234)),
    };
    let one = message("one").len() as u64;
    fixture.store.mailboxes(ALICE).await.unwrap();
    let refused =
        fixture.store.append(ALICE, INBOX, vec![new("one"), new("two")], Some(Quota::of_account(one))).await;
    assert!(matches!(refused, Err(Error::OverQuota)));
    assert_eq!(fixture.store.usage(ALICE).await.unwrap().messages, 0);
    let appended = fixture
        .store
        .append(ALICE, INBOX, vec![new("one"), new("two")], Some(Quota::of_account(2 * one)))
        .await
        .unwrap();
    assert_eq!(appended.uids, [uid(1), uid(2)]);
    let entry = fixture.snapshot(ALICE, INBOX).await.entries[1].clone();
    assert_eq!((entry.flags, entry.received, entry.size), (Flags::SEEN, 1234, one));
    assert!(entry.keywords.contains("$forwarded"));
    fixture.check(ALICE).await;
}

#[tokio::test]
async fn a_message_lives_until_its_last_copy_is_expunged() {
    let fixture = Fixture::new();
    fixture.deliver(&[ALICE, BOB], "shared").await;
    let trash = fixture.store.mailbox(ALICE, &name("Trash")).await.unwrap().unwrap().id;
    let copied = fixture.store.copy(ALICE, INBOX, &[uid(1), uid(9)], trash, None).await.unwrap();
    assert_eq!(copied.uids, [(uid(1), uid(1))]);
    let exactly = |uids: &[Uid]| ExpungeScope::Exactly(uids.to_vec());
    assert_eq!(fixture.store.expunge(ALICE, INBOX, &exactly(&[uid(1)])).await.unwrap().uids, [uid(1)]);
    let entry = fixture.snapshot(ALICE, trash).await.entries[0].clone();
    assert!(fixture.store.read(ALICE, entry.message, 0..10).await.is_ok());
    assert_eq!(fixture.collect().await.bodies, 0);
    fixture.store.expunge(ALICE, trash, &exactly(&[uid(1)])).await.unwrap();
    assert_eq!(fixture.collect().await.bodies, 0, "Bob still has it");
    fixture.store.expunge(BOB, INBOX, &exactly(&[uid(1)])).await.unwrap();
    assert_eq!(fixture.collect().await.bodies, 1);
    fixture.check(ALICE).await;
    fixture.check(BOB).await;
}

#[tokio::test]
async fn only_deleted_messages_are_expunged_unless_named_exactly() {
    let fixture = Fixture::new();
    fixture.append(ALICE, INBOX, 4).await;
    fixture.store.store_flags(ALICE, INBOX, &[uid(2), uid(3)], &add(Flags::DELETED)).await.unwrap();
    let among = ExpungeScope::DeletedAmong(vec![uid(1), uid(2)]);
    assert_eq!(fixture.store.expunge(ALICE, INBOX, &among).await.unwrap().uids, [uid(2)]);
    let all = fixture.store.expunge(ALICE, INBOX, &ExpungeScope::Deleted).await.unwrap();
    assert_eq!(all.uids, [uid(3)]);
    assert!(fixture.store.expunge(ALICE, INBOX, &ExpungeScope::Deleted).await.unwrap().uids.is_empty());
    fixture.check(ALICE).await;
}

#[tokio::test]
async fn a_change_of_flags_that_changes_nothing_commits_nothing() {
    let fixture = Fixture::new();
    fixture.append(ALICE, INBOX, 2).await;
    let changed = fixture.store.store_flags(ALICE, INBOX, &[uid(1)], &add(Flags::FLAGGED)).await.unwrap();
    assert_eq!(changed.uids, [uid(1)]);
    let snapshot = fixture.snapshot(ALICE, INBOX).await;
    assert_eq!(snapshot.entries[0].modseq, changed.modseq);
    assert!(snapshot.entries[1].modseq < changed.modseq);
    let before = fixture.database.statistics().commits;
    let again =
        fixture.store.store_flags(ALICE, INBOX, &[uid(1), uid(7)], &add(Flags::FLAGGED)).await.unwrap();
    assert!(again.uids.is_empty());
    assert_eq!(fixture.database.statistics().commits, before);
}

#[tokio::test]
async fn too_many_keywords_are_refused() {
    let fixture = Fixture::new();
    fixture.append(ALICE, INBOX, 1).await;
    let keywords = (0..101).map(|n| format!("k{n}")).collect();
    let change = FlagChange { operation: FlagOperation::Set, flags: Flags::NONE, keywords };
    assert!(matches!(
        fixture.store.store_flags(ALICE, INBOX, &[uid(1)], &change).await,
        Err(Error::Limit(_))
    ));
    let keywords = (10..40).map(|n| format!("{n}{}", "x".repeat(50))).collect();
    let change = FlagChange { operation: FlagOperation::Set, flags: Flags::NONE, keywords };
    assert!(matches!(
        fixture.store.store_flags(ALICE, INBOX, &[uid(1)], &change).await,
        Err(Error::Limit(_))
    ));
    let keywords = ["x".repeat(256)].into_iter().collect();
    let change = FlagChange { operation: FlagOperation::Set, flags: Flags::NONE, keywords };
    assert!(matches!(
        fixture.store.store_flags(ALICE, INBOX, &[uid(1)], &change).await,
        Err(Error::Limit(_))
    ));
}

#[tokio::test]
async fn a_watch_wakes_for_every_change_of_the_account_and_for_no_other() {
    let fixture = Fixture::new();
    fixture.deliver(&[ALICE, BOB], "x").await;
    let mut watch = fixture.store.watch(ALICE);
    watch.changed().await.unwrap(); // it is set
    fixture.deliver(&[BOB], "not for Alice").await;
    assert!(tokio::time::timeout(Duration::from_millis(100), watch.changed()).await.is_err());
    for _ in 0..3 {
        fixture.deliver(&[ALICE], "x").await;
        tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn status_tells_what_is_there() {
    let fixture = Fixture::new();
    fixture.append(ALICE, INBOX, 3).await;
    fixture
        .store
        .store_flags(ALICE, INBOX, &[uid(1)], &add(Flags::SEEN.union(Flags::DELETED)))
        .await
        .unwrap();
    let status = fixture.store.status(ALICE, INBOX).await.unwrap();
    let snapshot = fixture.snapshot(ALICE, INBOX).await;
    assert_eq!(
        status,
        Status {
            messages: 3,
            unseen: 2,
            deleted: 1,
            size: snapshot.entries.iter().map(|entry| entry.size).sum(),
            uid_next: uid(4),
            uid_validity: snapshot.uid_validity,
            highest_modseq: snapshot.highest_modseq,
        }
    );
    assert!(matches!(fixture.store.status(ALICE, MailboxId(99)).await, Err(Error::NoSuchMailbox)));
}

#[tokio::test]
async fn deleting_an_account_leaves_nothing_of_it() {
    let fixture = Fixture::new();
    fixture.deliver(&[ALICE, BOB], "x").await;
    fixture.append(ALICE, INBOX, 5).await;
    fixture.store.delete_account(ALICE).await.unwrap();
    fixture.store.delete_account(ALICE).await.unwrap();
    assert_eq!(fixture.collect().await.bodies, 5);
    fixture.store.delete_account(BOB).await.unwrap();
    fixture.collect().await;
    assert_eq!(fixture.rows().await, 0);
}

#[tokio::test]
async fn an_account_that_is_being_deleted_does_not_begin_anew() {
    let fixture = Fixture::new();
    fixture.append(ALICE, INBOX, 5).await;
    // The mailboxes vanish; removing their messages is interrupted.
    fixture.conflicts_after_one_commit(7);
    let interrupted = tokio::time::timeout(Duration::from_millis(150), fixture.store.delete_account(ALICE));
    assert!(interrupted.await.is_err());
    assert!(matches!(fixture.store.mailboxes(ALICE).await, Err(Error::NoSuchMailbox)));
    let late = fixture.store.deliver(fixture.delivery(&[ALICE], "late")).await;
    assert!(matches!(late, Err(Error::NoSuchMailbox)));
    fixture.store.delete_account(ALICE).await.unwrap();
    assert_eq!(fixture.collect().await.bodies, 5);
    assert_eq!(fixture.rows().await, 0);
}

#[tokio::test]
async fn flags_of_a_mailbox_that_is_gone_cannot_be_changed() {
    let fixture = Fixture::new();
    let old = fixture.store.create_mailbox(ALICE, &name("old"), None).await.unwrap();
    fixture.append(ALICE, old.id, 5).await;
    fixture.conflicts_after_one_commit(7);
    let old_name = name("old");
    let interrupted = fixture.store.delete_mailbox(ALICE, &old_name);
    assert!(tokio::time::timeout(Duration::from_millis(150), interrupted).await.is_err());
    let before = fixture.rows().await;
    let changed = fixture.store.store_flags(ALICE, old.id, &[uid(1)], &add(Flags::SEEN)).await;
    assert!(matches!(changed, Err(Error::NoSuchMailbox)));
    assert_eq!(fixture.rows().await, before);
    assert_eq!(fixture.store.finish_purges().await.unwrap(), 1);
}

#[tokio::test]
async fn a_message_for_thousands_of_new_accounts_arrives() {
    let fixture = Fixture::new();
    let accounts: Vec<AccountId> = (1..=3000).map(AccountId::new).collect();
    let outcomes = fixture.deliver(&accounts, "hello").await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok((INBOX, uid)) if uid.get() == 1)));
}

#[tokio::test]
async fn messages_appended_together_may_be_larger_than_a_transaction() {
    let fixture = Fixture::new();
    fixture.store.mailboxes(ALICE).await.unwrap();
    let new = |_| {
        let noise: String = (0..13_000).map(|_| format!("{:016x}", rand::random::<u64>())).collect();
        NewMessage {
            message: format!("Subject: x\r\n\r\n{noise}\r\n").into(),
            flags: Flags::NONE,
            keywords: Keywords::default(),
            received: None,
        }
    };
    let appended = fixture.store.append(ALICE, INBOX, (0..100).map(new).collect(), None).await.unwrap();
    assert_eq!(appended.uids.len(), 100);
    fixture.check(ALICE).await;
}

#[tokio::test]
async fn search_looks_at_the_index_the_headers_and_the_body() {
    let fixture = Fixture::new();
    let messages = [
        "From: Jörg <j@x.test>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Mon, 02 Mar 2026 23:30:00 -0500\r\n\r\nplain body\r\n",
        "From: a@x.test\r\nX-Custom: Secret Value\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: base64\r\n\r\nw5xiZXJyYXNjaHVuZw==\r\n",
    ];
    fixture.store.mailboxes(ALICE).await.unwrap();
    let new = |text: &&str| NewMessage {
        message: Bytes::copy_from_slice(text.as_bytes()),
        flags: Flags::NONE,
        keywords: Keywords::default(),
        received: Some(Duration::from_secs(1_000_000)),
    };
    fixture.store.append(ALICE, INBOX, messages.iter().map(new).collect(), None).await.unwrap();
    let snapshot = &fixture.snapshot(ALICE, INBOX).await;
    let header = |name: &str, text: &str| Query::Header(name.into(), text.into());
    let day = 20_514; // 2026-03-02
    for (query, expected) in [
        (Query::All, vec![1, 2]),
        (header("subject", "GRÜSSE"), vec![]),
        (header("Subject", "grüße"), vec![1]),
        (header("From", "jörg"), vec![1]),
        (header("x-custom", "secret"), vec![2]),
        (header("x-custom", ""), vec![2]),
        (Query::SentOn(day..day + 1), vec![1]),
        (Query::SentOn(day + 1..day + 9), vec![]),
        (Query::Body("überraschung".into()), vec![2]),
        (Query::Body("secret".into()), vec![]),
        (Query::Text("secret".into()), vec![2]),
        (Query::Text("plain".into()), vec![1, 2]),
        (Query::Not(Box::new(Query::Text("body".into()))), vec![2]),
        (Query::Or(vec![header("from", "a@x"), Query::Larger(1 << 20)]), vec![2]),
        (Query::And(vec![]), vec![1, 2]),
        (Query::Or(vec![]), vec![]),
        (Query::Uids(vec![2..=9]), vec![2]),
        (Query::Uids(vec![9..=9, 2..=7, 1..=1, 3..=4, 2..=2]), vec![1, 2]),
        (Query::Uids(vec![]), vec![]),
        (Query::Received(0..1_000_000), vec![]),
        (Query::Received(1_000_000..1_000_001), vec![1, 2]),
        (Query::Message(snapshot.entries[1].message), vec![2]),
        (Query::Thread(fixture.record(ALICE, snapshot.entries[0].message).await.thread), vec![1]),
    ] {
        let found = fixture.store.search(ALICE, snapshot, &query).await.unwrap();
        assert_eq!(found, expected.into_iter().map(uid).collect::<Vec<_>>(), "{query:?}");
    }
}

#[tokio::test]
async fn a_search_reads_messages_within_messages_without_end() {
    let fixture = Fixture::new();
    fixture.store.mailboxes(ALICE).await.unwrap();
    let deep = "Content-Type: message/rfc822\r\n\r\n".repeat(100_000) + "needle\r\n";
    let new = NewMessage {
        message: deep.into(),
        flags: Flags::NONE,
        keywords: Keywords::default(),
        received: None,
    };
    fixture.store.append(ALICE, INBOX, vec![new], None).await.unwrap();
    let snapshot = &fixture.snapshot(ALICE, INBOX).await;
    let found = fixture.store.search(ALICE, snapshot, &Query::Body("content-type".into())).await.unwrap();
    assert!(found.is_empty(), "what is nested too deeply is octets");
}

#[tokio::test]
async fn a_search_of_many_ranges_takes_little_time_and_leaves_room_for_others() {
    let fixture = Fixture::new();
    fixture.append(ALICE, INBOX, 1).await;
    let one = fixture.snapshot(ALICE, INBOX).await.entries[0].clone();
    let entries: Vec<_> = (1..=100_000).map(|n| Entry { uid: uid(n), ..one.clone() }).collect();
    let snapshot = Snapshot { entries, ..Snapshot::clone(&*fixture.snapshot(ALICE, INBOX).await) };
    let odd = Query::Uids((1..=100_000).step_by(2).map(|n| n..=n).collect());
    let begun = std::time::Instant::now();
    assert_eq!(fixture.store.search(ALICE, &snapshot, &odd).await.unwrap().len(), 50_000);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let search = fixture.store.search(ALICE, &snapshot, &odd);
    assert!(tokio::time::timeout(Duration::ZERO, search).await.is_err(), "a search can be interrupted");
}

#[tokio::test]
async fn a_search_that_would_read_too_much_is_refused() {
    let fixture = Fixture::with(|settings| settings.max_search_bodies = 2);
    fixture.append(ALICE, INBOX, 3).await;
    let snapshot = fixture.snapshot(ALICE, INBOX).await;
    let refused = fixture.store.search(ALICE, &snapshot, &Query::Body("x".into())).await;
    assert!(matches!(refused, Err(Error::Limit(_))));
    let narrow = Query::And(vec![Query::Uids(vec![1..=2]), Query::Body("message".into())]);
    assert_eq!(fixture.store.search(ALICE, &snapshot, &narrow).await.unwrap().len(), 2);
}

#[tokio::test]
async fn records_are_read_within_a_weight_and_searched_all_the_same() {
    let fixture = Fixture::new();
    fixture.store.mailboxes(ALICE).await.unwrap();
    // A small message whose record is thousands of parts in memory.
    let parts = "--b\r\n\r\n\r\n".repeat(9_000);
    let new = |n| NewMessage {
        message: format!("Subject: {n}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{parts}").into(),
        flags: Flags::NONE,
        keywords: Keywords::default(),
        received: None,
    };
    fixture.store.append(ALICE, INBOX, (0..6).map(new).collect(), None).await.unwrap();
    let snapshot = fixture.snapshot(ALICE, INBOX).await;
    let mut ids: Vec<_> = snapshot.entries.iter().map(|entry| entry.message).collect();
    ids.insert(1, MessageId::from_bytes([9; 16]));
    let store = &fixture.store;
    assert_eq!(store.messages_within(ALICE, &ids, 1).await.unwrap().len(), 1, "at least one");
    let some = store.messages_within(ALICE, &ids, 5 << 20).await.unwrap();
    assert!(some.len() == 3 && some[1].is_none(), "{}", some.len());
    let all: Vec<_> =
        store.messages(ALICE, &ids).await.unwrap().iter().map(|r| r.as_ref().map(|r| r.id)).collect();
    assert_eq!(all[2..], ids[2..].iter().copied().map(Some).collect::<Vec<_>>());
    for n in 0..6 {
        let query = Query::And(vec![Query::Header("subject".into(), n.to_string()), Query::Larger(1)]);
        assert_eq!(store.search(ALICE, &snapshot, &query).await.unwrap(), [uid(n + 1)]);
    }
}

#[tokio::test]
async fn a_view_behind_a_log_that_was_cut_off_is_read_anew() {
    let fixture = Fixture::with(|settings| settings.change_log_length = 3);
    fixture.append(ALICE, INBOX, 4).await;
    let view = fixture.store.view(ALICE, INBOX).await.unwrap();
    let other = fixture.another_pod();
    other.expunge(ALICE, INBOX, &ExpungeScope::Exactly(vec![uid(1)])).await.unwrap();
    for flag in [Flags::SEEN, Flags::FLAGGED, Flags::DRAFT] {
        other.store_flags(ALICE, INBOX, &[uid(2)], &add(flag)).await.unwrap();
    }
    assert_eq!(other.trim_change_logs().await.unwrap(), 1);
    assert_eq!(other.trim_change_logs().await.unwrap(), 0);
    let highest = other.status(ALICE, INBOX).await.unwrap().highest_modseq;
    let snapshot = view.refresh().await.unwrap();
    assert_eq!(snapshot.entries.iter().map(|entry| entry.uid.get()).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(snapshot.highest_modseq, highest);
    fixture.check(ALICE).await;
}

#[tokio::test]
async fn logs_that_did_not_change_are_not_looked_at() {
    let fixture = Fixture::with(|settings| settings.change_log_length = 3);
    for account in 1..=20 {
        fixture.append(AccountId::new(account), INBOX, 2).await;
    }
    for flag in [Flags::SEEN, Flags::FLAGGED, Flags::DRAFT] {
        fixture.store.store_flags(ALICE, INBOX, &[uid(1)], &add(flag)).await.unwrap();
    }
    assert_eq!(fixture.store.trim_change_logs().await.unwrap(), 1);
    fixture.observer.take();
    assert_eq!(fixture.store.trim_change_logs().await.unwrap(), 0);
    let spent = fixture.observer.take();
    assert_eq!((spent.commits, spent.ranges, spent.rows), (0, 1, 0));
}

#[tokio::test]
async fn a_mailbox_that_is_damaged_keeps_nothing_else_from_being_removed() {
    let fixture = Fixture::new();
    let old = fixture.store.create_mailbox(ALICE, &name("old"), None).await.unwrap();
    fixture.append(ALICE, old.id, 1).await;
    fixture.append(BOB, INBOX, 1).await;
    let row = &key(&(INDEX, ALICE.get(), old.id.0, 1u32));
    let damage = |transaction: Transaction| async move {
        transaction.set(row, b"nonsense");
        Ok::<_, ekitei_kv::Error>(())
    };
    fixture.database.transact(damage).await.unwrap();
    let deleted = fixture.store.delete_mailbox(ALICE, &name("old")).await;
    assert!(matches!(deleted, Err(Error::Corrupt(_))), "{deleted:?}");
    fixture.store.delete_account(BOB).await.unwrap();
    fixture.clock.advance(support::GRACE);
    let done = fixture.store.maintain().await;
    assert!(matches!(done, Err(Error::Corrupt(_))), "{done:?}");
    assert_eq!(fixture.blobs.status().await.unwrap().backlog.bodies, 0, "Bob's mail was collected");
}

#[tokio::test]
async fn an_operation_whose_commit_result_is_unknown_is_done_once() {
    for applied in [true, false] {
        let fixture = Fixture::new();
        fixture.append(ALICE, INBOX, 2).await;
        let trash = fixture.store.mailbox(ALICE, &name("Trash")).await.unwrap().unwrap().id;
        fixture.next_commit_unknown(applied);
        let outcome = fixture.deliver(&[ALICE, BOB], "x").await;
        assert_eq!(outcome[0].as_ref().unwrap().1, uid(3));
        fixture.next_commit_unknown(applied);
        let copied = fixture.store.copy(ALICE, INBOX, &[uid(1)], trash, None).await.unwrap();
        assert_eq!(copied.uids, [(uid(1), uid(1))]);
        fixture.next_commit_unknown(applied);
        let moved = fixture.store.move_messages(ALICE, INBOX, &[uid(2)], trash).await.unwrap();
        assert_eq!(moved.uids, [(uid(2), uid(2))]);
        fixture.next_commit_unknown(applied);
        let seen = add(Flags::SEEN);
        // Another commit follows before the attempt is repeated.
        let first = [uid(1)];
        let change = fixture.store.store_flags(ALICE, INBOX, &first, &seen);
        let (changed, _) = tokio::join!(change, fixture.deliver(&[BOB], "y"));
        let changed = changed.unwrap();
        assert_eq!(changed.uids, [uid(1)]);
        assert_eq!(fixture.snapshot(ALICE, INBOX).await.entries[0].modseq, changed.modseq);
        fixture.next_commit_unknown(applied);
        let expunged =
            fixture.store.expunge(ALICE, INBOX, &ExpungeScope::Exactly(vec![uid(1)])).await.unwrap();
        assert_eq!(expunged.uids, [uid(1)]);
        fixture.next_commit_unknown(applied);
        fixture.store.create_mailbox(ALICE, &name("new"), None).await.unwrap();
        fixture.next_commit_unknown(applied);
        fixture.store.rename_mailbox(ALICE, &name("new"), &name("newer")).await.unwrap();
        fixture.next_commit_unknown(applied);
        fixture.store.delete_mailbox(ALICE, &name("newer")).await.unwrap();
        assert_eq!(fixture.snapshot(ALICE, INBOX).await.entries.len(), 1);
        assert_eq!(fixture.snapshot(ALICE, trash).await.entries.len(), 2);
        fixture.check(ALICE).await;
        fixture.check(BOB).await;
    }
}

/// A row that refers to the body, as an entry of the queue does.
#[derive(Debug)]
struct QueueEntry;

impl Companion for QueueEntry {
    fn row_size(&self) -> usize {
        100
    }

    fn write(&self, transaction: &Transaction, body: BodyId) {
        transaction.set(&entry(), body.as_bytes());
        transaction.add(&written(), 1);
        ekitei_blob::add_reference(transaction, body, u64::MAX);
    }
}

fn entry() -> Vec<u8> {
    key(&(QUEUE, "entry"))
}

fn written() -> Vec<u8> {
    key(&(QUEUE, "written"))
}

#[tokio::test]
async fn a_companion_is_written_once_whatever_is_known_of_the_commit() {
    for applied in [None, Some(true), Some(false)] {
        for accounts in [&[][..], &[ALICE]] {
            let fixture = Fixture::new();
            let mut delivery = fixture.delivery(accounts, "hello");
            delivery.companions.push(Arc::new(QueueEntry));
            applied.inspect(|&applied| fixture.next_commit_unknown(applied));
            assert_eq!(fixture.store.deliver(delivery).await.unwrap().len(), accounts.len());
            let tx = fixture.database.begin();
            assert_eq!(decode_counter(tx.get(&written()).await.unwrap().as_deref()), 1, "{applied:?}");
            let body = tx.get(&entry()).await.unwrap().unwrap();
            let body = BodyId::from_bytes(body[..].try_into().unwrap());
            assert!(fixture.blobs.read(body, 0..u64::MAX).await.is_ok(), "the body is there with it");
        }
    }
}
