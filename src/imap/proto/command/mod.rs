//! The commands of a client, parsed: owned values whose strings are slices of what was received.

pub(super) mod append;
pub(super) mod arguments;
mod mailbox;
mod message;
pub(super) mod parse;
mod session;

use std::fmt;

use bytes::Bytes;

use super::date::DateTime;
use super::fetch::Fetch;
use super::flag::Flag;
use super::mailbox_name::{ListPattern, MailboxName};
use super::search::Search;
use super::sequence::SequenceSet;
use super::special_use::SpecialUse;
use super::tag::Tag;

/// A complete command with its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The tag its reply must carry.
    pub tag: Tag,
    /// What is asked.
    pub command: Command,
}

/// A command. APPEND is not among them: its messages are streamed, see [`super::reader::Event`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `CAPABILITY`
    Capability,
    /// `NOOP`
    Noop,
    /// `LOGOUT`
    Logout,
    /// `STARTTLS`
    StartTls,
    /// `AUTHENTICATE` (RFC 9051 §6.2.2). The exchange goes on with raw lines.
    Authenticate {
        /// The SASL mechanism in upper case.
        mechanism: String,
        /// The initial response, decoded; empty for `=` (RFC 4959).
        initial_response: Option<Secret>,
    },
    /// `LOGIN`
    Login {
        /// The user name, not checked to be UTF-8.
        username: Bytes,
        /// The password.
        password: Secret,
    },
    /// `ID` (RFC 2971): the client's fields in their order; empty for NIL.
    Id(Vec<(Bytes, Option<Bytes>)>),
    /// `ENABLE` (RFC 9051 §6.3.1): capability names in upper case.
    Enable(Vec<String>),
    /// `SELECT`
    Select(Select),
    /// `EXAMINE`
    Examine(Select),
    /// `CREATE`
    Create {
        /// The new mailbox; one delimiter at the end is taken off (RFC 9051 §6.3.4).
        mailbox: MailboxName,
        /// `(USE (...))` (RFC 6154).
        special_use: Vec<SpecialUse>,
    },
    /// `DELETE`
    Delete(MailboxName),
    /// `RENAME`
    Rename {
        /// The mailbox as it is.
        from: MailboxName,
        /// Its new name.
        to: MailboxName,
    },
    /// `SUBSCRIBE`
    Subscribe(MailboxName),
    /// `UNSUBSCRIBE`
    Unsubscribe(MailboxName),
    /// `LIST`
    List(List),
    /// `LSUB` (RFC 3501 §6.3.9)
    Lsub {
        /// The reference name, possibly empty.
        reference: String,
        /// What is asked for.
        pattern: ListPattern,
    },
    /// `NAMESPACE`
    Namespace,
    /// `STATUS`
    Status {
        /// The mailbox.
        mailbox: MailboxName,
        /// What is asked of it, without repetition; never empty.
        items: Vec<StatusItem>,
    },
    /// `GETQUOTA` (RFC 9208) of a quota root.
    GetQuota(Bytes),
    /// `GETQUOTAROOT` (RFC 9208)
    GetQuotaRoot(MailboxName),
    /// `SETQUOTA` (RFC 9208)
    SetQuota {
        /// The quota root.
        root: Bytes,
        /// The resources in upper case, with their new limits.
        limits: Vec<(String, u64)>,
    },
    /// `IDLE` (RFC 2177); ends with a raw line, see [`is_done`].
    Idle,
    /// `CHECK` (RFC 3501 §6.4.1)
    Check,
    /// `CLOSE`
    Close,
    /// `UNSELECT`
    Unselect,
    /// `EXPUNGE`
    Expunge,
    /// `UID EXPUNGE` (RFC 4315)
    UidExpunge(SequenceSet),
    /// `SEARCH` and `UID SEARCH`
    Search(Search),
    /// `FETCH` and `UID FETCH`
    Fetch(Fetch),
    /// `STORE` and `UID STORE`
    Store(Store),
    /// `COPY` and `UID COPY`
    Copy(Transfer),
    /// `MOVE` and `UID MOVE` (RFC 6851)
    Move(Transfer),
}

/// Whether `line`, read raw while idling, ends the IDLE (RFC 2177).
pub fn is_done(line: &[u8]) -> bool {
    line.eq_ignore_ascii_case(b"DONE")
}

/// A secret of the client: its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Bytes);

impl Secret {
    /// Keeps `octets`.
    pub fn new(octets: Bytes) -> Secret {
        Secret(octets)
    }

    /// The octets.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The arguments of SELECT and EXAMINE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    /// The mailbox.
    pub mailbox: MailboxName,
    /// Parameters such as `CONDSTORE` (RFC 4466); an unknown one is to be refused with BAD.
    pub parameters: Vec<Parameter>,
}

/// A parameter with its optional value (RFC 4466, `tagged-ext`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The name in upper case.
    pub name: String,
    /// The value, if there is one.
    pub value: Option<ParameterValue>,
}

/// A parameter's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterValue {
    /// A number, sequence set, atom or string.
    Text(Bytes),
    /// Values in parentheses.
    List(Vec<ParameterValue>),
}

/// The arguments of LIST (RFC 9051 §6.3.9, RFC 5258, RFC 5819, RFC 6154).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Which mailboxes are selected.
    pub selection: ListSelection,
    /// The reference name, possibly empty.
    pub reference: String,
    /// What is asked for; never empty. One empty pattern asks for the delimiter.
    pub patterns: Vec<ListPattern>,
    /// What is returned about each.
    pub returns: ListReturn,
    /// Whether the command used any extended syntax, in which an empty pattern is nothing special.
    pub extended: bool,
}

/// The selection options of LIST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListSelection {
    /// `SUBSCRIBED`
    pub subscribed: bool,
    /// `REMOTE`
    pub remote: bool,
    /// `RECURSIVEMATCH`; only with another selection option than `REMOTE`.
    pub recursive_match: bool,
    /// `SPECIAL-USE` (RFC 6154)
    pub special_use: bool,
}

/// The return options of LIST.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListReturn {
    /// `SUBSCRIBED`
    pub subscribed: bool,
    /// `CHILDREN`
    pub children: bool,
    /// `SPECIAL-USE` (RFC 6154)
    pub special_use: bool,
    /// `STATUS (...)` (RFC 5819); empty if not asked for.
    pub status: Vec<StatusItem>,
}

/// What STATUS may ask of a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusItem {
    /// `MESSAGES`
    Messages,
    /// `RECENT` (RFC 3501)
    Recent,
    /// `UIDNEXT`
    UidNext,
    /// `UIDVALIDITY`
    UidValidity,
    /// `UNSEEN`
    Unseen,
    /// `DELETED`
    Deleted,
    /// `SIZE`
    Size,
    /// `HIGHESTMODSEQ` (RFC 7162)
    HighestModSeq,
    /// `APPENDLIMIT` (RFC 7889)
    AppendLimit,
    /// `DELETED-STORAGE` (RFC 9208)
    DeletedStorage,
    /// `MAILBOXID` (RFC 8474)
    MailboxId,
}

impl StatusItem {
    /// All of them.
    pub const ALL: [StatusItem; 11] = [
        StatusItem::Messages,
        StatusItem::Recent,
        StatusItem::UidNext,
        StatusItem::UidValidity,
        StatusItem::Unseen,
        StatusItem::Deleted,
        StatusItem::Size,
        StatusItem::HighestModSeq,
        StatusItem::AppendLimit,
        StatusItem::DeletedStorage,
        StatusItem::MailboxId,
    ];

    /// The item as it is written in the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            StatusItem::Messages => "MESSAGES",
            StatusItem::Recent => "RECENT",
            StatusItem::UidNext => "UIDNEXT",
            StatusItem::UidValidity => "UIDVALIDITY",
            StatusItem::Unseen => "UNSEEN",
            StatusItem::Deleted => "DELETED",
            StatusItem::Size => "SIZE",
            StatusItem::HighestModSeq => "HIGHESTMODSEQ",
            StatusItem::AppendLimit => "APPENDLIMIT",
            StatusItem::DeletedStorage => "DELETED-STORAGE",
            StatusItem::MailboxId => "MAILBOXID",
        }
    }
}

/// The arguments of STORE (RFC 9051 §6.4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Whether `set` has UIDs.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// `UNCHANGEDSINCE` (RFC 7162): only messages not changed after this mod-sequence.
    pub unchanged_since: Option<u64>,
    /// How `flags` are applied.
    pub action: StoreAction,
    /// `.SILENT`: the new flags need not be told.
    pub silent: bool,
    /// The flags, without repetition; never `\Recent`.
    pub flags: Vec<Flag>,
}

/// How STORE changes flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreAction {
    /// `FLAGS`: these and no others.
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// The arguments of COPY and MOVE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Whether `set` has UIDs.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// Where to.
    pub mailbox: MailboxName,
}

/// One message announced in an APPEND (RFC 9051 §6.3.12), before its octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendMessage {
    /// The mailbox; the same for all messages of one APPEND.
    pub mailbox: MailboxName,
    /// The flags to set, without repetition; never `\Recent`.
    pub flags: Vec<Flag>,
    /// The internal date; now if `None`.
    pub date: Option<DateTime>,
    /// How the literal was announced.
    pub form: AppendForm,
    /// Its place in the APPEND, from 0 (RFC 3502 MULTIAPPEND).
    pub index: usize,
}

/// The form of an APPEND literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendForm {
    /// `{n}`: without NUL octets, and ASCII in its headers.
    Literal,
    /// `~{n}`: may have any octets (RFC 3516).
    Literal8,
    /// `UTF8 (~{n}...)`: may have UTF-8 in its headers (RFC 6855).
    Utf8,
}
