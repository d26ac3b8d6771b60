//! SEARCH: its keys and options (RFC 9051 §6.4.4, RFC 3501 §6.4.4, RFC 5032, RFC 7162, RFC 8474, RFC 8514).

use bytes::Bytes;

use super::date::Date;
use super::flag::{Flag, Keyword};
use super::section::HeaderName;
use super::sequence::SequenceSet;

/// A SEARCH or UID SEARCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// Whether UIDs are to be returned.
    pub uid: bool,
    /// The options of RETURN; `None` if it was not given, which asks an IMAP4rev1 server for a SEARCH
    /// response and an IMAP4rev2 server for `ALL`.
    pub returns: Option<SearchReturn>,
    /// The charset the strings of `key` are in.
    pub charset: SearchCharset,
    /// What to look for.
    pub key: SearchKey,
}

/// The charset of the strings in a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchCharset {
    /// US-ASCII or UTF-8, named or by default: the strings have been checked to be valid UTF-8.
    Utf8,
    /// Another one, whose strings are as they came. To be refused with `NO [BADCHARSET (UTF-8)]`.
    Other(Bytes),
}

/// The options of `SEARCH RETURN (...)` (RFC 4731, RFC 5182). `RETURN ()` means `ALL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SearchReturn {
    /// `MIN`: the lowest number.
    pub min: bool,
    /// `MAX`: the highest number.
    pub max: bool,
    /// `ALL`: all numbers.
    pub all: bool,
    /// `COUNT`: how many.
    pub count: bool,
    /// `SAVE`: keep the result for `$`.
    pub save: bool,
}

/// A search key. String arguments are not yet decoded if the charset is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchKey {
    /// `ALL`
    All,
    /// All of these: keys side by side, or in parentheses. Never empty.
    And(Vec<SearchKey>),
    /// `OR`: either of these.
    Or(Box<SearchKey>, Box<SearchKey>),
    /// `NOT`: not this.
    Not(Box<SearchKey>),
    /// `ANSWERED`, `DELETED`, `DRAFT`, `FLAGGED`, `SEEN`, `RECENT`: has this system flag.
    HasFlag(Flag),
    /// `UNANSWERED`, ..., `OLD` (for `\Recent`): lacks this system flag.
    LacksFlag(Flag),
    /// `KEYWORD`: has this keyword.
    Keyword(Keyword),
    /// `UNKEYWORD`: lacks this keyword.
    Unkeyword(Keyword),
    /// `NEW`: recent and unseen.
    New,
    /// `BCC`: in the envelope's Bcc field.
    Bcc(Bytes),
    /// `CC`: in the envelope's Cc field.
    Cc(Bytes),
    /// `FROM`: in the envelope's From field.
    From(Bytes),
    /// `TO`: in the envelope's To field.
    To(Bytes),
    /// `SUBJECT`: in the envelope's Subject field.
    Subject(Bytes),
    /// `BODY`: in the body.
    Body(Bytes),
    /// `TEXT`: in the header or body.
    Text(Bytes),
    /// `HEADER`: in this field; an empty value asks only that the field be there.
    Header {
        /// The field.
        name: HeaderName,
        /// What it contains.
        value: Bytes,
    },
    /// `BEFORE`: the internal date is before this day.
    Before(Date),
    /// `ON`: the internal date is within this day.
    On(Date),
    /// `SINCE`: the internal date is within or after this day.
    Since(Date),
    /// `SENTBEFORE`: the Date field is before this day.
    SentBefore(Date),
    /// `SENTON`: the Date field is within this day.
    SentOn(Date),
    /// `SENTSINCE`: the Date field is within or after this day.
    SentSince(Date),
    /// `SAVEDBEFORE`: saved in this mailbox before this day (RFC 8514).
    SavedBefore(Date),
    /// `SAVEDON`: saved in this mailbox on this day.
    SavedOn(Date),
    /// `SAVEDSINCE`: saved in this mailbox on or after this day.
    SavedSince(Date),
    /// `SAVEDATESUPPORTED`: the mailbox keeps save dates.
    SaveDateSupported,
    /// `LARGER`: has more octets than this.
    Larger(u64),
    /// `SMALLER`: has fewer octets than this.
    Smaller(u64),
    /// `OLDER`: the internal date is at least this many seconds ago (RFC 5032).
    Older(u32),
    /// `YOUNGER`: the internal date is at most this many seconds ago (RFC 5032).
    Younger(u32),
    /// `UID`: one of these UIDs, or the saved result.
    Uid(SequenceSet),
    /// One of these sequence numbers, or the saved result.
    Sequence(SequenceSet),
    /// `MODSEQ`: changed at or after this mod-sequence; the optional entry name is read and ignored, as
    /// RFC 7162 §3.1.5 allows a server with one mod-sequence per message.
    ModSeq(u64),
    /// `EMAILID` (RFC 8474)
    EmailId(Bytes),
    /// `THREADID` (RFC 8474)
    ThreadId(Bytes),
}
