//! Who looks after the keys: replaces data keys, destroys old ones, and exchanges the master key.

use std::sync::Arc;
use std::time::Duration;

use ekitei_blob::KeyScope;
use ekitei_keyring::{Error, KeyInfo, KeyState};
use tokio::time::sleep;

use super::NO_NODE;
use crate::dice::Dice;
use crate::flaw::Flaw;
use crate::keys::Generation;
use crate::node::Node;
use crate::world::{DOMAINS, NODES, World};

/// How long it waits between two things.
const LEISURE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// How long it waits between two steps of an exchange of the master key.
const BETWEEN_STEPS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(15));
/// A process that does not end by then is killed.
const ENDS: Duration = Duration::from_secs(10);
/// Between two looks at whether something has happened.
const LOOK: Duration = Duration::from_secs(1);

/// Looks after the keys.
pub struct Operator {
    world: Arc<World>,
    dice: Dice,
}

impl Operator {
    /// One that has done nothing yet.
    pub fn new(world: Arc<World>) -> Self {
        let dice = world.dice("operator");
        Self { world, dice }
    }

    /// Works until the run's time is over.
    pub async fn run(mut self) {
        while !self.world.is_over() {
            sleep(self.dice.time(LEISURE.0, LEISURE.1)).await;
            self.world.encrypts_from_now();
            let Some(node) = self.world.some_node(&mut self.dice) else {
                sleep(NO_NODE).await;
                continue;
            };
            match self.dice.below(3) {
                0 => self.rotate(&node).await,
                _ => self.destroy(&node).await,
            }
        }
    }

    fn note(&self, node: &Node, what: std::fmt::Arguments<'_>) {
        self.world.trace.note("keys", format_args!("{}: {what}", node.wire.name()));
    }

    async fn rotate(&mut self, node: &Node) {
        let domain = self.dice.pick(&DOMAINS).copied().unwrap_or_default();
        let scope = if self.dice.chance(0.3) { KeyScope::Service } else { KeyScope::Domain(domain.into()) };
        let rotated = node.unless_dead(node.keyring.rotate(&scope)).await;
        self.note(node, format_args!("rotates the key of {scope}: {rotated:?}"));
    }

    /// Destroys a key, most often one that is in force no more.
    async fn destroy(&mut self, node: &Node) {
        let listed = node.unless_dead(node.keyring.list(None, None, 1_000)).await;
        let Some(Ok(page)) = listed else { return };
        let wanted = if self.dice.chance(0.8) { KeyState::Retired } else { KeyState::Active };
        let keys: Vec<KeyInfo> = page.items.into_iter().filter(|key| key.state == wanted).collect();
        let Some(key) = self.dice.pick(&keys).map(|key| key.id) else { return };
        let force = self.world.plan.flaw == Some(Flaw::DestroyUnasked);
        let destroyed = node.unless_dead(node.keyring.destroy(key, force)).await;
        self.note(node, format_args!("destroys key {}: {destroyed:?}", key.get()));
        match destroyed {
            Some(Ok(_)) => {
                let mut ledger = self.world.ledger();
                ledger.figures.destroyed += 1;
                ledger.destroyed_keys.insert(key);
            }
            Some(Err(Error::NoSuchKey(_))) => {
                self.world.ledger().accuse(format!("key {} was listed, and is not there", key.get()));
            }
            Some(Err(_)) | None => {}
        }
    }
}

/// Exchanges the master key in the steps that the documentation gives, as far as the run's time goes.
pub async fn exchange_master_key(world: Arc<World>) {
    let mut dice = world.dice("master key");
    while let Some(next) = world.generation().next() {
        sleep(dice.time(BETWEEN_STEPS.0, BETWEEN_STEPS.1)).await;
        let wraps_again =
            world.generation() == Generation::NEW_KEY && world.plan.flaw != Some(Flaw::NoRewrap);
        if wraps_again && !rewrap(&world, &mut dice).await {
            return;
        }
        if world.is_over() {
            return;
        }
        world.trace.note("keys", format_args!("{next:?} of the master key"));
        world.set_generation(next);
        restart_all(&world).await;
    }
}

/// Wraps all data keys by the master key in force; whether that was done before the run's time was over.
async fn rewrap(world: &Arc<World>, dice: &mut Dice) -> bool {
    while !world.is_over() {
        if let Some(node) = world.some_node(dice) {
            let done = node.unless_dead(node.keyring.rewrap()).await;
            world.trace.note("keys", format_args!("{}: wraps all again: {done:?}", node.wire.name()));
            if matches!(done, Some(Ok(done)) if done.failed == 0) {
                return true;
            }
        }
        sleep(LOOK).await;
    }
    false
}

/// Starts all processes again, one after the other; when it returns, none is left that was configured otherwise.
async fn restart_all(world: &Arc<World>) {
    for place in 0..NODES {
        if let Some(node) = world.node(place).filter(|node| node.generation < world.generation()) {
            world.take_process(place);
            if tokio::time::timeout(ENDS, Arc::clone(&node).stop()).await.is_err() {
                node.end();
            }
            world.start_node(place);
            sleep(LOOK).await;
        }
    }
    for process in world.processes() {
        if process.generation < world.generation() {
            process.wire.die();
        }
    }
}
