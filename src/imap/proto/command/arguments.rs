//! Arguments that several commands share: mailbox names, sequence sets, flags.

use std::num::NonZeroU32;

use bytes::Bytes;

use crate::proto::date::{Date, DateTime};
use crate::proto::error::{CommandError, Result};
use crate::proto::flag::Flag;
use crate::proto::lexer::{Lexer, is_atom_char, is_list_char};
use crate::proto::mailbox_name::{ListPattern, MailboxName, decode_text};
use crate::proto::section::{HeaderName, PartPath};
use crate::proto::sequence::{SequenceBound, SequenceRange, SequenceSet};

impl Lexer<'_> {
    /// `mailbox`
    pub(in crate::proto) fn mailbox(&mut self) -> Result<MailboxName> {
        let start = self.position();
        let octets = self.mailbox_octets("a mailbox name")?;
        MailboxName::decode(&octets, self.encoding)
            .map_or_else(|| self.refuse_at(start, "a well-formed mailbox name"), Ok)
    }

    /// The octets of a mailbox name or reference, within their limit.
    pub(in crate::proto) fn mailbox_octets(&mut self, what: &'static str) -> Result<Bytes> {
        let octets = self.astring(what)?;
        self.limit_name(octets)
    }

    fn limit_name(&self, octets: Bytes) -> Result<Bytes> {
        if octets.len() > self.limits.mailbox_name {
            return Err(CommandError::TooMany("octets in a mailbox name"));
        }
        Ok(octets)
    }

    /// The reference of LIST: as a mailbox name, but possibly empty.
    pub(in crate::proto) fn reference(&mut self) -> Result<String> {
        let start = self.position();
        let octets = self.mailbox_octets("a reference name")?;
        match decode_text(&octets, self.encoding) {
            Some(name) if !name.chars().any(char::is_control) => Ok(name),
            _ => self.refuse_at(start, "a well-formed reference name"),
        }
    }

    /// `list-mailbox`
    pub(in crate::proto) fn list_pattern(&mut self) -> Result<ListPattern> {
        let start = self.position();
        let octets = match self.peek() {
            Some(b'"' | b'{') => self.string("a mailbox pattern")?,
            _ => self.take_while(is_list_char, "a mailbox pattern")?,
        };
        ListPattern::decode(&self.limit_name(octets)?, self.encoding)
            .map_or_else(|| self.refuse_at(start, "a well-formed mailbox pattern"), Ok)
    }

    /// The error that what began at `start` is not `what`.
    pub(in crate::proto) fn refuse_at<T>(&mut self, start: usize, what: &'static str) -> Result<T> {
        self.rewind(start);
        self.expected(what)
    }

    /// `sequence-set`
    pub(in crate::proto) fn sequence_set(&mut self) -> Result<SequenceSet> {
        if self.eat(b'$') {
            return Ok(SequenceSet::Saved);
        }
        let mut ranges = Vec::new();
        loop {
            self.count_range()?;
            let start = self.sequence_bound()?;
            let end = if self.eat(b':') { self.sequence_bound()? } else { start };
            ranges.push(SequenceRange { start, end });
            if !self.eat(b',') {
                return Ok(SequenceSet::Ranges(ranges));
            }
        }
    }

    fn sequence_bound(&mut self) -> Result<SequenceBound> {
        if self.eat(b'*') {
            return Ok(SequenceBound::Largest);
        }
        self.nz_number("a message number or *").map(SequenceBound::Number)
    }

    pub(in crate::proto) fn nz_number(&mut self, what: &'static str) -> Result<NonZeroU32> {
        let start = self.position();
        let number = self.number(what)?;
        NonZeroU32::new(number).map_or_else(|| self.refuse_at(start, what), Ok)
    }

    /// A flag that a client may set: any but `\Recent`.
    pub(in crate::proto) fn flag(&mut self) -> Result<Flag> {
        let start = self.position();
        let system = self.eat(b'\\');
        let atom = self.take_while(is_atom_char, "a flag")?;
        let name = String::from_utf8_lossy(&atom);
        let flag = if system { Flag::new(&format!("\\{name}")) } else { Flag::new(&name) };
        match flag {
            Some(flag) if flag != Flag::Recent => Ok(flag),
            _ => self.refuse_at(start, "a flag that can be set"),
        }
    }

    /// `flag-list`, without repetition.
    pub(in crate::proto) fn flag_list(&mut self) -> Result<Vec<Flag>> {
        Ok(without_repetition(self.list0("a list of flags", Lexer::flag)?))
    }

    /// `header-fld-name`
    pub(in crate::proto) fn header_name(&mut self) -> Result<HeaderName> {
        let start = self.position();
        let octets = self.astring("the name of a header field")?;
        HeaderName::new(octets).map_or_else(|| self.refuse_at(start, "the name of a header field"), Ok)
    }

    /// `date-time`, in its quotes.
    pub(in crate::proto) fn date_time(&mut self) -> Result<DateTime> {
        let start = self.position();
        let text = self.quoted()?;
        DateTime::parse(&text).map_or_else(|| self.refuse_at(start, "a date and time"), Ok)
    }

    /// `date`, with or without quotes.
    pub(in crate::proto) fn date(&mut self) -> Result<Date> {
        let start = self.position();
        let text = if self.peek() == Some(b'"') { self.quoted()? } else { self.atom("a date")? };
        Date::parse(&text).map_or_else(|| self.refuse_at(start, "a date"), Ok)
    }

    /// `section-part`: the part numbers, one or more.
    pub(in crate::proto) fn part_path(&mut self) -> Result<PartPath> {
        let mut part = Vec::new();
        loop {
            if part.len() >= self.limits.list_items {
                return Err(CommandError::TooMany("part numbers"));
            }
            part.push(self.nz_number("a part number")?.get());
            let dot = self.position();
            if !self.eat(b'.') {
                return Ok(PartPath(part));
            }
            if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
                self.rewind(dot);
                return Ok(PartPath(part));
            }
        }
    }
}

/// `items` with the first of equal ones.
pub(in crate::proto) fn without_repetition<T: PartialEq>(items: Vec<T>) -> Vec<T> {
    let mut unique = Vec::with_capacity(items.len());
    for item in items {
        if !unique.contains(&item) {
            unique.push(item);
        }
    }
    unique
}
