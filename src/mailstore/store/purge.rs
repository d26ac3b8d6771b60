//! Deleting mailboxes and accounts. A mailbox vanishes in one transaction; its messages are removed after that, in batches, under a
//! row that lets any process finish what another began.

use std::ops::Range;

use ekitei_kv::{RangeOptions, decode_counter};

use super::expunge::BATCH;
use super::transaction::{Allocation, entries_in, mailbox_named, mailbox_rows};
use super::{Inner, MailStore};
use crate::mutation::Mutation;
use crate::rows::{self, Counter, UsageCounter};
use crate::types::{AccountId, MailboxId, MailboxName};
use crate::{Error, Result};

impl MailStore {
    /// Deletes a mailbox with its messages. One that has others below it is refused.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`]; [`Error::NotPermitted`] for INBOX; [`Error::HasChildren`].
    pub async fn delete_mailbox(&self, account: AccountId, name: &MailboxName) -> Result<()> {
        if name.is_inbox() {
            return Err(Error::NotPermitted("INBOX cannot be deleted"));
        }
        let inner = &self.inner;
        let found = &std::sync::Mutex::new(None);
        let mailbox = inner
            .database
            .transact(|transaction| async move {
                let Some(id) = mailbox_named(&transaction, account, name).await? else {
                    // Done already, if this is the repetition of an attempt whose result is unknown.
                    let done = *found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    return done.filter(|_| transaction.may_have_committed()).ok_or(Error::NoSuchMailbox);
                };
                let others = mailbox_rows(&transaction, account).await?;
                let is_below = |other: &str| MailboxName::new(other).is_ok_and(|other| other.is_below(name));
                if others.iter().any(|(_, row)| is_below(&row.name)) {
                    return Err(Error::HasChildren);
                }
                transaction.clear(&rows::name(account, name.as_str()));
                inner.unlink(&transaction, account, id).await?;
                *found.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(id);
                Ok(id)
            })
            .await?;
        inner.purge(account, mailbox).await
    }

    /// Deletes all mail of an account, for good; in steps, to be repeated until it succeeds.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete_account(&self, account: AccountId) -> Result<()> {
        let inner = &self.inner;
        let mailboxes = inner
            .database
            .transact(|transaction| async move {
                let mailboxes = mailbox_rows(&transaction, account).await?;
                for (id, row) in &mailboxes {
                    transaction.clear(&rows::name(account, &row.name));
                    inner.unlink(&transaction, account, *id).await?;
                }
                if transaction.get(&rows::restoring(account)).await?.is_some() {
                    // What a restore wrote under cover goes the way of deleted mailboxes.
                    for id in 1..Allocation::read(&transaction, account).await?.numbers().0 {
                        transaction.set(&rows::purge(account, MailboxId(id)), b"");
                    }
                    transaction.clear(&rows::restoring(account));
                }
                transaction.clear_range(rows::subscriptions(account));
                Ok::<_, Error>(mailboxes)
            })
            .await?;
        for (id, _) in mailboxes {
            inner.purge(account, id).await?;
        }
        self.purge_all(rows::purges_of(account)).await?;
        inner
            .database
            .transact(|transaction| async move {
                // Unless another process was done before, and the account began anew.
                if mailbox_rows(&transaction, account).await?.is_empty() {
                    inner.leave(&transaction, account).await?;
                    transaction.clear_range(rows::all_mailbox_rows(account));
                }
                Ok(())
            })
            .await
    }

    /// Finishes the removal of deleted mailboxes that was interrupted; returns how many there were. For start-up and a timer.
    ///
    /// # Errors
    /// When the store fails, or a mailbox is damaged: the others are removed all the same.
    pub async fn finish_purges(&self) -> Result<usize> {
        self.purge_all(rows::purges()).await
    }

    async fn purge_all(&self, purges: Range<Vec<u8>>) -> Result<usize> {
        let mut waiting = Vec::new();
        let page = |rows: Vec<ekitei_kv::KeyValue>| {
            for row in rows {
                waiting.push(rows::purge_of(&row.key)?);
            }
            Ok::<_, Error>(())
        };
        self.inner.database.scan(purges, page).await?;
        let mut damaged = None;
        for &(account, mailbox) in &waiting {
            match self.inner.purge(account, mailbox).await {
                Err(error @ Error::Corrupt(_)) => {
                    tracing::error!(%account, mailbox = mailbox.0, %error, "a deleted mailbox stays where it is");
                    damaged.get_or_insert(error);
                }
                purged => purged?,
            }
        }
        damaged.map_or(Ok(waiting.len()), Err)
    }
}

impl Inner {
    /// Makes a mailbox vanish: nobody finds it or writes to it any more, and the account holds that much less. Its name is cleared by
    /// the caller.
    async fn unlink(
        &self,
        transaction: &ekitei_kv::Transaction,
        account: AccountId,
        mailbox: MailboxId,
    ) -> Result<()> {
        let kinds = [(Counter::Bytes, UsageCounter::Bytes), (Counter::Messages, UsageCounter::Messages)];
        let mut held = [0; 2];
        for (counter, usage) in kinds {
            let value = transaction.get(&rows::counter(account, mailbox, counter)).await?;
            held[usage as usize] = decode_counter(value.as_deref());
        }
        let mut mutation = Mutation::new(transaction.clone(), self.operation(), self.settings.incarnation);
        mutation.lose(account, held);
        mutation.finish(self).await?;
        transaction.clear(&rows::mailbox(account, mailbox));
        transaction.clear(&rows::uid_next(account, mailbox));
        transaction.clear_range(rows::counters(account, mailbox));
        transaction.set(&rows::purge(account, mailbox), b"");
        Ok(())
    }

    /// Removes the messages of a mailbox that vanished.
    async fn purge(&self, account: AccountId, mailbox: MailboxId) -> Result<()> {
        loop {
            let more = self
                .database
                .transact(|transaction| async move {
                    // Another process may be done with it.
                    if transaction.get(&rows::purge(account, mailbox)).await?.is_none() {
                        return Ok(false);
                    }
                    let options = RangeOptions { limit: BATCH, ..RangeOptions::default() };
                    let range = rows::index_of_mailbox(account, mailbox);
                    let batch = entries_in(&transaction, range, options).await?;
                    for entry in &batch {
                        transaction.clear(&rows::index(account, mailbox, entry.uid));
                        transaction.clear(&rows::place(account, entry.message, mailbox, entry.uid));
                    }
                    self.release(&transaction, account, &batch).await?;
                    if batch.is_empty() {
                        transaction.clear_range(rows::changes(account, mailbox));
                        transaction.clear(&rows::log_begin(account, mailbox));
                        transaction.clear(&rows::long_log(account, mailbox));
                        transaction.clear(&rows::purge(account, mailbox));
                    }
                    Ok::<_, Error>(!batch.is_empty())
                })
                .await?;
            if !more {
                return Ok(());
            }
        }
    }
}
