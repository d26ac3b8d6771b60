//! Writing an account as it was, or what is missing of it.
//!
//! An account that has no mailbox yet is restored under cover: its messages are written under mailbox ids that nobody finds, a row says
//! so, and deliveries to it are put off; the last transaction makes all mailboxes visible at once. So no client sees a UID appear below one
//! that it knows. Every step may be repeated: what is there is passed over.

use ekitei_kv::{RangeOptions, Transaction};

use super::{RestoreNote, Restored, RestoredAccount, RestoredBody, RestoredMailbox, RestoredMessage};
use crate::mutation::{Attempts, Mutation};
use crate::record::store_octets;
use crate::rows::{self, IndexRow, MailboxRow};
use crate::store::MailStore;
use crate::store::transaction::{Allocation, UidAllocator, mailbox_row, mailbox_rows};
use crate::types::{AccountId, MailboxId, MailboxName};
use crate::{Error, Result};

impl MailStore {
    /// Begins to restore an account that has no mailbox, or goes on with it. `false` if it has mailboxes: then messages can only be
    /// merged into them.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`] while the account is being deleted.
    pub async fn begin_restore(&self, restored: RestoredAccount) -> Result<bool> {
        let account = restored.account;
        let inner = &self.inner;
        inner
            .database
            .transact(|transaction| async move {
                if transaction.get(&rows::restoring(account)).await?.is_some() {
                    return Ok(true);
                }
                if !mailbox_rows(&transaction, account).await?.is_empty() {
                    return Ok(false);
                }
                let mut allocation = Allocation::read(&transaction, account).await?;
                if allocation.numbers().0 != MailboxId::INBOX.0 {
                    return Err(Error::NoSuchMailbox);
                }
                allocation
                    .raise(restored.next_mailbox.max(MailboxId::INBOX.0 + 1), restored.last_uid_validity);
                allocation.write(&transaction);
                transaction.set(&rows::restoring(account), b"");
                inner.domains.forget(account);
                Ok::<_, Error>(true)
            })
            .await
    }

    /// Writes messages of one mailbox under cover, with the UIDs they had; those that are there are passed over.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`] when the account is not being restored; a body that is gone meanwhile
    /// ([`ekitei_blob::Error::NotFound`], [`ekitei_blob::Error::IntentExpired`]) has to be prepared anew.
    pub async fn restore_messages(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        messages: &[RestoredMessage],
        note: &dyn RestoreNote,
    ) -> Result<Restored> {
        let (inner, operation) = (&self.inner, self.inner.operation());
        // What an attempt added that turns out to be committed, the next one finds there.
        let attempted = &std::sync::Mutex::new(Restored::default());
        inner
            .database
            .transact(|transaction| async move {
                if transaction.get(&rows::restoring(account)).await?.is_none() {
                    return Err(Error::NoSuchMailbox);
                }
                let mut mutation = Mutation::new(transaction.clone(), operation, inner.settings.incarnation);
                let mut done = Restored::default();
                for message in messages {
                    let place = rows::index(account, mailbox, message.uid);
                    if transaction.get(&place).await?.is_some() {
                        done.present += 1;
                        continue;
                    }
                    write_message(&transaction, account, message, note).await?;
                    mutation.add(account, mailbox, message.uid, &message.row());
                    done.added += 1;
                }
                mutation.finish(inner).await?;
                let mut attempted = attempted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if transaction.may_have_committed() && done.added == 0 {
                    done = *attempted;
                }
                *attempted = done;
                Ok::<_, Error>(done)
            })
            .await
    }

    /// Ends what [`MailStore::begin_restore`] began: the mailboxes are there.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`] when the account is not being restored.
    pub async fn finish_restore(
        &self,
        account: AccountId,
        mailboxes: &[RestoredMailbox],
        subscriptions: &[String],
    ) -> Result<()> {
        let (inner, operation) = (&self.inner, self.inner.operation());
        inner
            .database
            .transact(|transaction| async move {
                if transaction.get(&rows::restoring(account)).await?.is_none() {
                    let done = transaction.may_have_committed();
                    return if done { Ok(()) } else { Err(Error::NoSuchMailbox) };
                }
                for mailbox in mailboxes {
                    let row = MailboxRow {
                        name: mailbox.name.clone(),
                        uid_validity: mailbox.uid_validity,
                        special_use: mailbox.special_use,
                    };
                    transaction.set(&rows::mailbox(account, mailbox.id), &rows::encode(&row));
                    transaction.set(&rows::name(account, &row.name), &mailbox.id.0.to_le_bytes());
                    let uid_next = mailbox.uid_next.get().to_le_bytes();
                    transaction.set(&rows::uid_next(account, mailbox.id), &uid_next);
                }
                for name in subscriptions {
                    transaction.set(&rows::subscription(account, name), b"");
                }
                transaction.clear(&rows::restoring(account));
                let mut mutation = Mutation::new(transaction.clone(), operation, inner.settings.incarnation);
                mutation.touch(account);
                mutation.finish(inner).await?;
                Ok::<_, Error>(())
            })
            .await
    }

    /// Adds messages to a mailbox that is in use, all or none: under new UIDs, with the flags, keywords and INTERNALDATE they had. No
    /// quota keeps them out: they were there before.
    ///
    /// # Errors
    /// As [`MailStore::restore_messages`].
    pub async fn merge_messages(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        messages: &[RestoredMessage],
        note: &dyn RestoreNote,
    ) -> Result<()> {
        let inner = &self.inner;
        let (operation, attempts) = (inner.operation(), &Attempts::new());
        inner
            .database
            .transact(|transaction| async move {
                if attempts.committed(&transaction, operation).await?.is_some() {
                    return Ok(());
                }
                mailbox_row(&transaction, account, mailbox).await?;
                let mut mutation = Mutation::new(transaction.clone(), operation, inner.settings.incarnation);
                let mut allocator = UidAllocator::default();
                for message in messages {
                    let uid = allocator.allocate(&transaction, account, mailbox).await?;
                    write_message(&transaction, account, message, note).await?;
                    mutation.add(account, mailbox, uid, &message.row());
                }
                allocator.finish(&transaction);
                mutation.finish(inner).await?;
                attempts.note(&transaction, (account, mailbox), ()).await?;
                Ok::<_, Error>(())
            })
            .await
    }

    /// The mailbox of that name, created with those above it if it is not there.
    ///
    /// # Errors
    /// [`Error::Limit`]; when the store fails.
    pub async fn mailbox_or_new(&self, account: AccountId, name: &MailboxName) -> Result<MailboxId> {
        if let Some(mailbox) = self.mailbox(account, name).await? {
            return Ok(mailbox.id);
        }
        match self.create_mailbox(account, name, None).await {
            Ok(mailbox) => Ok(mailbox.id),
            Err(Error::MailboxExists) => {
                Ok(self.mailbox(account, name).await?.ok_or(Error::NoSuchMailbox)?.id)
            }
            Err(error) => Err(error),
        }
    }
}

impl RestoredMessage {
    fn row(&self) -> IndexRow {
        IndexRow {
            message: self.message,
            flags: self.flags,
            keywords: self.keywords.clone(),
            received: self.received,
            size: self.size,
        }
    }

    /// Octets that it adds to a transaction, about.
    pub fn row_size(&self) -> usize {
        let body = match &self.body {
            RestoredBody::Present => 0,
            RestoredBody::New(prepared) => prepared.row_size(),
        };
        2_000 + self.record.len() + body
    }
}

/// Writes what a message has besides its place: body, reference, record.
async fn write_message(
    transaction: &Transaction,
    account: AccountId,
    message: &RestoredMessage,
    note: &dyn RestoreNote,
) -> Result<()> {
    let first = RangeOptions { limit: 1, ..RangeOptions::default() };
    let record = transaction.get_range(rows::record(account, message.message), first).await?;
    match &message.body {
        // Read again here, so that the collector cannot take it between.
        RestoredBody::Present if !ekitei_blob::is_stored(transaction, message.message).await? => {
            return Err(ekitei_blob::Error::NotFound(message.message).into());
        }
        RestoredBody::New(prepared) if !ekitei_blob::is_stored(transaction, message.message).await? => {
            prepared.store(transaction, ekitei_blob::Owner::Account(account.get())).await?;
            note.write(transaction, message.message);
        }
        _ => {}
    }
    if record.is_empty() {
        store_octets(transaction, account, message.message, &message.record);
        ekitei_blob::add_reference(transaction, message.message, account.get());
    }
    Ok(())
}
