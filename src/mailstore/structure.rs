//! The MIME structure of a message as it is stored: where each part is, and what BODYSTRUCTURE says of it, so that
//! listing a message never reads its body.

use serde::{Deserialize, Serialize};

/// A run of octets of a message, from its first octet on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Where it begins.
    pub offset: u64,
    /// How many octets it has.
    pub length: u64,
}

impl Span {
    /// The offset after its last octet.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// One part of a message (RFC 2045); the message itself is the root part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its header with the empty line that ends it.
    pub header: Span,
    /// Its body, still encoded.
    pub body: Span,
    /// Lines of the body, as BODYSTRUCTURE counts them.
    pub lines: u32,
    /// What its Content-* fields say, values as they stand in the header (unfolded, encoded words kept).
    pub fields: ContentFields,
    /// What is inside.
    pub content: Content,
}

/// What is inside a part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Octets of the part's media type.
    #[default]
    Leaf,
    /// Parts between boundaries; at least one.
    Multipart(Vec<Part>),
    /// A message/rfc822 or message/global.
    Message(Box<EmbeddedMessage>),
}

/// A message inside a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddedMessage {
    /// Its header fields that ENVELOPE is made of, raw, each with its CRLF.
    pub headers: Vec<u8>,
    /// Its own structure; offsets count from the start of the outer message.
    pub part: Part,
}

/// The Content-* fields of a part (RFC 2045, 2183, 3282, 2557).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentFields {
    /// `text` of `text/plain`, as spelled; the default of RFC 2045 §5.2 where the field is missing or broken.
    pub media_type: String,
    /// `plain` of `text/plain`.
    pub subtype: String,
    /// Parameters of Content-Type, in order.
    pub parameters: Vec<(String, String)>,
    /// Content-ID.
    pub id: Option<String>,
    /// Content-Description.
    pub description: Option<String>,
    /// Content-Transfer-Encoding; `7BIT` where missing.
    pub encoding: String,
    /// Content-MD5.
    pub md5: Option<String>,
    /// Content-Disposition and its parameters.
    pub disposition: Option<(String, Vec<(String, String)>)>,
    /// Content-Language.
    pub language: Vec<String>,
    /// Content-Location.
    pub location: Option<String>,
}

impl ContentFields {
    /// Whether the media type is this one, in any case.
    pub fn is(&self, media_type: &str, subtype: &str) -> bool {
        self.media_type.eq_ignore_ascii_case(media_type) && self.subtype.eq_ignore_ascii_case(subtype)
    }
}

impl Part {
    /// Moves the whole structure: `by` octets were put in front of the message, as part of its header.
    pub fn prepend_header(&mut self, by: u64) {
        self.shift(by);
        self.header.offset -= by;
        self.header.length += by;
    }

    fn shift(&mut self, by: u64) {
        self.header.offset += by;
        self.body.offset += by;
        match &mut self.content {
            Content::Leaf => {}
            Content::Multipart(parts) => parts.iter_mut().for_each(|part| part.shift(by)),
            Content::Message(message) => message.part.shift(by),
        }
    }

    /// The part that an IMAP section names (RFC 9051 §6.4.5.1): `[]` is the root, `[1, 2]` is `1.2`. Part 1 of a message that is
    /// not a multipart is its body.
    pub fn find(&self, path: &[u32]) -> Option<&Part> {
        let Some((&number, rest)) = path.split_first() else { return Some(self) };
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        match &self.content {
            Content::Multipart(parts) => parts.get(index)?.find_below(rest),
            _ if index == 0 => self.find_below(rest),
            _ => None,
        }
    }

    /// Like [`Part::find`], for numbers that follow a part number: they go into an embedded message.
    fn find_below(&self, path: &[u32]) -> Option<&Part> {
        match (&self.content, path) {
            (_, []) => Some(self),
            (Content::Multipart(_), _) => self.find(path),
            (Content::Message(message), _) => message.part.find(path),
            (Content::Leaf, _) => None,
        }
    }
}
