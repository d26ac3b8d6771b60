//! Locks of a repository: objects in it, since it may be used by several clusters, and from machines that reach no metadata store.
//!
//! Who wants the repository writes a lock object and then looks at all that are there; if another excludes it, it takes its own away again and
//! gives up. So of two that come at the same time at most one goes on. A lock counts for [`LIFETIME`] after it was written, by the clock of the
//! reader, and is written anew well before (so clocks of clusters that share a repository may differ by [`RENEWAL`]). A lock of the same store is of an
//! earlier run that died, or was paused so long that it lost its lease: the store's lease lets one run be at a time.
//!
//! Whoever takes over deletes the lock first. So one who was paused finds out: [`Lock::confirm`] looks whether its lock is still there, before anything is deleted, and before
//! and after a snapshot is written. What was confirmed after it was written, others see who take over from then on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Repository;
use crate::document::{decode, encode};
use crate::error::{Error, Result};

/// How long a lock counts.
pub(crate) const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// How often it is written anew.
const RENEWAL: Duration = Duration::from_secs(5 * 60);
/// Locks listed at once; there are never many.
const MANY: usize = 1000;

/// What a lock is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// To add to it, or to read it.
    Use,
    /// To remove what nobody needs: nobody else may use it.
    Prune,
}

/// Who locks a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The store it works for; `None` without one.
    pub source: Option<[u8; 16]>,
    /// Host and process, for people.
    pub name: String,
}

#[derive(Serialize, Deserialize)]
struct LockDocument {
    purpose: Purpose,
    holder: Holder,
    /// Seconds since the epoch.
    written: u64,
}

/// A lock that this process has. Release it; one that is dropped ends by itself.
pub struct Lock {
    repository: Repository,
    document: (Purpose, Holder),
    /// The name of its object now; held while another takes its place.
    name: Mutex<String>,
    /// Seconds since the epoch.
    written: AtomicU64,
    /// The same in seconds after `made`, whatever becomes of the time of day.
    written_after: AtomicU64,
    made: Instant,
}

impl Repository {
    /// Locks the repository.
    ///
    /// # Errors
    /// [`Error::Locked`] says who has it.
    pub async fn lock(&self, purpose: Purpose, holder: Holder) -> Result<Arc<Lock>> {
        let lock = Lock {
            repository: self.clone(),
            document: (purpose, holder),
            name: Mutex::default(),
            written: AtomicU64::new(0),
            written_after: AtomicU64::new(0),
            made: Instant::now(),
        };
        lock.write().await?;
        if let Err(error) = lock.exclude_others().await {
            lock.release().await;
            return Err(error);
        }
        Ok(Arc::new(lock))
    }
}

impl Lock {
    /// Writes it anew.
    ///
    /// # Errors
    /// [`Error::LockLost`] when somebody took it away; the store's.
    async fn write(&self) -> Result<()> {
        let mut current = self.name.lock().await;
        let (now, after) = (self.repository.now().as_secs(), self.made.elapsed().as_secs());
        let name = format!("locks/{:032x}", rand::random::<u128>());
        let (purpose, holder) = self.document.clone();
        let octets = encode(&LockDocument { purpose, holder, written: now });
        self.repository.put_sealed("ekitei backup lock", &name, octets).await?;
        // Whoever took over may have looked before the new one was there: then the old one is gone.
        if !current.is_empty() && !self.repository.has(&current).await? {
            self.repository.delete(&[name]).await?;
            return Err(Error::LockLost);
        }
        let before = std::mem::replace(&mut *current, name);
        self.written.store(now, Ordering::Release);
        self.written_after.store(after, Ordering::Release);
        if !before.is_empty() {
            self.repository.delete(&[before]).await?;
        }
        Ok(())
    }

    /// Looks whether the lock is still there, and the repository still the one that was opened: before and after what others have to be kept out of.
    ///
    /// # Errors
    /// [`Error::LockLost`]; the store's.
    pub(crate) async fn confirm(&self) -> Result<()> {
        let name = self.name.lock().await;
        self.check()?;
        if !self.repository.has(&name).await? {
            return Err(Error::LockLost);
        }
        self.repository.is_still_the_same().await
    }

    async fn exclude_others(&self) -> Result<()> {
        let (purpose, holder) = &self.document;
        let now = self.repository.now();
        let own = self.name.lock().await.clone();
        for found in self.repository.list("locks/", MANY).await? {
            if found.name == own {
                continue;
            }
            let other = self.repository.get_sealed("ekitei backup lock", &found.name).await;
            let other: LockDocument = match other {
                Ok(octets) => decode(&octets, "a lock")?,
                // Released just now, or somebody else's file.
                Err(Error::Objects(error)) if error.is_not_found() => continue,
                Err(Error::Damaged(_)) => continue,
                Err(error) => return Err(error),
            };
            let ends = Duration::from_secs(other.written) + LIFETIME;
            let is_dead =
                ends <= now || (other.holder.source.is_some() && other.holder.source == holder.source);
            if is_dead {
                self.repository.delete(&[found.name]).await?;
            } else if *purpose == Purpose::Prune || other.purpose == Purpose::Prune {
                let what = match other.purpose {
                    Purpose::Use => "backup, restore or verification",
                    Purpose::Prune => "pruning",
                };
                let left = ends.saturating_sub(now).as_secs() / 60 + 1;
                return Err(Error::Locked {
                    holder: other.holder.name,
                    what,
                    ends: format!("in {left} minutes"),
                });
            }
        }
        Ok(())
    }

    /// Writes the lock anew from time to time, until it is dropped; an error says that it could not be.
    pub async fn keep(&self) -> Error {
        loop {
            tokio::time::sleep(RENEWAL).await;
            if let Err(error) = self.write().await {
                tracing::warn!(%error, "the lock of the backup repository could not be renewed");
                if matches!(error, Error::LockLost) || self.check().is_err() {
                    return Error::LockLost;
                }
            }
        }
    }

    /// Whether it still counts for others, with room for what is done next: by the time of day, which others go by, and by how long it is ago.
    ///
    /// # Errors
    /// [`Error::LockLost`].
    pub(crate) fn check(&self) -> Result<()> {
        let ends =
            |written: &AtomicU64| Duration::from_secs(written.load(Ordering::Acquire)) + LIFETIME - RENEWAL;
        let holds =
            self.repository.now() < ends(&self.written) && self.made.elapsed() < ends(&self.written_after);
        if holds { Ok(()) } else { Err(Error::LockLost) }
    }

    /// Takes it away. If that fails, it ends by itself.
    pub async fn release(&self) {
        let name = self.name.lock().await.clone();
        if let Err(error) = self.repository.delete(&[name]).await {
            tracing::warn!(%error, "a lock of the backup repository stays until it ends");
        }
    }
}
