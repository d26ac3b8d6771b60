//! FETCH responses, item by item, so that large literals can be streamed between them (RFC 9051 §7.5.2).

use bytes::BytesMut;

use super::body_structure::{BodyStructure, put_body};
use super::envelope::{Envelope, put_envelope};
use super::text::{
    put_astring, put_display, put_flags, put_literal_header, put_literal8_header, put_printable, put_string,
};
use crate::proto::date::DateTime;
use crate::proto::flag::Flag;
use crate::proto::mailbox_name::Encoding;
use crate::proto::section::{HeaderName, PartPath, Section, SectionText};

/// One FETCH response under way. It holds no buffer, so that between two items the caller may send what is
/// written so far: after a method whose name ends in `_header`, exactly the announced octets must follow.
///
/// ```text
/// let mut fetch = FetchWriter::begin(&mut out, sequence, encoding);
/// fetch.uid(&mut out, uid);
/// fetch.section_header(&mut out, &section, None, size);   // ... send `out`, then `size` octets
/// fetch.end(&mut out);
/// ```
#[derive(Debug)]
#[must_use = "a FETCH response has to be ended"]
pub struct FetchWriter {
    first: bool,
    encoding: Encoding,
}

impl FetchWriter {
    /// `* n FETCH (`
    pub fn begin(out: &mut BytesMut, sequence: u32, encoding: Encoding) -> FetchWriter {
        put_display(out, format_args!("* {sequence} FETCH ("));
        FetchWriter { first: true, encoding }
    }

    /// `)` and the line end.
    pub fn end(self, out: &mut BytesMut) {
        out.extend_from_slice(b")\r\n");
    }

    fn separate(&mut self, out: &mut BytesMut) {
        if !std::mem::take(&mut self.first) {
            out.extend_from_slice(b" ");
        }
    }

    fn item(&mut self, out: &mut BytesMut, name: &str) {
        self.separate(out);
        out.extend_from_slice(name.as_bytes());
    }

    /// `UID n`
    pub fn uid(&mut self, out: &mut BytesMut, uid: u32) {
        self.separate(out);
        put_display(out, format_args!("UID {uid}"));
    }

    /// `FLAGS (...)`
    pub fn flags(&mut self, out: &mut BytesMut, flags: &[Flag]) {
        self.item(out, "FLAGS ");
        put_flags(out, flags, false);
    }

    /// `INTERNALDATE "..."`
    pub fn internal_date(&mut self, out: &mut BytesMut, date: DateTime) {
        self.separate(out);
        put_display(out, format_args!("INTERNALDATE \"{date}\""));
    }

    /// `SAVEDATE "..."`, NIL if the mailbox keeps none (RFC 8514).
    pub fn save_date(&mut self, out: &mut BytesMut, date: Option<DateTime>) {
        self.separate(out);
        match date {
            Some(date) => put_display(out, format_args!("SAVEDATE \"{date}\"")),
            None => out.extend_from_slice(b"SAVEDATE NIL"),
        }
    }

    /// `RFC822.SIZE n`
    pub fn rfc822_size(&mut self, out: &mut BytesMut, size: u64) {
        self.separate(out);
        put_display(out, format_args!("RFC822.SIZE {size}"));
    }

    /// `MODSEQ (n)` (RFC 7162)
    pub fn mod_seq(&mut self, out: &mut BytesMut, mod_seq: u64) {
        self.separate(out);
        put_display(out, format_args!("MODSEQ ({mod_seq})"));
    }

    /// `EMAILID (id)` (RFC 8474)
    pub fn email_id(&mut self, out: &mut BytesMut, id: &str) {
        self.item(out, "EMAILID (");
        put_printable(out, id);
        out.extend_from_slice(b")");
    }

    /// `THREADID (id)`, NIL if the message has none (RFC 8474).
    pub fn thread_id(&mut self, out: &mut BytesMut, id: Option<&str>) {
        self.item(out, "THREADID ");
        match id {
            None => out.extend_from_slice(b"NIL"),
            Some(id) => {
                out.extend_from_slice(b"(");
                put_printable(out, id);
                out.extend_from_slice(b")");
            }
        }
    }

    /// `ENVELOPE (...)`
    pub fn envelope(&mut self, out: &mut BytesMut, envelope: &Envelope<'_>) {
        self.item(out, "ENVELOPE ");
        put_envelope(out, envelope, self.encoding);
    }

    /// `BODY (...)`: the structure without extension data.
    pub fn body(&mut self, out: &mut BytesMut, body: &BodyStructure<'_>) {
        self.item(out, "BODY ");
        put_body(out, body, false, self.encoding);
    }

    /// `BODYSTRUCTURE (...)`: the structure with extension data.
    pub fn body_structure(&mut self, out: &mut BytesMut, body: &BodyStructure<'_>) {
        self.item(out, "BODYSTRUCTURE ");
        put_body(out, body, true, self.encoding);
    }

    /// `BODY[section]<origin> {size}`: `size` octets must follow, none of them NUL.
    pub fn section_header(&mut self, out: &mut BytesMut, section: &Section, origin: Option<u64>, size: u64) {
        self.section_name(out, section, origin);
        put_literal_header(out, size);
    }

    /// `BODY[section]<origin> data` as a literal, or NIL for a part that is not there. NUL becomes `?`.
    pub fn section(
        &mut self,
        out: &mut BytesMut,
        section: &Section,
        origin: Option<u64>,
        data: Option<&[u8]>,
    ) {
        self.section_name(out, section, origin);
        put_content(out, data);
    }

    fn section_name(&mut self, out: &mut BytesMut, section: &Section, origin: Option<u64>) {
        self.item(out, "BODY[");
        put_part(out, &section.part);
        if let Some(text) = &section.text {
            out.extend_from_slice(if section.part.0.is_empty() { b"" } else { b"." });
            self.put_section_text(out, text);
        }
        out.extend_from_slice(b"]");
        put_origin(out, origin);
        out.extend_from_slice(b" ");
    }

    fn put_section_text(&self, out: &mut BytesMut, text: &SectionText) {
        let (name, fields): (&str, &[HeaderName]) = match text {
            SectionText::Header => ("HEADER", &[]),
            SectionText::HeaderFields(fields) => ("HEADER.FIELDS", fields),
            SectionText::HeaderFieldsNot(fields) => ("HEADER.FIELDS.NOT", fields),
            SectionText::Text => ("TEXT", &[]),
            SectionText::Mime => ("MIME", &[]),
        };
        out.extend_from_slice(name.as_bytes());
        for (i, field) in fields.iter().enumerate() {
            out.extend_from_slice(if i == 0 { b" (" } else { b" " });
            put_astring(out, field.as_bytes(), self.encoding);
        }
        out.extend_from_slice(if fields.is_empty() { b"" } else { b")" });
    }

    /// `RFC822`, `RFC822.HEADER` or `RFC822.TEXT` (by `name`) and `{size}`: `size` octets must follow.
    pub fn rfc822_header(&mut self, out: &mut BytesMut, name: Rfc822Name, size: u64) {
        self.item(out, name.as_str());
        out.extend_from_slice(b" ");
        put_literal_header(out, size);
    }

    /// `RFC822`, `RFC822.HEADER` or `RFC822.TEXT` (by `name`) with its data as a literal.
    pub fn rfc822(&mut self, out: &mut BytesMut, name: Rfc822Name, data: &[u8]) {
        self.item(out, name.as_str());
        out.extend_from_slice(b" ");
        put_content(out, Some(data));
    }

    /// `BINARY[part]<origin> {size}`, or `~{size}` if `nul`, which the content must be known to have or
    /// not have (RFC 3516): `size` octets must follow.
    pub fn binary_header(
        &mut self,
        out: &mut BytesMut,
        part: &PartPath,
        origin: Option<u64>,
        size: u64,
        nul: bool,
    ) {
        self.binary_name(out, part, origin);
        if nul { put_literal8_header(out, size) } else { put_literal_header(out, size) }
    }

    /// `BINARY[part]<origin> data`, as a literal8 if there is a NUL in it; NIL for a part that is not there.
    pub fn binary(&mut self, out: &mut BytesMut, part: &PartPath, origin: Option<u64>, data: Option<&[u8]>) {
        self.binary_name(out, part, origin);
        match data {
            Some(data) if data.contains(&0) => {
                put_literal8_header(out, data.len() as u64);
                out.extend_from_slice(data);
            }
            data => put_content(out, data),
        }
    }

    fn binary_name(&mut self, out: &mut BytesMut, part: &PartPath, origin: Option<u64>) {
        self.item(out, "BINARY[");
        put_part(out, part);
        out.extend_from_slice(b"]");
        put_origin(out, origin);
        out.extend_from_slice(b" ");
    }

    /// `BINARY.SIZE[part] n` (RFC 3516)
    pub fn binary_size(&mut self, out: &mut BytesMut, part: &PartPath, size: u64) {
        self.item(out, "BINARY.SIZE[");
        put_part(out, part);
        put_display(out, format_args!("] {size}"));
    }
}

/// The old names of body items (RFC 3501 §6.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rfc822Name {
    /// `RFC822`
    Message,
    /// `RFC822.HEADER`
    Header,
    /// `RFC822.TEXT`
    Text,
}

impl Rfc822Name {
    fn as_str(self) -> &'static str {
        match self {
            Rfc822Name::Message => "RFC822",
            Rfc822Name::Header => "RFC822.HEADER",
            Rfc822Name::Text => "RFC822.TEXT",
        }
    }
}

fn put_part(out: &mut BytesMut, part: &PartPath) {
    for (i, number) in part.0.iter().enumerate() {
        put_display(out, format_args!("{}{number}", if i > 0 { "." } else { "" }));
    }
}

fn put_origin(out: &mut BytesMut, origin: Option<u64>) {
    if let Some(origin) = origin {
        put_display(out, format_args!("<{origin}>"));
    }
}

/// Content is a literal, however short, so that clients need no unescaping; `""` if there is none.
fn put_content(out: &mut BytesMut, data: Option<&[u8]>) {
    match data {
        None => out.extend_from_slice(b"NIL"),
        Some(b"") => put_string(out, b"", Encoding::ModifiedUtf7),
        Some(data) => {
            put_literal_header(out, data.len() as u64);
            out.extend(data.iter().map(|&b| if b == 0 { b'?' } else { b }));
        }
    }
}
