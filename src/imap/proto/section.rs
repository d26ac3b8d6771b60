//! What part of a message BODY[...] and BINARY[...] mean (RFC 9051 §6.4.5).

use bytes::Bytes;

/// The part numbers of a MIME part (`1.2.3`), counting from 1; empty for the message itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PartPath(pub Vec<u32>);

/// The text between the brackets of `BODY[...]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Section {
    /// Which part; empty for the whole message.
    pub part: PartPath,
    /// Which text of it; `None` for all of a message, and for the body of a part.
    pub text: Option<SectionText>,
}

impl Section {
    /// `BODY[]`: the whole message.
    pub fn whole() -> Section {
        Section::default()
    }
}

/// A named text of a message or part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SectionText {
    /// `HEADER`: the RFC 5322 header of a message, with the empty line.
    Header,
    /// `HEADER.FIELDS (...)`: these fields only, with the empty line.
    HeaderFields(Vec<HeaderName>),
    /// `HEADER.FIELDS.NOT (...)`: the header without these fields.
    HeaderFieldsNot(Vec<HeaderName>),
    /// `TEXT`: a message without its header.
    Text,
    /// `MIME`: the MIME header of a part; only with part numbers.
    Mime,
}

/// The name of a header field, as the client wrote it: printable ASCII without colon (RFC 5322 §2.2), at
/// most [`HeaderName::MAX`] octets.
#[derive(Debug, Clone)]
pub struct HeaderName(Bytes);

impl HeaderName {
    /// The longest name accepted: a line of RFC 5322 has no room for more.
    pub const MAX: usize = 998;

    /// Takes `name` as a field name; `None` if it is not one.
    pub fn new(name: Bytes) -> Option<HeaderName> {
        let good = (1..=HeaderName::MAX).contains(&name.len())
            && name.iter().all(|b| b.is_ascii_graphic() && *b != b':');
        good.then_some(HeaderName(name))
    }

    /// The name in the case it was written, all ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the field `name`, in any case.
    pub fn is(&self, name: &[u8]) -> bool {
        self.0.eq_ignore_ascii_case(name)
    }
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &HeaderName) -> bool {
        self.is(&other.0)
    }
}

impl Eq for HeaderName {}

impl std::hash::Hash for HeaderName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        for byte in &self.0 {
            state.write_u8(byte.to_ascii_lowercase());
        }
        state.write_u8(0xff);
    }
}

/// `<offset.length>`: a range of octets of what is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Partial {
    /// The first octet, counting from 0.
    pub offset: u64,
    /// How many octets at most; at least 1.
    pub length: u64,
}
