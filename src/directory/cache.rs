//! Lookups kept in memory, and how they are forgotten.
//!
//! An entry remembers the version of the store that it was read at, and counts only while that is not before the last known
//! change of the directory. So a lookup that was under way during a change can never put an old answer back, and
//! nothing needs to be deleted when something changes: not here, and not in other processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ekitei_kv::Version;
use quick_cache::Weighter;
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

/// Counts an entry as the addresses that it holds: a group of thousands is looked up under as many names as it has spellings and
/// details, and each of them takes the memory of thousands.
#[derive(Clone)]
struct ByAddresses;

impl Weighter<Key, Entry> for ByAddresses {
    fn weight(&self, _key: &Key, entry: &Entry) -> u64 {
        match &entry.value {
            Value::Recipient(Recipient::Local { accounts, forwards }) => {
                (accounts.len() + forwards.len()).max(1) as u64
            }
            Value::Login(Some(login)) => 1 + login.app_passwords.len() as u64,
            _ => 1,
        }
    }
}

/// The lookups of one process.
pub(crate) struct Lookups {
    entries: Cache<Key, Entry, ByAddresses>,
    ttl: Duration,
    /// The version of the last change that this process knows of.
    last_change: Arc<AtomicU64>,
}

impl Lookups {
    /// An empty cache for so many addresses, that shares `last_change` with the one it replaces.
    pub(crate) fn new(entries: usize, ttl: Duration, last_change: Arc<AtomicU64>) -> Self {
        let entries = entries.max(1);
        Self { entries: Cache::with_weighter(entries, entries as u64, ByAddresses), ttl, last_change }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn large_groups_fill_the_cache_sooner() {
        const CAPACITY: usize = 1_000;
        let lookups = Lookups::new(CAPACITY, Duration::from_secs(60), Arc::default());
        let forwards: Vec<EmailAddress> =
            (0..100).map(|n| EmailAddress::parse(&format!("m{n}@elsewhere.test")).unwrap()).collect();
        for detail in 0..CAPACITY {
            let value =
                Value::Recipient(Recipient::Local { accounts: Vec::new(), forwards: forwards.clone() });
            lookups.insert(Key::Recipient(format!("all+{detail}@example.test")), value, 1);
        }
        assert!(lookups.entries.len() * forwards.len() <= CAPACITY, "{} entries", lookups.entries.len());
    }
}
