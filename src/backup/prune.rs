//! Removing snapshots that are not kept, and what only they needed.
//!
//! Alone in the repository, by its lock. The order makes it safe to die anywhere: snapshots first; then packs with what is needed of the
//! packs that are mostly not; then new indexes of all that stays; then the old indexes; then the old packs. Before each deletion it is looked whether the lock is still
//! this run's: it may have been paused.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::crypto::ChunkId;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::index::{Index, IndexedPack};
use crate::repository::pack::{PackId, PackedChunk};
use crate::repository::writer::Writer;
use crate::repository::{Fetch, Lock, Repository};
use crate::retention::Retention;
use crate::walk::Walk;

/// A pack of which less than this part is needed is written anew.
const NEEDED_PERCENT: u64 = 60;
/// Objects deleted in one call.
const DELETED: usize = 500;
/// Packs of one index object: some megabytes.
const INDEXED: usize = 1000;
/// Index objects beyond those that are needed, before they are written anew: each backup adds one.
const INDEXES: usize = 16;

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
            progress.check()?;
            lock.confirm().await?;
            self.delete_snapshots(&pruned.removed).await?;
            self.remove_unneeded(lock, progress, &mut pruned).await?;
        }
        Ok(pruned)
    }

    async fn remove_unneeded(&self, lock: Arc<Lock>, progress: &Progress, pruned: &mut Pruned) -> Result<()> {
        let index = self.index(progress).await?;
        let needed = self.needed(&lock, &index, progress).await?;
        let is_sparse = |(live, size): (u64, u64)| live * 100 < size * NEEDED_PERCENT;
        let packs = index.packs().iter().zip(index.live_octets(&needed));
        let (go, stay): (Vec<_>, Vec<_>) = packs
            .map(|(&(id, size), live)| (id, size, live))
            .partition(|&(_, size, live)| is_sparse((live, size)));
        let many = index.objects.len() > stay.len().div_ceil(INDEXED) + INDEXES;
        if go.is_empty() && !many && index.unindexed.is_empty() && !index.has_losses() {
            return Ok(());
        }
        progress.step("writing what is needed of old packs");
        let mut writer = Writer::new(self, Arc::clone(&lock), Index::default(), progress);
        for &(id, size, live) in &go {
            if live == 0 {
                continue;
            }
            for chunk in self.indexed(id, size, progress).await?.chunks {
                if needed.contains(&chunk.id) && index.find(chunk.id).is_some_and(|place| place.pack == id) {
                    let octets = self.chunk(&index, chunk.id, Fetch::Pack, progress).await?;
                    writer.add_body(chunk.id, &octets).await?;
                }
            }
            pruned.rewritten_packs += 1;
        }
        let mut indexed = writer.flush_unindexed().await?;
        for &(id, size, _) in &stay {
            lock.check()?;
            progress.check()?;
            indexed.push(self.indexed(id, size, progress).await?);
            if indexed.len() >= INDEXED {
                self.put_index(&std::mem::take(&mut indexed)).await?;
            }
        }
        self.put_index(&indexed).await?;
        pruned.deleted_packs = go.len() as u64;
        pruned.freed = go.iter().map(|(_, size, _)| size).sum::<u64>().saturating_sub(writer.written);
        let go: Vec<String> = go.iter().map(|(id, ..)| id.object_name()).collect();
        for names in index.objects.chunks(DELETED).chain(go.chunks(DELETED)) {
            progress.check()?;
            lock.confirm().await?;
            self.delete(names).await?;
        }
        Ok(())
    }

    /// Every chunk that a snapshot needs.
    async fn needed(&self, lock: &Lock, index: &Index, progress: &Progress) -> Result<HashSet<ChunkId>> {
        progress.step("looking for what is needed");
        let mut walk = Walk::new(self, index, progress);
        for id in self.snapshot_ids().await? {
            lock.check()?;
            let snapshot = match self.snapshot(&id).await {
                Err(Error::Damaged(problem)) => {
                    return Err(Error::Damaged(format!(
                        "{problem}, so nobody knows what it needs: put a copy of that object back, or delete it; nothing was removed but snapshots"
                    )));
                }
                snapshot => snapshot?,
            };
            walk.snapshot(&id, &snapshot).await?;
        }
        match walk.problems.first() {
            None => Ok(walk.needed),
            Some(problem) => Err(Error::Damaged(format!(
                "{problem} (`ekitei backup verify` lists all; nothing was removed but snapshots)"
            ))),
        }
    }

    /// A pack that stays, with its own list: the index may lack chunks that are in two packs.
    async fn indexed(&self, id: PackId, size: u64, progress: &Progress) -> Result<IndexedPack> {
        let chunks: Option<Vec<PackedChunk>> = self.list_of_pack(id, size, progress).await?;
        let chunks = chunks.ok_or_else(|| Error::Damaged(format!("{} has no list", id.object_name())))?;
        Ok(IndexedPack { id, size, chunks })
    }
}
