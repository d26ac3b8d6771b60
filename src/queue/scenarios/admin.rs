//! What administrators do with the queue.

use super::*;
use crate::{Action, Filter, Settled, State};

#[tokio::test]
async fn lists_are_pages_in_the_order_of_arrival_by_any_filter() {
    let fixture = Fixture::new().await;
    for n in 0..30 {
        let mut message =
            fixture.message(&[&format!("user{n}@d{}.example", n % 3), &format!("other@e{}.example", n % 2)]);
        message.envelope.reverse_path = (n % 5 != 0).then(|| format!("sender{}@here.example", n % 5));
        message.account = Some(ekitei_directory::AccountId::new(n % 4));
        fixture.queue.enqueue(octets("hello"), message).await.unwrap();
        fixture.clock.advance(MINUTE);
    }
    let all = async |filter: Filter| {
        let (mut items, mut after) = (Vec::new(), None);
        loop {
            let page = fixture.queue.list(&filter, after, 7).await.unwrap();
            assert!(page.items.len() <= 7);
            items.extend(page.items);
            after = page.next;
            if after.is_none() {
                assert!(items.is_sorted_by_key(|listed| listed.id));
                return items.len();
            }
        }
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(all(Filter::default()).await, 60);
    assert_eq!(all(Filter { destination: text("D1.example"), ..Filter::default() }).await, 10);
    assert_eq!(all(Filter { sender: text("<>"), ..Filter::default() }).await, 12);
    assert_eq!(all(Filter { sender: text("@here.example"), ..Filter::default() }).await, 48);
    assert_eq!(all(Filter { sender: text("Sender1@here.example"), ..Filter::default() }).await, 12);
    assert_eq!(all(Filter { recipient: text("user7@d1.example"), ..Filter::default() }).await, 1);
    assert_eq!(all(Filter { recipient: text("@e0.example"), ..Filter::default() }).await, 15);
    assert_eq!(all(Filter { older_than: Some(10 * MINUTE), ..Filter::default() }).await, 42);
    assert_eq!(all(Filter { newer_than: Some(10 * MINUTE), ..Filter::default() }).await, 18);
    let account = Some(ekitei_directory::AccountId::new(1));
    assert_eq!(all(Filter { account, ..Filter::default() }).await, 16);
    let both = Filter { destination: text("e1.example"), older_than: Some(10 * MINUTE), ..Filter::default() };
    assert_eq!(all(both).await, 10);
    assert_eq!(all(Filter { state: Some(State::Held), ..Filter::default() }).await, 0);
    let wrong = Filter { sender: text("alice"), ..Filter::default() };
    assert!(matches!(fixture.queue.list(&wrong, None, 1).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn errors_and_states_are_found() {
    let fixture = Fixture::new().await;
    fixture.enqueue(&["bob@a.example"]).await;
    fixture.enqueue(&["bob@b.example"]).await;
    let loaded = fixture.take("a.example").await;
    let next = Next::At(fixture.clock.now() + MINUTE);
    let fence = fixture.fence("a.example");
    fixture.spool().settle(&fence, settlement(&loaded, &deferred("over quota"), next)).await.unwrap();
    let count = async |filter: Filter| fixture.queue.list(&filter, None, 10).await.unwrap().items.len();
    for error in ["Quota", "4.2.1", "4.2.", "450"] {
        assert_eq!(count(Filter { error: Some(error.to_owned()), ..Filter::default() }).await, 1);
    }
    assert_eq!(count(Filter { error: Some("4.4.1".to_owned()), ..Filter::default() }).await, 0);
    assert_eq!(count(Filter { state: Some(State::Deferred), ..Filter::default() }).await, 1);
    assert_eq!(count(Filter { state: Some(State::Active), ..Filter::default() }).await, 1);
    let statistics = fixture.queue.statistics(1).await.unwrap();
    assert_eq!((statistics.messages, statistics.bytes, statistics.destinations), (2, 200, 2));
    assert_eq!((statistics.figures.active, statistics.figures.deferred), (1, 1));
    assert_eq!(statistics.top.len(), 1);
    assert_eq!(statistics.oldest, Some(loaded.id.message.time()));
}

#[tokio::test]
async fn what_is_held_waits_until_it_is_released() {
    let fixture = Fixture::new().await;
    let id = fixture.enqueue(&["bob@a.example"]).await;
    let hint = fixture.fresh("a.example").await[0];
    let entries = [hint.entry];
    fixture.next_commits_unknown(true);
    let twice = [hint.entry, hint.entry];
    assert_eq!(fixture.queue.act(Action::Hold, &twice).await.unwrap(), 1, "named twice, committed twice");
    assert_eq!(fixture.queue.act(Action::Hold, &entries).await.unwrap(), 0, "it is held already");
    assert!(fixture.fresh("a.example").await.is_empty());
    assert!(fixture.load("a.example", hint).await.is_none(), "what was read before is void");
    assert_eq!(fixture.queue.act(Action::Retry, &entries).await.unwrap(), 0, "held is held");
    assert_eq!(fixture.check().await[&hint.entry].schedule, Schedule::Held);
    assert_eq!(fixture.queue.statistics(5).await.unwrap().figures.held, 1);
    let page = fixture.spool().fresh(Shard::of("a.example"), None, 5).await.unwrap();
    fixture.next_commits_unknown(true);
    fixture.queue.act(Action::Release, &entries).await.unwrap();
    page.watch.changed().await.unwrap();
    assert_eq!(fixture.take("a.example").await.id.message, id);
    fixture.check().await;
}

#[tokio::test]
async fn what_waits_is_tried_now_on_demand() {
    let fixture = Fixture::new().await;
    fixture.enqueue(&["bob@a.example"]).await;
    let loaded = fixture.take("a.example").await;
    let fence = fixture.fence("a.example");
    let next = Next::At(fixture.clock.now() + 60 * MINUTE);
    fixture.spool().settle(&fence, settlement(&loaded, &deferred("busy"), next)).await.unwrap();
    let filter = Filter { destination: Some("a.example".to_owned()), ..Filter::default() };
    let acted = fixture.queue.act_where(Action::Retry, &filter, None).await.unwrap();
    assert_eq!((acted.changed, acted.next), (1, None));
    assert_eq!(fixture.spool().next_due(fence.shard, None).await.unwrap(), None);
    let again = fixture.take("a.example").await;
    assert_eq!((again.entry.attempts, again.entry.schedule), (1, Schedule::Fresh));
    fixture.check().await;
}

#[tokio::test]
async fn what_an_administrator_wants_outlives_an_attempt_that_was_under_way() {
    let fixture = Fixture::new().await;
    let fence = fixture.fence("a.example");
    let next = Next::At(fixture.clock.now() + MINUTE);
    for action in [Action::Hold, Action::Bounce, Action::Delete] {
        fixture.enqueue(&["bob@a.example", "carol@a.example"]).await;
        let loaded = fixture.take("a.example").await;
        fixture.queue.act(action, &[loaded.id]).await.unwrap();
        let mut result = settlement(&loaded, &deferred("busy"), next);
        result.recipients[0] = sent();
        let told = fixture.message(&["alice@here.example"]);
        result.notifications.push(fixture.spool().prepare(octets("delayed"), told).await.unwrap());
        let settled = fixture.spool().settle(&fence, result).await.unwrap();
        let entries = fixture.check().await;
        match action {
            Action::Hold => assert_eq!(settled, Settled::Held),
            Action::Bounce => {
                let again = fixture.take("a.example").await;
                assert!(again.entry.bounce && again.entry.waiting().count() == 1);
            }
            _ => {
                assert_eq!(settled, Settled::Gone);
                assert!(entries.is_empty(), "no notification either");
                continue;
            }
        }
        assert_eq!(entries[&loaded.id].recipients[0].state, sent(), "it is not sent again");
        let everything: Vec<EntryId> = entries.keys().copied().collect();
        assert_eq!(fixture.queue.act(Action::Delete, &everything).await.unwrap(), 2);
        assert!(fixture.check().await.is_empty());
    }
}

#[tokio::test]
async fn a_message_is_shown_with_its_entries_and_its_octets() {
    let fixture = Fixture::new().await;
    let mut message = fixture.message(&["bob@a.example", "bob@b.example"]);
    message.header = Bytes::from_static(b"X-Forwarded: yes\r\n");
    let id = fixture.queue.enqueue(octets("hello"), message).await.unwrap();
    let shown = fixture.queue.show(id).await.unwrap();
    assert_eq!(
        shown.iter().map(|s| s.entry.destination.as_str()).collect::<Vec<_>>(),
        ["a.example", "b.example"]
    );
    let whole = [&b"X-Forwarded: yes\r\n"[..], &octets("hello")].concat();
    let message = fixture.queue.message(id).await.unwrap();
    for range in [0..u64::MAX, 0..5, 0..20, 17..25, 20..30, 500..600] {
        let (start, end) = (whole.len().min(range.start as usize), whole.len().min(range.end as usize));
        assert_eq!(fixture.spool().read(&message, range).await.unwrap(), whole[start..end]);
    }
    assert_eq!(fixture.spool().body(&shown[0].message).await.unwrap().concat(), whole);
}

#[tokio::test]
async fn figures_of_destinations_that_nothing_waits_for_are_swept() {
    let fixture = Fixture::new().await;
    fixture.enqueue(&["bob@a.example"]).await;
    fixture.enqueue(&["bob@b.example"]).await;
    let loaded = fixture.take("a.example").await;
    fixture.queue.act(Action::Delete, &[loaded.id]).await.unwrap();
    assert_eq!(fixture.queue.sweep().await.unwrap(), 1);
    assert_eq!(fixture.rows(rows::counts(), |_| ()).await.len(), 1);
    fixture.check().await;
}

/// The cost of a page, of what is due and of the figures does not depend on what else there is.
#[tokio::test]
async fn twenty_thousand_entries_cost_no_more_than_a_page_of_them() {
    const ENTRIES: usize = 20_000;
    let fixture = Fixture::new().await;
    let recipients: Vec<String> = (0..100).map(|n| format!("bob@d{n}.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    for _ in 0..ENTRIES / recipients.len() {
        fixture.enqueue(&recipients).await;
        fixture.clock.advance(Duration::from_millis(1));
    }
    let before = fixture.database.statistics();
    let page = fixture.queue.list(&Filter::default(), None, 50).await.unwrap();
    assert!(page.items.len() == 50 && page.next.is_some());
    let destination = Filter { destination: Some("d7.example".to_owned()), ..Filter::default() };
    let page = fixture.queue.list(&destination, None, 50).await.unwrap();
    assert_eq!(page.items.len(), 50);
    let after = fixture.database.statistics();
    let (reads, rows) = (after.reads - before.reads, after.rows_read - before.rows_read);
    assert!(reads <= 110 && rows <= 200, "{reads} reads of {rows} rows for two pages");
    // One of them is deferred: finding it reads one row, whatever else is there.
    let hint = fixture.spool().by_destination("d7.example", page.next, 1).await.unwrap()[0];
    let loaded = fixture.load("d7.example", hint).await.unwrap();
    let (fence, due) = (fixture.fence("d7.example"), fixture.clock.now() + MINUTE);
    fixture.spool().settle(&fence, settlement(&loaded, &deferred("busy"), Next::At(due))).await.unwrap();
    let before = fixture.database.statistics();
    assert_eq!(fixture.spool().due(fence.shard, None, due, 1_000).await.unwrap().len(), 1);
    fixture.queue.statistics(10).await.unwrap();
    let after = fixture.database.statistics();
    let (reads, rows) = (after.reads - before.reads, after.rows_read - before.rows_read);
    assert!(
        reads <= 6 && rows <= 110,
        "{reads} reads of {rows} rows: one hint and the figures of 100 domains"
    );
}
