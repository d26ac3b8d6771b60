//! Destroying data keys, and so what they encrypted.
//!
//! First the key is *closed*: its row is marked, so that no body is stored under it any more, not even by a process that has it in memory (each transaction that stores a body
//! reads the mark), and the next message gets a new key. Only then it is looked whether a body needs it, and its secret is overwritten. The mark says whose it is: of two that destroy one key at
//! the same time the later one has it, and only who has it opens the key again, or goes on without force.

use ekitei_blob::DataKeyId;
use ekitei_kv::Transaction;

use crate::error::{Error, Result};
use crate::keyring::Keyring;
use crate::model::KeyInfo;
use crate::rows::{self, KeyRow};

/// The random id of one destruction.
type Mark = [u8; 16];

/// Whether the key is closed by this destruction.
async fn has_mark(tx: &Transaction, key: DataKeyId, mark: Mark) -> Result<bool> {
    Ok(tx.get(&rows::closed_key(key)).await?.is_some_and(|found| found[..] == mark))
}

impl Keyring {
    /// Destroys a key. Unless it is forced, every record of a body is read first, and one that needs the key prevents it.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`], [`Error::InUse`] (the key is retired then), [`Error::Bodies`], [`Error::Store`];
    /// [`Error::Overtaken`] when another destruction of the key began meanwhile.
    pub async fn destroy(&self, key: DataKeyId, force: bool) -> Result<KeyInfo> {
        let mark = rand::random();
        self.close(key, mark).await?;
        if !force {
            let needed = ekitei_blob::body_under(&self.inner.db, key).await;
            match needed {
                Ok(None) => {}
                Ok(Some(body)) => {
                    self.reopen(key, mark).await?;
                    return Err(Error::InUse { key, body: body.to_string() });
                }
                Err(error) => {
                    self.reopen(key, mark).await?;
                    return Err(Error::Bodies(error));
                }
            }
        }
        self.overwrite(key, mark, force).await?;
        self.inner.keys.remove(&key);
        let info = self.key(key).await?;
        tracing::warn!(key = key.get(), scope = %info.scope, force, "a data key was destroyed");
        Ok(info)
    }

    /// Overwrites the secret.
    async fn overwrite(&self, key: DataKeyId, mark: Mark, force: bool) -> Result<()> {
        let now = self.now();
        self.change(|tx| async move {
            let row = rows::find(&tx, key).await?.ok_or(Error::NoSuchKey(key))?;
            if row.destroyed.is_some() {
                return Ok(());
            }
            // Without the mark a body may have been stored under the key since it was looked for.
            if !force && !has_mark(&tx, key, mark).await? {
                return Err(Error::Overtaken(key));
            }
            Ok(rows::put(&tx, key, &KeyRow { wrapped: None, destroyed: Some(now), ..row })?)
        })
        .await
    }

    /// Lets no body be stored under the key, and takes it out of force.
    async fn close(&self, key: DataKeyId, mark: Mark) -> Result<()> {
        let now = self.now();
        self.change(|tx| async move {
            let row = rows::find(&tx, key).await?.ok_or(Error::NoSuchKey(key))?;
            if rows::current(&tx, &row.scope).await? == Some(key) {
                tx.clear(&rows::current_key(&row.scope));
            }
            tx.set(&rows::closed_key(key), &mark);
            let retired = row.retired.or(Some(now));
            Ok(rows::put(&tx, key, &KeyRow { retired, ..row })?)
        })
        .await
    }

    /// Takes the mark away from a key that is not destroyed after all. It stays retired.
    async fn reopen(&self, key: DataKeyId, mark: Mark) -> Result<()> {
        self.change(|tx| async move {
            let row = rows::find(&tx, key).await?;
            if row.is_some_and(|row| row.destroyed.is_none()) && has_mark(&tx, key, mark).await? {
                tx.clear(&rows::closed_key(key));
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use base64::Engine as _;
    use ekitei_blob::{DataKeys as _, KeyScope};
    use ekitei_config::{Config, Encryption, Live, Secret};
    use ekitei_kv::Database;
    use ekitei_kv::clock::ManualClock;
    use ekitei_telemetry::Registry;

    use super::*;
    use crate::master::MasterKeys;
    use crate::model::KeyState;

    fn keyring() -> Keyring {
        keyring_of(Database::in_memory())
    }

    fn keyring_of(database: Database) -> Keyring {
        let secret = base64::engine::general_purpose::STANDARD.encode([1; 32]);
        let master_key = Some(Secret::new(secret));
        let encryption = Encryption { enabled: true, master_key, ..Encryption::default() };
        let (current, previous) = MasterKeys::local(&encryption).unwrap();
        let registry = Registry::new();
        Keyring::new(crate::Parts {
            database,
            masters: MasterKeys::new(current, previous, &registry),
            live: Live::new(Config { encryption, ..Config::default() }),
            gate: Arc::new(|| true),
            clock: ManualClock::new(Duration::from_secs(1_000_000)),
            registry,
        })
    }

    #[tokio::test]
    async fn a_key_that_was_made_is_not_taken_for_newer_than_it_is() {
        let (one, scope) = (keyring(), &KeyScope::Service);
        // Another process changed keys after this one made its own, and that was heard of first.
        one.inner.last_change.store(1 << 40, std::sync::atomic::Ordering::Release);
        let first = one.current(scope).await.unwrap().unwrap().id();
        let other = keyring_of(one.inner.db.clone());
        let second = other.rotate(scope).await.unwrap().id;
        assert_ne!(first, second);
        assert_eq!(one.current(scope).await.unwrap().unwrap().id(), second);
    }

    #[tokio::test]
    async fn who_is_refused_a_key_that_is_closed_takes_another_though_it_did_not_hear_of_that() {
        let (one, scope) = (keyring(), &KeyScope::Service);
        let first = one.current(scope).await.unwrap().unwrap().id();
        let other = keyring_of(one.inner.db.clone());
        other.close(first, [1; 16]).await.unwrap();
        assert_eq!(one.current(scope).await.unwrap().unwrap().id(), first, "nobody told it");
        let keys = &one;
        let store = |tx: Transaction| async move { keys.confirm(&tx, first).await };
        assert!(one.inner.db.transact(store).await.is_err());
        assert_ne!(one.current(scope).await.unwrap().unwrap().id(), first);
    }

    #[tokio::test]
    async fn of_two_destructions_one_does_not_open_the_key_under_the_other() {
        let keyring = keyring();
        let key = keyring.current(&KeyScope::Service).await.unwrap().unwrap().id();
        let [one, other] = [[1; 16], [2; 16]];
        let is_closed = async || {
            let row = |tx: Transaction| async move { tx.get(&rows::closed_key(key)).await };
            keyring.inner.db.read(row).await.unwrap().is_some()
        };
        keyring.close(key, one).await.unwrap();
        keyring.close(key, other).await.unwrap();
        keyring.reopen(key, one).await.unwrap();
        assert!(is_closed().await, "the other one is looking for bodies");
        assert!(matches!(keyring.overwrite(key, one, false).await, Err(Error::Overtaken(_))));

        keyring.reopen(key, other).await.unwrap();
        assert!(!is_closed().await);
        assert!(matches!(keyring.overwrite(key, other, false).await, Err(Error::Overtaken(_))));
        assert_eq!(keyring.key(key).await.unwrap().state, KeyState::Retired);
        keyring.overwrite(key, other, true).await.unwrap();
        assert_eq!(keyring.key(key).await.unwrap().state, KeyState::Destroyed);
    }
}
