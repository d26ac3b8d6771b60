//! Storage in memory: every key with its recent versions.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::storage::Changes;
use crate::buffer::bounds;
use crate::{Result, Version};

/// The versions of one key, oldest first; `None` is a removal.
type History = Vec<(Version, Option<Bytes>)>;

type Table = Arc<RwLock<BTreeMap<Bytes, History>>>;

/// The writer's side.
#[derive(Default)]
pub(crate) struct MemoryStorage {
    table: Table,
    version: Version,
    /// Keys that have history to forget, by the version that made it.
    superseded: VecDeque<(Version, Bytes)>,
}

/// The state at one version.
#[derive(Clone)]
pub(crate) struct MemorySnapshot {
    table: Table,
    version: Version,
}

impl MemoryStorage {
    pub(crate) fn write(&mut self, version: Version, changes: &Changes) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            let history = table.entry(key.clone()).or_default();
            history.push((version, value.clone()));
            if history.len() > 1 || value.is_none() {
                self.superseded.push_back((version, key.clone()));
            }
        }
        self.version = version;
    }

    pub(crate) fn snapshot(&self) -> MemorySnapshot {
        MemorySnapshot { table: self.table.clone(), version: self.version }
    }

    pub(crate) fn forget_before(&mut self, version: Version) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        while let Some((_, key)) = self.superseded.pop_front_if(|(superseded, _)| *superseded <= version) {
            let Some(history) = table.get_mut(&key) else { continue };
            // Readers at `version` need the last state at or before it, and nothing older.
            let needed = history.partition_point(|(at, _)| *at <= version).saturating_sub(1);
            history.drain(..needed);
            if let [(at, None)] = history[..]
                && at <= version
            {
                table.remove(&key);
            }
        }
    }
}

impl MemorySnapshot {
    pub(crate) fn get(&self, key: &[u8]) -> Option<Bytes> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(key).and_then(|history| at(history, self.version))
    }

    pub(crate) fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let rows = table.range::<[u8], _>(bounds(start, end));
        let mut each = |(key, history): (&Bytes, &History)| match at(history, self.version) {
            Some(value) => visit(key.clone(), value),
            None => Ok(ControlFlow::Continue(())),
        };
        let mut rows: Box<dyn Iterator<Item = _>> =
            if reverse { Box::new(rows.rev()) } else { Box::new(rows) };
        while let Some(row) = rows.next()
            && each(row)?.is_continue()
        {}
        Ok(())
    }
}

/// The value that a reader at `version` sees.
fn at(history: &History, version: Version) -> Option<Bytes> {
    history.iter().rev().find(|(at, _)| *at <= version).and_then(|(_, value)| value.clone())
}
