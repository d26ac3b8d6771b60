//! A repository: snapshots, packs and locks in an object store.
//!
//! | object | what it is |
//! |---|---|
//! | `repository` | [`RepositoryDocument`], the only one that is not encrypted: it has the wrapped key |
//! | `packs/<id>` | chunks, see [`pack`] |
//! | `index/<id>` | lists of packs, see [`index`]; may be lost |
//! | `snapshots/<time>-<random>` | a `Snapshot`; written last, when all that it needs is there |
//! | `locks/<random>` | see [`lock`] |
//!
//! Objects are written once (`repository` again when the operator's key is replaced: its own key stays). What a crash leaves behind are packs that no snapshot needs; the next run uses what is in them, and pruning removes
//! the rest.

pub(crate) mod index;
mod lock;
pub(crate) mod pack;
pub(crate) mod writer;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{ObjectInfo, ObjectStore};
use ekitei_kv::clock::SharedClock;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::crypto::{ChunkId, Keys, OperatorKeys, WrappedKey};
use crate::document::{DocumentRef, decode, encode};
use crate::error::{Error, Result};
use crate::progress::Progress;
use index::{Index, IndexedPack};
pub use lock::{Holder, Lock, Purpose};
use pack::PackId;

/// The object with the wrapped key.
const REPOSITORY: &str = "repository";
/// Objects listed at a time.
const LISTED: usize = 1000;
/// Octets at the end of a pack that are read first, for its list.
const TAIL: u64 = 64 << 10;
/// Whole packs kept in memory by [`Repository::chunk`].
const KEPT_PACKS: usize = 4;
const INDEX_KIND: &str = "ekitei backup index";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RepositoryDocument {
    id: [u8; 16],
    key: WrappedKey,
}

/// An open repository: cheap to clone.
#[derive(Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

struct Inner {
    objects: Arc<dyn ObjectStore>,
    /// Which repository it is.
    id: [u8; 16],
    keys: Keys,
    clock: SharedClock,
    packs: Mutex<VecDeque<(PackId, Bytes)>>,
}

/// How the octets of a chunk are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetch {
    /// The chunk alone.
    Alone,
    /// The whole pack, since its other chunks are needed next.
    Pack,
}

impl Repository {
    /// Opens the repository in a store, or makes it if nothing of it is there and `create`.
    ///
    /// # Errors
    /// [`Error::NoRepository`], [`Error::WrongKey`], [`Error::Key`]; [`Error::Damaged`] when its key is missing, but not what is under it.
    pub async fn open(
        objects: Arc<dyn ObjectStore>,
        operator: &OperatorKeys,
        clock: SharedClock,
        create: bool,
    ) -> Result<Self> {
        let found = match objects.get(REPOSITORY, 0..u64::MAX).await {
            Ok(octets) => Some(octets),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let octets = match found {
            Some(octets) => octets,
            None => {
                check_empty(&*objects).await?;
                if !create {
                    return Err(Error::NoRepository);
                }
                let document =
                    RepositoryDocument { id: rand::random(), key: Keys::generate().wrap(operator)? };
                objects.put(REPOSITORY, vec![encode(&document).into()]).await?;
                // Another one may have made it at the same time: what is there now counts.
                objects.get(REPOSITORY, 0..u64::MAX).await?
            }
        };
        let document: RepositoryDocument = decode(&octets, "the repository")?;
        let (keys, is_current) = Keys::unwrap(&document.key, operator)?;
        if !is_current {
            let document = RepositoryDocument { id: document.id, key: keys.wrap(operator)? };
            objects.put(REPOSITORY, vec![encode(&document).into()]).await?;
        }
        let id = document.id;
        Ok(Self { inner: Arc::new(Inner { objects, id, keys, clock, packs: Mutex::default() }) })
    }

    /// Makes sure that nobody made another repository in its place since it was opened, as two do that make it at the same time.
    pub(crate) async fn is_still_the_same(&self) -> Result<()> {
        let octets = self.get(REPOSITORY, 0..u64::MAX).await?;
        let document: RepositoryDocument = decode(&octets, "the repository")?;
        if document.id == self.inner.id { Ok(()) } else { Err(Error::LockLost) }
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    pub(crate) fn now(&self) -> Duration {
        self.inner.clock.now()
    }

    pub(crate) async fn put(&self, name: &str, octets: Bytes) -> Result<()> {
        Ok(self.inner.objects.put(name, vec![octets]).await?)
    }

    pub(crate) async fn put_sealed(&self, kind: &str, name: &str, plain: Vec<u8>) -> Result<u64> {
        let sealed = self.inner.keys.seal_object(kind, name, plain)?;
        let length = sealed.len() as u64;
        self.put(name, sealed.into()).await?;
        Ok(length)
    }

    pub(crate) async fn get_sealed(&self, kind: &str, name: &str) -> Result<Vec<u8>> {
        let sealed = self.inner.objects.get(name, 0..u64::MAX).await?;
        let opened = self.inner.keys.open_object(kind, name, &sealed);
        opened.ok_or_else(|| Error::Damaged(format!("{name} is not as it was written")))
    }

    /// Whether there is an object.
    pub(crate) async fn has(&self, name: &str) -> Result<bool> {
        match self.inner.objects.head(name).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn get(&self, name: &str, range: std::ops::Range<u64>) -> Result<Bytes> {
        Ok(self.inner.objects.get(name, range).await?)
    }

    pub(crate) async fn delete(&self, names: &[String]) -> Result<()> {
        Ok(self.inner.objects.delete_many(names).await?)
    }

    /// Objects whose names begin so, at most `limit`.
    pub(crate) async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<ObjectInfo>> {
        let (mut all, mut after) = (Vec::new(), String::new());
        while all.len() < limit {
            let found = self.inner.objects.list(prefix, &after, LISTED.min(limit)).await?;
            let Some(last) = found.last() else { break };
            after.clone_from(&last.name);
            all.extend(found);
        }
        Ok(all)
    }

    /// Reads what is in which pack.
    ///
    /// # Errors
    /// When the store fails. What is damaged is noted in [`Index::problems`].
    pub(crate) async fn index(&self, progress: &Progress) -> Result<Index> {
        progress.step("reading the index of the repository");
        let mut index = Index::default();
        // Before the packs: what another run adds meanwhile is then a pack without an index, and not the other way round.
        let indexes = self.list("index/", usize::MAX).await?;
        let listed = self.list("packs/", usize::MAX).await?;
        let mut packs: BTreeMap<PackId, u64> =
            listed.iter().filter_map(|info| Some((PackId::of_object(&info.name)?, info.size))).collect();
        let mut added = HashSet::new();
        for info in indexes {
            progress.read(info.size);
            let indexed: Vec<IndexedPack> = match self.get_sealed(INDEX_KIND, &info.name).await {
                Ok(octets) => decode(&octets, "an index")?,
                Err(Error::Damaged(what)) => {
                    index.problems.push(format!("{what} (no harm: every pack tells what is in it)"));
                    index.objects.push(info.name);
                    continue;
                }
                Err(error) => return Err(error),
            };
            index.objects.push(info.name);
            for pack in indexed {
                match packs.remove(&pack.id) {
                    Some(size) if size == pack.size => {
                        added.insert(pack.id);
                        index.add(&pack);
                    }
                    Some(size) => {
                        index.problems.push(format!(
                            "{} has {size} octets, and was written with {}",
                            pack.id.object_name(),
                            pack.size
                        ));
                        index.add_lost(&pack);
                    }
                    None if added.contains(&pack.id) => {}
                    None => index.add_lost(&pack),
                }
            }
        }
        for (pack, size) in packs {
            index.unindexed.push(pack);
            match self.list_of_pack(pack, size, progress).await? {
                Some(chunks) => index.add(&IndexedPack { id: pack, size, chunks }),
                None => {
                    index.problems.push(format!("{} is damaged: it has no list", pack.object_name()));
                    index.unreadable += 1;
                }
            }
        }
        Ok(index)
    }

    /// What a pack says is in it; `None` if it is damaged.
    pub(crate) async fn list_of_pack(
        &self,
        pack: PackId,
        size: u64,
        progress: &Progress,
    ) -> Result<Option<Vec<pack::PackedChunk>>> {
        let name = pack.object_name();
        let mut tail = self.get(&name, size.saturating_sub(TAIL)..size).await?;
        let Some(length) = pack::list_length(size, &tail) else { return Ok(None) };
        if length > tail.len() as u64 {
            tail = self.get(&name, size - length..size).await?;
        }
        progress.read(tail.len() as u64);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(begin) = tail.len().checked_sub(length) else { return Ok(None) };
        Ok(pack::read_list(self.keys(), pack, &tail[begin..]))
    }

    /// The octets of a chunk.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the pack.
    pub(crate) async fn chunk(
        &self,
        index: &Index,
        id: ChunkId,
        fetch: Fetch,
        progress: &Progress,
    ) -> Result<Bytes> {
        let location = index.find(id).ok_or_else(|| Error::Damaged(index.why_missing(id)))?;
        let name = location.pack.object_name();
        let begin = u64::from(location.chunk.offset);
        let end = begin + u64::from(location.chunk.stored);
        let kept = self.kept(location.pack);
        let stored = match (kept, fetch) {
            (Some(pack), _) => slice(&pack, begin, end),
            (None, Fetch::Alone) => {
                let stored = self.of_pack(&name, begin..end).await?;
                progress.read(stored.len() as u64);
                stored
            }
            (None, Fetch::Pack) => {
                let pack = self.of_pack(&name, 0..u64::MAX).await?;
                progress.read(pack.len() as u64);
                self.keep(location.pack, pack.clone());
                slice(&pack, begin, end)
            }
        };
        pack::read_chunk(self.keys(), location.pack, location.number, &location.chunk, &stored)
            .ok_or_else(|| Error::Damaged(format!("{name}: a chunk of it is not as it was written")))
    }

    /// Octets of a pack; one that is gone is damage.
    async fn of_pack(&self, name: &str, range: std::ops::Range<u64>) -> Result<Bytes> {
        match self.get(name, range).await {
            Err(Error::Objects(error)) if error.is_not_found() => {
                Err(Error::Damaged(format!("{name} is missing")))
            }
            found => found,
        }
    }

    fn kept(&self, pack: PackId) -> Option<Bytes> {
        let packs = self.inner.packs.lock().unwrap_or_else(PoisonError::into_inner);
        packs.iter().find(|(id, _)| *id == pack).map(|(_, octets)| octets.clone())
    }

    fn keep(&self, pack: PackId, octets: Bytes) {
        let mut packs = self.inner.packs.lock().unwrap_or_else(PoisonError::into_inner);
        packs.push_front((pack, octets));
        packs.truncate(KEPT_PACKS);
    }

    /// A document.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub(crate) async fn document<T: DeserializeOwned>(
        &self,
        index: &Index,
        document: &DocumentRef,
        what: &'static str,
        fetch: Fetch,
        progress: &Progress,
    ) -> Result<T> {
        let mut octets = Vec::new();
        for &chunk in &document.0 {
            octets.extend_from_slice(&self.chunk(index, chunk, fetch, progress).await?);
        }
        decode(&octets, what)
    }

    /// Writes an index object of packs.
    pub(crate) async fn put_index(&self, packs: &[IndexedPack]) -> Result<u64> {
        let name = format!("index/{:032x}", rand::random::<u128>());
        self.put_sealed(INDEX_KIND, &name, encode(&packs)).await
    }
}

/// Without its key a repository is worth nothing, so no other is made in its place: the store may only have answered wrongly, or too late.
async fn check_empty(objects: &dyn ObjectStore) -> Result<()> {
    for prefix in ["snapshots/", "packs/"] {
        if let Some(found) = objects.list(prefix, "", 1).await?.first() {
            return Err(Error::Damaged(format!(
                "the object `{REPOSITORY}`, which has its key, is missing, but there is {}: put it back from a copy or an older version of the \
                 bucket; for a new repository give backup.prefix or backup.path another value",
                found.name
            )));
        }
    }
    Ok(())
}

fn slice(octets: &Bytes, begin: u64, end: u64) -> Bytes {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(octets.len());
    octets.slice(place(begin)..place(end))
}
