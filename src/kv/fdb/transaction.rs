//! A transaction of FoundationDB.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use foundationdb::options::{ConflictRangeType, MutationType, StreamingMode};
use foundationdb::{FdbError, FdbResult, RangeOption};

use super::{FdbDatabase, error};
use crate::rules::{SPENT, check_key, check_range, check_stamp, check_write, check_written_range};
use crate::span::Span;
use crate::{Error, KeyValue, RangeOptions, Result, Version, limits};

/// The state behind a transaction's handles.
pub(crate) struct FdbTransaction {
    database: Arc<FdbDatabase>,
    /// Held briefly, and never across an await.
    state: Mutex<State>,
}

struct State {
    /// Until the commit; or why there is none.
    transaction: Result<foundationdb::Transaction>,
    /// The first write that breaks a rule; told at commit.
    refused: Option<Error>,
    writes: bool,
    watches: bool,
    size: usize,
}

/// A future of the client library; independent of the transaction's lifetime.
pub(crate) struct FdbWatch(Pin<Box<dyn Future<Output = FdbResult<()>> + Send + Sync>>);

impl FdbWatch {
    pub(crate) async fn changed(self) -> Result<()> {
        self.0.await.map_err(error::of_read)
    }
}

impl FdbTransaction {
    pub(super) fn new(database: Arc<FdbDatabase>, transaction: Result<foundationdb::Transaction>) -> Self {
        let state = State { transaction, refused: None, writes: false, watches: false, size: 0 };
        Self { database, state: Mutex::new(state) }
    }

    pub(crate) async fn get(&self, key: &[u8], snapshot: bool) -> Result<Option<Bytes>> {
        self.database.counters.reads.add(1);
        check_key(key)?;
        let value = {
            let mut state = self.lock();
            let at = self.database.prefix.key(key);
            if !snapshot {
                state.size += limits::conflict_size(&Span::Key(Bytes::copy_from_slice(&at)));
            }
            state.transaction()?.get(&at, snapshot)
        };
        Ok(value.await.map_err(error::of_read)?.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// Reads a range in as few and large replies as the cluster gives.
    pub(crate) async fn get_range(
        &self,
        range: Range<Vec<u8>>,
        options: RangeOptions,
    ) -> Result<Vec<KeyValue>> {
        self.database.counters.reads.add(1);
        check_range(&range)?;
        check_key(&range.start)?;
        let prefix = &self.database.prefix;
        let at = prefix.range(&range);
        if !options.snapshot {
            self.lock().size += at.start.len() + at.end.len() + limits::RANGE_OVERHEAD;
        }
        let mut next = Some(RangeOption {
            limit: (options.limit > 0).then_some(options.limit),
            mode: StreamingMode::WantAll,
            reverse: options.reverse,
            ..RangeOption::from(at)
        });
        let mut rows = Vec::new();
        let mut iteration = 0;
        while let Some(part) = next {
            iteration += 1;
            let reply = self.lock().transaction()?.get_range(&part, iteration, options.snapshot);
            let reply = reply.await.map_err(error::of_read)?;
            rows.extend(reply.iter().map(|row| KeyValue {
                key: Bytes::copy_from_slice(prefix.strip(row.key())),
                value: Bytes::copy_from_slice(row.value()),
            }));
            next = part.next_range(&reply);
        }
        self.database.counters.rows_read.add(rows.len() as u64);
        Ok(rows)
    }

    pub(crate) async fn read_version(&self) -> Result<Version> {
        let version = self.lock().transaction()?.get_read_version();
        version.await.map_err(error::of_read).and_then(to_version)
    }

    pub(crate) fn set(&self, key: &[u8], value: &[u8]) {
        let at = self.database.prefix.key(key);
        self.write(check_write(key, value.len()), point(&at, value), |t| t.set(&at, value));
    }

    pub(crate) fn clear(&self, key: &[u8]) {
        let at = self.database.prefix.key(key);
        self.write(check_write(key, 0), point(&at, &at), |t| t.clear(&at));
    }

    pub(crate) fn clear_range(&self, range: Range<Vec<u8>>) {
        // The client drops it, and a transaction of nothing else has no commit version.
        if range.start == range.end {
            return;
        }
        let at = self.database.prefix.range(&range);
        let size = limits::clear_range_size(at.start.len(), at.end.len());
        self.write(check_written_range(&range), size, |t| t.clear_range(&at.start, &at.end));
    }

    pub(crate) fn add(&self, key: &[u8], delta: i64) {
        let delta = delta.to_le_bytes();
        let at = self.database.prefix.key(key);
        self.write(check_write(key, delta.len()), point(&at, &delta), |t| {
            t.atomic_op(&at, &delta, MutationType::Add)
        });
    }

    pub(crate) fn set_versionstamped_key(&self, key: &[u8], offset: usize, value: &[u8]) {
        let checked = check_write(key, value.len()).and(check_stamp(key.len(), offset));
        let prefix = &self.database.prefix;
        let at = prefix.key(key);
        let template = with_offset(&at, offset.saturating_add(prefix.len()));
        self.write(checked, point(&at, value), |t| {
            t.atomic_op(&template, value, MutationType::SetVersionstampedKey)
        });
    }

    pub(crate) fn set_versionstamped_value(&self, key: &[u8], value: &[u8], offset: usize) {
        let checked = check_write(key, value.len()).and(check_stamp(value.len(), offset));
        let template = with_offset(value, offset);
        let at = self.database.prefix.key(key);
        self.write(checked, point(&at, value), |t| {
            t.atomic_op(&at, &template, MutationType::SetVersionstampedValue)
        });
    }

    pub(crate) fn add_read_conflict(&self, range: Range<Vec<u8>>) {
        self.add_conflict(check_range(&range), &range, ConflictRangeType::Read);
    }

    pub(crate) fn add_write_conflict(&self, range: Range<Vec<u8>>) {
        self.lock().writes |= range.start != range.end;
        self.add_conflict(check_written_range(&range), &range, ConflictRangeType::Write);
    }

    fn add_conflict(&self, checked: Result<()>, range: &Range<Vec<u8>>, kind: ConflictRangeType) {
        let at = self.database.prefix.range(range);
        let mut state = self.lock();
        state.size += at.start.len() + at.end.len() + limits::RANGE_OVERHEAD;
        let added = checked.and_then(|()| {
            state.transaction()?.add_conflict_range(&at.start, &at.end, kind).map_err(error::of_read)
        });
        if let Err(error) = added {
            state.refused.get_or_insert(error);
        }
    }

    pub(crate) fn watch(&self, key: &[u8]) -> FdbWatch {
        let mut state = self.lock();
        state.watches = true;
        match state.transaction() {
            Ok(transaction) => FdbWatch(Box::pin(transaction.watch(&self.database.prefix.key(key)))),
            Err(_) => {
                FdbWatch(Box::pin(std::future::ready(Err(FdbError::from_code(error::TRANSACTION_CANCELLED)))))
            }
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.lock().size
    }

    pub(crate) fn writes(&self) -> bool {
        self.lock().writes
    }

    pub(crate) async fn commit(&self) -> Result<Version> {
        let (transaction, writes) = {
            let mut state = self.lock();
            let transaction = std::mem::replace(&mut state.transaction, Err(SPENT))?;
            if let Some(error) = state.refused.take() {
                return Err(error);
            }
            if state.size > limits::TRANSACTION_SIZE && state.writes {
                return Err(Error::TransactionTooLarge(state.size));
            }
            (transaction, state.writes)
        };
        // Without writes the commit has no version, but what was read has.
        let read_version = if writes { None } else { Some(transaction.get_read_version()) };
        let read_version = match read_version {
            Some(version) => Some(version.await.map_err(error::of_read)?),
            None => None,
        };
        match transaction.commit().await {
            Ok(committed) => {
                let version = match read_version {
                    Some(version) => version,
                    None => committed.committed_version().map_err(error::of_commit)?,
                };
                if writes {
                    self.database.counters.commits.add(1);
                    self.database.counters.bytes_written.add(self.size() as u64);
                }
                to_version(version)
            }
            Err(failed) => {
                let failed = FdbError::from(failed);
                if failed.code() == error::TRANSACTION_TIMED_OUT {
                    self.database.outlive_commits().await;
                }
                let error = error::of_commit(failed);
                if matches!(error, Error::Conflict) {
                    self.database.counters.conflicts.add(1);
                }
                Err(error)
            }
        }
    }

    /// Ends a transaction whose writes are not wanted. Watches begin with a commit, so it is made if it has nothing to
    /// write; else they are cancelled, which their waiters must treat as a change.
    pub(crate) async fn end_read(&self) {
        let transaction = {
            let mut state = self.lock();
            let ended = std::mem::replace(&mut state.transaction, Err(SPENT));
            if state.writes || !state.watches {
                return;
            }
            ended
        };
        if let Ok(transaction) = transaction
            && let Err(failed) = transaction.commit().await
        {
            tracing::debug!(error = %failed, "watches did not begin");
        }
    }

    fn write(&self, checked: Result<()>, size: usize, write: impl FnOnce(&foundationdb::Transaction)) {
        let mut state = self.lock();
        state.writes = true;
        state.size += size;
        match checked.and_then(|()| state.transaction().map(write)) {
            Ok(()) => {}
            Err(error) => {
                state.refused.get_or_insert(error);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn transaction(&self) -> Result<&foundationdb::Transaction> {
        self.transaction.as_ref().map_err(Clone::clone)
    }
}

fn point(key: &[u8], value: &[u8]) -> usize {
    limits::point_size(key.len(), value.len())
}

/// A template as versionstamp operations want it: followed by where the versionstamp goes, little-endian.
fn with_offset(template: &[u8], offset: usize) -> Vec<u8> {
    // An offset that does not fit was refused before.
    let offset = u32::try_from(offset).unwrap_or(u32::MAX);
    [template, &offset.to_le_bytes()].concat()
}

fn to_version(version: i64) -> Result<Version> {
    Version::try_from(version)
        .map_err(|_| Error::Unavailable(format!("FoundationDB gave the version {version}")))
}
