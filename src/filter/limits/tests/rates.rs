//! Rates, counted over all processes.

use ekitei_directory::AccountId;
use ekitei_kv::CommitFault;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

const ALICE: AccountId = AccountId::new(1);

fn messages(limits: &Limits, client: &str, times: usize) -> usize {
    (0..times).filter(|_| limits.message_from(ip(client))).count()
}

async fn recipients(limits: &Limits, times: usize) -> usize {
    let mut within = 0;
    for _ in 0..times {
        within += usize::from(limits.recipient_of(ALICE).await);
    }
    within
}

#[tokio::test]
async fn processes_share_a_rate_and_are_off_by_what_they_have_not_shared() {
    let world = World::with(|config| config.smtp.messages_per_address_per_minute = 10);
    let (one, two) = (world.process().await, world.process().await);
    assert_eq!(messages(&one, CLIENT, 6), 6);
    one.sync().await.unwrap();
    assert_eq!(messages(&two, CLIENT, 3), 3, "it does not know better yet");
    two.sync().await.unwrap();
    assert_eq!(messages(&two, CLIENT, 10), 1, "now it does");
    two.sync().await.unwrap();
    assert_eq!(messages(&one, CLIENT, 10), 4, "at most what the limit left when it was told last");
    one.sync().await.unwrap();
    assert_eq!(messages(&one, CLIENT, 10) + messages(&two, CLIENT, 10), 0);
    assert_eq!(messages(&one, "192.0.2.8", 1), 1, "another address has a rate of its own");
    world.clock.advance(MINUTE * 2);
    assert_eq!(messages(&one, CLIENT, 20), 10, "time passes");
}

#[tokio::test]
async fn a_synchronisation_costs_one_transaction_however_much_was_counted() {
    let world = World::new();
    let limits = world.process().await;
    for host in 0..200_u8 {
        messages(&limits, &format!("198.51.100.{host}"), 5);
    }
    let before = world.database.statistics().commits;
    limits.sync().await.unwrap();
    assert_eq!(world.database.statistics().commits - before, 1);
    limits.sync().await.unwrap();
    assert_eq!(world.database.statistics().commits - before, 1, "and none when nothing happened");
}

#[tokio::test]
async fn networks_have_rates_too() {
    let world = World::with(|config| config.filter.limits.messages_per_network_per_minute = 10);
    let limits = world.process().await;
    let spread = |net: &str| (0..20).filter(|host| limits.message_from(ip(&format!("{net}{host}")))).count();
    assert_eq!(spread("192.0.2."), 10);
    assert_eq!(spread("198.51.100."), 10);
    assert_eq!(spread("2001:db8:1:1::"), 10, "one /64 is one client");
    assert_eq!(messages(&limits, "2001:db8:1:2::1", 1), 0, "of a /48 that is used up");
    assert_eq!(messages(&limits, "2001:db8:2::1", 1), 1);
}

#[tokio::test]
async fn the_day_of_an_account_survives_its_process() {
    let world = World::with(|config| config.smtp.submission.recipients_per_account_per_day = 10);
    let before = world.process().await;
    assert_eq!(recipients(&before, 7).await, 7);
    before.sync().await.unwrap();
    drop(before);
    let after = world.process().await;
    assert_eq!(recipients(&after, 7).await, 3);
    world.clock.advance(DAY);
    assert_eq!(recipients(&after, 20).await, 10);
}

#[tokio::test]
async fn nothing_is_counted_twice_when_the_result_of_a_commit_is_unknown() {
    for fault in [CommitFault::UnknownApplied, CommitFault::UnknownNotApplied, CommitFault::Conflict] {
        let world = World::with(|config| config.smtp.submission.recipients_per_account_per_day = 10);
        let limits = world.process().await;
        for _ in 0..3 {
            recipients(&limits, 2).await;
            world.faults.commits([Some(fault), Some(fault), None]);
            limits.sync().await.unwrap();
        }
        assert_eq!(recipients(&world.process().await, 10).await, 4, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_shared_is_shared_later() {
    let world = World::with(|config| config.smtp.submission.recipients_per_account_per_day = 10);
    let limits = world.process().await;
    recipients(&limits, 4).await;
    // Longer than a transaction is tried.
    world.faults.commits([Some(CommitFault::UnknownNotApplied); 100]);
    limits.sync().await.unwrap_err();
    assert_eq!(recipients(&limits, 1).await, 1);
    while limits.sync().await.is_err() {}
    assert_eq!(recipients(&limits, 10).await, 5);
    assert_eq!(recipients(&world.process().await, 10).await, 5);
}

#[tokio::test]
async fn who_comes_back_to_a_process_brings_along_what_happened_at_another() {
    let world = World::with(|config| config.smtp.submission.recipients_per_account_per_day = 10);
    let (here, there) = (world.process().await, world.process().await);
    assert_eq!(recipients(&here, 4).await, 4);
    here.sync().await.unwrap();
    assert_eq!(recipients(&there, 5).await, 5);
    there.sync().await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(recipients(&here, 10).await, 1);
}

#[tokio::test]
async fn connections_are_counted_at_the_door() {
    let world = World::with(|config| config.filter.limits.connections_per_network_per_minute = 4);
    let limits = world.process().await;
    assert_eq!(connect(&limits, CLIENT, 2), Ok(()));
    assert_eq!(connect(&limits, CLIENT, 2), Ok(()));
    assert_eq!(connect(&limits, CLIENT, 2), Err(Refusal::Rate));
    assert_eq!(connect(&limits, "192.0.2.8", 0), Ok(()), "0 is no limit");
    assert_eq!(connect(&limits, "192.0.2.9", 0), Ok(()));
    assert_eq!(connect(&limits, "192.0.2.10", 0), Err(Refusal::Rate), "of the network");
    let imap = Arrival { client: ip("192.0.2.10"), group: "imap", per_minute: 1 };
    assert_eq!(limits.admit(&imap), Ok(()), "protocols do not share a rate");
}

#[tokio::test]
async fn what_is_over_leaves_no_rows() {
    let world = World::new();
    let limits = world.process().await;
    messages(&limits, CLIENT, 3);
    recipients(&limits, 3).await;
    misbehave(&limits, Event::RelayAttempt, 1);
    limits.sync().await.unwrap();
    limits.maintain().await.unwrap();
    assert_eq!(world.rows().await, 4, "messages, recipients, points, and the batch");
    world.clock.advance(MINUTE * 4);
    limits.maintain().await.unwrap();
    assert_eq!(world.rows().await, 3, "the rate of a minute is over");
    world.clock.advance(DAY * 3);
    limits.maintain().await.unwrap();
    assert_eq!(world.rows().await, 0);
}

/// Three processes count at random and share now and then, with commits that fail in every way. Each lets through what is within the limit by
/// what it counted itself and what the store had when it asked last, which is the error bound, and the store knows of each event once.
#[tokio::test(start_paused = true)]
async fn the_error_bound_holds_whatever_happens() {
    const LIMIT: usize = 40;
    const FAULTS: [CommitFault; 3] =
        [CommitFault::Conflict, CommitFault::UnknownApplied, CommitFault::UnknownNotApplied];
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let world = World::with(|config| config.smtp.submission.recipients_per_account_per_day = 40);
        let processes = [world.process().await, world.process().await, world.process().await];
        let (mut stored, mut known, mut unshared) = (0, [None; 3], [0; 3]);
        for step in 0..random.random_range(20..300) {
            let one = random.random_range(0..3);
            if random.random_ratio(3, 4) {
                // A process asks the store before its first event.
                let known = *known[one].get_or_insert(stored);
                let within = recipients(&processes[one], 1).await;
                assert_eq!(within == 1, known + unshared[one] < LIMIT, "seed {seed}, step {step}");
                unshared[one] += within;
            } else {
                let faults = (0..random.random_range(0..3)).map(|_| Some(FAULTS[random.random_range(0..3)]));
                world.faults.commits(faults.collect::<Vec<_>>());
                processes[one].sync().await.unwrap();
                // Who has nothing to say hears nothing.
                if unshared[one] > 0 {
                    stored += std::mem::take(&mut unshared[one]);
                    known[one] = Some(stored);
                }
            }
        }
        for process in &processes {
            process.sync().await.unwrap();
        }
        let total = stored + unshared.iter().sum::<usize>();
        let left = recipients(&world.process().await, 100).await;
        assert_eq!(left, LIMIT.saturating_sub(total), "seed {seed}");
    }
}
