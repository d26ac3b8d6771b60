//! The ordered storage under the embedded engine: somewhere to write a group of commits durably, and snapshots to read.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::disk::{DiskSnapshot, DiskStorage};
use super::memory::{MemorySnapshot, MemoryStorage};
use crate::{Result, Version};

/// What a group of commits changes: the last state of each key, `None` for removed.
pub(crate) type Changes = BTreeMap<Bytes, Option<Bytes>>;

/// A storage with one writer.
pub(crate) enum Storage {
    Memory(MemoryStorage),
    Disk(Box<DiskStorage>),
}

/// The state of the storage at one version; cheap to clone, outlives later writes.
#[derive(Clone)]
pub(crate) enum Snapshot {
    Memory(MemorySnapshot),
    Disk(DiskSnapshot),
}

impl Storage {
    /// Writes a group of commits. Nobody can see it before [`Storage::snapshot`] is asked for again.
    pub(crate) fn write(&mut self, version: Version, changes: &Changes) -> Result<(), String> {
        match self {
            Self::Memory(storage) => {
                storage.write(version, changes);
                Ok(())
            }
            Self::Disk(storage) => storage.write(version, changes),
        }
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self) -> Result<(), String> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Disk(storage) => storage.sync(),
        }
    }

    /// Leaves everything as a clean start wants it.
    pub(crate) fn close(self) {
        match self {
            Self::Memory(_) => {}
            Self::Disk(storage) => storage.close(),
        }
    }

    /// The state after the last write.
    pub(crate) fn snapshot(&self) -> Snapshot {
        match self {
            Self::Memory(storage) => Snapshot::Memory(storage.snapshot()),
            Self::Disk(storage) => Snapshot::Disk(storage.snapshot()),
        }
    }

    /// Snapshots of versions before `version` are not read any more.
    pub(crate) fn forget_before(&mut self, version: Version) {
        match self {
            Self::Memory(storage) => storage.forget_before(version),
            // fjall forgets what no open snapshot needs.
            Self::Disk(_) => {}
        }
    }
}

impl Snapshot {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        match self {
            Self::Memory(snapshot) => Ok(snapshot.get(key)),
            Self::Disk(snapshot) => snapshot.get(key),
        }
    }

    /// Calls `visit` with the keys of `[start, end)` in order; values that are kept apart are not read.
    pub(crate) fn keys(&self, start: &[u8], end: &[u8], visit: &mut dyn FnMut(Bytes)) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        match self {
            Self::Memory(snapshot) => snapshot.scan(start, end, false, &mut |key, _| {
                visit(key);
                Ok(ControlFlow::Continue(()))
            }),
            Self::Disk(snapshot) => snapshot.keys(start, end, visit),
        }
    }

    /// Calls `visit` with the rows of `[start, end)` in the asked direction until it breaks.
    pub(crate) fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        match self {
            Self::Memory(snapshot) => snapshot.scan(start, end, reverse, visit),
            Self::Disk(snapshot) => snapshot.scan(start, end, reverse, visit),
        }
    }
}
