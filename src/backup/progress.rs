//! How far a run is, and when it has to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ekitei_kv::lease::Lease;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Shared figures of a run: cheap to clone.
#[derive(Clone, Default)]
pub struct Progress {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    step: Mutex<String>,
    accounts: AtomicU64,
    all_accounts: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    read: AtomicU64,
    written: AtomicU64,
    stopped: AtomicBool,
    /// What the run may go on with.
    lease: OnceLock<Lease>,
}

/// How far a run is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// What it does now, for people.
    pub step: String,
    /// Accounts that are done.
    pub accounts: u64,
    /// Accounts in all, as far as that is known.
    pub all_accounts: u64,
    /// Messages that are done.
    pub messages: u64,
    /// Octets of bodies that were read or written.
    pub bytes: u64,
    /// Octets read from the repository.
    pub read: u64,
    /// Octets written to the repository.
    pub written: u64,
}

impl Progress {
    /// Says what is done now.
    pub(crate) fn step(&self, step: impl Into<String>) {
        *self.inner.step.lock().unwrap_or_else(PoisonError::into_inner) = step.into();
    }

    pub(crate) fn accounts(&self, done: u64) {
        self.inner.accounts.fetch_add(done, Ordering::Relaxed);
    }

    pub(crate) fn all_accounts(&self, all: u64) {
        self.inner.all_accounts.fetch_add(all, Ordering::Relaxed);
    }

    pub(crate) fn messages(&self, done: u64) {
        self.inner.messages.fetch_add(done, Ordering::Relaxed);
    }

    pub(crate) fn bytes(&self, done: u64) {
        self.inner.bytes.fetch_add(done, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, octets: u64) {
        self.inner.read.fetch_add(octets, Ordering::Relaxed);
    }

    pub(crate) fn written(&self, octets: u64) {
        self.inner.written.fetch_add(octets, Ordering::Relaxed);
    }

    /// Ends the run at its next step.
    pub fn stop(&self) {
        self.inner.stopped.store(true, Ordering::Release);
    }

    /// Of a run that goes on only while this lease holds: asked at each step, so that one who was paused does not take another.
    pub fn under(lease: &Lease) -> Self {
        let progress = Self::default();
        // Nobody else has it yet.
        let _ = progress.inner.lease.set(lease.clone());
        progress
    }

    /// Ends the run if it has to.
    pub(crate) fn check(&self) -> Result<()> {
        let may_go_on = self.inner.lease.get().is_none_or(Lease::holds);
        if may_go_on && !self.inner.stopped.load(Ordering::Acquire) { Ok(()) } else { Err(Error::LockLost) }
    }

    /// How far it is.
    pub fn figures(&self) -> Figures {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let inner = &self.inner;
        Figures {
            step: inner.step.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            accounts: load(&inner.accounts),
            all_accounts: load(&inner.all_accounts),
            messages: load(&inner.messages),
            bytes: load(&inner.bytes),
            read: load(&inner.read),
            written: load(&inner.written),
        }
    }
}
