//! Where the files of a cache lie: a folder of the machine, or one that a test or the simulation makes up.

use std::future::Future;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::SystemTime;

use super::disk::is_of_a_page;

/// The future of the methods of [`PageFolder`].
pub type PageFolderFuture<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// A file of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageFile {
    /// When it was written.
    pub written: SystemTime,
    /// Its name.
    pub name: String,
    /// Its octets.
    pub size: u64,
}

/// A folder of files. What is in them may be damaged or gone at any time: whoever reads a page checks it.
pub trait PageFolder: Send + Sync + 'static {
    /// The files that are there. Blocks; called once, before anything else.
    ///
    /// # Errors
    /// The folder cannot be used.
    fn list(&self) -> io::Result<Vec<PageFile>>;

    /// The octets of a file.
    fn read(&self, name: &str) -> PageFolderFuture<Vec<u8>>;

    /// Writes a file, in place of one of that name if there is one. A reader finds the one or the other.
    fn write(&self, name: &str, octets: Vec<u8>) -> PageFolderFuture<()>;

    /// Removes a file; one that is not there is no error.
    fn remove(&self, name: &str);
}

/// What a file that is being written ends with.
const UNFINISHED: &str = ".new";

/// A folder of this machine, which only the service may read.
pub(super) struct LocalFolder {
    path: PathBuf,
}

impl LocalFolder {
    /// Opens the folder, or makes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self { path: path.to_owned() })
    }
}

impl PageFolder for LocalFolder {
    /// Files that an earlier process did not finish are removed.
    fn list(&self) -> io::Result<Vec<PageFile>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !metadata.is_file() {
                continue;
            }
            if let Some(unfinished) = name.strip_suffix(UNFINISHED) {
                let page = unfinished.split_once('.').map_or(unfinished, |(page, _)| page);
                // Others may call their files so, too.
                if is_of_a_page(page) {
                    std::fs::remove_file(entry.path())?;
                }
                continue;
            }
            let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            found.push(PageFile { written, name, size: metadata.len() });
        }
        Ok(found)
    }

    fn read(&self, name: &str) -> PageFolderFuture<Vec<u8>> {
        let path = self.path.join(name);
        Box::pin(apart(move || std::fs::read(path)))
    }

    fn write(&self, name: &str, octets: Vec<u8>) -> PageFolderFuture<()> {
        // Two may be at the same page.
        let unfinished = self.path.join(format!("{name}.{:016x}{UNFINISHED}", rand::random::<u64>()));
        let path = self.path.join(name);
        Box::pin(apart(move || {
            let written =
                std::fs::write(&unfinished, octets).and_then(|()| std::fs::rename(&unfinished, &path));
            if written.is_err() {
                // The part of it that a full disk had room for must not stay.
                let _ = std::fs::remove_file(&unfinished);
            }
            written
        }))
    }

    /// Not on a thread that others wait for, if there is another.
    fn remove(&self, name: &str) {
        let path = self.path.join(name);
        // One that somebody else removed is removed.
        let remove = move || drop(std::fs::remove_file(path));
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// Does what blocks on a thread for that.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
