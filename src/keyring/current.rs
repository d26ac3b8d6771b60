//! The keys for bodies: the one in force, made when there is none yet; any by its number.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ekitei_blob::{DATA_KEY_OCTETS, DataKey, DataKeyId, DataKeys, KeyError, KeyFuture, KeyScope};
use ekitei_kv::{Transaction, Version};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::keyring::{Current, Keyring};
use crate::rows::{self, KeyRow};
use crate::wrapper::{Clear, WrapError};

impl DataKeys for Keyring {
    fn is_enabled(&self) -> bool {
        // A reload can turn it on together with a key of KMS, which is known only after a restart: then it begins with that.
        self.masters().has_current() && self.inner.live.load().encryption.enabled && (self.inner.gate)()
    }

    fn current<'a>(&'a self, scope: &'a KeyScope) -> KeyFuture<'a, Option<Arc<DataKey>>> {
        Box::pin(async move {
            if !self.is_enabled() {
                return Ok(None);
            }
            let key = match self.known(scope).await? {
                Some(key) => key,
                None => self.make_first(scope).await?,
            };
            self.get(key).await.map(Some)
        })
    }

    fn get(&self, key: DataKeyId) -> KeyFuture<'_, Arc<DataKey>> {
        Box::pin(async move { self.inner.keys.get_or_insert_async(&key, self.load(key)).await })
    }

    fn confirm<'a>(&'a self, transaction: &'a Transaction, key: DataKeyId) -> KeyFuture<'a, ()> {
        Box::pin(async move {
            if transaction.get(&rows::closed_key(key)).await?.is_none() {
                return Ok(());
            }
            // Whoever tries again must not be given the same key: the news that it is closed may come much later.
            self.inner.last_change.fetch_max(transaction.read_version().await?, Ordering::AcqRel);
            let row = rows::find(transaction, key).await?;
            let scope = row.map_or(KeyScope::Service, |row| rows::scope_of(&row.scope));
            Err(KeyError::Destroyed { key, scope })
        })
    }
}

impl Keyring {
    /// The key in force, if there is one: from memory, unless some key changed since.
    async fn known(&self, scope: &KeyScope) -> Result<Option<DataKeyId>> {
        if let Some(current) = self.inner.current.get(scope)
            && current.read_at >= self.inner.last_change.load(Ordering::Acquire)
        {
            return Ok(Some(current.key));
        }
        let text = rows::scope_text(scope);
        let read = |tx: Transaction| async move {
            Ok::<_, Error>((rows::current(&tx, text).await?, tx.read_version().await?))
        };
        let (found, read_at) = self.inner.db.read(read).await?;
        if let Some(key) = found {
            self.remember(scope, key, read_at);
        }
        Ok(found)
    }

    pub(crate) fn remember(&self, scope: &KeyScope, key: DataKeyId, read_at: Version) {
        self.inner.current.insert(scope.clone(), Current { key, read_at });
    }

    /// Makes the first key of a scope, unless another task or process does.
    async fn make_first(&self, scope: &KeyScope) -> Result<DataKeyId> {
        let mut hasher = DefaultHasher::new();
        scope.hash(&mut hasher);
        let stripes = self.inner.making.len();
        let stripe = usize::try_from(hasher.finish() % stripes as u64).unwrap_or(0);
        let _turn = self.inner.making[stripe].lock().await;
        if let Some(key) = self.known(scope).await? {
            return Ok(key);
        }
        let key = self.make(scope, None).await?;
        tracing::info!(%scope, key = key.get(), "a data key was made");
        Ok(key)
    }

    /// Makes a key and puts it in force in place of `expected`; if another one is in force by then, that is the answer.
    pub(crate) async fn make(&self, scope: &KeyScope, expected: Option<DataKeyId>) -> Result<DataKeyId> {
        let mut clear: Clear = Zeroizing::new([0; DATA_KEY_OCTETS]);
        let whose = || scope.to_string();
        aws_lc_rs::rand::fill(&mut *clear).map_err(|_| Error::Master {
            whose: whose(),
            error: WrapError::Refused("there are no random numbers".to_owned()),
        })?;
        let text = rows::scope_text(scope);
        let wrapped = self.masters().wrap(&clear, text).await;
        let wrapped = wrapped.map_err(|error| Error::Master { whose: whose(), error })?;
        let new = &KeyRow {
            scope: text.to_owned(),
            created: self.now(),
            retired: None,
            destroyed: None,
            wrapped: Some(wrapped),
            operation: rand::random(),
        };
        let store = |tx: Transaction| async move {
            let current = rows::current(&tx, text).await?;
            if let Some(key) = current.filter(|_| current != expected) {
                let own = rows::find(&tx, key).await?.is_some_and(|row| row.operation == new.operation);
                return Ok((key, own));
            }
            if let Some(old) = current
                && let Some(row) = rows::find(&tx, old).await?
            {
                rows::put(&tx, old, &KeyRow { retired: Some(new.created), ..row })?;
            }
            let key = rows::next_number(&tx).await?;
            rows::put(&tx, key, new)?;
            tx.set(&rows::current_key(text), &key.get().to_be_bytes());
            Ok((key, true))
        };
        let ((key, own), version) = self.change_at(store).await?;
        if own {
            self.inner.keys.insert(key, Arc::new(DataKey::new(key, &clear)));
        }
        // Not as of the latest change that is known: that may be a later one, which took the key out of force.
        self.remember(scope, key, version);
        Ok(key)
    }

    /// Reads and unwraps a key.
    async fn load(&self, key: DataKeyId) -> Result<Arc<DataKey>, KeyError> {
        let read = |tx: Transaction| async move { Ok::<_, Error>(rows::find(&tx, key).await?) };
        let Some(row) = self.inner.db.read(read).await? else {
            return Err(KeyError::Missing { key, reason: "the store has no row of it" });
        };
        let Some(wrapped) = row.wrapped else {
            return Err(KeyError::Destroyed { key, scope: rows::scope_of(&row.scope) });
        };
        let whose = || format!("{} (number {})", rows::scope_of(&row.scope), key.get());
        let clear = self.masters().unwrap(&wrapped, &row.scope).await;
        let clear = clear.map_err(|error| Error::Master { whose: whose(), error })?;
        Ok(Arc::new(DataKey::new(key, &clear)))
    }
}
