//! 8-bit MIME parts as quoted-printable or base64, for servers that do not offer 8BITMIME (RFC 6152 §3).
//!
//! Only leaf parts that declare no encoding of their own change: text becomes quoted-printable, anything else base64. What is signed or encrypted as a whole (RFC 1847 wants it in
//! 7 bits in the first place) is not touched, nor are headers; a message that has 8-bit octets there cannot be sent. A DKIM signature over the body does not survive,
//! as with other mail servers: a message that is read unsigned is better than one that is returned.

use crate::mime::{Entity, write_base64, write_multipart};

/// Parts within parts that are looked at.
const MAX_DEPTH: usize = 20;
/// Characters on a line of quoted-printable, without the soft line break (RFC 2045 §6.7).
const QUOTED_LINE: usize = 75;

/// The message without octets over 127; `None` if that cannot be had.
pub(crate) fn to_seven_bit(message: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 2);
    write_part(message, &mut out, 0)?;
    out.is_ascii().then_some(out)
}

fn write_part(part: &[u8], out: &mut Vec<u8>, depth: usize) -> Option<()> {
    if part.is_ascii() {
        out.extend_from_slice(part);
        return Some(());
    }
    let entity = Entity::read(part);
    // Whether the body is what it is, without an encoding.
    let is_plain = matches!(entity.encoding(), None | Some("7bit" | "8bit" | "binary"));
    if depth == MAX_DEPTH || !entity.header(part).is_ascii() || !is_plain {
        return None;
    }
    let body = entity.body(part);
    let missing = missing(&entity, depth == 0);
    match entity.media_type().unwrap_or("text/plain") {
        "multipart/signed" | "multipart/encrypted" => None,
        kind if kind.starts_with("multipart/") => {
            entity.write_header(part, "7bit", &missing, out);
            write_multipart(body, entity.boundary()?, out, |part, out| write_part(part, out, depth + 1))
        }
        "message/rfc822" => {
            entity.write_header(part, "7bit", &missing, out);
            write_part(body, out, depth + 1)
        }
        // They may not be encoded (RFC 2046 §5.2), and have no parts that may.
        kind if kind.starts_with("message/") => None,
        kind if kind.starts_with("text/") => {
            entity.write_header(part, "quoted-printable", &missing, out);
            write_quoted(body, out);
            Some(())
        }
        _ => {
            entity.write_header(part, "base64", &missing, out);
            write_base64(body, out);
            // What follows the part begins on a line of its own: that CRLF belongs to the boundary, or is written here for the end of the message.
            if body.ends_with(b"\r\n") {
                out.extend_from_slice(b"\r\n");
            }
            Some(())
        }
    }
}

/// The fields that MIME wants of a header besides (RFC 1428 §3); a part of a message needs no MIME-Version.
fn missing(entity: &Entity, is_message: bool) -> String {
    let mut fields = String::new();
    if is_message && !entity.has_mime_version() {
        fields.push_str("MIME-Version: 1.0\r\n");
    }
    if entity.media_type().is_none() {
        fields.push_str("Content-Type: text/plain; charset=unknown-8bit\r\n");
    }
    fields
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
