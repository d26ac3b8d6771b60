//! What the scheduler promises of one process: limits, order, backoff, deadlines, notifications, and an orderly end.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ekitei_config::{QueueDestination, QueueWarmUp};
use ekitei_kv::keys::{range, subspace};
use ekitei_kv::{KeyValue, MemoryOptions, Transaction};
use ekitei_queue::{Action, Filter, Origin, dsn};
use ekitei_relay::{DeliverBy, Notify, RecipientOutcome, Shipment};
use support::{Fake, Journal, Keys, NodeOptions, World, deferred, failed, recipient, sent, unreachable};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn world() -> World {
    World::new(MemoryOptions::default(), |_| {})
}

/// Answers all recipients alike, after a second.
fn always(
    journal: &Journal,
    outcome: impl Fn(&Shipment) -> RecipientOutcome + Send + Sync + 'static,
) -> Arc<Fake> {
    let journal = journal.clone();
    Fake::new(move |shipment| {
        journal.add(&shipment);
        let outcomes = vec![outcome(&shipment); shipment.recipients.len()];
        async move {
            sleep(SECOND).await;
            outcomes
        }
    })
}

/// Lets a long time pass at once, and then some minutes step by step.
async fn skip(time: Duration) {
    tokio::time::advance(time).await;
    sleep(5 * MINUTE).await;
}

async fn is_empty(world: &World) -> bool {
    world.queue.list(&Filter::default(), None, 10).await.unwrap().items.is_empty()
}

#[tokio::test(start_paused = true)]
async fn mail_is_sent_when_it_comes_and_when_it_is_due_and_leaves_the_queue() {
    let (world, journal, tries) = (world(), Journal::default(), AtomicUsize::new(0));
    let transport =
        always(
            &journal,
            move |_| if tries.fetch_add(1, Ordering::SeqCst) == 0 { deferred() } else { sent() },
        );
    let node = world.node(transport, NodeOptions::default());
    sleep(10 * SECOND).await;
    world.enqueue(world.message(&["bob@there.example"]), "Subject: a\r\n\r\nb\r\n").await;
    sleep(5 * SECOND).await;
    assert_eq!(journal.count("there.example"), 1);
    let waiting = world.queue.list(&Filter::default(), None, 10).await.unwrap().items;
    assert_eq!(waiting[0].entry.attempts, 1);
    sleep(2 * MINUTE).await;
    assert_eq!(journal.count("there.example"), 2, "after queue.retrySchedule");
    assert!(is_empty(&world).await);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_destination_costs_one_attempt_for_each_interval_however_much_waits_for_it() {
    let (world, journal) = (world(), Journal::default());
    let transport =
        always(
            &journal,
            |shipment| if shipment.destination == "dead.example" { unreachable() } else { sent() },
        );
    for n in 0..2_000 {
        world.enqueue(world.message(&["bob@dead.example"]), &format!("Subject: {n}\r\n\r\nb\r\n")).await;
    }
    let node = world.node(transport, NodeOptions::default());
    sleep(20 * SECOND).await;
    world.enqueue(world.message(&["bob@alive.example"]), "Subject: x\r\n\r\nb\r\n").await;
    sleep(10 * SECOND).await;
    assert_eq!((journal.count("dead.example"), journal.count("alive.example")), (1, 1));
    let page = world.queue.list(&Filter::default(), None, 1_000).await.unwrap();
    for item in page.items {
        let (_, row) = item.entry.waiting().next().unwrap();
        let state = format!("{:?}", row.state);
        assert!(state.contains("connection refused by mx.there.example"), "each shows why it waits: {state}");
    }
    sleep(HOUR).await;
    // 1, 2, 5, 10, 20 and 30 minutes of queue.backoff.
    let attempts = journal.count("dead.example");
    assert!((4..=7).contains(&attempts), "{attempts} attempts in an hour");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_gets_no_more_at_once_than_its_concurrency() {
    let world = World::new(MemoryOptions::default(), |config| config.queue.concurrency = 4);
    let (active, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let transport = Fake::new({
        let (active, most) = (active.clone(), most.clone());
        move |_| {
            let (active, most) = (active.clone(), most.clone());
            async move {
                most.fetch_max(active.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(SECOND).await;
                active.fetch_sub(1, Ordering::SeqCst);
                vec![sent()]
            }
        }
    });
    for _ in 0..40 {
        world.enqueue(world.message(&["bob@there.example"]), "Subject: a\r\n\r\nb\r\n").await;
    }
    let node = world.node(transport, NodeOptions::default());
    sleep(40 * SECOND).await;
    assert_eq!(most.load(Ordering::SeqCst), 4);
    assert!(is_empty(&world).await);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn rates_hold_and_what_does_not_fit_into_memory_is_found_again() {
    let world = World::new(MemoryOptions::default(), |config| {
        config.queue.backlog = 100;
        config.queue.destinations = vec![QueueDestination {
            domains: vec!["slow.example".to_owned()],
            rate_per_minute: Some(60),
            ..QueueDestination::default()
        }];
    });
    let journal = Journal::default();
    for n in 0..300 {
        for domain in ["slow.example", "fast.example"] {
            let to = format!("bob@{domain}");
            world.enqueue(world.message(&[&to]), &format!("Subject: {n}\r\n\r\nb\r\n")).await;
        }
    }
    let node = world.node(always(&journal, |_| sent()), NodeOptions::default());
    sleep(MINUTE).await;
    assert_eq!(journal.count("fast.example"), 300);
    sleep(6 * MINUTE).await;
    assert_eq!(journal.count("slow.example"), 300);
    assert!(is_empty(&world).await);
    let times: Vec<Instant> =
        journal.all().into_iter().filter(|(_, to, _)| to == "slow.example").map(|(at, ..)| at).collect();
    assert!(times.windows(61).all(|window| window[60] - window[0] >= MINUTE));
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn urgent_mail_goes_first_and_old_mail_is_not_left_behind() {
    let world = World::new(MemoryOptions::default(), |config| config.queue.concurrency = 1);
    let journal = Journal::default();
    let with = async |priority, subject: &str| {
        let mut message = world.message(&["bob@there.example"]);
        message.envelope.priority = priority;
        world.enqueue(message, &format!("Subject: {subject}\r\n\r\nb\r\n")).await;
    };
    with(-1, "old and low").await;
    sleep(20 * MINUTE).await;
    for (priority, subject) in [(0, "normal"), (-9, "bulk"), (6, "urgent")] {
        with(priority, subject).await;
        sleep(SECOND).await;
    }
    let node = world.node(always(&journal, |_| sent()), NodeOptions::default());
    sleep(MINUTE).await;
    let subjects: Vec<String> =
        journal.all().into_iter().map(|(.., text)| text.replace("\r\n\r\nb\r\n", "")).collect();
    assert_eq!(subjects, ["Subject: urgent", "Subject: old and low", "Subject: normal", "Subject: bulk"]);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_sends_its_number_each_day_and_the_rest_shows_why_it_waits() {
    let world = World::new(MemoryOptions::default(), |config| {
        config.queue.delay_notice = ekitei_config::Duration::seconds(0);
        config.queue.warm_up = vec![QueueWarmUp {
            start: "2026-11-22".to_owned(),
            messages_per_day: vec![5, 10],
            ..QueueWarmUp::default()
        }];
    });
    let journal = Journal::default();
    let warmed = |journal: &Journal| (0..3).map(|n| journal.count(&format!("d{n}.example"))).sum::<usize>();
    for n in 0..30 {
        let to = format!("bob@d{}.example", n % 3);
        world.enqueue(world.message(&[&to]), "Subject: a\r\n\r\nb\r\n").await;
    }
    let first = world.node(always(&journal, |_| sent()), NodeOptions::default());
    let second = world.node(always(&journal, |_| sent()), NodeOptions::default());
    sleep(MINUTE).await;
    assert_eq!(warmed(&journal), 5, "over all destinations and nodes");
    let waiting = world.queue.list(&Filter::default(), None, 10).await.unwrap().items;
    assert!(
        format!("{:?}", waiting[0].entry.recipients).contains("warm-up schedule allows 5 messages today")
    );
    skip(24 * HOUR).await;
    assert_eq!(warmed(&journal), 15);
    skip(24 * HOUR).await;
    assert_eq!(warmed(&journal), 30);
    first.stop().await;
    second.stop().await;
}

/// The notifications that went to here.example, parsed.
fn notifications(journal: &Journal) -> Vec<dsn::ParsedReport> {
    let to_sender = journal.all().into_iter().filter(|(_, to, _)| to == "here.example");
    to_sender.map(|(.., text)| dsn::parse(text.as_bytes()).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_sender_hears_of_delay_and_failure_once_each_and_nobody_of_a_notification() {
    let day = |config: &mut ekitei_config::Config| config.queue.lifetime = ekitei_config::Duration::days(1);
    let (world, journal) = (World::new(MemoryOptions::default(), day), Journal::default());
    let transport = always(&journal, |shipment| match shipment.destination.as_str() {
        "late.example" => deferred(),
        _ => failed(),
    });
    let node = world.node(transport, NodeOptions::default());
    let mut message =
        world.message(&["a@late.example", "b@late.example", "c@bad.example", "d@quiet.example"]);
    message.recipients[3].notify = Some(Notify::NEVER);
    world.enqueue(message, "Subject: a\r\n\r\nb\r\n").await;
    sleep(MINUTE).await;
    let first = notifications(&journal);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].recipients[0].final_recipient.as_deref(), Some("c@bad.example"));
    assert_eq!(first[0].recipients[0].action, Some(dsn::Action::Failed));
    sleep(12 * HOUR).await;
    let told = notifications(&journal);
    assert_eq!(told.len(), 2, "of the delay, for both recipients");
    assert_eq!(told[1].recipients.len(), 2);
    assert_eq!(told[1].recipients[0].action, Some(dsn::Action::Delayed));
    sleep(24 * HOUR).await;
    let told = notifications(&journal);
    assert_eq!(told.len(), 3);
    assert!(told[2].recipients.iter().all(|r| r.status.unwrap().to_string() == "5.4.7"), "{told:?}");
    assert!(is_empty(&world).await, "the notifications failed, too, and are gone");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_is_not_given_up_before_its_sender_can_be_told_and_others_do_not_wait_for_that() {
    let (world, journal, keys) = (world(), Journal::default(), Arc::<Keys>::default());
    let is_bob = |shipment: &Shipment| shipment.recipients[0].address.to_string().starts_with("bob@");
    let transport = always(&journal, move |shipment| if is_bob(shipment) { failed() } else { sent() });
    let node = world.node(transport, NodeOptions { keys: keys.clone(), ..NodeOptions::default() });
    keys.0.store(true, Ordering::SeqCst);
    world.enqueue(world.message(&["bob@there.example"]), "Subject: a\r\n\r\nb\r\n").await;
    sleep(MINUTE).await;
    world.enqueue(world.message(&["carol@there.example"]), "Subject: a\r\n\r\nb\r\n").await;
    sleep(30 * SECOND).await;
    assert_eq!(journal.count("there.example"), 2, "Carol has hers");
    sleep(HOUR).await;
    let waits = world.queue.list(&Filter::default(), None, 10).await.unwrap().items;
    assert_eq!(waits.len(), 1);
    assert!(journal.count("there.example") > 20, "Bob is asked again: {}", journal.count("there.example"));
    keys.0.store(false, Ordering::SeqCst);
    sleep(3 * MINUTE).await;
    let told = notifications(&journal);
    assert_eq!(told[0].recipients[0].final_recipient.as_deref(), Some("bob@there.example"));
    assert_eq!(told.len(), 1);
    assert!(is_empty(&world).await);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_kept_to_the_second() {
    let (world, journal) = (world(), Journal::default());
    let transport =
        always(&journal, |shipment| if shipment.destination == "here.example" { sent() } else { deferred() });
    let node = world.node(transport, NodeOptions::default());
    let mut message = world.message(&["bob@there.example"]);
    let deadline = (world.clock.now() + 30 * MINUTE).as_secs();
    message.envelope.deliver_by = Some(DeliverBy { deadline, or_return: true });
    let began = Instant::now();
    world.enqueue(message, "Subject: a\r\n\r\nb\r\n").await;
    sleep(HOUR).await;
    let told = notifications(&journal);
    assert_eq!(told[0].recipients[0].status.unwrap().to_string(), "5.4.7");
    let at = journal.all().last().unwrap().0 - began;
    assert!(at >= 30 * MINUTE && at < 30 * MINUTE + 5 * SECOND, "{at:?}");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_administrator_is_obeyed_at_once() {
    let (world, journal) = (world(), Journal::default());
    let node = world.node(
        always(&journal, |s| if s.destination == "here.example" { sent() } else { unreachable() }),
        NodeOptions::default(),
    );
    sleep(5 * SECOND).await;
    world.enqueue(world.message(&["bob@dead.example"]), "Subject: a\r\n\r\nb\r\n").await;
    sleep(20 * SECOND).await;
    let entry = world.queue.list(&Filter::default(), None, 10).await.unwrap().items[0].id;
    assert_eq!(journal.count("dead.example"), 1);
    world.queue.act(Action::Retry, &[entry]).await.unwrap();
    sleep(5 * SECOND).await;
    assert_eq!(journal.count("dead.example"), 2, "though the destination is left alone");
    world.queue.act(Action::Hold, &[entry]).await.unwrap();
    sleep(HOUR).await;
    assert_eq!(journal.count("dead.example"), 2);
    world.queue.act(Action::Bounce, &[entry]).await.unwrap();
    sleep(5 * SECOND).await;
    assert_eq!(notifications(&journal).len(), 1);
    assert!(is_empty(&world).await);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_lets_messages_arrive_and_another_goes_on_at_once() {
    let (world, journal) = (world(), Journal::default());
    let first = world.node(always(&journal, |_| sent()), NodeOptions::default());
    sleep(10 * SECOND).await;
    for n in 0..50 {
        let mut message = world.message(&[]);
        message.recipients = vec![recipient(&format!("bob@d{n}.example"))];
        world.enqueue(message, "Subject: a\r\n\r\nb\r\n").await;
    }
    sleep(SECOND / 2).await;
    let second = world.node(always(&journal, |_| sent()), NodeOptions::default());
    first.stop().await;
    sleep(30 * SECOND).await;
    assert!(is_empty(&world).await);
    assert_eq!(journal.all().len(), 50, "nothing went twice");
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_administrator_returns_what_is_on_its_way_and_who_has_it_does_not_get_it_again() {
    let (world, journal) = (world(), Journal::default());
    let seen = journal.clone();
    let transport = Fake::new(move |shipment| {
        seen.add(&shipment);
        async move {
            if shipment.destination == "here.example" {
                return vec![sent()];
            }
            sleep(10 * SECOND).await;
            vec![sent(), deferred()]
        }
    });
    let node = world.node(transport, NodeOptions::default());
    sleep(5 * SECOND).await;
    world.enqueue(world.message(&["a@there.example", "b@there.example"]), "Subject: a\r\n\r\nb\r\n").await;
    sleep(5 * SECOND).await;
    let entry = world.queue.list(&Filter::default(), None, 10).await.unwrap().items[0].id;
    world.queue.act(Action::Bounce, &[entry]).await.unwrap();
    sleep(MINUTE).await;
    assert_eq!(journal.count("there.example"), 1);
    let told = notifications(&journal);
    assert_eq!((told.len(), told[0].recipients.len()), (1, 1));
    assert_eq!(told[0].recipients[0].final_recipient.as_deref(), Some("b@there.example"));
    assert!(is_empty(&world).await);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_the_transport_breaks_at_is_tried_again_when_it_is_due() {
    let (world, journal) = (world(), Journal::default());
    let transport = always(&journal, |shipment| {
        assert_ne!(shipment.destination, "broken.example", "breaks on purpose");
        sent()
    });
    let node = world.node(transport, NodeOptions::default());
    world.enqueue(world.message(&["a@broken.example"]), "Subject: a\r\n\r\nb\r\n").await;
    sleep(MINUTE).await;
    assert_eq!(journal.count("broken.example"), 1);
    let waiting = world.queue.list(&Filter::default(), None, 10).await.unwrap().items;
    assert_eq!(waiting[0].entry.attempts, 1);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_postmaster_hears_of_a_notification_that_failed_and_not_of_what_was_led_on() {
    let copies = |config: &mut ekitei_config::Config| {
        config.queue.notifications.double_bounces_to = "postmaster@here.example".to_owned();
    };
    let (world, journal) = (World::new(MemoryOptions::default(), copies), Journal::default());
    let transport =
        always(&journal, |shipment| if shipment.destination == "here.example" { sent() } else { failed() });
    let node = world.node(transport, NodeOptions::default());
    for (origin, told) in [(Origin::Notification, 1), (Origin::Forward, 1)] {
        let mut message = world.message(&["a@gone.example"]);
        message.envelope.reverse_path = None;
        message.origin = origin;
        world.enqueue(message, "Subject: a\r\n\r\nb\r\n").await;
        sleep(MINUTE).await;
        assert_eq!(notifications(&journal).len(), told, "{origin:?}");
        assert!(is_empty(&world).await);
    }
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn of_what_was_delivered_before_it_was_queued_the_sender_is_told_and_nothing_else_happens() {
    let (world, journal) = (world(), Journal::default());
    let node = world.node(always(&journal, |_| sent()), NodeOptions::default());
    for (origin, action) in
        [(Origin::Delivered, dsn::Action::Delivered), (Origin::Expanded, dsn::Action::Expanded)]
    {
        let mut message = world.message(&["bob@there.example"]);
        message.recipients[0].notify = Some(Notify { success: true, failure: true, delay: true });
        message.origin = origin;
        world.enqueue(message, "Subject: a\r\n\r\nb\r\n").await;
        sleep(MINUTE).await;
        let told = notifications(&journal);
        assert_eq!(told.last().unwrap().recipients[0].action, Some(action));
    }
    assert_eq!((journal.all().len(), journal.count("there.example")), (2, 0));
    assert!(is_empty(&world).await);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_could_not_be_read_is_looked_at_again_within_the_hour() {
    let (world, journal) = (world(), Journal::default());
    world.enqueue(world.message(&["bob@there.example"]), "Subject: a\r\n\r\nb\r\n").await;
    let mut rows = Vec::new();
    let page = |page: Vec<KeyValue>| {
        rows.extend(page);
        Ok::<_, ekitei_kv::Error>(())
    };
    world.database.scan(range(&(subspace::QUEUE, 0u32)), page).await.unwrap();
    let entry = &rows[1];
    let write = async |value: &[u8]| {
        let set = |transaction: Transaction| async move {
            transaction.set(&entry.key, value);
            Ok::<_, ekitei_kv::Error>(())
        };
        world.database.transact(set).await.unwrap();
    };
    write(b"damaged").await;
    let node = world.node(always(&journal, |_| sent()), NodeOptions::default());
    sleep(MINUTE).await;
    write(&entry.value).await;
    sleep(HOUR + 2 * MINUTE).await;
    assert_eq!(journal.count("there.example"), 1);
    node.stop().await;
}
