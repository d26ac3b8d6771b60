//! Lookups kept in memory, and how they are forgotten.
//!
//! An entry remembers the version of the store that it was read at, and counts only while that is not before the last known
//! change of the directory. So a lookup that was under way during a change can never put an old answer back, and
//! nothing needs to be deleted when something changes: not here, and not in other processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ekitei_kv::Version;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::address::{Domain, EmailAddress};
use crate::model::{Account, AccountId, DomainInfo, Recipient};
use crate::rows::{AppPasswordRow, CredentialRow};

/// What was looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Domain(Domain),
    /// By the spelling, since the detail keeps it.
    Recipient(String),
    Account(AccountId),
    /// What an account may send as.
    Sender(AccountId, EmailAddress),
    Login(EmailAddress),
}

/// What was found.
#[derive(Clone)]
pub(crate) enum Value {
    Domain(Option<Arc<DomainInfo>>),
    Recipient(Recipient),
    Account(Option<Arc<Account>>),
    Sender(bool),
    Login(Option<Arc<Login>>),
}

/// What a login is checked against.
pub(crate) struct Login {
    pub(crate) account: Account,
    /// Whether the account and its domain are.
    pub(crate) enabled: bool,
    pub(crate) credential: Option<CredentialRow>,
    pub(crate) app_passwords: Vec<AppPasswordRow>,
}

#[derive(Clone)]
struct Entry {
    value: Value,
    /// The version of the store that `value` is the state of.
    read_at: Version,
    expires: Instant,
}

/// The lookups of one process.
pub(crate) struct Lookups {
    entries: Cache<Key, Entry>,
    ttl: Duration,
    /// The version of the last change that this process knows of.
    last_change: Arc<AtomicU64>,
}

impl Lookups {
    /// An empty cache that shares `last_change` with the one it replaces.
    pub(crate) fn new(entries: usize, ttl: Duration, last_change: Arc<AtomicU64>) -> Self {
        Self { entries: Cache::new(entries.max(1)), ttl, last_change }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Value> {
        let entry = self.entries.get(key)?;
        let current = entry.read_at >= self.last_change.load(Ordering::Acquire);
        (current && Instant::now() < entry.expires).then_some(entry.value)
    }

    pub(crate) fn insert(&self, key: Key, value: Value, read_at: Version) {
        if self.ttl > Duration::ZERO {
            self.entries.insert(key, Entry { value, read_at, expires: Instant::now() + self.ttl });
        }
    }

    /// Forgets what was read before `version`.
    pub(crate) fn changed_at(&self, version: Version) {
        self.last_change.fetch_max(version, Ordering::AcqRel);
    }

    /// Forgets everything, when it is not known what changed.
    pub(crate) fn clear(&self) {
        self.entries.clear();
    }
}
