//! What the protocols ask of the mailstore, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ekitei_directory::Quota;

use crate::companion::Companion;
use crate::fence::Fence;
use crate::types::{AccountId, Flags, Keywords, MailboxId, MailboxName, ModSeq, SpecialUse, Uid};

/// Limits and defaults of the mailstore.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Mailboxes an account may have.
    pub max_mailboxes: usize,
    /// Levels a mailbox name may have.
    pub max_mailbox_depth: usize,
    /// Keywords a message may have.
    pub max_keywords: usize,
    /// Octets a message may have, whatever way it comes in; each protocol has a lower limit of its own.
    pub max_message_size: u64,
    /// Messages that one delivery transaction may hold.
    pub delivery_batch: usize,
    /// Octets of rows that one delivery transaction may hold, about; below the store's limit for a transaction.
    pub delivery_batch_size: usize,
    /// Bodies that one search may read; a large one counts for as many as it is mebibytes.
    pub max_search_bodies: usize,
    /// Changes that the log of a mailbox keeps: a view, or a client that asks what changed, must catch up within it.
    pub change_log_length: usize,
    /// Octets of message records kept in memory.
    pub record_cache_size: u64,
    /// Watches on the store, one for each account that sessions of this process wait for; accounts beyond that are polled.
    pub max_watches: usize,
    /// How often accounts without a watch are looked at.
    pub watch_poll_interval: Duration,
    /// Raised when the data moves to another cluster, so that MODSEQ keeps rising (see [`ModSeq`]).
    pub incarnation: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_mailboxes: 10_000,
            max_mailbox_depth: 20,
            max_keywords: 100,
            max_message_size: 1 << 30,
            delivery_batch: 256,
            delivery_batch_size: 4 << 20,
            max_search_bodies: 20_000,
            change_log_length: 10_000,
            record_cache_size: 8 << 20,
            max_watches: 20_000,
            watch_poll_interval: Duration::from_secs(1),
            incarnation: 0,
        }
    }
}

/// A mailbox of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// Its id, for ever.
    pub id: MailboxId,
    /// Its name now.
    pub name: MailboxName,
    /// UIDVALIDITY (RFC 9051 §2.3.1.1).
    pub uid_validity: u32,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
}

/// What STATUS tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Messages in it.
    pub messages: u64,
    /// Without `\Seen`.
    pub unseen: u64,
    /// With `\Deleted`.
    pub deleted: u64,
    /// Octets of all its messages.
    pub size: u64,
    /// The UID that the next message gets.
    pub uid_next: Uid,
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// The version of its latest change.
    pub highest_modseq: ModSeq,
}

/// What an account holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Octets of the messages in all its mailboxes; a message in two mailboxes counts twice.
    pub bytes: u64,
    /// Messages in all its mailboxes.
    pub messages: u64,
}

/// A message that came in: for local recipients, for others (by its companions), or both.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The whole message, CRLF line ends, with all header fields that every recipient shall see.
    pub message: Bytes,
    /// When it was received, since the epoch.
    pub received: Duration,
    /// Where it goes; an account that is named twice gets it once.
    pub targets: Vec<Target>,
    /// What is written with it: its entries in the queue.
    pub companions: Vec<Arc<dyn Companion>>,
    /// What whoever delivers it must still hold when it is committed; `None` for those who need hold nothing.
    pub fence: Option<Arc<dyn Fence>>,
}

/// One recipient of a [`Delivery`].
#[derive(Clone, Debug)]
pub struct Target {
    /// Whose mailbox.
    pub account: AccountId,
    /// Which mailbox.
    pub folder: Folder,
    /// Flags it begins with.
    pub flags: Flags,
    /// What the account and its domain may hold; `None` if that does not matter now.
    pub quota: Option<Quota>,
    /// Header fields for this recipient only (`Delivered-To`), each with its CRLF; put in front of the message.
    pub header: Bytes,
}

/// A mailbox that a delivery names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Folder {
    /// The INBOX.
    Inbox,
    /// The mailbox for this use, or the INBOX if there is none.
    SpecialUse(SpecialUse),
    /// The mailbox of this name, or the INBOX if there is none.
    Named(MailboxName),
}

/// A message for APPEND.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// The whole message, as the client sent it.
    pub message: Bytes,
    /// Flags it begins with.
    pub flags: Flags,
    /// Keywords it begins with.
    pub keywords: Keywords,
    /// INTERNALDATE since the epoch; now if `None`.
    pub received: Option<Duration>,
}

/// What APPEND did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// UIDVALIDITY of the mailbox.
    pub uid_validity: u32,
    /// The UIDs the messages got, in order.
    pub uids: Vec<Uid>,
}

/// What COPY or MOVE did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// UIDVALIDITY of the target.
    pub uid_validity: u32,
    /// UID in the source and UID in the target, ascending in both; without messages that were expunged meanwhile.
    pub uids: Vec<(Uid, Uid)>,
}

/// What STORE does to each message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagChange {
    /// Set, add or remove.
    pub operation: FlagOperation,
    /// System flags it is about.
    pub flags: Flags,
    /// Keywords it is about.
    pub keywords: Keywords,
}

/// Set, add or remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagOperation {
    /// `FLAGS`
    Set,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// What a change touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The messages that are different now, ascending.
    pub uids: Vec<Uid>,
    /// Their MODSEQ (of the last transaction, if it took several).
    pub modseq: ModSeq,
}

/// Which messages EXPUNGE removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpungeScope {
    /// All with `\Deleted`.
    Deleted,
    /// Those of these with `\Deleted` (UID EXPUNGE).
    DeletedAmong(Vec<Uid>),
    /// These, whatever their flags (POP3).
    Exactly(Vec<Uid>),
}
