//! The content of a message on its way to a milter, and the changes on their way back.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ekitei_config::Milter;
use tokio::time::Instant;

use super::codec::{Answer, Change, Command, MAX_DATA, Stage, steps};
use super::connection::Connection;
use super::macros::Facts;
use crate::edit::{self, Message};
use crate::scan::ScanError;

/// Tells a milter header and body; its answer if it has one before the end of the message.
pub(super) async fn tell_content(
    connection: &mut Connection,
    config: &Milter,
    facts: &Facts<'_>,
    message: &Message,
    deadline: Instant,
) -> Result<Option<Answer>, ScanError> {
    let mut teller = Teller { connection, config, deadline };
    if let Some(early) = teller.header(message).await? {
        return Ok(Some(early));
    }
    if let Some(early) = teller.end_of_header(facts).await? {
        return Ok(Some(early));
    }
    teller.body(message).await
}

struct Teller<'a> {
    connection: &'a mut Connection,
    config: &'a Milter,
    deadline: Instant,
}

impl Teller<'_> {
    /// When the next answer has to be there.
    fn next(&self) -> Instant {
        self.deadline.min(Instant::now() + self.config.timeout.get())
    }

    /// Sends what is queued, and hears the answer if there is to be one; `None` if it is to go on.
    async fn hear(&mut self, unanswered: u32) -> Result<Option<Answer>, ScanError> {
        if self.connection.agreed(unanswered) {
            self.connection.flush_if_full(self.next()).await?;
            return Ok(None);
        }
        let answer = self.connection.verdict(self.next()).await?;
        Ok((answer != Answer::Continue).then_some(answer))
    }

    async fn header(&mut self, message: &Message) -> Result<Option<Answer>, ScanError> {
        if self.connection.agreed(steps::NO_HEADERS) {
            return Ok(None);
        }
        let leading_space = self.connection.agreed(steps::LEADING_SPACE);
        for (name, value) in message.fields() {
            self.connection.queue(&Command::Header(name, &told_value(value, leading_space)));
            if let Some(early) = self.hear(steps::NO_REPLY_HEADER).await? {
                return Ok(Some(early));
            }
        }
        Ok(None)
    }

    async fn end_of_header(&mut self, facts: &Facts<'_>) -> Result<Option<Answer>, ScanError> {
        if self.connection.agreed(steps::NO_END_OF_HEADER) {
            return Ok(None);
        }
        self.connection.queue_macros(Stage::EndOfHeader, facts);
        self.connection.queue(&Command::EndOfHeader);
        self.hear(steps::NO_REPLY_END_OF_HEADER).await
    }

    async fn body(&mut self, message: &Message) -> Result<Option<Answer>, ScanError> {
        if self.connection.agreed(steps::NO_BODY) {
            return Ok(None);
        }
        for piece in message.body().chunks(MAX_DATA) {
            self.connection.queue(&Command::Body(piece));
            match self.hear(steps::NO_REPLY_BODY).await? {
                None => {}
                Some(Answer::Skip) if self.connection.agreed(steps::SKIP) => break,
                early => return Ok(early),
            }
        }
        Ok(None)
    }
}

/// A value as milters take it: lines end in LF, and it begins behind the space unless the space was agreed on.
fn told_value(value: &[u8], leading_space: bool) -> Vec<u8> {
    let value = if leading_space { value } else { value.trim_ascii_start() };
    let mut told = Vec::with_capacity(value.len());
    for line in value.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) => {
                told.extend_from_slice(line);
                told.push(b'\n');
            }
            None => told.extend_from_slice(line),
        }
    }
    told
}

/// Changes to one message, within their limits.
pub(super) struct Changes {
    config: Arc<Milter>,
    list: Vec<Change>,
    body: Option<BytesMut>,
    octets: u64,
    /// Those that are no pieces of a body.
    counted: u32,
}

impl Changes {
    pub(super) fn new(config: Arc<Milter>) -> Self {
        Self { config, list: Vec::new(), body: None, octets: 0, counted: 0 }
    }

    /// One change more.
    ///
    /// # Errors
    /// [`ScanError::Nonsense`] if the milter may not make it, or made too many; [`ScanError::TooLarge`].
    pub(super) fn push(&mut self, connection: &Connection, change: Change) -> Result<(), ScanError> {
        if !connection.may(&change) {
            return Err(ScanError::Nonsense("a change that was not agreed on".to_owned()));
        }
        self.octets += change.size() as u64;
        let limit = self.config.max_changes_size.get();
        if self.octets > limit {
            return Err(ScanError::TooLarge { limit });
        }
        // Pieces of a body become one, so that a milter that sends it octet by octet takes no more memory than others.
        match (&change, &mut self.body) {
            (Change::Body(piece), Some(body)) => body.extend_from_slice(piece),
            (Change::Body(piece), body @ None) => *body = Some(BytesMut::from(piece.as_ref())),
            _ => {
                self.counted += 1;
                self.list.push(change);
            }
        }
        if self.counted > self.config.max_changes {
            return Err(ScanError::Nonsense(format!("more than {} changes", self.config.max_changes)));
        }
        Ok(())
    }

    pub(super) fn into_list(self) -> Vec<Change> {
        let body = self.body.map(|body| Change::Body(body.freeze()));
        self.list.into_iter().chain(body).collect()
    }
}

/// Makes the changes that are about the message itself.
pub(super) fn apply(message: &mut Message, changes: &[Change]) {
    for change in changes {
        match change {
            Change::AddHeader { name, value } => {
                if let Some(field) = edit::field(name, value) {
                    message.append(field);
                }
            }
            Change::InsertHeader { index, name, value } => {
                if let Some(field) = edit::field(name, value) {
                    // Number 0 is our Received field, which is not in this message yet: both 0 and 1 are the top of it.
                    message.insert(usize::try_from(*index).unwrap_or(usize::MAX).saturating_sub(1), field);
                }
            }
            Change::ChangeHeader { index, name, value } => {
                let field = if value.is_empty() { None } else { edit::field(name, value) };
                if value.is_empty() || field.is_some() {
                    message.change(name, usize::try_from(*index).unwrap_or(usize::MAX), field);
                }
            }
            Change::Body(body) => message.set_body(body),
            Change::AddRecipient(_)
            | Change::DeleteRecipient(_)
            | Change::Sender(_)
            | Change::Quarantine(_) => {}
        }
    }
    message.settle();
}

/// A message with what a milter asks for; `None` if that changes nothing of it.
pub fn edited(message: &Bytes, changes: &[Change]) -> Option<Bytes> {
    let mut message = Message::parse(message);
    apply(&mut message, changes);
    message.changed()
}
