//! The disk of a machine, for what a process keeps near: it outlives processes, fails, and loses in a crash what was written last.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ekitei_blob::{PageFile, PageFolder, PageFolderFuture};
use tokio::time::{Instant, sleep};

use crate::dice::Dice;
use crate::trace::Trace;
use crate::wire::Wire;

/// What was written within this time before a crash may be lost, in whole or in part.
const UNSAFE: Duration = Duration::from_secs(15);
/// The longest that an access takes.
const LATENCY: Duration = Duration::from_millis(30);
/// Shares of accesses that fail or go wrong, while there is trouble.
const FAILS: f64 = 0.03;

/// A disk: cheap to clone.
#[derive(Clone)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    trouble: Arc<AtomicBool>,
    trace: Trace,
}

struct State {
    began: Instant,
    files: BTreeMap<String, File>,
    dice: Dice,
}

struct File {
    octets: Vec<u8>,
    written: Instant,
}

impl Disk {
    /// An empty disk. It goes wrong while `trouble` is set.
    pub fn new(dice: Dice, trouble: Arc<AtomicBool>, trace: Trace) -> Self {
        let state = State { began: Instant::now(), files: BTreeMap::new(), dice };
        Self { state: Arc::new(Mutex::new(state)), trouble, trace }
    }

    /// The machine stops and starts again: of each file that was written lately, anything may be there.
    pub fn crash(&self) {
        let mut state = self.state();
        let State { files, dice, .. } = &mut *state;
        let mut spoiled = 0;
        for file in files.values_mut().filter(|file| file.written.elapsed() < UNSAFE) {
            spoiled += 1;
            let length = file.octets.len();
            match dice.below(4) {
                0 => file.octets.truncate(dice.below(length)),
                1 => file.octets.iter_mut().for_each(|octet| *octet = 0),
                2 => spoil(&mut file.octets, dice),
                _ => spoiled -= 1,
            }
        }
        drop(state);
        self.trace.note("disk", format_args!("{spoiled} files are spoiled by a crash"));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long an access takes, and whether it goes wrong in two ways.
    fn access(&self) -> (Duration, bool, bool) {
        let mut state = self.state();
        let time = state.dice.time(Duration::ZERO, LATENCY);
        let (one, other) = (state.dice.chance(FAILS), state.dice.chance(FAILS));
        let trouble = self.trouble.load(Ordering::SeqCst);
        (time, trouble && one, trouble && other)
    }
}

fn spoil(octets: &mut [u8], dice: &mut Dice) {
    let at = dice.below(octets.len());
    if let Some(octet) = octets.get_mut(at) {
        *octet ^= 0x10;
    }
}

/// A folder of the disk, as one process uses it.
pub struct Folder {
    disk: Disk,
    wire: Arc<Wire>,
}

impl Folder {
    /// The folder, for the process behind this wire.
    pub fn new(disk: Disk, wire: Arc<Wire>) -> Self {
        Self { disk, wire }
    }
}

impl PageFolder for Folder {
    fn list(&self) -> io::Result<Vec<PageFile>> {
        let state = self.disk.state();
        let file = |(name, file): (&String, &File)| PageFile {
            written: SystemTime::UNIX_EPOCH + (file.written - state.began),
            name: name.clone(),
            size: file.octets.len() as u64,
        };
        Ok(state.files.iter().map(file).collect())
    }

    fn read(&self, name: &str) -> PageFolderFuture<Vec<u8>> {
        let (disk, wire, name) = (self.disk.clone(), Arc::clone(&self.wire), name.to_owned());
        Box::pin(async move {
            let (time, fails, spoils) = disk.access();
            sleep(time).await;
            wire.running().await;
            if fails {
                return Err(io::Error::other("the disk fails"));
            }
            let mut state = disk.state();
            let file = state.files.get(&name).ok_or(io::ErrorKind::NotFound)?;
            let mut octets = file.octets.clone();
            if spoils {
                spoil(&mut octets, &mut state.dice);
            }
            Ok(octets)
        })
    }

    fn write(&self, name: &str, octets: Vec<u8>) -> PageFolderFuture<()> {
        let (disk, wire, name) = (self.disk.clone(), Arc::clone(&self.wire), name.to_owned());
        Box::pin(async move {
            let (time, is_full, _) = disk.access();
            sleep(time).await;
            wire.running().await;
            if is_full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.state().files.insert(name, File { octets, written: Instant::now() });
            Ok(())
        })
    }

    fn remove(&self, name: &str) {
        if !self.wire.is_dead() {
            self.disk.state().files.remove(name);
        }
    }
}
