//! Programs outside that share something by locks.

use std::sync::Arc;
use std::time::Duration;

use ekitei_cluster::LockError;
use tokio::time::sleep;

use super::NO_NODE;
use crate::dice::Dice;
use crate::ledger::Ask;
use crate::node::Node;
use crate::world::World;

/// What they lock.
const LOCKS: [&str; 2] = ["zone", "share"];
/// How long they want it for.
const TIME: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// How long they wait between two things.
const LEISURE: Duration = Duration::from_secs(8);

/// Takes locks, renews them and gives them back.
pub struct Holder {
    world: Arc<World>,
    name: String,
    dice: Dice,
}

impl Holder {
    /// One that holds nothing yet.
    pub fn new(world: Arc<World>, number: usize) -> Self {
        let name = format!("h{number}");
        let dice = world.dice(&name);
        Self { world, name, dice }
    }

    /// Works until the run's time is over.
    pub async fn run(mut self) {
        while !self.world.is_over() {
            sleep(self.dice.time(Duration::ZERO, LEISURE)).await;
            let lock = self.dice.pick(&LOCKS).copied().unwrap_or_default();
            match self.world.some_node(&mut self.dice) {
                Some(node) if self.dice.chance(0.75) => self.take(&node, lock).await,
                Some(node) => self.release(&node, lock).await,
                None => sleep(NO_NODE).await,
            }
        }
    }

    async fn take(&mut self, node: &Arc<Node>, lock: &'static str) {
        let time = self.dice.time(TIME.0, TIME.1);
        let ask = Ask { lock, holder: self.name.clone(), at: self.world.elapsed(), time };
        let highest = self.world.ledger().locks.ask(&ask);
        let answer = node.unless_dead(node.locks.take(lock, &self.name, time)).await;
        let (now, doubt) = (self.world.elapsed(), self.world.clock_doubt());
        self.world
            .trace
            .note(&self.name, format_args!("{}: lock {lock} for {time:?}: {answer:?}", node.wire.name()));
        let mut ledger = self.world.ledger();
        let wrong = match answer {
            Some(Ok(taken)) => {
                ledger.figures.locked += 1;
                ledger.locks.taken(&ask, taken.token, highest, now, doubt)
            }
            Some(Err(LockError::Held(_))) => ledger.locks.refused(&ask, doubt),
            Some(Err(_)) | None => {
                ledger.locks.in_doubt(&ask, now, doubt);
                None
            }
        };
        wrong.into_iter().for_each(|wrong| ledger.accuse(wrong));
    }

    async fn release(&mut self, node: &Arc<Node>, lock: &'static str) {
        self.world.ledger().locks.gives_back(lock, &self.name);
        let answer = node.unless_dead(node.locks.release(lock, &self.name)).await;
        self.world
            .trace
            .note(&self.name, format_args!("{}: gives {lock} back: {answer:?}", node.wire.name()));
    }
}
