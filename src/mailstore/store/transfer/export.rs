//! Reading an account in whole, as of one version.

use std::collections::{BTreeMap, BTreeSet};

use ekitei_kv::{KeyValue, RangeOptions, Transaction, Version};
use futures_util::future::try_join_all;

use super::{AccountState, ChangeStamp, MailboxState, StoredRecord};
use crate::rows::{self, ChangeRow, Counter, MailboxRow, STAMP};
use crate::store::transaction::{Allocation, entries, entries_in, mailbox_rows};
use crate::store::{Inner, MailStore};
use crate::types::{AccountId, MailboxId, MessageId, Uid};
use crate::view::Entry;
use crate::{Error, Result};

/// How often what changed meanwhile is read before the account counts as changing faster than it can be read.
const ROUNDS: usize = 1000;
/// Accounts whose latest change is read in one transaction.
const STAMPS: usize = 500;
/// Records that are read in one transaction.
const RECORDS: usize = 500;

/// What one transaction found out about an account besides its messages.
struct Frame {
    version: Version,
    latest: ChangeStamp,
    allocation: Allocation,
    subscriptions: Vec<String>,
    mailboxes: Vec<MailboxFrame>,
}

struct MailboxFrame {
    id: MailboxId,
    row: MailboxRow,
    uid_next: Uid,
    latest: ChangeStamp,
    messages: u64,
    /// Read in the same transaction.
    found: Found,
}

/// What a transaction tells about the messages of a mailbox.
enum Found {
    /// They are as they are known.
    Unchanged,
    /// All of them.
    All(Vec<Entry>),
    /// What became of those that changed up to a stamp; more may follow.
    Changes { until: ChangeStamp, gone: BTreeSet<Uid>, current: Vec<Entry>, complete: bool },
    /// They have to be read page by page.
    Unread,
}

impl MailStore {
    /// The latest change of each account; `None` for one that never had a mailbox. One read an account.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn latest_changes(&self, accounts: &[AccountId]) -> Result<Vec<Option<ChangeStamp>>> {
        let mut found = Vec::with_capacity(accounts.len());
        for accounts in accounts.chunks(STAMPS) {
            let read = |transaction: Transaction| async move {
                let transaction = &transaction;
                let stamps = accounts.iter().map(|&account| latest_change(transaction, account));
                try_join_all(stamps).await
            };
            found.extend(self.inner.database.read(read).await?);
        }
        Ok(found)
    }

    /// An account as it is at one version. `known` are the latest changes of mailboxes that the caller has already: if one has not changed
    /// since, its messages are not read. At most `page` messages, or changes, are read in one transaction.
    ///
    /// # Errors
    /// [`Error::Limit`] when it changes faster than it can be read; when the store fails.
    pub async fn account_state(
        &self,
        account: AccountId,
        known: &BTreeMap<MailboxId, ChangeStamp>,
        page: usize,
    ) -> Result<AccountState> {
        let mailbox = |&latest: &ChangeStamp| MailboxState {
            name: String::new(),
            uid_validity: 0,
            special_use: None,
            uid_next: Uid::FIRST,
            latest,
            entries: None,
        };
        let mut state = AccountState {
            account,
            version: 0,
            latest: [0; STAMP],
            next_mailbox: 0,
            last_uid_validity: 0,
            subscriptions: Vec::new(),
            mailboxes: known.iter().map(|(&id, latest)| (id, mailbox(latest))).collect(),
        };
        self.catch_up(&mut state, page).await?;
        Ok(state)
    }

    /// Brings a state to a later version, by the change logs.
    ///
    /// # Errors
    /// As [`MailStore::account_state`].
    pub async fn catch_up(&self, state: &mut AccountState, page: usize) -> Result<()> {
        let page = page.max(1);
        for _ in 0..ROUNDS {
            let seen = &*state;
            let read = |transaction: Transaction| async move { frame(&transaction, seen, page).await };
            let frame = self.inner.database.read(read).await?;
            let (unread, complete) = apply(state, frame);
            for (mailbox, messages) in &unread {
                let entries = self.inner.read_by_pages(state.account, *mailbox, page).await?;
                tracing::debug!(account = %state.account, mailbox = mailbox.0, messages, "read in pages");
                if let Some(mailbox) = state.mailboxes.get_mut(mailbox) {
                    mailbox.entries = Some(entries);
                }
            }
            if unread.is_empty() && complete {
                return Ok(());
            }
        }
        Err(Error::Limit("the account changes faster than it can be read"))
    }

    /// The records of messages, in order; `None` for one that is gone.
    ///
    /// # Errors
    /// When the store fails, or a record is damaged.
    pub async fn stored_records(
        &self,
        account: AccountId,
        messages: &[MessageId],
    ) -> Result<Vec<Option<StoredRecord>>> {
        let mut found = Vec::with_capacity(messages.len());
        for messages in messages.chunks(RECORDS) {
            for pieces in self.record_rows(account, messages).await? {
                found.push(stored_record(&pieces)?);
            }
        }
        Ok(found)
    }
}

fn stored_record(pieces: &[KeyValue]) -> Result<Option<StoredRecord>> {
    let octets = match pieces {
        [] => return Ok(None),
        [one] => one.value.clone(),
        many => many.iter().flat_map(|piece| &piece.value).copied().collect(),
    };
    let own_header = crate::record::own_header_length(&octets).ok_or(Error::Corrupt("a record"))?;
    Ok(Some(StoredRecord { octets, own_header }))
}

async fn latest_change(transaction: &Transaction, account: AccountId) -> Result<Option<ChangeStamp>> {
    let stamp = transaction.get_snapshot(&rows::latest_change(account)).await?;
    stamp.map(|stamp| stamp[..].try_into().map_err(|_| Error::Corrupt("the latest change"))).transpose()
}

/// Reads what there is besides messages, and of the messages what fits into the page.
async fn frame(transaction: &Transaction, seen: &AccountState, page: usize) -> Result<Frame> {
    let account = seen.account;
    let version = transaction.read_version().await?;
    let allocation = Allocation::read(transaction, account).await?;
    let options = RangeOptions { snapshot: true, ..RangeOptions::default() };
    let subscriptions = transaction.get_range(rows::subscriptions(account), options).await?;
    let subscriptions =
        subscriptions.iter().map(|row| rows::subscribed_name(&row.key)).collect::<Result<_>>()?;
    let mailboxes = mailbox_rows(transaction, account).await?;
    let frames = mailboxes.into_iter().map(|(id, row)| mailbox_frame(transaction, account, id, row));
    let mut mailboxes = try_join_all(frames).await?;
    let mut room = page;
    for mailbox in &mut mailboxes {
        mailbox.found = match seen.mailboxes.get(&mailbox.id) {
            Some(known) if known.latest == mailbox.latest => Found::Unchanged,
            Some(MailboxState { latest, entries: Some(_), .. }) => {
                changes(transaction, account, mailbox.id, latest, &mut room).await?
            }
            _ => all(transaction, account, mailbox, &mut room).await?,
        };
    }
    let latest = latest_change(transaction, account).await?.unwrap_or([0; STAMP]);
    Ok(Frame { version, latest, allocation, subscriptions, mailboxes })
}

async fn mailbox_frame(
    transaction: &Transaction,
    account: AccountId,
    id: MailboxId,
    row: MailboxRow,
) -> Result<MailboxFrame> {
    let uid_next = crate::store::transaction::uid_next(transaction, account, id).await?;
    let last = RangeOptions { limit: 1, reverse: true, snapshot: true };
    let last = transaction.get_range(rows::changes(account, id), last).await?;
    let latest = last.first().map_or(Ok([0; STAMP]), |row| rows::stamp_of(&row.key))?;
    let messages = transaction.get_snapshot(&rows::counter(account, id, Counter::Messages)).await?;
    let messages = u64::try_from(ekitei_kv::decode_counter(messages.as_deref())).unwrap_or(0);
    Ok(MailboxFrame { id, row, uid_next, latest, messages, found: Found::Unchanged })
}

/// All messages of a mailbox, if they fit.
async fn all(
    transaction: &Transaction,
    account: AccountId,
    mailbox: &MailboxFrame,
    room: &mut usize,
) -> Result<Found> {
    if mailbox.messages > *room as u64 {
        return Ok(Found::Unread);
    }
    // The counter may be wrong; the limit is not.
    let options = RangeOptions { limit: *room + 1, snapshot: true, ..RangeOptions::default() };
    let found = entries_in(transaction, rows::index_of_mailbox(account, mailbox.id), options).await?;
    if found.len() > *room {
        return Ok(Found::Unread);
    }
    *room -= found.len();
    Ok(Found::All(found))
}

/// What happened in a mailbox after a stamp, as far as it fits.
async fn changes(
    transaction: &Transaction,
    account: AccountId,
    mailbox: MailboxId,
    after: &ChangeStamp,
    room: &mut usize,
) -> Result<Found> {
    let log_begin = transaction.get_snapshot(&rows::log_begin(account, mailbox)).await?;
    if log_begin.is_some_and(|begin| begin[..] > after[..]) {
        return Ok(Found::Unread); // what is missing was cut off
    }
    let options = RangeOptions { limit: *room + 1, snapshot: true, ..RangeOptions::default() };
    let log = transaction.get_range(rows::changes_after(account, mailbox, after), options).await?;
    let (mut touched, mut gone) = (BTreeSet::new(), BTreeSet::new());
    let (mut until, mut complete) = (*after, log.len() <= *room);
    for row in &log {
        // One change may touch many messages; at least one is taken, so that there is progress.
        if until != *after && touched.len() + gone.len() >= *room {
            complete = false;
            break;
        }
        let change: ChangeRow = rows::decode(&row.value, "a change")?;
        touched.extend(rows::uids_of(&change.added).chain(rows::uids_of(&change.updated)));
        gone.extend(rows::uids_of(&change.expunged));
        until = rows::stamp_of(&row.key)?;
    }
    let touched: Vec<Uid> = touched.difference(&gone).copied().collect();
    *room = room.saturating_sub(touched.len() + log.len());
    let current = entries(transaction, account, mailbox, &touched).await?;
    // What a later change, beyond the page, removed is gone already.
    let current_uids: BTreeSet<Uid> = current.iter().map(|entry| entry.uid).collect();
    gone.extend(touched.into_iter().filter(|uid| !current_uids.contains(uid)));
    Ok(Found::Changes { until, gone, current, complete })
}

/// Takes over what a transaction found. Returns the mailboxes to read page by page, and whether the others are as they were at the
/// frame's version.
fn apply(state: &mut AccountState, frame: Frame) -> (Vec<(MailboxId, u64)>, bool) {
    let (mut unread, mut all_complete) = (Vec::new(), true);
    state.version = frame.version;
    state.latest = frame.latest;
    (state.next_mailbox, state.last_uid_validity) = frame.allocation.numbers();
    state.subscriptions = frame.subscriptions;
    let mut before = std::mem::take(&mut state.mailboxes);
    for mailbox in frame.mailboxes {
        let known = before.remove(&mailbox.id);
        let mut entries = known.and_then(|known| known.entries);
        let latest = match mailbox.found {
            Found::Unchanged => mailbox.latest,
            Found::All(found) => {
                entries = Some(found.into_iter().map(|entry| (entry.uid, entry)).collect());
                mailbox.latest
            }
            Found::Changes { until, gone, current, complete } => {
                let entries = entries.get_or_insert_default();
                entries.retain(|uid, _| !gone.contains(uid));
                entries.extend(current.into_iter().map(|entry| (entry.uid, entry)));
                all_complete &= complete;
                until
            }
            Found::Unread => {
                unread.push((mailbox.id, mailbox.messages));
                mailbox.latest
            }
        };
        let MailboxRow { name, uid_validity, special_use } = mailbox.row;
        let uid_next = mailbox.uid_next;
        let now = MailboxState { name, uid_validity, special_use, uid_next, latest, entries };
        state.mailboxes.insert(mailbox.id, now);
    }
    (unread, all_complete)
}

impl Inner {
    /// The messages of a mailbox, each page at a version of its own.
    async fn read_by_pages(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        page: usize,
    ) -> Result<BTreeMap<Uid, Entry>> {
        let mut found = BTreeMap::new();
        let mut range = rows::index_of_mailbox(account, mailbox);
        loop {
            let next = &range;
            let read = |transaction: Transaction| async move {
                let options = RangeOptions { limit: page, snapshot: true, ..RangeOptions::default() };
                entries_in(&transaction, next.clone(), options).await
            };
            let entries = self.database.read(read).await?;
            let Some(last) = entries.last() else { return Ok(found) };
            range.start = rows::index(account, mailbox, last.uid);
            range.start.push(0);
            let is_last = entries.len() < page;
            found.extend(entries.into_iter().map(|entry| (entry.uid, entry)));
            if is_last {
                return Ok(found);
            }
        }
    }
}
