//! A transaction of the embedded engine: a snapshot, the writes so far, and what both conflict with.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::EmbeddedDatabase;
use super::committer::{Commit, Published, ReadAt};
use super::watches::{PendingWatch, WatchHandle};
use crate::buffer::{Own, RangeRead, WriteBuffer, add_little_endian};
use crate::rules::{SPENT, check_key, check_range, check_stamp, check_write, check_written_range};
use crate::span::Span;
use crate::{Error, KeyValue, RangeOptions, Result, Version, limits};

/// The state behind a transaction's handles.
pub(crate) struct EmbeddedTransaction {
    database: Arc<EmbeddedDatabase>,
    /// Held briefly, and never across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Taken at the first read.
    snapshot: Option<Snapshot>,
    writes: WriteBuffer,
    reads: Vec<Span>,
    reads_size: usize,
    write_conflicts: Vec<Span>,
    write_conflicts_size: usize,
    watches: Vec<PendingWatch>,
    /// The first write that breaks a rule, or read that fails as one of a cluster's would; told at commit.
    refused: Option<Error>,
    spent: bool,
}

struct Snapshot {
    published: Arc<Published>,
    at: ReadAt,
}

impl EmbeddedTransaction {
    pub(crate) fn new(database: Arc<EmbeddedDatabase>) -> Self {
        Self { database, state: Mutex::default() }
    }

    pub(crate) fn get(&self, key: &[u8], snapshot: bool) -> Result<Option<Bytes>> {
        self.database.shared.counters.reads.add(1);
        let mut state = self.lock();
        let found = self.get_in(&mut state, key, snapshot);
        state.remember_failure(found)
    }

    fn get_in(&self, state: &mut State, key: &[u8], snapshot: bool) -> Result<Option<Bytes>> {
        self.begin_read(state)?;
        check_key(key)?;
        let own = state.writes.get(key);
        if !snapshot && matches!(own, Own::Base(_)) {
            state.add_read(Span::Key(Bytes::copy_from_slice(key)));
        }
        state.resolve(key, own)
    }

    pub(crate) fn get_range(&self, range: Range<Vec<u8>>, options: RangeOptions) -> Result<Vec<KeyValue>> {
        self.database.shared.counters.reads.add(1);
        let mut state = self.lock();
        let found = self.get_range_in(&mut state, range, options);
        state.remember_failure(found)
    }

    fn get_range_in(
        &self,
        state: &mut State,
        range: Range<Vec<u8>>,
        options: RangeOptions,
    ) -> Result<Vec<KeyValue>> {
        self.begin_read(state)?;
        check_range(&range)?;
        check_key(&range.start)?;
        let read = RangeRead {
            start: range.start.into(),
            end: range.end.into(),
            limit: if options.limit == 0 { usize::MAX } else { options.limit },
            reverse: options.reverse,
        };
        let published = state.snapshot.as_ref().ok_or(SPENT)?.published.clone();
        let found = state.writes.merge_range(&read, |start, end, visit| {
            published.snapshot.scan(start, end, options.reverse, visit)
        })?;
        self.database.shared.counters.rows_read.add(found.rows.len() as u64);
        if !options.snapshot {
            state.add_read(Span::Range(found.extent.0, found.extent.1));
        }
        Ok(found.rows)
    }

    pub(crate) fn read_version(&self) -> Result<Version> {
        let mut state = self.lock();
        self.begin_read(&mut state)?;
        Ok(state.read_version())
    }

    pub(crate) fn set(&self, key: &[u8], value: &[u8]) {
        let mut state = self.lock();
        if state.allows(check_write(key, value.len())) {
            state.writes.set(key, value);
        }
    }

    pub(crate) fn clear(&self, key: &[u8]) {
        let mut state = self.lock();
        if state.allows(check_write(key, 0)) {
            state.writes.clear(key);
        }
    }

    pub(crate) fn clear_range(&self, range: Range<Vec<u8>>) {
        let mut state = self.lock();
        if let Err(error) = check_written_range(&range) {
            state.refuse(error);
        } else {
            state.writes.clear_range(range.start.into(), range.end.into());
        }
    }

    pub(crate) fn add(&self, key: &[u8], delta: i64) {
        let mut state = self.lock();
        if state.allows(check_write(key, 8)) {
            state.writes.add(key, delta);
        }
    }

    pub(crate) fn set_versionstamped_key(&self, key: &[u8], offset: usize, value: &[u8]) {
        let mut state = self.lock();
        if state.allows(check_write(key, value.len()).and(check_stamp(key.len(), offset))) {
            let read_version = state.read_version();
            state.writes.set_versionstamped_key(key, offset, value, read_version);
        }
    }

    pub(crate) fn set_versionstamped_value(&self, key: &[u8], value: &[u8], offset: usize) {
        let mut state = self.lock();
        if state.allows(check_write(key, value.len()).and(check_stamp(value.len(), offset))) {
            state.writes.set_versionstamped_value(key, value, offset);
        }
    }

    pub(crate) fn add_read_conflict(&self, range: Range<Vec<u8>>) {
        let mut state = self.lock();
        match check_range(&range) {
            Ok(()) => state.add_read(Span::Range(range.start.into(), range.end.into())),
            Err(error) => state.refuse(error),
        }
    }

    pub(crate) fn add_write_conflict(&self, range: Range<Vec<u8>>) {
        let mut state = self.lock();
        if let Err(error) = check_written_range(&range) {
            state.refuse(error);
        } else {
            let span = Span::Range(range.start.into(), range.end.into());
            state.write_conflicts_size += limits::conflict_size(&span);
            state.write_conflicts.push(span);
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.lock().size()
    }

    pub(crate) fn writes(&self) -> bool {
        self.lock().writes()
    }

    pub(crate) fn watch(&self, key: &[u8]) -> WatchHandle {
        let id = self.database.next_watch();
        let (wake, woken) = oneshot::channel();
        let key = Bytes::copy_from_slice(key);
        let handle =
            WatchHandle { key: key.clone(), id, woken, watches: self.database.shared.watches.clone() };
        let mut state = self.lock();
        let seen = self.begin_read(&mut state).and_then(|()| {
            let own = state.writes.get(&key);
            // As in FoundationDB, what is watched has been read.
            if matches!(own, Own::Base(_)) {
                state.add_read(Span::Key(key.clone()));
            }
            state.resolve(&key, own)
        });
        // What cannot be seen (a versionstamp, a damaged block) cannot be compared either: dropping `wake` tells the
        // waiter to look for itself.
        if let Ok(expected) = seen {
            state.watches.push(PendingWatch { key, expected, wake, id });
        }
        handle
    }

    pub(crate) async fn commit(&self) -> Result<Version> {
        let (commit, watches) = {
            let mut state = self.lock();
            if state.spent {
                return Err(SPENT);
            }
            let mut state = std::mem::replace(&mut *state, State { spent: true, ..State::default() });
            if let Some(error) = state.refused.take() {
                return Err(error);
            }
            let read = state.snapshot.as_ref().map(|snapshot| snapshot.at);
            if !state.writes() {
                self.activate(state.watches);
                return Ok(
                    read.map_or_else(|| self.database.shared.published.load().version, |at| at.version)
                );
            }
            let size = state.size();
            if size > limits::TRANSACTION_SIZE {
                return Err(Error::TransactionTooLarge(size));
            }
            let State { writes, reads, write_conflicts, watches, .. } = state;
            (Commit { read, reads, write_conflicts, writes }, watches)
        };
        let version = self.database.commit(commit).await?;
        self.activate(watches);
        Ok(version)
    }

    /// Starts the watches of a transaction that ends without writing.
    pub(crate) fn end_read(&self) {
        let watches = std::mem::take(&mut self.lock().watches);
        self.activate(watches);
    }

    fn activate(&self, watches: Vec<PendingWatch>) {
        let shared = &self.database.shared;
        for watch in watches {
            shared.watches.activate(watch, |key| shared.published.load().snapshot.get(key).ok());
        }
    }

    /// Takes the snapshot at the first read, and sees that it is still young enough.
    fn begin_read(&self, state: &mut State) -> Result<()> {
        if state.spent {
            return Err(SPENT);
        }
        let now = self.database.shared.clock.now();
        match &state.snapshot {
            Some(snapshot) if now.saturating_sub(snapshot.at.began) > limits::TRANSACTION_AGE => {
                Err(Error::TransactionTooOld)
            }
            Some(_) => Ok(()),
            None => {
                let published = self.database.shared.published.load_full();
                let at = ReadAt { version: published.version, began: now };
                state.snapshot = Some(Snapshot { published, at });
                Ok(())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// 0 while nothing was read.
    fn read_version(&self) -> Version {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.at.version)
    }

    /// The value of a key, given what the own writes say about it.
    fn resolve(&self, key: &[u8], own: Own) -> Result<Option<Bytes>> {
        let base = || self.snapshot.as_ref().ok_or(SPENT)?.published.snapshot.get(key);
        match own {
            Own::Known(value) => Ok(value),
            Own::Base(None) => base(),
            Own::Base(Some(delta)) => Ok(Some(add_little_endian(base()?.as_deref(), delta))),
            Own::Unreadable => Err(Error::AccessedUnreadable),
        }
    }

    fn add_read(&mut self, span: Span) {
        if self.reads.last() != Some(&span) {
            self.reads_size += limits::conflict_size(&span);
            self.reads.push(span);
        }
    }

    fn size(&self) -> usize {
        self.writes.size() + self.reads_size + self.write_conflicts_size
    }

    fn writes(&self) -> bool {
        !self.writes.is_empty() || !self.write_conflicts.is_empty()
    }

    /// As FoundationDB's client does, refuses the commit after a read that failed, even if nobody cared.
    fn remember_failure<T>(&mut self, found: Result<T>) -> Result<T> {
        if let Err(error @ (Error::AccessedUnreadable | Error::TransactionTooOld)) = &found {
            self.refuse(error.clone());
        }
        found
    }

    /// Whether a write keeps the rules; the first that does not fails the commit.
    fn allows(&mut self, result: Result<()>) -> bool {
        result.map_err(|error| self.refuse(error)).is_ok()
    }

    fn refuse(&mut self, error: Error) {
        self.refused.get_or_insert(error);
    }
}
