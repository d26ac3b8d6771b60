//! What the scheduler begins: sending, putting off, and reading more of what a destination has.

use std::sync::Arc;

use tokio::time::Instant;

use super::attempt::Work;
use super::backlog::Name;
use super::reader::{Entries, load};
use super::{Context, DRAIN, Outcome, Scheduler, TICK, Task, warm_up};
use crate::Result;
use crate::model::{EntryId, Hint, Place, Shard};
use crate::settlement::Fence;
use crate::transport::Way;

impl Scheduler {
    /// Begins everything that may begin now.
    pub(super) fn work(&mut self) {
        let now = Instant::now();
        while let Some((name, way)) = self.backlog.next_to_drain(now) {
            self.drain(&name, way, now);
        }
        let max_active = usize::try_from(self.config.queue.max_active).unwrap_or(usize::MAX);
        while self.backlog.active() < max_active && self.send_next(now) {}
        while let Some((name, shard, after, limit)) = self.backlog.next_hungry() {
            self.feed(name, shard, after, limit);
        }
        let metrics = &self.context.metrics;
        metrics.active.set(i64::try_from(self.backlog.active()).unwrap_or(i64::MAX));
        metrics.backlog.set(i64::try_from(self.backlog.waiting()).unwrap_or(i64::MAX));
    }

    /// What is needed to work on a destination; `None` while its shard cannot be worked on.
    fn work_on(&self, name: &Name, shard: Shard) -> Option<Work> {
        let owned = self.owned.get(&shard).filter(|owned| owned.lease.holds() && owned.reader.is_some())?;
        let schedule = self.backlog.schedule(name)?;
        let fence = Fence { shard, lease: owned.lease.clone() };
        Some(Work { context: Arc::clone(&self.context), fence, name: Arc::clone(name), schedule })
    }

    /// Sends the most urgent entry; false when there is none that may go.
    fn send_next(&mut self, now: Instant) -> bool {
        let Some((name, destination)) = self.backlog.peek(now) else { return false };
        let (shard, warm_up) = (destination.shard, destination.rules.warm_up.clone());
        let Some(work) = self.work_on(&name, shard) else {
            // A renewal is late. If the lease is lost, the shard is dropped soon.
            self.backlog.postpone(&name, Some(now + TICK), now);
            return true;
        };
        if let Some(schedule) = warm_up
            && !self.may_warm_up(&schedule, &name, now)
        {
            return true;
        }
        let Some((_, way, waiting)) = self.backlog.next(now) else { return false };
        let task = Task::Send(Arc::clone(&name), way.clone(), shard, waiting.hint.entry);
        self.spawn(task, async move { Outcome::Sent(Box::new(work.send(way, waiting).await)) });
        true
    }

    /// Whether a warm-up schedule lets another message go; otherwise the destination waits for the answer, or for the next day.
    fn may_warm_up(&mut self, schedule: &str, name: &Name, now: Instant) -> bool {
        let wall = self.context.clock.now();
        match self.allowances.take(&self.config.queue, schedule, wall) {
            warm_up::Taken::Yes => true,
            warm_up::Taken::Exhausted(block) => {
                self.backlog.block(name, block.at(now, wall), now);
                false
            }
            warm_up::Taken::Ask(question) => {
                self.backlog.postpone(name, Some(now + TICK), now);
                if let Some(question) = question {
                    let spool = self.context.spool.clone();
                    self.spawn(Task::Other, async move { Outcome::Granted(question.ask(&spool).await) });
                }
                false
            }
        }
    }

    /// Puts off entries of a way to a destination that is left alone.
    fn drain(&mut self, name: &Name, way: Way, now: Instant) {
        let Some(shard) = self.backlog.shard(name) else { return };
        let Some(work) = self.work_on(name, shard) else {
            // Nothing can be written now: they stay, and are looked at again with the next tick.
            self.backlog.update(name, now, |destination| destination.lane(&way).draining = true);
            self.stalled.push((Arc::clone(name), way));
            return;
        };
        let Some((block, entries)) = self.backlog.drain(name, &way, DRAIN, now) else { return };
        let ids = entries.iter().map(|waiting| waiting.hint.entry).collect();
        let task = Task::PutOff(Arc::clone(name), way.clone(), shard, ids);
        self.spawn(task, async move { Outcome::PutOff(work.put_off(way, block, entries).await) });
    }

    /// Reads more of a destination that has more than was kept.
    fn feed(&mut self, name: Name, shard: Shard, after: Option<EntryId>, limit: usize) {
        let Some(owned) = self.owned.get(&shard) else { return };
        let (context, token) = (Arc::clone(&self.context), owned.lease.token());
        self.spawn(Task::Feed(Arc::clone(&name), shard), async move {
            let read = find(&context, &name, shard, after, limit).await;
            if let Err(error) = &read {
                tracing::warn!(%error, "the entries of a destination cannot be read");
                tokio::time::sleep(TICK).await;
            }
            Outcome::Fed { name, shard, token, read }
        });
    }
}

/// Entries of a destination that wait for nothing but their turn, from its index; where to go on, unless that was the end.
async fn find(
    context: &Context,
    name: &Name,
    shard: Shard,
    after: Option<EntryId>,
    limit: usize,
) -> Result<(Entries, Option<EntryId>)> {
    let found = context.spool.by_destination(name, after, limit).await?;
    let now = context.clock.now();
    let after = (found.len() == limit).then(|| found.last().map(|hint| hint.entry)).flatten();
    let is_due = |hint: &Hint| match hint.place {
        Place::Fresh(_) => true,
        Place::Due(due) => due <= now,
        Place::Held => false,
    };
    let hints: Vec<Hint> = found.into_iter().filter(is_due).collect();
    Ok((load(&context.spool, shard, &hints).await?, after))
}
