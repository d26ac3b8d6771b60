//! Locks with names, for programs outside that share something which has no transactions, such as several operators and one DNS zone.
//!
//! A lock is held until a time of day, unless it is renewed. Each time that it is taken anew it has a higher token than any lock before, so that what is written
//! under a lock can carry the token, and a holder that was paused is recognised. The processes of a cluster compare their clocks here: a lock ends as much
//! too early or too late as those differ.
//!
//! | key | value |
//! |---|---|
//! | `(CLUSTER, "lock", name)` | [`LockRow`] as JSON |
//! | `(CLUSTER, "lock token")` | the last token that was given out: u64, big-endian |

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ekitei_kv::clock::SharedClock;
use ekitei_kv::keys::subspace::CLUSTER;
use ekitei_kv::keys::{key, range};
use ekitei_kv::{AsKvError, Database, Error, KeyValue, RangeOptions, Transaction};
use foundationdb_tuple::unpack;
use serde::{Deserialize, Serialize};

/// The longest name, and the longest holder.
const MAX_TEXT: usize = 200;

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Its name.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// When it ends, since the epoch.
    pub expires: Duration,
    /// Higher than that of any lock that was taken before; it stays while the lock is renewed.
    pub token: u64,
}

/// How much there may be of locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockLimits {
    /// The most that are held at a time.
    pub count: usize,
    /// The longest time without a renewal.
    pub time: Duration,
}

/// Why a lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another holds it: try again when it ends.
    #[error("{} is held by {} until {} (seconds since the epoch)", .0.name, .0.holder, .0.expires.as_secs())]
    Held(Lock),
    /// The request makes no sense: the caller's fault.
    #[error("{0}")]
    Invalid(String),
    /// There are as many locks as may be: the operator's.
    #[error("{0} locks are held already (cluster.maxLocks)")]
    Full(usize),
    /// The store failed: temporary.
    #[error(transparent)]
    Store(#[from] Error),
}

impl AsKvError for LockError {
    fn as_kv_error(&self) -> Option<&Error> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

type Result<T, E = LockError> = std::result::Result<T, E>;

/// A lock as its row has it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LockRow {
    holder: String,
    /// Milliseconds since the epoch.
    expires: u64,
    token: u64,
}

/// The locks of a store: cheap to clone.
#[derive(Clone)]
pub struct Locks {
    database: Database,
    clock: SharedClock,
    limits: Arc<dyn Fn() -> LockLimits + Send + Sync>,
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locks").finish_non_exhaustive()
    }
}

impl Locks {
    /// The locks in `database`; `limits` is asked each time.
    pub fn new(
        database: Database,
        clock: SharedClock,
        limits: impl Fn() -> LockLimits + Send + Sync + 'static,
    ) -> Self {
        Self { database, clock, limits: Arc::new(limits) }
    }

    /// Takes a lock for so long from now, or renews it, which may shorten it too.
    ///
    /// # Errors
    /// [`LockError`].
    pub async fn take(&self, name: &str, holder: &str, time: Duration) -> Result<Lock> {
        let limits = (self.limits)();
        check_name(name)?;
        check_holder(holder)?;
        if time.is_zero() || time > limits.time {
            return Err(LockError::Invalid(format!(
                "a lock is held for 1 to {} seconds (cluster.maxLockTime)",
                limits.time.as_secs()
            )));
        }
        self.database
            .transact(|tx: Transaction| async move {
                let now = self.now();
                let token = match find(&tx, name).await?.filter(|row| row.expires > now) {
                    Some(row) if row.holder == holder => row.token,
                    Some(row) => return Err(LockError::Held(row.into_lock(name))),
                    None => {
                        if sweep(&tx, now).await? >= limits.count {
                            return Err(LockError::Full(limits.count));
                        }
                        next_token(&tx, now).await?
                    }
                };
                let row = LockRow { holder: holder.to_owned(), expires: now + millis(time), token };
                let value = serde_json::to_vec(&row).map_err(|_| Error::Misuse("a row that is no JSON"))?;
                tx.set(&lock_key(name), &value);
                Ok(row.into_lock(name))
            })
            .await
    }

    /// Gives a lock back, if `holder` has it; otherwise nobody does, or it is an error.
    ///
    /// # Errors
    /// [`LockError::Held`] by another, [`LockError::Store`].
    pub async fn release(&self, name: &str, holder: &str) -> Result<()> {
        self.database
            .transact(|tx: Transaction| async move {
                match find(&tx, name).await? {
                    Some(row) if row.holder != holder && row.expires > self.now() => {
                        return Err(LockError::Held(row.into_lock(name)));
                    }
                    Some(_) => tx.clear(&lock_key(name)),
                    None => {}
                }
                Ok(())
            })
            .await
    }

    /// A lock, if it is held.
    ///
    /// # Errors
    /// [`LockError::Store`].
    pub async fn find(&self, name: &str) -> Result<Option<Lock>> {
        let row = self.database.read(|tx: Transaction| async move { find(&tx, name).await }).await?;
        Ok(row.filter(|row| row.expires > self.now()).map(|row| row.into_lock(name)))
    }

    /// At most `limit` of the locks that are held, in the order of their names, after that name.
    ///
    /// # Errors
    /// [`LockError::Store`].
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<Lock>> {
        let read = |tx: Transaction| async move {
            let options = RangeOptions { snapshot: true, ..RangeOptions::default() };
            Ok::<_, LockError>(tx.get_range(locks(), options).await?)
        };
        let now = self.now();
        let mut found = Vec::new();
        for row in self.database.read(read).await? {
            let Ok((name, row)) = decode(&row) else { continue };
            if row.expires > now && after.is_none_or(|after| name.as_str() > after) && found.len() < limit {
                found.push(row.into_lock(&name));
            }
        }
        Ok(found)
    }

    /// Removes the rows of locks that have ended.
    ///
    /// # Errors
    /// [`LockError::Store`].
    pub async fn sweep(&self) -> Result<()> {
        self.database.transact(|tx: Transaction| async move { sweep(&tx, self.now()).await.map(drop) }).await
    }

    /// Milliseconds since the epoch.
    fn now(&self) -> u64 {
        millis(self.clock.now())
    }
}

impl LockRow {
    fn into_lock(self, name: &str) -> Lock {
        let Self { holder, expires, token } = self;
        Lock { name: name.to_owned(), holder, expires: Duration::from_millis(expires), token }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn lock_key(name: &str) -> Vec<u8> {
    key(&(CLUSTER, "lock", name))
}

fn locks() -> std::ops::Range<Vec<u8>> {
    range(&(CLUSTER, "lock"))
}

fn decode(row: &KeyValue) -> Result<(String, LockRow)> {
    let (_, _, name): (u32, String, String) =
        unpack(&row.key).map_err(|_| Error::Corrupt("the key of a lock".into()))?;
    Ok((name, parse(&row.value)?))
}

fn parse(value: &[u8]) -> Result<LockRow> {
    Ok(serde_json::from_slice(value).map_err(|_| Error::Corrupt("the row of a lock".into()))?)
}

async fn find(tx: &Transaction, name: &str) -> Result<Option<LockRow>> {
    tx.get(&lock_key(name)).await?.map(|value| parse(&value)).transpose()
}

/// Removes locks that have ended; returns how many are left. One that is damaged counts, and nobody has it: whoever asks for it is told.
async fn sweep(tx: &Transaction, now: u64) -> Result<usize> {
    let mut left = 0;
    for row in tx.get_range(locks(), RangeOptions::default()).await? {
        match decode(&row) {
            Ok((_, lock)) if lock.expires <= now => tx.clear(&row.key),
            Ok(_) => left += 1,
            Err(error) => {
                tracing::warn!(%error, "a lock is damaged");
                left += 1;
            }
        }
    }
    Ok(left)
}

/// A token that is higher than all before. At least the time in milliseconds, so that it is so also after a store was restored, or made anew.
async fn next_token(tx: &Transaction, now: u64) -> Result<u64> {
    let key = key(&(CLUSTER, "lock token"));
    let last = tx.get(&key).await?.as_deref().and_then(|value| value.first_chunk().copied());
    let next = last.map_or(0, u64::from_be_bytes).saturating_add(1).max(now);
    tx.set(&key, &next.to_be_bytes());
    Ok(next)
}

fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if name.is_empty() || name.len() > MAX_TEXT || !name.chars().all(fits) {
        return Err(LockError::Invalid(format!(
            "the name of a lock is 1 to {MAX_TEXT} letters, digits and -._: of ASCII"
        )));
    }
    Ok(())
}

fn check_holder(holder: &str) -> Result<()> {
    if holder.is_empty() || holder.len() > MAX_TEXT || holder.chars().any(char::is_control) {
        return Err(LockError::Invalid(format!(
            "the holder of a lock is a text of 1 to {MAX_TEXT} octets without control characters"
        )));
    }
    Ok(())
}
