//! Parts of a message that are written anew with another encoding (RFC 2045, RFC 2046): what the header of a part says, and the frames around parts.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::{memchr, memmem};

/// Octets on a line of base64 (76 characters, RFC 2045 §6.8).
const BASE64_LINE: usize = 57;

/// What the header of a part says of its body.
#[derive(Debug, Default)]
pub struct Entity {
    /// Octets of the header, without the empty line.
    length: usize,
    has_mime_version: bool,
    media_type: Option<String>,
    boundary: Option<String>,
    /// Where the Content-Transfer-Encoding field is, and what it says.
    encoding: Option<(Range<usize>, String)>,
}

impl Entity {
    /// Reads the header of a part.
    pub fn read(part: &[u8]) -> Self {
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

    /// Its octets in the part that was read.
    pub fn header<'a>(&self, part: &'a [u8]) -> &'a [u8] {
        &part[..self.length]
    }

    /// What follows the header in the part that was read.
    pub fn body<'a>(&self, part: &'a [u8]) -> &'a [u8] {
        part.get(self.length + 2..).unwrap_or_default()
    }

    /// The media type in lower case, if there is one.
    pub fn media_type(&self) -> Option<&str> {
        self.media_type.as_deref()
    }

    /// The boundary between its parts.
    pub fn boundary(&self) -> Option<&str> {
        self.boundary.as_deref()
    }

    /// Whether the header has MIME-Version.
    pub fn has_mime_version(&self) -> bool {
        self.has_mime_version
    }

    /// The transfer encoding in lower case, if there is one.
    pub fn encoding(&self) -> Option<&str> {
        self.encoding.as_ref().map(|(_, encoding)| encoding.as_str())
    }

    /// Writes the header of `part` with another encoding, and with `more` fields, each with its CRLF; and the empty line.
    pub fn write_header(&self, part: &[u8], encoding: &str, more: &str, out: &mut Vec<u8>) {
        let replaced = self.encoding.as_ref().map_or(self.length..self.length, |(range, _)| range.clone());
        out.extend_from_slice(&part[..replaced.start]);
        out.extend_from_slice(format!("Content-Transfer-Encoding: {encoding}\r\n").as_bytes());
        out.extend_from_slice(&part[replaced.end..self.length]);
        out.extend_from_slice(more.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Where the field that begins at `start` ends: after the last line that continues it.
pub fn field_end(message: &[u8], start: usize) -> usize {
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
    // A boundary has no semicolon (RFC 2046 §5.1.1), so its quotes need no care in splitting.
    let boundary = pieces.find_map(|piece| {
        let (name, value) = piece.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (name.trim().eq_ignore_ascii_case("boundary") && !value.is_empty()).then(|| value.to_owned())
    });
    (media_type, boundary)
}

/// Writes lines of base64, without the last CRLF: it belongs to the boundary that follows.
pub fn write_base64(body: &[u8], out: &mut Vec<u8>) {
    for (index, line) in body.chunks(BASE64_LINE).enumerate() {
        if index > 0 {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(STANDARD.encode(line).as_bytes());
    }
}

/// Writes the body of a multipart with each of its parts as `write_part` writes it; `None` if that does not know how.
pub fn write_multipart(
    body: &[u8],
    boundary: &str,
    out: &mut Vec<u8>,
    mut write_part: impl FnMut(&[u8], &mut Vec<u8>) -> Option<()>,
) -> Option<()> {
    let mut at = 0;
    let mut in_part = false;
    while let Some(delimiter) = next_delimiter(body, boundary, at) {
        let before = &body[at..delimiter.line.start];
        match before.strip_suffix(b"\r\n") {
            Some(part) if in_part => {
                write_part(part, out)?;
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
        return write_part(&body[at..], out);
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
