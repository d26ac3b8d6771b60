//! One process at a time: a lock file that says who holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::unavailable;
use crate::{Error, Result};

/// The lock; given back when dropped, or by the system when the process dies.
pub(super) struct LockFile {
    _file: File,
}

impl LockFile {
    /// Takes the lock at `path`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] naming the process that holds it.
    pub(super) fn acquire(path: &Path) -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| unavailable(path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder may be writing its number just now; then it stays unnamed.
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.trim().is_empty() { "unknown" } else { holder.trim() };
                return Err(Error::Unavailable(format!(
                    "{} is held by process {holder}: only one process at a time can use a store",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(unavailable(path, &error)),
        }
        write_pid(&mut file).map_err(|error| unavailable(path, &error))?;
        Ok(Self { _file: file })
    }
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}
