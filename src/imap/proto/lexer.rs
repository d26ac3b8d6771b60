//! The tokens of a command: atoms, strings, numbers (RFC 9051 §9).

use bytes::{Bytes, BytesMut};

use super::error::{CommandError, Result};
use super::limits::Limits;
use super::mailbox_name::Encoding;

/// `ATOM-CHAR`: any CHAR but the atom-specials.
pub(super) fn is_atom_char(b: u8) -> bool {
    b.is_ascii_graphic() && !matches!(b, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// `ASTRING-CHAR`: an ATOM-CHAR or `]`.
pub(super) fn is_astring_char(b: u8) -> bool {
    is_atom_char(b) || b == b']'
}

/// `list-char`: an ASTRING-CHAR or a wildcard.
pub(super) fn is_list_char(b: u8) -> bool {
    is_astring_char(b) || matches!(b, b'%' | b'*')
}

/// What a tag consists of: an ASTRING-CHAR but `+`.
pub(super) fn is_tag_char(b: u8) -> bool {
    is_astring_char(b) && b != b'+'
}

/// A complete command being read from left to right: its text without the last CRLF, its literals in place.
pub(super) struct Lexer<'a> {
    input: Bytes,
    pos: usize,
    depth: usize,
    ranges: usize,
    /// The limits that apply.
    pub(super) limits: &'a Limits,
    /// How names and quoted strings are written.
    pub(super) encoding: Encoding,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(input: Bytes, limits: &'a Limits, encoding: Encoding) -> Lexer<'a> {
        Lexer { input, pos: 0, depth: 0, ranges: 0, limits, encoding }
    }

    /// The error that `what` is not here.
    pub(super) fn expected<T>(&self, what: &'static str) -> Result<T> {
        Err(CommandError::Expected { expected: what, at: self.pos })
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.input.get(self.pos).copied()
    }

    fn rest(&self) -> &[u8] {
        &self.input[self.pos..]
    }

    pub(super) fn position(&self) -> usize {
        self.pos
    }

    /// Goes back to a [`Lexer::position`].
    pub(super) fn rewind(&mut self, position: usize) {
        self.pos = position;
    }

    /// Takes `byte` if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.pos += usize::from(found);
        found
    }

    /// Takes `word`, in any case, if it is next.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = self.rest().get(..word.len()).is_some_and(|s| s.eq_ignore_ascii_case(word.as_bytes()));
        self.pos += if found { word.len() } else { 0 };
        found
    }

    pub(super) fn expect(&mut self, byte: u8, what: &'static str) -> Result<()> {
        if self.eat(byte) { Ok(()) } else { self.expected(what) }
    }

    pub(super) fn space(&mut self) -> Result<()> {
        self.expect(b' ', "a space")
    }

    /// Requires that the command ends here.
    pub(super) fn end(&self) -> Result<()> {
        if self.pos == self.input.len() { Ok(()) } else { self.expected("the end of the command") }
    }

    pub(super) fn at_end(&self) -> bool {
        self.pos == self.input.len()
    }

    /// One or more octets that `accept`s.
    pub(super) fn take_while(&mut self, accept: fn(u8) -> bool, what: &'static str) -> Result<Bytes> {
        let length = self.rest().iter().take_while(|b| accept(**b)).count();
        if length == 0 {
            return self.expected(what);
        }
        let taken = self.input.slice(self.pos..self.pos + length);
        self.pos += length;
        Ok(taken)
    }

    pub(super) fn atom(&mut self, what: &'static str) -> Result<Bytes> {
        self.take_while(is_atom_char, what)
    }

    /// An atom as upper-case text.
    pub(super) fn keyword(&mut self, what: &'static str) -> Result<String> {
        let atom = self.atom(what)?;
        Ok(atom.iter().map(|b| char::from(b.to_ascii_uppercase())).collect())
    }

    pub(super) fn astring(&mut self, what: &'static str) -> Result<Bytes> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(what),
            _ => self.take_while(is_astring_char, what),
        }
    }

    /// A quoted string or literal.
    pub(super) fn string(&mut self, what: &'static str) -> Result<Bytes> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal(),
            _ => self.expected(what),
        }
    }

    /// A string or NIL.
    pub(super) fn nstring(&mut self, what: &'static str) -> Result<Option<Bytes>> {
        if self.eat_word("NIL") { Ok(None) } else { self.string(what).map(Some) }
    }

    /// A quoted string: ASCII or UTF-8 (RFC 9051 §9, `QUOTED-CHAR`), in any session.
    pub(super) fn quoted(&mut self) -> Result<Bytes> {
        self.expect(b'"', "a quoted string")?;
        let start = self.pos;
        let mut unescaped: Option<BytesMut> = None;
        loop {
            let Some(byte) = self.peek() else { return self.expected("a closing quote") };
            match byte {
                b'"' => break,
                b'\\' => {
                    let Some(&escaped @ (b'"' | b'\\')) = self.input.get(self.pos + 1) else {
                        return self.expected("a quote or backslash after the backslash");
                    };
                    let text = unescaped.get_or_insert_with(|| BytesMut::from(&self.input[start..self.pos]));
                    text.extend_from_slice(&[escaped]);
                    self.pos += 2;
                    continue;
                }
                b'\r' | b'\n' | 0 => return self.expected("a closing quote"),
                _ => {}
            }
            if let Some(text) = &mut unescaped {
                text.extend_from_slice(&[byte]);
            }
            self.pos += 1;
        }
        let text = match unescaped {
            Some(text) => text.freeze(),
            None => self.input.slice(start..self.pos),
        };
        if std::str::from_utf8(&text).is_err() {
            self.pos = start;
            return self.expected("valid UTF-8 in a quoted string");
        }
        self.pos += 1;
        Ok(text)
    }

    /// A literal, whose octets the reader has put in place.
    pub(super) fn literal(&mut self) -> Result<Bytes> {
        self.expect(b'{', "a literal")?;
        let size = self.number64("the size of a literal")?;
        self.eat(b'+');
        if !self.eat_word("}\r\n") {
            return self.expected("a literal");
        }
        let size = usize::try_from(size).ok().filter(|size| *size <= self.rest().len());
        let Some(size) = size else { return self.expected("the octets of a literal") };
        let octets = self.input.slice(self.pos..self.pos + size);
        if octets.contains(&0) {
            return self.expected("a literal without NUL");
        }
        self.pos += size;
        Ok(octets)
    }

    pub(super) fn number64(&mut self, what: &'static str) -> Result<u64> {
        let start = self.pos;
        let digits = self.take_while(|b| b.is_ascii_digit(), what)?;
        let value =
            digits.iter().try_fold(0u64, |value, b| value.checked_mul(10)?.checked_add(u64::from(b - b'0')));
        // RFC 9051: number64 is a 63-bit number.
        match value.filter(|v| i64::try_from(*v).is_ok()) {
            Some(value) => Ok(value),
            None => {
                self.pos = start;
                self.expected(what)
            }
        }
    }

    pub(super) fn number(&mut self, what: &'static str) -> Result<u32> {
        let start = self.pos;
        let value = self.number64(what)?;
        u32::try_from(value).or_else(|_| {
            self.pos = start;
            self.expected(what)
        })
    }

    /// Counts an element of a sequence set against the command's limit.
    pub(super) fn count_range(&mut self) -> Result<()> {
        self.ranges += 1;
        if self.ranges > self.limits.sequence_ranges {
            return Err(CommandError::TooMany("numbers in a sequence set"));
        }
        Ok(())
    }

    /// Goes one level deeper. An error ends the parsing, so only success has to [`Lexer::leave`].
    pub(super) fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > self.limits.nesting { Err(CommandError::TooDeep) } else { Ok(()) }
    }

    /// Comes back from where [`Lexer::enter`] went.
    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// `(item item ...)` of one or more items.
    pub(super) fn list<T>(
        &mut self,
        what: &'static str,
        item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.expect(b'(', what)?;
        self.list_rest(item)
    }

    /// `(item item ...)` of zero or more items.
    pub(super) fn list0<T>(
        &mut self,
        what: &'static str,
        item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.expect(b'(', what)?;
        if self.eat(b')') { Ok(Vec::new()) } else { self.list_rest(item) }
    }

    fn list_rest<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        loop {
            if items.len() >= self.limits.list_items {
                return Err(CommandError::TooMany("items in a list"));
            }
            items.push(item(self)?);
            if self.eat(b')') {
                return Ok(items);
            }
            self.expect(b' ', "a space or )")?;
        }
    }
}
