//! 8-bit MIME parts as quoted-printable or base64, for servers that do not offer 8BITMIME (RFC 6152 §3).
//!
//! Only leaf parts that declare no encoding of their own change: text becomes quoted-printable, anything else base64. What is signed or encrypted as a whole (RFC 1847 wants it in
//! 7 bits in the first place) is not touched, nor are headers; a message that has 8-bit octets there cannot be sent. A DKIM signature over the body does not survive,
//! as with other mail servers: a message that is read unsigned is better than one that is returned.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::{memchr, memmem};

/// Parts within parts that are looked at.
const MAX_DEPTH: usize = 20;
/// Octets on a line of base64 (76 characters, RFC 2045 §6.8).
const BASE64_LINE: usize = 57;
/// Characters on a line of quoted-printable, without the soft line break (RFC 2045 §6.7).
const QUOTED_LINE: usize = 75;

/// The message without octets over 127; `None` if that cannot be had.
pub(crate) fn to_seven_bit(message: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 2);
    write_part(message, &mut out, 0)?;
    out.is_ascii().then_some(out)
}

/// What the header of a part says of its body.
#[derive(Debug, Default)]
struct Entity {
    /// Octets of the header, without the empty line.
    length: usize,
    has_mime_version: bool,
    media_type: Option<String>,
    boundary: Option<String>,
    /// Where the Content-Transfer-Encoding field is, and what it says.
    encoding: Option<(Range<usize>, String)>,
}

impl Entity {
    fn read(part: &[u8]) -> Self {
        let mut entity = Self::default();
        let mut at = 0;
        while at < part.len() && !part[at..].starts_with(b"\r\n") {
            let end = field_end(part, at);
            let field = String::from_utf8_lossy(&part[at..end]);
            if let Some((name, value)) = field.split_once(':') {
                let name = name.trim_end();
                if name.eq_ignore_ascii_case("Content-Type") {
                    let (media_type, boundary) = media_type(value);
                    (entity.media_type, entity.boundary) = (Some(media_type), boundary);
                } else if name.eq_ignore_ascii_case("Content-Transfer-Encoding") {
                    entity.encoding = Some((at..end, value.trim().to_ascii_lowercase()));
                } else if name.eq_ignore_ascii_case("MIME-Version") {
                    entity.has_mime_version = true;
                }
            }
            at = end;
        }
        entity.length = at;
        entity
    }

    /// Whether the body is what it is, without an encoding.
    fn is_plain(&self) -> bool {
        self.encoding
            .as_ref()
            .is_none_or(|(_, encoding)| matches!(encoding.as_str(), "7bit" | "8bit" | "binary"))
    }

    /// The header with another encoding, and the empty line. `message` is the whole message: it gets what MIME lacks (RFC 1428 §3).
    fn write_header(&self, part: &[u8], encoding: &str, is_message: bool, out: &mut Vec<u8>) {
        let field = format!("Content-Transfer-Encoding: {encoding}\r\n");
        match &self.encoding {
            Some((range, _)) => {
                out.extend_from_slice(&part[..range.start]);
                out.extend_from_slice(field.as_bytes());
                out.extend_from_slice(&part[range.end..self.length]);
            }
            None => {
                out.extend_from_slice(&part[..self.length]);
                out.extend_from_slice(field.as_bytes());
            }
        }
        if is_message && !self.has_mime_version {
            out.extend_from_slice(b"MIME-Version: 1.0\r\n");
        }
        if self.media_type.is_none() {
            out.extend_from_slice(b"Content-Type: text/plain; charset=unknown-8bit\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Where the field that begins at `start` ends: after the last line that continues it.
fn field_end(message: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        let Some(lf) = memchr(b'\n', &message[at..]) else { return message.len() };
        at += lf + 1;
        if !matches!(message.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
}

/// The type in lower case, and the boundary, of a Content-Type field's value.
fn media_type(value: &str) -> (String, Option<String>) {
    let mut pieces = value.split(';');
    let media_type = pieces.next().unwrap_or_default().trim().to_ascii_lowercase();
    let boundary = pieces.find_map(|piece| {
        let (name, value) = piece.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (name.trim().eq_ignore_ascii_case("boundary") && !value.is_empty()).then(|| value.to_owned())
    });
    (media_type, boundary)
}

fn write_part(part: &[u8], out: &mut Vec<u8>, depth: usize) -> Option<()> {
    if part.is_ascii() {
        out.extend_from_slice(part);
        return Some(());
    }
    let entity = Entity::read(part);
    if depth == MAX_DEPTH || !part[..entity.length].is_ascii() || !entity.is_plain() {
        return None;
    }
    let body = part.get(entity.length + 2..).unwrap_or_default();
    let is_message = depth == 0;
    match entity.media_type.as_deref().unwrap_or("text/plain") {
        "multipart/signed" | "multipart/encrypted" => None,
        kind if kind.starts_with("multipart/") => {
            entity.write_header(part, "7bit", is_message, out);
            write_multipart(body, entity.boundary.as_deref()?, out, depth + 1)
        }
        "message/rfc822" => {
            entity.write_header(part, "7bit", is_message, out);
            write_part(body, out, depth + 1)
        }
        // They may not be encoded (RFC 2046 §5.2), and have no parts that may.
        kind if kind.starts_with("message/") => None,
        kind if kind.starts_with("text/") => {
            entity.write_header(part, "quoted-printable", is_message, out);
            write_quoted(body, out);
            Some(())
        }
        _ => {
            entity.write_header(part, "base64", is_message, out);
            write_base64(body, out);
            Some(())
        }
    }
}

/// Lines of base64. What follows the part begins on a line of its own: that CRLF belongs to the boundary, or is written here for the end of the message.
fn write_base64(body: &[u8], out: &mut Vec<u8>) {
    for (index, line) in body.chunks(BASE64_LINE).enumerate() {
        if index > 0 {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(STANDARD.encode(line).as_bytes());
    }
    if body.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
}

/// Quoted-printable (RFC 2045 §6.7): line ends stay.
fn write_quoted(body: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    for (at, &octet) in body.iter().enumerate() {
        let rest = &body[at + 1..];
        let is_line_end = (octet == b'\r' && rest.first() == Some(&b'\n'))
            || (octet == b'\n' && at > 0 && body[at - 1] == b'\r');
        if is_line_end {
            out.push(octet);
            column = 0;
            continue;
        }
        let ends_line = rest.is_empty() || rest.starts_with(b"\r\n");
        let stays = match octet {
            b' ' | b'\t' => !ends_line,
            // A dot or "From " at the start of a line is what transports change.
            b'.' | b'F' => column > 0,
            b'=' => false,
            _ => octet.is_ascii_graphic(),
        };
        let width = if stays { 1 } else { 3 };
        if column + width > QUOTED_LINE {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if stays {
            out.push(octet);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.extend_from_slice(&[b'=', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]);
        }
        column += width;
    }
}

fn write_multipart(body: &[u8], boundary: &str, out: &mut Vec<u8>, depth: usize) -> Option<()> {
    let mut at = 0;
    let mut in_part = false;
    while let Some(delimiter) = next_delimiter(body, boundary, at) {
        let before = &body[at..delimiter.line.start];
        match before.strip_suffix(b"\r\n") {
            Some(part) if in_part => {
                write_part(part, out, depth)?;
                out.extend_from_slice(b"\r\n");
            }
            _ => out.extend_from_slice(before),
        }
        at = delimiter.line.end;
        out.extend_from_slice(&body[delimiter.line]);
        in_part = !delimiter.closes;
        if delimiter.closes {
            break;
        }
    }
    if in_part {
        return write_part(&body[at..], out, depth);
    }
    out.extend_from_slice(&body[at..]);
    Some(())
}

/// A boundary delimiter line (RFC 2046 §5.1.1), without the CRLF before it.
struct Delimiter {
    line: Range<usize>,
    closes: bool,
}

fn next_delimiter(body: &[u8], boundary: &str, from: usize) -> Option<Delimiter> {
    let dashed = format!("--{boundary}");
    memmem::find_iter(&body[from..], dashed.as_bytes()).find_map(|found| {
        let start = from + found;
        if start > 0 && !body[..start].ends_with(b"\r\n") {
            return None;
        }
        let rest = &body[start + dashed.len()..];
        let (rest, closes) = rest.strip_prefix(b"--").map_or((rest, false), |rest| (rest, true));
        let padding = rest.iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
        let after = &rest[padding..];
        let line_end = if after.starts_with(b"\r\n") { 2 } else { 0 };
        (line_end == 2 || after.is_empty())
            .then(|| Delimiter { line: start..body.len() - after.len() + line_end, closes })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn converted(message: &str) -> Option<String> {
        to_seven_bit(message.as_bytes()).map(|octets| String::from_utf8(octets).unwrap())
    }

    fn unquote(text: &str) -> Vec<u8> {
        let text = text.replace("=\r\n", "");
        let mut octets = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((&octet, after)) = rest.split_first() {
            rest = after;
            if octet == b'=' {
                octets.push(u8::from_str_radix(std::str::from_utf8(&rest[..2]).unwrap(), 16).unwrap());
                rest = &rest[2..];
            } else {
                octets.push(octet);
            }
        }
        octets
    }

    #[test]
    fn text_becomes_quoted_printable_and_other_parts_base64() {
        let message = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
             --b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n.caf\u{e9} = 1 \r\n--b\r\n\
             Content-Type: image/x\r\n\r\n\u{e9}\r\n--b\r\n\r\nascii\r\n--b--\r\n";
        assert_eq!(
            converted(message).unwrap(),
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\nContent-Transfer-Encoding: 7bit\r\n\r\n\
             --b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
             =2Ecaf=C3=A9 =3D 1=20\r\n--b\r\nContent-Type: image/x\r\nContent-Transfer-Encoding: base64\r\n\r\nw6k=\r\n--b\r\n\r\n\
             ascii\r\n--b--\r\n"
        );
    }

    #[test]
    fn mail_from_before_mime_gets_its_fields() {
        assert_eq!(
            converted("Subject: x\r\n\r\n\u{e9}\r\n").unwrap(),
            "Subject: x\r\nContent-Transfer-Encoding: quoted-printable\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=unknown-8bit\r\n\r\n=C3=A9\r\n"
        );
    }

    #[test]
    fn embedded_messages_are_converted_inside() {
        let message = "Content-Type: message/rfc822\r\n\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n\u{e9}\r\n";
        assert!(converted(message).unwrap().ends_with("quoted-printable\r\n\r\n=C3=A9\r\n"));
    }

    #[test]
    fn what_may_not_change_is_not_sent() {
        for message in [
            "Subject: \u{e9}\r\n\r\nx\r\n",
            "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\u{e9}\r\n--b--\r\n",
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n\u{e9}\r\n--b\r\n\r\n--b--\r\n",
            "Content-Type: multipart/mixed\r\n\r\n\u{e9}\r\n",
            "Content-Type: message/partial\r\n\r\n\u{e9}\r\n",
            "Content-Transfer-Encoding: base64\r\n\r\n\u{e9}\r\n",
        ] {
            assert_eq!(converted(message), None, "{message}");
        }
        let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(10_000) + "\u{e9}";
        assert_eq!(converted(&nested), None, "nesting is bounded");
    }

    proptest! {
        #[test]
        fn text_survives(body in "([ -~é\t]{0,90}(\r\n)?){0,4}") {
            let message = format!("Content-Type: text/plain\r\n\r\n{body}");
            let found = converted(&message).unwrap();
            prop_assert!(found.is_ascii());
            if !body.is_ascii() {
                let (_, quoted) = found.split_once("\r\n\r\n").unwrap();
                prop_assert!(quoted.split("\r\n").all(|line| line.len() <= 76));
                prop_assert_eq!(unquote(quoted), body.into_bytes());
            }
        }

        #[test]
        fn anything_is_read_without_panic(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "--b", "--b--", "\r\n", "\n", "\r", " ", "a:b", "é", "Content-Type: multipart/x; boundary=b",
                    "Content-Type: message/rfc822", "Content-Transfer-Encoding: 8bit",
                ]),
                0..25,
            ),
        ) {
            let message = format!("Content-Type: multipart/x; boundary=b\r\n\r\n{}", pieces.concat());
            if let Some(found) = converted(&message) {
                prop_assert!(found.is_ascii());
            }
        }
    }
}
