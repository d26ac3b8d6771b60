//! The processes: they know each other, and share the work so that each piece of it is done by one at a time, and never by nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ekitei_cluster::{NodeId, NodeState};
use tokio::time::sleep;

use crate::duties::{self, DUTIES, JOBS, TAKEN_UP};
use crate::node::Node;
use crate::world::{NODES, World};

/// By then processes that were replaced have ended, and others are there.
const ASSEMBLED: Duration = Duration::from_secs(5 * 60);
const LOOK: Duration = Duration::from_secs(1);

/// The processes that run at the places.
fn running(world: &World) -> Vec<Arc<Node>> {
    (0..NODES).filter_map(|place| world.node(place)).collect()
}

/// Waits until there are as many processes as there should be, all at work.
pub async fn assemble(world: &Arc<World>) {
    let end = world.elapsed() + ASSEMBLED;
    while running(world).len() < NODES || world.processes().len() > NODES {
        if world.elapsed() > end {
            let names: Vec<String> =
                world.processes().iter().map(|process| process.wire.name().to_owned()).collect();
            return world
                .ledger()
                .accuse(format!("these do not become {NODES} processes at work: {names:?}"));
        }
        sleep(LOOK).await;
    }
}

/// Compares who does what with what was done. Since [`TAKEN_UP`] nothing has happened to any process.
pub async fn check(world: &Arc<World>) {
    let mut wrong = registered(world).await;
    for duty in DUTIES {
        wrong.extend(wrong_rounds(world, duty).await);
    }
    let now = world.elapsed();
    for job in JOBS {
        let ledger = world.ledger();
        let lately = ledger.rounds.iter().filter(|(of, at, _)| *of == job && *at + TAKEN_UP >= now);
        let by: BTreeSet<&str> = lately.map(|(_, _, who)| who.as_str()).collect();
        if by.len() != 1 {
            wrong.push(format!("job {job} was done by {by:?} lately"));
        }
    }
    wrong.into_iter().for_each(|wrong| world.ledger().accuse(wrong));
}

/// Every round of a duty was done by who had it then, and it is done now.
async fn wrong_rounds(world: &World, duty: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let rounds = duties::rounds(world, duty).await;
    let mut owners: BTreeMap<u64, &str> = BTreeMap::new();
    let mut latest = 0;
    for round in &rounds {
        let owner = *owners.entry(round.token).or_insert(&round.who);
        if owner != round.who {
            wrong.push(format!("{duty}: {} and {owner} both had token {}", round.who, round.token));
        }
        if round.token < latest {
            wrong.push(format!(
                "{duty}: {} did a round with token {} after {latest} was given",
                round.who, round.token
            ));
        }
        latest = latest.max(round.token);
    }
    if rounds.last().is_none_or(|last| last.at + TAKEN_UP < world.elapsed()) {
        wrong.push(format!("nobody does {duty}: the last round was {:?}", rounds.last()));
    }
    wrong
}

/// Everybody knows the processes that there are, and what they lead.
async fn registered(world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    let processes: BTreeMap<NodeId, String> =
        running(world).iter().map(|node| (node.cluster.id(), node.wire.name().to_owned())).collect();
    for node in running(world) {
        let listed = match node.cluster.nodes().await {
            Ok(listed) => listed,
            Err(error) => {
                wrong.push(format!("{} cannot list the processes: {error}", node.wire.name()));
                continue;
            }
        };
        let alive = listed.iter().filter(|node| node.state == NodeState::Alive);
        let alive: BTreeMap<NodeId, String> =
            alive.map(|node| (node.id, node.description.clone().unwrap_or_default().host)).collect();
        if alive != processes {
            wrong.push(format!("{} knows {alive:?} of {processes:?}", node.wire.name()));
        }
        for name in DUTIES {
            let leads = |node: &&ekitei_cluster::Node| {
                node.state == NodeState::Alive
                    && node.leads.iter().any(|(group, led)| group == duties::GROUP && led == name)
            };
            if listed.iter().filter(leads).count() != 1 {
                wrong.push(format!("{} finds no leader of {name}", node.wire.name()));
            }
        }
    }
    wrong
}

/// Long after the last process died nobody lists it any more.
pub async fn check_after_all(world: &Arc<World>) {
    let Some(node) = world.node(0) else { return };
    for listed in node.cluster.nodes().await.unwrap_or_default() {
        if listed.state != NodeState::Alive {
            world.ledger().accuse(format!("a process that died long ago is listed: {listed:?}"));
        }
    }
}
