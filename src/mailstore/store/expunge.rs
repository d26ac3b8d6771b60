//! EXPUNGE: removing messages for good.

use ekitei_kv::{RangeOptions, Transaction};
use futures_util::future::try_join_all;

use super::transaction::{entries, mailbox_row};
use super::{Inner, MailStore};
use crate::fence::{Fence, NoFence};
use crate::mutation::{Attempts, Mutation};
use crate::request::{Changed, ExpungeScope};
use crate::rows;
use crate::types::{AccountId, Flags, MailboxId, ModSeq, Uid};
use crate::view::Entry;
use crate::{Error, Result};

/// Messages of one transaction.
pub(super) const BATCH: usize = 1000;

impl MailStore {
    /// Removes messages for good. Very many take several transactions.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`].
    pub async fn expunge(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        scope: &ExpungeScope,
    ) -> Result<Changed> {
        self.expunge_behind(account, mailbox, scope, &NoFence).await
    }

    /// [`MailStore::expunge`] by one who has to hold something for it: each transaction is refused unless the fence lets it pass.
    ///
    /// # Errors
    /// As [`MailStore::expunge`]; what the fence returns, as [`Error::Store`]. What earlier transactions removed stays removed.
    pub async fn expunge_behind(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        scope: &ExpungeScope,
        fence: &dyn Fence,
    ) -> Result<Changed> {
        let (candidates, any_flags) = match scope {
            ExpungeScope::Deleted => (self.deleted(account, mailbox).await?, false),
            ExpungeScope::DeletedAmong(uids) => (uids.clone(), false),
            ExpungeScope::Exactly(uids) => (uids.clone(), true),
        };
        let mut changed = Changed { uids: Vec::new(), modseq: ModSeq::default() };
        for batch in candidates.chunks(BATCH) {
            let done = self.expunge_batch(account, mailbox, batch, any_flags, fence).await?;
            if !done.uids.is_empty() {
                changed.uids.extend(done.uids);
                changed.modseq = done.modseq;
            }
        }
        Ok(changed)
    }

    async fn deleted(&self, account: AccountId, mailbox: MailboxId) -> Result<Vec<Uid>> {
        let view = self.view(account, mailbox).await?.refresh().await?;
        if view.gone {
            return Err(Error::NoSuchMailbox);
        }
        let deleted = view.entries.iter().filter(|entry| entry.flags.contains(Flags::DELETED));
        Ok(deleted.map(|entry| entry.uid).collect())
    }

    async fn expunge_batch(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        uids: &[Uid],
        any_flags: bool,
        fence: &dyn Fence,
    ) -> Result<Changed> {
        let inner = &self.inner;
        let (operation, attempts) = (inner.operation(), &Attempts::new());
        let committed = inner
            .database
            .transact_versioned(|transaction| async move {
                if let Some((done, version)) = attempts.committed(&transaction, operation).await? {
                    return Ok((done, Some(version)));
                }
                fence.check(&transaction).await?;
                mailbox_row(&transaction, account, mailbox).await?;
                let mut found = entries(&transaction, account, mailbox, uids).await?;
                found.retain(|entry| any_flags || entry.flags.contains(Flags::DELETED));
                let mut mutation = Mutation::new(transaction.clone(), operation, inner.settings.incarnation);
                for entry in &found {
                    mutation.remove(account, mailbox, entry);
                }
                inner.release(&transaction, account, &found).await?;
                mutation.finish(inner).await?;
                let removed: Vec<Uid> = found.iter().map(|entry| entry.uid).collect();
                attempts.note(&transaction, (account, mailbox), removed.clone()).await?;
                Ok::<_, Error>((removed, None))
            })
            .await?;
        let (uids, version) = committed.value;
        let modseq = ModSeq::new(inner.settings.incarnation, version.unwrap_or(committed.version));
        Ok(Changed { uids, modseq })
    }
}

impl Inner {
    /// Removes the records of messages that have no place left, after their places were cleared in this transaction.
    pub(super) async fn release(
        &self,
        transaction: &Transaction,
        account: AccountId,
        removed: &[Entry],
    ) -> Result<()> {
        let one = RangeOptions { limit: 1, ..RangeOptions::default() };
        let left =
            removed.iter().map(|entry| transaction.get_range(rows::places(account, entry.message), one));
        for (entry, places) in removed.iter().zip(try_join_all(left).await?) {
            if places.is_empty() {
                transaction.clear_range(rows::record(account, entry.message));
                ekitei_blob::remove_reference(transaction, entry.message, account.get(), self.now());
            }
        }
        Ok(())
    }
}
