//! Collects what one transaction changes, and writes the rows that follow from it: one change row per mailbox, counters (of the mailbox, the
//! account and its domain), and the account's latest change.
//!
//! A versionstamped key can be written only once in a transaction, and adding to a counter costs a row of the log each time; so both
//! are gathered here and written once, by [`Mutation::finish`].

use std::collections::{BTreeMap, BTreeSet};

use ekitei_kv::{RangeOptions, Transaction, Version};
use futures_util::future::try_join_all;

use crate::Result;
use crate::rows::{self, ChangeRow, Counter, IndexRow, STAMP, UsageCounter, runs};
use crate::store::{Inner, change_log, domains};
use crate::types::{AccountId, Flags, Keywords, MailboxId, Uid};
use crate::view::Entry;

/// Names an operation of a client, so that its repetition is recognised.
pub(crate) type OperationId = [u8; 16];

#[derive(Default)]
struct MailboxChanges {
    added: Vec<Uid>,
    updated: Vec<Uid>,
    expunged: Vec<Uid>,
    counters: [i64; 4],
}

/// The changes of one transaction.
pub(crate) struct Mutation {
    transaction: Transaction,
    operation: OperationId,
    incarnation: u16,
    mailboxes: BTreeMap<(AccountId, MailboxId), MailboxChanges>,
    /// Octets and messages by account.
    usage: BTreeMap<AccountId, [i64; 2]>,
    /// Accounts that get their first mailboxes.
    created: BTreeSet<AccountId>,
    /// The accounts are losing their mailboxes: none begins to count for its domain.
    leaving: bool,
}

impl Mutation {
    pub(crate) fn new(transaction: Transaction, operation: OperationId, incarnation: u16) -> Self {
        Self {
            transaction,
            operation,
            incarnation,
            mailboxes: BTreeMap::new(),
            usage: BTreeMap::new(),
            created: BTreeSet::new(),
            leaving: false,
        }
    }

    /// Puts a message into a mailbox under a UID that is free.
    pub(crate) fn add(&mut self, account: AccountId, mailbox: MailboxId, uid: Uid, row: &IndexRow) {
        self.write_index(account, mailbox, uid, row);
        self.transaction.set(&rows::place(account, row.message, mailbox, uid), b"");
        let changes = self.mailboxes.entry((account, mailbox)).or_default();
        changes.added.push(uid);
        count(&mut changes.counters, row.flags, row.size, 1);
        self.count_usage(account, row.size, 1);
    }

    /// Gives a message other flags.
    pub(crate) fn update(
        &mut self,
        account: AccountId,
        mailbox: MailboxId,
        entry: &Entry,
        flags: Flags,
        keywords: Keywords,
    ) {
        let row =
            IndexRow { message: entry.message, flags, keywords, received: entry.received, size: entry.size };
        self.write_index(account, mailbox, entry.uid, &row);
        let changes = self.mailboxes.entry((account, mailbox)).or_default();
        changes.updated.push(entry.uid);
        count(&mut changes.counters, entry.flags, entry.size, -1);
        count(&mut changes.counters, flags, entry.size, 1);
        self.touch(account);
    }

    /// Takes a message out of a mailbox. Whether it has other places is the caller's concern.
    pub(crate) fn remove(&mut self, account: AccountId, mailbox: MailboxId, entry: &Entry) {
        self.transaction.clear(&rows::index(account, mailbox, entry.uid));
        self.transaction.clear(&rows::place(account, entry.message, mailbox, entry.uid));
        let changes = self.mailboxes.entry((account, mailbox)).or_default();
        changes.expunged.push(entry.uid);
        count(&mut changes.counters, entry.flags, entry.size, -1);
        self.count_usage(account, entry.size, -1);
    }

    fn write_index(&self, account: AccountId, mailbox: MailboxId, uid: Uid, row: &IndexRow) {
        let key = rows::index(account, mailbox, uid);
        let value = row.encode(self.incarnation);
        self.transaction.set_versionstamped_value(&key, &value, IndexRow::STAMP_OFFSET);
    }

    fn count_usage(&mut self, account: AccountId, size: u64, sign: i64) {
        let usage = self.usage.entry(account).or_default();
        usage[UsageCounter::Bytes as usize] += sign * signed(size);
        usage[UsageCounter::Messages as usize] += sign;
    }

    /// Notes that an account gets its first mailboxes.
    pub(crate) fn create(&mut self, account: AccountId) {
        self.created.insert(account);
        self.touch(account);
    }

    /// Notes that an account loses a mailbox with all in it: so many octets and messages.
    pub(crate) fn lose(&mut self, account: AccountId, lost: [i64; 2]) {
        let usage = self.usage.entry(account).or_default();
        usage.iter_mut().zip(lost).for_each(|(usage, lost)| *usage -= lost);
        self.leaving = true;
    }

    /// Octets that the account gains.
    pub(crate) fn bytes_gained(&self, account: AccountId) -> i64 {
        self.usage.get(&account).map_or(0, |usage| usage[UsageCounter::Bytes as usize])
    }

    /// Notes that something in the account changed.
    pub(crate) fn touch(&mut self, account: AccountId) {
        self.usage.entry(account).or_default();
    }

    /// Writes the change rows, counters and latest changes.
    pub(crate) async fn finish(self, inner: &Inner) -> Result<()> {
        let transaction = &self.transaction;
        // One that had mail before, and lost it, counts no more: whatever is remembered of it is void.
        self.created.iter().for_each(|&account| inner.domains.forget(account));
        let changes = |account, usage: &[i64; 2]| *usage != [0, 0] || self.created.contains(account);
        let changed = self.usage.iter().filter(|(account, usage)| changes(*account, usage));
        let changed: Vec<AccountId> = changed.map(|(&account, _)| account).collect();
        let member = |&account| inner.domains.membership(transaction, account, !self.leaving);
        let memberships = try_join_all(changed.iter().map(member)).await?;
        for (account, membership) in changed.into_iter().zip(memberships) {
            let (Some(membership), Some(usage)) = (membership, self.usage.get(&account)) else { continue };
            let brought = membership.brought.unwrap_or_default();
            let added = [usage[0] + brought[0], usage[1] + brought[1]];
            domains::add(transaction, &membership.domain, account, added);
        }
        let is_hinted = change_log::is_hinted(&self.operation, inner.settings.change_log_length);
        for ((account, mailbox), mut changes) in self.mailboxes {
            if is_hinted {
                transaction.set(&rows::long_log(account, mailbox), b"");
            }
            for uids in [&mut changes.added, &mut changes.updated, &mut changes.expunged] {
                uids.sort_unstable();
            }
            let row = ChangeRow {
                operation: self.operation,
                added: runs(&changes.added),
                updated: runs(&changes.updated),
                expunged: runs(&changes.expunged),
            };
            let (key, offset) = rows::change(account, mailbox);
            transaction.set_versionstamped_key(&key, offset, &rows::encode(&row));
            for counter in Counter::ALL {
                add(
                    transaction,
                    &rows::counter(account, mailbox, counter),
                    changes.counters[counter as usize],
                );
            }
        }
        for (account, usage) in self.usage {
            for counter in UsageCounter::ALL {
                add(transaction, &rows::usage(account, counter), usage[counter as usize]);
            }
            transaction.set_versionstamped_value(&rows::latest_change(account), &[0; STAMP], 0);
        }
        Ok(())
    }
}

fn add(transaction: &Transaction, key: &[u8], delta: i64) {
    if delta != 0 {
        transaction.add(key, delta);
    }
}

pub(crate) fn count(counters: &mut [i64; 4], flags: Flags, size: u64, sign: i64) {
    counters[Counter::Messages as usize] += sign;
    counters[Counter::Bytes as usize] += sign * signed(size);
    if !flags.contains(Flags::SEEN) {
        counters[Counter::Unseen as usize] += sign;
    }
    if flags.contains(Flags::DELETED) {
        counters[Counter::Deleted as usize] += sign;
    }
}

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Remembers what the latest attempt of a transaction would have done, so that the next one can tell whether it was done.
pub(crate) struct Attempts<T>(std::sync::Mutex<Option<Attempt<T>>>);

struct Attempt<T> {
    /// A mailbox that it changes, and the version it read.
    mailbox: (AccountId, MailboxId),
    read_version: Version,
    outcome: T,
}

impl<T: Clone> Attempts<T> {
    pub(crate) fn new() -> Self {
        Self(std::sync::Mutex::new(None))
    }

    /// What the previous attempt did and the version of its commit, if its result was unknown and it turns out to be committed.
    pub(crate) async fn committed(
        &self,
        transaction: &Transaction,
        operation: OperationId,
    ) -> Result<Option<(T, Version)>> {
        if !transaction.may_have_committed() {
            return Ok(None);
        }
        let Some(((account, mailbox), version, outcome)) = self.latest() else { return Ok(None) };
        let mut stamp = [0xFF; STAMP];
        stamp[..8].copy_from_slice(&version.to_be_bytes());
        let range = rows::changes_after(account, mailbox, &stamp);
        for row in transaction.get_range(range, RangeOptions::default()).await? {
            if rows::decode::<ChangeRow>(&row.value, "a change")?.operation == operation {
                return Ok(Some((outcome, rows::version_of(&rows::stamp_of(&row.key)?))));
            }
        }
        Ok(None)
    }

    fn latest(&self) -> Option<((AccountId, MailboxId), Version, T)> {
        let slot = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        slot.as_ref().map(|attempt| (attempt.mailbox, attempt.read_version, attempt.outcome.clone()))
    }

    /// Notes what this attempt will have done once it is committed. `mailbox` is one that it changes.
    pub(crate) async fn note(
        &self,
        transaction: &Transaction,
        mailbox: (AccountId, MailboxId),
        outcome: T,
    ) -> Result<()> {
        let read_version = transaction.read_version().await?;
        let mut slot = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *slot = Some(Attempt { mailbox, read_version, outcome });
        Ok(())
    }
}
