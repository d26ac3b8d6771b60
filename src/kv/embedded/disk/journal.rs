//! Reads fjall's journals before fjall does.
//!
//! fjall's own recovery ends at the first damaged batch, cuts the file there and says nothing, so it cannot be asked what was
//! lost. This reader changes nothing and tells: up to which commit the journal is whole, and whether whole commits
//! lie behind a damaged place. A commit is written only after the one before it is durable, so a whole commit behind
//! damage proves that promised ones are lost, whatever the high-water mark says.
//!
//! Format (fjall 3): batches of `Start(1) items:u32 seqno:u64`, items, `End(3) checksum:u64 "FJL" 3`; an item is `Item(2)
//! type:u8 compression:u8 keyspace:u64 key:u16 value:u32 stored:u32` and the bytes of key and stored value; integers are
//! little-endian; the checksum is XXH3 over the items. The file ends with zeros up to its preallocated size.

use std::fs;
use std::path::{Path, PathBuf};

use super::{CommitRecord, VERSION_KEY, corrupt, unavailable};
use crate::{Result, Version};

const TAG_START: u8 = 1;
const TAG_ITEM: u8 = 2;
const TAG_END: u8 = 3;
const TAG_CLEAR: u8 = 4;
/// fjall's background work takes sequence numbers too, a few between one commit and the next.
const SEQUENCE_SLACK: u64 = 1 << 20;
const TRAILER: &[u8; 4] = b"FJL\x03";

/// What one journal holds.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) path: PathBuf,
    id: u64,
    /// The newest commit in the whole part.
    pub(super) newest: Option<Version>,
    /// Where the part ends that was durable when it was promised, in bytes.
    pub(super) promised: u64,
    /// Where the whole part ends, in bytes.
    pub(super) whole: u64,
    /// Whether anything but zeros follows.
    pub(super) is_torn: bool,
    /// The newest commit behind the damage.
    pub(super) behind: Option<Version>,
}

/// Reads all journals of a store whose newest promised commit is `mark`, oldest first.
pub(super) fn read_all(folder: &Path, mark: Version) -> Result<Vec<Journal>> {
    let mut journals = Vec::new();
    let entries = fs::read_dir(folder).map_err(|error| unavailable(folder, &error))?;
    for entry in entries {
        let path = entry.map_err(|error| unavailable(folder, &error))?.path();
        if path.extension().is_none_or(|extension| extension != "jnl") {
            continue;
        }
        let Some(id) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()) else {
            return Err(corrupt(&path, "a journal has an unknown name", "give it its number back as a name"));
        };
        journals.push(read(path, id, mark)?);
    }
    journals.sort_by_key(|journal| journal.id);
    Ok(journals)
}

fn read(path: PathBuf, id: u64, mark: Version) -> Result<Journal> {
    let bytes = fs::read(&path).map_err(|error| unavailable(&path, &error))?;
    let mut rest = &bytes[..];
    let mut newest = None;
    let mut last_sequence = None;
    let mut promised = 0;
    while let Some((batch, after)) = batch(rest).filter(|(batch, _)| batch.follows(last_sequence)) {
        newest = batch.record.map(|record| record.version).or(newest);
        last_sequence = Some(batch.sequence);
        rest = after;
        if newest.is_some_and(|newest| newest <= mark) {
            promised = (bytes.len() - rest.len()) as u64;
        }
    }
    let whole = (bytes.len() - rest.len()) as u64;
    let is_torn = rest.iter().any(|&byte| byte != 0);
    let behind = if is_torn { newest_behind(rest) } else { None };
    Ok(Journal { path, id, newest, promised, whole, is_torn, behind })
}

/// The newest commit of any whole batch in `damaged`.
fn newest_behind(damaged: &[u8]) -> Option<Version> {
    let starts = memchr_all(damaged, TAG_START);
    starts.filter_map(|at| Some(batch(&damaged[at..])?.0.record?.version)).max()
}

fn memchr_all(bytes: &[u8], byte: u8) -> impl Iterator<Item = usize> {
    bytes.iter().enumerate().filter(move |(_, b)| **b == byte).map(|(at, _)| at)
}

/// A whole batch.
struct Batch {
    sequence: u64,
    record: Option<CommitRecord>,
}

impl Batch {
    /// Whether the sequence number, which no checksum covers, is right: it rises, and lies just above the number that the
    /// record foretold.
    fn follows(&self, last_sequence: Option<u64>) -> bool {
        let rises = |record: CommitRecord| {
            let just_above = record.min_sequence..record.min_sequence.saturating_add(SEQUENCE_SLACK);
            just_above.contains(&self.sequence) && last_sequence.is_none_or(|last| last < record.min_sequence)
        };
        self.record.is_none_or(rises)
    }
}

/// One whole batch at the front of `bytes`, and what follows it.
fn batch(bytes: &[u8]) -> Option<(Batch, &[u8])> {
    let mut cursor = Cursor(bytes);
    if cursor.u8()? != TAG_START {
        return None;
    }
    let items = cursor.u32()?;
    let sequence = cursor.u64()?;
    let content = cursor.0;
    let mut record = None;
    for _ in 0..items {
        match cursor.u8()? {
            TAG_ITEM => {
                let (key, value) = cursor.item()?;
                if key == VERSION_KEY {
                    record = CommitRecord::decode(value);
                }
            }
            TAG_CLEAR => {
                cursor.take(size_of::<u64>())?;
            }
            _ => return None,
        }
    }
    let content = &content[..content.len() - cursor.0.len()];
    if cursor.u8()? != TAG_END {
        return None;
    }
    let checksum = cursor.u64()?;
    let is_whole = cursor.take(TRAILER.len())? == TRAILER && checksum == xxhash_rust::xxh3::xxh3_64(content);
    is_whole.then_some((Batch { sequence, record }, cursor.0))
}

/// Bytes being taken from the front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// An item after its tag: its key and its value as stored.
    fn item(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        self.take(2 + size_of::<u64>())?;
        let key = usize::from(u16::from_le_bytes(self.array()?));
        self.take(size_of::<u32>())?;
        let stored = usize::try_from(self.u32()?).ok()?;
        Some((self.take(key)?, self.take(stored)?))
    }
}
