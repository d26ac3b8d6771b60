//! The ordered transactional key-value store: one interface, two engines.
//!
//! Semantics are FoundationDB's: serializable optimistic transactions with read-conflict ranges, snapshot
//! reads, atomic add, versionstamped keys and values, watches, and its limits (see [`limits`]). Data enters
//! and leaves through [`Database::transact`], which retries conflicts with backoff.

pub mod clock;
pub mod keys;
pub mod limits;

mod error;

pub use error::{AsKvError, Error};

use std::future::Future;
use std::ops::Range;

use bytes::Bytes;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The version of a commit: rises with every commit of the database; unit-less. FoundationDB advances it by about a
/// million a second.
pub type Version = u64;

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key, at most [`limits::KEY_SIZE`] bytes.
    pub key: Bytes,
    /// The value, at most [`limits::VALUE_SIZE`] bytes.
    pub value: Bytes,
}

/// How a range is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeOptions {
    /// At most this many rows; 0 for all of them.
    pub limit: usize,
    /// From the end of the range to its beginning.
    pub reverse: bool,
    /// Without a read-conflict range: the rows may change before the commit.
    pub snapshot: bool,
}

/// A database: cheap to clone, shared by all tasks.
#[derive(Clone)]
pub struct Database {}

/// What a successful [`Database::transact_versioned`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed<T> {
    /// What the closure returned.
    pub value: T,
    /// The version the transaction committed at: the first eight bytes of its versionstamps. For a transaction
    /// that wrote nothing, its read version.
    pub version: Version,
}

impl Database {
    /// An empty database in memory: the embedded engine without its files, for tests and simulation.
    pub fn in_memory() -> Self {
        todo!()
    }

    /// Begins a transaction. Prefer [`Database::transact`], which also retries.
    pub fn begin(&self) -> Transaction {
        todo!()
    }

    /// Runs `operation` in a transaction and commits it; repeats both while the error is retryable (conflict,
    /// read version too old, commit result unknown), with backoff and jitter.
    ///
    /// The closure may therefore run after an attempt whose commit *did* happen: it must be written so that a repetition
    /// changes nothing ([`Transaction::may_have_committed`] tells when that is possible, so that the check for the
    /// operation's own traces can be skipped otherwise).
    ///
    /// # Errors
    /// What the closure returned, if it is not retryable; [`Error`] of the commit.
    pub async fn transact<T, E, F, Fut>(&self, operation: F) -> Result<T, E>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + AsKvError,
    {
        Ok(self.transact_versioned(operation).await?.value)
    }

    /// [`Database::transact`] that also tells the commit version.
    ///
    /// # Errors
    /// As [`Database::transact`].
    pub async fn transact_versioned<T, E, F, Fut>(&self, operation: F) -> Result<Committed<T>, E>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + AsKvError,
    {
        let _ = operation;
        todo!()
    }

    /// Reads outside of any transaction's conflicts: a closure over one consistent snapshot, retried when it grew
    /// too old. Nothing that the closure writes is committed.
    ///
    /// # Errors
    /// As [`Database::transact`].
    pub async fn read<T, E, F, Fut>(&self, operation: F) -> Result<T, E>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + AsKvError,
    {
        let _ = operation;
        todo!()
    }

    /// Reads a range of any size page by page, each page in a transaction of its own when the range is too large for one
    /// (so not one consistent snapshot past [`limits::TRANSACTION_AGE`]); calls `page` with each.
    ///
    /// # Errors
    /// [`Error`] of a read, or what `page` returned.
    pub async fn scan<E, F>(&self, range: Range<Vec<u8>>, page: F) -> Result<(), E>
    where
        F: FnMut(Vec<KeyValue>) -> Result<(), E>,
        E: From<Error> + AsKvError,
    {
        let _ = (range, page);
        todo!()
    }
}

/// A transaction: a handle, cheap to clone, so that a closure can move it into its future.
///
/// Reads see one snapshot plus the transaction's own writes. All methods take `&self`.
#[derive(Clone)]
pub struct Transaction {}

impl Transaction {
    /// The value of a key, with a read conflict on it.
    ///
    /// # Errors
    /// [`Error::TransactionTooOld`] and the engine's failures.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let _ = key;
        todo!()
    }

    /// The value of a key without a read conflict.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn get_snapshot(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let _ = key;
        todo!()
    }

    /// The rows of `[range.start, range.end)` in key order (reversed if asked); all of them up to `options.limit`.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn get_range(&self, range: Range<Vec<u8>>, options: RangeOptions) -> Result<Vec<KeyValue>> {
        let _ = (range, options);
        todo!()
    }

    /// Sets a key. Limits are checked at commit.
    pub fn set(&self, key: &[u8], value: &[u8]) {
        let _ = (key, value);
        todo!()
    }

    /// Removes a key.
    pub fn clear(&self, key: &[u8]) {
        let _ = key;
        todo!()
    }

    /// Removes every key of `[range.start, range.end)`.
    pub fn clear_range(&self, range: Range<Vec<u8>>) {
        let _ = range;
        todo!()
    }

    /// Adds to a little-endian 64-bit integer (an absent one is 0), without a read conflict. Read it with
    /// [`decode_counter`].
    pub fn add(&self, key: &[u8], delta: i64) {
        let _ = (key, delta);
        todo!()
    }

    /// Sets a key whose ten bytes at `offset` are replaced by the commit's versionstamp (eight bytes of commit version and two
    /// of order within it, big-endian). The key cannot be read in this transaction.
    pub fn set_versionstamped_key(&self, key: &[u8], offset: usize, value: &[u8]) {
        let _ = (key, offset, value);
        todo!()
    }

    /// Sets a value whose ten bytes at `offset` are replaced by the commit's versionstamp. The key cannot be read in this
    /// transaction ([`Error::AccessedUnreadable`]).
    pub fn set_versionstamped_value(&self, key: &[u8], value: &[u8], offset: usize) {
        let _ = (key, value, offset);
        todo!()
    }

    /// Makes the commit fail if another transaction writes the range after this one's read version.
    pub fn add_read_conflict(&self, range: Range<Vec<u8>>) {
        let _ = range;
        todo!()
    }

    /// Makes others that read the range conflict with this transaction.
    pub fn add_write_conflict(&self, range: Range<Vec<u8>>) {
        let _ = range;
        todo!()
    }

    /// A future that completes once the key's value differs from what this transaction saw (including its own
    /// write), or spuriously. It counts from the commit on.
    pub fn watch(&self, key: &[u8]) -> Watch {
        let _ = key;
        todo!()
    }

    /// The version whose state this transaction reads.
    ///
    /// # Errors
    /// The engine's failures.
    pub async fn read_version(&self) -> Result<Version> {
        todo!()
    }

    /// True when an earlier attempt of this closure ended with an unknown commit result, so what it writes may be there
    /// already.
    pub fn may_have_committed(&self) -> bool {
        todo!()
    }

    /// Commits, once; the handle and its clones are spent. A transaction that wrote nothing commits trivially.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::CommitUnknown`], limits, and the engine's failures.
    pub async fn commit(self) -> Result<Version> {
        todo!()
    }
}

/// A pending watch; completes when the key changed. Dropping it cancels it.
pub struct Watch {}

impl Watch {
    /// Waits for the change.
    ///
    /// # Errors
    /// When the engine can no longer tell (closed, or too many watches): treat it as a change, and read again.
    pub async fn changed(self) -> Result<()> {
        todo!()
    }
}

/// Reads a counter that [`Transaction::add`] keeps; absent is 0.
pub fn decode_counter(value: Option<&[u8]>) -> i64 {
    value.and_then(|v| <[u8; 8]>::try_from(v).ok()).map_or(0, i64::from_le_bytes)
}

/// The first key after all keys that begin with `prefix`; `None` for a prefix of only 0xFF bytes.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&b| b != 0xFF)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// The range of all keys that begin with `prefix`.
pub fn prefix_range(prefix: &[u8]) -> Range<Vec<u8>> {
    prefix.to_vec()..prefix_end(prefix).unwrap_or_else(|| vec![0xFF; prefix.len() + 1])
}
