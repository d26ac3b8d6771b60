//! The life of data keys: shown, replaced by new ones, wrapped by another master key.

use ekitei_blob::{DataKeyId, KeyScope};
use ekitei_kv::{RangeOptions, Transaction};

use crate::error::{Error, Result};
use crate::keyring::Keyring;
use crate::model::{KeyInfo, KeyPage, KeyState, Rewrapped, Rotated};
use crate::rows::{self, KeyRow};

/// Rows that one transaction reads.
const PAGE: usize = 1000;

impl Keyring {
    /// A page of the keys of one scope, or of all.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(
        &self,
        scope: Option<&KeyScope>,
        after: Option<DataKeyId>,
        limit: usize,
    ) -> Result<KeyPage> {
        let mut page = KeyPage::default();
        let mut from = after;
        loop {
            let (rows, more) = self.rows(from).await?;
            for (key, row) in rows {
                from = Some(key);
                if scope.is_some_and(|scope| rows::scope_text(scope) != row.scope) {
                    continue;
                }
                if page.items.len() >= limit.max(1) {
                    page.next = page.items.last().map(|last| last.id);
                    return Ok(page);
                }
                page.items.push(KeyInfo::new(key, row));
            }
            if !more {
                return Ok(page);
            }
        }
    }

    /// A key.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`], [`Error::Store`].
    pub async fn key(&self, key: DataKeyId) -> Result<KeyInfo> {
        let read = |tx: Transaction| async move { Ok::<_, Error>(rows::find(&tx, key).await?) };
        let row = self.inner.db.read(read).await?.ok_or(Error::NoSuchKey(key))?;
        Ok(KeyInfo::new(key, row))
    }

    /// Some keys behind a number, and whether there are more.
    pub(crate) async fn rows(&self, after: Option<DataKeyId>) -> Result<(Vec<(DataKeyId, KeyRow)>, bool)> {
        let mut range = rows::all_keys();
        if let Some(after) = after {
            range.start = rows::key_key(after);
            range.start.push(0);
        }
        let range = &range;
        let options = RangeOptions { limit: PAGE, snapshot: true, ..RangeOptions::default() };
        let read =
            |tx: Transaction| async move { Ok::<_, Error>(tx.get_range(range.clone(), options).await?) };
        let found = self.inner.db.read(read).await?;
        let more = found.len() == PAGE;
        let rows = found.iter().map(rows::numbered).collect::<Result<_, _>>()?;
        Ok((rows, more))
    }

    /// Puts a new key in force for a scope. Older ones go on reading; bodies stay as they are.
    ///
    /// # Errors
    /// [`Error::NoKeyYet`], [`Error::Master`], [`Error::Store`].
    pub async fn rotate(&self, scope: &KeyScope) -> Result<KeyInfo> {
        let text = rows::scope_text(scope);
        let read = |tx: Transaction| async move { Ok::<_, Error>(rows::current(&tx, text).await?) };
        let current = self.inner.db.read(read).await?;
        let current = current.ok_or_else(|| Error::NoKeyYet(scope.to_string()))?;
        let key = self.make(scope, Some(current)).await?;
        tracing::info!(%scope, key = key.get(), before = current.get(), "a new data key is in force");
        self.key(key).await
    }

    /// Puts new keys in force for all scopes that have one. Scopes that fail are counted, and do not hold up the others.
    ///
    /// # Errors
    /// [`Error::Store`]: what is done stays done.
    pub async fn rotate_all(&self) -> Result<Rotated> {
        self.replace(|_| true).await
    }

    /// Puts new keys in force in place of those that are due. Keys that are made meanwhile are not looked at.
    pub(crate) async fn replace(&self, is_due: impl Fn(&KeyRow) -> bool) -> Result<Rotated> {
        let begin = self.now();
        let mut done = Rotated::default();
        let mut after = None;
        loop {
            let (page, more) = self.rows(after).await?;
            for (key, row) in page {
                after = Some(key);
                let is_old = row.state() == KeyState::Active && row.created <= begin;
                if done.made.contains(&key) || !is_old || !is_due(&row) {
                    continue;
                }
                let scope = rows::scope_of(&row.scope);
                match self.make(&scope, Some(key)).await {
                    Ok(new) => {
                        done.made.insert(new);
                        done.rotated += 1;
                    }
                    Err(Error::Store(error)) => return Err(error.into()),
                    Err(error) => {
                        tracing::warn!(%scope, %error, "a data key stays in force");
                        done.failed += 1;
                    }
                }
            }
            if !more {
                return Ok(done);
            }
        }
    }

    /// Wraps all keys by the master key in force. Those that it wraps already stay as they are; those that fail are counted, and do not hold up the others.
    ///
    /// # Errors
    /// [`Error::Store`]: what is done stays done.
    pub async fn rewrap(&self) -> Result<Rewrapped> {
        let mut done = Rewrapped::default();
        let mut after = None;
        loop {
            let (rows, more) = self.rows(after).await?;
            for (key, row) in rows {
                after = Some(key);
                match self.rewrap_one(key, row).await {
                    Ok(Some(true)) => done.rewrapped += 1,
                    Ok(Some(false)) => done.current += 1,
                    Ok(None) => {}
                    Err(Error::Store(error)) => return Err(error.into()),
                    Err(error) => {
                        tracing::warn!(key = key.get(), %error, "a data key stays under its master key");
                        done.failed += 1;
                    }
                }
            }
            if !more {
                tracing::info!(?done, "data keys were wrapped by the master key in force");
                return Ok(done);
            }
        }
    }

    /// Whether the key had to be wrapped anew; `None` for one that was destroyed.
    async fn rewrap_one(&self, key: DataKeyId, row: KeyRow) -> Result<Option<bool>> {
        let Some(before) = &row.wrapped else {
            return Ok(None);
        };
        let masters = self.masters();
        if masters.current().as_deref() == Some(before.by.as_str()) {
            return Ok(Some(false));
        }
        let failed = |error| Error::Master { whose: format!("number {}", key.get()), error };
        let clear = masters.unwrap(before, &row.scope).await.map_err(failed)?;
        let after = &masters.wrap(&clear, &row.scope).await.map_err(failed)?;
        let store = |tx: Transaction| async move {
            let Some(row) = rows::find(&tx, key).await? else {
                return Ok::<_, Error>(None);
            };
            // It may have been destroyed, or wrapped by somebody else, meanwhile.
            if row.wrapped.as_ref() == Some(before) {
                rows::put(&tx, key, &KeyRow { wrapped: Some(after.clone()), ..row })?;
            }
            Ok(Some(true))
        };
        self.inner.db.transact(store).await
    }
}
