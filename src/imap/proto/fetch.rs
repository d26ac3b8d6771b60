//! FETCH: its data items (RFC 9051 §6.4.5).

use super::section::{PartPath, Partial, Section};
use super::sequence::SequenceSet;

/// A FETCH or UID FETCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Whether `set` has UIDs, and UID is to be returned whether asked for or not.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// What to return, macros expanded, in the order asked, without repetition; never empty.
    pub items: Vec<FetchItem>,
    /// `CHANGEDSINCE` (RFC 7162): only messages changed after this mod-sequence.
    pub changed_since: Option<u64>,
    /// `VANISHED` (RFC 7162): report expunged UIDs too. Only with `changed_since` and `uid`.
    pub vanished: bool,
}

/// A data item to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchItem {
    /// `ENVELOPE`
    Envelope,
    /// `FLAGS`
    Flags,
    /// `INTERNALDATE`
    InternalDate,
    /// `UID`
    Uid,
    /// `RFC822.SIZE`
    Rfc822Size,
    /// `MODSEQ` (RFC 7162)
    ModSeq,
    /// `EMAILID` (RFC 8474)
    EmailId,
    /// `THREADID` (RFC 8474)
    ThreadId,
    /// `SAVEDATE` (RFC 8514)
    SaveDate,
    /// `BODY`: the structure without extension data.
    Body,
    /// `BODYSTRUCTURE`: the structure with extension data.
    BodyStructure,
    /// `RFC822`: as `BODY[]` under its old name; sets `\Seen`.
    Rfc822,
    /// `RFC822.HEADER`: as `BODY.PEEK[HEADER]` under its old name.
    Rfc822Header,
    /// `RFC822.TEXT`: as `BODY[TEXT]` under its old name; sets `\Seen`.
    Rfc822Text,
    /// `BODY[...]` and `BODY.PEEK[...]`
    BodySection {
        /// Whether `\Seen` is left as it is.
        peek: bool,
        /// Which section.
        section: Section,
        /// Which octets of it; all if `None`.
        partial: Option<Partial>,
    },
    /// `BINARY[...]` and `BINARY.PEEK[...]` (RFC 3516): the content with its transfer encoding undone.
    Binary {
        /// Whether `\Seen` is left as it is.
        peek: bool,
        /// Which part.
        part: PartPath,
        /// Which octets of it; all if `None`.
        partial: Option<Partial>,
    },
    /// `BINARY.SIZE[...]` (RFC 3516)
    BinarySize {
        /// Which part.
        part: PartPath,
    },
}

impl FetchItem {
    /// Whether fetching this sets `\Seen` (RFC 9051 §6.4.5).
    pub fn sets_seen(&self) -> bool {
        match self {
            FetchItem::Rfc822 | FetchItem::Rfc822Text => true,
            FetchItem::BodySection { peek, .. } | FetchItem::Binary { peek, .. } => !peek,
            _ => false,
        }
    }
}
