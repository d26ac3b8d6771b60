//! Pages in files: one file for each, with a checksum, the least recently used removed first.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ekitei_telemetry::Gauge;
use tokio::sync::Semaphore;

use super::PageId;
use super::folder::PageFolder;

/// Octets of a checksum, at the end of each file.
const CHECKSUM: usize = 16;
/// Pages that may wait to be written: beyond them a page is not kept, since a disk that does not keep up must not take the memory.
const MAX_WRITES: usize = 32;

/// A folder of pages; clones share it.
#[derive(Clone)]
pub(super) struct DiskCache {
    folder: Arc<dyn PageFolder>,
    limit: u64,
    index: Arc<Mutex<Index>>,
    writes: Arc<Semaphore>,
    /// The last page could not be written, which was said once.
    fails: Arc<AtomicBool>,
    /// Octets of all files.
    shown: Gauge,
}

/// What files there are, by name, and in which order they were used.
#[derive(Default)]
struct Index {
    files: HashMap<String, File>,
    by_use: BTreeMap<u64, String>,
    uses: u64,
    size: u64,
    /// Times that something was forgotten: a page that was being written then may be one of it.
    forgotten: u64,
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
    /// A cache in this folder. Pages that are there are used again, the oldest removed first; other files are somebody else's.
    pub(super) fn open(folder: Arc<dyn PageFolder>, limit: u64, shown: Gauge) -> io::Result<Self> {
        let mut found = folder.list()?;
        found.retain(|file| is_of_a_page(&file.name));
        found.sort();
        let mut index = Index::default();
        found.into_iter().for_each(|file| index.insert(file.name, file.size));
        index.shrink(limit).iter().for_each(|name| folder.remove(name));
        let cache = Self {
            folder,
            limit,
            index: Arc::new(Mutex::new(index)),
            writes: Arc::new(Semaphore::new(MAX_WRITES)),
            fails: Arc::default(),
            shown,
        };
        cache.show(&cache.index());
        Ok(cache)
    }

    fn show(&self, index: &Index) {
        self.shown.set(i64::try_from(index.size).unwrap_or(i64::MAX));
    }

    /// Octets of all files.
    #[cfg(test)]
    pub(super) fn size(&self) -> u64 {
        self.index().size
    }

    /// A page; a file that is damaged or gone is none.
    pub(super) async fn get(&self, id: &PageId) -> Option<Bytes> {
        let name = file_name(id);
        if !self.index().touch(&name) {
            return None;
        }
        let page = match self.folder.read(&name).await {
            Ok(octets) => checked(id, octets).ok_or("damaged"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err("gone"),
            Err(_) => Err("unreadable"),
        };
        page.inspect_err(|what| {
            tracing::warn!(object = &*id.object, page = id.number, "a page on disk is {what}");
            self.remove(vec![name]);
        })
        .ok()
    }

    /// Writes a page, later. A full disk or a slow one costs the page, nothing else.
    pub(super) fn insert(&self, id: &PageId, page: Bytes) {
        let size = (page.len() + CHECKSUM) as u64;
        if size > self.limit {
            return;
        }
        let Ok(permit) = Arc::clone(&self.writes).try_acquire_owned() else { return };
        let (cache, name, checksum) = (self.clone(), file_name(id), checksum(id, &page));
        let forgotten = self.index().forgotten;
        tokio::spawn(async move {
            let _permit = permit;
            let written = cache.folder.write(&name, [&page[..], &checksum].concat()).await;
            let failed_before = cache.fails.swap(written.is_err(), Ordering::Relaxed);
            if let Err(error) = written {
                if !failed_before {
                    tracing::warn!(%error, file = name, "pages of objects cannot be kept on disk");
                }
                return;
            }
            let removed = {
                let mut index = cache.index();
                let mut removed = Vec::new();
                if index.forgotten == forgotten {
                    index.insert(name, size);
                } else {
                    // It may be of what was forgotten meanwhile.
                    index.remove(&name);
                    removed.push(name);
                }
                removed.extend(index.shrink(cache.limit));
                cache.show(&index);
                removed
            };
            cache.unlink(&removed);
        });
    }

    /// Removes all pages of an object.
    pub(super) fn forget(&self, object: &str) {
        let prefix = object_prefix(object);
        let names = {
            let mut index = self.index();
            index.forgotten += 1;
            index.files.keys().filter(|name| name.starts_with(&prefix)).cloned().collect()
        };
        self.remove(names);
    }

    fn remove(&self, mut names: Vec<String>) {
        {
            let mut index = self.index();
            names.retain(|name| index.remove(name));
            self.show(&index);
        }
        self.unlink(&names);
    }

    fn unlink(&self, names: &[String]) {
        names.iter().for_each(|name| self.folder.remove(name));
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

/// Digits of a hash in the name of a file.
const HASH: usize = 32;

/// Names of objects may have `/`: files are named by their hash.
fn object_prefix(object: &str) -> String {
    let hash = blake3::hash(object.as_bytes()).to_hex();
    format!("{}-", &hash[..HASH])
}

/// Whether a file may be that of a page.
pub(super) fn is_of_a_page(name: &str) -> bool {
    name.split_once('-').is_some_and(|(hash, number)| {
        hash.len() == HASH
            && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
            && !number.is_empty()
            && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

pub(super) fn file_name(id: &PageId) -> String {
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
