//! APPEND (RFC 9051 §6.3.12), of several messages at once too (RFC 3502): all of them or none.
//!
//! What can be known before a message is sent is checked when its literal is announced, so that a client that waits for `+` does not send
//! it in vain. The memory for the messages of all sessions is one budget, of which an account gets a part, and gets it for a limited time.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use ekitei_directory::AccountId;
use ekitei_mailstore::{MailboxId, NewMessage, Quota, SpecialUse};
use ekitei_net::BytePermit;
use ekitei_telemetry::Timer;
use tokio::time::Instant;

use crate::dispatch::Updates;
use crate::proto::command::{AppendForm, AppendMessage};
use crate::proto::date::DateTime;
use crate::proto::response::Code;
use crate::proto::{Encoding, LiteralWanted, Tag};
use crate::reply::{Outcome, Reply, Stop, target_failure};
use crate::selected::stored_flags;
use crate::session::Session;

/// An APPEND whose messages are coming in.
pub(crate) struct Append {
    account: AccountId,
    mailbox: MailboxId,
    /// What the mailbox is for.
    special_use: Option<SpecialUse>,
    /// What the account may hold, and what it holds.
    quota: Quota,
    /// Octets that fit, as of the beginning.
    room: Option<u64>,
    /// The messages that are complete.
    messages: Vec<NewMessage>,
    /// The one that is coming in: what the command says of it, and its octets so far.
    current: Option<(AppendMessage, BytesMut)>,
    /// Octets of all messages announced so far.
    announced: u64,
    /// Why none of them is kept.
    refused: Option<Reply>,
    /// Memory out of that for all sessions, and out of that for the account.
    memory: [BytePermit; 2],
    timer: Timer,
    /// When the first message was announced: an APPEND must come to its end.
    pub(crate) began: Instant,
}

/// Why a message cannot be kept, now that it is there.
fn refusal(form: AppendForm, octets: &[u8]) -> Option<Reply> {
    if octets.is_empty() {
        // That is how a client gives up an APPEND of several messages (RFC 3502 §6.3.11).
        return Some(Reply::no(Code::Cannot, "A message without an octet is not kept"));
    }
    match (octets.contains(&0), form) {
        (false, _) => None,
        (true, AppendForm::Literal) => Some(Reply::client_bug("A literal has no NUL octet")),
        // Clients without BINARY could not read it (RFC 3516 §4.4).
        (true, _) => Some(Reply::no(Code::UnknownCte, "NUL octets are kept only in a transfer encoding")),
    }
}

/// INTERNALDATE in the words of the store. One before 1970 cannot be kept, and becomes the first moment of it.
fn received(date: DateTime) -> Duration {
    Duration::from_secs(u64::try_from(date.unix).unwrap_or(0))
}

impl Append {
    /// Makes room for one more message.
    fn announce(&mut self, message: AppendMessage, size: u64) -> Result<(), Reply> {
        self.announced += size;
        if self.room.is_some_and(|room| self.announced > room) {
            return Err(Reply::no(Code::OverQuota, "The quota does not hold it"));
        }
        let length =
            usize::try_from(size).map_err(|_| Reply::no(Code::TooBig, "The message is too large"))?;
        if !self.memory.iter_mut().all(|memory| memory.try_grow(size)) {
            return Err(Reply::no(Code::Limit, "Too many messages are coming in, try again later"));
        }
        self.current = Some((message, BytesMut::with_capacity(length)));
        Ok(())
    }

    fn complete(&mut self) {
        let Some((message, octets)) = self.current.take() else { return };
        if let Some(refused) = refusal(message.form, &octets) {
            self.refused.get_or_insert(refused);
        }
        let (flags, keywords) = stored_flags(&message.flags);
        let received = message.date.map(received);
        self.messages.push(NewMessage { message: octets.freeze(), flags, keywords, received });
    }
}

impl Session {
    /// A message is announced: whether it may come.
    pub(crate) async fn append_message(
        &mut self,
        wanted: &LiteralWanted,
        message: &AppendMessage,
    ) -> Result<(), Reply> {
        if self.append.is_none() {
            let begun = self.begin_append(message).await;
            self.append = Some(Box::new(begun.map_err(|stop| match stop {
                Stop::Reply(reply) => reply,
                Stop::Lost(error) => Reply::no(Code::Unavailable, error.to_string()),
                Stop::Unknown => Reply::no(Code::Unavailable, "The store is not available, try again later"),
            })?));
        }
        if message.form == AppendForm::Utf8 && self.encoding != Encoding::Utf8 {
            return Err(Reply::bad("UTF8 needs ENABLE UTF8=ACCEPT before"));
        }
        match &mut self.append {
            Some(append) => append.announce(message.clone(), wanted.size),
            None => Err(Reply::no(Code::ServerBug, "The command was lost")),
        }
    }

    async fn begin_append(&mut self, message: &AppendMessage) -> Result<Append, Stop> {
        let timer = Timer::start();
        let account = self.account()?;
        let mailbox = self.target(&message.mailbox).await?;
        let quota = self.shared.directory.quota(account).await?;
        let room = self.shared.mailstore.room(account, &quota).await?;
        let user = self.user.as_ref().ok_or_else(|| Reply::client_bug("Log in first"))?;
        let (Some(of_all), Some(of_account)) =
            (self.shared.bodies.try_take(0), user.place.bodies.try_take(0))
        else {
            return Err(Reply::no(Code::Limit, "Too many messages are coming in").into());
        };
        Ok(Append {
            account,
            mailbox: mailbox.id,
            special_use: mailbox.special_use,
            quota,
            room,
            messages: Vec::new(),
            current: None,
            announced: 0,
            refused: None,
            memory: [of_all, of_account],
            timer,
            began: Instant::now(),
        })
    }

    /// Octets of the message that is coming in.
    pub(crate) fn append_data(&mut self, data: &[u8], last: bool) {
        let Some(append) = &mut self.append else { return };
        if let Some((_, octets)) = &mut append.current {
            octets.extend_from_slice(data);
        }
        if last {
            append.complete();
        }
    }

    /// All messages are there: keeps them, and answers.
    pub(crate) async fn append_done(&mut self, tag: &Tag) -> io::Result<()> {
        let Some(append) = self.append.take() else { return Ok(()) };
        let timer = append.timer;
        let reply = match self.keep(*append).await {
            Ok(reply) | Err(Stop::Reply(reply)) => reply,
            Err(Stop::Lost(error)) => return Err(error),
            Err(Stop::Unknown) => {
                self.end_without_answer();
                return Ok(());
            }
        };
        // The client learns the new number of messages, if the mailbox is the selected one, before the reply.
        self.tell_after(Updates::All, false, false).await?;
        self.finish(tag, "APPEND", &reply);
        timer.observe(&self.shared.metrics.command_seconds.with(&["APPEND"]));
        Ok(())
    }

    async fn keep(&mut self, append: Append) -> Outcome {
        let Append { account, mailbox, special_use, quota, messages, refused, memory: _memory, .. } = append;
        if let Some(refused) = refused {
            return Err(refused.into());
        }
        let count = messages.len() as u64;
        let lessons = self.append_lessons(&messages, special_use);
        let appended = self.shared.mailstore.append(account, mailbox, messages, Some(quota)).await;
        let appended = appended.map_err(target_failure)?;
        self.teach_appended(&lessons, mailbox, &appended.uids);
        self.shared.metrics.appended.inc_by(count);
        let uids = appended.uids.iter().map(|uid| uid.get()).collect();
        let code = Code::AppendUid { uid_validity: appended.uid_validity, uids };
        Ok(Reply::ok("Appended").with_code(code))
    }
}
