//! Any order of accepting, settling and administration, with any fate of the commits: what is stored is what a simple model says.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::{Action, Settled, State};

const SEEDS: u64 = 12;
const STEPS: usize = 150;
const DOMAINS: usize = 5;

/// What an entry should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Model {
    state: State,
    attempts: u32,
    bounce: bool,
}

struct Walk {
    fixture: Fixture,
    random: StdRng,
    model: BTreeMap<EntryId, Model>,
    /// Read by the owner, and not settled yet; may be out of date.
    at_hand: Vec<Loaded>,
}

#[tokio::test]
async fn what_is_stored_is_what_a_simple_model_says() {
    for seed in 0..SEEDS {
        let mut walk = Walk {
            fixture: Fixture::new().await,
            random: StdRng::seed_from_u64(seed),
            model: BTreeMap::new(),
            at_hand: Vec::new(),
        };
        for step in 0..STEPS {
            walk.step().await;
            if step % 30 == 29 {
                walk.compare(seed, step).await;
            }
        }
        walk.drain().await;
        walk.compare(seed, STEPS).await;
        assert!(walk.model.is_empty());
    }
}

impl Walk {
    async fn step(&mut self) {
        self.trouble();
        self.fixture.clock.advance(Duration::from_secs(self.random.random_range(0..120)));
        match self.random.random_range(0..10) {
            0..3 => self.enqueue().await,
            3..5 => self.take().await,
            5..8 => self.settle().await,
            _ => self.administer().await,
        }
    }

    /// Fates of the next commits.
    fn trouble(&mut self) {
        let fates = [CommitFault::Conflict, CommitFault::UnknownApplied, CommitFault::UnknownNotApplied];
        while self.random.random_bool(0.4) {
            let fate = fates[self.random.random_range(0..fates.len())];
            self.fixture.faults.commits([self.random.random_bool(0.7).then_some(fate)]);
        }
    }

    async fn enqueue(&mut self) {
        let domains: BTreeSet<usize> =
            (0..self.random.random_range(1..4)).map(|_| self.random.random_range(0..DOMAINS)).collect();
        let recipients: Vec<String> = domains.iter().map(|n| format!("bob@d{n}.example")).collect();
        let id = self.fixture.enqueue(&recipients.iter().map(String::as_str).collect::<Vec<_>>()).await;
        for number in (0..).take(domains.len()) {
            let fresh = Model { state: State::Active, attempts: 0, bounce: false };
            self.model.insert(EntryId { message: id, number }, fresh);
        }
    }

    /// Reads what is fresh or due for some destination.
    async fn take(&mut self) {
        let destination = format!("d{}.example", self.random.random_range(0..DOMAINS));
        let (shard, spool) = (Shard::of(&destination), self.fixture.spool());
        let mut hints = self.fixture.fresh(&destination).await;
        hints.extend(spool.due(shard, None, self.fixture.clock.now(), 100).await.unwrap());
        hints.retain(|hint| !self.at_hand.iter().any(|loaded| loaded.id == hint.entry));
        let loaded = spool.load(shard, &hints).await.unwrap();
        assert!(loaded.iter().all(Option::is_some), "a stored hint is never void");
        self.at_hand.extend(loaded.into_iter().flatten());
    }

    async fn settle(&mut self) {
        if self.at_hand.is_empty() {
            return;
        }
        let loaded = self.at_hand.swap_remove(self.random.random_range(0..self.at_hand.len()));
        let is_sent = self.random.random_bool(0.5);
        let due = self.fixture.clock.now() + Duration::from_secs(self.random.random_range(0..600));
        let (state, next) = if is_sent { (sent(), Next::Remove) } else { (deferred("busy"), Next::At(due)) };
        let fence = self.fixture.fence(&loaded.entry.destination);
        let result = settlement(&loaded, &state, next);
        let times = self.random.random_range(1..3);
        let mut outcome = Settled::Gone;
        for _ in 0..times {
            outcome = self.fixture.spool().settle(&fence, result.clone()).await.unwrap();
        }
        match self.model.get_mut(&loaded.id) {
            None => assert_eq!(outcome, Settled::Gone),
            Some(_) if is_sent => {
                assert!(matches!(outcome, Settled::Removed | Settled::Gone));
                self.model.remove(&loaded.id);
            }
            Some(model) => {
                model.attempts += 1;
                if model.state != State::Held && !model.bounce {
                    model.state = State::Deferred;
                }
                assert_eq!(outcome == Settled::Held, model.state == State::Held);
            }
        }
    }

    async fn administer(&mut self) {
        let actions = [Action::Hold, Action::Release, Action::Retry, Action::Bounce, Action::Delete];
        let action = actions[self.random.random_range(0..actions.len())];
        let ids: Vec<EntryId> = self.model.keys().copied().filter(|_| self.random.random_bool(0.2)).collect();
        let changed = self.fixture.queue.act(action, &ids).await.unwrap();
        let before = self.model.clone();
        for id in &ids {
            let model = self.model.get_mut(id).unwrap();
            match (action, model.state) {
                (Action::Hold, State::Held) => {}
                (Action::Hold, _) => (model.state, model.bounce) = (State::Held, false),
                (Action::Release, State::Held) | (Action::Retry, State::Deferred) => {
                    model.state = State::Active
                }
                (Action::Bounce, _) if !model.bounce => {
                    (model.state, model.bounce) = (State::Active, true);
                }
                (Action::Delete, _) => drop(self.model.remove(id)),
                _ => {}
            }
        }
        let different = ids.iter().filter(|id| before.get(id) != self.model.get(id));
        // A bounce of what is active already differs only in its mark.
        assert_eq!(changed, different.count() as u64, "{action:?}");
    }

    async fn compare(&self, seed: u64, step: usize) {
        let stored = self.fixture.check().await;
        let stored: BTreeMap<EntryId, Model> = stored
            .into_iter()
            .map(|(id, entry)| {
                let (state, attempts) = (State::of(entry.schedule), entry.attempts);
                (id, Model { state, attempts, bounce: entry.bounce })
            })
            .collect();
        assert_eq!(stored, self.model, "seed {seed}, step {step}");
    }

    /// Sends all there is.
    async fn drain(&mut self) {
        let all: Vec<EntryId> = self.model.keys().copied().collect();
        self.fixture.queue.act(Action::Release, &all).await.unwrap();
        self.fixture.clock.advance(60 * MINUTE);
        self.at_hand.clear();
        for n in 0..DOMAINS {
            let destination = format!("d{n}.example");
            let shard = Shard::of(&destination);
            let mut hints = self.fixture.fresh(&destination).await;
            hints.extend(
                self.fixture.spool().due(shard, None, self.fixture.clock.now(), 1_000).await.unwrap(),
            );
            for loaded in self.fixture.spool().load(shard, &hints).await.unwrap().into_iter().flatten() {
                let fence = self.fixture.fence(&loaded.entry.destination);
                let done = settlement(&loaded, &sent(), Next::Remove);
                self.fixture.spool().settle(&fence, done).await.unwrap();
                self.model.remove(&loaded.id);
            }
        }
    }
}
