//! The high-water mark: the newest commit version that was promised to anyone.
//!
//! It is written after the fsync of every group of commits, in place and without an fsync of its own: `kill -9` leaves it
//! exact, and a power failure leaves it at most a little low, never too high. What the journal holds below it was
//! promised, so a start that finds less has lost commits; what is torn above it was promised to nobody.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{corrupt, unavailable};
use crate::{Result, Version};

/// Each slot has a block of the disk to itself, so that tearing one leaves the other.
const SLOT_SPACING: usize = 4_096;
const FILE_SIZE: usize = 2 * SLOT_SPACING;
const MAGIC: &[u8; 8] = b"ekimark1";
const CHECKSUM: usize = 16;
const SLOT_SIZE: usize = MAGIC.len() + size_of::<Version>() + CHECKSUM;

/// The open file of the mark.
pub(super) struct Mark {
    file: File,
    path: PathBuf,
    version: Version,
    slot: u8,
}

impl Mark {
    /// Opens the mark; `None` if there is none.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] naming the file if either slot is damaged.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unavailable(path, &error)),
        };
        let mut bytes = Vec::with_capacity(FILE_SIZE);
        file.read_to_end(&mut bytes).map_err(|error| unavailable(path, &error))?;
        let slots = bytes.as_chunks::<SLOT_SPACING>().0;
        let [Some(first), Some(second)] = [0, 1].map(|slot| slots.get(slot).and_then(decode)) else {
            return Err(corrupt(
                path,
                "the record of the newest promised commit is damaged; the commits themselves may be whole",
                "restore a backup of the store, or start once with `accept_loss` to make a new record from what is there",
            ));
        };
        let slot = u8::from(second > first);
        Ok(Some(Self { file, path: path.to_owned(), version: first.max(second), slot }))
    }

    /// Makes the mark of a store whose newest commit is `version`, durably. It appears whole or not at all: a part of
    /// it, left by a crash or a full disk, would look like damage to the next start.
    pub(super) fn create(path: &Path, version: Version) -> Result<Self> {
        let unfinished = path.with_extension("new");
        let write = || {
            let file =
                OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&unfinished)?;
            let mut bytes = vec![0; FILE_SIZE];
            for slot in [0, SLOT_SPACING] {
                bytes[slot..slot + SLOT_SIZE].copy_from_slice(&encode(version));
            }
            file.write_all_at(&bytes, 0)?;
            file.sync_all()?;
            fs::rename(&unfinished, path)?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(file)
        };
        let file = write().map_err(|error: std::io::Error| unavailable(path, &error))?;
        Ok(Self { file, path: path.to_owned(), version, slot: 0 })
    }

    /// The newest promised commit.
    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Where it is, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Raises the mark, after the commits up to `version` became durable.
    pub(super) fn raise(&mut self, version: Version) -> std::io::Result<()> {
        self.slot ^= 1;
        self.file.write_all_at(&encode(version), u64::from(self.slot) * SLOT_SPACING as u64)?;
        self.version = version;
        Ok(())
    }

    /// Makes the mark itself durable, at a clean end.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }
}

fn encode(version: Version) -> [u8; SLOT_SIZE] {
    let mut slot = [0; SLOT_SIZE];
    let (content, checksum) = slot.split_at_mut(SLOT_SIZE - CHECKSUM);
    content[..MAGIC.len()].copy_from_slice(MAGIC);
    content[MAGIC.len()..].copy_from_slice(&version.to_be_bytes());
    checksum.copy_from_slice(&blake3::hash(content).as_bytes()[..CHECKSUM]);
    slot
}

/// The version in a slot, if slot and padding are exactly as written.
fn decode(block: &[u8; SLOT_SPACING]) -> Option<Version> {
    let (slot, padding) = block.split_at(SLOT_SIZE);
    let version = Version::from_be_bytes(slot[MAGIC.len()..SLOT_SIZE - CHECKSUM].try_into().ok()?);
    let is_whole = *slot == encode(version) && padding.iter().all(|&byte| byte == 0);
    is_whole.then_some(version)
}
