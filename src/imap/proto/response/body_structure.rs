//! The structure of a message as FETCH BODY and BODYSTRUCTURE write it (RFC 9051 §7.5.2).

use bytes::BytesMut;

use super::envelope::{Envelope, Text, put_envelope};
use super::text::{put_display, put_nstring, put_string};
use crate::proto::mailbox_name::Encoding;

/// Names with their values, in the message's order.
pub type Parameters<'a> = Vec<(Text<'a>, Text<'a>)>;

/// A message's body or one part of it. Nesting is as deep as the caller makes it, and writing recurses:
/// what is stored must have been parsed with a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyStructure<'a> {
    /// What kind of part it is.
    pub kind: BodyKind<'a>,
    /// The parameters of its Content-Type.
    pub parameters: Parameters<'a>,
    /// `Content-Disposition`
    pub disposition: Option<Disposition<'a>>,
    /// `Content-Language`
    pub language: Vec<Text<'a>>,
    /// `Content-Location`
    pub location: Option<Text<'a>>,
}

/// The kinds of part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyKind<'a> {
    /// `multipart/...`
    Multipart {
        /// The subtype.
        subtype: Text<'a>,
        /// The parts. IMAP has no form for none: an empty multipart is written with one empty text part.
        parts: Vec<BodyStructure<'a>>,
    },
    /// `text/...`
    Text {
        /// The subtype.
        subtype: Text<'a>,
        /// Fields of every single part.
        fields: SingleFields<'a>,
        /// Lines in the encoded content.
        lines: u64,
    },
    /// `message/rfc822` and `message/global`
    Message {
        /// The subtype.
        subtype: Text<'a>,
        /// Fields of every single part.
        fields: SingleFields<'a>,
        /// The envelope of the message inside.
        envelope: Box<Envelope<'a>>,
        /// The structure of the message inside.
        body: Box<BodyStructure<'a>>,
        /// Lines in the encoded content.
        lines: u64,
    },
    /// Any other type.
    Basic {
        /// The type.
        media_type: Text<'a>,
        /// The subtype.
        subtype: Text<'a>,
        /// Fields of every single part.
        fields: SingleFields<'a>,
    },
}

/// What every part that is no multipart has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SingleFields<'a> {
    /// `Content-ID`
    pub id: Option<Text<'a>>,
    /// `Content-Description`
    pub description: Option<Text<'a>>,
    /// `Content-Transfer-Encoding`; written `7BIT` if `None`.
    pub encoding: Option<Text<'a>>,
    /// Octets of the content as it is encoded.
    pub size: u64,
    /// `Content-MD5`
    pub md5: Option<Text<'a>>,
}

/// A `Content-Disposition`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disposition<'a> {
    /// `inline`, `attachment`, ...
    pub kind: Text<'a>,
    /// Its parameters.
    pub parameters: Parameters<'a>,
}

/// Writes `body`, with its extension data if `extended`.
pub(super) fn put_body(out: &mut BytesMut, body: &BodyStructure<'_>, extended: bool, encoding: Encoding) {
    out.extend_from_slice(b"(");
    match &body.kind {
        BodyKind::Multipart { subtype, parts } => {
            for part in parts {
                put_body(out, part, extended, encoding);
            }
            if parts.is_empty() {
                put_empty_part(out, extended);
            }
            out.extend_from_slice(b" ");
            put_string(out, subtype, encoding);
            if extended {
                out.extend_from_slice(b" ");
                put_parameters(out, &body.parameters, encoding);
            }
        }
        BodyKind::Text { subtype, fields, lines } => {
            put_single(out, b"TEXT", subtype, &body.parameters, fields, encoding);
            put_display(out, format_args!(" {lines}"));
            put_md5(out, fields, extended, encoding);
        }
        BodyKind::Message { subtype, fields, envelope, body: inner, lines } => {
            put_single(out, b"MESSAGE", subtype, &body.parameters, fields, encoding);
            out.extend_from_slice(b" ");
            put_envelope(out, envelope, encoding);
            out.extend_from_slice(b" ");
            put_body(out, inner, extended, encoding);
            put_display(out, format_args!(" {lines}"));
            put_md5(out, fields, extended, encoding);
        }
        BodyKind::Basic { media_type, subtype, fields } => {
            put_single(out, media_type, subtype, &body.parameters, fields, encoding);
            put_md5(out, fields, extended, encoding);
        }
    }
    if extended {
        put_extension(out, body, encoding);
    }
    out.extend_from_slice(b")");
}

fn put_empty_part(out: &mut BytesMut, extended: bool) {
    out.extend_from_slice(b"(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 0 0");
    out.extend_from_slice(if extended { b" NIL NIL NIL NIL)" } else { b")" });
}

fn put_single(
    out: &mut BytesMut,
    media_type: &[u8],
    subtype: &[u8],
    parameters: &Parameters<'_>,
    fields: &SingleFields<'_>,
    encoding: Encoding,
) {
    put_string(out, media_type, encoding);
    out.extend_from_slice(b" ");
    put_string(out, subtype, encoding);
    out.extend_from_slice(b" ");
    put_parameters(out, parameters, encoding);
    for value in [&fields.id, &fields.description] {
        out.extend_from_slice(b" ");
        put_nstring(out, value.as_deref(), encoding);
    }
    out.extend_from_slice(b" ");
    put_string(out, fields.encoding.as_deref().unwrap_or(b"7BIT"), encoding);
    put_display(out, format_args!(" {}", fields.size));
}

fn put_parameters(out: &mut BytesMut, parameters: &Parameters<'_>, encoding: Encoding) {
    if parameters.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    for (i, (name, value)) in parameters.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"(" } else { b" " });
        put_string(out, name, encoding);
        out.extend_from_slice(b" ");
        put_string(out, value, encoding);
    }
    out.extend_from_slice(b")");
}

fn put_md5(out: &mut BytesMut, fields: &SingleFields<'_>, extended: bool, encoding: Encoding) {
    if extended {
        out.extend_from_slice(b" ");
        put_nstring(out, fields.md5.as_deref(), encoding);
    }
}

/// Disposition, language and location, which end the extension data of every part.
fn put_extension(out: &mut BytesMut, body: &BodyStructure<'_>, encoding: Encoding) {
    match &body.disposition {
        None => out.extend_from_slice(b" NIL "),
        Some(disposition) => {
            out.extend_from_slice(b" (");
            put_string(out, &disposition.kind, encoding);
            out.extend_from_slice(b" ");
            put_parameters(out, &disposition.parameters, encoding);
            out.extend_from_slice(b") ");
        }
    }
    match body.language.as_slice() {
        [] => out.extend_from_slice(b"NIL"),
        [one] => put_string(out, one, encoding),
        many => {
            for (i, language) in many.iter().enumerate() {
                out.extend_from_slice(if i == 0 { b"(" } else { b" " });
                put_string(out, language, encoding);
            }
            out.extend_from_slice(b")");
        }
    }
    out.extend_from_slice(b" ");
    put_nstring(out, body.location.as_deref(), encoding);
}
