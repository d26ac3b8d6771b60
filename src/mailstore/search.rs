//! Searching a mailbox: what IMAP's SEARCH asks, without IMAP's words.
//!
//! A condition is decided with what is at hand: the index entry, which is in memory; else the record; the body is read only for
//! messages that nothing else decides.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use mail_parser::{MessageParser, PartType};

use crate::record::MessageRecord;
use crate::store::MailStore;
use crate::types::{AccountId, Flags, MessageId, ModSeq, Uid};
use crate::view::{Entry, Snapshot};
use crate::{Error, Result};

/// Records looked at together.
const BATCH: usize = 256;

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
    let query = fold(query);
    let mut found = Vec::new();
    let mut bodies_left = max_bodies;
    for batch in snapshot.entries.chunks(BATCH) {
        let decided: Vec<Option<bool>> =
            batch.iter().map(|entry| decide(&query, entry, Known::Entry)).collect();
        let open: Vec<MessageId> = batch
            .iter()
            .zip(&decided)
            .filter(|(_, decided)| decided.is_none())
            .map(|(entry, _)| entry.message)
            .collect();
        let mut records = store.messages(account, &open).await?.into_iter();
        for (entry, decided) in batch.iter().zip(decided) {
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
    query: &Query,
    entry: &Entry,
    record: &Arc<MessageRecord>,
    bodies_left: &mut usize,
) -> Result<bool> {
    let listed = MessageParser::default().parse_headers(&record.listed_headers[..]);
    let headers = listed.as_ref().map(fields_of).unwrap_or_default();
    let known = Known::Record { record, headers: &headers, complete: None };
    if let Some(matches) = decide(query, entry, known) {
        return Ok(matches);
    }
    *bodies_left =
        bodies_left.checked_sub(1).ok_or(Error::Limit("the search would read too many messages"))?;
    let octets = match store.read(account, record.id, 0..record.size).await {
        Err(Error::Body(ekitei_blob::Error::NotFound(_))) => return Ok(false),
        other => other?,
    };
    let work = {
        let (query, entry, record) = (query.clone(), entry.clone(), Arc::clone(record));
        move || {
            let text = Text::of(&octets);
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
    fn of(octets: &[u8]) -> Self {
        let Some(message) = MessageParser::default().parse(octets) else {
            return Self { headers: Vec::new(), bodies: vec![lower(&String::from_utf8_lossy(octets))] };
        };
        let mut bodies = Vec::new();
        collect_text(&message, &mut bodies, 0);
        Self { headers: fields_of(&message), bodies }
    }
}

/// The texts of a message and of the messages in it (up to the depth to which those are parsed at delivery).
fn collect_text(message: &mail_parser::Message<'_>, into: &mut Vec<String>, depth: usize) {
    for part in &message.parts {
        match &part.body {
            PartType::Text(text) | PartType::Html(text) => into.push(lower(text)),
            PartType::Message(inner) if depth < 50 => {
                into.extend(fields_of(inner).into_iter().map(|(_, value)| value));
                collect_text(inner, into, depth + 1);
            }
            _ => {}
        }
    }
}

/// The fields of a message's header: lower-case names, decoded and folded values.
fn fields_of(message: &mail_parser::Message<'_>) -> Vec<(String, String)> {
    let raw = message.raw_message();
    let Some(root) = message.parts.first() else { return Vec::new() };
    let decoded = root.headers.iter().map(|header| {
        let value = raw.get(header.offset_start as usize..header.offset_end as usize).unwrap_or_default();
        (header.name.as_str().to_ascii_lowercase(), lower(&decode_words(value)))
    });
    decoded.collect()
}

/// A header value, unfolded, its encoded words (RFC 2047) decoded.
fn decode_words(value: &[u8]) -> String {
    let mut field = b"Subject:".to_vec();
    field.extend_from_slice(value);
    field.extend_from_slice(b"\r\n");
    let parsed = MessageParser::default().parse_headers(&field);
    let text = parsed.as_ref().and_then(|message| message.subject());
    text.map_or_else(|| String::from_utf8_lossy(value).trim().to_owned(), ToOwned::to_owned)
}

fn lower(text: &str) -> String {
    text.to_lowercase()
}

/// The query with all its texts folded, so that each message is compared with folded texts only.
fn fold(query: &Query) -> Query {
    match query {
        Query::And(all) => Query::And(all.iter().map(fold).collect()),
        Query::Or(any) => Query::Or(any.iter().map(fold).collect()),
        Query::Not(inner) => Query::Not(Box::new(fold(inner))),
        Query::Header(name, text) => Query::Header(name.to_ascii_lowercase(), lower(text)),
        Query::Body(text) => Query::Body(lower(text)),
        Query::Text(text) => Query::Text(lower(text)),
        other => other.clone(),
    }
}

/// Whether the message matches; `None` if that takes more than is at hand.
fn decide(query: &Query, entry: &Entry, known: Known<'_>) -> Option<bool> {
    match query {
        Query::All => Some(true),
        Query::And(all) => combine(all, false, |query| decide(query, entry, known)),
        Query::Or(any) => combine(any, true, |query| decide(query, entry, known)),
        Query::Not(inner) => decide(inner, entry, known).map(|matches| !matches),
        Query::Uids(ranges) => Some(ranges.iter().any(|range| range.contains(&entry.uid.get()))),
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
