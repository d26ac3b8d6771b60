//! One message on one connection: MAIL, RCPT, DATA or BDAT, and what the replies mean for each recipient (RFC 5321 §3.3, RFC 2920, RFC 3030).

use std::collections::VecDeque;

use bytes::Bytes;
use ekitei_config::RelayTimeouts;
use tokio::time::timeout;

use crate::content::{self, Outgoing};
use crate::envelope::{Notify, Return};
use crate::outcome::{Failure, FailureKind, RecipientOutcome};
use crate::proto::command::{Mail, NotWritable, Rcpt};
use crate::proto::data;
use crate::proto::reply::{Reply, truncate};
use crate::proto::status::{Phase, Status};
use crate::session::Session;
use crate::wire::WireError;
use crate::work::Work;

/// What is written after the last question whether the message may be finished.
const TAIL: usize = 64 * 1024;
/// The most octets of a reply that is kept of a success.
const REPLY: usize = 1000;

/// Why a connection cannot go on.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The server or the way to it failed. What is not settled may be tried elsewhere.
    Host {
        /// What happened.
        failure: Failure,
        /// The server had taken MAIL: the connection was not just a stale one.
        mail_taken: bool,
    },
    /// The connection is of no use any more, and everything that was tried on it is settled.
    Gone,
}

/// What a dialogue keeps to.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) timeouts: RelayTimeouts,
    /// Recipients in one transaction.
    pub(crate) max_recipients: usize,
    /// MAIL says REQUIRETLS.
    pub(crate) require_tls: bool,
    /// The server is one that we chose, not the destination's.
    pub(crate) at_smart_host: bool,
    /// Seconds since the epoch, for BY.
    pub(crate) now: u64,
}

/// A dialogue: the connection, the work, and what was read of it so far.
pub(crate) struct Dialogue<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) work: &'a mut Work,
    pub(crate) rules: &'a Rules,
}

/// One transaction as commands.
struct Transaction {
    mail: String,
    /// Recipients with their commands.
    rcpts: Vec<(usize, String)>,
    chunking: bool,
    pipelining: bool,
}

impl Dialogue<'_> {
    /// Sends the message to the recipients that are not settled, in as many transactions as the server's limits make of them, as long as the connection may be used.
    ///
    /// # Errors
    /// [`Stop`] when the connection cannot be used any more.
    pub(crate) async fn run(&mut self) -> Result<(), Stop> {
        while !self.work.is_done() && self.session.may_begin() {
            self.transaction().await?;
        }
        Ok(())
    }

    async fn transaction(&mut self) -> Result<(), Stop> {
        if !self.session.wire.is_quiet() {
            let failure =
                Failure::new(FailureKind::Protocol, Status(4, 5, 0), "the server spoke without being asked");
            return Err(Stop::Host { failure: failure.at(&self.session.remote), mail_taken: false });
        }
        let Some(transaction) = self.compose()? else { return Ok(()) };
        self.session.transactions += 1;
        let mut mail_taken = false;
        let limit = self.rules.timeouts.envelope.get();
        let answered = timeout(limit, self.envelope(&transaction, &mut mail_taken)).await;
        let too_long = |_| Err(Failure::of_wire(&WireError::Timeout, "the end of the envelope"));
        match answered.unwrap_or_else(too_long) {
            Ok(accepted) if accepted.is_empty() => Ok(()),
            Ok(accepted) => self.message(&transaction, accepted).await,
            Err(failure) => Err(Stop::Host { failure: failure.at(&self.session.remote), mail_taken }),
        }
    }

    /// The commands of the next transaction. `None` if there is nothing to send: then everything, or everything of this batch, is settled.
    ///
    /// # Errors
    /// The server lacks what the message needs, or all recipients that are left. Another host may have it (RFC 5321 §5.1), perhaps one that does not answer now.
    fn compose(&mut self) -> Result<Option<Transaction>, Stop> {
        let capabilities = &self.session.capabilities;
        let lacks =
            |failure: Failure| Stop::Host { failure: failure.at(&self.session.remote), mail_taken: true };
        if let Some(failure) = self.unmet_deadline() {
            return Err(lacks(failure));
        }
        let outgoing =
            self.work.content.for_server(&self.work.shipment.envelope, capabilities).map_err(lacks)?;
        let mail = match self.mail(&outgoing) {
            Ok(mail) => mail,
            Err(failure) if failure.kind == FailureKind::Message => return Err(lacks(failure)),
            Err(failure) => {
                self.work.fail_pending(&failure);
                return Ok(None);
            }
        };
        let limit =
            capabilities.limits.rcpt_max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
        let most = self.rules.max_recipients.min(limit).max(1);
        let (mut rcpts, mut malformed, mut unfit) = (Vec::new(), Vec::new(), None);
        for at in self.work.pending() {
            match self.rcpt(at) {
                Ok(command) => rcpts.push((at, command)),
                Err(failure) if failure.kind == FailureKind::Message => unfit = Some(failure),
                Err(failure) => malformed.push((at, failure)),
            }
            if rcpts.len() == most {
                break;
            }
        }
        let (chunking, pipelining) = (capabilities.chunking, capabilities.pipelining);
        match unfit {
            Some(failure) if rcpts.is_empty() && malformed.is_empty() => return Err(lacks(failure)),
            _ => malformed.into_iter().for_each(|(at, failure)| self.work.fail(at, failure)),
        }
        Ok((!rcpts.is_empty()).then_some(Transaction { mail, rcpts, chunking, pipelining }))
    }

    /// Whether MAIL says SMTPUTF8: the message needs it, or an address does.
    fn is_smtputf8(&self) -> bool {
        let shipment = &self.work.shipment;
        let is_international = || {
            let sender = shipment.envelope.reverse_path.as_deref().unwrap_or_default();
            !sender.is_ascii() || shipment.recipients.iter().any(|recipient| !recipient.address.is_ascii())
        };
        self.session.capabilities.smtputf8 && (shipment.envelope.smtputf8 || is_international())
    }

    fn mail(&self, outgoing: &Outgoing<'_>) -> Result<String, Failure> {
        let (envelope, capabilities) = (&self.work.shipment.envelope, &self.session.capabilities);
        let smtputf8 = self.is_smtputf8();
        let sender = envelope.reverse_path.as_deref().unwrap_or_default();
        let Some(reverse_path) = content::address(sender, smtputf8) else {
            let text = "the sender's address has UTF-8, and the server does not offer SMTPUTF8";
            return Err(Failure::new(FailureKind::Message, Status(5, 6, 7), text));
        };
        let priority = (envelope.priority != 0 && capabilities.priority).then_some(envelope.priority);
        let mail = Mail {
            reverse_path: &reverse_path,
            size: capabilities.size.then_some(outgoing.size),
            eight_bit: outgoing.eight_bit,
            smtputf8,
            require_tls: self.rules.require_tls || envelope.require_tls && capabilities.require_tls,
            ret: envelope.ret.filter(|_| capabilities.dsn).map(|ret| match ret {
                Return::Full => "FULL",
                Return::Headers => "HDRS",
            }),
            envelope_id: envelope.envelope_id.as_deref().filter(|_| capabilities.dsn),
            deliver_by: self.deliver_by(),
            priority,
        };
        let mut command = String::with_capacity(128);
        mail.write(&mut command).map_err(|NotWritable| {
            Failure::new(FailureKind::Sender, Status(5, 1, 7), "the sender's address is malformed")
        })?;
        Ok(command)
    }

    /// BY for a server that has it.
    fn deliver_by(&self) -> Option<(i64, bool)> {
        self.session.capabilities.deliver_by?;
        self.time_left()
    }

    /// Seconds until the deadline of BY, which may be negative, and whether the message is to be returned then.
    fn time_left(&self) -> Option<(i64, bool)> {
        let by = self.work.shipment.envelope.deliver_by?;
        let deadline = i64::try_from(by.deadline).unwrap_or(i64::MAX);
        // Nine digits are what RFC 2852 §4 has.
        let left = deadline.saturating_sub_unsigned(self.rules.now).clamp(-999_999_999, 999_999_999);
        Some((left, by.or_return))
    }

    /// Why the server must not have a message that is to be returned at its deadline (mode `R`): it would deliver it after that, since it
    /// does not know of it, or says that it takes longer (RFC 2852 §4).
    fn unmet_deadline(&self) -> Option<Failure> {
        let (left, _) = self.time_left().filter(|(_, or_return)| *or_return)?;
        let text = match self.session.capabilities.deliver_by {
            None => "the sender wants the message back if it is late (BY mode R), and the server does not offer DELIVERBY".to_owned(),
            Some(least) if u64::try_from(left).is_ok_and(|left| left > 0 && left >= least) => return None,
            Some(least) => format!("the server wants {least} seconds for the message, and {left} are left"),
        };
        Some(Failure::new(FailureKind::Message, Status(5, 4, 7), text))
    }

    fn rcpt(&self, at: usize) -> Result<String, Failure> {
        let recipient = &self.work.shipment.recipients[at];
        let smtputf8 = self.is_smtputf8();
        let Some(forward_path) = content::address(&recipient.address, smtputf8) else {
            let text = "the recipient's address has UTF-8, and the server does not offer SMTPUTF8";
            return Err(Failure::new(FailureKind::Message, Status(5, 6, 7), text));
        };
        let dsn = self.session.capabilities.dsn;
        let rcpt = Rcpt {
            forward_path: &forward_path,
            notify: recipient
                .notify
                .filter(|_| dsn)
                .map(|Notify { success, failure, delay }| [success, failure, delay]),
            original: recipient
                .original
                .as_ref()
                .filter(|_| dsn)
                .map(|original| (original.address_type.as_str(), original.address.as_str())),
        };
        let mut command = String::with_capacity(128);
        rcpt.write(smtputf8, &mut command).map_err(|NotWritable| {
            Failure::new(FailureKind::Recipient, Status(5, 1, 3), "the recipient's address is malformed")
        })?;
        Ok(command)
    }

    /// MAIL, RCPT, and DATA if there are no chunks. Returns the recipients that were accepted, when the server waits for the message; none, when the transaction is over.
    ///
    /// # Errors
    /// The server or the way to it failed.
    async fn envelope(
        &mut self,
        transaction: &Transaction,
        mail_taken: &mut bool,
    ) -> Result<Vec<usize>, Failure> {
        let needs_reset = std::mem::replace(&mut self.session.needs_reset, true);
        if transaction.pipelining {
            self.write_all(transaction, needs_reset).await?;
        }
        if needs_reset {
            let reply = self.step(transaction, "RSET\r\n", "RSET").await?;
            if !reply.is_positive() {
                return Err(Failure::unexpected(&reply, "RSET"));
            }
        }
        let mail = self.step(transaction, &transaction.mail, "MAIL").await?;
        *mail_taken = mail.is_positive();
        if !*mail_taken && !transaction.pipelining {
            return self.mail_refused(&mail, transaction);
        }
        let mut accepted = Vec::with_capacity(transaction.rcpts.len());
        for (at, command) in &transaction.rcpts {
            let reply = self.step(transaction, command, "RCPT").await?;
            if *mail_taken && self.recipient(*at, &reply, !accepted.is_empty()) {
                accepted.push(*at);
            }
        }
        if transaction.chunking || (accepted.is_empty() && !transaction.pipelining) {
            return if *mail_taken { Ok(accepted) } else { self.mail_refused(&mail, transaction) };
        }
        self.session.within_message = true;
        let data = self.step(transaction, "DATA\r\n", "DATA").await?;
        self.session.within_message = data.is_intermediate();
        if !*mail_taken {
            self.mail_refused(&mail, transaction)?;
        }
        self.data_answered(&data, accepted)
    }

    /// Everything up to DATA at once (RFC 2920 §3.1).
    async fn write_all(&mut self, transaction: &Transaction, needs_reset: bool) -> Result<(), Failure> {
        let length = transaction.rcpts.iter().map(|(_, command)| command.len()).sum::<usize>();
        let mut commands = String::with_capacity(length + transaction.mail.len() + 16);
        if needs_reset {
            commands.push_str("RSET\r\n");
        }
        commands.push_str(&transaction.mail);
        transaction.rcpts.iter().for_each(|(_, command)| commands.push_str(command));
        if !transaction.chunking {
            commands.push_str("DATA\r\n");
            self.session.within_message = true;
        }
        let limit = self.rules.timeouts.command.get();
        match self.session.wire.command(commands, limit).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.parting(&error, "MAIL").await),
        }
    }

    /// A command, if it was not written with all the others, and its reply. A 421 ends the connection, whatever it answers (RFC 5321 §3.8).
    async fn step(&mut self, transaction: &Transaction, command: &str, name: &str) -> Result<Reply, Failure> {
        let timeouts = &self.rules.timeouts;
        let limit = if name == "DATA" { timeouts.data_init.get() } else { timeouts.command.get() };
        if !transaction.pipelining
            && let Err(error) = self.session.wire.command(command.to_owned(), limit).await
        {
            return Err(self.parting(&error, name).await);
        }
        let reply = self.session.wire.reply(limit).await.map_err(|error| Failure::of_wire(&error, name))?;
        if reply.code() == 421 {
            return Err(Failure::of_reply(FailureKind::Host, &reply, Phase::Mail));
        }
        Ok(reply)
    }

    /// Why the server closed the connection while we wrote: what it said, or only that.
    async fn parting(&mut self, error: &WireError, waiting_for: &str) -> Failure {
        // The refusal may stand behind answers to the commands before.
        for _ in 0..self.rules.max_recipients + 3 {
            match self.session.wire.last_words().await {
                Some(reply) if reply.code() >= 400 => {
                    return Failure::of_reply(FailureKind::Host, &reply, Phase::Mail).temporary();
                }
                Some(_) => {}
                None => break,
            }
        }
        Failure::of_wire(error, waiting_for)
    }

    /// MAIL was refused: that is about the host, or about the message and all its recipients.
    fn mail_refused(&mut self, reply: &Reply, transaction: &Transaction) -> Result<Vec<usize>, Failure> {
        if reply.code() < 400 {
            return Err(Failure::unexpected(reply, "MAIL"));
        }
        let status = reply.status(Phase::Mail);
        if reply.code() == 530 && (self.rules.at_smart_host || self.session.capabilities.starttls) {
            // It wants a login or TLS first (RFC 4954 §6, RFC 3207 §4): our configuration or a failed handshake is at fault, not the message.
            return Err(Failure::of_reply(FailureKind::Host, reply, Phase::Mail).temporary());
        }
        if reply.is_temporary() && status.is_of_host() {
            return Err(Failure::of_reply(FailureKind::Host, reply, Phase::Mail));
        }
        let is_of_message = status.1 == 6 || (status.1, status.2) == (3, 4);
        let kind = if is_of_message { FailureKind::Message } else { FailureKind::Sender };
        let failure = Failure::of_reply(kind, reply, Phase::Mail).at(&self.session.remote);
        for (at, _) in &transaction.rcpts {
            self.work.fail(*at, failure.clone());
        }
        Ok(Vec::new())
    }

    /// What the answer to RCPT means; `true` if the recipient was accepted. One that is too many, behind others that were accepted, waits for another transaction.
    fn recipient(&mut self, at: usize, reply: &Reply, others_accepted: bool) -> bool {
        if reply.is_positive() {
            return true;
        }
        let is_too_many = match reply.enhanced() {
            Some(status) => (status.1, status.2) == (5, 3),
            // Servers that follow RFC 821 say 552 (RFC 5321 §4.5.3.1.10).
            None => matches!(reply.code(), 452 | 552),
        };
        if is_too_many && others_accepted {
            return false;
        }
        let failure = if reply.code() >= 400 {
            Failure::of_reply(FailureKind::Recipient, reply, Phase::Rcpt)
        } else {
            Failure::unexpected(reply, "RCPT")
        };
        self.work.fail(at, failure.at(&self.session.remote));
        false
    }

    /// What the answer to DATA means.
    fn data_answered(&mut self, reply: &Reply, accepted: Vec<usize>) -> Result<Vec<usize>, Failure> {
        if reply.code() == 354 {
            if accepted.is_empty() {
                // It waits for a message to nobody. There is none.
                return Err(Failure::unexpected(reply, "DATA without recipients"));
            }
            return Ok(accepted);
        }
        if reply.code() < 400 {
            return Err(Failure::unexpected(reply, "DATA"));
        }
        if !accepted.is_empty() && reply.is_temporary() && reply.status(Phase::Data).is_of_host() {
            return Err(Failure::of_reply(FailureKind::Host, reply, Phase::Data));
        }
        let failure = Failure::of_reply(FailureKind::Message, reply, Phase::Data).at(&self.session.remote);
        accepted.iter().for_each(|&at| self.work.fail(at, failure.clone()));
        Ok(Vec::new())
    }

    /// The message and its end, and what the last reply means for the recipients that were accepted.
    async fn message(&mut self, transaction: &Transaction, accepted: Vec<usize>) -> Result<(), Stop> {
        let (head, tail) = split_tail(self.body(transaction.chunking)?);
        let block = self.rules.timeouts.data_block.get();
        self.session.within_message = true;
        if !head.is_empty() {
            let limit = self.rules.timeouts.message.get();
            let written = timeout(limit, self.session.wire.write(head, block)).await;
            if let Err(error) = written.unwrap_or(Err(WireError::Timeout)) {
                return self.broken_within(&error, &accepted).await;
            }
        }
        // What is there before the end is there cannot be the answer to it, and must not be taken for that.
        if !self.session.wire.is_quiet() {
            return self.broken_within(&WireError::Unasked, &accepted).await;
        }
        // From here on the other side may have the whole message, whatever becomes of the connection.
        if !(self.work.shipment.may_finish)() {
            self.work.fence();
            return Err(Stop::Gone);
        }
        let written = self.session.wire.write(tail, block).await;
        let reply = match written {
            Ok(()) => self.session.wire.reply(self.rules.timeouts.data_end.get()).await,
            Err(error) => self.session.wire.last_words().await.ok_or(error),
        };
        match reply {
            Ok(reply) => {
                self.session.within_message = false;
                self.finished(&reply, &accepted)
            }
            Err(error) => {
                // Sent or not: we cannot know, so it is sent again (RFC 5321 §4.5.3.2.6).
                let failure =
                    Failure::of_wire(&error, "the answer to the end of the message").at(&self.session.remote);
                accepted.iter().for_each(|&at| self.work.fail(at, failure.clone()));
                Err(Stop::Gone)
            }
        }
    }

    /// What follows DATA, or the command for the only chunk and what follows that.
    fn body(&self, chunking: bool) -> Result<VecDeque<Bytes>, Stop> {
        let outgoing = self.work.content.for_server(&self.work.shipment.envelope, &self.session.capabilities);
        let outgoing = outgoing.map_err(|failure| Stop::Host { failure, mail_taken: true })?;
        if !chunking {
            return Ok(data::transparent(outgoing.pieces).into());
        }
        let command = Bytes::from(format!("BDAT {} LAST\r\n", outgoing.size));
        Ok(std::iter::once(command).chain(outgoing.pieces.iter().cloned()).collect())
    }

    /// The connection broke before the message was whole, so it cannot have been taken.
    async fn broken_within(&mut self, error: &WireError, accepted: &[usize]) -> Result<(), Stop> {
        match self.session.wire.last_words().await {
            Some(reply) if reply.is_permanent() => {
                self.finished(&reply, accepted)?;
                Err(Stop::Gone)
            }
            Some(reply) if reply.is_temporary() => {
                let failure = Failure::of_reply(FailureKind::Host, &reply, Phase::End);
                Err(Stop::Host { failure: failure.at(&self.session.remote), mail_taken: true })
            }
            _ => {
                let failure = Failure::of_wire(error, "the message to be taken").at(&self.session.remote);
                Err(Stop::Host { failure, mail_taken: true })
            }
        }
    }

    fn finished(&mut self, reply: &Reply, accepted: &[usize]) -> Result<(), Stop> {
        if reply.code() == 421 {
            let failure = Failure::of_reply(FailureKind::Host, reply, Phase::End).at(&self.session.remote);
            return Err(Stop::Host { failure, mail_taken: true });
        }
        let remote = &self.session.remote;
        if reply.is_positive() {
            self.session.needs_reset = false;
            let text = reply.lines().map(str::trim).collect::<Vec<_>>().join(" ");
            let mut text = format!("{} {text}", reply.code());
            truncate(&mut text, REPLY);
            let notifies = self.session.capabilities.dsn;
            for &at in accepted {
                let (remote, reply) = (remote.clone(), text.clone());
                self.work.settle(at, RecipientOutcome::Sent { remote, reply, notifies });
            }
            return Ok(());
        }
        let failure = if reply.code() >= 400 {
            Failure::of_reply(FailureKind::Message, reply, Phase::End)
        } else {
            Failure::unexpected(reply, "the end of the message")
        };
        let failure = failure.at(remote);
        accepted.iter().for_each(|&at| self.work.fail(at, failure.clone()));
        Ok(())
    }
}

/// Cuts off the last octets, as many as are written after the last question.
fn split_tail(mut head: VecDeque<Bytes>) -> (VecDeque<Bytes>, VecDeque<Bytes>) {
    let mut tail = VecDeque::new();
    let mut room = TAIL;
    while room > 0
        && let Some(mut piece) = head.pop_back()
    {
        let last = piece.split_off(piece.len().saturating_sub(room));
        room -= last.len();
        tail.push_front(last);
        if !piece.is_empty() {
            head.push_back(piece);
        }
    }
    (head, tail)
}
