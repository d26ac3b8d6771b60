//! MTA-STS policies of other domains in the store, so that every process knows them, also one that just started (RFC 8461 §10.2).
//!
//! | key after the subspace | value |
//! |---|---|
//! | `1, domain` | the policy, its id and when it was fetched, as JSON |
//!
//! A row that cannot be read or written costs a fetch, nothing more.

use std::time::{SystemTime, UNIX_EPOCH};

use ekitei_kv::keys::{self, subspace};
use ekitei_kv::{Database, Error, Transaction};
use ekitei_relay::tls::sts::policy::Policy;
use ekitei_relay::tls::sts::{PolicyStore, StoredPolicy};
use futures_util::future::BoxFuture;

const POLICY: u32 = 1;
/// Rows removed in one transaction.
const BATCH: usize = 500;

/// The policies in the store: cheap to clone.
#[derive(Clone)]
pub(super) struct StoredPolicies {
    database: Database,
}

impl StoredPolicies {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Removes policies that expired: from time to time, in one process of the cluster.
    ///
    /// # Errors
    /// When the store fails; what is left waits for the next time.
    pub(super) async fn sweep_now(&self) -> Result<(), Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let removed = self.sweep(now).await?;
        tracing::debug!(removed, "MTA-STS policies expired");
        Ok(())
    }

    /// Removes what expired before `now`, in seconds since the epoch. Any process may do it at any time; returns how many there were.
    async fn sweep(&self, now: u64) -> Result<usize, Error> {
        let mut expired = Vec::new();
        let collect = |rows: Vec<ekitei_kv::KeyValue>| {
            expired.extend(rows.into_iter().filter(|row| is_expired(&row.value, now)).map(|row| row.key));
            Ok::<_, Error>(())
        };
        self.database.scan(keys::range(&(subspace::RELAY, POLICY)), collect).await?;
        for keys in expired.chunks(BATCH) {
            let clear = async |transaction: Transaction| {
                for key in keys {
                    // It may have been fetched anew meanwhile.
                    if transaction.get(key).await?.is_some_and(|value| is_expired(&value, now)) {
                        transaction.clear(key);
                    }
                }
                Ok::<_, Error>(())
            };
            self.database.transact(clear).await?;
        }
        Ok(expired.len())
    }
}

/// Whether nobody may use it any more, or could.
fn is_expired(value: &[u8], now: u64) -> bool {
    let Ok(stored) = serde_json::from_slice::<StoredPolicy>(value) else { return true };
    let Ok(policy) = Policy::parse(&stored.text) else { return true };
    stored.fetched.saturating_add(policy.max_age.as_secs()) <= now
}

fn key(domain: &str) -> Vec<u8> {
    keys::key(&(subspace::RELAY, POLICY, domain))
}

impl PolicyStore for StoredPolicies {
    fn load<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Option<StoredPolicy>> {
        let key = key(domain);
        Box::pin(async move {
            let read = self.database.read(async |transaction: Transaction| transaction.get(&key).await).await;
            match read {
                Ok(value) => serde_json::from_slice(&value?).ok(),
                Err(error) => {
                    tracing::debug!(%error, "an MTA-STS policy cannot be read from the store");
                    None
                }
            }
        })
    }

    fn save<'a>(&'a self, domain: &'a str, policy: &'a StoredPolicy) -> BoxFuture<'a, ()> {
        let key = key(domain);
        Box::pin(async move {
            let Ok(value) = serde_json::to_vec(policy) else { return };
            if value.len() > ekitei_kv::limits::VALUE_SIZE {
                return;
            }
            let write = async |transaction: Transaction| {
                transaction.set(&key, &value);
                Ok::<_, Error>(())
            };
            if let Err(error) = self.database.transact(write).await {
                tracing::debug!(%error, "an MTA-STS policy cannot be written to the store");
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(max_age: u64) -> StoredPolicy {
        let text = format!("version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: {max_age}\n");
        StoredPolicy { id: "1".to_owned(), text, fetched: 1_000 }
    }

    #[tokio::test]
    async fn policies_outlive_the_process_until_they_expire() {
        let database = Database::in_memory();
        let policies = StoredPolicies::new(database.clone());
        policies.save("a.example", &policy(100)).await;
        policies.save("b.example", &policy(500)).await;
        let restarted = StoredPolicies::new(database);
        assert_eq!(restarted.load("a.example").await, Some(policy(100)));
        assert_eq!(restarted.load("c.example").await, None);
        assert_eq!(restarted.sweep(1_200).await.ok(), Some(1));
        assert_eq!(restarted.load("a.example").await, None);
        assert_eq!(restarted.load("b.example").await, Some(policy(500)));
    }
}
