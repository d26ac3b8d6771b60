//! An object store in a directory: one file an object, two levels of folders by the last two octets of its name (the first
//! ones are the time, and would put all of a day into one folder).

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::object_store::{ObjectFuture, ObjectStore};

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
        fs::create_dir_all(&root)?;
        Ok(Self { root })
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        if name.len() < 4 || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of an object"));
        }
        let (rest, last) = name.split_at(name.len() - 2);
        Ok(self.root.join(last).join(&rest[rest.len() - 2..]).join(name))
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
                file.seek(SeekFrom::Start(range.start))?;
                let mut bytes = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0));
                file.take(range.end - range.start).read_to_end(&mut bytes)?;
                Ok(bytes.into())
            })
            .await
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
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Writes a file so that it is there in whole or not at all, and stays: temporary name, fsync, rename, fsync of every
/// directory that got a new name.
fn write_durably(root: &Path, path: &Path, pieces: &[Bytes]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(root);
    create_folders(root, folder)?;
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    for piece in pieces {
        file.write_all(piece)?;
    }
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_folder(folder)
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

    #[tokio::test]
    async fn an_object_is_read_in_pieces_and_deleted_twice() {
        let folder = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(folder.path().join("objects")).unwrap();
        store.put("0123abcd", vec!["hello ".into(), "world".into()]).await.unwrap();
        assert_eq!(store.get("0123abcd", 3..8).await.unwrap(), "lo wo");
        assert_eq!(store.get("0123abcd", 9..99).await.unwrap(), "ld");
        store.delete("0123abcd").await.unwrap();
        store.delete("0123abcd").await.unwrap();
        assert_eq!(store.get("0123abcd", 0..1).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_name_cannot_leave_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(folder.path()).unwrap();
        assert!(store.put("../../etc", vec![]).await.is_err());
    }
}
