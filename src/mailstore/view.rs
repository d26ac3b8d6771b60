//! What a session sees of a selected mailbox: one shared in-memory list per mailbox and process, refreshed from the change log.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ekitei_kv::{KeyValue, RangeOptions, Transaction};
use tokio::sync::Mutex;

use crate::rows::{self, ChangeRow, STAMP};
use crate::store::{Inner, transaction};
use crate::types::{AccountId, Flags, Keywords, MailboxId, MessageId, ModSeq, Uid};
use crate::{Error, Result};

/// One message of a mailbox, as far as FETCH FLAGS, INTERNALDATE and RFC822.SIZE need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its UID.
    pub uid: Uid,
    /// The message, shared with copies of it in the account.
    pub message: MessageId,
    /// The version of its latest change here.
    pub modseq: ModSeq,
    /// System flags.
    pub flags: Flags,
    /// Keywords.
    pub keywords: Keywords,
    /// INTERNALDATE, seconds since the epoch.
    pub received: i64,
    /// RFC822.SIZE, in octets.
    pub size: u64,
}

/// A mailbox at one moment; never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The messages, by ascending UID: the message number is the index plus 1.
    pub entries: Vec<Entry>,
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// The UID that the next message gets.
    pub uid_next: Uid,
    /// The version of the latest change.
    pub highest_modseq: ModSeq,
    /// The mailbox was deleted.
    pub gone: bool,
}

impl Snapshot {
    /// The index of a UID.
    pub fn position(&self, uid: Uid) -> Option<usize> {
        self.entries.binary_search_by_key(&uid, |entry| entry.uid).ok()
    }
}

/// The shared view of one mailbox: cheap to clone.
#[derive(Clone)]
pub struct View {
    inner: Arc<Inner>,
    shared: Arc<SharedView>,
}

impl View {
    pub(crate) fn new(inner: Arc<Inner>, shared: Arc<SharedView>) -> Self {
        Self { inner, shared }
    }

    /// Whose mailbox.
    pub fn account(&self) -> AccountId {
        self.shared.account
    }

    /// Which mailbox.
    pub fn mailbox(&self) -> MailboxId {
        self.shared.mailbox
    }

    /// The mailbox as last refreshed.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// Reads the change log, and returns the mailbox as it is now: at least every change acknowledged before the call.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn refresh(&self) -> Result<Arc<Snapshot>> {
        self.shared.refresh(&self.inner).await
    }
}

/// What all sessions of one mailbox share.
pub(crate) struct SharedView {
    account: AccountId,
    mailbox: MailboxId,
    snapshot: ArcSwap<Snapshot>,
    /// The versionstamp of the latest change that the snapshot has; held while refreshing.
    latest: Mutex<[u8; STAMP]>,
}

/// What a refresh found in the store.
enum Found {
    Nothing,
    Changes(Changes),
    /// The log was cut off behind the snapshot's latest change.
    LogTooShort,
}

struct Changes {
    latest: [u8; STAMP],
    uid_next: Uid,
    expunged: BTreeSet<Uid>,
    /// Added or changed, ascending, as they are now.
    current: Vec<Entry>,
}

impl SharedView {
    /// Reads a mailbox in whole.
    pub(crate) async fn load(inner: &Inner, account: AccountId, mailbox: MailboxId) -> Result<Self> {
        let read = |transaction: Transaction| async move {
            let row = transaction::mailbox_row(&transaction, account, mailbox).await?;
            let uid_next = transaction::uid_next(&transaction, account, mailbox).await?;
            let last = RangeOptions { limit: 1, reverse: true, snapshot: true };
            let last = transaction.get_range(rows::changes(account, mailbox), last).await?;
            let latest = last.first().map_or(Ok([0; STAMP]), |row| rows::stamp_of(&row.key))?;
            let all = RangeOptions { snapshot: true, ..RangeOptions::default() };
            let range = rows::index_of_mailbox(account, mailbox);
            let entries = transaction::entries_in(&transaction, range, all).await?;
            Ok::<_, Error>((row.uid_validity, uid_next, latest, entries))
        };
        let (uid_validity, uid_next, latest, entries) = inner.database.read(read).await?;
        let highest_modseq = ModSeq::new(inner.settings.incarnation, rows::version_of(&latest));
        let snapshot = Snapshot { entries, uid_validity, uid_next, highest_modseq, gone: false };
        let snapshot = ArcSwap::from_pointee(snapshot);
        Ok(Self { account, mailbox, snapshot, latest: Mutex::new(latest) })
    }

    async fn refresh(&self, inner: &Inner) -> Result<Arc<Snapshot>> {
        let mut latest = self.latest.lock().await;
        let stamp = *latest;
        let old = self.snapshot.load_full();
        if old.gone {
            return Ok(old);
        }
        let read = |transaction: Transaction| async move { self.changes(&transaction, &stamp).await };
        let new = match inner.database.read(read).await {
            Ok(Found::Nothing) => return Ok(old),
            Ok(Found::Changes(changes)) => {
                *latest = changes.latest;
                merge(&old, changes, inner.settings.incarnation)
            }
            Ok(Found::LogTooShort) => {
                let anew = Self::load(inner, self.account, self.mailbox).await?;
                *latest = anew.latest.into_inner();
                anew.snapshot.load().as_ref().clone()
            }
            Err(Error::NoSuchMailbox) => Snapshot { gone: true, entries: Vec::new(), ..(*old).clone() },
            Err(error) => return Err(error),
        };
        let new = Arc::new(new);
        self.snapshot.store(Arc::clone(&new));
        Ok(new)
    }

    /// What happened after a versionstamp.
    async fn changes(&self, transaction: &Transaction, stamp: &[u8; STAMP]) -> Result<Found> {
        let (account, mailbox) = (self.account, self.mailbox);
        let uid_next = transaction::uid_next(transaction, account, mailbox).await?;
        let options = RangeOptions { snapshot: true, ..RangeOptions::default() };
        let log = transaction.get_range(rows::changes_after(account, mailbox, stamp), options).await?;
        let Some(last) = log.last() else { return Ok(Found::Nothing) };
        // Only old changes are cut off, so this matters only where there are newer ones.
        let log_begin = transaction.get_snapshot(&rows::log_begin(account, mailbox)).await?;
        if log_begin.is_some_and(|begin| begin[..] > stamp[..]) {
            return Ok(Found::LogTooShort);
        }
        let latest = rows::stamp_of(&last.key)?;
        let (touched, expunged) = replay(&log)?;
        let touched: Vec<Uid> = touched.difference(&expunged).copied().collect();
        let current = transaction::entries(transaction, account, mailbox, &touched).await?;
        Ok(Found::Changes(Changes { latest, uid_next, expunged, current }))
    }
}

/// The UIDs that a stretch of the change log added or changed, and those it expunged.
pub(crate) fn replay(log: &[KeyValue]) -> Result<(BTreeSet<Uid>, BTreeSet<Uid>)> {
    let (mut touched, mut expunged) = (BTreeSet::new(), BTreeSet::new());
    for row in log {
        let row: ChangeRow = rows::decode(&row.value, "a change")?;
        touched.extend(rows::uids_of(&row.added).chain(rows::uids_of(&row.updated)));
        expunged.extend(rows::uids_of(&row.expunged));
    }
    Ok((touched, expunged))
}

fn merge(old: &Snapshot, changes: Changes, incarnation: u16) -> Snapshot {
    let mut entries = Vec::with_capacity(old.entries.len() + changes.current.len());
    let mut current = changes.current.into_iter().peekable();
    for entry in &old.entries {
        while let Some(added) = current.next_if(|new| new.uid < entry.uid) {
            entries.push(added);
        }
        if let Some(changed) = current.next_if(|new| new.uid == entry.uid) {
            entries.push(changed);
        } else if !changes.expunged.contains(&entry.uid) {
            entries.push(entry.clone());
        }
    }
    entries.extend(current);
    Snapshot {
        entries,
        uid_validity: old.uid_validity,
        uid_next: changes.uid_next,
        highest_modseq: ModSeq::new(incarnation, rows::version_of(&changes.latest)),
        gone: false,
    }
}
