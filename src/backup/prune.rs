//! Removing snapshots that are not kept, and what only they needed.
//!
//! Alone in the repository, by its lock. The order makes it safe to die anywhere: snapshots first; then packs with what is needed of the
//! packs that are mostly not; then one index of all that stays; then the old indexes; then the old packs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::index::IndexedPack;
use crate::repository::pack::{PackId, PackedChunk};
use crate::repository::writer::Writer;
use crate::repository::{Fetch, Lock, Repository};
use crate::retention::Retention;
use crate::walk::Walk;

/// A pack of which less than this part is needed is written anew.
const NEEDED_PERCENT: u64 = 60;
/// Objects deleted in one call.
const DELETED: usize = 500;

/// What pruning did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Snapshots that were removed.
    pub removed: Vec<String>,
    /// Snapshots that are kept.
    pub kept: Vec<String>,
    /// Packs that were deleted, rewritten ones too.
    pub deleted_packs: u64,
    /// Packs of which a part was needed, and is in another now.
    pub rewritten_packs: u64,
    /// Octets that the repository has less.
    pub freed: u64,
}

impl Repository {
    /// Removes snapshots that `retention` does not keep, and what nobody needs any more. With `dry_run` only says which snapshots.
    ///
    /// # Errors
    /// [`Error::Invalid`] when nothing would be kept; [`Error::Damaged`] when something that is kept is damaged: then nothing but
    /// snapshots is removed, since it could be wrong about what is needed.
    pub async fn prune(
        &self,
        lock: Arc<Lock>,
        retention: &Retention,
        dry_run: bool,
        progress: &Progress,
    ) -> Result<Pruned> {
        if retention.is_empty() {
            return Err(Error::Invalid("say which snapshots to keep: nothing would be".to_owned()));
        }
        let snapshots = self.snapshots().await?;
        let keep = retention.keep(&snapshots);
        let (kept, removed) =
            snapshots.into_iter().map(|snapshot| snapshot.id).partition(|id| keep.contains(id));
        let mut pruned = Pruned { removed, kept, ..Pruned::default() };
        if !dry_run {
            self.delete_snapshots(&pruned.removed).await?;
            self.remove_unneeded(lock, progress, &mut pruned).await?;
        }
        Ok(pruned)
    }

    async fn remove_unneeded(&self, lock: Arc<Lock>, progress: &Progress, pruned: &mut Pruned) -> Result<()> {
        let index = self.index(progress).await?;
        progress.step("looking for what is needed");
        let mut walk = Walk::new(self, &index, progress);
        for id in self.snapshot_ids().await? {
            lock.check()?;
            let snapshot = self.snapshot(&id).await?;
            walk.snapshot(&id, &snapshot).await?;
        }
        if let Some(problem) = walk.problems.first() {
            return Err(Error::Damaged(format!(
                "{problem} (`ekitei backup verify` lists all; nothing was removed but snapshots)"
            )));
        }
        let needed = walk.needed;
        let old_indexes = index.objects.clone();
        let sizes: Vec<(PackId, u64)> = index.packs().to_vec();
        let mut by_pack = index.by_pack();
        let mut writer =
            Writer::new(self, Arc::clone(&lock), crate::repository::index::Index::default(), progress);
        let (mut stay, mut go) = (Vec::new(), Vec::new());
        progress.step("writing what is needed of old packs");
        for (pack, size) in sizes {
            lock.check()?;
            progress.check()?;
            let chunks = by_pack.remove(&pack).unwrap_or_default();
            let live: Vec<_> = chunks.iter().filter(|location| needed.contains(&location.chunk.id)).collect();
            let live_size: u64 = live.iter().map(|location| u64::from(location.chunk.stored)).sum();
            if live_size * 100 >= size * NEEDED_PERCENT {
                stay.push(self.indexed(pack, size, progress).await?);
                continue;
            }
            go.push(pack.object_name());
            pruned.freed += size;
            pruned.rewritten_packs += u64::from(!live.is_empty());
            for location in live {
                let octets = self.chunk(&index, location.chunk.id, Fetch::Pack, progress).await?;
                writer.add_body(location.chunk.id, &octets).await?;
            }
        }
        if go.is_empty() && old_indexes.len() <= 1 && index.unindexed.is_empty() {
            return Ok(());
        }
        stay.extend(writer.flush_unindexed().await?);
        self.put_index(&stay).await?;
        pruned.freed = pruned.freed.saturating_sub(writer.written);
        pruned.deleted_packs = go.len() as u64;
        for names in old_indexes.chunks(DELETED).chain(go.chunks(DELETED)) {
            lock.check()?;
            self.delete(names).await?;
        }
        Ok(())
    }

    /// A pack that stays, with its own list: the index may lack chunks that are in two packs.
    async fn indexed(&self, id: PackId, size: u64, progress: &Progress) -> Result<IndexedPack> {
        let chunks: Option<Vec<PackedChunk>> = self.list_of_pack(id, size, progress).await?;
        let chunks = chunks.ok_or_else(|| Error::Damaged(format!("{} has no list", id.object_name())))?;
        Ok(IndexedPack { id, size, chunks })
    }
}
