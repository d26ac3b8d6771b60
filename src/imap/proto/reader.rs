//! The incremental reader: octets of a client in, [`Event`]s out.
//!
//! Commands are cut from the stream by line ends and announced literals alone (see the scanner), whether
//! they parse or not, so that a bad command is skipped exactly and its data is never taken for a command:
//!
//! - A line ends with CRLF. A bare CR or LF refuses the command at once; everything up to the next CRLF is
//!   thrown away. Where it stands in place of the CRLF after a non-synchronizing literal's announcement, the
//!   connection has to be closed, since nobody can tell whether a literal follows.
//! - Non-synchronizing literals of a refused command are read and thrown away, up to [`Limits::skip`].
//! - A refused synchronizing literal is never sent: its command ends with the line. (A client that does not
//!   wait for `+` before it sends one breaks the protocol, and cannot be told from one that goes on.)

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use super::command::append::{self, Append};
use super::command::parse::{self, tag_of};
use super::error::{CommandError, Result};
use super::event::{Event, LiteralPurpose, LiteralWanted, Rejected};
use super::limits::Limits;
use super::mailbox_name::Encoding;
use super::scanner::{LineEnd, Scanner};
use super::tag::Tag;

/// Reads the commands of one connection. Holds no buffer while nothing is under way.
#[derive(Debug)]
pub struct Reader {
    limits: Arc<Limits>,
    encoding: Encoding,
    /// The command under way, and whatever was fed after it.
    buffer: BytesMut,
    /// How much of `buffer` belongs to the command for certain: lines looked at, and literals taken.
    taken: usize,
    /// Where in `buffer` the present line starts.
    line_start: usize,
    /// Octets of text in the command so far, literals not counted.
    text: usize,
    /// Argument literals in the command so far.
    literals: usize,
    scanner: Scanner,
    state: State,
    append: Option<Box<Append>>,
    /// Octets thrown away since the last good command.
    skipped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Looking for the end of a line.
    Line,
    /// A literal has been announced, and the caller has not answered yet.
    Asked { size: u64, synchronizing: bool, message: bool },
    /// Taking an argument literal, up to this place in the buffer.
    Literal { end: usize },
    /// Handing out a message literal.
    Message { remaining: u64 },
    /// Throwing away so many octets, and then lines and literals up to the end of the command.
    Skip { literal: u64 },
    /// Looking for the end of a raw line.
    Raw,
    /// Throwing away the rest of a raw line.
    SkipRaw,
    /// Nothing more can be read.
    Closed,
}

impl Reader {
    /// A reader at the start of a connection.
    pub fn new(limits: Arc<Limits>) -> Reader {
        Reader {
            limits,
            encoding: Encoding::default(),
            buffer: BytesMut::new(),
            taken: 0,
            line_start: 0,
            text: 0,
            literals: 0,
            scanner: Scanner::default(),
            state: State::Line,
            append: None,
            skipped: 0,
        }
    }

    /// Other limits from the next line on, such as after a login.
    pub fn set_limits(&mut self, limits: Arc<Limits>) {
        self.limits = limits;
    }

    /// How mailbox names and quoted strings are read from the next command on; changed by ENABLE.
    pub fn set_encoding(&mut self, encoding: Encoding) {
        self.encoding = encoding;
    }

    /// Adds octets from the client. Take all events before feeding more: the buffer is then no larger than
    /// [`Limits::command`] and what was fed last.
    pub fn feed(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// The buffer itself, to read from a socket without a copy. Only append to it.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// How many octets are held.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Whether no command is under way and nothing is held.
    pub fn is_idle(&self) -> bool {
        self.state == State::Line && self.append.is_none() && self.buffer.is_empty()
    }

    /// Throws away what was fed after the last command, and returns how much that was. To be called before
    /// the handshake of STARTTLS: what a client sent in clear must not be taken for encrypted.
    pub fn discard_buffered(&mut self) -> usize {
        let discarded = self.buffer.len();
        self.buffer.clear();
        self.start_command();
        discarded
    }

    /// Makes the next event a [`Event::Line`]: a SASL response, or DONE. To be called between commands. A
    /// `{n}` at the end of such a line announces nothing.
    pub fn expect_line(&mut self) {
        if self.state == State::Line {
            self.state = State::Raw;
        }
    }

    /// Takes the literal of the last event; if it is synchronizing, write `+` first.
    pub fn accept_literal(&mut self) {
        let State::Asked { size, message, .. } = self.state else { return };
        self.state = match usize::try_from(size) {
            _ if message => State::Message { remaining: size },
            Ok(size) => State::Literal { end: self.taken.saturating_add(size) },
            // Beyond the limits, so never announced.
            Err(_) => State::Skip { literal: size },
        };
    }

    /// Refuses the literal of the last event, and its whole command with it: write the tagged NO. What the
    /// client sends of it nevertheless is skipped.
    pub fn refuse_literal(&mut self) {
        if let State::Asked { size, synchronizing, .. } = self.state {
            self.skip_command(LineEnd::Literal { size, synchronizing });
        }
    }

    /// The next event. While a literal waits for its answer, there is none.
    pub fn next_event(&mut self) -> Event {
        loop {
            let event = match self.state {
                State::Line => self.line(),
                State::Literal { end } => self.literal(end),
                State::Message { remaining } => self.message(remaining),
                State::Skip { literal } => self.skip(literal),
                State::Raw => self.raw_line(),
                State::SkipRaw => self.skip_raw(),
                State::Asked { .. } | State::Closed => Some(Event::NeedMore),
            };
            if let Some(event) = event {
                if self.state == State::Closed {
                    self.buffer = BytesMut::new();
                }
                return event;
            }
        }
    }

    /// Forgets the command under way, and the buffer if it is empty.
    fn start_command(&mut self) {
        self.state = State::Line;
        self.scanner = Scanner::default();
        (self.taken, self.line_start, self.text, self.literals) = (0, 0, 0, 0);
        self.append = None;
        self.release();
    }

    fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Looks at the present line, but no further than its limit, so that what is found does not depend on
    /// how the octets were cut.
    fn scan_line(&mut self) -> Result<Option<LineEnd>> {
        let allowed = self.limits.line.saturating_add(1).saturating_sub(self.text);
        let stop = self.buffer.len().min(self.taken.saturating_add(allowed));
        let (length, end) = self.scanner.scan(&self.buffer[self.taken..stop]);
        self.taken += length;
        self.text += length;
        if self.text > self.limits.line {
            // Where exactly the line ends is for the skipping to see: only a found end is passed on.
            return end.map_or(Err(CommandError::LineTooLong), |end| Ok(Some(end)));
        }
        Ok(end)
    }

    fn line(&mut self) -> Option<Event> {
        let end = match self.scan_line() {
            Ok(None) => return Some(Event::NeedMore),
            Ok(Some(end)) => end,
            Err(error) => return Some(self.reject_midline(error)),
        };
        let outcome = match end {
            LineEnd::Bare { .. } => Err(CommandError::BareLineEnd),
            _ if self.text > self.limits.line => Err(CommandError::LineTooLong),
            LineEnd::Plain => self.complete(),
            LineEnd::Literal { size, synchronizing } => self.announced(size, synchronizing),
        };
        Some(outcome.unwrap_or_else(|error| self.reject(error, end)))
    }

    /// The command's last line is complete.
    fn complete(&mut self) -> Result<Event> {
        let Some(append) = self.append.take() else {
            // The text stays until it has been parsed, for the tag of a refusal.
            let text = self.buffer.split_to(self.taken).freeze();
            let parsed = parse::parse(text.slice(..text.len() - 2), &self.limits, self.encoding);
            return match parsed {
                Ok(request) => {
                    self.skipped = 0;
                    self.start_command();
                    Ok(Event::Command(request))
                }
                Err(error) => {
                    self.start_command();
                    Ok(Event::Rejected(Rejected { tag: tag_of(&text), error, close: false }))
                }
            };
        };
        let text = self.buffer.split_to(self.taken).freeze();
        let finished = append.finish(text.slice(..text.len() - 2), &self.limits, self.encoding);
        self.start_command();
        Ok(match finished {
            Ok(()) => {
                self.skipped = 0;
                Event::AppendDone { tag: append.tag }
            }
            Err(error) => Event::Rejected(Rejected { tag: Some(append.tag), error, close: false }),
        })
    }

    /// The line announces a literal.
    fn announced(&mut self, size: u64, synchronizing: bool) -> Result<Event> {
        let line = &self.buffer[self.line_start..self.taken];
        let before = line.iter().rposition(|b| *b == b'{').unwrap_or_default();
        let text = &self.buffer[..self.line_start + before];
        if !synchronizing && size > self.limits.non_sync_literal {
            return Err(CommandError::LiteralTooLarge);
        }
        let name = append::name_of(text);
        let is_append = name.eq_ignore_ascii_case(b"APPEND") && !append::wants_mailbox(text);
        if self.append.is_some() || is_append {
            return self.announced_message(self.line_start + before, size, synchronizing);
        }
        let tag = tag_of(text).ok_or(CommandError::NoTag)?;
        if !may_hold_literal(&line[..before]) {
            return Err(CommandError::MisplacedLiteral);
        }
        let login = [&b"LOGIN"[..], b"AUTHENTICATE"].iter().any(|n| name.eq_ignore_ascii_case(n));
        let limit = if login { self.limits.login_literal } else { self.limits.literal };
        let text_to_come = self.limits.line.saturating_sub(self.text);
        let room = limit.min(self.limits.command.saturating_sub(self.taken + text_to_come));
        if usize::try_from(size).map_or(true, |size| size > room) {
            return Err(CommandError::LiteralTooLarge);
        }
        self.literals += 1;
        if self.literals > self.limits.literals {
            return Err(CommandError::TooMany("literals"));
        }
        self.state = State::Asked { size, synchronizing, message: false };
        Ok(Event::Literal(LiteralWanted { tag, size, synchronizing, purpose: LiteralPurpose::Argument }))
    }

    /// The line, whose text goes up to `end`, announces a message of an APPEND.
    fn announced_message(&mut self, end: usize, size: u64, synchronizing: bool) -> Result<Event> {
        // Copied, so that a refusal still finds the tag in the buffer.
        let text = Bytes::copy_from_slice(&self.buffer[..end]);
        let (tag, message) = match &mut self.append {
            Some(append) => {
                let message = append.next(text, &self.limits, self.encoding)?;
                (append.tag.clone(), message)
            }
            None => {
                let (append, message) = Append::first(text, &self.limits, self.encoding)?;
                let tag = append.tag.clone();
                self.append = Some(Box::new(append));
                (tag, message)
            }
        };
        if size > self.limits.append {
            return Err(CommandError::LiteralTooLarge);
        }
        self.buffer.advance(self.taken);
        (self.taken, self.line_start, self.text) = (0, 0, 0);
        self.state = State::Asked { size, synchronizing, message: true };
        let purpose = LiteralPurpose::Message(message);
        Ok(Event::Literal(LiteralWanted { tag, size, synchronizing, purpose }))
    }

    /// An argument literal goes up to `end`.
    fn literal(&mut self, end: usize) -> Option<Event> {
        if self.buffer.len() < end {
            return Some(Event::NeedMore);
        }
        (self.taken, self.line_start) = (end, end);
        self.state = State::Line;
        None
    }

    fn message(&mut self, remaining: u64) -> Option<Event> {
        if self.buffer.is_empty() && remaining > 0 {
            self.release();
            return Some(Event::NeedMore);
        }
        let length = usize::try_from(remaining).unwrap_or(usize::MAX).min(self.buffer.len());
        let data = self.buffer.split_to(length).freeze();
        let remaining = remaining - length as u64;
        self.state = if remaining == 0 { State::Line } else { State::Message { remaining } };
        Some(Event::AppendData { data, last: remaining == 0 })
    }

    fn tag(&self) -> Option<Tag> {
        match &self.append {
            Some(append) => Some(append.tag.clone()),
            None => tag_of(&self.buffer[..self.taken]),
        }
    }

    /// Refuses the command at an end of a line of it.
    fn reject(&mut self, error: CommandError, end: LineEnd) -> Event {
        let tag = self.tag();
        let close = end == LineEnd::Bare { after_announcement: true };
        self.skip_command(end);
        if close {
            self.state = State::Closed;
        }
        Event::Rejected(Rejected { tag, error, close })
    }

    /// Refuses the command before the end of its line: the scanner goes on where it is.
    fn reject_midline(&mut self, error: CommandError) -> Event {
        let tag = self.tag();
        self.buffer.advance(self.taken);
        let scanner = std::mem::take(&mut self.scanner);
        self.start_command();
        self.scanner = scanner;
        self.state = State::Skip { literal: 0 };
        Event::Rejected(Rejected { tag, error, close: false })
    }

    /// Throws away what was taken of a command, and skips what is left of it after a line that ended so.
    fn skip_command(&mut self, end: LineEnd) {
        self.buffer.advance(self.taken);
        self.start_command();
        match end {
            LineEnd::Plain | LineEnd::Literal { synchronizing: true, .. } => {}
            LineEnd::Literal { size, synchronizing: false } => {
                self.skipped = self.skipped.saturating_add(size);
                self.state = State::Skip { literal: size };
            }
            LineEnd::Bare { .. } => self.state = State::Skip { literal: 0 },
        }
    }

    fn skip(&mut self, literal: u64) -> Option<Event> {
        if self.skipped > self.limits.skip {
            return Some(self.give_up(CommandError::LiteralTooLarge));
        }
        if literal > 0 {
            let length = usize::try_from(literal).unwrap_or(usize::MAX).min(self.buffer.len());
            self.buffer.advance(length);
            self.state = State::Skip { literal: literal - length as u64 };
            self.release();
            return (self.state != State::Skip { literal: 0 }).then_some(Event::NeedMore);
        }
        let (length, end) = self.scanner.scan(&self.buffer);
        self.buffer.advance(length);
        self.skipped = self.skipped.saturating_add(length as u64);
        match end {
            Some(LineEnd::Bare { after_announcement: true }) => {
                return Some(self.give_up(CommandError::BareLineEnd));
            }
            Some(end) => self.skip_command(end),
            None => self.release(),
        }
        if self.skipped > self.limits.skip {
            return Some(self.give_up(CommandError::LineTooLong));
        }
        end.is_none().then_some(Event::NeedMore)
    }

    fn give_up(&mut self, error: CommandError) -> Event {
        self.state = State::Closed;
        Event::Rejected(Rejected { tag: None, error, close: true })
    }

    fn raw_line(&mut self) -> Option<Event> {
        let error = match self.scan_line() {
            Ok(None) => return Some(Event::NeedMore),
            Ok(Some(LineEnd::Bare { .. })) => CommandError::BareLineEnd,
            Ok(Some(_)) if self.text > self.limits.line => CommandError::LineTooLong,
            Ok(Some(_)) => {
                let line = self.buffer.split_to(self.taken).freeze();
                self.start_command();
                return Some(Event::Line(line.slice(..line.len() - 2)));
            }
            Err(error) => error,
        };
        let ended = error == CommandError::LineTooLong && self.buffer[..self.taken].ends_with(b"\r\n");
        self.buffer.advance(self.taken);
        let scanner = std::mem::take(&mut self.scanner);
        self.start_command();
        if !ended {
            self.scanner = scanner;
            self.state = State::SkipRaw;
        }
        Some(Event::Rejected(Rejected { tag: None, error, close: false }))
    }

    fn skip_raw(&mut self) -> Option<Event> {
        let (length, end) = self.scanner.scan(&self.buffer);
        self.buffer.advance(length);
        self.skipped = self.skipped.saturating_add(length as u64);
        if self.skipped > self.limits.skip {
            return Some(self.give_up(CommandError::LineTooLong));
        }
        match end {
            None => {
                self.release();
                Some(Event::NeedMore)
            }
            Some(LineEnd::Bare { .. }) => None,
            Some(_) => {
                self.start_command();
                None
            }
        }
    }
}

/// Whether a literal can start after this much of a line: outside of quotes, after a space or parenthesis.
/// Asking for the octets of what is none would make data of the client's next command.
fn may_hold_literal(line: &[u8]) -> bool {
    let mut quoted = false;
    let mut octets = line.iter();
    while let Some(byte) = octets.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => {
                octets.next();
            }
            _ => {}
        }
    }
    !quoted && matches!(line.last(), Some(b' ' | b'('))
}
