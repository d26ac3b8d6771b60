//! Searching a mailbox: what IMAP's SEARCH asks, without IMAP's words.
//!
//! A condition is decided with what is at hand: the index entry, which is in memory; else the record; the body is read only for
//! messages that nothing else decides.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use mail_parser::MessageParser;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;

use crate::header::fields;
use crate::record::MessageRecord;
use crate::store::MailStore;
use crate::structure::{Content, Part, Span};
use crate::types::{AccountId, Flags, MessageId, ModSeq, Uid};
use crate::view::{Entry, Snapshot};
use crate::{Error, Result};

/// Messages looked at together.
const BATCH: usize = 256;
/// Octets in memory that their records may take at once.
const MAX_WEIGHT: u64 = 4 << 20;

/// A condition on a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Every message.
    All,
    /// All of these; every message if there are none.
    And(Vec<Query>),
    /// Any of these; no message if there are none.
    Or(Vec<Query>),
    /// Not this.
    Not(Box<Query>),
    /// UID in one of these ranges.
    Uids(Vec<RangeInclusive<u32>>),
    /// Has all these flags.
    Flags(Flags),
    /// Has this keyword.
    Keyword(String),
    /// RFC822.SIZE over this.
    Larger(u64),
    /// RFC822.SIZE under this.
    Smaller(u64),
    /// INTERNALDATE in `[start, end)`, seconds since the epoch.
    Received(Range<i64>),
    /// The Date field's day, as written there, in `[start, end)`, days since the epoch.
    SentOn(Range<i64>),
    /// A header field of this name contains the text (decoded, any case); empty text: the field is there.
    Header(String, String),
    /// The decoded body contains the text.
    Body(String),
    /// Header or body contains the text.
    Text(String),
    /// MODSEQ at least this.
    ModSeq(ModSeq),
    /// The message has this id.
    Message(MessageId),
    /// The message is of this conversation.
    Thread([u8; 16]),
}

/// Finds the messages of a snapshot that match.
pub(crate) async fn run(
    store: &MailStore,
    account: AccountId,
    snapshot: &Snapshot,
    query: &Query,
    max_bodies: usize,
) -> Result<Vec<Uid>> {
    let query = Arc::new(fold(query));
    let mut found = Vec::new();
    let mut bodies_left = max_bodies;
    for batch in snapshot.entries.chunks(BATCH) {
        // What is decided from memory alone never waits: others must have their turn, and a caller its time limit.
        tokio::task::yield_now().await;
        let decided: Vec<Option<bool>> =
            batch.iter().map(|entry| decide(&query, entry, Known::Entry)).collect();
        let open: Vec<MessageId> = batch
            .iter()
            .zip(&decided)
            .filter(|(_, decided)| decided.is_none())
            .map(|(entry, _)| entry.message)
            .collect();
        let (mut unread, mut records) = (&open[..], Vec::new().into_iter());
        for (entry, decided) in batch.iter().zip(decided) {
            if decided.is_none() && records.len() == 0 {
                let read = store.messages_within(account, unread, MAX_WEIGHT).await?;
                unread = &unread[read.len()..];
                records = read.into_iter();
            }
            let matches = match decided {
                Some(matches) => matches,
                // A record that is gone belongs to a message that was expunged meanwhile.
                None => match records.next().flatten() {
                    Some(record) => {
                        matches_record(store, account, &query, entry, &record, &mut bodies_left).await?
                    }
                    None => false,
                },
            };
            if matches {
                found.push(entry.uid);
            }
        }
    }
    Ok(found)
}

async fn matches_record(
    store: &MailStore,
    account: AccountId,
    query: &Arc<Query>,
    entry: &Entry,
    record: &Arc<MessageRecord>,
    bodies_left: &mut usize,
) -> Result<bool> {
    let headers = fields_of(&record.listed_headers);
    let known = Known::Record { record, headers: &headers, complete: None };
    if let Some(matches) = decide(query, entry, known) {
        return Ok(matches);
    }
    // A large body counts for as many as it is mebibytes.
    let cost = 1 + usize::try_from(record.size >> 20).unwrap_or(usize::MAX);
    *bodies_left =
        bodies_left.checked_sub(cost).ok_or(Error::Limit("the search would read too many messages"))?;
    // A decoded body takes a few times its size, so only a few searches may hold one at a time.
    let _turn = store.inner.search_bodies.acquire().await.map_err(|_| Error::Limit("the search failed"))?;
    let octets = match store.read(account, record.id, 0..record.size).await {
        Err(Error::Body(ekitei_blob::Error::NotFound(_))) => return Ok(false),
        other => other?,
    };
    let work = {
        let (query, entry, record) = (Arc::clone(query), entry.clone(), Arc::clone(record));
        move || {
            let text = Text::of(&octets, &record.structure);
            let known = Known::Record { record: &record, headers: &text.headers, complete: Some(&text) };
            decide(&query, &entry, known).unwrap_or(false)
        }
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Limit("the search failed"))
}

/// What is at hand of a message.
#[derive(Clone, Copy)]
enum Known<'a> {
    Entry,
    /// `headers` are the listed fields, or all of them when the whole message is at hand.
    Record {
        record: &'a MessageRecord,
        headers: &'a [(String, String)],
        complete: Option<&'a Text>,
    },
}

/// A whole message, decoded and folded.
struct Text {
    headers: Vec<(String, String)>,
    bodies: Vec<String>,
}

impl Text {
    /// The parts are where the stored structure says; so nothing that a sender makes up costs more than its length, or nests deeper
    /// than was found at delivery.
    fn of(octets: &[u8], structure: &Part) -> Self {
        let mut bodies = Vec::new();
        collect_text(octets, structure, &mut bodies);
        Self { headers: fields_of(slice(octets, structure.header)), bodies }
    }
}

fn slice(octets: &[u8], span: Span) -> &[u8] {
    let bounds = usize::try_from(span.offset).ok().zip(usize::try_from(span.end()).ok());
    bounds.and_then(|(begin, end)| octets.get(begin..end)).unwrap_or_default()
}

/// The texts of a part and of what is in it; of messages in it, their headers too.
fn collect_text(octets: &[u8], part: &Part, into: &mut Vec<String>) {
    match &part.content {
        Content::Leaf if part.fields.media_type.eq_ignore_ascii_case("text") => {
            into.push(lower(&decode_text(slice(octets, part.body), part)));
        }
        Content::Leaf => {}
        Content::Multipart(parts) => parts.iter().for_each(|part| collect_text(octets, part, into)),
        Content::Message(message) => {
            into.extend(fields_of(slice(octets, message.part.header)).into_iter().map(|(_, value)| value));
            collect_text(octets, &message.part, into);
        }
    }
}

/// A text without its transfer encoding and charset; as it stands where those are broken or unknown.
fn decode_text(body: &[u8], part: &Part) -> String {
    let decoded = match &part.fields.encoding {
        encoding if encoding.eq_ignore_ascii_case("base64") => base64_decode(body),
        encoding if encoding.eq_ignore_ascii_case("quoted-printable") => quoted_printable_decode(body),
        _ => None,
    };
    let plain = decoded.as_deref().unwrap_or(body);
    let charset = part.fields.parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case("charset"));
    match charset.and_then(|(_, charset)| charset_decoder(charset.as_bytes())) {
        Some(decode) => decode(plain),
        None => String::from_utf8_lossy(plain).into_owned(),
    }
}

/// The fields of a header: lower-case names, decoded and folded values.
fn fields_of(header: &[u8]) -> Vec<(String, String)> {
    fields(header)
        .map(|field| (field.name.to_ascii_lowercase(), lower(&decode_words(&field.unfolded()))))
        .collect()
}

/// An unfolded header value, its encoded words (RFC 2047) decoded.
fn decode_words(value: &str) -> String {
    if !value.contains("=?") {
        return value.to_owned();
    }
    let field = format!("Subject: {value}\r\n");
    let parsed = MessageParser::default().parse_headers(field.as_bytes());
    let text = parsed.as_ref().and_then(|message| message.subject());
    text.map_or_else(|| value.to_owned(), ToOwned::to_owned)
}

fn lower(text: &str) -> String {
    text.to_lowercase()
}

/// The query with all its texts folded and its ranges in order, so that each message is compared with folded texts only, and looked up in
/// ranges without going through them.
fn fold(query: &Query) -> Query {
    match query {
        Query::And(all) => Query::And(all.iter().map(fold).collect()),
        Query::Or(any) => Query::Or(any.iter().map(fold).collect()),
        Query::Not(inner) => Query::Not(Box::new(fold(inner))),
        Query::Header(name, text) => Query::Header(name.to_ascii_lowercase(), lower(text)),
        Query::Body(text) => Query::Body(lower(text)),
        Query::Text(text) => Query::Text(lower(text)),
        Query::Uids(ranges) => Query::Uids(in_order(ranges)),
        other => other.clone(),
    }
}

/// The same numbers in ascending ranges that do not overlap.
fn in_order(ranges: &[RangeInclusive<u32>]) -> Vec<RangeInclusive<u32>> {
    let mut sorted: Vec<_> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
    sorted.sort_unstable_by_key(|range| *range.start());
    sorted.dedup_by(|next, last| {
        let overlaps = next.start() <= last.end();
        if overlaps {
            *last = *last.start()..=*last.end().max(next.end());
        }
        overlaps
    });
    sorted
}

/// Whether a number is in one of these ranges, which are in order.
fn is_in(ranges: &[RangeInclusive<u32>], number: u32) -> bool {
    let at = ranges.partition_point(|range| *range.end() < number);
    ranges.get(at).is_some_and(|range| *range.start() <= number)
}

/// Whether the message matches; `None` if that takes more than is at hand.
fn decide(query: &Query, entry: &Entry, known: Known<'_>) -> Option<bool> {
    match query {
        Query::All => Some(true),
        Query::And(all) => combine(all, false, |query| decide(query, entry, known)),
        Query::Or(any) => combine(any, true, |query| decide(query, entry, known)),
        Query::Not(inner) => decide(inner, entry, known).map(|matches| !matches),
        Query::Uids(ranges) => Some(is_in(ranges, entry.uid.get())),
        Query::Flags(flags) => Some(entry.flags.contains(*flags)),
        Query::Keyword(keyword) => Some(entry.keywords.contains(keyword)),
        Query::Larger(size) => Some(entry.size > *size),
        Query::Smaller(size) => Some(entry.size < *size),
        Query::Received(range) => Some(range.contains(&entry.received)),
        Query::ModSeq(modseq) => Some(entry.modseq >= *modseq),
        Query::Message(id) => Some(entry.message == *id),
        Query::Thread(_) | Query::SentOn(_) | Query::Header(..) | Query::Body(_) | Query::Text(_) => {
            decide_content(query, known)
        }
    }
}

/// Looks for a part whose answer settles the whole: `settling` for any of them, else all must be known.
fn combine(parts: &[Query], settling: bool, decide: impl Fn(&Query) -> Option<bool>) -> Option<bool> {
    let mut open = false;
    for part in parts {
        match decide(part) {
            Some(answer) if answer == settling => return Some(settling),
            Some(_) => {}
            None => open = true,
        }
    }
    (!open).then_some(!settling)
}

fn decide_content(query: &Query, known: Known<'_>) -> Option<bool> {
    let Known::Record { record, headers, complete } = known else { return None };
    match query {
        Query::Thread(thread) => Some(record.thread == *thread),
        Query::SentOn(days) => {
            let parsed = MessageParser::default().parse_headers(&record.listed_headers[..]);
            let date = parsed.as_ref().and_then(|message| message.date());
            Some(date.is_some_and(|date| days.contains(&day_of(date))))
        }
        Query::Header(name, text) => {
            let is_listed = crate::envelope::LISTED.contains(&name.as_str());
            (is_listed || complete.is_some())
                .then(|| headers.iter().any(|(field, value)| field == name && value.contains(text.as_str())))
        }
        Query::Body(text) => Some(complete?.bodies.iter().any(|body| body.contains(text.as_str()))),
        Query::Text(text) => {
            let in_headers = headers.iter().any(|(_, value)| value.contains(text.as_str()));
            let in_body = |whole: &Text| whole.bodies.iter().any(|body| body.contains(text.as_str()));
            if in_headers { Some(true) } else { complete.map(in_body) }
        }
        _ => None,
    }
}

/// Days from 1970-01-01 to the date as written, whatever its time zone (RFC 9051 §6.4.4, SENTON).
fn day_of(date: &mail_parser::DateTime) -> i64 {
    let local = mail_parser::DateTime { hour: 0, minute: 0, second: 0, tz_hour: 0, tz_minute: 0, ..*date };
    local.to_timestamp().div_euclid(86_400)
}
