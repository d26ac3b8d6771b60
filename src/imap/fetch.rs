//! FETCH and UID FETCH (RFC 9051 §6.4.5).
//!
//! Flags, dates and sizes come from the session's snapshot of the mailbox; structures, envelopes and listed header fields from records that
//! are read in batches; only what is left is read from bodies, and only the octets asked for, in pieces that the client takes before
//! the next is read.

use std::sync::Arc;

use bytes::Bytes;
use ekitei_directory::AccountId;
use ekitei_mailstore::{
    Entry, FlagChange, FlagOperation, Flags, Keywords, MailStore, MessageId, MessageRecord, Uid,
};
use futures_util::stream::{self, StreamExt};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::numbering::{Expunges, Selection};
use crate::proto::fetch::{Fetch, FetchItem};
use crate::proto::response::Code;
use crate::reply::{Outcome, Reply, Stop};
use crate::session::Session;

mod answer;
mod binary;
mod source;

use answer::{Answer, Troubles};
use source::{Source, body_source, cut, is_whole, whole};

/// Records that are read at once.
const BATCH: usize = 64;
/// Octets in memory that they may take, unless one takes more.
const MAX_WEIGHT: u64 = 4 << 20;
/// Messages whose bodies are begun before their turn.
const PREFETCHED: usize = 4;
/// Octets of each that are read before its turn.
const PREFETCH_SIZE: u64 = 64 * 1024;

/// What one FETCH asks of every message.
struct Plan {
    items: Vec<FetchItem>,
    /// Messages that this command has set `\Seen` on, ascending: their flags are told.
    seen: Vec<Uid>,
    uid: bool,
    /// Records are needed.
    records: bool,
}

/// One message with what was read for it.
struct Message {
    index: usize,
    /// It is in the mailbox; else only what the snapshot has of it is told.
    alive: bool,
    record: Option<Arc<MessageRecord>>,
    /// Octets that one of the items begins with, and where in the message they are.
    begun: Option<(u64, Bytes)>,
}

fn needs_record(item: &FetchItem) -> bool {
    match item {
        FetchItem::Envelope
        | FetchItem::Body
        | FetchItem::BodyStructure
        | FetchItem::Rfc822Header
        | FetchItem::Rfc822Text
        | FetchItem::Binary { .. }
        | FetchItem::BinarySize { .. } => true,
        FetchItem::BodySection { section, .. } => !is_whole(section),
        _ => false,
    }
}

/// Refuses what belongs to extensions that are not announced.
fn check(fetch: &Fetch) -> Result<(), Stop> {
    let unknown = fetch.items.iter().any(|item| {
        matches!(item, FetchItem::ModSeq | FetchItem::EmailId | FetchItem::ThreadId | FetchItem::SaveDate)
    });
    if unknown || fetch.changed_since.is_some() || fetch.vanished {
        return Err(Reply::bad("One of the items is of an extension that is not offered").into());
    }
    Ok(())
}

impl Plan {
    /// What is read first from the body of a message, if that can be begun early.
    fn first_range(&self, entry: &Entry, record: Option<&MessageRecord>) -> Option<(u64, u64)> {
        let first = self.items.iter().find_map(|item| match item {
            FetchItem::BodySection { section, partial, .. } if is_whole(section) => {
                Some((whole(entry), *partial))
            }
            FetchItem::BodySection { section, partial, .. } => {
                Some((body_source(section, record?), *partial))
            }
            FetchItem::Rfc822 => Some((whole(entry), None)),
            _ => None,
        });
        let (source, partial) = first?;
        match cut(source, partial) {
            Source::Octets(span) if span.length > 0 => {
                Some((span.offset, span.offset + span.length.min(PREFETCH_SIZE)))
            }
            _ => None,
        }
    }
}

impl Session {
    pub(crate) async fn fetch(&mut self, fetch: Fetch) -> Outcome {
        check(&fetch)?;
        let uid = fetch.uid;
        // With UID FETCH expunges may be told (RFC 9051 §7.5.1), and are told first, so that all that follows can be served.
        let expunges = if uid && !self.numbers_follow() { Expunges::Tell } else { Expunges::Withhold };
        self.sync(expunges, uid).await?;
        let selected = self.selected()?;
        let chosen = selected.choose(uid, &fetch.set)?;
        let sets_seen = !selected.read_only && fetch.items.iter().any(FetchItem::sets_seen);
        let seen = if sets_seen { self.mark_seen(&chosen, uid).await? } else { Vec::new() };
        let records = fetch.items.iter().any(needs_record);
        let plan = Plan { items: fetch.items, seen, uid, records };
        let mut troubles = Troubles::default();
        let indices: Vec<usize> = chosen.iter().collect();
        let mut rest = &indices[..];
        while !rest.is_empty() {
            let batch = &rest[..rest.len().min(BATCH)];
            rest = &rest[self.fetch_batch(&plan, batch, &mut troubles).await?..];
        }
        self.shared.metrics.fetched.inc_by(indices.len() as u64);
        self.fetched(&troubles, uid).await
    }

    /// Sets `\Seen` on all chosen messages at once; returns those that did not have it. When that fails, the messages can still be read.
    async fn mark_seen(&mut self, chosen: &Selection, uid: bool) -> Result<Vec<Uid>, Stop> {
        let numbering = &self.selected()?.numbering;
        let unseen = chosen.iter().filter(|&index| {
            !numbering.entry(index).flags.contains(Flags::SEEN) && numbering.is_alive(index)
        });
        let uids: Vec<Uid> = unseen.map(|index| numbering.entry(index).uid).collect();
        if uids.is_empty() {
            return Ok(uids);
        }
        let change =
            FlagChange { operation: FlagOperation::Add, flags: Flags::SEEN, keywords: Keywords::default() };
        let mailbox = self.selected()?.mailbox.id;
        let marked = self.shared.mailstore.store_flags(self.account()?, mailbox, &uids, &change).await;
        if let Err(error) = marked {
            tracing::warn!(%error, "messages that are read could not be marked as seen");
            return Ok(Vec::new());
        }
        self.refresh_selected().await?;
        self.tell(Expunges::Withhold, uid, |_, now| uids.binary_search(&now.uid).is_ok()).await?;
        Ok(uids)
    }

    /// How the command ends. A body that could not be read may have gone with its message meanwhile: then nothing has failed.
    async fn fetched(&mut self, troubles: &Troubles, uid: bool) -> Outcome {
        if !troubles.unreadable.is_empty() {
            self.refresh_selected().await?;
        }
        let numbering = &self.selected()?.numbering;
        let alive =
            |uid: &Uid| numbering.told().position(*uid).is_some_and(|index| numbering.is_alive(index));
        let failed = troubles.unreadable.iter().filter(|uid| alive(uid)).count();
        if failed > 0 {
            tracing::warn!(messages = failed, "bodies could not be read");
            Err(Reply::no(Code::Unavailable, "Some messages cannot be read now, try again later").into())
        } else if troubles.too_large {
            Err(Reply::no(Code::Limit, "Some headers are too large to choose fields from").into())
        } else if troubles.unknown_encoding {
            Err(Reply::no(Code::UnknownCte, "Some parts have an unknown transfer encoding").into())
        } else if !troubles.expunged && troubles.unreadable.is_empty() {
            Ok(Reply::ok("Fetched"))
        } else if uid {
            // A UID that is not there is no error (RFC 9051 §6.4.9).
            Ok(Reply::ok("Fetched; some messages are expunged").with_code(Code::ExpungeIssued))
        } else {
            Err(Reply::no(Code::ExpungeIssued, "Some messages are expunged").into())
        }
    }

    /// Answers for the first of these messages, and returns for how many: at least one.
    async fn fetch_batch(
        &mut self,
        plan: &Plan,
        indices: &[usize],
        troubles: &mut Troubles,
    ) -> Result<usize, Stop> {
        let account = self.account()?;
        let store = self.shared.mailstore.clone();
        let told = Arc::clone(self.selected()?.numbering.told());
        let ids: Vec<MessageId> = indices.iter().map(|&index| told.entries[index].message).collect();
        let records = if plan.records {
            store.messages_within(account, &ids, MAX_WEIGHT).await?
        } else {
            vec![None; ids.len()]
        };
        let answered = records.len();
        let numbering = &self.selected()?.numbering;
        let begun = indices.iter().zip(records).map(|(&index, record)| {
            let (entry, alive) = (&told.entries[index], numbering.is_alive(index));
            let record = record.filter(|_| alive);
            let range = if alive { plan.first_range(entry, record.as_deref()) } else { None };
            begin(store.clone(), account, entry.message, range, Message { index, alive, record, begun: None })
        });
        // Collected, so that the futures borrow nothing from here.
        let begun: Vec<_> = begun.collect();
        let mut ready = stream::iter(begun).buffered(PREFETCHED);
        while let Some(message) = ready.next().await {
            let mut answer = Answer::new(self, &store, account, plan, &told.entries[message.index], message);
            answer.write(troubles).await?;
        }
        Ok(answered)
    }
}

/// Reads the beginning of a body. If that fails, it is read again at its turn, where the failure can be answered.
///
/// A task reads it: nobody polls this future while the message before it is answered, and what reads share (a page that one of them fetches for
/// all, a place among the requests) would stay taken, although that answer may be waiting for it.
async fn begin(
    store: MailStore,
    account: AccountId,
    id: MessageId,
    range: Option<(u64, u64)>,
    message: Message,
) -> Message {
    let Some((start, end)) = range else { return message };
    // Ends with this future.
    let mut reading = JoinSet::new();
    reading.spawn(async move { store.read(account, id, start..end).await.ok() }.in_current_span());
    let octets = reading.join_next().await.and_then(Result::ok).flatten();
    let octets = octets.filter(|octets| octets.len() as u64 == end - start);
    Message { begun: octets.map(|octets| (start, octets)), ..message }
}
