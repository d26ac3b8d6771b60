//! Adding to a repository: chunks that it does not have, in packs.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;

use super::index::{Index, IndexedPack};
use super::pack::PackBuilder;
use super::{Lock, Repository};
use crate::crypto::ChunkId;
use crate::document::{DocumentRef, PIECE, encode};
use crate::error::Result;
use crate::progress::Progress;

/// Packs after which what is in them is written to an index object.
const PACKS_PER_INDEX: usize = 64;

/// Fills packs, and knows what is in those that are written.
pub(crate) struct Writer {
    repository: Repository,
    lock: Arc<Lock>,
    pub(crate) index: Index,
    /// Apart, so that what a listing or a verification reads lies together.
    bodies: PackBuilder,
    documents: PackBuilder,
    /// Chunks in the two.
    pending: HashSet<ChunkId>,
    /// Written, and in no index object yet.
    unindexed: Vec<IndexedPack>,
    /// Octets written.
    pub(crate) written: u64,
    progress: Progress,
}

impl Writer {
    pub(crate) fn new(repository: &Repository, lock: Arc<Lock>, index: Index, progress: &Progress) -> Self {
        Self {
            bodies: PackBuilder::new(repository.keys()),
            documents: PackBuilder::new(repository.keys()),
            repository: repository.clone(),
            lock,
            index,
            pending: HashSet::new(),
            unindexed: Vec::new(),
            written: 0,
            progress: progress.clone(),
        }
    }

    pub(crate) fn repository(&self) -> &Repository {
        &self.repository
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether a chunk need not be added.
    pub(crate) fn has(&self, id: ChunkId) -> bool {
        self.index.contains(id) || self.pending.contains(&id)
    }

    /// Adds a piece of a body.
    pub(crate) async fn add_body(&mut self, id: ChunkId, raw: &[u8]) -> Result<()> {
        if self.has(id) {
            return Ok(());
        }
        self.bodies.add(id, raw)?;
        self.pending.insert(id);
        if self.bodies.is_full() {
            let full = std::mem::replace(&mut self.bodies, PackBuilder::new(self.repository.keys()));
            self.write(full).await?;
        }
        Ok(())
    }

    /// Adds a document; one that is there is not written again.
    pub(crate) async fn add_document<T: Serialize>(&mut self, document: &T) -> Result<DocumentRef> {
        let octets = encode(document);
        let mut pieces = Vec::new();
        for piece in octets.chunks(usize::try_from(PIECE).unwrap_or(usize::MAX)) {
            let id = self.repository.keys().document_chunk(piece);
            pieces.push(id);
            if self.has(id) {
                continue;
            }
            self.documents.add(id, piece)?;
            self.pending.insert(id);
            if self.documents.is_full() {
                let full = std::mem::replace(&mut self.documents, PackBuilder::new(self.repository.keys()));
                self.write(full).await?;
            }
        }
        Ok(DocumentRef(pieces))
    }

    async fn write(&mut self, pack: PackBuilder) -> Result<()> {
        if pack.is_empty() {
            return Ok(());
        }
        self.progress.check()?;
        self.lock.check()?;
        let (id, octets, chunks) = pack.finish()?;
        let size = octets.len() as u64;
        self.repository.put(&id.object_name(), octets).await?;
        self.count(size);
        for chunk in &chunks {
            self.pending.remove(&chunk.id);
        }
        let pack = IndexedPack { id, size, chunks };
        self.index.add(&pack);
        self.unindexed.push(pack);
        if self.unindexed.len() >= PACKS_PER_INDEX {
            self.write_index().await?;
        }
        Ok(())
    }

    async fn write_index(&mut self) -> Result<()> {
        if !self.unindexed.is_empty() {
            let size = self.repository.put_index(&self.unindexed).await?;
            self.count(size);
            self.unindexed.clear();
        }
        Ok(())
    }

    fn count(&mut self, octets: u64) {
        self.written += octets;
        self.progress.written(octets);
    }

    /// Writes what is pending: after that, everything that was added is durable.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        self.write_packs().await?;
        self.write_index().await
    }

    /// Writes what is pending; returns the packs that no index object has yet, for one that the caller writes.
    pub(crate) async fn flush_unindexed(&mut self) -> Result<Vec<IndexedPack>> {
        self.write_packs().await?;
        Ok(std::mem::take(&mut self.unindexed))
    }

    /// Sees to it that a document that was added can be read.
    pub(crate) async fn settle(&mut self, document: &DocumentRef) -> Result<()> {
        if document.0.iter().any(|piece| self.pending.contains(piece)) {
            let documents = std::mem::replace(&mut self.documents, PackBuilder::new(self.repository.keys()));
            self.write(documents).await?;
        }
        Ok(())
    }

    async fn write_packs(&mut self) -> Result<()> {
        let empty = || PackBuilder::new(self.repository.keys());
        let (bodies, documents) = (empty(), empty());
        let bodies = std::mem::replace(&mut self.bodies, bodies);
        let documents = std::mem::replace(&mut self.documents, documents);
        self.write(bodies).await?;
        self.write(documents).await
    }
}
