//! From the search keys of IMAP to the queries of the store.

use ekitei_mailstore::search::Query;
use ekitei_mailstore::{Flags, Keywords};

use crate::proto::date::Date;
use crate::proto::flag::Flag;
use crate::proto::response::Code;
use crate::proto::search::SearchKey;
use crate::proto::sequence::SequenceSet;
use crate::reply::{Reply, Stop};
use crate::selected::{Selected, stored_flags};

const DAY: i64 = 86_400;

/// The query for a key, over the messages of `selected`, at `now` seconds since the epoch.
///
/// # Errors
/// `LIMIT` if all its sets together have more ranges than the mailbox has messages and `max_ranges` more: what is written in the command is
/// within `max_ranges`, but `$` may stand for very many, again and again.
pub(super) fn query(
    key: &SearchKey,
    selected: &Selected,
    now: i64,
    max_ranges: usize,
) -> Result<Query, Stop> {
    let room = selected.numbering.len().saturating_add(max_ranges);
    Queries { selected, now, room }.query(key)
}

/// The queries of one search.
struct Queries<'a> {
    selected: &'a Selected,
    now: i64,
    /// How many more ranges there may be.
    room: usize,
}

impl Queries<'_> {
    fn query(&mut self, key: &SearchKey) -> Result<Query, Stop> {
        match key {
            SearchKey::And(keys) => {
                keys.iter().map(|key| self.query(key)).collect::<Result<_, _>>().map(Query::And)
            }
            SearchKey::Or(a, b) => Ok(Query::Or(vec![self.query(a)?, self.query(b)?])),
            SearchKey::Not(key) => Ok(not(self.query(key)?)),
            SearchKey::Uid(set) => self.uids(true, set),
            SearchKey::Sequence(set) => self.uids(false, set),
            other => simple(other, self.now),
        }
    }

    fn uids(&mut self, uid: bool, set: &SequenceSet) -> Result<Query, Stop> {
        let chosen = self.selected.choose(uid, set)?;
        let room = self.room.checked_sub(chosen.runs().count());
        self.room = room.ok_or_else(|| Reply::no(Code::Limit, "These are too many sets of messages"))?;
        // Between the first and the last message of a run of numbers there are no other messages, and so no other UIDs.
        let ranges = chosen.runs().map(|run| self.selected.numbering.uids_of(run));
        Ok(Query::Uids(ranges.collect()))
    }
}

/// The keys that need neither others nor the mailbox.
fn simple(key: &SearchKey, now: i64) -> Result<Query, Stop> {
    let header = |name: &str, value: &[u8]| Ok(Query::Header(name.into(), text(value)));
    match key {
        SearchKey::All => Ok(Query::All),
        SearchKey::HasFlag(flag) => Ok(has_flag(flag)),
        SearchKey::LacksFlag(flag) => Ok(not(has_flag(flag))),
        SearchKey::Keyword(keyword) => Ok(Query::Keyword(keyword.as_str().into())),
        SearchKey::Unkeyword(keyword) => Ok(not(Query::Keyword(keyword.as_str().into()))),
        // Nothing is recent, so nothing is recent and unseen.
        SearchKey::New => Ok(nothing()),
        SearchKey::Bcc(value) => header("bcc", value),
        SearchKey::Cc(value) => header("cc", value),
        SearchKey::From(value) => header("from", value),
        SearchKey::To(value) => header("to", value),
        SearchKey::Subject(value) => header("subject", value),
        SearchKey::Header { name, value } => header(&String::from_utf8_lossy(name.as_bytes()), value),
        SearchKey::Body(value) => Ok(unless_empty(value, Query::Body)),
        SearchKey::Text(value) => Ok(unless_empty(value, Query::Text)),
        SearchKey::Larger(size) => Ok(Query::Larger(*size)),
        SearchKey::Smaller(size) => Ok(Query::Smaller(*size)),
        other => dates(other, now),
    }
}

/// The keys about time. INTERNALDATE and Date are compared by day, without the zone (RFC 9051 §6.4.4).
fn dates(key: &SearchKey, now: i64) -> Result<Query, Stop> {
    Ok(match key {
        SearchKey::Before(date) => Query::Received(i64::MIN..start(*date)),
        SearchKey::On(date) => Query::Received(start(*date)..start(*date) + DAY),
        SearchKey::Since(date) => Query::Received(start(*date)..i64::MAX),
        SearchKey::SentBefore(date) => Query::SentOn(i64::MIN..day(*date)),
        SearchKey::SentOn(date) => Query::SentOn(day(*date)..day(*date) + 1),
        SearchKey::SentSince(date) => Query::SentOn(day(*date)..i64::MAX),
        // RFC 5032 §3: "within" includes the moment itself on both sides.
        SearchKey::Older(seconds) => Query::Received(i64::MIN..(now - i64::from(*seconds)).saturating_add(1)),
        SearchKey::Younger(seconds) => Query::Received(now - i64::from(*seconds)..i64::MAX),
        _ => return Err(Reply::bad("One of the search keys is of an extension that is not offered").into()),
    })
}

fn start(date: Date) -> i64 {
    date.unix_midnight()
}

fn day(date: Date) -> i64 {
    date.unix_midnight().div_euclid(DAY)
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// Every text contains the empty one.
fn unless_empty(octets: &[u8], query: impl FnOnce(String) -> Query) -> Query {
    if octets.is_empty() { Query::All } else { query(text(octets)) }
}

fn not(query: Query) -> Query {
    Query::Not(Box::new(query))
}

fn nothing() -> Query {
    Query::Or(Vec::new())
}

fn has_flag(flag: &Flag) -> Query {
    let (flags, keywords): (Flags, Keywords) = stored_flags(std::slice::from_ref(flag));
    match keywords.iter().next() {
        Some(keyword) => Query::Keyword(keyword.into()),
        None if flags == Flags::NONE => nothing(),
        None => Query::Flags(flags),
    }
}
