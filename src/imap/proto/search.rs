//! SEARCH: its keys and options (RFC 9051 §6.4.4, RFC 3501 §6.4.4, RFC 5032, RFC 7162, RFC 8474, RFC 8514).

use bytes::Bytes;

use super::date::Date;
use super::error::{CommandError, Result};
use super::flag::{Flag, Keyword};
use super::lexer::{Lexer, is_astring_char};
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

/// `[RETURN (options) SP] [CHARSET charset SP] key *(SP key)`
pub(super) fn parse(lexer: &mut Lexer<'_>, uid: bool) -> Result<Search> {
    let returns = if lexer.eat_word("RETURN ") { Some(returns(lexer)?) } else { None };
    let charset = if lexer.eat_word("CHARSET ") {
        let name = lexer.astring("a charset")?;
        lexer.space()?;
        charset(name)
    } else {
        SearchCharset::Utf8
    };
    let mut keys = Keys { lexer, count: 0, utf8: charset == SearchCharset::Utf8 };
    let key = keys.side_by_side()?;
    Ok(Search { uid, returns, charset, key })
}

fn returns(lexer: &mut Lexer<'_>) -> Result<SearchReturn> {
    let mut returns = SearchReturn::default();
    let options = lexer.list0("search return options", |lexer| {
        let start = lexer.position();
        match lexer.keyword("a search return option")?.as_str() {
            "MIN" => returns.min = true,
            "MAX" => returns.max = true,
            "ALL" => returns.all = true,
            "COUNT" => returns.count = true,
            "SAVE" => returns.save = true,
            _ => return lexer.refuse_at(start, "a known search return option"),
        }
        Ok(())
    })?;
    returns.all |= options.is_empty();
    lexer.space()?;
    Ok(returns)
}

fn charset(name: Bytes) -> SearchCharset {
    let utf8 = [&b"UTF-8"[..], b"US-ASCII", b"ASCII"].iter().any(|n| name.eq_ignore_ascii_case(n));
    if utf8 { SearchCharset::Utf8 } else { SearchCharset::Other(name) }
}

/// The keys of one search, counted together.
struct Keys<'k, 'a> {
    lexer: &'k mut Lexer<'a>,
    count: usize,
    utf8: bool,
}

impl Keys<'_, '_> {
    /// `key *(SP key)`: one key as it is, more of them as [`SearchKey::And`].
    fn side_by_side(&mut self) -> Result<SearchKey> {
        let first = self.key()?;
        if self.lexer.peek() != Some(b' ') {
            return Ok(first);
        }
        let mut keys = vec![first];
        while self.lexer.eat(b' ') {
            keys.push(self.key()?);
        }
        Ok(SearchKey::And(keys))
    }

    fn key(&mut self) -> Result<SearchKey> {
        self.count += 1;
        if self.count > self.lexer.limits.search_keys {
            return Err(CommandError::TooMany("search keys"));
        }
        match self.lexer.peek() {
            Some(b'(') => self.nested(|keys| {
                keys.lexer.expect(b'(', "(")?;
                let key = keys.side_by_side()?;
                keys.lexer.expect(b')', ")")?;
                Ok(key)
            }),
            Some(b'0'..=b'9' | b'*' | b'$') => self.lexer.sequence_set().map(SearchKey::Sequence),
            _ => self.named(),
        }
    }

    fn nested(&mut self, parse: fn(&mut Self) -> Result<SearchKey>) -> Result<SearchKey> {
        self.lexer.enter()?;
        let key = parse(self)?;
        self.lexer.leave();
        Ok(key)
    }

    fn named(&mut self) -> Result<SearchKey> {
        let start = self.lexer.position();
        let name = self.lexer.keyword("a search key")?;
        if let Some(key) = plain(&name) {
            return Ok(key);
        }
        if let Some(key) = self.with_string(&name)? {
            return Ok(key);
        }
        if let Some(key) = self.with_date(&name)? {
            return Ok(key);
        }
        self.with_other(&name, start)
    }

    fn with_string(&mut self, name: &str) -> Result<Option<SearchKey>> {
        let make = match name {
            "BCC" => SearchKey::Bcc,
            "CC" => SearchKey::Cc,
            "FROM" => SearchKey::From,
            "TO" => SearchKey::To,
            "SUBJECT" => SearchKey::Subject,
            "BODY" => SearchKey::Body,
            "TEXT" => SearchKey::Text,
            _ => return Ok(None),
        };
        self.lexer.space()?;
        self.string().map(make).map(Some)
    }

    fn with_date(&mut self, name: &str) -> Result<Option<SearchKey>> {
        let make = match name {
            "BEFORE" => SearchKey::Before,
            "ON" => SearchKey::On,
            "SINCE" => SearchKey::Since,
            "SENTBEFORE" => SearchKey::SentBefore,
            "SENTON" => SearchKey::SentOn,
            "SENTSINCE" => SearchKey::SentSince,
            "SAVEDBEFORE" => SearchKey::SavedBefore,
            "SAVEDON" => SearchKey::SavedOn,
            "SAVEDSINCE" => SearchKey::SavedSince,
            _ => return Ok(None),
        };
        self.lexer.space()?;
        self.lexer.date().map(make).map(Some)
    }

    fn with_other(&mut self, name: &str, start: usize) -> Result<SearchKey> {
        let known = [
            "NOT",
            "OR",
            "HEADER",
            "KEYWORD",
            "UNKEYWORD",
            "LARGER",
            "SMALLER",
            "OLDER",
            "YOUNGER",
            "UID",
            "MODSEQ",
            "EMAILID",
            "THREADID",
        ];
        if !known.contains(&name) {
            return self.lexer.refuse_at(start, "a known search key");
        }
        self.lexer.space()?;
        Ok(match name {
            "NOT" => SearchKey::Not(Box::new(self.nested(Self::key)?)),
            "OR" => {
                let either = self.nested(Self::key)?;
                self.lexer.space()?;
                SearchKey::Or(Box::new(either), Box::new(self.nested(Self::key)?))
            }
            "HEADER" => {
                let name = self.lexer.header_name()?;
                self.lexer.space()?;
                SearchKey::Header { name, value: self.string()? }
            }
            "KEYWORD" => SearchKey::Keyword(self.keyword()?),
            "UNKEYWORD" => SearchKey::Unkeyword(self.keyword()?),
            "LARGER" => SearchKey::Larger(self.lexer.number64("a size")?),
            "SMALLER" => SearchKey::Smaller(self.lexer.number64("a size")?),
            "OLDER" => SearchKey::Older(self.lexer.nz_number("a number of seconds")?.get()),
            "YOUNGER" => SearchKey::Younger(self.lexer.nz_number("a number of seconds")?.get()),
            "UID" => SearchKey::Uid(self.lexer.sequence_set()?),
            "EMAILID" => SearchKey::EmailId(self.lexer.take_while(is_astring_char, "an object id")?),
            "THREADID" => SearchKey::ThreadId(self.lexer.take_while(is_astring_char, "an object id")?),
            _ => self.mod_seq()?,
        })
    }

    /// `[entry-name SP entry-type SP] mod-sequence` (RFC 7162 §3.1.5)
    fn mod_seq(&mut self) -> Result<SearchKey> {
        if self.lexer.peek() == Some(b'"') {
            self.lexer.quoted()?;
            self.lexer.space()?;
            let start = self.lexer.position();
            let kind = self.lexer.keyword("an entry type")?;
            if !["PRIV", "SHARED", "ALL"].contains(&kind.as_str()) {
                return self.lexer.refuse_at(start, "an entry type");
            }
            self.lexer.space()?;
        }
        self.lexer.number64("a mod-sequence").map(SearchKey::ModSeq)
    }

    fn keyword(&mut self) -> Result<Keyword> {
        let start = self.lexer.position();
        let atom = self.lexer.atom("a keyword")?;
        Keyword::new(&String::from_utf8_lossy(&atom))
            .map_or_else(|| self.lexer.refuse_at(start, "a keyword"), Ok)
    }

    /// A string to look for; valid UTF-8 unless the charset is another.
    fn string(&mut self) -> Result<Bytes> {
        let start = self.lexer.position();
        let octets = self.lexer.astring("a string to search for")?;
        if self.utf8 && std::str::from_utf8(&octets).is_err() {
            return self.lexer.refuse_at(start, "valid UTF-8");
        }
        Ok(octets)
    }
}

/// The keys without arguments.
fn plain(name: &str) -> Option<SearchKey> {
    use SearchKey::{HasFlag, LacksFlag};
    Some(match name {
        "ALL" => SearchKey::All,
        "ANSWERED" => HasFlag(Flag::Answered),
        "DELETED" => HasFlag(Flag::Deleted),
        "DRAFT" => HasFlag(Flag::Draft),
        "FLAGGED" => HasFlag(Flag::Flagged),
        "SEEN" => HasFlag(Flag::Seen),
        "RECENT" => HasFlag(Flag::Recent),
        "UNANSWERED" => LacksFlag(Flag::Answered),
        "UNDELETED" => LacksFlag(Flag::Deleted),
        "UNDRAFT" => LacksFlag(Flag::Draft),
        "UNFLAGGED" => LacksFlag(Flag::Flagged),
        "UNSEEN" => LacksFlag(Flag::Seen),
        "OLD" => LacksFlag(Flag::Recent),
        "NEW" => SearchKey::New,
        "SAVEDATESUPPORTED" => SearchKey::SaveDateSupported,
        _ => return None,
    })
}
