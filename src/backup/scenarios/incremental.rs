//! What did not change is not read again.

use ekitei_blob::Operation;

use super::support::{World, name};
use crate::{Progress, Purpose};

#[tokio::test]
async fn no_body_is_read_twice_and_an_unchanged_account_costs_one_read() {
    let world = World::new();
    let users: Vec<String> = (0..60).map(|n| format!("user{n}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    world.fill(&users).await;
    for user in &users {
        world.append(user, "INBOX", &(0..5).map(|n| format!("{user} {n}")).collect::<Vec<_>>()).await;
    }
    world.deliver(&users, &"for all ".repeat(2000)).await;
    let objects = world.repository_objects();
    let first = world.create(&objects).await.unwrap().totals;
    assert_eq!(
        (first.accounts, first.changed_accounts, first.messages, first.new_bodies),
        (60, 60, 360, 301)
    );

    let read = world.objects.calls(Operation::Get);
    world.observer.take();
    let second = world.create(&objects).await.unwrap().totals;
    let reads = world.observer.take().reads();
    assert_eq!((second.changed_accounts, second.new_bodies, second.written), (0, 0, 0));
    assert_eq!(second.messages, 360);
    assert_eq!(world.objects.calls(Operation::Get), read, "no body was read");
    assert!(reads < 60 + 40, "{reads} reads for 60 accounts");

    world.deliver(&users[..1], "one more").await;
    let third = world.create(&objects).await.unwrap().totals;
    assert_eq!((third.changed_accounts, third.new_bodies, third.messages), (1, 1, 361));
    assert!(third.written < 8_000, "{} octets for one short message", third.written);
}

#[tokio::test]
async fn a_flag_writes_a_small_part_of_a_large_mailbox_anew_and_a_copy_no_body() {
    let world = World::of(&["alice"]).await;
    world.append("alice", "INBOX", &(0..2000).map(|n| format!("{n}")).collect::<Vec<_>>()).await;
    let objects = world.repository_objects();
    let first = world.create(&objects).await.unwrap().totals;
    let (alice, mailstore) = (world.id("alice").await, &world.backup.mailstore);
    let change = ekitei_mailstore::FlagChange {
        operation: ekitei_mailstore::FlagOperation::Add,
        flags: ekitei_mailstore::Flags::FLAGGED,
        keywords: ekitei_mailstore::Keywords::default(),
    };
    let uids: Vec<_> = [700, 701].into_iter().filter_map(ekitei_mailstore::Uid::new).collect();
    let inbox = ekitei_mailstore::MailboxId::INBOX;
    mailstore.store_flags(alice, inbox, &uids, &change).await.unwrap();
    let flagged = world.create(&objects).await.unwrap().totals;
    assert_eq!((flagged.changed_accounts, flagged.new_bodies), (1, 0));
    assert!(flagged.written < first.written / 15, "{} of {} octets", flagged.written, first.written);
    let other = mailstore.mailbox_or_new(alice, &name("Copies")).await.unwrap();
    mailstore.copy(alice, inbox, &uids, other, None).await.unwrap();
    let copied = world.create(&objects).await.unwrap().totals;
    assert_eq!((copied.new_bodies, copied.messages), (0, 2002));
    let (restored, done) = World::restored(&objects, "latest").await;
    done.unwrap();
    assert_eq!(restored.picture().await, world.picture().await);
}

#[tokio::test]
async fn a_restored_store_goes_on_with_the_bodies_of_the_repository() {
    let world = World::of(&["alice"]).await;
    world.deliver(&["alice"], "before").await;
    let objects = world.repository_objects();
    world.create(&objects).await.unwrap();
    let (restored, done) = World::restored(&objects, "latest").await;
    done.unwrap();
    restored.deliver(&["alice"], "after").await;
    let next = restored.create(&objects).await.unwrap();
    assert_eq!((next.totals.new_bodies, next.totals.messages), (1, 2));
    assert_ne!(next.source, world.create(&objects).await.unwrap().source, "another store");
}

#[tokio::test]
async fn snapshots_of_one_second_are_in_the_order_that_they_were_made_in() {
    let world = World::of(&["alice"]).await;
    let objects = world.repository_objects();
    let repository = world.open(&objects).await;
    let mut made = Vec::new();
    for _ in 0..6 {
        let lock = repository.lock(Purpose::Use, world.backup.holder().await.unwrap()).await.unwrap();
        made.push(world.backup.create(&repository, lock.clone(), &Progress::default()).await.unwrap());
        lock.release().await;
    }
    assert_eq!(repository.snapshots().await.unwrap(), made);
}
