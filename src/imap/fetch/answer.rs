//! One FETCH response, written item by item, with what is large streamed in pieces.

use std::io;

use bytes::{Bytes, BytesMut};
use ekitei_directory::AccountId;
use ekitei_mailstore::structure::Span;
use ekitei_mailstore::{Entry, Error, MailStore, MessageRecord, Uid};

use super::source::{Source, body_source, cut, fields, is_whole, whole};
use super::{Message, Plan};
use crate::numbering::number;
use crate::proto::Encoding;
use crate::proto::date::DateTime;
use crate::proto::fetch::FetchItem;
use crate::proto::response::{FetchWriter, Rfc822Name};
use crate::proto::section::{PartPath, Partial, Section, SectionText};
use crate::reply::Stop;
use crate::selected::wire_flags;
use crate::session::Session;
use crate::structure::{body_structure, envelope};
use crate::wire::Wire;

/// Octets that are read from a body at once.
pub(super) const PIECE: u64 = 256 * 1024;

/// The largest header that fields are chosen from in memory. Larger ones can be read whole.
const MAX_HEADER: u64 = 4 * 1024 * 1024;

/// What could not be answered.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// Messages are gone.
    pub(super) expunged: bool,
    /// Parts have a transfer encoding that is not known.
    pub(super) unknown_encoding: bool,
    /// Headers are too large to choose fields from.
    pub(super) too_large: bool,
    /// Messages whose bodies could not be read.
    pub(super) unreadable: Vec<Uid>,
}

/// Why an item is not answered.
pub(super) enum Missed {
    /// It cannot be; the other items can.
    Trouble(Trouble),
    /// The response was begun and cannot be finished: the connection must end.
    Lost(io::Error),
}

/// What is wrong with an item.
pub(super) enum Trouble {
    Expunged,
    UnknownEncoding,
    HeaderTooLarge,
    Unreadable(Error),
}

impl From<io::Error> for Missed {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<Trouble> for Missed {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// One FETCH response under way.
pub(super) struct Answer<'a> {
    pub(super) wire: &'a mut Wire,
    encoding: Encoding,
    store: &'a MailStore,
    account: AccountId,
    plan: &'a Plan,
    entry: &'a Entry,
    message: Message,
    /// `None` until there is something to say of the message.
    writer: Option<FetchWriter>,
}

/// The name of a content item in the response.
enum Label<'a> {
    Section(&'a Section, Option<u64>),
    Rfc822(Rfc822Name),
}

impl<'a> Answer<'a> {
    pub(super) fn new(
        session: &'a mut Session,
        store: &'a MailStore,
        account: AccountId,
        plan: &'a Plan,
        entry: &'a Entry,
        message: Message,
    ) -> Self {
        if plan.items.contains(&FetchItem::Flags) || !plan.seen.is_empty() {
            session.tell_keywords(message.index);
        }
        let encoding = session.encoding;
        Self { wire: &mut session.wire, encoding, store, account, plan, entry, message, writer: None }
    }

    /// Writes the response; what cannot be answered is left out and noted.
    pub(super) async fn write(&mut self, troubles: &mut Troubles) -> Result<(), Stop> {
        let plan = self.plan;
        let asked = |item: &FetchItem| plan.items.contains(item);
        if plan.uid && !asked(&FetchItem::Uid) {
            self.simple(&FetchItem::Uid);
        }
        for item in &plan.items {
            match self.item(item).await {
                Ok(()) => {}
                Err(Missed::Trouble(trouble)) => self.note(&trouble, troubles),
                Err(Missed::Lost(error)) => return Err(Stop::Lost(error)),
            }
        }
        if !asked(&FetchItem::Flags) && plan.seen.binary_search(&self.entry.uid).is_ok() {
            self.simple(&FetchItem::Flags);
        }
        if let Some(writer) = self.writer.take() {
            writer.end(&mut self.wire.out);
        }
        Ok(self.wire.drain().await?)
    }

    fn note(&self, trouble: &Trouble, troubles: &mut Troubles) {
        match trouble {
            Trouble::Expunged => troubles.expunged = true,
            Trouble::UnknownEncoding => troubles.unknown_encoding = true,
            Trouble::HeaderTooLarge => troubles.too_large = true,
            Trouble::Unreadable(error) => {
                tracing::debug!(%error, message = %self.entry.message, "a body cannot be read");
                troubles.unreadable.push(self.entry.uid);
            }
        }
    }

    /// The response and the buffer it is written to.
    pub(super) fn response(&mut self) -> (&mut FetchWriter, &mut BytesMut) {
        let out = &mut self.wire.out;
        let (index, encoding) = (self.message.index, self.encoding);
        let writer = self.writer.get_or_insert_with(|| FetchWriter::begin(out, number(index), encoding));
        (writer, out)
    }

    /// What is stored of the message beside its body.
    pub(super) fn record(&self) -> Result<std::sync::Arc<MessageRecord>, Trouble> {
        self.message.record.clone().ok_or(Trouble::Expunged)
    }

    /// The whole message, unless it is gone.
    pub(super) fn whole(&self) -> Result<Source, Trouble> {
        if self.message.alive { Ok(whole(self.entry)) } else { Err(Trouble::Expunged) }
    }

    async fn item(&mut self, item: &FetchItem) -> Result<(), Missed> {
        match item {
            FetchItem::Envelope => {
                let envelope = envelope(self.record()?.envelope());
                let (writer, out) = self.response();
                writer.envelope(out, &envelope);
            }
            FetchItem::Body | FetchItem::BodyStructure => {
                let record = self.record()?;
                let structure = body_structure(&record.structure);
                let (writer, out) = self.response();
                match item {
                    FetchItem::Body => writer.body(out, &structure),
                    _ => writer.body_structure(out, &structure),
                }
            }
            FetchItem::Rfc822 => {
                self.content(&Label::Rfc822(Rfc822Name::Message), self.whole()?, None).await?
            }
            FetchItem::Rfc822Header => self.rfc822(Rfc822Name::Header, SectionText::Header).await?,
            FetchItem::Rfc822Text => self.rfc822(Rfc822Name::Text, SectionText::Text).await?,
            FetchItem::BodySection { section, partial, .. } => self.section(section, *partial).await?,
            FetchItem::Binary { part, partial, .. } => self.binary(part, *partial).await?,
            FetchItem::BinarySize { part } => self.binary_size(part).await?,
            item => self.simple(item),
        }
        Ok(())
    }

    /// Items that the snapshot has.
    fn simple(&mut self, item: &FetchItem) {
        let entry = self.entry;
        let (writer, out) = self.response();
        match item {
            FetchItem::Uid => writer.uid(out, entry.uid.get()),
            FetchItem::Flags => writer.flags(out, &wire_flags(entry.flags, &entry.keywords)),
            FetchItem::InternalDate => writer.internal_date(out, DateTime::utc(entry.received)),
            FetchItem::Rfc822Size => writer.rfc822_size(out, entry.size),
            // The others were refused with the command.
            _ => {}
        }
    }

    async fn rfc822(&mut self, name: Rfc822Name, text: SectionText) -> Result<(), Missed> {
        let section = Section { part: PartPath::default(), text: Some(text) };
        let source = body_source(&section, &*self.record()?);
        self.content(&Label::Rfc822(name), source, None).await
    }

    async fn section(&mut self, section: &Section, partial: Option<Partial>) -> Result<(), Missed> {
        let source = if is_whole(section) { self.whole()? } else { body_source(section, &*self.record()?) };
        let label = Label::Section(section, partial.map(|partial| partial.offset));
        self.content(&label, source, partial).await
    }

    async fn content(
        &mut self,
        label: &Label<'_>,
        source: Source,
        partial: Option<Partial>,
    ) -> Result<(), Missed> {
        let source = match source {
            Source::Fields { header, .. } if header.length > MAX_HEADER => {
                return Err(Trouble::HeaderTooLarge.into());
            }
            Source::Fields { header, names, others } => {
                Source::Here(fields(&self.read_all(header).await?, &names, others))
            }
            source => source,
        };
        match cut(source, partial) {
            Source::Here(octets) => {
                self.head(label, octets.len() as u64);
                Ok(self.wire.send(&without_nul(octets)).await?)
            }
            Source::Octets(span) => self.stream(label, span).await,
            Source::Missing | Source::Fields { .. } => {
                let (writer, out) = self.response();
                match label {
                    Label::Section(section, origin) => writer.section(out, section, *origin, None),
                    Label::Rfc822(name) => writer.rfc822(out, *name, b""),
                }
                Ok(())
            }
        }
    }

    /// Announces `size` octets of a content item.
    fn head(&mut self, label: &Label<'_>, size: u64) {
        let (writer, out) = self.response();
        match label {
            Label::Section(section, origin) => writer.section_header(out, section, *origin, size),
            Label::Rfc822(name) => writer.rfc822_header(out, *name, size),
        }
    }

    /// Sends octets of the body as a literal. The first piece is read before the literal is announced, so that a body that cannot be
    /// read is noticed in time.
    async fn stream(&mut self, label: &Label<'_>, span: Span) -> Result<(), Missed> {
        let fits =
            |&(start, ref octets): &(u64, Bytes)| start == span.offset && octets.len() as u64 <= span.length;
        let begun = self.message.begun.take_if(|begun| fits(begun)).map(|(_, octets)| octets);
        let first = match begun {
            Some(first) => first,
            None => self.piece(span.offset, span.end()).await?,
        };
        self.head(label, span.length);
        self.send_from(first, span).await
    }

    /// Sends `first` and then the rest of `span`; while one piece is sent, the next is read.
    async fn send_from(&mut self, first: Bytes, span: Span) -> Result<(), Missed> {
        let (mut piece, mut at) = (first, span.offset);
        loop {
            piece = without_nul(piece);
            at += piece.len() as u64;
            if at >= span.end() {
                return Ok(self.wire.send(&piece).await?);
            }
            let next = read_piece(self.store, self.account, self.entry, at, span.end());
            let (sent, next) = futures_util::future::join(self.wire.send(&piece), next).await;
            sent?;
            piece = next.map_err(|error| self.broken(error))?;
        }
    }

    /// The announced octets cannot be sent to their end, so the client could not tell what follows.
    pub(super) fn broken(&self, trouble: Trouble) -> Missed {
        if let Trouble::Unreadable(error) = trouble {
            tracing::error!(%error, message = %self.entry.message, "a body could not be read to its end");
        }
        Missed::Lost(io::Error::other("a body could not be read to its end"))
    }

    /// Octets from `start` on: as many as are read at once, and not beyond `end`.
    pub(super) async fn piece(&self, start: u64, end: u64) -> Result<Bytes, Trouble> {
        read_piece(self.store, self.account, self.entry, start, end).await
    }

    pub(super) async fn read_all(&self, span: Span) -> Result<Bytes, Trouble> {
        let mut octets = BytesMut::new();
        let mut at = span.offset;
        while at < span.end() {
            let piece = self.piece(at, span.end()).await?;
            at += piece.len() as u64;
            if at == span.end() && octets.is_empty() {
                return Ok(piece);
            }
            octets.extend_from_slice(&piece);
        }
        Ok(octets.freeze())
    }
}

/// The octets as a literal may have them: with `?` for NUL (RFC 9051 §9, `CHAR8`), which only an imported message has. BINARY gives them as
/// they are.
fn without_nul(octets: Bytes) -> Bytes {
    if !octets.contains(&0) {
        return octets;
    }
    octets.iter().map(|&octet| if octet == 0 { b'?' } else { octet }).collect()
}

async fn read_piece(
    store: &MailStore,
    account: AccountId,
    entry: &Entry,
    start: u64,
    end: u64,
) -> Result<Bytes, Trouble> {
    let end = end.min(start + PIECE);
    let octets = store.read(account, entry.message, start..end).await.map_err(Trouble::Unreadable)?;
    if octets.len() as u64 != end.saturating_sub(start) {
        return Err(Trouble::Unreadable(Error::Corrupt("a body is shorter than its record says")));
    }
    Ok(octets)
}
