//! The message: DATA and BDAT, and the reply that is a promise.

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use ekitei_directory::{AccountId, EmailAddress};
use ekitei_filter::{Disposition, Judgement};
use ekitei_mailstore::envelope::{Address, envelope};
use ekitei_net::BytePermit;
use ekitei_telemetry::{Timer, trace_count};
use tokio::time::Instant;
use tracing::Span;

use super::{Conversation, End, Step};
use crate::binary;
use crate::body::Body;
use crate::deliver::Verdicts;
use crate::message::{self, Message, Submission};
use crate::outgoing;
use crate::proto::bdat::ChunkReader;
use crate::proto::data::{DataReader, Defects};
use crate::proto::params::BodyType;
use crate::proto::reply::{self, Reply};
use crate::session::{Role, Transaction};
use crate::trace::Received;

/// A message on its way in.
pub(super) struct Incoming {
    /// None if there was no memory even to begin with.
    body: Option<Body>,
    chunks: ChunkReader,
    /// When it has to be complete.
    pub(super) deadline: Instant,
}

/// What was found out about a message besides its octets.
struct Shape {
    defects: Defects,
    longest_line: usize,
}

impl Conversation {
    fn begin_message(&self) -> Incoming {
        let body = self.session.transaction().and_then(|transaction| {
            let trace = self.received_field(transaction);
            Body::new(&trace, self.offer.max_size, &self.server.bodies)
        });
        let deadline = Instant::now() + self.config.smtp.timeouts.data_end.get();
        Incoming { body, chunks: ChunkReader::default(), deadline }
    }

    /// The Received field.
    fn received_field(&self, transaction: &Transaction) -> String {
        let hello = self.session.hello();
        let received = Received {
            client_name: hello.map_or("", |hello| &hello.name),
            client: self.peer(),
            hostname: &self.config.hostname,
            role: self.offer.role,
            extended: hello.is_some_and(|hello| hello.extended),
            cipher: self.io.connection.tls.as_ref().map(|tls| tls.cipher.as_str()),
            authenticated: self.session.account().is_some(),
            smtputf8: transaction.parameters.smtputf8,
            id: &transaction.id,
            recipient: match transaction.recipients.as_slice() {
                [only] => Some(only.path.as_str()),
                _ => None,
            },
            time: (self.server.context.clock)(),
        };
        received.field()
    }

    pub(super) async fn receive_data(&mut self) -> Step {
        let mut incoming = self.begin_message();
        if incoming.body.is_none() {
            // Better said now than after the client has sent everything.
            self.session.finish();
            return self.answer(reply::NO_MEMORY).await;
        }
        self.io.queue(&reply::SEND_DATA);
        self.io.flush().await?;
        let mut reader = DataReader::default();
        let mut patience = self.config.smtp.timeouts.data_init.get();
        loop {
            if self.io.input.is_empty() {
                self.wait_for_block(patience, incoming.deadline).await?;
                patience = self.config.smtp.timeouts.data_block.get();
            }
            let body = &mut incoming.body;
            let used = reader.feed(&self.io.input, |octets| {
                if let Some(body) = body {
                    body.push(octets);
                }
            });
            if let Some(used) = used {
                self.io.input.advance(used);
                break;
            }
            self.io.input.clear();
            self.give_up_if_hopeless(&incoming)?;
        }
        let shape = Shape { defects: reader.defects(), longest_line: reader.longest_line() };
        self.finish_message(incoming, shape).await
    }

    pub(super) async fn receive_chunk(&mut self, size: u64, last: bool) -> Step {
        let mut incoming = self.incoming.take().unwrap_or_else(|| self.begin_message());
        // Small chunks may never wait for a block, and yet keep the memory of those before them.
        if Instant::now() >= incoming.deadline {
            return Err(End::Say(reply::TIMEOUT));
        }
        let mut left = size;
        while left > 0 {
            if self.io.input.is_empty() {
                let patience = self.config.smtp.timeouts.data_block.get();
                self.wait_for_block(patience, incoming.deadline).await?;
            }
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(self.io.input.len());
            let octets = &self.io.input[..taken];
            incoming.chunks.feed(octets);
            if let Some(body) = &mut incoming.body {
                body.push(octets);
            }
            self.io.input.advance(taken);
            left -= taken as u64;
            self.give_up_if_hopeless(&incoming)?;
        }
        self.session.chunk_received();
        if last {
            let chunks = incoming.chunks;
            let shape = Shape { defects: chunks.defects(), longest_line: chunks.longest_line() };
            return self.finish_message(incoming, shape).await;
        }
        if let Some(refusal) = incoming.refusal() {
            // The rest of the message would be in vain (RFC 3030 §2).
            self.session.finish();
            return self.answer(refusal).await;
        }
        self.incoming = Some(incoming);
        self.answer(reply::CHUNK_OK).await
    }

    /// Reads past a chunk that has no place.
    pub(super) async fn skip_chunk(&mut self, size: u64) -> Step {
        if size / 2 > self.offer.max_size {
            return Err(End::Say(reply::TOO_LARGE));
        }
        let deadline = Instant::now() + self.config.smtp.timeouts.data_end.get();
        let mut left = size;
        while left > 0 {
            if self.io.input.is_empty() {
                self.wait_for_block(self.config.smtp.timeouts.data_block.get(), deadline).await?;
            }
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(self.io.input.len());
            self.io.input.advance(taken);
            left -= taken as u64;
        }
        Ok(())
    }

    /// Waits for octets of a message. A shutdown does not end it: the grace does.
    async fn wait_for_block(&mut self, patience: Duration, deadline: Instant) -> Step {
        self.io.flush().await?;
        let until = deadline.min(Instant::now() + patience);
        match tokio::time::timeout_at(until, self.io.fill_block()).await {
            Ok(filled) => Ok(filled?),
            Err(_) => Err(End::Say(reply::TIMEOUT)),
        }
    }

    /// A message that is over the limit is read to its end, so that the client hears why; but not for ever.
    fn give_up_if_hopeless(&self, incoming: &Incoming) -> Step {
        match &incoming.body {
            Some(body) if body.is_hopeless() => Err(End::Say(reply::TOO_LARGE)),
            None if incoming.chunks.size() / 2 > self.offer.max_size => Err(End::Say(reply::NO_MEMORY)),
            _ => Ok(()),
        }
    }

    /// Delivers a message that is complete, and answers: once, or over LMTP for each recipient (RFC 2033 §4.2).
    async fn finish_message(&mut self, incoming: Incoming, shape: Shape) -> Step {
        if self.io.input.is_empty() {
            self.io.input = bytes::BytesMut::new();
        }
        let Some(mut transaction) = self.session.finish() else {
            return self.answer(reply::MAIL_FIRST).await;
        };
        let timer = Timer::start();
        let received = incoming.body.as_ref().map_or(0, Body::received);
        let verdicts = match self.prepare(incoming, &shape, &transaction).await {
            Ok((message, judgement, _memory)) if judgement.disposition == Disposition::Discard => {
                tracing::info!(transaction = %transaction.id, size = message.size(), "discarded");
                vec![Ok(()); transaction.recipients.len()]
            }
            Ok((message, judgement, _memory)) => self.deliver(&mut transaction, message, &judgement).await?,
            Err(refusal) => vec![Err(refusal); transaction.recipients.len()],
        };
        timer.observe(&self.server.context.metrics.delivery_seconds);
        self.record(&transaction, received, &verdicts);
        let code = verdicts.iter().find_map(|verdict| verdict.as_ref().err()).unwrap_or(&reply::OK).code;
        let trace = std::mem::replace(&mut self.trace, Span::none());
        trace.record("recipients", trace_count(transaction.recipients.len()));
        trace.record("octets", trace_count(received)).record("code", trace_count(code));
        let replies = if self.offer.role == Role::Lmtp { verdicts.len() } else { 1 };
        for verdict in verdicts.into_iter().take(replies) {
            self.io.queue(&match verdict {
                Ok(()) => reply::OK.with_text(format!("OK, message {}", transaction.id)),
                Err(refusal) => refusal,
            });
        }
        Ok(())
    }

    /// Hands a message that may come in to those who are to have it by now.
    async fn deliver(
        &mut self,
        transaction: &mut Transaction,
        message: Message,
        judgement: &Judgement,
    ) -> Step<Verdicts> {
        if let Err(refusal) = self.change_envelope(transaction, judgement).await {
            return Ok(vec![Err(refusal); transaction.recipients.len().max(1)]);
        }
        if transaction.recipients.is_empty() {
            tracing::info!(transaction = %transaction.id, "milters left it nobody to go to");
            return Ok(vec![Ok(())]);
        }
        let timeout = self.config.smtp.timeouts.store.get();
        let delivered =
            self.server.deliver(transaction, message, self.offer.role, self.submitter(), timeout).await;
        let verdicts = delivered.inspect_err(|_| self.lost_track())?;
        if verdicts.iter().any(Result::is_ok) {
            self.filter.accepted(judgement).await;
        }
        Ok(verdicts)
    }

    /// What is to be stored, with the memory it holds; or why this message cannot be accepted from this client.
    async fn prepare(
        &mut self,
        incoming: Incoming,
        shape: &Shape,
        transaction: &Transaction,
    ) -> Result<(Message, Judgement, Option<BytePermit>), Reply> {
        let config = Arc::clone(&self.config);
        let limits = &config.smtp;
        let (mut octets, start, mut memory) = incoming.body.ok_or(reply::NO_MEMORY)?.finish()?;
        if let Err(refusal) = message::check_octets(shape.defects, shape.longest_line, limits) {
            if transaction.parameters.body != Some(BodyType::BinaryMime) {
                return Err(refusal);
            }
            // For as long as both are there, and base64 is a third longer.
            if !memory.as_mut().is_some_and(|memory| memory.try_grow(octets.len() as u64 * 3 / 2)) {
                return Err(reply::NO_MEMORY);
            }
            let max_line = limits.max_line_length.as_usize();
            let readable = binary::to_lines(&octets[start..], max_line).ok_or(reply::NOT_CONVERTIBLE)?;
            octets.truncate(start);
            octets.extend_from_slice(&readable);
        }
        let mut message = Message::new(octets, start);
        message.check_header(transaction, limits)?;
        let judgement = Box::pin(self.judge(&mut message, transaction)).await?;
        let author = outgoing::author_domain(message.fields());
        match self.session.account() {
            Some(account) => {
                self.check_authors(account.account, &message).await?;
                let (hostname, time) = (self.config.hostname.as_str(), (self.server.context.clock)());
                message.settle(Some(&Submission { id: &transaction.id, hostname, time }));
            }
            None => message.settle(None),
        }
        if let Some(author) = author.filter(|_| self.submitter().vouches_for(transaction)) {
            let signatures = self.server.signatures(&author, &message).await?;
            message.prepend(&signatures);
        }
        Ok((message, judgement, memory))
    }

    /// Users may write only in their own name: From, and Sender where there is one (RFC 6409 §8.1).
    async fn check_authors(&self, account: AccountId, message: &Message) -> Result<(), Reply> {
        let envelope = envelope(message.fields());
        let authors: Vec<&Address> = envelope.from.iter().filter(|author| author.host.is_some()).collect();
        if message.header.from_fields != 1 || authors.is_empty() {
            return Err(reply::FROM_MISSING);
        }
        if message.header.sender_fields > 1 {
            return Err(reply::SEVERAL_SENDERS);
        }
        let senders = envelope.sender.iter().filter(|sender| sender.host.is_some());
        for author in authors.into_iter().chain(senders) {
            let address = email_address(author).ok_or(reply::FROM_MISSING)?;
            if !self.owns(account, &address).await? {
                return Err(reply::FROM_NOT_OWNED);
            }
        }
        Ok(())
    }

    /// Counts a message whose outcome is not known.
    fn lost_track(&self) {
        self.server.context.metrics.messages.with(&[self.offer.role.name(), "unknown"]).inc();
    }

    /// Logs and counts what became of a message.
    fn record(&mut self, transaction: &Transaction, size: u64, verdicts: &[Result<(), Reply>]) {
        let accepted = verdicts.iter().filter(|verdict| verdict.is_ok()).count();
        let refusal = verdicts.iter().find_map(|verdict| verdict.as_ref().err());
        let outcome = match refusal {
            None => "accepted",
            Some(_) if accepted > 0 => "partial",
            Some(refusal) if refusal.is_temporary() => "deferred",
            Some(_) => "rejected",
        };
        let metrics = &self.server.context.metrics;
        metrics.messages.with(&[self.offer.role.name(), outcome]).inc();
        if accepted > 0 {
            metrics.message_bytes.observe(size as f64);
            self.patience.message_accepted();
        }
        let reason = refusal.and_then(|refusal| refusal.enhanced.as_deref());
        let recipients = verdicts.len();
        tracing::info!(transaction = %transaction.id, size, recipients, accepted, outcome, reason, "message received");
    }
}

/// The address of an author; a local part that has to be quoted has come without its quotes.
fn email_address(author: &Address) -> Option<EmailAddress> {
    let (local, domain) = (author.mailbox.as_deref()?, author.host.as_deref()?);
    let quoted = || {
        let escaped = local.replace('\\', "\\\\").replace('"', "\\\"");
        EmailAddress::parse(&format!("\"{escaped}\"@{domain}"))
    };
    EmailAddress::parse(&format!("{local}@{domain}")).or_else(|_| quoted()).ok()
}

impl Incoming {
    /// Why the message cannot be accepted, as far as its chunks so far tell.
    fn refusal(&self) -> Option<Reply> {
        match &self.body {
            None => Some(reply::NO_MEMORY),
            Some(body) => body.refusal().cloned(),
        }
    }
}
