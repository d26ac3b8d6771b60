//! Faults that tests inject into the embedded engine, at each step between a commit and its promise.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use crate::Result;

/// What goes wrong with one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// It is refused as if another transaction had changed what it read.
    Conflict,
    /// It is applied, and the caller is told that the result is unknown.
    UnknownApplied,
    /// It is not applied, and the caller is told that the result is unknown.
    UnknownNotApplied,
}

/// Decides what fails. Given to the engine's constructor; every method defaults to "nothing".
///
/// Methods are called on the committing thread and must not block.
pub trait Faults: Send + Sync {
    /// Asked once for every commit that writes.
    fn commit(&self) -> Option<CommitFault> {
        None
    }

    /// Asked before a group of commits is written to the journal.
    fn write(&self) -> Option<io::Error> {
        None
    }

    /// Asked before a written group is made durable.
    fn sync(&self) -> Option<io::Error> {
        None
    }
}

/// What lies between one process and the store, in simulations of several processes over one store ([`crate::Database::behind`]).
pub trait Link: Send + Sync {
    /// Asked before each step of a transaction goes to the store, and before its answer comes back: waits while the process stands still, and fails
    /// while it is cut off.
    fn pass(&self) -> LinkFuture<'_>;

    /// Asked when a watch fired, before who waits for it is woken: the news may come late, or be that nobody knows.
    fn wake(&self) -> LinkFuture<'_> {
        self.pass()
    }
}

/// The future of a [`Link`].
pub type LinkFuture<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// No faults.
pub(crate) struct NoFaults;

impl Faults for NoFaults {}

/// Faults in the order in which a test queued them; none once they are used up.
#[derive(Default)]
pub struct FaultScript {
    commits: Mutex<VecDeque<Option<CommitFault>>>,
    writes: Mutex<VecDeque<io::ErrorKind>>,
    syncs: Mutex<VecDeque<io::ErrorKind>>,
}

impl FaultScript {
    /// The next commits end like this, one entry each; `None` lets one pass.
    pub fn commits(&self, faults: impl IntoIterator<Item = Option<CommitFault>>) {
        lock(&self.commits).extend(faults);
    }

    /// The next group of commits cannot be written, for example because the disk is full.
    pub fn fail_write(&self, kind: io::ErrorKind) {
        lock(&self.writes).push_back(kind);
    }

    /// The next fsync fails.
    pub fn fail_sync(&self, kind: io::ErrorKind) {
        lock(&self.syncs).push_back(kind);
    }
}

impl Faults for FaultScript {
    fn commit(&self) -> Option<CommitFault> {
        lock(&self.commits).pop_front().flatten()
    }

    fn write(&self) -> Option<io::Error> {
        lock(&self.writes).pop_front().map(io::Error::from)
    }

    fn sync(&self) -> Option<io::Error> {
        lock(&self.syncs).pop_front().map(io::Error::from)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
