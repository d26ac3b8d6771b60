//! What several operations do within a transaction: reading index rows, allocating UIDs, creating an account's mailboxes.

use std::collections::BTreeMap;

use ekitei_kv::{RangeOptions, Transaction};
use futures_util::future::{join_all, try_join_all};

use crate::mutation::Mutation;
use crate::rows::{self, IndexRow, MailboxRow};
use crate::types::{AccountId, MailboxId, MailboxName, SpecialUse, Uid};
use crate::view::Entry;
use crate::{Error, Result};

/// The mailboxes of a new account, after INBOX.
const DEFAULT_MAILBOXES: &[(&str, SpecialUse)] = &[
    ("Drafts", SpecialUse::Drafts),
    ("Sent", SpecialUse::Sent),
    ("Trash", SpecialUse::Trash),
    ("Junk", SpecialUse::Junk),
    ("Archive", SpecialUse::Archive),
];

/// The index rows of messages (ascending UIDs); those that are gone are left out.
pub(crate) async fn entries(
    transaction: &Transaction,
    account: AccountId,
    mailbox: MailboxId,
    uids: &[Uid],
) -> Result<Vec<Entry>> {
    let (Some(&first), Some(&last)) = (uids.first(), uids.last()) else { return Ok(Vec::new()) };
    let span = (last.get() - first.get()) as usize + 1;
    if span <= uids.len().saturating_mul(8) {
        let range = rows::index_between(account, mailbox, first, last);
        let mut found = entries_in(transaction, range, RangeOptions::default()).await?;
        found.retain(|entry| uids.binary_search(&entry.uid).is_ok());
        return Ok(found);
    }
    let read = uids.iter().map(|&uid| async move {
        let value = transaction.get(&rows::index(account, mailbox, uid)).await?;
        value.map(|value| IndexRow::decode(uid, &value)).transpose()
    });
    Ok(try_join_all(read).await?.into_iter().flatten().collect())
}

/// The index rows of a range.
pub(crate) async fn entries_in(
    transaction: &Transaction,
    range: std::ops::Range<Vec<u8>>,
    options: RangeOptions,
) -> Result<Vec<Entry>> {
    let found = transaction.get_range(range, options).await?;
    found.iter().map(|row| IndexRow::decode(rows::uid_of(&row.key)?, &row.value)).collect()
}

/// UIDNEXT of a mailbox.
///
/// # Errors
/// [`Error::NoSuchMailbox`].
pub(crate) async fn uid_next(
    transaction: &Transaction,
    account: AccountId,
    mailbox: MailboxId,
) -> Result<Uid> {
    let value = transaction.get(&rows::uid_next(account, mailbox)).await?.ok_or(Error::NoSuchMailbox)?;
    Uid::new(rows::decode_u32(&value, "UIDNEXT")?).ok_or(Error::Corrupt("UIDNEXT"))
}

/// UIDs given out in one transaction: each mailbox's UIDNEXT is read once and, if it changed, written once.
#[derive(Default)]
pub(crate) struct UidAllocator(BTreeMap<(AccountId, MailboxId), UidNext>);

struct UidNext {
    uid: Uid,
    changed: bool,
}

impl UidAllocator {
    /// Reads the UIDNEXT of many mailboxes at once, which on a cluster takes as long as one; those that are not there are left out.
    pub(crate) async fn read_ahead(
        &mut self,
        transaction: &Transaction,
        mailboxes: &[(AccountId, MailboxId)],
    ) -> Result<()> {
        let read = mailboxes.iter().map(|&(account, mailbox)| uid_next(transaction, account, mailbox));
        for (&mailbox, uid_next) in mailboxes.iter().zip(join_all(read).await) {
            match uid_next {
                Err(Error::NoSuchMailbox) => {}
                uid_next => _ = self.0.insert(mailbox, UidNext { uid: uid_next?, changed: false }),
            }
        }
        Ok(())
    }

    /// The next UID of a mailbox.
    pub(crate) async fn allocate(
        &mut self,
        transaction: &Transaction,
        account: AccountId,
        mailbox: MailboxId,
    ) -> Result<Uid> {
        let next = match self.0.get(&(account, mailbox)) {
            Some(next) => next.uid,
            None => uid_next(transaction, account, mailbox).await?,
        };
        let following = next.get().checked_add(1).and_then(Uid::new).ok_or(Error::Limit("no UID is left"))?;
        self.0.insert((account, mailbox), UidNext { uid: following, changed: true });
        Ok(next)
    }

    /// Writes every UIDNEXT that changed.
    pub(crate) fn finish(self, transaction: &Transaction) {
        for ((account, mailbox), next) in self.0.into_iter().filter(|(_, next)| next.changed) {
            transaction.set(&rows::uid_next(account, mailbox), &next.uid.get().to_le_bytes());
        }
    }
}

/// The row of a mailbox.
///
/// # Errors
/// [`Error::NoSuchMailbox`].
pub(crate) async fn mailbox_row(
    transaction: &Transaction,
    account: AccountId,
    mailbox: MailboxId,
) -> Result<MailboxRow> {
    let value = transaction.get(&rows::mailbox(account, mailbox)).await?.ok_or(Error::NoSuchMailbox)?;
    rows::decode(&value, "a mailbox")
}

/// The mailbox of that name.
pub(crate) async fn mailbox_named(
    transaction: &Transaction,
    account: AccountId,
    name: &MailboxName,
) -> Result<Option<MailboxId>> {
    let value = transaction.get(&rows::name(account, name.as_str())).await?;
    value.map(|value| rows::decode_u32(&value, "a mailbox name").map(MailboxId)).transpose()
}

/// All mailboxes of an account, by id.
pub(crate) async fn mailbox_rows(
    transaction: &Transaction,
    account: AccountId,
) -> Result<Vec<(MailboxId, MailboxRow)>> {
    let found = transaction.get_range(rows::mailboxes(account), RangeOptions::default()).await?;
    found
        .iter()
        .map(|row| Ok((rows::mailbox_of(&row.key)?, rows::decode(&row.value, "a mailbox")?)))
        .collect()
}

/// Creates INBOX and the other mailboxes of a new account, if it has none.
///
/// # Errors
/// [`Error::NoSuchMailbox`] while the account is being deleted.
pub(crate) async fn ensure_account(
    transaction: &Transaction,
    account: AccountId,
    mutation: &mut Mutation,
    now: std::time::Duration,
) -> Result<()> {
    if transaction.get(&rows::uid_next(account, MailboxId::INBOX)).await?.is_some() {
        return Ok(());
    }
    let mut allocation = Allocation::read(transaction, account).await?;
    // Ids were given before: the INBOX was deleted with its account, and its messages may still be there.
    if allocation.next_id != MailboxId::INBOX.0 {
        return Err(Error::NoSuchMailbox);
    }
    allocation.create(transaction, &MailboxName::inbox(), None, now);
    for (name, special_use) in DEFAULT_MAILBOXES {
        let name = MailboxName::new(name).map_err(|_| Error::Corrupt("a default name"))?;
        allocation.create(transaction, &name, Some(*special_use), now);
        transaction.set(&rows::subscription(account, name.as_str()), b"");
    }
    transaction.set(&rows::subscription(account, MailboxName::inbox().as_str()), b"");
    allocation.write(transaction);
    mutation.create(account);
    Ok(())
}

/// Mailbox ids and UIDVALIDITY values, neither ever given twice.
pub(crate) struct Allocation {
    account: AccountId,
    next_id: u32,
    last_uid_validity: u32,
}

impl Allocation {
    pub(crate) async fn read(transaction: &Transaction, account: AccountId) -> Result<Self> {
        let value = transaction.get(&rows::allocation(account)).await?;
        let (next_id, last_uid_validity) = match value.as_deref() {
            None => (MailboxId::INBOX.0, 0),
            Some(value) => {
                let (id, validity) =
                    value.split_at_checked(4).ok_or(Error::Corrupt("the next mailbox id"))?;
                (
                    rows::decode_u32(id, "the next mailbox id")?,
                    rows::decode_u32(validity, "the latest UIDVALIDITY")?,
                )
            }
        };
        Ok(Self { account, next_id, last_uid_validity })
    }

    /// Writes a new, empty mailbox.
    pub(crate) fn create(
        &mut self,
        transaction: &Transaction,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
        now: std::time::Duration,
    ) -> (MailboxId, MailboxRow) {
        let id = MailboxId(self.next_id);
        self.next_id += 1;
        // UIDVALIDITY must rise when a name is used again (RFC 9051 §2.3.1.1); seconds do, but two mailboxes of a second must differ.
        let seconds = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        self.last_uid_validity = seconds.max(self.last_uid_validity.saturating_add(1));
        let row =
            MailboxRow { name: name.as_str().to_owned(), uid_validity: self.last_uid_validity, special_use };
        transaction.set(&rows::mailbox(self.account, id), &rows::encode(&row));
        transaction.set(&rows::name(self.account, name.as_str()), &id.0.to_le_bytes());
        transaction.set(&rows::uid_next(self.account, id), &Uid::FIRST.get().to_le_bytes());
        (id, row)
    }

    /// The next mailbox id, and the latest UIDVALIDITY.
    pub(crate) fn numbers(&self) -> (u32, u32) {
        (self.next_id, self.last_uid_validity)
    }

    /// Takes all numbers below these for given.
    pub(crate) fn raise(&mut self, next_id: u32, last_uid_validity: u32) {
        self.next_id = self.next_id.max(next_id);
        self.last_uid_validity = self.last_uid_validity.max(last_uid_validity);
    }

    pub(crate) fn write(&self, transaction: &Transaction) {
        let value = [self.next_id.to_le_bytes(), self.last_uid_validity.to_le_bytes()].concat();
        transaction.set(&rows::allocation(self.account), &value);
    }
}
