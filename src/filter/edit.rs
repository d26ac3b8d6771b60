//! A message whose header and body are changed by what scanners ask for.

use bytes::{Bytes, BytesMut};

/// The longest name of a field that is put in.
const MAX_NAME: usize = 256;

/// A message as fields and body. Octets that are not changed stay those of the message that was given.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    fields: Vec<Field>,
    /// The empty line between header and body; empty if there is neither line nor body.
    separator: Bytes,
    body: Bytes,
    changed: bool,
}

#[derive(Clone, Debug)]
struct Field {
    /// With its name and its CRLF.
    raw: Bytes,
    colon: usize,
    /// Whether it is gone. It keeps its number until [`Message::settle`].
    removed: bool,
}

impl Field {
    fn new(raw: Bytes) -> Option<Self> {
        let colon = memchr::memchr(b':', &raw)?;
        let name = raw[..colon].trim_ascii_end();
        (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then(|| Self {
            raw,
            colon,
            removed: false,
        })
    }

    fn name(&self) -> &[u8] {
        self.raw[..self.colon].trim_ascii_end()
    }

    fn is(&self, name: &[u8]) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }

    fn value(&self) -> &[u8] {
        let value = &self.raw[self.colon + 1..];
        let value = value.strip_suffix(b"\n").unwrap_or(value);
        value.strip_suffix(b"\r").unwrap_or(value)
    }
}

impl Message {
    /// Takes a message apart. The header ends at an empty line, or before the first line that belongs to no field.
    pub(crate) fn parse(message: &Bytes) -> Self {
        let mut fields = Vec::new();
        let mut at = 0;
        loop {
            let end = field_end(message, at);
            let line = &message[at..end];
            if line == b"\r\n" || line == b"\n" {
                let (separator, body) = (message.slice(at..end), message.slice(end..));
                return Self { fields, separator, body, changed: false };
            }
            match Field::new(message.slice(at..end)) {
                Some(field) if end > at => fields.push(field),
                _ => {
                    let body = message.slice(at..);
                    let separator = if body.is_empty() { Bytes::new() } else { Bytes::from_static(b"\r\n") };
                    return Self { fields, separator, body, changed: false };
                }
            }
            at = end;
        }
    }

    /// Names and values of the fields, in their order; values as they stand behind the colon, without the CRLF at the end.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().filter(|field| !field.removed).map(|field| (field.name(), field.value()))
    }

    /// The body.
    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    /// Puts a field at the end of the header.
    pub(crate) fn append(&mut self, field: Bytes) {
        self.insert(self.fields.len(), field);
    }

    /// Puts a field before the one with this number, counted from 0; at the end if there are not so many.
    pub(crate) fn insert(&mut self, index: usize, field: Bytes) {
        if let Some(field) = Field::new(field) {
            self.fields.insert(index.min(self.fields.len()), field);
            self.changed = true;
        }
    }

    /// How many fields there are, for places counted from the end.
    pub(crate) fn field_count(&self) -> usize {
        self.fields.len()
    }

    /// Gives the `nth` field of this name, counted from 1, another content, or none. A content for a field that is not there becomes a new one.
    pub(crate) fn change(&mut self, name: &[u8], nth: usize, field: Option<Bytes>) {
        let found = self.fields.iter_mut().filter(|field| field.is(name)).nth(nth.saturating_sub(1));
        match (found, field.and_then(Field::new)) {
            (Some(old), Some(new)) => *old = new,
            (Some(old), None) => old.removed = true,
            (None, Some(new)) => self.fields.push(new),
            (None, None) => return,
        }
        self.changed = true;
    }

    /// Removes all fields of this name, or the `nth` one: counted from 1, or from the end if negative.
    pub(crate) fn remove(&mut self, name: &[u8], nth: i64) {
        let count = self.fields.iter().filter(|field| field.is(name) && !field.removed).count();
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let chosen = if nth < 0 { count + nth } else { nth - 1 };
        let live = self.fields.iter_mut().filter(|field| field.is(name) && !field.removed);
        for (number, field) in (0..).zip(live) {
            if nth == 0 || number == chosen {
                field.removed = true;
                self.changed = true;
            }
        }
    }

    /// Replaces the body; a bare CR or LF in it becomes CRLF, as a message is sent with.
    pub(crate) fn set_body(&mut self, body: &[u8]) {
        self.body = with_crlf(body);
        if self.separator.is_empty() {
            self.separator = Bytes::from_static(b"\r\n");
        }
        self.changed = true;
    }

    /// Forgets fields that were removed, so that those who come next count what is left.
    pub(crate) fn settle(&mut self) {
        self.fields.retain(|field| !field.removed);
    }

    /// The message as it is now; `None` if nothing was changed.
    pub(crate) fn changed(&self) -> Option<Bytes> {
        if !self.changed {
            return None;
        }
        let live = self.fields.iter().filter(|field| !field.removed);
        let header: usize = live.clone().map(|field| field.raw.len() + 2).sum();
        let mut out = BytesMut::with_capacity(header + self.separator.len() + self.body.len());
        for field in live {
            out.extend_from_slice(&field.raw);
            if !field.raw.ends_with(b"\n") {
                out.extend_from_slice(b"\r\n");
            }
        }
        out.extend_from_slice(&self.separator);
        out.extend_from_slice(&self.body);
        Some(out.freeze())
    }
}

/// Where the field or line that begins at `at` ends: after its last line, folded lines included.
fn field_end(message: &[u8], at: usize) -> usize {
    let mut end = at;
    while let Some(newline) = memchr::memchr(b'\n', &message[end..]) {
        let empty = matches!(&message[at..end + newline + 1], b"\r\n" | b"\n");
        end += newline + 1;
        if empty || !matches!(message.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
    message.len()
}

/// A field with its CRLF, from a name and a value that may be folded with CRLF or LF; what would end the field early is folded too. `None` if the
/// name is no name of a field.
pub(crate) fn field(name: &[u8], value: &[u8]) -> Option<Bytes> {
    let fit = |byte: &u8| byte.is_ascii_graphic() && *byte != b':';
    if name.is_empty() || name.len() > MAX_NAME || !name.iter().all(fit) {
        return None;
    }
    let mut out = BytesMut::with_capacity(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b":");
    for (number, line) in lines(value).filter(|line| !line.trim_ascii().is_empty()).enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\r\n");
        }
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            out.extend_from_slice(b" ");
        }
        out.extend(line.iter().filter(|byte| **byte == b'\t' || **byte >= b' ' && **byte != 0x7f));
    }
    out.extend_from_slice(b"\r\n");
    Some(out.freeze())
}

/// The lines of a text, whatever they end in.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.flat_map(|line| line.strip_suffix(b"\r").unwrap_or(line).split(|byte| *byte == b'\r'))
}

fn with_crlf(body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len() + 2);
    let mut rest = body;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(b"\r\n");
        let pair = rest[at..].starts_with(b"\r\n");
        rest = &rest[at + if pair { 2 } else { 1 }..];
    }
    out.extend_from_slice(rest);
    if !out.is_empty() && !out.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.freeze()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAIL: &[u8] = b"Received: a\r\n by b\r\nSubject: One\r\nReceived: c\r\nX: y\r\n\r\nBody\r\n.\r\n";

    fn edited(edit: impl FnOnce(&mut Message)) -> String {
        let mut message = Message::parse(&Bytes::from_static(MAIL));
        edit(&mut message);
        String::from_utf8(message.changed().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn fields_are_put_where_they_are_asked_for() {
        let new = || field(b"New", b"n").unwrap();
        assert!(edited(|m| m.insert(0, new())).starts_with("New: n\r\nReceived: a\r\n by b\r\n"));
        assert!(edited(|m| m.insert(2, new())).contains("Subject: One\r\nNew: n\r\nReceived: c\r\n"));
        assert!(edited(|m| m.append(new())).contains("X: y\r\nNew: n\r\n\r\nBody"));
        assert!(edited(|m| m.insert(99, new())).contains("X: y\r\nNew: n\r\n\r\nBody"));
    }

    #[test]
    fn the_nth_field_of_a_name_is_changed_and_removed() {
        assert!(edited(|m| m.change(b"received", 2, field(b"Received", b"z"))).contains("Received: z\r\nX"));
        assert!(!edited(|m| m.change(b"Received", 1, None)).contains("by b"));
        assert!(
            edited(|m| m.change(b"Subject", 2, field(b"Subject", b"Two"))).contains("X: y\r\nSubject: Two")
        );
        assert!(!edited(|m| m.remove(b"Received", 0)).contains("Received"));
        assert!(edited(|m| m.remove(b"Received", -1)).contains("by b"));
        assert!(!edited(|m| m.remove(b"Received", 1)).contains("by b"));
    }

    #[test]
    fn numbers_stand_still_while_one_scanner_removes() {
        let all_gone = edited(|m| {
            m.change(b"Received", 1, None);
            m.change(b"Received", 2, None);
        });
        assert!(!all_gone.contains("Received"), "{all_gone}");
        let last = edited(|m| {
            m.change(b"Received", 1, None);
            m.settle();
            m.change(b"Received", 1, None);
        });
        assert!(!last.contains("Received"), "{last}");
    }

    #[test]
    fn no_value_ends_a_field_or_the_header() {
        assert_eq!(field(b"X", b"a\r\n\r\nBcc: b\nc\rd\0e").unwrap(), "X: a\r\n Bcc: b\r\n c\r\n de\r\n");
        assert_eq!(field(b"X", b" folded\n\tvalue").unwrap(), "X: folded\r\n\tvalue\r\n");
        assert_eq!(field(b"X: y\r\nZ", b"a"), None);
        assert_eq!(field(b"", b"a"), None);
    }

    #[test]
    fn a_new_body_has_no_bare_line_ends() {
        let new = edited(|m| m.set_body(b"a\nb\rc\r\n\r\n.\nd"));
        assert!(new.ends_with("X: y\r\n\r\na\r\nb\r\nc\r\n\r\n.\r\nd\r\n"), "{new:?}");
    }

    #[test]
    fn a_message_without_header_or_body_stays_one() {
        for (text, wanted) in [
            ("no header here\r\n", "New: n\r\n\r\nno header here\r\n"),
            ("", "New: n\r\n"),
            ("\r\nbody\r\n", "New: n\r\n\r\nbody\r\n"),
            ("A: b\r\nrubbish\r\n", "A: b\r\nNew: n\r\n\r\nrubbish\r\n"),
            ("A: b", "A: b\r\nNew: n\r\n"),
        ] {
            let mut message = Message::parse(&Bytes::from_static(text.as_bytes()));
            assert_eq!(message.changed(), None);
            message.append(field(b"New", b"n").unwrap());
            assert_eq!(message.changed().unwrap(), wanted, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_not_touched_stays_octet_for_octet(octets in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b':'), Just(b' '), any::<u8>()], 0..200)) {
            let octets = [b"A: b\r\n".as_slice(), &octets].concat();
            let mut message = Message::parse(&Bytes::from(octets.clone()));
            message.insert(0, field(b"New", b"n").unwrap());
            let new = message.changed().unwrap();
            let rest: &[u8] = new.strip_prefix(b"New: n\r\n").unwrap();
            let squeezed = |octets: &[u8]| octets.iter().copied().filter(|b| !b"\r\n".contains(b)).collect::<Vec<u8>>();
            prop_assert_eq!(squeezed(rest), squeezed(&octets));
            prop_assert!(rest.len() <= octets.len() + 4);
        }
    }
}
