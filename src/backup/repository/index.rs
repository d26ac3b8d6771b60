//! What is in which pack: in memory, about 60 octets for each chunk.
//!
//! Index objects only save reading the list of every pack: a pack that none of them has is asked itself, so an index that is lost or damaged, or was
//! not written before a crash, loses nothing.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::pack::{PackId, PackedChunk};
use crate::crypto::ChunkId;

/// A pack in an index object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IndexedPack {
    pub(crate) id: PackId,
    pub(crate) size: u64,
    pub(crate) chunks: Vec<PackedChunk>,
}

/// Where a chunk is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Location {
    pub(crate) pack: PackId,
    /// Its place in the list of the pack.
    pub(crate) number: u32,
    pub(crate) chunk: PackedChunk,
}

/// Where a chunk is, in the least room.
#[derive(Clone, Copy)]
struct Place {
    pack: u32,
    number: u32,
    offset: u32,
    stored: u32,
    raw: u32,
}

/// Everything that is in the packs of a repository.
#[derive(Default)]
pub(crate) struct Index {
    packs: Vec<(PackId, u64)>,
    chunks: HashMap<ChunkId, Place>,
    /// Chunks of packs that an index object has and the store has not.
    lost: HashMap<ChunkId, PackId>,
    lost_packs: HashSet<PackId>,
    /// What is wrong, in words.
    pub(crate) problems: Vec<String>,
    /// The index objects that were read.
    pub(crate) objects: Vec<String>,
    /// Packs that no index object has.
    pub(crate) unindexed: Vec<PackId>,
    /// Packs that do not tell what is in them.
    pub(crate) unreadable: usize,
}

impl Index {
    /// Adds a pack that is in the store.
    pub(crate) fn add(&mut self, pack: &IndexedPack) {
        let number = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        self.packs.push((pack.id, pack.size));
        for (place, chunk) in (0..).zip(&pack.chunks) {
            let PackedChunk { id, offset, stored, raw } = *chunk;
            self.chunks.entry(id).or_insert(Place { pack: number, number: place, offset, stored, raw });
        }
    }

    /// Notes a pack that is gone.
    pub(crate) fn add_lost(&mut self, pack: &IndexedPack) {
        self.lost_packs.insert(pack.id);
        self.lost.extend(pack.chunks.iter().map(|chunk| (chunk.id, pack.id)));
    }

    pub(crate) fn contains(&self, id: ChunkId) -> bool {
        self.chunks.contains_key(&id)
    }

    pub(crate) fn find(&self, id: ChunkId) -> Option<Location> {
        let Place { pack, number, offset, stored, raw } = *self.chunks.get(&id)?;
        let (pack, _) = *self.packs.get(pack as usize)?;
        Some(Location { pack, number, chunk: PackedChunk { id, offset, stored, raw } })
    }

    /// Why a chunk cannot be found, in words.
    pub(crate) fn why_missing(&self, id: ChunkId) -> String {
        match self.lost.get(&id) {
            Some(pack) => format!("{} is missing", pack.object_name()),
            None => format!("no pack has the chunk {id}"),
        }
    }

    /// Whether something that was written is gone: what snapshots need is not all there.
    pub(crate) fn has_losses(&self) -> bool {
        self.unreadable > 0 || !self.lost_packs.is_empty()
    }

    /// Packs with their sizes.
    pub(crate) fn packs(&self) -> &[(PackId, u64)] {
        &self.packs
    }

    /// Packs that are gone.
    pub(crate) fn lost_packs(&self) -> impl Iterator<Item = PackId> {
        self.lost_packs.iter().copied()
    }

    /// How many chunks there are.
    pub(crate) fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Of each pack, in the order of [`Index::packs`], the octets of chunks that are needed; of a chunk that is in two packs, in one of them.
    pub(crate) fn live_octets(&self, needed: &HashSet<ChunkId>) -> Vec<u64> {
        let mut live = vec![0; self.packs.len()];
        for (_, place) in self.chunks.iter().filter(|(id, _)| needed.contains(*id)) {
            if let Some(live) = live.get_mut(place.pack as usize) {
                *live += u64::from(place.stored);
            }
        }
        live
    }
}
