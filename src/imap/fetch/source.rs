//! Where the octets are that a section of BODY\[...] names (RFC 9051 §6.4.5.1).

use std::cmp::Ordering;

use bytes::Bytes;
use ekitei_mailstore::envelope::LISTED;
use ekitei_mailstore::structure::{Content, Part, Span};
use ekitei_mailstore::{Entry, MessageRecord};

use crate::headers::choose_fields;
use crate::proto::section::{HeaderName, Partial, Section, SectionText};

/// Where the octets of a section are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// There is no such part.
    Missing,
    /// Here.
    Here(Bytes),
    /// In the body.
    Octets(Span),
    /// To be chosen from a header in the body.
    Fields {
        /// Where the header is.
        header: Span,
        /// The names of the fields.
        names: Vec<HeaderName>,
        /// The fields with other names are wanted.
        others: bool,
    },
}

/// The whole message.
pub(super) fn whole(entry: &Entry) -> Source {
    Source::Octets(Span { offset: 0, length: entry.size })
}

/// Whether a section is the whole message.
pub(super) fn is_whole(section: &Section) -> bool {
    section.part.0.is_empty() && section.text.is_none()
}

/// Where a section is.
pub(super) fn body_source(section: &Section, record: &MessageRecord) -> Source {
    let path = &section.part.0;
    if is_whole(section) {
        return Source::Octets(Span { offset: 0, length: record.size });
    }
    let Some(part) = record.structure.find(path) else { return Source::Missing };
    let message = if path.is_empty() { Some(part) } else { message_in(part) };
    match (&section.text, message) {
        (None, _) => Source::Octets(part.body),
        (Some(SectionText::Mime), _) => Source::Octets(part.header),
        (Some(_), None) => Source::Missing,
        (Some(SectionText::Header), Some(message)) => Source::Octets(message.header),
        (Some(SectionText::Text), Some(message)) => Source::Octets(message.body),
        (Some(SectionText::HeaderFields(names)), Some(_)) if path.is_empty() && are_listed(names) => {
            Source::Here(fields(&record.listed_headers, names, false))
        }
        (Some(SectionText::HeaderFields(names)), Some(message)) => {
            Source::Fields { header: message.header, names: names.clone(), others: false }
        }
        (Some(SectionText::HeaderFieldsNot(names)), Some(message)) => {
            Source::Fields { header: message.header, names: names.clone(), others: true }
        }
    }
}

fn message_in(part: &Part) -> Option<&Part> {
    match &part.content {
        Content::Message(message) => Some(&message.part),
        _ => None,
    }
}

/// Whether the store keeps all these fields beside the body.
fn are_listed(names: &[HeaderName]) -> bool {
    names.iter().all(|name| LISTED.iter().any(|listed| name.is(listed.as_bytes())))
}

/// The chosen fields of a header, and the empty line.
pub(super) fn fields(header: &[u8], names: &[HeaderName], others: bool) -> Bytes {
    // In order, since both the names and the fields may be thousands.
    let mut wanted: Vec<&[u8]> = names.iter().map(HeaderName::as_bytes).collect();
    wanted.sort_unstable_by(|a, b| compare(a, b));
    let is_wanted = |field: &[u8]| wanted.binary_search_by(|name| compare(name, field)).is_ok();
    choose_fields(header, |field| is_wanted(field) != others).into()
}

/// The order of names of fields, which have no case.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    a.iter().map(u8::to_ascii_lowercase).cmp(b.iter().map(u8::to_ascii_lowercase))
}

/// The range of octets that `<offset.length>` asks for, out of `length`.
pub(super) fn range(partial: Option<Partial>, length: u64) -> (u64, u64) {
    let Some(partial) = partial else { return (0, length) };
    let start = partial.offset.min(length);
    (start, partial.offset.saturating_add(partial.length).min(length).max(start))
}

/// Cuts a source to the octets asked for. Fields are cut when they have been chosen.
pub(super) fn cut(source: Source, partial: Option<Partial>) -> Source {
    match source {
        Source::Here(octets) => {
            let (start, end) = range(partial, octets.len() as u64);
            Source::Here(octets.slice(start as usize..end as usize))
        }
        Source::Octets(span) => {
            let (start, end) = range(partial, span.length);
            Source::Octets(Span { offset: span.offset + start, length: end - start })
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_chosen_by_names_in_any_case_and_order() {
        let names: Vec<HeaderName> = ["to", "Subject", "X-b", "TO", "x-A", "x-"]
            .into_iter()
            .filter_map(|name| HeaderName::new(name.into()))
            .collect();
        let header = b"X-A: 1\r\nX-C: 2\r\nSUBJECT: 3\r\nt: 4\r\nTo: 5\r\nx-B: 6\r\nx-bb: 7\r\n\r\n";
        assert_eq!(fields(header, &names, false), "X-A: 1\r\nSUBJECT: 3\r\nTo: 5\r\nx-B: 6\r\n\r\n");
        assert_eq!(fields(header, &names, true), "X-C: 2\r\nt: 4\r\nx-bb: 7\r\n\r\n");
    }

    #[test]
    fn a_partial_is_cut_to_what_is_there() {
        let partial = |offset, length| Some(Partial { offset, length });
        assert_eq!(range(None, 10), (0, 10));
        assert_eq!(range(partial(3, 4), 10), (3, 7));
        assert_eq!(range(partial(8, 4), 10), (8, 10));
        assert_eq!(range(partial(10, 4), 10), (10, 10), "beyond the end there is nothing");
        assert_eq!(range(partial(u64::MAX, u64::MAX), 10), (10, 10));
    }
}
