//! What follows when a task of the scheduler has ended.

use std::time::Duration;

use tokio::task::{Id, JoinError};
use tokio::time::Instant;

use super::attempt::{Ended, Fate, PutOff, Sent};
use super::{Outcome, Scheduler, Task};
use crate::conclude::Signal;
use crate::model::{Hint, Place, Shard};
use crate::settlement::Settled;

impl Scheduler {
    /// Takes what a task ended with.
    pub(super) fn ended(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, Some(outcome)),
            Err(error) => {
                tracing::error!(%error, "a task of the queue died");
                (error.id(), None)
            }
        };
        let task = self.running.remove(&id).unwrap_or(Task::Other);
        if let Some(owned) = task.shard().and_then(|shard| self.owned.get_mut(&shard)) {
            owned.tasks = owned.tasks.saturating_sub(1);
        }
        match outcome {
            Some(Outcome::Sent(sent)) => self.sent(*sent),
            Some(Outcome::PutOff(put_off)) => self.put_off(put_off),
            Some(Outcome::Fed { name, shard, token, read }) if self.is_current(shard, token) => match read {
                Ok((entries, after)) => {
                    self.offer_all(entries);
                    self.backlog.fed(&name, after, false);
                }
                Err(_) => self.backlog.fed(&name, None, true),
            },
            Some(Outcome::Fed { .. }) => {}
            Some(Outcome::Granted(granted)) => self.allowances.granted(granted),
            Some(Outcome::GivenBack(shard)) => drop(self.returning.remove(&shard)),
            Some(Outcome::Nothing) => {}
            None => self.died(task),
        }
    }

    fn sent(&mut self, sent: Sent) {
        let now = Instant::now();
        self.backlog.arrived(&sent.name, &sent.lane);
        let backoff: Vec<Duration> = self.config.queue.backoff.iter().map(|wait| wait.get()).collect();
        self.backlog.update(&sent.name, now, |destination| {
            let concurrency = destination.rules.concurrency;
            match &sent.signal {
                Signal::Answered => destination.lane(&sent.way).health.answered(sent.began, concurrency),
                Signal::Unreachable(failure) => {
                    destination.lane(&sent.way).health.failed(sent.began, now, failure, &backoff);
                }
                Signal::Nothing => {}
            }
        });
        self.entry_ended(sent.shard, sent.token, sent.ended);
    }

    fn put_off(&mut self, put_off: PutOff) {
        for ended in put_off.ended {
            self.entry_ended(put_off.shard, put_off.token, ended);
        }
        let way = &put_off.way;
        self.backlog
            .update(&put_off.name, Instant::now(), |destination| destination.lane(way).draining = false);
    }

    /// Work on an entry ended: it is forgotten, unless it has to go on at once.
    fn entry_ended(&mut self, shard: Shard, token: u64, ended: Ended) {
        let later = self.backlog.done(ended.entry, Instant::now());
        let Some(owned) = self.owned.get(&shard) else { return };
        let Some(reader) = &owned.reader else { return };
        let settled = match ended.fate {
            Fate::Settled(Settled::Removed | Settled::Gone, _) => return,
            Fate::Settled(Settled::Waits(hint), loaded) if owned.lease.token() == token => {
                Some((hint, loaded))
            }
            Fate::Waives(hint, loaded) if owned.lease.token() == token => {
                if later > Some(hint.turn) {
                    return reader.again();
                }
                return self.offer(hint, loaded, None, true);
            }
            Fate::Settled(..) | Fate::Waives(..) | Fate::Void => None,
            Fate::Unsettled => return reader.again(),
        };
        if later > settled.as_ref().map(|(hint, _)| hint.turn) {
            // An administrator gave it another turn, and the hint of that was read while it was on its way.
            return reader.again();
        }
        match settled {
            Some((Hint { place: Place::Due(due), .. }, _)) => reader.deferred(due),
            // The same, and the result was written after that: it goes on as it is now, not as it was.
            Some((hint @ Hint { place: Place::Fresh(_), .. }, loaded)) => {
                self.offer(hint, loaded, None, false)
            }
            Some((Hint { place: Place::Held, .. }, _)) | None => {}
        }
    }

    /// A task died in the middle; what it worked on is read again.
    fn died(&mut self, task: Task) {
        let now = Instant::now();
        let entries = match &task {
            Task::Send(name, way, _, entry) => {
                self.backlog.arrived(name, way);
                vec![*entry]
            }
            Task::PutOff(name, way, _, entries) => {
                self.backlog.update(name, now, |destination| destination.lane(way).draining = false);
                entries.clone()
            }
            Task::Feed(name, _) => {
                self.backlog.fed(name, None, true);
                Vec::new()
            }
            Task::Other => Vec::new(),
        };
        for entry in entries {
            self.backlog.done(entry, now);
        }
        let owned = task.shard().and_then(|shard| self.owned.get(&shard));
        if let Some(reader) = owned.and_then(|owned| owned.reader.as_ref()) {
            reader.again();
        }
    }
}
