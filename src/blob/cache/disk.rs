//! Pages in files: one file for each, with a checksum, the least recently used removed first.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::PageId;

/// Octets of a checksum, at the end of each file.
const CHECKSUM: usize = 16;
/// Pages that may wait to be written: beyond them a page is not kept, since a disk that does not keep up must not take the memory.
const MAX_WRITES: usize = 32;

/// A folder of pages; clones share it.
#[derive(Clone)]
pub(super) struct DiskCache {
    folder: Arc<Path>,
    limit: u64,
    index: Arc<Mutex<Index>>,
    writes: Arc<Semaphore>,
}

/// What files there are, by name, and in which order they were used.
#[derive(Default)]
struct Index {
    files: HashMap<String, File>,
    by_use: BTreeMap<u64, String>,
    uses: u64,
    size: u64,
}

struct File {
    size: u64,
    used: u64,
}

impl Index {
    fn touch(&mut self, name: &str) -> bool {
        self.uses += 1;
        let Some(file) = self.files.get_mut(name) else { return false };
        if let Some(name) = self.by_use.remove(&file.used) {
            file.used = self.uses;
            self.by_use.insert(self.uses, name);
        }
        true
    }

    fn insert(&mut self, name: String, size: u64) {
        self.remove(&name);
        self.uses += 1;
        self.size += size;
        self.by_use.insert(self.uses, name.clone());
        self.files.insert(name, File { size, used: self.uses });
    }

    fn remove(&mut self, name: &str) -> bool {
        let Some(file) = self.files.remove(name) else { return false };
        self.by_use.remove(&file.used);
        self.size -= file.size;
        true
    }

    /// Takes out what was used least recently until the rest fits.
    fn shrink(&mut self, limit: u64) -> Vec<String> {
        let mut removed = Vec::new();
        while self.size > limit {
            let Some((_, name)) = self.by_use.pop_first() else { break };
            if let Some(file) = self.files.remove(&name) {
                self.size -= file.size;
            }
            removed.push(name);
        }
        removed
    }
}

impl DiskCache {
    /// Opens the folder, or makes it; only the service may read it. Files that are there are used again, the oldest removed first.
    pub(super) fn open(folder: &Path, limit: u64) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !metadata.is_file() {
                continue;
            }
            if name.ends_with(UNFINISHED) {
                std::fs::remove_file(entry.path())?;
                continue;
            }
            found.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), name, metadata.len()));
        }
        found.sort();
        let mut index = Index::default();
        found.into_iter().for_each(|(_, name, size)| index.insert(name, size));
        for name in index.shrink(limit) {
            std::fs::remove_file(folder.join(name))?;
        }
        Ok(Self {
            folder: folder.into(),
            limit,
            index: Arc::new(Mutex::new(index)),
            writes: Arc::new(Semaphore::new(MAX_WRITES)),
        })
    }

    /// Octets of all files.
    pub(super) fn size(&self) -> u64 {
        self.index().size
    }

    /// A page; a file that is damaged or gone is none.
    pub(super) async fn get(&self, id: &PageId) -> Option<Bytes> {
        let name = file_name(id);
        if !self.index().touch(&name) {
            return None;
        }
        let path = self.folder.join(&name);
        let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await.ok()?;
        let page = read.ok().and_then(|octets| checked(id, octets));
        if page.is_none() {
            tracing::warn!(object = &*id.object, page = id.number, "a page on disk is damaged or gone");
            self.remove(vec![name]);
        }
        page
    }

    /// Writes a page, later. A full disk or a slow one costs the page, nothing else.
    pub(super) fn insert(&self, id: &PageId, page: Bytes) {
        let size = (page.len() + CHECKSUM) as u64;
        if size > self.limit {
            return;
        }
        let Ok(permit) = Arc::clone(&self.writes).try_acquire_owned() else { return };
        let (cache, name, checksum) = (self.clone(), file_name(id), checksum(id, &page));
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let path = cache.folder.join(&name);
            let unfinished: PathBuf = cache.folder.join(name.clone() + UNFINISHED);
            let written = std::fs::write(&unfinished, [&page[..], &checksum].concat())
                .and_then(|()| std::fs::rename(&unfinished, &path));
            if let Err(error) = written {
                tracing::warn!(%error, file = %path.display(), "a page of an object cannot be kept on disk");
                return;
            }
            let removed = {
                let mut index = cache.index();
                index.insert(name, size);
                index.shrink(cache.limit)
            };
            cache.unlink(&removed);
        });
    }

    /// Removes all pages of an object.
    pub(super) fn forget(&self, object: &str) {
        let prefix = object_prefix(object);
        let names = self.index().files.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
        self.remove(names);
    }

    fn remove(&self, mut names: Vec<String>) {
        {
            let mut index = self.index();
            names.retain(|name| index.remove(name));
        }
        self.unlink(&names);
    }

    fn unlink(&self, names: &[String]) {
        for name in names {
            // One that somebody else removed is removed.
            let _ = std::fs::remove_file(self.folder.join(name));
        }
    }

    /// Waits until what was to be written is.
    #[cfg(test)]
    pub(super) async fn all_written(&self) {
        let all = u32::try_from(MAX_WRITES).unwrap_or(u32::MAX);
        drop(self.writes.acquire_many(all).await);
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a file that is being written ends with.
const UNFINISHED: &str = ".new";

/// Names of objects may have `/`: files are named by their hash.
fn object_prefix(object: &str) -> String {
    let hash = blake3::hash(object.as_bytes()).to_hex();
    format!("{}-", &hash[..32])
}

fn file_name(id: &PageId) -> String {
    format!("{}{}", object_prefix(&id.object), id.number)
}

/// Over the page and which one it is, so that no file passes for another.
fn checksum(id: &PageId, page: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(id.object.as_bytes()).update(&id.number.to_le_bytes()).update(page);
    let mut checksum = [0; CHECKSUM];
    checksum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM]);
    checksum
}

fn checked(id: &PageId, octets: Vec<u8>) -> Option<Bytes> {
    let mut page = Bytes::from(octets);
    let end = page.split_off(page.len().checked_sub(CHECKSUM)?);
    (end == checksum(id, &page)[..]).then_some(page)
}
