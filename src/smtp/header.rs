//! What the header of a message says that matters on its way: one pass over the fields (RFC 5322 §2.2).

use std::ops::Range;

use ekitei_relay::mime::field_end;
use memchr::memchr;

/// What was found in the header.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// Octets of the header, without the empty line that ends it.
    pub(crate) length: usize,
    /// Received fields: how many hosts the message has passed.
    pub(crate) hops: u32,
    /// Where Return-Path fields are.
    pub(crate) return_path: Vec<Range<usize>>,
    /// Where Bcc and Resent-Bcc fields are.
    pub(crate) bcc: Vec<Range<usize>>,
    /// The values of Delivered-To fields.
    pub(crate) delivered_to: Vec<Range<usize>>,
    /// From fields.
    pub(crate) from_fields: u32,
    /// Sender fields.
    pub(crate) sender_fields: u32,
    /// There is a Date field.
    pub(crate) has_date: bool,
    /// There is a Message-ID field.
    pub(crate) has_message_id: bool,
    /// It has text outside of ASCII that is UTF-8 (RFC 6532). Older 8-bit text is neither ASCII nor UTF-8.
    pub(crate) has_utf8: bool,
    /// The message begins with something that is no field: it is all body.
    pub(crate) missing: bool,
}

impl Header {
    /// Reads the header of a message of CRLF lines.
    pub(crate) fn scan(message: &[u8]) -> Self {
        let mut header = Self { missing: !begins_with_field(message), ..Self::default() };
        if header.missing {
            return header;
        }
        let mut at = 0;
        while at < message.len() && !message[at..].starts_with(b"\r\n") {
            let end = field_end(message, at);
            header.note(message, at..end);
            at = end;
        }
        header.length = at;
        let octets = &message[..at];
        header.has_utf8 = !octets.is_ascii() && std::str::from_utf8(octets).is_ok();
        header
    }

    fn note(&mut self, message: &[u8], field: Range<usize>) {
        let octets = &message[field.clone()];
        let Some(colon) = memchr(b':', octets) else { return };
        let name = octets[..colon].trim_ascii_end();
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("Received") {
            self.hops = self.hops.saturating_add(1);
        } else if is("Return-Path") {
            self.return_path.push(field);
        } else if is("Bcc") || is("Resent-Bcc") {
            self.bcc.push(field);
        } else if is("Delivered-To") {
            self.delivered_to.push(field.start + colon + 1..field.end);
        } else if is("From") {
            self.from_fields += 1;
        } else if is("Sender") {
            self.sender_fields += 1;
        } else if is("Date") {
            self.has_date = true;
        } else if is("Message-ID") {
            self.has_message_id = true;
        }
    }
}

/// Whether the first line is a field, or the line that begins a message in an mbox. An empty header is one, too.
fn begins_with_field(message: &[u8]) -> bool {
    if message.is_empty() || message.starts_with(b"\r\n") || message.starts_with(b"From ") {
        return true;
    }
    let line = memchr(b'\r', message).map_or(message, |end| &message[..end]);
    let Some(colon) = memchr(b':', line) else { return false };
    let name = line[..colon].trim_ascii_end();
    !name.is_empty() && name.iter().all(|c| c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_found_with_their_continuations() {
        let message = b"Received: a\r\n\tb\r\nreturn-path: <x>\r\nBCC: c,\r\n d\r\nDelivered-To: e\r\nFrom: f\r\n\r\nBcc: g\r\n";
        let header = Header::scan(message);
        let text = |range: &Range<usize>| String::from_utf8_lossy(&message[range.clone()]).into_owned();
        assert_eq!(header.hops, 1);
        assert_eq!(header.return_path.iter().map(text).collect::<Vec<_>>(), ["return-path: <x>\r\n"]);
        assert_eq!(header.bcc.iter().map(text).collect::<Vec<_>>(), ["BCC: c,\r\n d\r\n"]);
        assert_eq!(header.delivered_to.iter().map(text).collect::<Vec<_>>(), [" e\r\n"]);
        assert!(message[header.length..].starts_with(b"\r\nBcc: g"));
        assert_eq!((header.from_fields, header.has_date, header.has_message_id), (1, false, false));
    }

    #[test]
    fn only_utf8_counts_as_utf8() {
        assert!(Header::scan("Subject: 駅\r\n\r\n".as_bytes()).has_utf8);
        assert!(!Header::scan(b"Subject: \xe9t\xe9\r\n\r\n").has_utf8);
        assert!(!Header::scan("Subject: a\r\n\r\n駅".as_bytes()).has_utf8, "the body is not the header");
    }

    #[test]
    fn a_message_may_have_no_header() {
        assert!(Header::scan(b"hello\r\n\r\nA: b\r\n").missing);
        assert!(!Header::scan(b"\r\nhello\r\n").missing);
        assert!(!Header::scan(b"").missing);
        assert!(!Header::scan(b"From a@b Thu\r\nSubject: x\r\n\r\n").missing);
    }

    proptest! {
        #[test]
        fn any_octets_are_scanned(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            let header = Header::scan(&message);
            prop_assert!(header.length <= message.len());
        }
    }
}
