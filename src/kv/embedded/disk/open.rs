//! Opens a store: finds out whether anything promised is missing before anything is changed.
//!
//! After a crash the journal's end may be torn, which is nobody's loss: a commit is promised only when it is durable. So
//! the whole part of the journals is compared with the high-water mark; only then is a torn end cut off, and only then
//! does fjall, which would cut in silence, get to see the files.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fjall::{CompressionType, KeyspaceCreateOptions, KvSeparationOptions, Readable};

use super::super::storage::Changes;
use super::journal::{self, Journal};
use super::lock::LockFile;
use super::mark::Mark;
use super::verify::verify;
use super::{CommitRecord, DiskStorage, EmbeddedOptions, VERSION_KEY, corrupt, read_failed, unavailable};
use crate::{Error, Result, Version};

/// The one keyspace for rows.
const KEYSPACE: &str = "rows";
/// Values from this size on (mostly message bodies) are kept out of the tables, so that compaction does not copy them.
const SEPARATION_BYTES: u32 = 4_096;
/// Background threads: one always free to write full memtables.
const WORKERS: usize = 2;

const WAY_OUT: &str = "restore a backup of the store, or start once with `accept_loss` to go on from the last commit \
                       before the lost ones (the damaged files are put aside)";

/// Opens or creates the store in the folder `path`; also tells the version of its last commit.
///
/// # Errors
/// [`Error::Corrupt`] when files are damaged or promised commits are lost: it names the file, what is lost and the way
/// out, and nothing was changed. [`Error::Unavailable`] when another process has it, or the system refuses.
pub(crate) fn open(path: &Path, options: &EmbeddedOptions) -> Result<(DiskStorage, Version)> {
    fs::create_dir_all(path).map_err(|error| unavailable(path, &error))?;
    let lock = LockFile::acquire(&path.join("lock"))?;
    let store = path.join("fjall");
    let mark_path = path.join("mark");
    match Mark::open(&mark_path) {
        Ok(Some(mark)) => recover(&store, mark, lock, options),
        Ok(None) if !holds_commits(&store)? => create(&store, &mark_path, lock, options),
        Ok(None) if options.accept_loss => recover(&store, Mark::create(&mark_path, 0)?, lock, options),
        Ok(None) => Err(corrupt(
            &mark_path,
            "the record of the newest promised commit is missing; the commits themselves may be whole",
            "restore the file with its store from a backup, or start once with `accept_loss` to make a new record from \
             what is there",
        )),
        Err(Error::Corrupt(_)) if options.accept_loss => {
            recover(&store, Mark::create(&mark_path, 0)?, lock, options)
        }
        Err(error) => Err(error),
    }
}

/// Whether a store without a mark was ever committed to, or is the rest of a creation that was interrupted.
fn holds_commits(store: &Path) -> Result<bool> {
    if !store.exists() {
        return Ok(false);
    }
    let has_tables =
        fs::read_dir(store.join("keyspaces/1/tables")).is_ok_and(|mut tables| tables.next().is_some());
    let journals = journal::read_all(store, 0)?;
    Ok(has_tables || journals.iter().any(|journal| journal.newest.is_some() || journal.is_torn))
}

/// A new store. Its mark comes last: until it is there, nothing was promised, and the next start begins again.
fn create(
    store: &Path,
    mark: &Path,
    lock: LockFile,
    options: &EmbeddedOptions,
) -> Result<(DiskStorage, Version)> {
    if store.exists() {
        fs::remove_dir_all(store).map_err(|error| unavailable(store, &error))?;
    }
    let (database, rows) = open_fjall(store, options)?;
    let mark = Mark::create(mark, 0)?;
    Ok((DiskStorage { database, rows, mark, written: 0, _lock: lock }, 0))
}

/// A store that was used before.
fn recover(
    store: &Path,
    mark: Mark,
    lock: LockFile,
    options: &EmbeddedOptions,
) -> Result<(DiskStorage, Version)> {
    verify(store, options.verify)?;
    let journals = journal::read_all(store, mark.version())?;
    let damage = find_loss(&journals, mark.version());
    if let Some((damaged, lost)) = &damage {
        if !options.accept_loss {
            return Err(corrupt(&journals[*damaged].path, lost, WAY_OUT));
        }
        tracing::warn!(journal = %journals[*damaged].path.display(), lost, "going on without lost commits");
        put_aside(store, &journals[*damaged..])?;
    } else if let Some(active) = journals.last().filter(|journal| journal.is_torn) {
        tracing::info!(journal = %active.path.display(), whole = active.whole, "cutting off a torn end that nobody was promised");
        cut(active)?;
    }
    if damage.is_none() {
        journals.iter().filter(|journal| journal.promised < journal.whole).try_for_each(write_again)?;
    }
    let (database, rows) = open_fjall(store, options)?;
    let found = stored_version(&database, &rows)?;
    let in_journals = journals.iter().filter_map(|journal| journal.newest).max().unwrap_or(0);
    if found < mark.version().max(in_journals) && !options.accept_loss {
        let lost = format!("commits {}..={} are lost", found + 1, mark.version().max(in_journals));
        return Err(corrupt(store, &lost, WAY_OUT));
    }
    // Versions that anyone may have seen are not given out again, even if their commits are lost.
    let behind = journals.iter().filter_map(|journal| journal.behind).max().unwrap_or(0);
    let promised = mark.version().max(in_journals).max(behind);
    let mut storage = DiskStorage { database, rows, mark, written: found, _lock: lock };
    let version = found.max(promised);
    if version > found || storage.mark.version() < found {
        storage.write(version, &Changes::new()).and_then(|()| storage.sync()).map_err(Error::Unavailable)?;
    }
    Ok((storage, version))
}

/// The journal where promised commits are lost, and which.
fn find_loss(journals: &[Journal], mark: Version) -> Option<(usize, String)> {
    let newest_before = |index: usize| journals[..=index].iter().rev().find_map(|journal| journal.newest);
    let last = journals.len().checked_sub(1)?;
    for (index, journal) in journals.iter().enumerate() {
        let is_proven = journal.behind.is_some() || index < last;
        if journal.is_torn && is_proven {
            let behind =
                journals[index..].iter().filter_map(|journal| journal.behind.max(journal.newest)).max();
            let until = mark.max(behind.unwrap_or(0));
            let from = newest_before(index)
                .map_or("the first one in it".to_owned(), |newest| (newest + 1).to_string());
            let place =
                format!("damaged from byte {} on: commits from {from} to {until} are lost", journal.whole);
            return Some((index, place));
        }
    }
    // Without any commit in the journals all are in the tables, which tell when they are open.
    let newest = newest_before(last);
    if newest.is_none() && journals[last].is_torn && mark > 0 {
        let place = format!("damaged from its first byte on: commits up to {mark} may be lost");
        return Some((last, place));
    }
    let newest = newest?;
    (newest < mark).then(|| {
        let whole = journals[last].whole;
        (last, format!("it ends at byte {whole}, too early: commits {}..={mark} are lost", newest + 1))
    })
}

/// Keeps what is damaged for those who want to look at it: copies the damaged journal and cuts it, and moves the later
/// ones, since what they hold is built on what is lost.
fn put_aside(store: &Path, damaged: &[Journal]) -> Result<()> {
    let folder = store.with_file_name("damaged");
    fs::create_dir_all(&folder).map_err(|error| unavailable(&folder, &error))?;
    let Some((first, later)) = damaged.split_first() else { return Ok(()) };
    let target = free_name(&folder, &first.path);
    fs::copy(&first.path, &target)
        .and_then(|_| File::open(&target)?.sync_all())
        .map_err(|error| unavailable(&first.path, &error))?;
    cut(first)?;
    for journal in later {
        let target = free_name(&folder, &journal.path);
        fs::rename(&journal.path, &target).map_err(|error| unavailable(&journal.path, &error))?;
    }
    for folder in [&folder, store] {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| unavailable(folder, &error))?;
    }
    Ok(())
}

/// A name in `folder` that is not taken yet, made from the file's own.
fn free_name(folder: &Path, file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mut target = folder.join(&*name);
    for number in 1.. {
        if !target.exists() {
            break;
        }
        target = folder.join(format!("{name}.{number}"));
    }
    target
}

/// Writes the part of a journal again that is whole but was not promised. After a failed fsync the system may show what
/// never reached the disk, and takes it for written; another fsync would then make later commits durable behind a gap.
fn write_again(journal: &Journal) -> Result<()> {
    let write = || {
        let file = OpenOptions::new().read(true).write(true).open(&journal.path)?;
        let mut part = Vec::new();
        (&file).seek(SeekFrom::Start(journal.promised))?;
        (&file).take(journal.whole - journal.promised).read_to_end(&mut part)?;
        file.write_all_at(&part, journal.promised)?;
        file.sync_all()
    };
    write().map_err(|error| unavailable(&journal.path, &error))
}

/// Cuts a journal to its whole part.
fn cut(journal: &Journal) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .open(&journal.path)
        .and_then(|file| {
            file.set_len(journal.whole)?;
            file.sync_all()
        })
        .map_err(|error| unavailable(&journal.path, &error))
}

fn stored_version(database: &fjall::Database, rows: &fjall::Keyspace) -> Result<Version> {
    let row = database.snapshot().get(rows, VERSION_KEY).map_err(read_failed)?;
    Ok(row.and_then(|row| CommitRecord::decode(&row)).map_or(0, |record| record.version))
}

fn open_fjall(store: &Path, options: &EmbeddedOptions) -> Result<(fjall::Database, fjall::Keyspace)> {
    let failed = |error: fjall::Error| match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            unavailable(store, &error)
        }
        fjall::Error::Locked => Error::Unavailable(format!("{} is still being closed", store.display())),
        error => {
            corrupt(store, &format!("the store cannot be opened ({error})"), "restore a backup of the store")
        }
    };
    let database = fjall::Database::builder(store)
        .cache_size(options.cache_bytes)
        .worker_threads(WORKERS)
        // Bodies come compressed, and the journal is short-lived.
        .journal_compression(CompressionType::None)
        .manual_journal_persist(true)
        .open()
        .map_err(failed)?;
    let separation = KvSeparationOptions::default()
        .separation_threshold(SEPARATION_BYTES)
        .compression(CompressionType::None);
    let keyspace = || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(options.memtable_bytes)
            .with_kv_separation(Some(separation))
    };
    let rows = database.keyspace(KEYSPACE, keyspace).map_err(failed)?;
    Ok((database, rows))
}
