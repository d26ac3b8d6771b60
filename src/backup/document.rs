//! What a snapshot is made of, as it is stored: postcard behind a format octet.
//!
//! A [`Snapshot`] leads to lists of rows (directory, signing keys, queue) and to lists of [`AccountEntry`]s; each of these to an
//! [`AccountDocument`]; that, for each mailbox, to buckets of [`BUCKET`] UIDs: one document with what changes of a message (flags, MODSEQ), one with
//! what never does (its record). So a change of one flag writes one small document anew, and a mailbox that did not change none.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::crypto::ChunkId;
use crate::error::{Error, Result};

/// UIDs of one bucket.
pub(crate) const BUCKET: u32 = 256;
/// Octets of a piece of a body, and of a document.
pub(crate) const PIECE: u64 = 4 << 20;
const FORMAT: u8 = 1;

/// A document in the packs: its pieces in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DocumentRef(pub(crate) Vec<ChunkId>);

impl DocumentRef {
    /// A name of all of it: documents that begin alike have the same first pieces. `None` for none.
    pub(crate) fn name(&self) -> Option<ChunkId> {
        match &self.0[..] {
            [] => None,
            [piece] => Some(*piece),
            pieces => {
                let mut hasher = blake3::Hasher::new();
                pieces.iter().for_each(|piece| _ = hasher.update(&piece.0));
                hasher.finalize().as_bytes().first_chunk().copied().map(ChunkId)
            }
        }
    }
}

/// A point in time of the whole service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Which store it is of.
    pub(crate) source: [u8; 16],
    /// When it was begun and was complete: seconds since the epoch.
    pub(crate) began: u64,
    pub(crate) ended: u64,
    /// The host that wrote it, and its release.
    pub(crate) host: String,
    pub(crate) release: String,
    /// The lowest and the highest version of the store that something of it was read at.
    pub(crate) versions: (u64, u64),
    /// The incarnation of the store.
    pub(crate) incarnation: u16,
    /// Rows of the directory, in lists.
    pub(crate) directory: Vec<DocumentRef>,
    /// Whether all rows of the directory are of one version.
    pub(crate) directory_consistent: bool,
    /// Lists of [`AccountEntry`].
    pub(crate) accounts: Vec<DocumentRef>,
    /// Rows of signing keys.
    pub(crate) signing: DocumentRef,
    /// Lists of messages of the queue.
    pub(crate) queue: Vec<DocumentRef>,
    /// Rows of suppressed addresses.
    pub(crate) suppressions: DocumentRef,
    /// Small files beside the store: names and octets.
    pub(crate) files: DocumentRef,
    pub(crate) totals: Totals,
}

/// Figures of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Domains.
    pub domains: u64,
    /// Accounts.
    pub accounts: u64,
    /// Accounts that had changed since the snapshot before.
    pub changed_accounts: u64,
    /// Mailboxes.
    pub mailboxes: u64,
    /// Messages in mailboxes.
    pub messages: u64,
    /// Octets of them.
    pub bytes: u64,
    /// Messages in the queue.
    pub queued: u64,
    /// Bodies that were read for this snapshot.
    pub new_bodies: u64,
    /// Octets of them.
    pub new_body_bytes: u64,
    /// Octets written to the repository.
    pub written: u64,
}

/// An account in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountEntry {
    pub(crate) id: u64,
    /// For people, and to find it.
    pub(crate) address: String,
    /// The latest change of its mail; `None` if it has no mailbox yet.
    pub(crate) latest: Option<[u8; 10]>,
    pub(crate) version: u64,
    pub(crate) document: DocumentRef,
    pub(crate) mailboxes: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl AccountEntry {
    /// One without mail.
    pub(crate) fn empty(id: ekitei_directory::AccountId, address: &str) -> Self {
        Self {
            id: id.get(),
            address: address.to_owned(),
            latest: None,
            version: 0,
            document: DocumentRef::default(),
            mailboxes: 0,
            messages: 0,
            bytes: 0,
        }
    }
}

/// The mail of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountDocument {
    pub(crate) next_mailbox: u32,
    pub(crate) last_uid_validity: u32,
    pub(crate) subscriptions: Vec<String>,
    pub(crate) highest_modseq: u64,
    pub(crate) mailboxes: Vec<MailboxDocument>,
}

/// A mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MailboxDocument {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) uid_validity: u32,
    pub(crate) special_use: Option<ekitei_mailstore::SpecialUse>,
    pub(crate) uid_next: u32,
    /// The latest change of its messages.
    pub(crate) latest: [u8; 10],
    pub(crate) highest_modseq: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) buckets: Vec<BucketRef>,
}

/// The messages of a run of UIDs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BucketRef {
    /// UID / [`BUCKET`].
    pub(crate) number: u32,
    /// `Vec<MessageEntry>`, by UID.
    pub(crate) entries: DocumentRef,
    /// `Vec<RecordEntry>`, by message.
    pub(crate) records: DocumentRef,
}

/// What may change of a message, and what is needed to find the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageEntry {
    pub(crate) uid: u32,
    pub(crate) message: [u8; 16],
    pub(crate) flags: u8,
    pub(crate) keywords: Vec<String>,
    /// INTERNALDATE, seconds since the epoch.
    pub(crate) received: i64,
    /// RFC822.SIZE.
    pub(crate) size: u64,
    pub(crate) modseq: u64,
    /// Octets of the body, which has the message's id.
    pub(crate) body_size: u64,
}

/// The record of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordEntry {
    pub(crate) message: [u8; 16],
    pub(crate) octets: Vec<u8>,
}

/// Rows of the store as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rows(pub(crate) Vec<(Vec<u8>, Vec<u8>)>);

impl Rows {
    pub(crate) fn of(rows: &[ekitei_kv::KeyValue]) -> Self {
        Self(rows.iter().map(|row| (row.key.to_vec(), row.value.to_vec())).collect())
    }

    pub(crate) fn into_rows(self) -> Vec<ekitei_kv::KeyValue> {
        let row =
            |(key, value): (Vec<u8>, Vec<u8>)| ekitei_kv::KeyValue { key: key.into(), value: value.into() };
        self.0.into_iter().map(row).collect()
    }
}

/// How many pieces a body of this size has: at least one.
pub(crate) fn pieces(body_size: u64) -> u32 {
    u32::try_from(body_size.div_ceil(PIECE)).unwrap_or(u32::MAX).max(1)
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Serialising numbers, strings and vectors into memory cannot fail.
    postcard::to_extend(value, vec![FORMAT]).unwrap_or_default()
}

pub(crate) fn decode<T: DeserializeOwned>(octets: &[u8], what: &'static str) -> Result<T> {
    match octets.split_first() {
        Some((&FORMAT, rest)) => {
            postcard::from_bytes(rest).map_err(|error| Error::Damaged(format!("{what}: {error}")))
        }
        Some((format, _)) if *format > FORMAT => Err(Error::TooNew(what)),
        _ => Err(Error::Damaged(format!("{what} is empty"))),
    }
}
