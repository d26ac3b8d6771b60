//! Storage on disk, over the fjall LSM.
//!
//! fjall is used for what it does well (a journal, tables, compaction, snapshots); transactions are decided by the
//! engine above, and whether the files are whole is decided by [`open`] before fjall sees them.
//!
//! ```text
//! <store>/lock      the process that uses the store
//! <store>/mark      the newest promised commit
//! <store>/fjall/    fjall's files: N.jnl (journals), keyspaces/ (trees)
//! <store>/damaged/  what a start with `accept_loss` put aside
//! ```

mod journal;
mod lock;
mod mark;
mod open;
mod verify;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use fjall::{AbstractTree, PersistMode, Readable};

use super::storage::Changes;
use crate::faults::{Faults, NoFaults};
use crate::monotonic::MonotonicClock;
use crate::{Error, Result, Version};
use lock::LockFile;
use mark::Mark;

pub(crate) use open::open;
pub use verify::Verify;

/// How a store on disk is opened.
#[derive(Clone)]
pub struct EmbeddedOptions {
    /// Memory for blocks that were read, in bytes; used only as far as blocks are read.
    pub cache_bytes: u64,
    /// Memory for rows that were written and are not in a table yet, in bytes; up to three times as much under load.
    pub memtable_bytes: u64,
    /// How much is checked at the start.
    pub verify: Verify,
    /// Opens a store whose last commits are lost, with the state before the first lost one. The damaged files are
    /// put aside.
    pub accept_loss: bool,
    /// Measures the age of transactions.
    pub clock: MonotonicClock,
    /// What goes wrong, for tests.
    pub faults: Arc<dyn Faults>,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 32 * 1024 * 1024,
            memtable_bytes: 16 * 1024 * 1024,
            verify: Verify::Full,
            accept_loss: false,
            clock: MonotonicClock::system(),
            faults: Arc::new(NoFaults),
        }
    }
}

/// Before every key of the engine's users, so that the engine can have rows of its own and the empty key is a key.
const ROW: u8 = 1;
/// The row that holds the [`CommitRecord`] of the last commit; written with every group.
const VERSION_KEY: &[u8] = b"\0version";

/// Full memtables that may wait to be written. fjall stops at four, and one commit fills at most two.
const SEALED_MEMTABLES: usize = 1;
/// Tables that may wait to be compacted; fjall slows down at twenty.
const UNSORTED_RUNS: usize = 17;
/// Between two looks at background work.
const BACKGROUND_PAUSE: Duration = Duration::from_millis(1);

/// What every batch says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CommitRecord {
    version: Version,
    /// fjall's sequence number of the batch is at least this. fjall keeps the number outside of the batch's checksum, and
    /// silently skips a batch whose number is too low.
    min_sequence: u64,
}

impl CommitRecord {
    fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.version.to_be_bytes());
        bytes[8..].copy_from_slice(&self.min_sequence.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, min_sequence) = bytes.split_first_chunk()?;
        Some(Self {
            version: Version::from_be_bytes(*version),
            min_sequence: u64::from_be_bytes(min_sequence.try_into().ok()?),
        })
    }
}

/// The writer's side.
pub(crate) struct DiskStorage {
    database: fjall::Database,
    rows: fjall::Keyspace,
    mark: Mark,
    /// The version of the last write, durable or not.
    written: Version,
    /// Given back last.
    _lock: LockFile,
}

/// The state after one group of commits.
#[derive(Clone)]
pub(crate) struct DiskSnapshot {
    snapshot: fjall::Snapshot,
    rows: fjall::Keyspace,
}

impl DiskStorage {
    pub(crate) fn write(&mut self, version: Version, changes: &Changes) -> Result<(), String> {
        self.wait_for_background_work()?;
        let mut batch = self.database.batch();
        let record = CommitRecord { version, min_sequence: self.database.seqno() };
        batch.insert(&self.rows, VERSION_KEY, record.encode());
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.rows, row_key(key), value.clone()),
                None => batch.remove(&self.rows, row_key(key)),
            }
        }
        batch.commit().map_err(|error| failed("write the journal", error))?;
        self.written = version;
        Ok(())
    }

    /// Makes everything written durable, and then remembers that it was.
    pub(crate) fn sync(&mut self) -> Result<(), String> {
        self.database
            .persist(PersistMode::SyncAll)
            .map_err(|error| failed("make the journal durable", error))?;
        self.mark
            .raise(self.written)
            .map_err(|error| format!("cannot write {}: {error}", self.mark.path().display()))
    }

    pub(crate) fn snapshot(&self) -> DiskSnapshot {
        DiskSnapshot { snapshot: self.database.snapshot(), rows: self.rows.clone() }
    }

    pub(crate) fn close(self) {
        if let Err(error) = self.mark.sync() {
            tracing::error!(%error, path = %self.mark.path().display(), "cannot make the mark durable");
        }
    }

    /// Waits until background work has caught up. fjall would wait too, but without noticing that this work has failed;
    /// so this begins early enough that fjall has no reason to.
    fn wait_for_background_work(&self) -> Result<(), String> {
        loop {
            self.database.persist(PersistMode::Buffer).map_err(|error| failed("write the journal", error))?;
            let tree = &self.rows.tree;
            if tree.sealed_memtable_count() <= SEALED_MEMTABLES && tree.l0_run_count() <= UNSORTED_RUNS {
                return Ok(());
            }
            thread::sleep(BACKGROUND_PAUSE);
        }
    }
}

impl DiskSnapshot {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.snapshot.get(&self.rows, row_key(key)).map(|value| value.map(Bytes::from)).map_err(read_failed)
    }

    pub(crate) fn keys(&self, start: &[u8], end: &[u8], visit: &mut dyn FnMut(Bytes)) -> Result<()> {
        for row in self.snapshot.range(&self.rows, row_key(start)..row_key(end)) {
            visit(Bytes::from(row.key().map_err(read_failed)?).slice(1..));
        }
        Ok(())
    }

    pub(crate) fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut rows = self.snapshot.range(&self.rows, row_key(start)..row_key(end));
        while let Some(row) = if reverse { rows.next_back() } else { rows.next() } {
            let (key, value) = row.into_inner().map_err(read_failed)?;
            let key = Bytes::from(key).slice(1..);
            if visit(key, Bytes::from(value))?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn row_key(key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(key.len() + 1);
    row.push(ROW);
    row.extend_from_slice(key);
    row
}

fn failed(what: &str, error: fjall::Error) -> String {
    match error {
        fjall::Error::Io(error) => format!("cannot {what}: {error}"),
        fjall::Error::Poisoned => format!("cannot {what}: an earlier write to the disk failed"),
        error => format!("cannot {what}: {error}"),
    }
}

fn read_failed(error: fjall::Error) -> Error {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            Error::Unavailable(format!("cannot read the store: {error}"))
        }
        error => Error::Corrupt(format!("a block of a table cannot be read: {error}")),
    }
}

/// The message for damage: which file, what is lost, the way out.
fn corrupt(path: &Path, lost: &str, way_out: &str) -> Error {
    Error::Corrupt(format!("{}: {lost}; to go on, {way_out}", path.display()))
}

fn unavailable(path: &Path, error: &std::io::Error) -> Error {
    Error::Unavailable(format!("{}: {error}", path.display()))
}
