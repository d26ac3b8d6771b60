//! The promise: whatever set of TLSA records a resolver may hold is empty or names the key in force; and when trouble
//! ends, so does every rollover.
//!
//! The world has two name servers of which one lags, resolvers that keep what any server ever showed for its whole TTL,
//! a service that may commit what it was given late, an authority that may fail, keys that get lost, wishes that change,
//! and a controller that dies between any two of its steps and knows nothing but the state that it persisted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::{at, key};
use crate::KeyId;
use crate::renewal::Freshness;

type Set = BTreeSet<KeyId>;

const TIMING: Timing = Timing { margin: Duration::from_secs(30), retire_after: Duration::from_secs(300) };
/// The service takes no longer than this to commit what it was given.
const LATEST_COMMIT: i64 = 200;

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// Time passes.
    Pass(i64),
    /// The second name server gets what the first has now (a transfer never gives an older version).
    Transfer,
    /// The controller makes a round.
    Round(Round),
    Tlsa(Option<u64>),
    Rotate(bool),
    /// A private key at hand is lost.
    Lose(prop::sample::Index),
    /// All certificates at hand become due, or lapse.
    Age(Freshness),
    /// The service forgets its certificate.
    Forget,
}

/// One round of the controller, and how much of it goes well.
#[derive(Clone, Debug)]
struct Round {
    sees_names: bool,
    sees_service: bool,
    persists: bool,
    /// How many actions are done before it dies.
    actions: usize,
    authority_works: bool,
    /// The service commits late.
    late: Option<i64>,
}

struct World {
    now: i64,
    /// What each server shows, and with which TTL; the first is the primary.
    servers: [(Set, u64); 2],
    /// What resolvers may hold, and until when.
    caches: Vec<(Set, i64)>,
    served: Option<(KeyId, u64)>,
    commits: VecDeque<(i64, KeyId, u64)>,
    keys: Set,
    candidate: Option<KeyId>,
    made: u8,
    /// By key: which issue, and how it stands.
    certificates: BTreeMap<KeyId, (u64, Freshness)>,
    issued: u64,
    tlsa: Option<u64>,
    rotate: bool,
    persisted: Rollover,
}

impl World {
    /// Nothing, or the remains of a former life: key 1 in force and in the DNS.
    fn new(adopted: bool) -> Self {
        let mut world = Self {
            now: 0,
            servers: [(Set::new(), 0), (Set::new(), 0)],
            caches: Vec::new(),
            served: None,
            commits: VecDeque::new(),
            keys: Set::new(),
            candidate: None,
            made: 1,
            certificates: BTreeMap::new(),
            issued: 0,
            tlsa: None,
            rotate: false,
            persisted: Rollover::default(),
        };
        if adopted {
            world.served = Some((key(1), 0));
            world.servers = [(Set::from([key(1)]), 500), (Set::from([key(1)]), 500)];
        }
        world
    }

    fn show(&mut self, server: usize, set: Set, ttl: u64) {
        let (old, old_ttl) = std::mem::replace(&mut self.servers[server], (set, ttl));
        self.caches.push((old, self.now + i64::try_from(old_ttl).unwrap()));
    }

    /// Everything that is late by `now` happens, and the promise is looked at whenever something did.
    fn settle(&mut self) {
        while self.commits.front().is_some_and(|(due, _, _)| *due <= self.now) {
            let (_, key, issue) = self.commits.pop_front().unwrap();
            self.served = Some((key, issue));
            self.check();
        }
        self.caches.retain(|(_, until)| *until > self.now);
        self.check();
    }

    fn check(&self) {
        let Some((in_force, _)) = self.served else { return };
        let shown = self.servers.iter().map(|(set, _)| set);
        for set in shown.chain(self.caches.iter().map(|(set, _)| set)) {
            assert!(
                set.is_empty() || set.contains(&in_force),
                "at {}: {in_force:?} is in force, and a resolver may hold {set:?}; {:?}",
                self.now,
                self.persisted
            );
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Pass(seconds) => {
                // What is committed late is so at its time, not at the end of the leap.
                let end = self.now + seconds;
                while let Some(due) = self.commits.front().map(|(due, _, _)| *due).filter(|due| *due <= end) {
                    self.now = due.max(self.now);
                    self.settle();
                }
                self.now = end;
            }
            Event::Transfer => {
                let (set, ttl) = self.servers[0].clone();
                self.show(1, set, ttl);
            }
            Event::Round(round) => self.round(round),
            Event::Tlsa(wish) => self.tlsa = *wish,
            Event::Rotate(due) => self.rotate = *due,
            Event::Lose(which) => {
                let keys: Vec<KeyId> = self.keys.iter().copied().collect();
                if !keys.is_empty() {
                    self.lose(*which.get(&keys));
                }
            }
            Event::Age(freshness) => {
                self.certificates.values_mut().for_each(|(_, stands)| *stands = *freshness);
            }
            // Before there is a state, nothing can be known of what was in the DNS for a certificate that is gone.
            Event::Forget if matches!(self.persisted.phase, Phase::Empty | Phase::First { .. }) => {}
            Event::Forget => self.served = None,
        }
        self.settle();
    }

    fn lose(&mut self, key: KeyId) {
        self.keys.remove(&key);
        self.certificates.remove(&key);
        self.candidate = self.candidate.filter(|candidate| *candidate != key);
    }

    fn observe(&self, round: &Round) -> Observation {
        let served = match self.served {
            _ if !round.sees_service => Served::Unknown,
            None => Served::Nothing,
            Some((key, issue)) => {
                let newest = self.certificates.get(&key).is_none_or(|(latest, _)| *latest == issue);
                Served::Certificate { key, newest }
            }
        };
        Observation {
            now: at(self.now),
            tlsa: self.tlsa,
            served,
            keys: self.keys.clone(),
            candidate: self.candidate,
            certificates: self.certificates.iter().map(|(key, (_, stands))| (*key, *stands)).collect(),
            rotation_due: self.rotate,
            shown: round.sees_names.then(|| self.servers.iter().map(|(set, _)| set.clone()).collect()),
        }
    }

    fn round(&mut self, round: &Round) {
        let step = self.persisted.advance(&self.observe(round), &TIMING);
        if !round.persists {
            return;
        }
        // The candidate has become what it was made for.
        self.candidate = self.candidate.filter(|key| !step.state.keys().contains(key));
        self.persisted = step.state;
        for action in step.actions.into_iter().take(round.actions) {
            self.act(action, round);
            self.settle();
        }
    }

    fn act(&mut self, action: Action, round: &Round) {
        match action {
            Action::Publish(set) => {
                let ttl = self.tlsa.unwrap_or(0);
                if self.servers[0].0 != set {
                    self.show(0, set, ttl);
                }
            }
            Action::PrepareKey => {
                self.made += 1;
                self.keys.insert(key(self.made));
                self.candidate = Some(key(self.made));
            }
            Action::Issue(key) => {
                assert!(self.keys.contains(&key), "a certificate without its key");
                if round.authority_works {
                    self.issued += 1;
                    self.certificates.insert(key, (self.issued, Freshness::Fresh));
                }
            }
            Action::Deploy(key) => {
                let (issue, stands) = self.certificates[&key];
                assert_ne!(stands, Freshness::Expired);
                let due = self.now + round.late.unwrap_or(0);
                // One connection, one order: a later request is not committed before an earlier one.
                let due = self.commits.back().map_or(due, |(last, _, _)| due.max(*last));
                self.commits.push_back((due, key, issue));
            }
            Action::Discard(key) => {
                assert!(!self.persisted.keys().contains(&key), "a key in use");
                self.lose(key);
            }
        }
    }

    /// Trouble is over: what does it come to?
    fn recover(&mut self) {
        let well = Round {
            sees_names: true,
            sees_service: true,
            persists: true,
            actions: usize::MAX,
            authority_works: true,
            late: None,
        };
        self.rotate = false;
        for _ in 0..200 {
            self.happen(&Event::Round(well.clone()));
            self.happen(&Event::Transfer);
            self.happen(&Event::Pass(1500));
        }
        let Phase::Steady { current } = self.persisted.phase else {
            panic!("it never comes to rest: {:?}", self.persisted);
        };
        assert_eq!(self.served, Some((current, self.certificates[&current].0)), "the newest is in force");
        let kept: Set = [current].into_iter().chain(self.candidate).collect();
        assert_eq!(self.keys, kept, "and no key is left but one for the next time");
        let wanted = if self.tlsa.is_some() { Set::from([current]) } else { Set::new() };
        assert_eq!([&self.servers[0].0, &self.servers[1].0], [&wanted, &wanted]);
    }
}

fn round() -> impl Strategy<Value = Event> {
    let late = prop_oneof![3 => Just(None), 1 => (0..LATEST_COMMIT).prop_map(Some)];
    let often = || prop::bool::weighted(0.85);
    (often(), often(), often(), prop_oneof![4 => Just(9_usize), 1 => 0..3_usize], often(), late).prop_map(
        |(sees_names, sees_service, persists, actions, authority_works, late)| {
            Event::Round(Round { sees_names, sees_service, persists, actions, authority_works, late })
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => round(),
        6 => (0..900_i64).prop_map(Event::Pass),
        6 => Just(Event::Transfer),
        2 => prop_oneof![Just(None), (60..600_u64).prop_map(Some)].prop_map(Event::Tlsa),
        2 => any::<bool>().prop_map(Event::Rotate),
        1 => any::<prop::sample::Index>().prop_map(Event::Lose),
        1 => prop_oneof![Just(Freshness::Due), Just(Freshness::Urgent), Just(Freshness::Expired)].prop_map(Event::Age),
        1 => Just(Event::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn dane_never_fails_and_every_rollover_ends(
        adopted in any::<bool>(),
        dane in any::<bool>(),
        events in prop::collection::vec(event(), 0..150),
    ) {
        let mut world = World::new(adopted);
        world.tlsa = dane.then_some(300);
        for event in &events {
            world.happen(event);
        }
        world.recover();
    }
}
