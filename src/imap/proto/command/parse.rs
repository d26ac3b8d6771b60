//! From the text of a command to a [`Request`]: the tag, the name, and the parser of its family.

use bytes::Bytes;

use super::{Command, Request, mailbox, message, session};
use crate::proto::error::{CommandError, Result};
use crate::proto::lexer::{Lexer, is_tag_char};
use crate::proto::limits::Limits;
use crate::proto::mailbox_name::Encoding;
use crate::proto::tag::Tag;
use crate::proto::{fetch, search};

/// Parses a complete command: its text without the last CRLF, its literals in place.
pub(in crate::proto) fn parse(text: Bytes, limits: &Limits, encoding: Encoding) -> Result<Request> {
    let mut lexer = Lexer::new(text, limits, encoding);
    let tag = tag(&mut lexer)?;
    let command = command(&mut lexer)?;
    lexer.end()?;
    Ok(Request { tag, command })
}

/// `tag SP`
pub(in crate::proto) fn tag(lexer: &mut Lexer<'_>) -> Result<Tag> {
    let octets = lexer.take_while(is_tag_char, "a tag").map_err(|_| CommandError::NoTag)?;
    lexer.space().map_err(|_| CommandError::NoTag)?;
    Tag::new(octets).ok_or(CommandError::NoTag)
}

/// The tag at the start of a command that may be broken, if it is whole: a space or the line end follows.
pub(in crate::proto) fn tag_of(text: &[u8]) -> Option<Tag> {
    let length = text.iter().take_while(|b| is_tag_char(**b)).count();
    match text.get(length) {
        Some(b' ' | b'\r' | b'\n') => Tag::new(Bytes::copy_from_slice(&text[..length])),
        _ => None,
    }
}

fn command(lexer: &mut Lexer<'_>) -> Result<Command> {
    let name = lexer.keyword("a command").map_err(|_| CommandError::NoTag)?;
    match name.as_str() {
        "CAPABILITY" => Ok(Command::Capability),
        "NOOP" => Ok(Command::Noop),
        "LOGOUT" => Ok(Command::Logout),
        "STARTTLS" => Ok(Command::StartTls),
        "NAMESPACE" => Ok(Command::Namespace),
        "IDLE" => Ok(Command::Idle),
        "CHECK" => Ok(Command::Check),
        "CLOSE" => Ok(Command::Close),
        "UNSELECT" => Ok(Command::Unselect),
        "EXPUNGE" => Ok(Command::Expunge),
        "AUTHENTICATE" => with_arguments(lexer, session::authenticate),
        "LOGIN" => with_arguments(lexer, session::login),
        "ID" => with_arguments(lexer, session::id),
        "ENABLE" => with_arguments(lexer, session::enable),
        "SELECT" => with_arguments(lexer, mailbox::select).map(Command::Select),
        "EXAMINE" => with_arguments(lexer, mailbox::select).map(Command::Examine),
        "CREATE" => with_arguments(lexer, mailbox::create),
        "DELETE" => with_arguments(lexer, Lexer::mailbox).map(Command::Delete),
        "RENAME" => with_arguments(lexer, mailbox::rename),
        "SUBSCRIBE" => with_arguments(lexer, Lexer::mailbox).map(Command::Subscribe),
        "UNSUBSCRIBE" => with_arguments(lexer, Lexer::mailbox).map(Command::Unsubscribe),
        "LIST" => with_arguments(lexer, mailbox::list),
        "LSUB" => with_arguments(lexer, mailbox::lsub),
        "STATUS" => with_arguments(lexer, mailbox::status),
        "GETQUOTA" => with_arguments(lexer, |l| l.astring("a quota root")).map(Command::GetQuota),
        "GETQUOTAROOT" => with_arguments(lexer, Lexer::mailbox).map(Command::GetQuotaRoot),
        "SETQUOTA" => with_arguments(lexer, mailbox::set_quota),
        // The reader has taken every APPEND that has a message literal.
        "APPEND" => lexer.expected("a mailbox and a message literal"),
        "UID" => with_arguments(lexer, |lexer| {
            let name = lexer.keyword("a command after UID")?;
            message_command(lexer, &name, true)
        }),
        name => message_command(lexer, name, false),
    }
}

/// The commands that take sequence numbers, or UIDs after `UID`.
fn message_command(lexer: &mut Lexer<'_>, name: &str, uid: bool) -> Result<Command> {
    match name {
        "SEARCH" => with_arguments(lexer, |l| search::parse(l, uid)).map(Command::Search),
        "FETCH" => with_arguments(lexer, |l| fetch::parse(l, uid)).map(Command::Fetch),
        "STORE" => with_arguments(lexer, |l| message::store(l, uid)).map(Command::Store),
        "COPY" => with_arguments(lexer, |l| message::transfer(l, uid)).map(Command::Copy),
        "MOVE" => with_arguments(lexer, |l| message::transfer(l, uid)).map(Command::Move),
        "EXPUNGE" if uid => with_arguments(lexer, Lexer::sequence_set).map(Command::UidExpunge),
        _ => Err(CommandError::UnknownCommand),
    }
}

fn with_arguments<'a, T>(
    lexer: &mut Lexer<'a>,
    parse: impl FnOnce(&mut Lexer<'a>) -> Result<T>,
) -> Result<T> {
    lexer.space()?;
    parse(lexer)
}
