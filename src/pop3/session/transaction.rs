//! The TRANSACTION state: listing and reading messages, marking them, and UPDATE at QUIT (RFC 1939 §5, §6).

use ekitei_mailstore::{Entry, ExpungeScope, MailboxId};

use super::authorization::store_failed;
use super::{End, Next, Opened, Session, State};
use crate::lease::Lease;
use crate::maildrop::{Maildrop, NoMessage};
use crate::proto::{Command, Encoder};
use crate::reply::{Code, Reply};
use crate::wire::Wire;

/// Octets of a message that are read at once, and so about what one session holds of it.
const PIECE: u64 = 256 * 1024;

impl Session<'_> {
    pub(super) async fn transact(&mut self, wire: &mut Wire, command: Command) -> Result<(Reply, Next), End> {
        if command == Command::Quit {
            return Ok((self.quit().await?, Next::Close));
        }
        let State::Transaction(opened) = &mut self.state else { return Ok(self.bad("log in first")) };
        let maildrop = &mut opened.maildrop;
        let reply = match command {
            Command::Noop => Reply::ok("nothing done"),
            Command::Stat => {
                let (count, size) = maildrop.totals();
                Reply::ok(format!("{count} {size}"))
            }
            Command::List(None) => list(wire, maildrop).await?,
            Command::List(Some(number)) => {
                numbered(number, maildrop.message(number).map(|entry| entry.size.to_string()))
            }
            Command::Uidl(None) => unique_ids(wire, maildrop).await?,
            Command::Uidl(Some(number)) => numbered(number, maildrop.unique_id(number)),
            Command::Dele(number) => match maildrop.delete(number) {
                Ok(()) => Reply::ok(format!("message {number} is marked as deleted")),
                Err(error) => Reply::err(error.to_string()),
            },
            Command::Rset => {
                maildrop.reset();
                Reply::ok("no message is marked as deleted")
            }
            Command::Retr(number) => self.send_message(wire, number, Encoder::whole()).await?,
            Command::Top(number, lines) => self.send_message(wire, number, Encoder::top(lines)).await?,
            _ => return Ok(self.bad("this command is not for after login")),
        };
        Ok((reply, Next::Command))
    }

    /// RETR and TOP: the message in pieces, each sent before the next is read, so that a slow client costs one piece.
    async fn send_message(&self, wire: &mut Wire, number: usize, mut encoder: Encoder) -> Result<Reply, End> {
        let State::Transaction(opened) = &self.state else { return Ok(Reply::err("log in first")) };
        let entry = match opened.maildrop.message(number) {
            Ok(entry) => entry,
            Err(error) => return Ok(Reply::err(error.to_string())),
        };
        let mut piece = match self.piece(opened, entry, 0).await {
            Ok(piece) => piece,
            Err(error) => return Ok(unreadable(opened, &error)),
        };
        if self.config.pop3.refuse_utf8_without_command && !self.utf8 && has_utf8_header(&piece) {
            return Ok(Reply::code(Code::Utf8, "the header of this message is in UTF-8; use UTF8 first"));
        }
        wire.send(format!("+OK {} octets\r\n", entry.size).as_bytes()).await?;
        let mut sent = 0;
        let mut encoded = Vec::new();
        while !piece.is_empty() {
            sent += piece.len() as u64;
            encoder.push(&piece, &mut encoded);
            wire.send(&encoded).await?;
            encoded.clear();
            if encoder.is_finished() || sent >= entry.size {
                break;
            }
            piece = self.piece(opened, entry, sent).await.map_err(End::Cut)?;
        }
        self.service.metrics.sent_octets.inc_by(sent);
        if sent >= entry.size {
            self.service.metrics.retrieved.inc();
        }
        encoder.finish(&mut encoded);
        wire.send(&encoded).await?;
        Ok(Reply::Sent)
    }

    async fn piece(
        &self,
        opened: &Opened,
        entry: &Entry,
        from: u64,
    ) -> ekitei_mailstore::Result<bytes::Bytes> {
        self.service.store.read(opened.account, entry.message, from..from + PIECE).await
    }

    /// UPDATE (RFC 1939 §6): removes what is marked, and only now. Messages that someone else removed meanwhile are no
    /// error, since they are gone as wanted.
    ///
    /// # Errors
    /// [`End::OutcomeUnknown`]: neither `+OK` nor `-ERR` would be true.
    async fn quit(&mut self) -> Result<Reply, End> {
        let state = std::mem::replace(&mut self.state, State::Authorization { user: None });
        let State::Transaction(opened) = state else { return Ok(Reply::ok("bye")) };
        let Opened { account, maildrop, lease } = *opened;
        let marked = maildrop.marked();
        let reply =
            if marked.is_empty() { Ok(Reply::ok("bye")) } else { self.remove(account, marked, &lease).await };
        lease.release().await;
        reply
    }

    async fn remove(
        &self,
        account: ekitei_directory::AccountId,
        marked: Vec<ekitei_mailstore::Uid>,
        lease: &Lease,
    ) -> Result<Reply, End> {
        let count = marked.len();
        let scope = ExpungeScope::Exactly(marked);
        match self.service.store.expunge_behind(account, MailboxId::INBOX, &scope, lease).await {
            Ok(_) => {
                self.service.metrics.deleted.inc_by(count as u64);
                tracing::info!(%account, messages = count, "messages deleted");
                Ok(Reply::ok(format!("bye, {count} messages deleted")))
            }
            Err(ekitei_mailstore::Error::Store(ekitei_kv::Error::Fenced)) => {
                tracing::warn!(%account, "another session has taken over the mailbox");
                let text = "another session has taken over the mailbox; what is left was not deleted";
                Ok(Reply::code(Code::SysTemp, text))
            }
            Err(error) if error.is_outcome_unknown() => {
                tracing::warn!(%account, %error, "whether messages were deleted is not known");
                Err(End::OutcomeUnknown)
            }
            Err(error) => {
                store_failed(account, &error);
                Ok(Reply::code(Code::SysTemp, "some deleted messages were not removed"))
            }
        }
    }
}

/// LIST without an argument.
async fn list(wire: &mut Wire, maildrop: &Maildrop) -> Result<Reply, End> {
    let (count, size) = maildrop.totals();
    wire.send(format!("+OK {count} messages, {size} octets\r\n").as_bytes()).await?;
    for (number, entry) in maildrop.listed() {
        wire.send(format!("{number} {}\r\n", entry.size).as_bytes()).await?;
    }
    wire.send(b".\r\n").await?;
    Ok(Reply::Sent)
}

/// UIDL without an argument.
async fn unique_ids(wire: &mut Wire, maildrop: &Maildrop) -> Result<Reply, End> {
    wire.send(b"+OK unique-ids follow\r\n").await?;
    for (number, id) in maildrop.unique_ids() {
        wire.send(format!("{number} {id}\r\n").as_bytes()).await?;
    }
    wire.send(b".\r\n").await?;
    Ok(Reply::Sent)
}

/// The reply to LIST and UIDL with an argument.
fn numbered(number: usize, what: Result<String, NoMessage>) -> Reply {
    match what {
        Ok(what) => Reply::ok(format!("{number} {what}")),
        Err(error) => Reply::err(error.to_string()),
    }
}

/// The reply when a message cannot be read; most often another client has removed it since login.
fn unreadable(opened: &Opened, error: &ekitei_mailstore::Error) -> Reply {
    match error {
        ekitei_mailstore::Error::Body(ekitei_blob::Error::NotFound(_)) => {
            Reply::err("another client has removed this message")
        }
        error => store_failed(opened.account, error),
    }
}

/// Whether the header has UTF-8 in it (RFC 6532), as opposed to none but ASCII, or bytes that are no UTF-8.
fn has_utf8_header(start: &[u8]) -> bool {
    let end = start.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or(start.len());
    let header = &start[..end];
    !header.is_ascii() && std::str::from_utf8(header).is_ok()
}
