//! What has to be done from time to time. All of it may run in several processes at once, and may be interrupted anywhere.

use ekitei_blob::Collected;

use super::MailStore;
use crate::Result;

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
    /// One round: finishes interrupted removals, cuts off long change logs, collects bodies that nobody refers to.
    ///
    /// # Errors
    /// When a store fails; what is left waits for the next round.
    pub async fn maintain(&self) -> Result<Maintenance> {
        let purged_mailboxes = self.finish_purges().await?;
        let trimmed_logs = self.trim_change_logs().await?;
        let collected = self.inner.blobs.collect().await?;
        Ok(Maintenance { purged_mailboxes, trimmed_logs, collected })
    }
}
