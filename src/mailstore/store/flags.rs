//! STORE: changing flags.

use super::MailStore;
use super::transaction::{entries, mailbox_row};
use crate::mutation::{Attempts, Mutation};
use crate::request::{Changed, FlagChange, FlagOperation};
use crate::types::{AccountId, Flags, Keywords, MailboxId, ModSeq, Uid};
use crate::view::Entry;
use crate::{Error, Result};

/// Messages of one transaction: their rows, read and written, stay far below the store's limits.
const BATCH: usize = 4000;

impl FlagChange {
    /// What a message has after the change.
    fn apply(&self, entry: &Entry) -> (Flags, Keywords) {
        match self.operation {
            FlagOperation::Set => (self.flags, self.keywords.clone()),
            FlagOperation::Add => (entry.flags.union(self.flags), entry.keywords.union(&self.keywords)),
            FlagOperation::Remove => {
                (entry.flags.difference(self.flags), entry.keywords.difference(&self.keywords))
            }
        }
    }
}

impl MailStore {
    /// Changes flags of messages (ascending UIDs; those that are gone are passed over). Very many messages take several transactions.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`]; [`Error::Limit`] for too many keywords.
    pub async fn store_flags(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        uids: &[Uid],
        change: &FlagChange,
    ) -> Result<Changed> {
        let mut changed = Changed { uids: Vec::new(), modseq: ModSeq::default() };
        for batch in uids.chunks(BATCH) {
            let done = self.store_flags_batch(account, mailbox, batch, change).await?;
            if !done.uids.is_empty() {
                changed.uids.extend(done.uids);
                changed.modseq = done.modseq;
            }
        }
        Ok(changed)
    }

    async fn store_flags_batch(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        uids: &[Uid],
        change: &FlagChange,
    ) -> Result<Changed> {
        let inner = &self.inner;
        let (operation, attempts) = (inner.operation(), &Attempts::new());
        let committed = inner
            .database
            .transact_versioned(|transaction| async move {
                if let Some((done, version)) = attempts.committed(&transaction, operation).await? {
                    return Ok((done, Some(version)));
                }
                mailbox_row(&transaction, account, mailbox).await?;
                let mut mutation = Mutation::new(transaction.clone(), operation, inner.settings.incarnation);
                let mut changed = Vec::new();
                for entry in entries(&transaction, account, mailbox, uids).await? {
                    let (flags, keywords) = change.apply(&entry);
                    if flags == entry.flags && keywords == entry.keywords {
                        continue;
                    }
                    inner.check_keywords(&keywords)?;
                    mutation.update(account, mailbox, &entry, flags, keywords);
                    changed.push(entry.uid);
                }
                mutation.finish(inner).await?;
                attempts.note(&transaction, (account, mailbox), changed.clone()).await?;
                Ok::<_, Error>((changed, None))
            })
            .await?;
        let (uids, version) = committed.value;
        let modseq = ModSeq::new(inner.settings.incarnation, version.unwrap_or(committed.version));
        Ok(Changed { uids, modseq })
    }
}
