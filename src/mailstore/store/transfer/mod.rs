//! Accounts in and out in whole: what a backup reads, and what a restore writes.
//!
//! [`export`] reads the state of an account as of one version, however large it is: in one transaction where it fits, else page by page,
//! and then what changed meanwhile from the change logs, until one transaction finds nothing more. [`import`] writes messages with the
//! UIDs, flags and records that they had.

mod export;
mod import;

use std::collections::BTreeMap;

use bytes::Bytes;
use ekitei_blob::Prepared;
use ekitei_kv::Version;

use crate::types::{AccountId, BodyId, Flags, Keywords, MailboxId, MessageId, SpecialUse, Uid};
use crate::view::Entry;

/// The versionstamp of a change: ten octets that rise with each commit.
pub type ChangeStamp = [u8; 10];

/// An account at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountState {
    /// Whose it is.
    pub account: AccountId,
    /// The version that all of it is the state of.
    pub version: Version,
    /// The latest change of the account.
    pub latest: ChangeStamp,
    /// The id that the next mailbox gets.
    pub next_mailbox: u32,
    /// The highest UIDVALIDITY that was given.
    pub last_uid_validity: u32,
    /// Names that the account subscribed to.
    pub subscriptions: Vec<String>,
    /// Its mailboxes.
    pub mailboxes: BTreeMap<MailboxId, MailboxState>,
}

/// A mailbox of an [`AccountState`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxState {
    /// Its name.
    pub name: String,
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
    /// The UID that the next message gets.
    pub uid_next: Uid,
    /// The latest change of its messages; zeros if there was none.
    pub latest: ChangeStamp,
    /// Its messages by UID; `None` if nothing changed since the stamp that the caller knew.
    pub entries: Option<BTreeMap<Uid, Entry>>,
}

/// The record of a message as it is stored, of any form that this release reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its octets.
    pub octets: Bytes,
    /// How many octets of the message are header fields of this account's own; the others are the body.
    pub own_header: u64,
}

/// What a restore needs of an account before its messages.
#[derive(Clone, Copy, Debug)]
pub struct RestoredAccount {
    /// Which, and empty so far.
    pub account: AccountId,
    /// See [`AccountState::next_mailbox`].
    pub next_mailbox: u32,
    /// See [`AccountState::last_uid_validity`].
    pub last_uid_validity: u32,
}

/// A mailbox that a restore makes visible, when all its messages are there.
#[derive(Clone, Debug)]
pub struct RestoredMailbox {
    /// Its id.
    pub id: MailboxId,
    /// Its name.
    pub name: String,
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
    /// The UID that the next message gets.
    pub uid_next: Uid,
}

/// A message to restore.
#[derive(Clone, Debug)]
pub struct RestoredMessage {
    /// The UID it had; a merge gives it another.
    pub uid: Uid,
    /// The message and its body: the id it had, or another if that body is gone from the store.
    pub message: MessageId,
    /// Flags.
    pub flags: Flags,
    /// Keywords.
    pub keywords: Keywords,
    /// INTERNALDATE, seconds since the epoch.
    pub received: i64,
    /// RFC822.SIZE, in octets.
    pub size: u64,
    /// Its record.
    pub record: Bytes,
    /// Where its octets are.
    pub body: RestoredBody,
}

/// The body of a message to restore.
#[derive(Clone, Debug)]
pub enum RestoredBody {
    /// It is in the store, and was read there a moment ago.
    Present,
    /// To be stored with the message.
    New(Box<Prepared>),
}

/// What became of messages to restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// They were added.
    pub added: u64,
    /// They were there.
    pub present: u64,
}

/// Notes in the transaction of a restore that a message of the backup got another id here.
pub trait RestoreNote: Send + Sync {
    /// Writes rows; called once in each attempt.
    fn write(&self, transaction: &ekitei_kv::Transaction, message: BodyId);
}
