//! What greylisting promises, with a clock that is moved by hand.
#![allow(clippy::unwrap_used)]

use ekitei_config::Config;
use ekitei_kv::clock::{Clock, ManualClock};
use ekitei_kv::{CommitFault, FaultScript, MemoryOptions};

use super::*;

const CLIENT: &str = "192.0.2.7";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

struct World {
    database: Database,
    faults: Arc<FaultScript>,
    clock: Arc<ManualClock>,
    config: Config,
}

impl World {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let faults = Arc::new(FaultScript::default());
        let options = MemoryOptions { faults: faults.clone(), ..MemoryOptions::default() };
        let mut config = Config::default();
        config.filter.greylist.enabled = true;
        change(&mut config.filter.greylist);
        Self {
            database: Database::in_memory_with(options).unwrap(),
            faults,
            clock: ManualClock::new(DAY * 20_000 + HOUR),
            config,
        }
    }

    fn process(&self) -> Greylist {
        let live = Live::new(self.config.clone());
        Greylist::new(live, self.database.clone(), self.clock.clone(), &Registry::new())
    }
}

fn mail<'a>(client: &str, sender: &'a str, recipient: &'a str) -> Attempt<'a> {
    Attempt { client: client.parse().unwrap(), sender, recipient, spf_domain: None }
}

async fn passes(greylist: &Greylist, attempt: Attempt<'_>) -> bool {
    match greylist.check(attempt).await {
        Greyness::Pass => true,
        Greyness::Defer(refusal) => {
            assert_eq!((refusal.code, refusal.enhanced.as_str()), (451, "4.7.1"));
            assert!(refusal.text.ends_with("try again in 5 minutes"), "{}", refusal.text);
            false
        }
    }
}

async fn alice(greylist: &Greylist) -> bool {
    passes(greylist, mail(CLIENT, "someone@else.test", "alice@example.test")).await
}

#[tokio::test]
async fn who_comes_again_in_time_is_known_from_then_on_everywhere() {
    let world = World::new(|_| {});
    let (one, two) = (world.process(), world.process());
    assert!(!alice(&one).await, "the first attempt");
    world.clock.advance(MINUTE * 4);
    assert!(!alice(&two).await, "too early");
    world.clock.advance(MINUTE * 2);
    assert!(
        passes(&two, mail("192.0.2.99", "Someone@ELSE.test", "Alice@example.test")).await,
        "from the same network"
    );
    assert!(alice(&one).await && alice(&one).await);
    for other in [
        mail("198.51.100.7", "someone@else.test", "alice@example.test"),
        mail(CLIENT, "another@else.test", "alice@example.test"),
        mail(CLIENT, "someone@else.test", "bob@example.test"),
        mail(CLIENT, "", "alice@example.test"),
    ] {
        assert!(!passes(&one, other).await, "{other:?}");
    }
    for _ in 0..5 {
        world.clock.advance(DAY * 35);
        assert!(alice(&two).await, "whoever goes on stays known");
    }
    world.clock.advance(DAY * 37);
    assert!(!alice(&two).await, "until there was nothing for a lifetime");
}

#[tokio::test]
async fn who_comes_too_late_comes_for_the_first_time() {
    let world = World::new(|settings| settings.retry_window = ekitei_config::Duration::hours(2));
    let greylist = world.process();
    assert!(!alice(&greylist).await);
    world.clock.advance(HOUR * 2);
    assert!(!alice(&greylist).await);
    world.clock.advance(HOUR * 2 - MINUTE);
    assert!(alice(&greylist).await);
}

#[tokio::test]
async fn a_network_from_which_enough_passed_needs_no_more_proof() {
    let world = World::new(|settings| settings.network_after = 2);
    let greylist = world.process();
    for recipient in ["alice@example.test", "bob@example.test"] {
        let attempt = mail(CLIENT, "someone@else.test", recipient);
        assert!(!passes(&greylist, attempt).await);
        world.clock.advance(MINUTE * 6);
        assert!(passes(&greylist, attempt).await);
    }
    let other = mail("192.0.2.200", "another@else.test", "carol@example.test");
    assert!(passes(&world.process(), other).await);
    for _ in 0..5 {
        world.clock.advance(DAY * 35);
        assert!(passes(&world.process(), other).await, "as long as it goes on");
    }
    world.clock.advance(DAY * 80);
    assert!(!passes(&world.process(), other).await);
}

#[tokio::test]
async fn what_is_listed_is_never_put_off() {
    let world = World::new(|settings| {
        settings.networks = vec!["198.51.100.0/24".parse().unwrap()];
        settings.senders = vec!["bank.test".into(), "Friend@else.test".into()];
        settings.recipients =
            vec!["postmaster@example.test".into(), ".open.test".into(), "team7@example.test".into()];
    });
    let greylist = world.process();
    for (attempt, is_listed) in [
        (mail("198.51.100.7", "a@b.test", "alice@example.test"), true),
        (mail(CLIENT, "a@Bank.test", "alice@example.test"), true),
        (mail(CLIENT, "a@mail.bank.test", "alice@example.test"), true),
        (mail(CLIENT, "a@notbank.test", "alice@example.test"), false),
        (mail(CLIENT, "friend+news@else.test", "alice@example.test"), true),
        (mail(CLIENT, "enemy@else.test", "alice@example.test"), false),
        (mail(CLIENT, "a@b.test", "Postmaster@example.test"), true),
        (mail(CLIENT, "a@b.test", "x@open.test"), true),
        (mail(CLIENT, "a@b.test", "team7@example.test"), true),
        (mail(CLIENT, "a@b.test", "team12@example.test"), false),
    ] {
        assert_eq!(passes(&greylist, attempt).await, is_listed, "{attempt:?}");
    }
    let off = World::new(|settings| settings.enabled = false);
    assert!(alice(&off.process()).await);
}

#[tokio::test]
async fn domains_whose_mail_was_accepted_pass_with_proof_alone() {
    let world = World::new(|_| {});
    let (one, two) = (world.process(), world.process());
    let proven =
        |recipient| Attempt { spf_domain: Some("Else.test"), ..mail(CLIENT, "a@else.test", recipient) };
    assert!(!passes(&one, proven("alice@example.test")).await);
    assert!(!one.known_sender("else.test").await);
    one.accepted("ELSE.test").await;
    assert!(two.known_sender("else.test").await);
    assert!(passes(&two, proven("bob@example.test")).await);
    assert!(
        !passes(&two, mail(CLIENT, "a@else.test", "bob@example.test")).await,
        "without proof it is anyone"
    );
    world.clock.advance(DAY * 121);
    assert!(!two.known_sender("else.test").await);
}

#[tokio::test]
async fn variable_senders_of_one_list_are_one_sender() {
    let world = World::new(|_| {});
    let greylist = world.process();
    let bounce = |sender| mail(CLIENT, sender, "alice@example.test");
    assert!(!passes(&greylist, bounce("list-bounce-1234-alice=example.test@lists.test")).await);
    world.clock.advance(MINUTE * 6);
    assert!(passes(&greylist, bounce("list-bounce-98-alice=example.test@lists.test")).await);
    assert_eq!(without_tag("user+a+b@x9.test"), "user@x9.test");
    assert_eq!(without_tag(""), "");
}

#[tokio::test]
async fn an_unknown_commit_neither_loses_an_attempt_nor_counts_a_network_twice() {
    for fault in [CommitFault::UnknownApplied, CommitFault::UnknownNotApplied, CommitFault::Conflict] {
        let world = World::new(|settings| settings.network_after = 2);
        let greylist = world.process();
        world.faults.commits([Some(fault)]);
        assert!(!alice(&greylist).await);
        world.clock.advance(MINUTE * 6);
        world.faults.commits([Some(fault)]);
        assert!(alice(&greylist).await, "{fault:?}");
        let other = mail("192.0.2.200", "another@else.test", "carol@example.test");
        assert!(!passes(&world.process(), other).await, "one combination is one");
    }
}

#[tokio::test]
async fn the_administrator_sees_and_removes() {
    let world = World::new(|_| {});
    let greylist = world.process();
    assert!(!alice(&greylist).await);
    world.clock.advance(MINUTE * 6);
    assert!(alice(&greylist).await);
    for recipient in ["alice@example.test", "bob@example.test", "carol@example.test"] {
        assert!(!passes(&greylist, mail("198.51.100.7", "", recipient)).await);
    }
    let passed = greylist.list(true, None, 10).await.unwrap();
    assert_eq!((passed.entries.len(), passed.next), (1, None));
    assert_eq!(passed.entries[0].sender, "someone@else.test");
    assert_eq!(passed.entries[0].at, world.clock.now());
    let first = greylist.list(false, None, 2).await.unwrap();
    let second = greylist.list(false, first.next.as_deref(), 2).await.unwrap();
    let recipients: Vec<_> =
        [first.entries, second.entries].concat().into_iter().map(|entry| entry.recipient).collect();
    assert_eq!(recipients, ["alice@example.test", "bob@example.test", "carol@example.test"]);
    assert_eq!(greylist.remove("198.51.100.99".parse().unwrap()).await.unwrap(), 3);
    assert_eq!(greylist.remove(CLIENT.parse().unwrap()).await.unwrap(), 1);
    assert!(!alice(&greylist).await);
}

#[tokio::test]
async fn what_a_client_sends_cannot_fill_a_key() {
    let world = World::new(|_| {});
    let greylist = world.process();
    let long = format!("{}@else.test", "\u{e4}".repeat(5_000));
    assert!(!passes(&greylist, mail(CLIENT, &long, &long)).await);
    world.clock.advance(MINUTE * 6);
    assert!(passes(&greylist, mail(CLIENT, &long, &long)).await);
    greylist.accepted(&long).await;
    assert!(!greylist.known_sender(&long).await);
}
