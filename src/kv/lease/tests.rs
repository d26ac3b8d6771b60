//! Leases of several processes with clocks of their own.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::{CommitFault, FaultScript, ManualMonotonicClock, MemoryOptions};

const DURATION: Duration = Duration::from_secs(15);
const SHARDS: usize = 64;

/// A process with a clock of its own.
struct Node {
    leases: Leases,
    set: LeaseSet,
    hand: ManualMonotonicClock,
}

impl Node {
    fn new(database: &Database, started: Duration) -> Self {
        let (clock, hand) = MonotonicClock::manual();
        hand.advance(started);
        let leases = Leases::new(database.clone(), LeaseOptions { duration: DURATION, clock, alone: false });
        let set = leases.join("queue", (0..SHARDS).map(|n| format!("{n:02}")));
        Self { leases, set, hand }
    }

    async fn renew(&self) {
        self.leases.renew().await.unwrap();
    }

    fn held(&self) -> Vec<Lease> {
        self.set.held().into_iter().filter(Lease::holds).collect()
    }

    /// Gives back what others want.
    async fn hand_over(&self) {
        for lease in self.set.held().iter().filter(|lease| lease.is_wanted_back()) {
            self.leases.release(lease).await.unwrap();
        }
    }
}

fn second() -> Duration {
    Duration::from_secs(1)
}

async fn check(database: &Database, lease: &Lease) -> Result<()> {
    database.transact(|transaction: Transaction| async move { lease.check(&transaction).await }).await
}

#[tokio::test]
async fn the_work_of_a_process_that_died_is_taken_up_within_thirty_seconds() {
    for died_after in 0..5 {
        let database = Database::in_memory();
        let (dead, heir) = (Node::new(&database, Duration::ZERO), Node::new(&database, 1000 * second()));
        dead.renew().await;
        let old = dead.held();
        assert_eq!(old.len(), SHARDS);
        heir.hand.advance(died_after * second());
        // From here on it renews no more. The heir renews every five seconds.
        let mut waited = Duration::ZERO;
        while heir.held().is_empty() {
            heir.renew().await;
            heir.hand.advance(5 * second());
            waited += 5 * second();
            assert!(waited < 2 * DURATION, "{waited:?}");
        }
        assert!(waited > DURATION, "too early: it may be alive");
        assert_eq!(heir.held().len(), SHARDS, "nobody else is there");
        assert!(heir.held().iter().zip(&old).all(|(new, old)| new.token() > old.token()));
        let figures = heir.leases.statistics();
        assert_eq!((figures.held["queue"], figures.takeovers["queue"]), (SHARDS, SHARDS as u64));
    }
}

#[tokio::test]
async fn a_paused_holder_stops_by_its_own_clock_and_is_fenced_by_the_store() {
    let database = Database::in_memory();
    let (paused, heir) = (Node::new(&database, Duration::ZERO), Node::new(&database, Duration::ZERO));
    paused.renew().await;
    let lease = paused.held().remove(0);
    check(&database, &lease).await.unwrap();
    assert_eq!(paused.leases.statistics().late, 0);
    for _ in 0..5 {
        heir.renew().await;
        heir.hand.advance(5 * second());
    }
    let taken = heir.held().remove(0);
    assert_eq!(taken.name(), lease.name());
    // It wakes up, and its clock shows how long it slept.
    paused.hand.advance(25 * second());
    assert!(!lease.holds());
    assert!(matches!(check(&database, &lease).await, Err(Error::Fenced)));
    paused.renew().await;
    assert!(lease.is_lost() && paused.held().is_empty(), "it notices, and waits for its part");
    assert_eq!(paused.leases.statistics().late, 1);
    check(&database, &taken).await.unwrap();
    paused.leases.release(&lease).await.unwrap();
    check(&database, &taken).await.unwrap();
}

/// The two rules together: at no moment do two processes believe in the same lease, however far apart their clocks are.
#[tokio::test]
async fn the_holder_stops_before_the_contender_begins() {
    for delay in 0..5 {
        let database = Database::in_memory();
        let holder = Node::new(&database, 77 * second());
        let contender = Node::new(&database, 5_000_000 * second());
        holder.renew().await;
        let lease = holder.held().remove(0);
        let mut now = 0;
        let stopped = loop {
            if (now + delay) % 5 == 0 {
                contender.renew().await;
            }
            assert!(!lease.holds() || contender.held().is_empty(), "both, after {now} s");
            if !contender.held().is_empty() {
                break now;
            }
            holder.hand.advance(second());
            contender.hand.advance(second());
            now += 1;
        };
        assert!((15..=25).contains(&stopped), "{stopped}");
    }
}

#[tokio::test]
async fn a_lease_is_kept_while_it_is_renewed_and_its_token_stays() {
    let database = Database::in_memory();
    let (holder, other) = (Node::new(&database, Duration::ZERO), Node::new(&database, Duration::ZERO));
    holder.renew().await;
    let lease = holder.held().remove(0);
    for _ in 0..100 {
        for node in [&holder, &other] {
            node.hand.advance(5 * second());
            node.renew().await;
        }
        assert!(lease.holds());
    }
    assert!(other.held().is_empty(), "the holder was asked for its part, and gave nothing back");
    let before = database.statistics().bytes_written;
    holder.renew().await;
    let written = database.statistics().bytes_written - before;
    assert!(written < 250, "renewing 64 leases writes one row: {written} octets");
    assert!(holder.held().iter().filter(|lease| lease.is_wanted_back()).count() == SHARDS / 2);
}

#[tokio::test]
async fn processes_share_and_take_over_what_one_gives_back() {
    let database = Database::in_memory();
    let nodes: Vec<Node> = (0..3).map(|n| Node::new(&database, n * 100 * second())).collect();
    nodes[0].renew().await;
    assert_eq!(nodes[0].held().len(), SHARDS);
    let rounds = async |nodes: &[Node]| {
        for _ in 0..4 {
            for node in nodes {
                node.renew().await;
                node.hand_over().await;
                node.hand.advance(second());
            }
        }
    };
    rounds(&nodes).await;
    let count = |nodes: &[Node]| nodes.iter().map(|node| node.held().len()).collect::<Vec<_>>();
    let mut counts = count(&nodes);
    counts.sort_unstable();
    assert_eq!(counts, [20, 22, 22]);
    let mut names: Vec<String> =
        nodes.iter().flat_map(Node::held).map(|lease| lease.name().to_owned()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), SHARDS, "each has one holder");
    // One leaves, and nobody waits for it.
    nodes[2].leases.stop().await.unwrap();
    assert!(nodes[2].held().is_empty());
    nodes[2].renew().await;
    assert!(nodes[2].held().is_empty(), "it takes nothing any more");
    rounds(&nodes[..2]).await;
    assert_eq!(count(&nodes[..2]), [32, 32]);
}

#[tokio::test]
async fn who_stands_aside_has_nothing_and_the_others_have_all() {
    let database = Database::in_memory();
    let nodes: Vec<Node> = (0..3).map(|_| Node::new(&database, Duration::ZERO)).collect();
    nodes[0].leases.stand_aside();
    for _ in 0..4 {
        for node in &nodes {
            node.renew().await;
            node.hand_over().await;
            node.hand.advance(second());
        }
    }
    let count: Vec<usize> = nodes.iter().map(|node| node.held().len()).collect();
    assert_eq!(count, [0, 32, 32], "and nobody leaves a part to it");
    let known =
        database.transact(|transaction: Transaction| async move { members(&transaction, true).await });
    assert!(known.await.unwrap().contains(&nodes[0].leases.member()), "others know that it is there");
}

#[tokio::test]
async fn one_name_has_one_holder_and_is_not_passed_around() {
    let database = Database::in_memory();
    let (first, second) = (Node::new(&database, Duration::ZERO), Node::new(&database, Duration::ZERO));
    let daily = [&first, &second].map(|node| node.leases.join("reports", ["dmarc".to_owned()]));
    for _ in 0..3 {
        first.renew().await;
        second.renew().await;
    }
    assert_eq!(daily.each_ref().map(|set| set.held().len()), [1, 0]);
    assert!(!daily[0].held()[0].is_wanted_back());
    first.leases.stop().await.unwrap();
    second.renew().await;
    assert_eq!(daily[1].held()[0].token(), 2);
}

#[tokio::test]
async fn a_renewal_whose_result_is_unknown_takes_each_lease_once() {
    for fault in [CommitFault::UnknownApplied, CommitFault::UnknownNotApplied, CommitFault::Conflict] {
        let faults = Arc::new(FaultScript::default());
        let options = MemoryOptions { faults: faults.clone(), ..MemoryOptions::default() };
        let database = Database::in_memory_with(options).unwrap();
        let node = Node::new(&database, Duration::ZERO);
        faults.commits([Some(fault), Some(fault)]);
        node.renew().await;
        assert!(
            node.held().len() == SHARDS && node.held().iter().all(|lease| lease.token() == 1),
            "{fault:?}"
        );
        let lease = node.held().remove(0);
        faults.commits([Some(fault)]);
        node.leases.release(&lease).await.unwrap();
        assert!(matches!(check(&database, &lease).await, Err(Error::Fenced)));
        node.renew().await;
        assert_eq!(node.held()[0].token(), 2, "taken again, under another token");
    }
}

#[tokio::test]
async fn what_is_committed_without_a_lease_is_refused_even_in_the_same_moment() {
    let database = Database::in_memory();
    let (paused, heir) = (Node::new(&database, Duration::ZERO), Node::new(&database, Duration::ZERO));
    paused.renew().await;
    let lease = paused.held().remove(0);
    // The transaction reads the fence while it still holds, and commits after it was taken.
    let late = database.begin();
    lease.check(&late).await.unwrap();
    late.set(b"result", b"late");
    for _ in 0..5 {
        heir.renew().await;
        heir.hand.advance(5 * second());
    }
    assert_eq!(heir.held().len(), SHARDS);
    assert!(matches!(late.commit().await, Err(Error::Conflict)));
}

#[tokio::test]
async fn the_watchers_of_a_group_hear_of_changes() {
    let database = Database::in_memory();
    let node = Node::new(&database, Duration::ZERO);
    let mut set = node.leases.join("queue", []);
    let (renewed, ()) = tokio::join!(node.leases.renew(), set.changed());
    renewed.unwrap();
    assert_eq!(set.held().len(), SHARDS);
    node.hand.advance(DURATION - DURATION / MARGIN - Duration::from_millis(1));
    assert!(set.held()[0].holds());
    node.hand.advance(Duration::from_millis(1));
    assert!(!set.held()[0].holds(), "not renewed in time");
    node.renew().await;
    assert!(set.held()[0].holds(), "nobody took it meanwhile");
}

#[tokio::test]
async fn where_only_one_process_can_be_it_takes_up_the_work_at_once() {
    let database = Database::in_memory();
    let dead = Node::new(&database, Duration::ZERO);
    dead.renew().await;
    let options = LeaseOptions { duration: DURATION, clock: MonotonicClock::system(), alone: true };
    let heir = Leases::new(database.clone(), options);
    let set = heir.join("queue", (0..SHARDS).map(|n| format!("{n:02}")));
    heir.renew().await.unwrap();
    assert_eq!(set.held().len(), SHARDS);
    assert!(check(&database, &dead.held()[0]).await.is_err(), "should the dead come back, it is fenced");
}
