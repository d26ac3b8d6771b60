//! Commits: one committer resolves the waiting transactions in turn, writes all survivors as one batch, makes it durable
//! with one fsync, and only then publishes it to readers and answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::resolver::Resolver;
use super::storage::{Changes, Snapshot, Storage};
use super::watches::Watches;
use crate::buffer::{PointWrite, WriteBuffer, add_little_endian, bounds};
use crate::faults::{CommitFault, Faults};
use crate::monotonic::MonotonicClock;
use crate::span::Span;
use crate::statistics::Counters;
use crate::versionstamp::{OUT_OF_BOUNDS, Versionstamp};
use crate::{Error, Result, Version, limits};

/// Most commits written as one batch; a versionstamp's order has 16 bits.
const GROUP_COMMITS: usize = 4_096;
/// A batch is closed once it holds this many bytes, so that the first in it do not wait for a mountain.
const GROUP_BYTES: usize = 16 * 1024 * 1024;

/// The last durable state: what new transactions read.
pub(crate) struct Published {
    pub(crate) version: Version,
    pub(crate) snapshot: Snapshot,
}

/// A transaction that asks to commit.
pub(crate) struct Commit {
    /// Absent if the transaction read nothing, and so cannot conflict.
    pub(crate) read: Option<ReadAt>,
    pub(crate) reads: Vec<Span>,
    /// Explicit write conflicts; those of the writes are derived.
    pub(crate) write_conflicts: Vec<Span>,
    pub(crate) writes: WriteBuffer,
}

/// The moment whose state a transaction reads.
#[derive(Clone, Copy)]
pub(crate) struct ReadAt {
    pub(crate) version: Version,
    pub(crate) began: Duration,
}

/// What the committer and everyone else share.
pub(crate) struct Shared {
    pub(crate) published: ArcSwap<Published>,
    pub(crate) watches: Arc<Watches>,
    pub(crate) counters: Counters,
    pub(crate) clock: MonotonicClock,
    pub(crate) faults: Arc<dyn Faults>,
}

/// The committer's own state.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    storage: Storage,
    resolver: Resolver,
    version: Version,
    /// Published versions by time, so that versions nobody reads can be forgotten.
    history: VecDeque<(Duration, Version)>,
    /// Why there can be no commits any more.
    failed: Option<String>,
    /// The changes of the group in progress; kept for its allocation only.
    changes: Changes,
}

/// A commit with the place for its answer.
pub(crate) type Request = (Commit, oneshot::Sender<Result<Version>>);

impl Committer {
    /// A committer on a storage whose last commit has `version`.
    pub(crate) fn new(
        storage: Storage,
        version: Version,
        clock: MonotonicClock,
        faults: Arc<dyn Faults>,
    ) -> Self {
        let shared = Shared {
            published: ArcSwap::from_pointee(Published { version, snapshot: storage.snapshot() }),
            watches: Arc::default(),
            counters: Counters::default(),
            clock,
            faults,
        };
        Self {
            shared: Arc::new(shared),
            storage,
            resolver: Resolver::default(),
            version,
            history: VecDeque::new(),
            failed: None,
            changes: Changes::new(),
        }
    }

    /// What readers share with it.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The committing thread: ends when all senders are gone.
    pub(crate) fn run(mut self, requests: mpsc::Receiver<Request>) {
        let mut replies = Vec::new();
        let mut group = Vec::new();
        while let Ok((commit, reply)) = requests.recv() {
            let mut bytes = commit.writes.size();
            group.push(commit);
            replies.push(reply);
            while group.len() < GROUP_COMMITS && bytes < GROUP_BYTES {
                let Ok((commit, reply)) = requests.try_recv() else { break };
                bytes += commit.writes.size();
                group.push(commit);
                replies.push(reply);
            }
            let results = self.commit(&group);
            group.clear();
            for (reply, result) in replies.drain(..).zip(results) {
                // Someone who stopped waiting has chosen not to know.
                let _ = reply.send(result);
            }
        }
        self.storage.close();
    }

    /// Commits a group; the results are in its order.
    pub(crate) fn commit(&mut self, group: &[Commit]) -> Vec<Result<Version>> {
        if let Some(reason) = &self.failed {
            return group.iter().map(|_| Err(Error::Unavailable(reason.clone()))).collect();
        }
        let now = self.shared.clock.now();
        let version = self.version + 1;
        let base = self.shared.published.load_full();
        self.changes.clear();
        let mut order = 0;
        let mut bytes = 0;
        let mut results = Vec::with_capacity(group.len());
        for commit in group {
            let result = self.commit_one(commit, &base.snapshot, Versionstamp::new(version, order), now);
            if matches!(result, Ok(_) | Err(Error::CommitUnknown)) {
                order = order.saturating_add(1);
                bytes += commit.writes.size() as u64;
            }
            results.push(result);
        }
        if order > 0
            && let Err(reason) = self.make_durable(version)
        {
            self.fail(&mut results, reason);
            return results;
        }
        if order > 0 {
            self.publish(version);
        }
        self.count(&results, bytes);
        results
    }

    /// Resolves one transaction and, if it may commit, adds its writes to the group's changes.
    fn commit_one(
        &mut self,
        commit: &Commit,
        base: &Snapshot,
        stamp: Versionstamp,
        now: Duration,
    ) -> Result<Version> {
        if let Some(read) = commit.read {
            if now.saturating_sub(read.began) > limits::TRANSACTION_AGE {
                return Err(Error::TransactionTooOld);
            }
            if self.resolver.conflicts(&commit.reads, read.version) {
                return Err(Error::Conflict);
            }
        }
        let fault = self.shared.faults.commit();
        match fault {
            Some(CommitFault::Conflict) => return Err(Error::Conflict),
            Some(CommitFault::UnknownNotApplied) => return Err(Error::CommitUnknown),
            Some(CommitFault::UnknownApplied) | None => {}
        }
        let version = self.version + 1;
        let evaluated = evaluate(&commit.writes, base, &self.changes, stamp)?;
        for (key, _) in &evaluated.stamped {
            self.resolver.record(Span::Key(key.clone()), version, now);
        }
        for span in commit.writes.spans().chain(commit.write_conflicts.iter().cloned()) {
            self.resolver.record(span, version, now);
        }
        self.changes.extend(evaluated.removed.into_iter().map(|key| (key, None)));
        self.changes.extend(evaluated.points);
        self.changes.extend(evaluated.stamped.into_iter().map(|(key, value)| (key, Some(value))));
        if fault == Some(CommitFault::UnknownApplied) { Err(Error::CommitUnknown) } else { Ok(version) }
    }

    fn make_durable(&mut self, version: Version) -> Result<(), String> {
        if let Some(error) = self.shared.faults.write() {
            return Err(format!("cannot write the journal: {error}"));
        }
        self.storage.write(version, &self.changes)?;
        if let Some(error) = self.shared.faults.sync() {
            return Err(format!("cannot make the journal durable: {error}"));
        }
        self.shared.counters.fsyncs.add(1);
        self.storage.sync()
    }

    /// Shows the group, which is durable, to new transactions.
    fn publish(&mut self, version: Version) {
        self.version = version;
        let snapshot = self.storage.snapshot();
        self.shared.published.store(Arc::new(Published { version, snapshot }));
        self.shared.watches.changed(&self.changes);
        let now = self.shared.clock.now();
        self.resolver.published(now);
        self.history.push_back((now, version));
        let mut oldest = None;
        let is_past = |at: Duration| at + 2 * limits::TRANSACTION_AGE < now;
        while let Some((_, version)) = self.history.pop_front_if(|(at, _)| is_past(*at)) {
            oldest = Some(version);
        }
        if let Some(oldest) = oldest {
            self.storage.forget_before(oldest);
        }
    }

    /// After a failed write nothing more can be promised: whether this group survives a restart is not known.
    fn fail(&mut self, results: &mut [Result<Version>], reason: String) {
        tracing::error!(reason, "the store takes no more commits");
        for result in results {
            if result.is_ok() {
                *result = Err(Error::CommitUnknown);
            }
        }
        self.failed = Some(format!("{reason}; the service must be restarted when the cause is gone"));
    }

    fn count(&self, results: &[Result<Version>], bytes: u64) {
        let counters = &self.shared.counters;
        let committed = results.iter().filter(|result| result.is_ok()).count() as u64;
        let conflicts = results.iter().filter(|result| matches!(result, Err(Error::Conflict))).count() as u64;
        counters.commits.add(committed);
        counters.conflicts.add(conflicts);
        if committed > 0 {
            counters.batches.add(1);
            counters.bytes_written.add(bytes);
        }
    }
}

/// What one transaction changes, with everything known that depended on the store.
struct Evaluated {
    /// Keys that range clears remove.
    removed: Vec<Bytes>,
    points: Vec<(Bytes, Option<Bytes>)>,
    stamped: Vec<(Bytes, Bytes)>,
}

/// Works out a transaction's changes on top of `base` and of the `earlier` changes of its group.
fn evaluate(
    writes: &WriteBuffer,
    base: &Snapshot,
    earlier: &Changes,
    stamp: Versionstamp,
) -> Result<Evaluated> {
    let mut removed = Vec::new();
    for (start, end) in writes.cleared.iter() {
        base.keys(start, end, &mut |key| removed.push(key))?;
        removed.extend(earlier.range::<[u8], _>(bounds(start, end)).map(|(key, _)| key.clone()));
    }
    let mut points = Vec::with_capacity(writes.points.len());
    for (key, write) in &writes.points {
        let value = match write {
            PointWrite::Set(value) | PointWrite::SetOverStamp(value) => Some(value.clone()),
            PointWrite::Clear => None,
            PointWrite::Add(delta) => {
                let before = match earlier.get(key) {
                    Some(value) => value.clone(),
                    None => base.get(key)?,
                };
                Some(add_little_endian(before.as_deref(), *delta))
            }
            PointWrite::Stamped { value, offset, add } => {
                let value = stamp.place(value, *offset).ok_or(OUT_OF_BOUNDS)?;
                Some(add.map_or(value.clone(), |delta| add_little_endian(Some(&value), delta)))
            }
        };
        points.push((key.clone(), value));
    }
    let mut stamped = Vec::with_capacity(writes.stamped_keys.len());
    for row in &writes.stamped_keys {
        let key = stamp.place(&row.template, row.offset).ok_or(OUT_OF_BOUNDS)?;
        stamped.push((key, row.value.clone()));
    }
    Ok(Evaluated { removed, points, stamped })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::embedded::memory::MemoryStorage;
    use crate::faults::FaultScript;

    fn committer(faults: Arc<dyn Faults>) -> Committer {
        Committer::new(Storage::Memory(MemoryStorage::default()), 0, MonotonicClock::manual().0, faults)
    }

    fn commit(reads: &[&'static [u8]], write: impl FnOnce(&mut WriteBuffer)) -> Commit {
        let mut writes = WriteBuffer::default();
        write(&mut writes);
        let reads = reads.iter().map(|key| Span::Key(Bytes::from_static(key))).collect();
        let read = Some(ReadAt { version: 0, began: Duration::ZERO });
        Commit { read, reads, write_conflicts: Vec::new(), writes }
    }

    fn value(committer: &Committer, key: &[u8]) -> Option<Bytes> {
        committer.shared.published.load().snapshot.get(key).unwrap()
    }

    #[test]
    fn a_group_is_decided_one_by_one_and_written_once() {
        let mut committer = committer(Arc::new(FaultScript::default()));
        let results = committer.commit(&[
            commit(&[b"x"], |w| w.add(b"sum", 1)),
            commit(&[], |w| w.set(b"x", b"new")),
            commit(&[b"x"], |w| w.set(b"never", b"")),
            commit(&[], |w| w.add(b"sum", 1)),
            commit(&[], |w| w.clear_range(Bytes::from_static(b"x"), Bytes::from_static(b"y"))),
            commit(&[], |w| w.set_versionstamped_key(b"0123456789", 0, b"last", 0)),
        ]);
        assert!(
            matches!(results[..], [Ok(1), Ok(1), Err(Error::Conflict), Ok(1), Ok(1), Ok(1)]),
            "{results:?}"
        );
        assert_eq!(value(&committer, b"sum").as_deref(), Some(&2i64.to_le_bytes()[..]), "both additions");
        assert_eq!(value(&committer, b"never"), None);
        assert_eq!(value(&committer, b"x"), None, "cleared by one that came later in the group");
        let fourth = Versionstamp::new(1, 4).0;
        assert_eq!(value(&committer, &fourth).as_deref(), Some(&b"last"[..]), "refused ones take no place");
        let statistics = committer.shared.counters.snapshot();
        assert_eq!(
            (statistics.batches, statistics.fsyncs, statistics.commits, statistics.conflicts),
            (1, 1, 5, 1)
        );
    }

    #[test]
    fn a_group_that_is_refused_whole_costs_no_fsync() {
        let faults = Arc::new(FaultScript::default());
        faults.commits([Some(CommitFault::Conflict), Some(CommitFault::Conflict)]);
        let mut committer = committer(faults);
        committer.commit(&[commit(&[], |w| w.set(b"a", b"")), commit(&[], |w| w.set(b"b", b""))]);
        assert_eq!(committer.shared.counters.snapshot().fsyncs, 0);
        assert_eq!(committer.version, 0);
    }

    #[test]
    fn nobody_sees_a_group_that_was_not_made_durable() {
        let faults = Arc::new(FaultScript::default());
        faults.fail_sync(ErrorKind::Other);
        let mut committer = committer(faults);
        let results =
            committer.commit(&[commit(&[], |w| w.set(b"a", b"")), commit(&[], |w| w.set(b"b", b""))]);
        assert!(results.iter().all(|result| matches!(result, Err(Error::CommitUnknown))), "{results:?}");
        assert_eq!(value(&committer, b"a"), None);
        let results = committer.commit(&[commit(&[], |w| w.set(b"c", b""))]);
        assert!(matches!(&results[..], [Err(Error::Unavailable(_))]), "{results:?}");
    }
}
