//! The message in the form that a server can take: what it announces decides about 8-bit octets, SMTPUTF8, and whether the message is too large.

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::downgrade;
use crate::envelope::{BodyType, Envelope};
use crate::outcome::{Failure, FailureKind};
use crate::proto::capabilities::Capabilities;
use crate::proto::data;
use crate::proto::status::Status;
use bytes::Bytes;

/// A message, and what was found out about it when a server could not take it as it is.
pub(crate) struct Content {
    pieces: Vec<Bytes>,
    is_ascii: OnceLock<bool>,
    /// In 7-bit octets; `None` if it cannot be had.
    seven_bit: OnceLock<Option<Vec<Bytes>>>,
}

/// The message for one server.
pub(crate) struct Outgoing<'a> {
    /// To be written one after the other.
    pub(crate) pieces: &'a [Bytes],
    /// Octets of all pieces.
    pub(crate) size: u64,
    /// MAIL says `BODY=8BITMIME`.
    pub(crate) eight_bit: bool,
}

impl Content {
    /// A message in pieces. Lines end with CRLF, the last one too: if it does not, it is given one.
    pub(crate) fn new(mut pieces: Vec<Bytes>) -> Self {
        pieces.retain(|piece| !piece.is_empty());
        let mut last = pieces.iter().rev().flat_map(|piece| piece.iter().rev());
        if !pieces.is_empty() && (last.next(), last.next()) != (Some(&b'\n'), Some(&b'\r')) {
            pieces.push(Bytes::from_static(b"\r\n"));
        }
        Self { pieces, is_ascii: OnceLock::new(), seven_bit: OnceLock::new() }
    }

    /// The message as the server can take it.
    ///
    /// # Errors
    /// Of kind `Message` and class 5: it cannot take the message in any form.
    pub(crate) fn for_server(
        &self,
        envelope: &Envelope,
        server: &Capabilities,
    ) -> Result<Outgoing<'_>, Failure> {
        let refuse = |status, text: &str| Err(Failure::new(FailureKind::Message, status, text));
        if envelope.smtputf8 && !server.smtputf8 && !self.header_is_ascii() {
            return refuse(
                Status(5, 6, 7),
                "the message has UTF-8 in its header, and the server does not offer SMTPUTF8",
            );
        }
        let mut pieces = &self.pieces;
        if !server.eight_bit_mime && !self.is_ascii() {
            match self.seven_bit() {
                Some(converted) => pieces = converted,
                None => {
                    return refuse(
                        Status(5, 6, 3),
                        "the message has 8-bit octets, and the server does not offer 8BITMIME",
                    );
                }
            }
        }
        let size = data::size(pieces);
        if let Some(max) = server.max_size.filter(|&max| size > max) {
            return refuse(
                Status(5, 3, 4),
                &format!("the message has {size} octets, and the server takes {max}"),
            );
        }
        let eight_bit =
            server.eight_bit_mime && (envelope.body == BodyType::EightBitMime || !self.is_ascii());
        Ok(Outgoing { pieces, size, eight_bit })
    }

    fn is_ascii(&self) -> bool {
        *self.is_ascii.get_or_init(|| self.pieces.iter().all(|piece| piece.is_ascii()))
    }

    fn seven_bit(&self) -> Option<&Vec<Bytes>> {
        let converted = || downgrade::to_seven_bit(&self.pieces.concat()).map(|message| vec![message.into()]);
        self.seven_bit.get_or_init(converted).as_ref()
    }

    /// Whether the header says `TLS-Required: No`.
    pub(crate) fn waives_tls(&self) -> bool {
        waives_tls(&self.pieces)
    }

    fn header_is_ascii(&self) -> bool {
        header(&self.pieces).all(|octet| octet.is_ascii())
    }
}

/// Whether the header of a message in pieces says `TLS-Required: No` (RFC 8689 §3). REQUIRETLS outweighs that.
pub fn waives_tls(pieces: &[Bytes]) -> bool {
    let header: Vec<u8> = header(pieces).collect();
    header.split(|&octet| octet == b'\n').any(|line| {
        let mut halves = line.splitn(2, |&octet| octet == b':').map(<[u8]>::trim_ascii);
        let (name, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
        name.eq_ignore_ascii_case(b"TLS-Required") && value.eq_ignore_ascii_case(b"No")
    })
}

/// The octets of the header, and the empty line behind it.
fn header(pieces: &[Bytes]) -> impl Iterator<Item = u8> {
    const END: &[u8] = b"\r\n\r\n";
    // An empty header ends with the first line end.
    let mut matched = 2;
    pieces.iter().flatten().copied().map_while(move |octet| {
        if matched == END.len() {
            return None;
        }
        matched = if octet == END[matched] { matched + 1 } else { usize::from(octet == b'\r') };
        Some(octet)
    })
}

/// An address for a server that takes SMTPUTF8 or does not; `None` if it cannot be written for it: there are A-labels for domains (RFC 5890 §2.3.2.1), and nothing for
/// local parts.
pub(crate) fn address(address: &str, smtputf8: bool) -> Option<Cow<'_, str>> {
    if smtputf8 || address.is_ascii() {
        return Some(Cow::Borrowed(address));
    }
    let (local, domain) = address.rsplit_once('@')?;
    let domain = idna::domain_to_ascii(domain).ok()?;
    local.is_ascii().then(|| Cow::Owned(format!("{local}@{domain}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn content(pieces: &[&'static str]) -> Content {
        Content::new(pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect())
    }

    fn modern() -> Capabilities {
        Capabilities { eight_bit_mime: true, smtputf8: true, ..Capabilities::default() }
    }

    fn utf8() -> Envelope {
        Envelope { smtputf8: true, body: BodyType::EightBitMime, ..Envelope::default() }
    }

    fn status(content: &Content, envelope: &Envelope, server: &Capabilities) -> Option<Status> {
        content.for_server(envelope, server).err().map(|failure| failure.status)
    }

    #[test]
    fn a_header_in_utf8_needs_a_server_that_takes_it() {
        let header = content(&["Subject: \u{e9}\r\n", "\r\nbody\r\n"]);
        let body = content(&["Subject: x\r", "\n\r\n\u{e9}\r\n"]);
        let plain = Capabilities { eight_bit_mime: true, ..Capabilities::default() };
        assert_eq!(status(&header, &utf8(), &modern()), None);
        assert_eq!(status(&header, &utf8(), &plain), Some(Status(5, 6, 7)));
        assert_eq!(status(&body, &utf8(), &plain), None, "an address alone may be downgraded");
    }

    #[test]
    fn only_the_header_says_that_tls_does_not_matter() {
        assert!(content(&["Subject: x\r\ntls-requ", "ired:  NO \r\n\r\nbody\r\n"]).waives_tls());
        for other in ["TLS-Required: Yes\r\n\r\n", "X-TLS-Required: No\r\n\r\n", "\r\nTLS-Required: No\r\n"] {
            assert!(!content(&[other]).waives_tls(), "{other:?}");
        }
    }

    #[test]
    fn no_server_gets_8_bit_octets_that_it_does_not_take() {
        let message = content(&["Subject: x\r\n\r\n\u{e9}\r\n"]);
        let eight = Envelope { body: BodyType::EightBitMime, ..Envelope::default() };
        assert!(message.for_server(&eight, &modern()).unwrap().eight_bit);
        assert!(
            message.for_server(&Envelope::default(), &modern()).unwrap().eight_bit,
            "though nobody said so"
        );
        let old = Capabilities::default();
        let converted = message.for_server(&eight, &old).unwrap();
        assert!(!converted.eight_bit && converted.pieces.concat().is_ascii());
        assert_eq!(converted.size, converted.pieces.concat().len() as u64);
        let header = content(&["Subject: \u{e9}\r\n\r\n"]);
        assert_eq!(status(&header, &Envelope::default(), &old), Some(Status(5, 6, 3)));
    }

    #[test]
    fn a_message_over_the_announced_size_is_refused_here() {
        let message = content(&["a\r\n", "b"]);
        let server = |max_size| Capabilities { size: true, max_size, ..modern() };
        assert_eq!(
            message.for_server(&Envelope::default(), &server(Some(6))).unwrap().size,
            6,
            "with the CRLF it lacked"
        );
        assert_eq!(status(&message, &Envelope::default(), &server(Some(5))), Some(Status(5, 3, 4)));
        assert_eq!(status(&message, &Envelope::default(), &server(None)), None);
    }

    #[test]
    fn domains_have_an_ascii_form_and_local_parts_have_none() {
        assert_eq!(address("a@b\u{fc}cher.example", false).unwrap(), "a@xn--bcher-kva.example");
        assert_eq!(address("a@b\u{fc}cher.example", true).unwrap(), "a@b\u{fc}cher.example");
        assert_eq!(address("\u{fc}@example.org", false), None);
        assert_eq!(address("A@EXAMPLE.org", false).unwrap(), "A@EXAMPLE.org", "what is ASCII stays as it is");
    }
}
