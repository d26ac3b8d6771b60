//! Keeping the change logs short. What is cut off is noted, so that whoever was behind it reads the mailbox anew.

use std::collections::VecDeque;

use super::{Inner, MailStore};
use crate::rows::{self, STAMP};
use crate::types::{AccountId, MailboxId};
use crate::{Error, Result};

/// Looks for logs that are too long while all of them pass by in order.
struct Finder {
    limit: usize,
    mailbox: Option<(AccountId, MailboxId)>,
    /// The latest changes of `mailbox`, as many as are kept.
    kept: VecDeque<[u8; STAMP]>,
    /// The latest change of `mailbox` that is too many.
    excess: Option<[u8; STAMP]>,
    found: Vec<(AccountId, MailboxId, [u8; STAMP])>,
}

impl Finder {
    fn pass(&mut self, mailbox: (AccountId, MailboxId), stamp: [u8; STAMP]) {
        if self.mailbox != Some(mailbox) {
            self.end_of_log();
            self.mailbox = Some(mailbox);
        }
        self.kept.push_back(stamp);
        if self.kept.len() > self.limit {
            self.excess = self.kept.pop_front();
        }
    }

    fn end_of_log(&mut self) {
        if let Some((account, mailbox)) = self.mailbox.take()
            && let Some(stamp) = self.excess.take()
        {
            self.found.push((account, mailbox, stamp));
        }
        self.kept.clear();
    }
}

impl MailStore {
    /// Cuts off the change logs that are longer than [`crate::Settings::change_log_length`]; returns how many were. For a timer.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn trim_change_logs(&self) -> Result<usize> {
        // At least the latest change stays: it holds HIGHESTMODSEQ.
        let limit = self.inner.settings.change_log_length.max(1);
        let mut finder =
            Finder { limit, mailbox: None, kept: VecDeque::new(), excess: None, found: Vec::new() };
        let page = |rows: Vec<ekitei_kv::KeyValue>| {
            for row in rows {
                finder.pass(rows::mailbox_of_change(&row.key)?, rows::stamp_of(&row.key)?);
            }
            Ok::<_, Error>(())
        };
        self.inner.database.scan(rows::all_changes(), page).await?;
        finder.end_of_log();
        for (account, mailbox, stamp) in &finder.found {
            self.inner.cut_log(*account, *mailbox, *stamp).await?;
        }
        Ok(finder.found.len())
    }
}

impl Inner {
    async fn cut_log(&self, account: AccountId, mailbox: MailboxId, stamp: [u8; STAMP]) -> Result<()> {
        self.database
            .transact(|transaction| async move {
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
