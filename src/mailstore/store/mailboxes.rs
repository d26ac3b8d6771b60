//! Mailboxes: listing, creating, renaming, deleting, subscribing.

use ekitei_kv::{RangeOptions, Transaction, decode_counter};
use futures_util::try_join;

use super::transaction::{Allocation, ensure_account, mailbox_named, mailbox_row, mailbox_rows, uid_next};
use super::{Inner, MailStore};
use crate::mutation::Mutation;
use crate::request::{Mailbox, Status};
use crate::rows::{self, Counter, MailboxRow, STAMP};
use crate::types::{AccountId, MailboxId, MailboxName, ModSeq, SpecialUse};
use crate::{Error, Result};

impl Mailbox {
    fn from_row(id: MailboxId, row: MailboxRow) -> Result<Self> {
        let name = MailboxName::new(&row.name).map_err(|_| Error::Corrupt("a mailbox name"))?;
        Ok(Self { id, name, uid_validity: row.uid_validity, special_use: row.special_use })
    }
}

impl MailStore {
    /// All mailboxes of an account, by name. The first call creates INBOX, Drafts, Sent, Trash, Junk and Archive.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn mailboxes(&self, account: AccountId) -> Result<Vec<Mailbox>> {
        let inner = &self.inner;
        let read = |transaction: Transaction| async move { mailbox_rows(&transaction, account).await };
        let mut rows = inner.database.read(read).await?;
        if rows.is_empty() {
            rows = inner
                .database
                .transact(|transaction| async move {
                    inner.prepare_account(&transaction, account).await?;
                    mailbox_rows(&transaction, account).await
                })
                .await?;
        }
        let mut mailboxes =
            rows.into_iter().map(|(id, row)| Mailbox::from_row(id, row)).collect::<Result<Vec<_>>>()?;
        mailboxes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(mailboxes)
    }

    /// The mailbox of that name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn mailbox(&self, account: AccountId, name: &MailboxName) -> Result<Option<Mailbox>> {
        let inner = &self.inner;
        let find = |transaction: Transaction| async move {
            let Some(id) = mailbox_named(&transaction, account, name).await? else { return Ok(None) };
            Mailbox::from_row(id, mailbox_row(&transaction, account, id).await?).map(Some)
        };
        if let Some(found) = inner.database.read(find).await? {
            return Ok(Some(found));
        }
        // An account that was never used has no mailbox at all, not even INBOX.
        inner
            .database
            .transact(|transaction| async move {
                inner.prepare_account(&transaction, account).await?;
                find(transaction).await
            })
            .await
    }

    /// Creates a mailbox and, where missing, those above it.
    ///
    /// # Errors
    /// [`Error::MailboxExists`], [`Error::Limit`]; [`Error::NotPermitted`] if another mailbox has that use.
    pub async fn create_mailbox(
        &self,
        account: AccountId,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
    ) -> Result<Mailbox> {
        let inner = &self.inner;
        let created = std::sync::Mutex::new(None);
        let created = &created;
        inner
            .database
            .transact(|transaction| async move {
                inner.prepare_account(&transaction, account).await?;
                if let Some(id) = mailbox_named(&transaction, account, name).await? {
                    // Ours, if an attempt whose result is unknown was going to give it this id.
                    let planned = *lock(created);
                    let row = mailbox_row(&transaction, account, id).await?;
                    return match planned {
                        Some(plan) if plan == (id, row.uid_validity) && transaction.may_have_committed() => {
                            Mailbox::from_row(id, row)
                        }
                        _ => Err(Error::MailboxExists),
                    };
                }
                let (id, row) = inner.create_in(&transaction, account, name, special_use).await?;
                *lock(created) = Some((id, row.uid_validity));
                Mailbox::from_row(id, row)
            })
            .await
    }

    /// Renames a mailbox and those below it, and the subscriptions to them stay with the names. Renaming INBOX moves its messages to a
    /// new mailbox (RFC 9051 §6.3.6).
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`], [`Error::MailboxExists`], [`Error::NotPermitted`], [`Error::Limit`].
    pub async fn rename_mailbox(
        &self,
        account: AccountId,
        from: &MailboxName,
        to: &MailboxName,
    ) -> Result<()> {
        if to.is_inbox() {
            return Err(Error::MailboxExists);
        }
        if from.is_inbox() {
            let target = self.create_mailbox(account, to, None).await?;
            let uids: Vec<_> = {
                let view = self.view(account, MailboxId::INBOX).await?.refresh().await?;
                view.entries.iter().map(|entry| entry.uid).collect()
            };
            self.move_messages(account, MailboxId::INBOX, &uids, target.id).await?;
            return Ok(());
        }
        if to.is_below(from) {
            return Err(Error::NotPermitted("a mailbox cannot be moved below itself"));
        }
        let inner = &self.inner;
        inner
            .database
            .transact(|transaction| async move { inner.rename_in(&transaction, account, from, to).await })
            .await
    }

    /// The names an account subscribed to, by name; they need not exist.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn subscriptions(&self, account: AccountId) -> Result<Vec<MailboxName>> {
        let found = self
            .inner
            .database
            .read(|transaction| async move {
                let range = rows::subscriptions(account);
                Ok::<_, Error>(transaction.get_range(range, RangeOptions::default()).await?)
            })
            .await?;
        let name = |row: &ekitei_kv::KeyValue| {
            let name = rows::subscribed_name(&row.key)?;
            MailboxName::new(&name).map_err(|_| Error::Corrupt("a subscription"))
        };
        let mut names = found.iter().map(name).collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    /// Subscribes to a name or not.
    ///
    /// # Errors
    /// [`Error::Limit`] for too many subscriptions.
    pub async fn set_subscribed(&self, account: AccountId, name: &MailboxName, on: bool) -> Result<()> {
        let inner = &self.inner;
        inner
            .database
            .transact(|transaction| async move {
                let key = rows::subscription(account, name.as_str());
                let options = RangeOptions { snapshot: true, ..RangeOptions::default() };
                // Not for those who wait for new mail, but for a backup, which reads only what changed.
                inner.touch(&transaction, account);
                if !on {
                    transaction.clear(&key);
                } else if transaction.get_range(rows::subscriptions(account), options).await?.len()
                    >= inner.settings.max_mailboxes
                {
                    return Err(Error::Limit("there are too many subscriptions"));
                } else {
                    transaction.set(&key, b"");
                }
                Ok(())
            })
            .await
    }

    /// The counters of a mailbox.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`].
    pub async fn status(&self, account: AccountId, mailbox: MailboxId) -> Result<Status> {
        self.inner
            .database
            .read(|transaction| async move {
                let count = async |counter| {
                    let value = transaction.get(&rows::counter(account, mailbox, counter)).await?;
                    Ok::<_, Error>(u64::try_from(decode_counter(value.as_deref())).unwrap_or(0))
                };
                let latest = async || {
                    let options = RangeOptions { limit: 1, reverse: true, ..RangeOptions::default() };
                    Ok(transaction.get_range(rows::changes(account, mailbox), options).await?)
                };
                // At once, since each read is a round trip on a cluster.
                let (row, uid_next, latest, messages, unseen, deleted, size) = try_join!(
                    mailbox_row(&transaction, account, mailbox),
                    uid_next(&transaction, account, mailbox),
                    latest(),
                    count(Counter::Messages),
                    count(Counter::Unseen),
                    count(Counter::Deleted),
                    count(Counter::Bytes),
                )?;
                let highest_modseq = match latest.first() {
                    Some(row) => rows::version_of(&rows::stamp_of(&row.key)?),
                    None => 0,
                };
                Ok(Status {
                    messages,
                    unseen,
                    deleted,
                    size,
                    uid_next,
                    uid_validity: row.uid_validity,
                    highest_modseq: ModSeq::new(self.inner.settings.incarnation, highest_modseq),
                })
            })
            .await
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Inner {
    /// Creates the mailboxes of a new account.
    pub(super) async fn prepare_account(&self, transaction: &Transaction, account: AccountId) -> Result<()> {
        let mut mutation = Mutation::new(transaction.clone(), self.operation(), self.settings.incarnation);
        ensure_account(transaction, account, &mut mutation, self.now()).await?;
        mutation.finish(self).await
    }

    /// Creates a mailbox that is not there yet, and those above it.
    async fn create_in(
        &self,
        transaction: &Transaction,
        account: AccountId,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
    ) -> Result<(MailboxId, MailboxRow)> {
        if name.depth() > self.settings.max_mailbox_depth {
            return Err(Error::Limit("the mailbox name has too many levels"));
        }
        let existing = mailbox_rows(transaction, account).await?;
        if special_use.is_some() && existing.iter().any(|(_, row)| row.special_use == special_use) {
            return Err(Error::NotPermitted("another mailbox has that special use"));
        }
        let missing: Vec<_> = std::iter::successors(name.parent(), MailboxName::parent)
            .take_while(|parent| existing.iter().all(|(_, row)| row.name != parent.as_str()))
            .collect();
        if existing.len() + missing.len() >= self.settings.max_mailboxes {
            return Err(Error::Limit("there are too many mailboxes"));
        }
        let mut allocation = Allocation::read(transaction, account).await?;
        for parent in missing.iter().rev() {
            allocation.create(transaction, parent, None, self.now());
        }
        let created = allocation.create(transaction, name, special_use, self.now());
        allocation.write(transaction);
        self.touch(transaction, account);
        Ok(created)
    }

    async fn rename_in(
        &self,
        transaction: &Transaction,
        account: AccountId,
        from: &MailboxName,
        to: &MailboxName,
    ) -> Result<()> {
        let existing = mailbox_rows(transaction, account).await?;
        let is_there = |name: &MailboxName| existing.iter().any(|(_, row)| row.name == name.as_str());
        if !is_there(from) {
            // Done already, if this is the repetition of an attempt whose result is unknown.
            let done = transaction.may_have_committed() && is_there(to);
            return if done { Ok(()) } else { Err(Error::NoSuchMailbox) };
        }
        if is_there(to) {
            return Err(Error::MailboxExists);
        }
        let mut renamed = Vec::new();
        for (id, row) in &existing {
            let name = MailboxName::new(&row.name).map_err(|_| Error::Corrupt("a mailbox name"))?;
            let Some(new) = name.rebased(from, to) else { continue };
            let new =
                MailboxName::new(new.as_str()).map_err(|_| Error::Limit("the mailbox name is too long"))?;
            if new.depth() > self.settings.max_mailbox_depth {
                return Err(Error::Limit("the mailbox name has too many levels"));
            }
            renamed.push((*id, row, new));
        }
        for (id, row, new) in renamed {
            transaction.clear(&rows::name(account, &row.name));
            transaction.set(&rows::name(account, new.as_str()), &id.0.to_le_bytes());
            let row = MailboxRow { name: new.as_str().to_owned(), ..row.clone() };
            transaction.set(&rows::mailbox(account, id), &rows::encode(&row));
        }
        if let Some(parent) = to.parent()
            && mailbox_named(transaction, account, &parent).await?.is_none()
        {
            self.create_in(transaction, account, &parent, None).await?;
        }
        self.touch(transaction, account);
        Ok(())
    }

    /// Lets those who watch the account know that something changed.
    pub(super) fn touch(&self, transaction: &Transaction, account: AccountId) {
        transaction.set_versionstamped_value(&rows::latest_change(account), &[0; STAMP], 0);
    }
}
