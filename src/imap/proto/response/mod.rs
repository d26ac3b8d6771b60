//! What the server says: responses appended to a buffer, one whole line (or literal header) at a time.
//!
//! Whatever strings are given, a response ends where it should: text is stripped of line ends, names and
//! values are quoted or sent as literals.

mod body_structure;
mod code;
mod envelope;
mod fetch;
mod list;
mod search;
mod text;

use std::borrow::Cow;
use std::fmt;

use bytes::BytesMut;

pub use body_structure::{BodyKind, BodyStructure, Disposition, Parameters, SingleFields};
pub use code::Code;
pub use envelope::{Address, Envelope, Text};
pub use fetch::{FetchWriter, Rfc822Name};
pub use list::{ListAttribute, ListEntry, NamespaceEntry};
pub use search::SearchResult;

use super::command::StatusItem;
use super::event::Rejected;
use super::flag::Flag;
use super::mailbox_name::{Encoding, MailboxName};
use super::sequence::NumberSet;
use super::tag::Tag;
use text::{
    put_astring, put_display, put_flags, put_human, put_mailbox, put_nstring, put_printable, put_string,
};

/// The condition of a status response (RFC 9051 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Success, or information.
    Ok,
    /// Failure, or a warning.
    No,
    /// The client's error.
    Bad,
    /// The connection ends.
    Bye,
    /// The connection starts authenticated.
    PreAuth,
}

impl Status {
    /// The condition as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::No => "NO",
            Status::Bad => "BAD",
            Status::Bye => "BYE",
            Status::PreAuth => "PREAUTH",
        }
    }
}

/// Appends responses to a buffer. Cheap to make: one per response or per command.
#[derive(Debug)]
pub struct ResponseWriter<'a> {
    out: &'a mut BytesMut,
    encoding: Encoding,
}

impl<'a> ResponseWriter<'a> {
    /// Writes to the end of `out`, names and strings in `encoding`.
    pub fn new(out: &'a mut BytesMut, encoding: Encoding) -> ResponseWriter<'a> {
        ResponseWriter { out, encoding }
    }

    /// `tag OK [CODE] text`: the end of a command.
    pub fn tagged(&mut self, tag: &Tag, status: Status, code: Option<&Code>, text: &str) {
        self.out.extend_from_slice(tag.as_bytes());
        self.status_line(status, code, text);
    }

    /// `* OK [CODE] text`
    pub fn untagged(&mut self, status: Status, code: Option<&Code>, text: &str) {
        self.out.extend_from_slice(b"*");
        self.status_line(status, code, text);
    }

    /// The reply to a bad command: tagged if it had a tag, and BYE if the connection must close.
    pub fn rejected(&mut self, rejected: &Rejected) {
        let (status, code) = (rejected.error.status(), rejected.error.code());
        let text = rejected.error.to_string();
        match &rejected.tag {
            Some(tag) => self.tagged(tag, status, code.as_ref(), &text),
            None => self.untagged(Status::Bad, code.as_ref(), &text),
        }
        if rejected.close {
            self.untagged(Status::Bye, None, "what follows cannot be told from commands");
        }
    }

    fn status_line(&mut self, status: Status, code: Option<&Code>, text: &str) {
        self.out.extend_from_slice(b" ");
        self.out.extend_from_slice(status.as_str().as_bytes());
        self.out.extend_from_slice(b" ");
        if let Some(code) = code {
            self.out.extend_from_slice(b"[");
            code.write(self.out);
            self.out.extend_from_slice(b"] ");
        } else if text.starts_with('[') {
            // It would be read as a code.
            self.out.extend_from_slice(b". ");
        }
        // The grammar wants at least one character.
        put_human(self.out, if text.is_empty() { "." } else { text }, self.encoding);
        self.end();
    }

    fn end(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }

    fn untagged_line(&mut self, line: fmt::Arguments<'_>) {
        put_display(self.out, format_args!("* {line}\r\n"));
    }

    /// `+ text`: the client may go on.
    pub fn continuation(&mut self, text: &str) {
        self.out.extend_from_slice(b"+ ");
        put_human(self.out, text, self.encoding);
        self.end();
    }

    /// `+ base64`: a SASL challenge (RFC 9051 §6.2.2); empty is `+ `.
    pub fn challenge(&mut self, challenge: &[u8]) {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(challenge);
        put_display(self.out, format_args!("+ {text}\r\n"));
    }

    /// `* CAPABILITY ...`
    pub fn capability(&mut self, capabilities: &[Cow<'static, str>]) {
        self.names("* CAPABILITY", capabilities.iter().map(AsRef::as_ref));
    }

    /// `* ENABLED ...`
    pub fn enabled(&mut self, capabilities: &[&str]) {
        self.names("* ENABLED", capabilities.iter().copied());
    }

    fn names<'n>(&mut self, head: &str, names: impl Iterator<Item = &'n str>) {
        self.out.extend_from_slice(head.as_bytes());
        for name in names {
            self.out.extend_from_slice(b" ");
            put_printable(self.out, name);
        }
        self.end();
    }

    /// `* ID (...)` (RFC 2971); NIL if there are no fields.
    pub fn id(&mut self, fields: &[(&str, Option<&str>)]) {
        self.out.extend_from_slice(b"* ID ");
        if fields.is_empty() {
            self.out.extend_from_slice(b"NIL");
        } else {
            for (i, (name, value)) in fields.iter().enumerate() {
                self.out.extend_from_slice(if i == 0 { b"(" } else { b" " });
                put_string(self.out, name.as_bytes(), self.encoding);
                self.out.extend_from_slice(b" ");
                put_nstring(self.out, value.map(str::as_bytes), self.encoding);
            }
            self.out.extend_from_slice(b")");
        }
        self.end();
    }

    /// `* STATUS mailbox (...)` with each item's value.
    pub fn status(&mut self, mailbox: &MailboxName, items: &[(StatusItem, StatusValue<'_>)]) {
        self.out.extend_from_slice(b"* STATUS ");
        put_mailbox(self.out, mailbox, self.encoding);
        self.out.extend_from_slice(b" (");
        for (i, (item, value)) in items.iter().enumerate() {
            self.out.extend_from_slice(if i > 0 { b" " } else { b"" });
            put_display(self.out, format_args!("{} ", item.as_str()));
            match value {
                StatusValue::Number(n) => put_display(self.out, format_args!("{n}")),
                StatusValue::Nil => self.out.extend_from_slice(b"NIL"),
                StatusValue::ObjectId(id) => {
                    self.out.extend_from_slice(b"(");
                    put_printable(self.out, id);
                    self.out.extend_from_slice(b")");
                }
            }
        }
        self.out.extend_from_slice(b")\r\n");
    }

    /// `* FLAGS (...)`
    pub fn flags(&mut self, flags: &[Flag]) {
        self.out.extend_from_slice(b"* FLAGS ");
        put_flags(self.out, flags, false);
        self.end();
    }

    /// `* n EXISTS`
    pub fn exists(&mut self, messages: u32) {
        self.untagged_line(format_args!("{messages} EXISTS"));
    }

    /// `* n RECENT` (RFC 3501)
    pub fn recent(&mut self, messages: u32) {
        self.untagged_line(format_args!("{messages} RECENT"));
    }

    /// `* n EXPUNGE` for the message with this sequence number now.
    pub fn expunge(&mut self, sequence: u32) {
        self.untagged_line(format_args!("{sequence} EXPUNGE"));
    }

    /// `* VANISHED uids` (RFC 7162 §3.2.10); `earlier` for those gone before.
    pub fn vanished(&mut self, uids: &NumberSet, earlier: bool) {
        if !uids.is_empty() {
            self.untagged_line(format_args!("VANISHED {}{uids}", if earlier { "(EARLIER) " } else { "" }));
        }
    }

    /// `* QUOTA root (STORAGE usage limit ...)` (RFC 9208), as resource, usage and limit.
    pub fn quota(&mut self, root: &str, resources: &[(&str, u64, u64)]) {
        self.out.extend_from_slice(b"* QUOTA ");
        put_astring(self.out, root.as_bytes(), self.encoding);
        self.out.extend_from_slice(b" (");
        for (i, (resource, usage, limit)) in resources.iter().enumerate() {
            self.out.extend_from_slice(if i > 0 { b" " } else { b"" });
            put_printable(self.out, resource);
            put_display(self.out, format_args!(" {usage} {limit}"));
        }
        self.out.extend_from_slice(b")\r\n");
    }

    /// `* QUOTAROOT mailbox root ...` (RFC 9208)
    pub fn quota_root(&mut self, mailbox: &MailboxName, roots: &[&str]) {
        self.out.extend_from_slice(b"* QUOTAROOT ");
        put_mailbox(self.out, mailbox, self.encoding);
        for root in roots {
            self.out.extend_from_slice(b" ");
            put_astring(self.out, root.as_bytes(), self.encoding);
        }
        self.end();
    }
}

/// The value of a STATUS item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusValue<'a> {
    /// A count, size, UID, ...
    Number(u64),
    /// `NIL`: no APPENDLIMIT (RFC 7889).
    Nil,
    /// A MAILBOXID (RFC 8474).
    ObjectId(&'a str),
}
