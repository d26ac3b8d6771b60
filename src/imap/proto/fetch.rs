//! FETCH: its data items (RFC 9051 §6.4.5).

use super::command::arguments::without_repetition;
use super::error::Result;
use super::lexer::Lexer;
use super::section::{HeaderName, PartPath, Partial, Section, SectionText};
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

/// `set SP items [SP (modifiers)]`
pub(super) fn parse(lexer: &mut Lexer<'_>, uid: bool) -> Result<Fetch> {
    let set = lexer.sequence_set()?;
    lexer.space()?;
    let items = items(lexer)?;
    let mut fetch = Fetch { uid, set, items, changed_since: None, vanished: false };
    if lexer.eat(b' ') {
        modifiers(lexer, &mut fetch)?;
    }
    Ok(fetch)
}

fn modifiers(lexer: &mut Lexer<'_>, fetch: &mut Fetch) -> Result<()> {
    let start = lexer.position();
    lexer.list("FETCH modifiers", |lexer| {
        let start = lexer.position();
        match lexer.keyword("a FETCH modifier")?.as_str() {
            "CHANGEDSINCE" => {
                lexer.space()?;
                fetch.changed_since = Some(lexer.number64("a mod-sequence")?);
            }
            "VANISHED" => fetch.vanished = true,
            _ => return lexer.refuse_at(start, "a known FETCH modifier"),
        }
        Ok(())
    })?;
    if fetch.vanished && !(fetch.uid && fetch.changed_since.is_some()) {
        return lexer.refuse_at(start, "VANISHED only in UID FETCH with CHANGEDSINCE");
    }
    Ok(())
}

/// A macro, one item, or items in parentheses.
fn items(lexer: &mut Lexer<'_>) -> Result<Vec<FetchItem>> {
    use FetchItem::{Body, Envelope, Flags, InternalDate, Rfc822Size};
    if lexer.peek() == Some(b'(') {
        return Ok(without_repetition(lexer.list("FETCH items", item)?));
    }
    let start = lexer.position();
    match name(lexer)?.as_str() {
        "ALL" => Ok(vec![Flags, InternalDate, Rfc822Size, Envelope]),
        "FAST" => Ok(vec![Flags, InternalDate, Rfc822Size]),
        "FULL" => Ok(vec![Flags, InternalDate, Rfc822Size, Envelope, Body]),
        _ => {
            lexer.rewind(start);
            Ok(vec![item(lexer)?])
        }
    }
}

fn name(lexer: &mut Lexer<'_>) -> Result<String> {
    let name = lexer.take_while(|b| b.is_ascii_alphanumeric() || b == b'.', "a FETCH item")?;
    Ok(name.iter().map(|b| char::from(b.to_ascii_uppercase())).collect())
}

fn item(lexer: &mut Lexer<'_>) -> Result<FetchItem> {
    let start = lexer.position();
    let name = name(lexer)?;
    if lexer.peek() == Some(b'[') {
        return bracketed(lexer, &name, start);
    }
    Ok(match name.as_str() {
        "ENVELOPE" => FetchItem::Envelope,
        "FLAGS" => FetchItem::Flags,
        "INTERNALDATE" => FetchItem::InternalDate,
        "UID" => FetchItem::Uid,
        "RFC822.SIZE" => FetchItem::Rfc822Size,
        "MODSEQ" => FetchItem::ModSeq,
        "EMAILID" => FetchItem::EmailId,
        "THREADID" => FetchItem::ThreadId,
        "SAVEDATE" => FetchItem::SaveDate,
        "BODY" => FetchItem::Body,
        "BODYSTRUCTURE" => FetchItem::BodyStructure,
        "RFC822" => FetchItem::Rfc822,
        "RFC822.HEADER" => FetchItem::Rfc822Header,
        "RFC822.TEXT" => FetchItem::Rfc822Text,
        _ => return lexer.refuse_at(start, "a known FETCH item"),
    })
}

/// An item with brackets, from its `[` on.
fn bracketed(lexer: &mut Lexer<'_>, name: &str, start: usize) -> Result<FetchItem> {
    Ok(match name {
        "BODY" | "BODY.PEEK" => {
            let section = section(lexer)?;
            FetchItem::BodySection { peek: name == "BODY.PEEK", section, partial: partial(lexer)? }
        }
        "BINARY" | "BINARY.PEEK" => {
            let part = binary_part(lexer)?;
            FetchItem::Binary { peek: name == "BINARY.PEEK", part, partial: partial(lexer)? }
        }
        "BINARY.SIZE" => FetchItem::BinarySize { part: binary_part(lexer)? },
        _ => return lexer.refuse_at(start, "a known FETCH item"),
    })
}

/// `section`: `[` part numbers, a text of the part, or both `]`.
fn section(lexer: &mut Lexer<'_>) -> Result<Section> {
    lexer.expect(b'[', "[")?;
    let mut section = Section::default();
    if lexer.peek().is_some_and(|b| b.is_ascii_digit()) {
        section.part = lexer.part_path()?;
        if lexer.eat(b'.') {
            section.text = Some(section_text(lexer, true)?);
        }
    } else if lexer.peek() != Some(b']') {
        section.text = Some(section_text(lexer, false)?);
    }
    lexer.expect(b']', "]")?;
    Ok(section)
}

fn section_text(lexer: &mut Lexer<'_>, of_part: bool) -> Result<SectionText> {
    let start = lexer.position();
    Ok(match name(lexer)?.as_str() {
        "HEADER" => SectionText::Header,
        "TEXT" => SectionText::Text,
        "MIME" if of_part => SectionText::Mime,
        "HEADER.FIELDS" => SectionText::HeaderFields(header_list(lexer)?),
        "HEADER.FIELDS.NOT" => SectionText::HeaderFieldsNot(header_list(lexer)?),
        _ => return lexer.refuse_at(start, "a section"),
    })
}

fn header_list(lexer: &mut Lexer<'_>) -> Result<Vec<HeaderName>> {
    lexer.space()?;
    lexer.list("a list of header fields", Lexer::header_name)
}

/// `section-binary`
fn binary_part(lexer: &mut Lexer<'_>) -> Result<PartPath> {
    lexer.expect(b'[', "[")?;
    let part = if lexer.peek() == Some(b']') { PartPath::default() } else { lexer.part_path()? };
    lexer.expect(b']', "]")?;
    Ok(part)
}

/// `["<" offset "." length ">"]`
fn partial(lexer: &mut Lexer<'_>) -> Result<Option<Partial>> {
    if !lexer.eat(b'<') {
        return Ok(None);
    }
    let offset = lexer.number64("the first octet")?;
    lexer.expect(b'.', ". and a length")?;
    let start = lexer.position();
    let length = lexer.number64("a length")?;
    if length == 0 {
        return lexer.refuse_at(start, "a length of at least 1");
    }
    lexer.expect(b'>', ">")?;
    Ok(Some(Partial { offset, length }))
}
