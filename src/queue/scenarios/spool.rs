//! What the spool keeps and finds.

use super::*;
use crate::{DueCursor, Settled};

#[tokio::test]
async fn a_message_is_queued_in_one_commit_with_an_entry_for_each_destination() {
    let fixture = Fixture::new().await;
    let before = fixture.database.statistics().commits;
    let id = fixture.enqueue(&["bob@a.example", "carol@b.example", "dave@A.example"]).await;
    assert_eq!(fixture.database.statistics().commits - before, 1);
    let entries = fixture.check().await;
    let found: Vec<_> = entries.values().map(|e| (e.destination.as_str(), e.recipients.len())).collect();
    assert_eq!(found, [("a.example", 2), ("b.example", 1)]);
    let loaded = fixture.take("a.example").await;
    assert_eq!(loaded.id, EntryId { message: id, number: 0 });
    assert_eq!(loaded.message.envelope.reverse_path.as_deref(), Some("alice@here.example"));
    let addresses: Vec<_> = loaded.entry.waiting().map(|(_, row)| row.recipient.address.as_str()).collect();
    assert_eq!(addresses, ["bob@a.example", "dave@a.example"]);
    assert_eq!(fixture.spool().body(&loaded.message).await.unwrap(), [octets("hello")]);
    assert_eq!(EntryId::parse(&loaded.id.to_string()), Some(loaded.id));
}

#[tokio::test]
async fn messages_that_come_together_share_commits() {
    let fixture = Fixture::new().await;
    let before = fixture.database.statistics().commits;
    let new = |n| {
        let (queue, message) = (fixture.queue.clone(), fixture.message(&[&format!("bob@d{n}.example")]));
        tokio::spawn(async move { queue.enqueue(octets("hello"), message).await.unwrap() })
    };
    for task in (0..100).map(new).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let commits = fixture.database.statistics().commits - before;
    assert!(commits <= 20, "{commits} commits for 100 messages");
    assert_eq!(fixture.check().await.len(), 100);
}

#[tokio::test]
async fn a_message_is_queued_once_whatever_becomes_of_the_commit() {
    let fixture = Fixture::new().await;
    for applied in [true, false] {
        fixture.next_commits_unknown(applied);
        fixture.enqueue(&["bob@a.example"]).await;
    }
    assert_eq!(fixture.check().await.len(), 2);
    assert_eq!(fixture.fresh("a.example").await.len(), 2);
}

#[tokio::test]
async fn fresh_work_is_read_once_and_its_coming_wakes_the_owner() {
    let fixture = Fixture::new().await;
    let shard = Shard::of("a.example");
    for _ in 0..3 {
        fixture.enqueue(&["bob@a.example"]).await;
    }
    let page = fixture.spool().fresh(shard, None, 2).await.unwrap();
    assert!(page.hints.len() == 2 && page.more);
    let page = fixture.spool().fresh(shard, page.next, 2).await.unwrap();
    assert!(page.hints.len() == 1 && !page.more);
    let empty = fixture.spool().fresh(shard, page.next, 2).await.unwrap();
    assert!(empty.hints.is_empty() && empty.next == page.next);
    let newest = fixture.enqueue(&["bob@a.example"]).await;
    empty.watch.changed().await.unwrap();
    let woken = fixture.spool().fresh(shard, empty.next, 2).await.unwrap();
    assert_eq!(woken.hints.iter().map(|hint| hint.entry.message).collect::<Vec<_>>(), [newest]);
}

#[tokio::test]
async fn an_entry_is_deferred_found_when_it_is_due_and_removed_when_it_is_sent() {
    let fixture = Fixture::new().await;
    fixture.enqueue(&["bob@a.example"]).await;
    let (shard, fence) = (Shard::of("a.example"), fixture.fence("a.example"));
    let loaded = fixture.take("a.example").await;
    let due = fixture.clock.now() + 5 * MINUTE;
    let settled = fixture.spool().settle(&fence, settlement(&loaded, &deferred("busy"), Next::At(due))).await;
    let Settled::Waits(hint) = settled.unwrap() else { panic!("it waits") };
    assert_eq!(hint.place, Place::Due(due));
    assert!(fixture.fresh("a.example").await.is_empty());
    assert_eq!(fixture.spool().next_due(shard, None).await.unwrap(), Some(due));
    assert!(fixture.spool().due(shard, None, due - MINUTE, 10).await.unwrap().is_empty());
    assert_eq!(fixture.spool().due(shard, None, due, 10).await.unwrap(), [hint]);
    assert!(fixture.spool().due(shard, DueCursor::of(&hint), due, 10).await.unwrap().is_empty());
    fixture.check().await;
    let again = fixture.load("a.example", hint).await.unwrap();
    assert_eq!((again.entry.attempts, again.entry.revision), (1, 1));
    assert_eq!(again.entry.recipients[0].state, deferred("busy"));
    let done = settlement(&again, &sent(), Next::Remove);
    assert_eq!(fixture.spool().settle(&fence, done).await.unwrap(), Settled::Removed);
    assert!(fixture.check().await.is_empty());
    assert_eq!(fixture.blobs.collect().await.unwrap().waiting, 0, "the body is gone as well");
    assert!(fixture.load("a.example", hint).await.is_none());
}

#[tokio::test]
async fn the_body_stays_until_the_last_entry_is_gone() {
    let fixture = Fixture::new().await;
    let id = fixture.enqueue(&["bob@a.example", "carol@b.example"]).await;
    for (destination, left) in [("a.example", 1), ("b.example", 0)] {
        let loaded = fixture.take(destination).await;
        let done = settlement(&loaded, &sent(), Next::Remove);
        fixture.spool().settle(&fixture.fence(destination), done).await.unwrap();
        assert_eq!(fixture.check().await.len(), left);
    }
    assert!(matches!(fixture.queue.show(id).await, Err(Error::NotFound)));
}

#[tokio::test]
async fn entries_of_one_message_that_end_at_the_same_time_take_it_along() {
    let fixture = Fixture::new().await;
    let destinations: Vec<String> = (0..20).map(|n| format!("d{n}.example")).collect();
    let recipients: Vec<String> = destinations.iter().map(|domain| format!("bob@{domain}")).collect();
    fixture.enqueue(&recipients.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let before = fixture.database.statistics().commits;
    let mut tasks = Vec::new();
    for destination in &destinations {
        let hint = fixture.fresh(destination).await;
        let hint =
            *hint.iter().find(|hint| destinations[hint_number(hint, &destinations)] == *destination).unwrap();
        let loaded = fixture.load(destination, hint).await.unwrap();
        let (spool, fence) = (fixture.spool().clone(), fixture.fence(&loaded.entry.destination));
        tasks.push(async move { spool.settle(&fence, settlement(&loaded, &sent(), Next::Remove)).await });
    }
    for settled in futures_util::future::join_all(tasks).await {
        assert_eq!(settled.unwrap(), Settled::Removed);
    }
    assert!(fixture.database.statistics().commits - before <= 3, "they share transactions");
    assert!(fixture.check().await.is_empty());
}

/// Destinations are numbered in the order of their names.
fn hint_number(hint: &Hint, destinations: &[String]) -> usize {
    let mut sorted: Vec<usize> = (0..destinations.len()).collect();
    sorted.sort_by_key(|&n| &destinations[n]);
    sorted[hint.entry.number as usize]
}

#[tokio::test]
async fn a_settlement_is_applied_once_whatever_becomes_of_the_commit() {
    let fixture = Fixture::new().await;
    let fence = fixture.fence("a.example");
    for applied in [true, false] {
        fixture.enqueue(&["bob@a.example"]).await;
        let loaded = fixture.take("a.example").await;
        let due = fixture.clock.now() + MINUTE;
        let mut first = settlement(&loaded, &deferred("busy"), Next::At(due));
        let mut told = fixture.message(&["alice@here.example"]);
        told.origin = Origin::Notification;
        first.notifications.push(fixture.spool().prepare(octets("delayed"), told).await.unwrap());
        fixture.next_commits_unknown(applied);
        let settled = fixture.spool().settle(&fence, first.clone()).await.unwrap();
        // The owner did not hear it, and settles again; twice in the same transaction.
        let again = [fixture.spool().settle(&fence, first.clone()), fixture.spool().settle(&fence, first)];
        for again in futures_util::future::join_all(again).await {
            assert_eq!(again.unwrap(), settled);
        }
        let entries = fixture.check().await;
        assert_eq!(entries.len(), 2, "one notification");
        assert_eq!(entries[&loaded.id].attempts, 1);
        let Settled::Waits(hint) = settled else { panic!("it waits") };
        let again = fixture.load("a.example", hint).await.unwrap();
        fixture.next_commits_unknown(applied);
        let done = settlement(&again, &sent(), Next::Remove);
        let settled = fixture.spool().settle(&fence, done).await.unwrap();
        assert!(matches!(settled, Settled::Removed | Settled::Gone));
        let notification = fixture.take("here.example").await;
        assert_eq!(fixture.spool().body(&notification.message).await.unwrap(), [octets("delayed")]);
        let done = settlement(&notification, &sent(), Next::Remove);
        fixture.spool().settle(&fixture.fence("here.example"), done).await.unwrap();
        assert!(fixture.check().await.is_empty());
    }
}

#[tokio::test]
async fn a_settlement_and_its_repetition_in_one_transaction_are_one() {
    let fixture = Fixture::new().await;
    let fence = fixture.fence("a.example");
    for next in [Next::At(fixture.clock.now() + MINUTE), Next::Remove] {
        fixture.enqueue(&["bob@a.example"]).await;
        let loaded = fixture.take("a.example").await;
        let once = settlement(&loaded, &deferred("busy"), next);
        let both = [fixture.spool().settle(&fence, once.clone()), fixture.spool().settle(&fence, once)];
        assert!(futures_util::future::join_all(both).await.iter().all(Result::is_ok));
        let entries = fixture.check().await;
        assert!(entries.values().all(|entry| entry.attempts == 1));
    }
}

#[tokio::test]
async fn the_result_of_who_lost_the_shard_is_refused_and_sinks_no_others() {
    let fixture = Fixture::new().await;
    fixture.enqueue(&["bob@a.example"]).await;
    fixture.enqueue(&["bob@b.example"]).await;
    let (lost, kept) = (fixture.fence("a.example"), fixture.fence("b.example"));
    assert_ne!(lost.shard, kept.shard);
    let (first, second) = (fixture.take("a.example").await, fixture.take("b.example").await);
    fixture.leases.release(&lost.lease).await.unwrap();
    let (other, set) = process(&fixture.database);
    other.renew().await.unwrap();
    let (refused, settled) = tokio::join!(
        fixture.spool().settle(&lost, settlement(&first, &sent(), Next::Remove)),
        fixture.spool().settle(&kept, settlement(&second, &sent(), Next::Remove)),
    );
    assert!(matches!(refused, Err(Error::Fenced)));
    assert_eq!(settled.unwrap(), Settled::Removed);
    assert_eq!(fixture.check().await.len(), 1);
    // The new owner finds it where it was.
    let taken = fixture.take("a.example").await;
    let done = settlement(&taken, &sent(), Next::Remove);
    assert_eq!(fixture.spool().settle(&fence(&set, "a.example"), done).await.unwrap(), Settled::Removed);
}

#[tokio::test]
async fn the_destination_index_finds_what_memory_had_no_room_for() {
    let fixture = Fixture::new().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(fixture.enqueue(&["bob@a.example", "bob@b.example"]).await);
        fixture.clock.advance(Duration::from_millis(1));
    }
    let first = fixture.spool().by_destination("a.example", None, 2).await.unwrap();
    assert_eq!(first.iter().map(|hint| hint.entry.message).collect::<Vec<_>>(), ids[..2]);
    let rest = fixture.spool().by_destination("a.example", Some(first[1].entry), 10).await.unwrap();
    assert_eq!(rest.iter().map(|hint| hint.entry.message).collect::<Vec<_>>(), ids[2..]);
    // What it finds is settled like what was read as fresh: its hint goes.
    let loaded = fixture.load("a.example", rest[2]).await.unwrap();
    let next = Next::At(fixture.clock.now() + MINUTE);
    fixture
        .spool()
        .settle(&fixture.fence("a.example"), settlement(&loaded, &deferred("x"), next))
        .await
        .unwrap();
    let places = fixture.spool().by_destination("a.example", Some(ids_of(&rest)[1]), 1).await.unwrap();
    assert!(matches!(places[0].place, Place::Due(_)));
    assert_eq!(fixture.check().await.len(), 10);
}

fn ids_of(hints: &[Hint]) -> Vec<EntryId> {
    hints.iter().map(|hint| hint.entry).collect()
}

#[tokio::test]
async fn a_full_queue_refuses_and_says_so() {
    let fixture = Fixture::with(|config| config.queue.max_messages = 3).await;
    for _ in 0..3 {
        fixture.enqueue(&["bob@a.example"]).await;
    }
    let refused = fixture.queue.enqueue(octets("hello"), fixture.message(&["bob@a.example"])).await;
    assert!(matches!(refused, Err(Error::Full)));
    assert!(fixture.queue.companion(fixture.message(&[])).unwrap().is_none());
    assert_eq!(fixture.check().await.len(), 3);
}

#[tokio::test]
async fn what_servers_say_of_a_hundred_recipients_fits_into_the_row() {
    let fixture = Fixture::new().await;
    let addresses: Vec<String> = (0..100).map(|n| format!("{n:0>60}@a.example")).collect();
    fixture.enqueue(&addresses.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let loaded = fixture.take("a.example").await;
    let mut long = failure(Status(4, 2, 1), &"ü".repeat(10_000));
    long.remote = Some("x".repeat(10_000));
    let state = RecipientState::Waiting { last: Some(long) };
    let next = Next::At(fixture.clock.now() + MINUTE);
    fixture.spool().settle(&fixture.fence("a.example"), settlement(&loaded, &state, next)).await.unwrap();
    assert_eq!(fixture.check().await.len(), 1);
}

#[tokio::test]
async fn addresses_that_keep_bouncing_are_suppressed_for_a_while() {
    let fixture = Fixture::new().await;
    let fence = fixture.fence("a.example");
    let bounce = async |status: Status| {
        fixture.enqueue(&["Bob@a.example"]).await;
        let loaded = fixture.take("a.example").await;
        let settled = settlement(&loaded, &failed(status), Next::Remove);
        fixture.spool().settle(&fence, settled).await.unwrap();
        loaded.suppressed.len()
    };
    let bob = EmailAddress::parse("bob@a.example").unwrap();
    for status in [Status(5, 7, 1), Status(5, 1, 8), Status(5, 1, 1), Status(5, 1, 1)] {
        assert_eq!(bounce(status).await, 0);
    }
    assert!(fixture.queue.suppressed(&bob).await.unwrap().is_none(), "a policy is not the address");
    bounce(Status(5, 1, 1)).await;
    let suppressed = fixture.queue.suppressed(&bob).await.unwrap().unwrap();
    assert_eq!(suppressed.bounces, 3);
    assert_eq!(suppressed.failure().status, Status(5, 1, 1));
    assert_eq!(bounce(Status(5, 1, 1)).await, 1, "known before the first attempt");
    let (listed, next) = fixture.queue.suppressions(None, 10).await.unwrap();
    assert!(listed.len() == 1 && next.is_none() && listed[0].address == "bob@a.example");
    fixture.clock.advance(31 * 24 * 60 * MINUTE);
    assert!(fixture.queue.suppressed(&bob).await.unwrap().is_none(), "it is over");
    assert!(fixture.queue.sweep().await.unwrap() > 0);
    assert!(matches!(fixture.queue.unsuppress(&bob).await, Err(Error::NotFound)));
    for _ in 0..3 {
        bounce(Status(5, 1, 1)).await;
    }
    fixture.queue.unsuppress(&bob).await.unwrap();
    assert!(fixture.queue.suppressed(&bob).await.unwrap().is_none());
    let mut without = (*fixture.live.load()).clone();
    without.queue.suppression.bounces = 0;
    fixture.live.replace(without);
    for _ in 0..4 {
        bounce(Status(5, 1, 1)).await;
    }
    assert!(fixture.queue.suppressed(&bob).await.unwrap().is_none(), "it is turned off");
}
