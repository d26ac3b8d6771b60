//! Destroying data keys, and so what they encrypted.
//!
//! First the key is *closed*: its row is marked, so that no body is stored under it any more, not even by a process that has it in memory (each transaction that stores a body
//! reads the mark), and the next message gets a new key. Only then it is looked whether a body needs it, and its secret is overwritten.

use ekitei_blob::DataKeyId;
use ekitei_kv::Transaction;

use crate::error::{Error, Result};
use crate::keyring::Keyring;
use crate::model::KeyInfo;
use crate::rows::{self, KeyRow};

impl Keyring {
    /// Destroys a key. Unless it is forced, every record of a body is read first, and one that needs the key prevents it.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`], [`Error::InUse`] (the key is retired then), [`Error::Bodies`], [`Error::Store`].
    pub async fn destroy(&self, key: DataKeyId, force: bool) -> Result<KeyInfo> {
        self.close(key).await?;
        if !force {
            let needed = ekitei_blob::body_under(&self.inner.db, key).await;
            match needed {
                Ok(None) => {}
                Ok(Some(body)) => {
                    self.reopen(key).await?;
                    return Err(Error::InUse { key, body: body.to_string() });
                }
                Err(error) => {
                    self.reopen(key).await?;
                    return Err(Error::Bodies(error));
                }
            }
        }
        let now = self.now();
        let overwrite = |tx: Transaction| async move {
            let row = rows::find(&tx, key).await?.ok_or(Error::NoSuchKey(key))?;
            if row.destroyed.is_none() {
                rows::put(&tx, key, &KeyRow { wrapped: None, destroyed: Some(now), ..row })?;
            }
            Ok(())
        };
        self.change(overwrite).await?;
        self.inner.keys.remove(&key);
        let info = self.key(key).await?;
        tracing::warn!(key = key.get(), scope = %info.scope, force, "a data key was destroyed");
        Ok(info)
    }

    /// Lets no body be stored under the key, and takes it out of force.
    async fn close(&self, key: DataKeyId) -> Result<()> {
        let now = self.now();
        self.change(|tx| async move {
            let row = rows::find(&tx, key).await?.ok_or(Error::NoSuchKey(key))?;
            if rows::current(&tx, &row.scope).await? == Some(key) {
                tx.clear(&rows::current_key(&row.scope));
            }
            tx.set(&rows::closed_key(key), b"");
            let retired = row.retired.or(Some(now));
            Ok(rows::put(&tx, key, &KeyRow { retired, ..row })?)
        })
        .await
    }

    /// Takes the mark away from a key that is not destroyed after all. It stays retired.
    async fn reopen(&self, key: DataKeyId) -> Result<()> {
        self.change(|tx| async move {
            let row = rows::find(&tx, key).await?;
            if row.is_some_and(|row| row.destroyed.is_none()) {
                tx.clear(&rows::closed_key(key));
            }
            Ok(())
        })
        .await
    }
}
