//! The end of a run, when everything is well again: the ledger is compared with what is stored, and nothing may be left over.

mod bodies;
mod cluster;
mod keys;
mod leaks;
mod mailboxes;

use std::sync::Arc;
use std::time::Duration;

use ekitei_queue::Action;
use tokio::time::sleep;

pub use bodies::judge_findings;

use crate::clients::Client;
use crate::node::GRACE;
use crate::world::World;

/// By then the queue has sent or returned everything.
const QUEUE_ENDS: Duration = Duration::from_secs(20 * 60);
/// By then all processes know that everything is well, and what nobody refers to is collected.
const SETTLES: Duration = Duration::from_secs(60);

/// Compares everything.
pub async fn check(world: &Arc<World>, clients: Vec<Client>) {
    cluster::assemble(world).await;
    empty_queue(world).await;
    // Clocks are off by as much as bodies may be kept longer.
    sleep(SETTLES + GRACE + 2 * Duration::from_millis(world.plan.skew_millis)).await;
    for client in clients {
        client.last_look().await;
    }
    mailboxes::compare(world).await;
    let broken = world.ledger().post.broken();
    broken.into_iter().for_each(|what| world.ledger().accuse(what));
    leaks::check(world).await;
    cluster::check(world).await;
    keys::check(world).await;
    bodies::scrub(world).await;
    bodies::read_everywhere(world).await;
    bodies::wake_everywhere(world).await;
    if world.ledger().broken.is_empty() {
        leaks::check_after_deletion(world).await;
        keys::check_after_deletion(world).await;
        cluster::check_after_all(world).await;
    }
}

/// Waits until the queue is empty.
async fn empty_queue(world: &Arc<World>) {
    let end = world.elapsed() + QUEUE_ENDS;
    loop {
        let waiting = world.queued().await;
        if waiting.is_empty() {
            break;
        }
        if world.elapsed() > end {
            let first =
                waiting.first().map(|item| format!("{} {:?} {:?}", item.id, item.message, item.entry));
            world.ledger().accuse(format!("the queue does not get empty: {first:?}"));
            return;
        }
        let entries: Vec<_> = waiting.iter().map(|item| item.id).collect();
        let _ = world.god_queue.act(Action::Release, &entries).await;
        sleep(Duration::from_secs(10)).await;
    }
    match world.god_queue.statistics(10).await {
        Ok(found) if (found.messages, found.bytes, found.figures.entries()) == (0, 0, 0) => {}
        found => world.ledger().accuse(format!("the queue is empty, and counts otherwise: {found:?}")),
    }
}
