//! Passwords are hashed here: on the blocking pool, a few at a time, with a bounded queue.
//!
//! Argon2id is slow and large on purpose. Without the bound, a burst of logins would take every processor and gigabytes of memory; without the
//! limit of the queue, clients would wait until they give up and try again. What is over it is refused, as a temporary failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{AuthError, Error, Result};
use crate::password::{self, StoredHash};
use crate::settings::{Argon2Cost, Settings};

/// The bounded pool of one process.
pub(crate) struct Verifier {
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_waiting: usize,
    cost: Argon2Cost,
    /// What the passwords of unknown users are compared with, so that they take as long as others.
    dummy: StoredHash,
}

/// What became of a verification.
pub(crate) struct Verified {
    pub(crate) correct: bool,
    /// The same password hashed as we do now, if the stored hash was of another kind.
    pub(crate) renewed: Option<StoredHash>,
}

impl Verifier {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(settings.verify_concurrency.max(1))),
            waiting: AtomicUsize::new(0),
            max_waiting: settings.verify_queue,
            cost: settings.argon2,
            dummy: dummy(settings.argon2),
        }
    }

    /// Compares a password with a stored hash; without one, takes as long and finds it wrong.
    pub(crate) async fn verify(
        &self,
        hash: Option<StoredHash>,
        password: String,
    ) -> Result<Verified, AuthError> {
        let slot = self.slot().await?;
        let (cost, dummy) = (self.cost, self.dummy.clone());
        let work = move || {
            let _slot = slot;
            let Some(hash) = hash else {
                dummy.verify(&password);
                return Verified { correct: false, renewed: None };
            };
            let correct = hash.verify(&password);
            let renew = correct && !hash.is_current(cost);
            // A password that cannot be hashed anew keeps the hash it has.
            Verified { correct, renewed: renew.then(|| password::hash(&password, cost).ok()).flatten() }
        };
        let lost = |error: tokio::task::JoinError| AuthError::Unavailable(error.to_string());
        tokio::task::spawn_blocking(work).await.map_err(lost)
    }

    /// Hashes a new password.
    pub(crate) async fn hash(&self, password: String) -> Result<StoredHash> {
        let slot = self.slot().await.map_err(|error| Error::Unavailable(error.to_string()))?;
        let cost = self.cost;
        let work = move || {
            let _slot = slot;
            password::hash(&password, cost)
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| Error::Unavailable(error.to_string()))?
    }

    /// Waits for a free place; the permit goes with the work, which outlives a caller that gives up.
    async fn slot(&self) -> Result<OwnedSemaphorePermit, AuthError> {
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            return Ok(slot);
        }
        let _place = self.queue()?;
        self.slots.clone().acquire_owned().await.map_err(|error| AuthError::Unavailable(error.to_string()))
    }

    fn queue(&self) -> Result<PlaceInQueue<'_>, AuthError> {
        let place = PlaceInQueue(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.max_waiting {
            return Err(AuthError::Busy);
        }
        Ok(place)
    }
}

/// Leaves the queue when it is dropped, also by a caller that gives up.
struct PlaceInQueue<'a>(&'a AtomicUsize);

impl Drop for PlaceInQueue<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A well-formed hash of the configured cost that no password has: made without hashing anything, since it is made at start.
fn dummy(cost: Argon2Cost) -> StoredHash {
    let Argon2Cost { memory_kib, passes, lanes } = cost;
    let salt = "c29tZXNhbHRzb21lc2FsdA";
    let digest = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    StoredHash::Argon2id(format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${digest}"))
}
