//! An object store in a directory: one file an object. The parts of its name before the last `/` are folders; below them are two
//! levels of folders by the last two octets of the name (the first ones are the time, and would put all of a day into one
//! folder), with names of two characters, which no part of an object's name has.

use std::collections::BinaryHeap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::object_error::ObjectError;
use crate::object_store::{ObjectFuture, ObjectInfo, ObjectStore, check_name};

/// Files that are being written; no object's name begins with a dot.
const INCOMING: &str = ".incoming";
/// A file that was being written for this long is what a crash left.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// A directory of objects.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    root: PathBuf,
}

impl DirectoryStore {
    /// Opens a directory, and creates it if it is not there.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        fs::create_dir_all(root.join(INCOMING))?;
        remove_abandoned(&root.join(INCOMING))?;
        Ok(Self { root })
    }

    fn path(&self, name: &str) -> Result<PathBuf, ObjectError> {
        check_name(name)?;
        let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
        let (rest, end) = last.split_at(last.len() - 2);
        Ok(self.root.join(folder).join(end).join(&rest[rest.len() - 2..]).join(last))
    }
}

impl ObjectStore for DirectoryStore {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        Box::pin(async move {
            let (root, path) = (self.root.clone(), self.path(name)?);
            blocking(move || write_durably(&root, &path, &pieces)).await
        })
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
        Box::pin(async move {
            let path = self.path(name)?;
            blocking(move || {
                let mut file = File::open(path)?;
                let range = range.start..range.end.min(file.metadata()?.len());
                let length = range.end.saturating_sub(range.start);
                file.seek(SeekFrom::Start(range.start))?;
                let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
                file.take(length).read_to_end(&mut bytes)?;
                Ok(bytes.into())
            })
            .await
        })
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        Box::pin(async move {
            let (path, name) = (self.path(name)?, name.to_owned());
            blocking(move || info(name, &path)).await
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        Box::pin(async move {
            let path = self.path(name)?;
            blocking(move || match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            })
            .await
        })
    }

    /// Looks at the names of all objects in the folder of the prefix each time.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> ObjectFuture<'a, Vec<ObjectInfo>> {
        Box::pin(async move {
            let (root, prefix, after) = (self.root.clone(), prefix.to_owned(), after.to_owned());
            blocking(move || list(&root, &prefix, &after, limit)).await
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ObjectError> {
    let result = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?;
    result.map_err(ObjectError::from)
}

fn info(name: String, path: &Path) -> io::Result<ObjectInfo> {
    let metadata = fs::metadata(path)?;
    let modified = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(ObjectInfo { name, size: metadata.len(), modified })
}

fn list(root: &Path, prefix: &str, after: &str, limit: usize) -> io::Result<Vec<ObjectInfo>> {
    let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    if folder.split('/').any(|part| part.starts_with('.')) {
        return Ok(Vec::new()); // no object is called so
    }
    // The smallest names so far, the largest of them on top.
    let mut names = BinaryHeap::new();
    walk(&root.join(folder), folder, &mut |name| {
        if name.starts_with(prefix) && name.as_str() > after {
            names.push(name);
            if names.len() > limit {
                names.pop();
            }
        }
    })?;
    let mut found = Vec::with_capacity(names.len());
    for name in names.into_sorted_vec() {
        match (DirectoryStore { root: root.to_owned() }).path(&name).map(|path| info(name, &path)) {
            Ok(Ok(info)) => found.push(info),
            Ok(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {} // deleted meanwhile, or somebody else's file
        }
    }
    Ok(found)
}

/// Calls `found` with the names of all objects below a folder whose objects' names begin with `name`.
fn walk(folder: &Path, name: &str, found: &mut dyn FnMut(String)) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let file = entry.file_name();
        let Some(part) = file.to_str().filter(|part| !part.starts_with('.')) else { continue };
        let below = || if name.is_empty() { part.to_owned() } else { format!("{name}/{part}") };
        if !entry.file_type()?.is_dir() {
            found(below());
        } else if part.len() == 2 {
            walk(&entry.path(), name, found)?;
        } else {
            walk(&entry.path(), &below(), found)?;
        }
    }
    Ok(())
}

/// Writes a file so that it is there in whole or not at all, and stays: a name of its own, so that two who write the same object do
/// not meet; fsync; rename; fsync of every directory that got a new name.
fn write_durably(root: &Path, path: &Path, pieces: &[Bytes]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(root);
    create_folders(root, folder)?;
    let temporary = root.join(INCOMING).join(format!("{:032x}", rand::random::<u128>()));
    let written = write_file(&temporary, pieces).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The error that is returned says more than one of this.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_folder(folder)
}

fn write_file(path: &Path, pieces: &[Bytes]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    for piece in pieces {
        file.write_all(piece)?;
    }
    file.sync_all()
}

fn remove_abandoned(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age > ABANDONED {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn create_folders(root: &Path, folder: &Path) -> io::Result<()> {
    if folder == root || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(root);
    create_folders(root, parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(parent),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::object_error::ObjectErrorKind;

    #[tokio::test]
    async fn an_object_is_read_in_pieces_and_deleted_twice() {
        let folder = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(folder.path().join("objects")).unwrap();
        store.put("0123abcd", vec!["hello ".into(), "world".into()]).await.unwrap();
        assert_eq!(store.get("0123abcd", 3..8).await.unwrap(), "lo wo");
        assert_eq!(store.get("0123abcd", 9..99).await.unwrap(), "ld");
        assert_eq!(store.get("0123abcd", 99..100).await.unwrap(), "");
        let info = store.head("0123abcd").await.unwrap();
        assert_eq!((info.name.as_str(), info.size), ("0123abcd", 11));
        assert!(SystemTime::UNIX_EPOCH + info.modified > SystemTime::now() - Duration::from_secs(60));
        store.delete("0123abcd").await.unwrap();
        store.delete("0123abcd").await.unwrap();
        let kind = ObjectErrorKind::NotFound;
        assert_eq!(store.get("0123abcd", 0..1).await.unwrap_err().kind(), kind);
        assert_eq!(store.head("0123abcd").await.unwrap_err().kind(), kind);
    }

    #[tokio::test]
    async fn objects_are_listed_in_the_order_of_their_names_whatever_folders_they_are_in() {
        let folder = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(folder.path()).unwrap();
        let names =
            ["0000aaaa", "0000zzbb", "segments/0001ab", "segments/0002aa", "segments/more/0000", "segmentsx"];
        for name in names.iter().rev() {
            store.put(name, vec![name.to_string().into()]).await.unwrap();
        }
        let listed = async |prefix, after, limit| {
            let found = store.list(prefix, after, limit).await.unwrap();
            found.into_iter().map(|info| info.name).collect::<Vec<_>>()
        };
        assert_eq!(listed("", "", 100).await, names);
        assert_eq!(listed("", "0000zzbb", 2).await, names[2..4]);
        assert_eq!(listed("segments/", "", 100).await, names[2..5]);
        assert_eq!(listed("segments/0001", "", 100).await, names[2..3]);
        assert_eq!(listed("segments", "segments/0002aa", 100).await, names[4..6]);
        assert!(listed("nothing/", "", 100).await.is_empty());
        assert!(listed("../", "", 100).await.is_empty());
        assert_eq!(store.list("0000a", "", 1).await.unwrap()[0].size, 8);
    }

    #[tokio::test]
    async fn two_who_write_the_same_object_at_once_both_succeed() {
        let folder = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(folder.path()).unwrap();
        let piece = Bytes::from(vec![7; 1 << 20]);
        let (one, other) = tokio::join!(
            store.put("segments/0001ab", vec![piece.clone()]),
            store.put("segments/0001ab", vec![piece.clone()])
        );
        one.unwrap();
        other.unwrap();
        assert_eq!(store.get("segments/0001ab", 0..u64::MAX).await.unwrap(), piece);
        assert_eq!(fs::read_dir(folder.path().join(INCOMING)).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_a_crash_left_half_written_is_removed_a_day_later() {
        let folder = tempfile::tempdir().unwrap();
        let incoming = folder.path().join(INCOMING);
        fs::create_dir(&incoming).unwrap();
        let (old, new) = (incoming.join("old"), incoming.join("new"));
        File::create(&old).unwrap().set_modified(SystemTime::now() - ABANDONED * 2).unwrap();
        File::create(&new).unwrap();
        DirectoryStore::open(folder.path()).unwrap();
        assert!(!old.exists() && new.exists());
    }

    #[tokio::test]
    async fn a_name_cannot_leave_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(folder.path()).unwrap();
        let error = store.put("../../etcd", vec![]).await.unwrap_err();
        assert_eq!(error.kind(), ObjectErrorKind::Invalid);
    }
}
