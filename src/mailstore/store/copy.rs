//! COPY and MOVE within an account. The copy shares the message: only its place is new.

use ekitei_directory::Quota;

use super::MailStore;
use super::transaction::{UidAllocator, entries, mailbox_row};
use crate::mutation::{Attempts, Mutation};
use crate::request::{Copied, ExpungeScope};
use crate::rows::IndexRow;
use crate::types::{AccountId, MailboxId, Uid};
use crate::view::Entry;
use crate::{Error, Result};

/// Messages of one transaction: about 1 kB each, and as much again for the longest keywords.
const BATCH: usize = 4000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Keep,
    Remove,
}

impl MailStore {
    /// Copies messages (ascending UIDs) to another mailbox of the account, all or none; flags, keywords and INTERNALDATE go along.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`] for either mailbox, [`Error::OverQuota`].
    pub async fn copy(
        &self,
        account: AccountId,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
        quota: Option<Quota>,
    ) -> Result<Copied> {
        let mut copied: Option<Copied> = None;
        for batch in batches(uids) {
            match self.copy_batch(account, from, batch, to, quota.as_ref(), Source::Keep).await {
                Ok(done) => extend(&mut copied, done),
                Err(error) => {
                    // All or none (RFC 9051 §6.4.7): what earlier transactions copied goes away again.
                    let undo = copied.iter().flat_map(|done| &done.uids).map(|&(_, target)| target).collect();
                    if let Err(failure) = self.expunge(account, to, &ExpungeScope::Exactly(undo)).await {
                        tracing::warn!(%failure, "a copy that failed leaves some messages behind");
                    }
                    return Err(error);
                }
            }
        }
        copied.ok_or(Error::NoSuchMailbox)
    }

    /// Moves messages (ascending UIDs) to another mailbox of the account (RFC 6851), each of them atomically.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`] for either mailbox.
    pub async fn move_messages(
        &self,
        account: AccountId,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
    ) -> Result<Copied> {
        let mut moved: Option<Copied> = None;
        for batch in batches(uids) {
            let done = self.copy_batch(account, from, batch, to, None, Source::Remove).await?;
            extend(&mut moved, done);
        }
        moved.ok_or(Error::NoSuchMailbox)
    }

    async fn copy_batch(
        &self,
        account: AccountId,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
        quota: Option<&Quota>,
        source: Source,
    ) -> Result<Copied> {
        let inner = &self.inner;
        let (operation, attempts) = (inner.operation(), &Attempts::new());
        inner
            .database
            .transact(|transaction| async move {
                if let Some((done, _)) = attempts.committed(&transaction, operation).await? {
                    return Ok(done);
                }
                mailbox_row(&transaction, account, from).await?;
                let uid_validity = mailbox_row(&transaction, account, to).await?.uid_validity;
                let mut mutation = Mutation::new(transaction.clone(), operation, inner.settings.incarnation);
                let mut allocator = UidAllocator::default();
                let mut copied = Copied { uid_validity, uids: Vec::with_capacity(uids.len()) };
                for entry in entries(&transaction, account, from, uids).await? {
                    let uid = allocator.allocate(&transaction, account, to).await?;
                    copied.uids.push((entry.uid, uid));
                    mutation.add(account, to, uid, &row_of(&entry));
                    if source == Source::Remove {
                        mutation.remove(account, from, &entry);
                    }
                }
                inner.check_quota(&transaction, account, quota, &mutation).await?;
                allocator.finish(&transaction);
                mutation.finish(inner).await?;
                attempts.note(&transaction, (account, to), copied.clone()).await?;
                Ok::<_, Error>(copied)
            })
            .await
    }
}

/// Batches of UIDs; an empty one if there are none, so that the mailboxes are looked at all the same.
fn batches(uids: &[Uid]) -> impl Iterator<Item = &[Uid]> {
    uids.chunks(BATCH).chain(uids.is_empty().then_some(uids))
}

fn extend(all: &mut Option<Copied>, done: Copied) {
    match all {
        Some(all) => all.uids.extend(done.uids),
        None => *all = Some(done),
    }
}

fn row_of(entry: &Entry) -> IndexRow {
    IndexRow {
        message: entry.message,
        flags: entry.flags,
        keywords: entry.keywords.clone(),
        received: entry.received,
        size: entry.size,
    }
}
