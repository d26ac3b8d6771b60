//! What the reader finds in the octets it is fed.

use bytes::Bytes;

use super::command::{AppendMessage, Request};
use super::error::CommandError;
use super::tag::Tag;

/// The next thing that a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Nothing complete: feed more octets.
    NeedMore,
    /// A complete command.
    Command(Request),
    /// A literal is announced: answer with [`super::Reader::accept_literal`] or
    /// [`super::Reader::refuse_literal`] before asking for the next event.
    Literal(LiteralWanted),
    /// Octets of the message literal accepted last, in order. A message of no octets has one, empty.
    AppendData {
        /// The octets.
        data: Bytes,
        /// Whether the message is complete with these.
        last: bool,
    },
    /// The APPEND is complete: all its messages have been delivered and may now be stored, together.
    /// Unless this comes, none of them may (RFC 3502).
    AppendDone {
        /// The tag of the APPEND.
        tag: Tag,
    },
    /// The line asked for by [`super::Reader::expect_line`], without its CRLF.
    Line(Bytes),
    /// A bad command: reply to it. The reader skips what is left of it by itself.
    Rejected(Rejected),
}

/// A literal that a client wants to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiteralWanted {
    /// The tag of its command, which a refusal carries.
    pub tag: Tag,
    /// How many octets.
    pub size: u64,
    /// Whether the client waits for `+` before it sends them. If not, they are under way (RFC 7888).
    pub synchronizing: bool,
    /// What they are for.
    pub purpose: LiteralPurpose,
}

/// What a literal is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiteralPurpose {
    /// An argument of a command; within the limits.
    Argument,
    /// A message to append, of any size up to the limit; its octets come as [`Event::AppendData`].
    Message(AppendMessage),
}

/// A command that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its tag, if it had one. Without one, the reply is untagged.
    pub tag: Option<Tag>,
    /// What is wrong with it.
    pub error: CommandError,
    /// What follows cannot be told from commands, or is more than the limits let us skip: the connection
    /// must be closed after the reply (`BYE`). The reader has no further events.
    pub close: bool,
}
