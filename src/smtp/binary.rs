//! Messages with BODY=BINARYMIME (RFC 3030 §3), made readable for every client.
//!
//! A part with `Content-Transfer-Encoding: binary` may hold any octets, and IMAP can give them only to clients that know
//! BINARY (RFC 3516); a literal of the base protocol has no NUL, and tools that read lines lose their way in bare CR and LF. So
//! what is stored has lines: such parts are converted to base64, as RFC 3030 §3 asks of a server that passes a message on to
//! somebody who cannot take binary. Parts that have lines stay as they are. Binary octets anywhere else (in a header, between parts, under
//! another encoding) are an error of the sender, and the message is refused.

use ekitei_relay::mime::{Entity, write_base64, write_multipart};

use crate::proto::bdat::ChunkReader;
use crate::proto::data::Defects;

/// Parts within parts that are looked at.
const MAX_DEPTH: usize = 20;

/// The message with all its binary parts in base64; `None` where that does not make it a message of lines of at most
/// `max_line` octets.
pub(crate) fn to_lines(message: &[u8], max_line: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 2);
    write_part(message, max_line, &mut out, 0)?;
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    has_lines(&out, max_line).then_some(out)
}

fn has_lines(octets: &[u8], max_line: usize) -> bool {
    let mut reader = ChunkReader::default();
    reader.feed(octets);
    reader.defects() == Defects::default() && reader.longest_line() <= max_line
}

fn write_part(part: &[u8], max_line: usize, out: &mut Vec<u8>, depth: usize) -> Option<()> {
    let entity = Entity::read(part);
    let body = entity.body(part);
    if has_lines(body, max_line) {
        out.extend_from_slice(part);
        return Some(());
    }
    if depth == MAX_DEPTH {
        return None;
    }
    let media_type = entity.media_type().unwrap_or_default();
    let is_multipart = media_type.starts_with("multipart/");
    match entity.boundary() {
        Some(boundary) if is_multipart => {
            entity.write_header(part, "8bit", "", out);
            write_multipart(body, boundary, out, |part, out| write_part(part, max_line, out, depth + 1))
        }
        _ if matches!(media_type, "message/rfc822" | "message/global") => {
            entity.write_header(part, "8bit", "", out);
            write_part(body, max_line, out, depth + 1)
        }
        _ if entity.encoding() == Some("binary") && !is_multipart => {
            entity.write_header(part, "base64", "", out);
            write_base64(body, out);
            Some(())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    fn multipart(encoding: &str, content: &[u8]) -> Vec<u8> {
        let head = format!(
            "Subject: x\r\nContent-Type: multipart/mixed;\r\n boundary=\"b b\"\r\nContent-Transfer-Encoding: \
             binary\r\n\r\npreamble\r\n--b b\r\n\r\ntext\r\n--b b\r\nContent-Type: image/x\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\r\n"
        );
        [head.as_bytes(), content, b"\r\n--b b--\r\nepilogue\r\n"].concat()
    }

    #[test]
    fn a_binary_part_becomes_base64_and_nothing_else_changes() {
        let converted = to_lines(&multipart("Binary", b"\0\n\r\xff--b b"), 1000).unwrap();
        assert_eq!(
            String::from_utf8(converted).unwrap(),
            "Subject: x\r\nContent-Type: multipart/mixed;\r\n boundary=\"b b\"\r\nContent-Transfer-Encoding: \
             8bit\r\n\r\npreamble\r\n--b b\r\n\r\ntext\r\n--b b\r\nContent-Type: image/x\r\n\
             Content-Transfer-Encoding: base64\r\n\r\nAAoN/y0tYiBi\r\n--b b--\r\nepilogue\r\n"
        );
        let lines = multipart("binary", b"it\r\nhas lines");
        assert_eq!(to_lines(&lines, 1000).unwrap(), lines);
    }

    #[test]
    fn parts_are_found_in_embedded_messages() {
        let inner = multipart("binary", b"\n");
        let message = [b"Content-Type: message/rfc822\r\n\r\n".as_slice(), &inner].concat();
        let converted = String::from_utf8(to_lines(&message, 1000).unwrap()).unwrap();
        assert!(converted.contains("base64\r\n\r\nCg==\r\n--b b--"), "{converted}");
    }

    #[test]
    fn binary_octets_elsewhere_are_refused() {
        assert_eq!(to_lines(&multipart("8bit", b"\n"), 1000), None);
        assert_eq!(to_lines(b"Subject: a\nb\r\n\r\ntext\r\n", 1000), None);
        assert_eq!(to_lines(b"Subject: x\r\n\r\na\nb\r\n", 1000), None);
        let preamble = multipart("binary", b"\n");
        let preamble = String::from_utf8(preamble).unwrap().replace("preamble", "pre\namble");
        assert_eq!(to_lines(preamble.as_bytes(), 1000), None);
        let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(10_000) + "\n";
        assert_eq!(to_lines(nested.as_bytes(), 1000), None, "nesting is bounded");
    }

    proptest! {
        #[test]
        fn the_content_of_a_part_survives(content in proptest::collection::vec(any::<u8>(), 0..300)) {
            let message = [b"Content-Transfer-Encoding: binary\r\n\r\n".as_slice(), &content].concat();
            let converted = to_lines(&message, 998).unwrap();
            prop_assert!(has_lines(&converted, 998));
            if !has_lines(&content, 998) {
                let (_, body) = std::str::from_utf8(&converted).unwrap().split_once("\r\n\r\n").unwrap();
                prop_assert_eq!(STANDARD.decode(body.replace("\r\n", "")).unwrap(), content);
            }
        }

        #[test]
        fn any_octets_are_read_without_panic(message in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = to_lines(&message, 998);
        }

        #[test]
        fn anything_between_boundaries_is_read_without_panic(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "--b", "--b--", "\r\n", "\n", " ", "a:b", "Content-Type: multipart/x; boundary=b",
                    "Content-Transfer-Encoding: binary",
                ]),
                0..20,
            ),
        ) {
            let message = format!("Content-Type: multipart/x; boundary=b\r\n\r\n{}", pieces.concat());
            if let Some(converted) = to_lines(message.as_bytes(), 998) {
                prop_assert!(has_lines(&converted, 998));
            }
        }
    }
}
