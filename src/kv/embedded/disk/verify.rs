//! Checks the files of a store against their checksums before anything uses them.
//!
//! The tree's files refer to each other: `current` names the version file and holds its checksum, the version file lists
//! all tables and blob files with theirs (XXH3-128 over the whole file). lsm-tree writes these checksums, and itself
//! checks only those of blocks, when it reads one; so damage in a rarely read place would be found when it is too late to
//! restore a backup.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use super::{corrupt, unavailable};
use crate::Result;

/// How much is checked at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Every byte of every file.
    #[default]
    Full,
    /// The lists of files, and that the files are there; blocks are checked as they are read.
    Quick,
}

const RESTORE: &str = "restore a backup of the store: a damaged table cannot be rebuilt";
/// Tree folders that every store has: fjall's own list of keyspaces, and ours.
const TREES: [&str; 2] = ["0", "1"];
/// What fjall writes into its `version` file.
const FORMAT: &[u8] = b"FJL\x03";

/// Checks the store in `folder`.
///
/// # Errors
/// [`crate::Error::Corrupt`] naming the first damaged file.
pub(super) fn verify(folder: &Path, mode: Verify) -> Result<()> {
    let started = Instant::now();
    let mut bytes = 0;
    check_format(&folder.join("version"))?;
    for tree in TREES {
        bytes += verify_tree(&folder.join("keyspaces").join(tree), mode)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    tracing::info!(?mode, bytes, seconds, "the store's files were checked");
    Ok(())
}

fn check_format(path: &Path) -> Result<()> {
    if read(path)? != FORMAT {
        return Err(corrupt(path, "the marker of the storage format is damaged", RESTORE));
    }
    Ok(())
}

/// Checks one tree; returns how many bytes were read.
fn verify_tree(tree: &Path, mode: Verify) -> Result<u64> {
    let current_path = tree.join("current");
    let current = read(&current_path)?;
    let Ok(current) = <[u8; CURRENT]>::try_from(current) else {
        return Err(corrupt(&current_path, "it names no version of the tree", RESTORE));
    };
    let (version, checksum, kind) = decode_current(&current);
    let path = tree.join(format!("v{version}"));
    if !path.exists() || kind != XXH3 {
        return Err(corrupt(&current_path, "it names a version of the tree that does not exist", RESTORE));
    }
    if xxh3_128(&read(&path)?) != checksum {
        let problem = format!("this list of tables, or {}, is damaged", current_path.display());
        return Err(corrupt(&path, &problem, RESTORE));
    }
    let files = listed_files(tree, &path).map_err(|error| corrupt(&path, &error, RESTORE))?;
    let mut bytes = 0;
    for (path, expected) in files {
        bytes += verify_file(&path, expected, mode)?;
    }
    Ok(bytes)
}

fn verify_file(path: &Path, expected: u128, mode: Verify) -> Result<u64> {
    if !path.exists() {
        return Err(corrupt(path, "the file is missing, and all rows in it", RESTORE));
    }
    if mode == Verify::Quick {
        return Ok(0);
    }
    let (checksum, bytes) = checksum(path).map_err(|error| unavailable(path, &error))?;
    if checksum != expected {
        return Err(corrupt(path, "its checksum is wrong: rows in it are lost", RESTORE));
    }
    Ok(bytes)
}

fn checksum(path: &Path) -> std::io::Result<(u128, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Xxh3Default::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hasher.digest128(), bytes));
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => corrupt(path, "the file is missing", RESTORE),
        _ => unavailable(path, &error),
    })
}

/// Size of a `current` file: version, checksum, kind of the checksum.
const CURRENT: usize = 25;
/// The kind of checksum that lsm-tree writes.
const XXH3: u8 = 0;

fn decode_current(bytes: &[u8; CURRENT]) -> (u64, u128, u8) {
    let mut version = [0; 8];
    let mut checksum = [0; 16];
    version.copy_from_slice(&bytes[..8]);
    checksum.copy_from_slice(&bytes[8..24]);
    (u64::from_le_bytes(version), u128::from_le_bytes(checksum), bytes[24])
}

/// The tables and blob files that a version file lists, with their checksums.
fn listed_files(tree: &Path, version: &Path) -> Result<Vec<(PathBuf, u128)>, String> {
    let archive = sfa::Reader::new(version).map_err(|error| error.to_string())?;
    let section = |name: &str| {
        let entry =
            archive.toc().section(name.as_bytes()).ok_or_else(|| format!("it has no section {name}"))?;
        Section::read(entry.reader(version).map_err(|error| error.to_string())?, entry.len())
    };
    let mut files = Vec::new();
    let mut tables = section("tables")?;
    for _ in 0..tables.u8()? {
        for _ in 0..tables.u8()? {
            for _ in 0..tables.u32()? {
                let (id, checksum) = tables.file()?;
                tables.take::<8>()?; // the table's base sequence number
                files.push((tree.join("tables").join(id.to_string()), checksum));
            }
        }
    }
    let mut blobs = section("blob_files")?;
    for _ in 0..blobs.u32()? {
        let (id, checksum) = blobs.file()?;
        files.push((tree.join("blobs").join(id.to_string()), checksum));
    }
    Ok(files)
}

/// A section of a version file, taken from the front; little-endian.
struct Section {
    bytes: Vec<u8>,
    at: usize,
}

impl Section {
    fn read(reader: impl Read, length: u64) -> Result<Self, String> {
        let mut bytes = Vec::new();
        reader.take(length).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        Ok(Self { bytes, at: 0 })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.bytes.get(self.at..self.at + N).and_then(|taken| taken.try_into().ok());
        self.at += N;
        taken.ok_or_else(|| "a section ends too early".to_owned())
    }

    fn u8(&mut self) -> Result<u8, String> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.take().map(u32::from_le_bytes)
    }

    /// A file's number and checksum.
    fn file(&mut self) -> Result<(u64, u128), String> {
        let id = u64::from_le_bytes(self.take()?);
        if self.u8()? != XXH3 {
            return Err("it uses an unknown kind of checksum".to_owned());
        }
        Ok((id, u128::from_le_bytes(self.take()?)))
    }
}
