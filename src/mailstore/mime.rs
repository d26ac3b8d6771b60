//! Reads a message once, at delivery: its MIME structure with the offsets of each part, the header fields that are listed, and the
//! conversation it belongs to.

use crate::envelope::{envelope_fields, listed_fields};
use crate::header::{fields, value_and_parameters};
use crate::structure::{Content, ContentFields, EmbeddedMessage, Part, Span};

/// Parts deeper than this are kept as they are, unparsed.
const MAX_DEPTH: usize = 50;
/// Parts of a message; the last one takes in what is left.
const MAX_PARTS: usize = 10_000;
/// Octets of a boundary; RFC 2046 §5.1.1 allows 70.
const MAX_BOUNDARY: usize = 200;

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
        let line = memchr::memchr(b'\n', &message[at..]).map_or(message.len() - at, |end| end + 1);
        if matches!(&message[at..at + line], b"\r\n" | b"\n") {
            return at + line;
        }
        at += line;
    }
    message.len()
}

fn structure(message: &[u8]) -> Part {
    let mut reader = Reader { raw: message, boundaries: Vec::new(), parts: 0 };
    reader.part(0, false, 0).0
}

/// Takes a message apart in one pass over its lines, so that the time it takes grows with the length of the message alone.
struct Reader<'a> {
    raw: &'a [u8],
    /// The boundaries of the multiparts that are open, the innermost last.
    boundaries: Vec<Vec<u8>>,
    /// Parts so far.
    parts: usize,
}

/// A line that ends a part: a delimiter of an open multipart, or the end of the message.
#[derive(Clone, Copy, Debug)]
struct Delimiter {
    /// The multipart it belongs to, as an index into the open ones; `None` at the end of the message.
    level: Option<usize>,
    /// It is the last delimiter of that multipart.
    closes: bool,
    /// Where the part ends: before the line end in front of the delimiter, which belongs to the delimiter (RFC 2046 §5.1.1).
    end: usize,
    /// Where the line after it begins.
    next: usize,
}

impl Reader<'_> {
    /// Reads the part that begins at `begin`, and what ended it.
    fn part(&mut self, begin: usize, digest: bool, depth: usize) -> (Part, Delimiter) {
        self.parts += 1;
        let body = self.header_end(begin);
        let mut fields = content_fields(&self.raw[begin..body], digest);
        let (content, delimiter) = self.content(&fields, body, depth);
        let inner_end = match &content {
            Content::Leaf => body,
            Content::Multipart(parts) => parts.last().map_or(body, |last| offset(last.body.end())),
            Content::Message(message) => offset(message.part.body.end()),
        };
        // An empty part ends where its header does: the delimiter's line end is the header's empty line.
        let end = delimiter.end.max(body).max(inner_end);
        make_consistent(&mut fields, &content);
        let lines = count_lines(&self.raw[body..end]);
        (Part { header: span(begin, body), body: span(body, end), lines, fields, content }, delimiter)
    }

    /// What is in a part whose body begins at `body`.
    fn content(&mut self, fields: &ContentFields, body: usize, depth: usize) -> (Content, Delimiter) {
        if depth >= MAX_DEPTH || self.parts >= MAX_PARTS {
            return (Content::Leaf, self.next_delimiter(body));
        }
        if fields.media_type.eq_ignore_ascii_case("multipart")
            && let Some(boundary) = boundary(&fields.parameters)
        {
            return self.multipart(boundary, body, fields.is("multipart", "digest"), depth);
        }
        let is_message = fields.is("message", "rfc822") || fields.is("message", "global");
        let encoded = ["base64", "quoted-printable"];
        if is_message && !encoded.iter().any(|encoding| fields.encoding.eq_ignore_ascii_case(encoding)) {
            let (part, delimiter) = self.part(body, false, depth + 1);
            let headers = envelope_fields(&self.raw[body..offset(part.header.end())]);
            return (Content::Message(Box::new(EmbeddedMessage { headers, part })), delimiter);
        }
        (Content::Leaf, self.next_delimiter(body))
    }

    fn multipart(
        &mut self,
        boundary: Vec<u8>,
        body: usize,
        digest: bool,
        depth: usize,
    ) -> (Content, Delimiter) {
        let level = self.boundaries.len();
        self.boundaries.push(boundary);
        let mut parts = Vec::new();
        let mut delimiter = self.next_delimiter(body); // passes over the preamble
        while delimiter.level == Some(level) && !delimiter.closes {
            let (part, after) = self.part(delimiter.next, digest, depth + 1);
            parts.push(part);
            delimiter = after;
        }
        self.boundaries.truncate(level);
        if delimiter.level == Some(level) {
            delimiter = self.next_delimiter(delimiter.next); // passes over the epilogue
        }
        let content = if parts.is_empty() { Content::Leaf } else { Content::Multipart(parts) };
        (content, delimiter)
    }

    /// The end of the header that begins at `begin`: after its empty line, or where a delimiter cuts it off.
    fn header_end(&self, begin: usize) -> usize {
        let mut at = begin;
        while at < self.raw.len() {
            let line = self.line(at);
            if self.delimiter(line).is_some() {
                return at;
            }
            at += line.len();
            if matches!(line, b"\r\n" | b"\n") {
                return at;
            }
        }
        at
    }

    /// The first delimiter of an open multipart from the line at `from` on.
    fn next_delimiter(&self, from: usize) -> Delimiter {
        let mut at = from;
        while at < self.raw.len() && !self.boundaries.is_empty() {
            let line = self.line(at);
            let next = at + line.len();
            if let Some((level, closes)) = self.delimiter(line) {
                let before = &self.raw[..at];
                let end = before.strip_suffix(b"\n").map_or(before, |b| b.strip_suffix(b"\r").unwrap_or(b));
                return Delimiter { level: Some(level), closes, end: end.len(), next };
            }
            at = next;
        }
        let end = self.raw.len();
        Delimiter { level: None, closes: true, end, next: end }
    }

    /// The line at `at`, with its line end.
    fn line(&self, at: usize) -> &[u8] {
        let rest = &self.raw[at..];
        &rest[..memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1)]
    }

    /// Which open multipart a line is a delimiter of, and whether it is the last one. What stands behind the boundary does not matter
    /// (RFC 2046 §5.1.1), but if one boundary begins with another, the line belongs to the longer one.
    fn delimiter(&self, line: &[u8]) -> Option<(usize, bool)> {
        let text = line.strip_prefix(b"--")?;
        let begun = |(level, boundary): (usize, &Vec<u8>)| {
            let rest = text.strip_prefix(&boundary[..])?;
            Some((boundary.len(), level, rest.starts_with(b"--")))
        };
        let (_, level, closes) = self.boundaries.iter().enumerate().filter_map(begun).max()?;
        // Beyond the most parts there may be, the last one takes in what follows.
        (closes || self.parts < MAX_PARTS).then_some((level, closes))
    }
}

/// The boundary among the parameters of a multipart, in one piece or in several (RFC 2231 §3).
fn boundary(parameters: &[(String, String)]) -> Option<Vec<u8>> {
    let named = |name: &str| {
        let found = parameters.iter().find(|(have, _)| have.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    let pieces = || (0..).map_while(|n| named(&format!("boundary*{n}"))).collect::<String>();
    let boundary = named("boundary").map_or_else(pieces, str::to_owned);
    let boundary = boundary.trim_end();
    (!boundary.is_empty() && boundary.len() <= MAX_BOUNDARY).then(|| boundary.as_bytes().to_vec())
}

/// An offset of a message that is in memory.
fn offset(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// The same message, not taken apart.
pub(crate) fn in_one_piece(mut root: Part) -> Part {
    root.content = Content::Leaf;
    root.fields.parameters.clear();
    make_consistent(&mut root.fields, &root.content);
    root
}

/// BODYSTRUCTURE has one form for multiparts, one for messages and one for the rest: a type that claims another form than what was found
/// becomes one without a form.
fn make_consistent(fields: &mut ContentFields, content: &Content) {
    let is_message = fields.is("message", "rfc822") || fields.is("message", "global");
    let is_multipart = fields.media_type.eq_ignore_ascii_case("multipart");
    match content {
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
    u32::try_from(memchr::memchr_iter(b'\n', text).count()).unwrap_or(u32::MAX)
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

    /// The structure of a message, its parts without their fields.
    fn outline(message: &str) -> String {
        fn of(part: &Part, message: &str) -> String {
            let inner = match &part.content {
                Content::Leaf => return format!("{:?}", text(message, part.body)),
                Content::Multipart(parts) => parts.iter().map(|p| of(p, message)).collect::<Vec<_>>(),
                Content::Message(message_in_it) => vec![of(&message_in_it.part, message)],
            };
            format!("{}({})", part.fields.subtype, inner.join(" "))
        }
        of(&structure(message.as_bytes()), message)
    }

    #[test]
    fn delimiters_are_whole_lines_and_the_longer_boundary_wins() {
        let mixed = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
        let inner = "Content-Type: multipart/alternative; boundary=bb\r\n\r\n";
        for (body, expected) in [
            ("--b\r\n\r\nsee --b here\r\n --b\r\n--b--\r\n", r#"mixed("see --b here\r\n --b")"#),
            ("--b \t\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b-- \r\n--b\r\n\r\nno\r\n", r#"mixed("one" "two")"#),
            ("--b\r\n\r\nno end\r\n", r#"mixed("no end\r\n")"#),
            ("--b\r\n\r\n--b\r\n\r\n\r\n--b\r\n--b--", r#"mixed("" "" "")"#),
            (
                &format!("--b\r\n{inner}--bb\r\n\r\n1\r\n--bb--\r\n--b\r\n\r\n2\r\n--b--\r\n"),
                r#"mixed(alternative("1") "2")"#,
            ),
            (
                &format!("--b\r\n{inner}--bb\r\n\r\n1\r\n--b\r\n\r\n2\r\n"),
                r#"mixed(alternative("1") "2\r\n")"#,
            ),
            (
                "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n--b\r\n\r\n2\r\n--b--\r\n",
                r#"mixed(rfc822("") "2")"#,
            ),
        ] {
            assert_eq!(outline(&format!("{mixed}{body}")), expected, "{body:?}");
        }
        let folded = "Content-Type: multipart/digest; boundary*0=b;\r\n boundary*1=c\r\n\r\n--bc\r\n\r\n\r\nx\r\n--bc--\r\n";
        assert_eq!(outline(folded), r#"digest(rfc822("x"))"#);
    }

    #[test]
    fn a_line_with_a_slash_in_it_is_just_a_line() {
        let links = "https://lists.test/message/ABC/\r\n".repeat(500);
        let message = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n{links}--b--\r\n");
        assert!(structure(message.as_bytes()).fields.is("multipart", "mixed"));
    }

    #[test]
    fn what_a_sender_makes_up_takes_time_by_its_length_only() {
        let multipart = |n| format!("--b\r\nContent-Type: multipart/mixed; boundary=c{n}\r\n\r\nx\r\n");
        let mixed = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
        let cases = [
            "Content-Type: message/rfc822\r\n\r\n".repeat(100_000),
            format!("Content-Type: message/rfc822; x={}\r\n\r\n", "x".repeat(1000)).repeat(2000),
            (0..50_000)
                .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
                .collect(),
            format!("{mixed}{}", (0..50_000).map(multipart).collect::<String>()),
            format!("{mixed}{}", "--b\r\n\r\nx\r\n".repeat(200_000)),
        ];
        // The worst of them would take minutes if each multipart without a part looked through the rest of the message.
        let begun = std::time::Instant::now();
        for case in cases {
            check(&structure(case.as_bytes()), case.len() as u64);
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
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
