//! Bans: for what clients do, and by hand.

use ekitei_kv::CommitFault;

use super::*;
use crate::limits::BanError;

/// The end of the ban of the client, from now.
fn left(world: &World, limits: &Limits) -> Option<Duration> {
    limits.banned(ip(CLIENT)).map(|ban| ban.until.unwrap() - world.now())
}

#[tokio::test]
async fn who_does_too_much_wrong_is_banned_at_once_and_soon_everywhere() {
    let world = World::new();
    let (one, two) = (world.process().await, world.process().await);
    misbehave(&one, Event::LoginFailed, 9);
    assert_eq!(connect(&one, CLIENT, 0), Ok(()));
    misbehave(&one, Event::LoginFailed, 1);
    assert_eq!(connect(&one, CLIENT, 0), Err(Refusal::Banned));
    assert_eq!(connect(&one, "192.0.2.8", 0), Ok(()), "a neighbour is not");
    assert_eq!(connect(&two, CLIENT, 0), Ok(()), "the other process has not heard of it");
    one.sync().await.unwrap();
    two.catch_up().await;
    assert_eq!(connect(&two, CLIENT, 0), Err(Refusal::Banned));
    assert_eq!(two.banned(ip(CLIENT)).unwrap().reason, "failed logins");
    assert_eq!(connect(&world.process().await, CLIENT, 0), Err(Refusal::Banned), "also one that begins now");
    world.clock.advance(MINUTE * 10);
    assert_eq!(connect(&two, CLIENT, 0), Ok(()), "until it is over");
}

#[tokio::test]
async fn what_several_processes_saw_counts_together() {
    let world = World::new();
    let (one, two) = (world.process().await, world.process().await);
    misbehave(&one, Event::RelayAttempt, 3);
    misbehave(&two, Event::UnknownRecipient, 10);
    one.sync().await.unwrap();
    assert!(one.banned(ip(CLIENT)).is_none());
    two.sync().await.unwrap();
    assert!(two.banned(ip(CLIENT)).is_some());
}

#[tokio::test]
async fn points_fade_with_the_window() {
    let world = World::new();
    let limits = world.process().await;
    misbehave(&limits, Event::LoginFailed, 9);
    world.clock.advance(HOUR * 2);
    misbehave(&limits, Event::LoginFailed, 9);
    assert!(limits.banned(ip(CLIENT)).is_none());
}

#[tokio::test]
async fn each_ban_is_twice_as_long_until_it_is_forgotten() {
    let world =
        World::with(|config| config.filter.limits.bans.longest = ekitei_config::Duration::minutes(30));
    let limits = world.process().await;
    for minutes in [10, 20, 30, 30] {
        misbehave(&limits, Event::LoginFailed, 10);
        limits.sync().await.unwrap();
        assert_eq!(left(&world, &limits), Some(MINUTE * minutes));
        world.clock.advance(MINUTE * minutes);
        misbehave(&limits, Event::LoginFailed, 1);
        assert_eq!(left(&world, &limits), None, "after a ban points begin with nothing");
        world.clock.advance(HOUR * 2);
    }
    world.clock.advance(DAY * 30);
    misbehave(&limits, Event::LoginFailed, 10);
    limits.sync().await.unwrap();
    assert_eq!(left(&world, &limits), Some(MINUTE * 10));
}

#[tokio::test]
async fn a_ban_whose_commit_is_unknown_is_one_ban() {
    let world = World::new();
    let (one, two) = (world.process().await, world.process().await);
    misbehave(&one, Event::LoginFailed, 10);
    misbehave(&two, Event::LoginFailed, 10);
    // The counts, then the ban.
    world.faults.commits([None, Some(CommitFault::UnknownApplied)]);
    one.sync().await.unwrap();
    two.sync().await.unwrap();
    two.catch_up().await;
    assert_eq!(
        two.banned(ip(CLIENT)).unwrap().times,
        1,
        "two processes that ban the same client ban it once"
    );
    assert_eq!(left(&world, &one), Some(MINUTE * 10));
}

#[tokio::test]
async fn exempt_and_trusted_clients_are_banned_by_hand_alone() {
    let world = World::with(|config| {
        config.filter.limits.bans.exempt = vec![network("192.0.2.0/28")];
        config.smtp.trusted_networks = vec![network("198.51.100.0/24")];
    });
    let limits = world.process().await;
    for client in [CLIENT, "198.51.100.9", "192.0.2.77"] {
        (0..20).for_each(|_| limits.event(ip(client), Event::LoginFailed));
    }
    assert!(limits.banned(ip(CLIENT)).is_none() && limits.banned(ip("198.51.100.9")).is_none());
    assert!(limits.banned(ip("192.0.2.77")).is_some());
    limits.add_ban(network(CLIENT), "no more", None).await.unwrap();
    assert_eq!(connect(&limits, CLIENT, 0), Err(Refusal::Blocked), "for good");
}

#[tokio::test]
async fn bans_can_be_off_and_networks_can_be_banned() {
    let world = World::with(|config| config.filter.limits.bans.enabled = false);
    let limits = world.process().await;
    misbehave(&limits, Event::RelayAttempt, 100);
    assert!(limits.banned(ip(CLIENT)).is_none());
    let world = World::with(|config| config.filter.limits.bans.network_threshold = 200);
    let limits = world.process().await;
    (0..50).for_each(|host| limits.event(ip(&format!("192.0.2.{host}")), Event::UnknownRecipient));
    assert_eq!(limits.banned(ip("192.0.2.200")).unwrap().network, network("192.0.2.0/24"));
}

#[tokio::test]
async fn bans_by_hand_are_made_listed_and_ended() {
    let world = World::new();
    let (one, two) = (world.process().await, world.process().await);
    one.add_ban(network("203.0.113.0/24"), "spam", Some(HOUR)).await.unwrap();
    one.add_ban(network("2001:db8::/32"), "spam", None).await.unwrap();
    one.add_ban(network("198.51.100.1"), "spam", Some(MINUTE)).await.unwrap();
    let names = async |after: Option<&str>, limit| {
        let bans = two.list_bans(after, limit).await.unwrap();
        bans.iter().map(|ban| ban.network.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(None, 2).await, ["198.51.100.1/32", "2001:db8::/32"]);
    assert_eq!(names(Some("2001:db8::/32"), 2).await, ["203.0.113.0/24"]);
    world.clock.advance(MINUTE);
    assert_eq!(names(None, 10).await, ["2001:db8::/32", "203.0.113.0/24"], "what is over is not listed");
    two.catch_up().await;
    assert_eq!(connect(&two, "203.0.113.200", 0), Err(Refusal::Banned));
    one.remove_ban(network("203.0.113.0/24")).await.unwrap();
    two.catch_up().await;
    assert_eq!(connect(&two, "203.0.113.200", 0), Ok(()));
    let again = one.remove_ban(network("203.0.113.0/24")).await;
    assert!(matches!(again, Err(BanError::NotFound(_))));
}

#[tokio::test]
async fn a_client_that_is_let_in_again_begins_with_nothing() {
    let world = World::new();
    let (one, two) = (world.process().await, world.process().await);
    misbehave(&one, Event::LoginFailed, 10);
    misbehave(&two, Event::LoginFailed, 9);
    one.sync().await.unwrap();
    one.remove_ban(network(CLIENT)).await.unwrap();
    two.catch_up().await;
    misbehave(&two, Event::LoginFailed, 1);
    misbehave(&one, Event::LoginFailed, 1);
    assert!(one.banned(ip(CLIENT)).is_none() && two.banned(ip(CLIENT)).is_none());
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let world = World::with(|config| config.filter.limits.bans.max_bans = 1);
    let limits = world.process().await;
    for (name, reason, length) in
        [("0.0.0.0/0", "x", None), ("192.0.2.1", "a\nb", None), ("192.0.2.1", "x", Some(Duration::ZERO))]
    {
        let refused = limits.add_ban(network(name), reason, length).await;
        assert!(matches!(refused, Err(BanError::Invalid(_))), "{name}");
    }
    let long = "x".repeat(501);
    assert!(matches!(limits.add_ban(network(CLIENT), &long, None).await, Err(BanError::Invalid(_))));
    limits.add_ban(network("198.51.100.1"), "", None).await.unwrap();
    assert!(matches!(limits.add_ban(network(CLIENT), "", None).await, Err(BanError::Full(1))));
    limits.add_ban(network("198.51.100.1"), "another reason", None).await.unwrap();
    misbehave(&limits, Event::LoginFailed, 100);
    assert!(limits.banned(ip(CLIENT)).is_none(), "memory is bounded");
}

#[tokio::test]
async fn who_was_away_for_longer_than_the_log_reads_everything() {
    let world = World::new();
    let (one, two) = (world.process().await, world.process().await);
    one.add_ban(network("203.0.113.1"), "", None).await.unwrap();
    two.catch_up().await;
    one.remove_ban(network("203.0.113.1")).await.unwrap();
    one.add_ban(network("203.0.113.2"), "", None).await.unwrap();
    world.clock.advance(HOUR * 2);
    one.maintain().await.unwrap();
    one.add_ban(network("203.0.113.3"), "", None).await.unwrap();
    two.catch_up().await;
    let banned = ["203.0.113.1", "203.0.113.2", "203.0.113.3"].map(|client| two.banned(ip(client)).is_some());
    assert_eq!(banned, [false, true, true]);
}

#[tokio::test]
async fn bans_that_are_forgotten_leave_no_rows() {
    let world = World::new();
    let limits = world.process().await;
    misbehave(&limits, Event::LoginFailed, 10);
    limits.sync().await.unwrap();
    limits.add_ban(network("203.0.113.1"), "", None).await.unwrap();
    world.clock.advance(DAY * 40);
    limits.maintain().await.unwrap();
    assert_eq!(world.rows().await, 3, "the ban without an end, the version, and where the log was cut off");
}

#[tokio::test]
async fn a_running_process_hears_of_bans_and_shares_its_own() {
    let world =
        World::with(|config| config.filter.limits.sync_interval = ekitei_config::Duration::millis(10));
    let (one, two) = (world.process().await, world.process().await);
    let tasks = [one.clone(), two.clone()].map(|limits| tokio::spawn(async move { limits.run().await }));
    let heard = async |client| {
        while two.banned(ip(client)).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    one.add_ban(network("203.0.113.1"), "", None).await.unwrap();
    tokio::time::timeout(SECOND * 20, heard("203.0.113.1")).await.unwrap();
    misbehave(&one, Event::LoginFailed, 10);
    tokio::time::timeout(SECOND * 20, heard(CLIENT)).await.unwrap();
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}
