//! Keeping the change logs short. What is cut off is noted, so that whoever was behind it reads the mailbox anew.
//!
//! Nobody counts how long a log is: that would cost each change a row more. One change in [`changes_of_a_hint`] leaves a hint, by chance, and only
//! logs that are hinted at are looked at. So it costs as much as there are changes, and not as there are mailboxes.

use ekitei_kv::{KeyValue, RangeOptions};

use super::{Inner, MailStore};
use crate::mutation::OperationId;
use crate::rows::{self, STAMP};
use crate::types::{AccountId, MailboxId};
use crate::{Error, Result};

/// Rows of a log that are read in one transaction.
const PAGE: usize = 1_000;
/// Hints in the time that a log takes to grow from nothing to its length, on average.
const HINTS: u32 = 8;

/// How many changes there are to a hint, on average.
fn changes_of_a_hint(length: usize) -> u32 {
    u32::try_from(length).map_or(u32::MAX, |length| length / HINTS).max(1)
}

/// Whether the changes of an operation leave hints, for logs of this length.
pub(crate) fn is_hinted(operation: &OperationId, length: usize) -> bool {
    // Their last octets are random.
    let random = operation.last_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk));
    random.is_multiple_of(changes_of_a_hint(length))
}

impl MailStore {
    /// Cuts off the change logs that are longer than [`crate::Settings::change_log_length`], as far as they are hinted at; returns how many were. For a timer.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn trim_change_logs(&self) -> Result<usize> {
        let mut hinted = Vec::new();
        let page = |rows: Vec<KeyValue>| {
            for row in rows {
                hinted.push(rows::long_log_of(&row.key)?);
            }
            Ok::<_, Error>(())
        };
        self.inner.database.scan(rows::long_logs(), page).await?;
        let mut cut = 0;
        for (account, mailbox) in hinted {
            let excess = self.inner.excess(account, mailbox).await?;
            self.inner.cut_log(account, mailbox, excess).await?;
            cut += usize::from(excess.is_some());
        }
        Ok(cut)
    }
}

impl Inner {
    /// The latest change that is too many; what comes meanwhile makes it no less so.
    async fn excess(&self, account: AccountId, mailbox: MailboxId) -> Result<Option<[u8; STAMP]>> {
        let mut range = rows::changes(account, mailbox);
        // At least the latest change stays: it holds HIGHESTMODSEQ.
        let mut left = self.settings.change_log_length.max(1);
        loop {
            let (rest, limit) = (&range, PAGE.min(left + 1));
            let options = RangeOptions { limit, reverse: true, snapshot: true };
            let read = self
                .database
                .read(|transaction| async move { transaction.get_range(rest.clone(), options).await });
            let found = read.await?;
            let Some(oldest) = found.last() else { return Ok(None) };
            if found.len() > left {
                return rows::stamp_of(&oldest.key).map(Some);
            }
            left -= found.len();
            range.end = oldest.key.to_vec();
        }
    }

    /// Cuts off a log up to this change, if there is one, and takes the hint away.
    async fn cut_log(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        excess: Option<[u8; STAMP]>,
    ) -> Result<()> {
        self.database
            .transact(|transaction| async move {
                transaction.clear(&rows::long_log(account, mailbox));
                let Some(stamp) = excess else { return Ok(()) };
                if transaction.get(&rows::mailbox(account, mailbox)).await?.is_none() {
                    return Ok(()); // deleted meanwhile, and its log with it
                }
                transaction.set(&rows::log_begin(account, mailbox), &stamp);
                transaction.clear_range(rows::changes_until(account, mailbox, &stamp));
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_hinted_at_some_times_before_it_is_too_long() {
        let operations = (0..100_000u32).map(|n| {
            let mut operation = [0; 16];
            operation[12..].copy_from_slice(&n.wrapping_mul(0x9E37_79B9).to_le_bytes());
            operation
        });
        let hints = |length| operations.clone().filter(|operation| is_hinted(operation, length)).count();
        assert_eq!(hints(0), 100_000);
        assert_eq!(hints(15), 100_000);
        assert!((70..=90).contains(&hints(10_000)), "{}", hints(10_000));
    }
}
