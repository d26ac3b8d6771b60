//! How strings, names and flags are written so that nothing in them can end a line or start a response.

use std::fmt::{self, Write};

use bytes::BytesMut;

use crate::proto::flag::Flag;
use crate::proto::lexer::is_astring_char;
use crate::proto::mailbox_name::{Encoding, MailboxName};
use crate::proto::mutf7;

/// The longest text that is written as a quoted string; beyond it clients are better served by a literal.
const LONGEST_QUOTED: usize = 1000;

pub(super) fn put_display(out: &mut BytesMut, text: fmt::Arguments<'_>) {
    // Writing to a growing buffer does not fail.
    let _ = out.write_fmt(text);
}

/// Writes the octets of an atom given by the server; what could not be in one becomes `?`.
pub(super) fn put_printable(out: &mut BytesMut, atom: &str) {
    out.extend(atom.bytes().map(|b| if is_astring_char(b) && b != b']' { b } else { b'?' }));
}

/// Writes human-readable text up to the end of the line; control characters become spaces, and what is not
/// ASCII a `?` unless UTF-8 is enabled.
pub(super) fn put_human(out: &mut BytesMut, text: &str, encoding: Encoding) {
    for c in text.chars() {
        match c {
            c if c.is_control() => out.extend_from_slice(b" "),
            c if c.is_ascii() || encoding == Encoding::Utf8 => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => out.extend_from_slice(b"?"),
        }
    }
}

/// Writes `octets` as a quoted string if they can be one, else as a literal. NUL, which neither can have,
/// becomes `?`.
pub(super) fn put_string(out: &mut BytesMut, octets: &[u8], encoding: Encoding) {
    let plain = |b: &u8| !matches!(b, 0 | b'\r' | b'\n' | 0x80..);
    let quotable = octets.len() <= LONGEST_QUOTED
        && (octets.iter().all(plain)
            || encoding == Encoding::Utf8
                && !octets.iter().any(|b| matches!(b, 0 | b'\r' | b'\n'))
                && std::str::from_utf8(octets).is_ok());
    if !quotable {
        put_literal_header(out, octets.len() as u64);
        out.extend(octets.iter().map(|&b| if b == 0 { b'?' } else { b }));
        return;
    }
    out.extend_from_slice(b"\"");
    for &b in octets {
        if matches!(b, b'"' | b'\\') {
            out.extend_from_slice(b"\\");
        }
        out.extend_from_slice(&[b]);
    }
    out.extend_from_slice(b"\"");
}

/// Writes a string, or NIL for none.
pub(super) fn put_nstring(out: &mut BytesMut, octets: Option<&[u8]>, encoding: Encoding) {
    match octets {
        Some(octets) => put_string(out, octets, encoding),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Writes an atom where `octets` are one, else a string. `NIL` is always quoted.
pub(super) fn put_astring(out: &mut BytesMut, octets: &[u8], encoding: Encoding) {
    let atom = !octets.is_empty()
        && octets.iter().all(|&b| is_astring_char(b))
        && !octets.eq_ignore_ascii_case(b"NIL");
    if atom { out.extend_from_slice(octets) } else { put_string(out, octets, encoding) }
}

/// Writes `{n}` and the line end; the caller must write exactly `size` octets next.
pub(super) fn put_literal_header(out: &mut BytesMut, size: u64) {
    put_display(out, format_args!("{{{size}}}\r\n"));
}

/// Writes `~{n}` and the line end (RFC 3516); the caller must write exactly `size` octets next.
pub(super) fn put_literal8_header(out: &mut BytesMut, size: u64) {
    put_display(out, format_args!("~{{{size}}}\r\n"));
}

/// Writes a mailbox name in the session's encoding.
pub(super) fn put_mailbox(out: &mut BytesMut, name: &MailboxName, encoding: Encoding) {
    match encoding {
        Encoding::Utf8 => put_astring(out, name.as_str().as_bytes(), encoding),
        Encoding::ModifiedUtf7 => put_astring(out, mutf7::encode(name.as_str()).as_bytes(), encoding),
    }
}

/// Writes flags in parentheses, with `\*` last if `more` keywords can be made.
pub(super) fn put_flags(out: &mut BytesMut, flags: &[Flag], more: bool) {
    out.extend_from_slice(b"(");
    for (i, flag) in flags.iter().enumerate() {
        out.extend_from_slice(if i > 0 { b" " } else { b"" });
        out.extend_from_slice(flag.as_str().as_bytes());
    }
    if more {
        out.extend_from_slice(if flags.is_empty() { b"\\*" } else { b" \\*" });
    }
    out.extend_from_slice(b")");
}
