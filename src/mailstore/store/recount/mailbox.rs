//! The index rows of a mailbox at one version, read page by page while it is in use: what changed after the first page is in the change log, and
//! is read again at the end.

use std::collections::BTreeMap;

use ekitei_kv::{RangeOptions, Transaction};

use super::{ATTEMPTS, Compared, Repair, SNAPSHOT};
use crate::rows::{self, Counter, STAMP};
use crate::store::transaction::{entries, entries_in};
use crate::store::{Inner, quota};
use crate::types::{AccountId, Flags, MailboxId, Uid};
use crate::view::replay;
use crate::{Error, Result};

/// Index rows of one page: some hundred kilobytes, read within a small part of the five seconds that a transaction has.
const PAGE: usize = 5_000;
/// Rows of the change log that are caught up with at a time.
const CHANGES: usize = 1_000;

/// What is known of the messages of a mailbox.
struct Tally {
    /// The latest change that it has.
    stamp: [u8; STAMP],
    messages: BTreeMap<Uid, (Flags, u64)>,
}

/// How far catching up came.
enum Caught<T> {
    /// The mailbox is gone.
    Gone,
    /// The log was cut off behind the tally.
    TooShort,
    /// There is more.
    Partly,
    /// The tally is of this version.
    Up(T),
}

impl Inner {
    /// Counts a mailbox again; `None` if it is gone.
    pub(super) async fn recount_mailbox(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        repair: Repair,
    ) -> Result<Option<Compared<4>>> {
        for _ in 0..ATTEMPTS {
            let Some(compared) = self.compare(account, mailbox).await? else { return Ok(None) };
            let keys = Counter::ALL.map(|counter| rows::counter(account, mailbox, counter));
            let owner = rows::mailbox(account, mailbox);
            let marker = rows::recount(account);
            if self.repair(repair, &compared, &marker, &keys, Some(&owner)).await? {
                return Ok(Some(compared));
            }
        }
        Err(Error::Limit("others count the account again and again"))
    }

    /// Counters and index of a mailbox at one version; `None` if it is gone.
    async fn compare(&self, account: AccountId, mailbox: MailboxId) -> Result<Option<Compared<4>>> {
        for _ in 0..ATTEMPTS {
            let mut tally = self.read_index(account, mailbox).await?;
            loop {
                match self.catch_up(account, mailbox, &mut tally).await? {
                    Caught::Gone => return Ok(None),
                    Caught::TooShort => break,
                    Caught::Partly => {}
                    Caught::Up(compared) => return Ok(Some(compared)),
                }
            }
        }
        Err(Error::Limit("the mailbox changes faster than it can be counted"))
    }

    /// All index rows, each as of some version after the tally's stamp.
    async fn read_index(&self, account: AccountId, mailbox: MailboxId) -> Result<Tally> {
        let stamp = self
            .database
            .read(|transaction: Transaction| async move {
                let last = RangeOptions { limit: 1, reverse: true, snapshot: true };
                let last = transaction.get_range(rows::changes(account, mailbox), last).await?;
                last.first().map_or(Ok([0; STAMP]), |row| rows::stamp_of(&row.key))
            })
            .await?;
        let mut tally = Tally { stamp, messages: BTreeMap::new() };
        let page = RangeOptions { limit: PAGE, ..SNAPSHOT };
        let mut range = rows::index_of_mailbox(account, mailbox);
        loop {
            let rest = &range;
            let read =
                |transaction: Transaction| async move { entries_in(&transaction, rest.clone(), page).await };
            let found = self.database.read(read).await?;
            let Some(last) = found.last() else { return Ok(tally) };
            range.start = rows::index(account, mailbox, last.uid);
            range.start.push(0);
            tally.messages.extend(found.into_iter().map(|entry| (entry.uid, (entry.flags, entry.size))));
        }
    }

    /// Takes over what happened since the tally's stamp; if that is all, reads the counters at the same version.
    async fn catch_up(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        tally: &mut Tally,
    ) -> Result<Caught<Compared<4>>> {
        let stamp = &tally.stamp;
        let read = |transaction: Transaction| async move {
            if transaction.get_snapshot(&rows::mailbox(account, mailbox)).await?.is_none() {
                return Ok(None);
            }
            let begin = transaction.get_snapshot(&rows::log_begin(account, mailbox)).await?;
            let options = RangeOptions { limit: CHANGES, ..SNAPSHOT };
            let log = transaction.get_range(rows::changes_after(account, mailbox, stamp), options).await?;
            let is_cut = !log.is_empty() && begin.is_some_and(|begin| begin[..] > stamp[..]);
            let (touched, expunged) = replay(&log)?;
            let touched: Vec<Uid> = touched.union(&expunged).copied().collect();
            let current = entries(&transaction, account, mailbox, &touched).await?;
            let counters = quota::sum(&transaction, rows::counters(account, mailbox), SNAPSHOT).await?;
            let repaired = transaction.get_snapshot(&rows::recount(account)).await?;
            Ok::<_, Error>(Some((is_cut, log, touched, current, counters, repaired)))
        };
        let Some((is_cut, log, touched, current, counters, repaired)) = self.database.read(read).await?
        else {
            return Ok(Caught::Gone);
        };
        if is_cut {
            return Ok(Caught::TooShort);
        }
        for uid in touched {
            tally.messages.remove(&uid);
        }
        tally.messages.extend(current.into_iter().map(|entry| (entry.uid, (entry.flags, entry.size))));
        if let Some(last) = log.last() {
            tally.stamp = rows::stamp_of(&last.key)?;
        }
        if log.len() == CHANGES {
            return Ok(Caught::Partly);
        }
        Ok(Caught::Up(Compared { counters, actual: tally.counters(), repaired }))
    }
}

impl Tally {
    fn counters(&self) -> [i64; 4] {
        let mut counters = [0; 4];
        for &(flags, size) in self.messages.values() {
            crate::mutation::count(&mut counters, flags, size, 1);
        }
        counters
    }
}
