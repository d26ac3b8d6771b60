//! Reads a message once, at delivery: its MIME structure with the offsets of each part, the header fields that are listed, and the
//! conversation it belongs to.

use mail_parser::{Encoding, Header, Message, MessageParser, MessagePart, PartType};

use crate::envelope::{envelope_fields, listed_fields};
use crate::header::{fields, value_and_parameters};
use crate::structure::{Content, ContentFields, EmbeddedMessage, Part, Span};

/// Parts deeper than this are kept as they are, unparsed.
const MAX_DEPTH: usize = 50;
/// Embedded messages that a message may have to be parsed at all; the parser walks down into each of them.
const MAX_EMBEDDED: usize = 100;

/// What is known of a message once it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) structure: Part,
    pub(crate) listed_headers: Vec<u8>,
    pub(crate) thread: [u8; 16],
}

/// Reads a message; anything is a message, at worst one of plain text.
pub(crate) fn parse(message: &[u8]) -> Parsed {
    let header = &message[..header_length(message)];
    Parsed { structure: structure(message), listed_headers: listed_fields(header), thread: thread(header) }
}

/// Octets of the header with the empty line that ends it.
pub(crate) fn header_length(message: &[u8]) -> usize {
    let mut at = 0;
    while at < message.len() {
        let line = message[at..].iter().position(|&b| b == b'\n').map_or(message.len() - at, |end| end + 1);
        if matches!(&message[at..at + line], b"\r\n" | b"\n") {
            return at + line;
        }
        at += line;
    }
    message.len()
}

fn structure(message: &[u8]) -> Part {
    let parser = MessageParser::default();
    let parsed = (embedded_messages(message) <= MAX_EMBEDDED).then(|| parser.parse(message)).flatten();
    match parsed.as_ref().and_then(|parsed| Some((parsed, parsed.parts.first()?))) {
        Some((parsed, root)) => Reader { raw: message }.part(parsed, root, message.len(), 0),
        None => opaque(message),
    }
}

/// The most embedded messages that there can be.
fn embedded_messages(message: &[u8]) -> usize {
    let names = |line: &[u8]| {
        line.windows(8)
            .filter(|w| w.eq_ignore_ascii_case(b"message/") || w.eq_ignore_ascii_case(b"t/digest"))
            .count()
    };
    // Only lines of a header can name a type; a long line of a body is passed over quickly.
    message.split(|&b| b == b'\n').filter(|line| line.len() < 1000 && line.contains(&b'/')).map(names).sum()
}

/// A message whose parts are not looked at.
fn opaque(message: &[u8]) -> Part {
    let header = header_length(message);
    let mut part = Part {
        header: span(0, header),
        body: span(header, message.len()),
        lines: count_lines(&message[header..]),
        fields: content_fields(&message[..header], false),
        content: Content::Leaf,
    };
    if part.fields.media_type.eq_ignore_ascii_case("multipart") || part.fields.is("message", "rfc822") {
        make_unstructured(&mut part.fields);
    }
    part
}

struct Reader<'a> {
    raw: &'a [u8],
}

impl Reader<'_> {
    /// The part and what is in it; it ends at `end` at the latest.
    fn part(&self, message: &Message<'_>, part: &MessagePart<'_>, end: usize, depth: usize) -> Part {
        let begin = (part.offset_header as usize).min(end);
        let body = (part.offset_body as usize).clamp(begin, end);
        // The root goes to the end of its message, whatever stands behind the last boundary.
        let is_root = message.parts.first().is_some_and(|root| std::ptr::eq(root, part));
        let end = if is_root { end } else { (part.offset_end as usize).clamp(body, end) };
        let mut fields = fields_of(&part.headers, self.raw, false);
        let content = match &part.body {
            PartType::Multipart(children) if depth < MAX_DEPTH => {
                let digest = fields.is("multipart", "digest");
                let read = |child: &MessagePart<'_>| {
                    let mut read = self.part(message, child, end, depth + 1);
                    if digest
                        && !child.headers.iter().any(|h| h.name.as_str().eq_ignore_ascii_case("content-type"))
                    {
                        (read.fields.media_type, read.fields.subtype) = ("message".into(), "rfc822".into());
                        read.fields.parameters.clear();
                    }
                    read
                };
                let parts =
                    children.iter().filter_map(|&id| message.parts.get(id as usize)).map(read).collect();
                Content::Multipart(parts)
            }
            PartType::Message(inner) if depth < MAX_DEPTH && part.encoding == Encoding::None => {
                self.embedded(inner, end, depth)
            }
            _ => Content::Leaf,
        };
        make_consistent(&mut fields, &content);
        Part {
            header: span(begin, body),
            body: span(body, end),
            lines: count_lines(&self.raw[body..end]),
            fields,
            content,
        }
    }

    fn embedded(&self, inner: &Message<'_>, end: usize, depth: usize) -> Content {
        let Some(root) = inner.parts.first() else { return Content::Leaf };
        let part = self.part(inner, root, end, depth + 1);
        let header = self.slice(part.header);
        Content::Message(Box::new(EmbeddedMessage { headers: envelope_fields(header), part }))
    }

    fn slice(&self, span: Span) -> &[u8] {
        usize::try_from(span.offset)
            .ok()
            .zip(usize::try_from(span.end()).ok())
            .and_then(|(begin, end)| self.raw.get(begin..end))
            .unwrap_or_default()
    }
}

/// BODYSTRUCTURE has one form for multiparts, one for messages and one for the rest: a type that claims another form than what was found
/// becomes one without a form.
fn make_consistent(fields: &mut ContentFields, content: &Content) {
    let is_message = fields.is("message", "rfc822") || fields.is("message", "global");
    let is_multipart = fields.media_type.eq_ignore_ascii_case("multipart");
    match content {
        Content::Multipart(parts) if parts.is_empty() => make_unstructured(fields),
        Content::Multipart(_) if !is_multipart => {
            (fields.media_type, fields.subtype) = ("multipart".into(), "mixed".into());
        }
        Content::Message(_) if !is_message => {
            (fields.media_type, fields.subtype) = ("message".into(), "rfc822".into());
        }
        Content::Leaf if is_multipart || is_message => make_unstructured(fields),
        _ => {}
    }
}

fn make_unstructured(fields: &mut ContentFields) {
    let multipart = fields.media_type.eq_ignore_ascii_case("multipart");
    (fields.media_type, fields.subtype) = if multipart {
        ("text".into(), "plain".into())
    } else {
        ("application".into(), "octet-stream".into())
    };
}

fn span(begin: usize, end: usize) -> Span {
    Span { offset: begin as u64, length: (end - begin) as u64 }
}

fn count_lines(text: &[u8]) -> u32 {
    u32::try_from(text.iter().filter(|&&b| b == b'\n').count()).unwrap_or(u32::MAX)
}

/// The Content-* fields among the parser's headers.
fn fields_of(headers: &[Header<'_>], raw: &[u8], digest: bool) -> ContentFields {
    let begin = headers.iter().map(|header| header.offset_field).min().unwrap_or_default() as usize;
    let end = headers.iter().map(|header| header.offset_end).max().unwrap_or_default() as usize;
    content_fields(raw.get(begin..end).unwrap_or_default(), digest)
}

fn content_fields(header: &[u8], digest: bool) -> ContentFields {
    let mut found = ContentFields { encoding: "7BIT".into(), ..ContentFields::default() };
    for field in fields(header) {
        let text = || Some(field.unfolded()).filter(|text| !text.is_empty());
        match field.name.to_ascii_lowercase().as_str() {
            "content-type" if found.media_type.is_empty() => {
                let (value, parameters) = value_and_parameters(&field.unfolded());
                if let Some((media_type, subtype)) =
                    value.split_once('/').filter(|(a, b)| is_token(a) && is_token(b))
                {
                    (found.media_type, found.subtype) = (media_type.trim().into(), subtype.trim().into());
                    found.parameters = parameters;
                }
            }
            "content-id" => found.id = text(),
            "content-description" => found.description = text(),
            "content-md5" => found.md5 = text(),
            "content-location" => found.location = text(),
            "content-transfer-encoding" => found.encoding = value_and_parameters(&field.unfolded()).0,
            "content-disposition" => {
                found.disposition = Some(value_and_parameters(&field.unfolded())).filter(|d| !d.0.is_empty());
            }
            "content-language" => {
                let tags = field.unfolded();
                found.language =
                    tags.split(',').map(|tag| tag.trim().to_owned()).filter(|t| !t.is_empty()).collect();
            }
            _ => {}
        }
    }
    if found.media_type.is_empty() {
        let (media_type, subtype) = if digest { ("message", "rfc822") } else { ("text", "plain") };
        (found.media_type, found.subtype) = (media_type.into(), subtype.into());
        if !digest {
            found.parameters = vec![("charset".into(), "us-ascii".into())];
        }
    }
    if found.encoding.is_empty() {
        found.encoding = "7BIT".into();
    }
    found
}

fn is_token(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b))
}

/// Names the conversation: the first message id of References, else of In-Reply-To, else the message's own.
fn thread(header: &[u8]) -> [u8; 16] {
    let first_id = |name: &str| {
        let field = fields(header).find(|field| field.is(name))?.unfolded();
        let begin = field.find('<')?;
        let end = field[begin..].find('>')?;
        Some(field[begin..=begin + end].to_owned())
    };
    let root = ["references", "in-reply-to", "message-id"].into_iter().find_map(first_id);
    let mut id = [0; 16];
    // A message without any id is a conversation of its own; its header tells it from others well enough.
    let hash = root.map_or_else(|| blake3::hash(header), |root| blake3::hash(root.as_bytes()));
    id.copy_from_slice(&hash.as_bytes()[..16]);
    id
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NESTED: &str = "From: a@b.test\r\n\
        Content-Type: multipart/mixed; boundary=\"outer\"\r\n\
        \r\n\
        preamble\r\n\
        --outer\r\n\
        \r\n\
        plain text\r\n\
        two lines\r\n\
        --outer\r\n\
        Content-Type: message/rfc822\r\n\
        Content-Disposition: attachment; filename=\"m.eml\"\r\n\
        \r\n\
        Subject: inside\r\n\
        From: c@d.test\r\n\
        Content-Type: multipart/alternative; boundary=inner\r\n\
        \r\n\
        --inner\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\
        Content-Transfer-Encoding: base64\r\n\
        \r\n\
        aGVsbG8=\r\n\
        --inner\r\n\
        Content-Type: text/html\r\n\
        \r\n\
        <b>hello</b>\r\n\
        --inner--\r\n\
        \r\n\
        --outer--\r\n\
        epilogue\r\n";

    fn text(message: &str, span: Span) -> &str {
        &message[usize::try_from(span.offset).unwrap()..usize::try_from(span.end()).unwrap()]
    }

    #[test]
    fn every_part_is_found_at_its_octets() {
        let root = structure(NESTED.as_bytes());
        assert_eq!(root.body.end(), NESTED.len() as u64);
        assert!(root.fields.is("multipart", "mixed"));
        let one = root.find(&[1]).unwrap();
        assert_eq!(text(NESTED, one.body), "plain text\r\ntwo lines");
        assert_eq!(text(NESTED, one.header), "\r\n");
        assert_eq!(one.fields.parameters, [("charset".to_owned(), "us-ascii".to_owned())]);
        let message = root.find(&[2]).unwrap();
        assert!(
            text(NESTED, message.body).starts_with("Subject: inside")
                && message.fields.is("message", "rfc822")
        );
        assert_eq!(message.fields.disposition.as_ref().unwrap().1[0].1, "m.eml");
        assert_eq!(text(NESTED, root.find(&[2, 1]).unwrap().body), "aGVsbG8=");
        assert_eq!(text(NESTED, root.find(&[2, 2]).unwrap().body), "<b>hello</b>");
        assert!(root.find(&[2, 3]).is_none() && root.find(&[3]).is_none() && root.find(&[1, 2]).is_none());
        let Content::Message(embedded) = &message.content else { panic!("{message:?}") };
        assert!(embedded.headers.starts_with(b"Subject: inside\r\nFrom: c@d.test\r\n"));
    }

    #[test]
    fn a_simple_message_is_its_own_part_one() {
        let message = "Subject: x\r\nContent-Type: text/html; charset=\"utf-8\"\r\n\r\n<p>\r\n";
        let root = structure(message.as_bytes());
        assert_eq!(text(message, root.find(&[1]).unwrap().body), "<p>\r\n");
        assert_eq!((root.lines, root.fields.subtype.as_str()), (1, "html"));
        assert_eq!(root.header.end(), root.body.offset);
    }

    #[test]
    fn a_type_that_does_not_fit_what_is_there_is_replaced() {
        let no_boundary = structure(b"Content-Type: multipart/mixed\r\n\r\nx\r\n");
        assert!(no_boundary.fields.is("text", "plain") && no_boundary.content == Content::Leaf);
        let encoded = structure(b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogeA0KDQo=\r\n");
        assert!(encoded.fields.is("application", "octet-stream"), "{encoded:?}");
    }

    #[test]
    fn messages_within_messages_without_end_are_not_walked() {
        let deep = "Content-Type: message/rfc822\r\n\r\n".repeat(100_000);
        assert_eq!(structure(deep.as_bytes()).content, Content::Leaf);
        let many =
            (0..5000).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"));
        let _ = structure(many.collect::<String>().as_bytes());
    }

    #[test]
    fn a_conversation_is_named_by_its_first_message() {
        let root = parse(b"Message-ID: <1@x>\r\n\r\n").thread;
        assert_eq!(parse(b"Message-ID: <3@x>\r\nReferences: <1@x>\r\n <2@x>\r\n\r\n").thread, root);
        assert_eq!(parse(b"Message-ID: <4@x>\r\nIn-Reply-To: <1@x>\r\n\r\n").thread, root);
        assert_ne!(parse(b"Subject: a\r\n\r\n").thread, parse(b"Subject: b\r\n\r\n").thread);
    }

    fn check(part: &Part, end: u64) {
        assert!(part.header.end() <= part.body.offset && part.body.end() <= end, "{part:?} {end}");
        match &part.content {
            Content::Leaf => {}
            Content::Multipart(parts) => parts.iter().for_each(|p| check(p, part.body.end())),
            Content::Message(message) => check(&message.part, part.body.end()),
        }
    }

    proptest! {
        #[test]
        fn parts_of_any_text_lie_within_it(lines in proptest::collection::vec(
            prop_oneof![
                Just("--a\r\n".to_owned()), Just("--a--\r\n".to_owned()), Just("--b\r\n".to_owned()), Just("\r\n".to_owned()),
                Just("Content-Type: multipart/mixed; boundary=a\r\n".to_owned()),
                Just("Content-Type: multipart/digest; boundary=b\r\n".to_owned()),
                Just("Content-Type: message/rfc822\r\n".to_owned()),
                Just("Content-Transfer-Encoding: base64\r\n".to_owned()),
                "[ -~]{0,20}\r\n", "[a-z]{3}\n",
            ], 0..40)) {
            let text = lines.concat();
            let root = parse(text.as_bytes()).structure;
            prop_assert_eq!(root.body.end(), text.len() as u64);
            check(&root, text.len() as u64);
        }
    }
}
