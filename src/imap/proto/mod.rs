//! The IMAP codec: commands in, responses out; no sockets and no storage.
//!
//! Octets from a client are fed to the [`Reader`], which yields [`Event`]s: complete [`Command`]s, announced
//! literals, chunks of messages being appended, and refusals. Responses are appended to a buffer with
//! [`response::ResponseWriter`] and [`response::FetchWriter`].
//!
//! Implements the grammar of RFC 9051 (IMAP4rev2) and RFC 3501 (IMAP4rev1) with the extensions named at
//! each type. Lines end with CRLF and with nothing else.

pub mod command;
pub mod date;
pub mod error;
pub mod event;
pub mod fetch;
pub mod flag;
mod lexer;
pub mod limits;
pub mod mailbox_name;
pub mod mutf7;
pub mod reader;
pub mod response;
mod scanner;
pub mod search;
pub mod section;
pub mod sequence;
pub mod special_use;
pub mod tag;

pub use command::{Command, Request};
pub use error::CommandError;
pub use event::{Event, LiteralPurpose, LiteralWanted, Rejected};
pub use limits::Limits;
pub use mailbox_name::{Encoding, MailboxName};
pub use reader::Reader;
pub use tag::Tag;

#[cfg(test)]
mod tests;
