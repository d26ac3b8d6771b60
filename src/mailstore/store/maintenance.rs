//! What has to be done from time to time. All of it may run in several processes at once, and may be interrupted anywhere.

use std::time::Duration;

use ekitei_blob::Collected;
use ekitei_kv::{KeyValue, Transaction};

use super::MailStore;
use crate::{Result, rows};

/// How long the trace of a process's latest delivery is kept; far longer than any transaction is repeated.
const TRACE_LIFETIME: Duration = Duration::from_secs(86_400);

/// What one round of maintenance did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintenance {
    /// Deleted mailboxes whose removal had been interrupted.
    pub purged_mailboxes: usize,
    /// Change logs cut off.
    pub trimmed_logs: usize,
    /// Bodies and objects removed.
    pub collected: Collected,
}

impl MailStore {
    /// One round: finishes interrupted removals, cuts off long change logs, counts for domains what does not yet, collects bodies that nobody refers to.
    ///
    /// # Errors
    /// When a store fails, or something is damaged: what fails first. It keeps nothing else from being done, and what is left waits for the next round.
    pub async fn maintain(&self) -> Result<Maintenance> {
        let purged = self.finish_purges().await;
        let trimmed = self.trim_change_logs().await;
        let forgotten = self.forget_traces().await;
        let counted = self.count_all().await;
        let collected = self.inner.blobs.collect().await;
        let done = Maintenance { purged_mailboxes: purged?, trimmed_logs: trimmed?, collected: collected? };
        forgotten.and(counted)?;
        Ok(done)
    }

    /// Removes what processes that are long gone left behind.
    async fn forget_traces(&self) -> Result<()> {
        let too_old = self.inner.now().saturating_sub(TRACE_LIFETIME);
        let mut old = Vec::new();
        let collect = |page: Vec<KeyValue>| {
            old.extend(
                page.into_iter().filter(|row| rows::trace_time(&row.value).is_none_or(|time| time < too_old)),
            );
            Ok::<_, crate::Error>(())
        };
        self.inner.database.scan(rows::delivery_traces(), collect).await?;
        if old.is_empty() {
            return Ok(());
        }
        let old = &old;
        self.inner
            .database
            .transact(|transaction: Transaction| async move {
                old.iter().for_each(|row| transaction.clear(&row.key));
                Ok::<_, crate::Error>(())
            })
            .await
    }
}
