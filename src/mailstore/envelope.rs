//! ENVELOPE and the header fields that clients list by.

use crate::header::{Field, Tokens, fields};

/// Header fields kept beside every message, lower case: what clients list, sort and thread by. Any other field is read from the body.
pub const LISTED: &[&str] = &[
    "bcc",
    "cc",
    "content-type",
    "date",
    "from",
    "importance",
    "in-reply-to",
    "list-id",
    "list-post",
    "message-id",
    "mime-version",
    "newsgroups",
    "priority",
    "references",
    "reply-to",
    "sender",
    "subject",
    "to",
    "x-priority",
    "x-spam-flag",
];

/// Fields that ENVELOPE is made of.
const ENVELOPE: &[&str] =
    &["bcc", "cc", "date", "from", "in-reply-to", "message-id", "reply-to", "sender", "subject", "to"];

/// ENVELOPE (RFC 9051 §7.5.2): strings raw as in the header, unfolded, encoded words kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Date
    pub date: Option<String>,
    /// Subject
    pub subject: Option<String>,
    /// From
    pub from: Vec<Address>,
    /// Sender; From where missing.
    pub sender: Vec<Address>,
    /// Reply-To; From where missing.
    pub reply_to: Vec<Address>,
    /// To
    pub to: Vec<Address>,
    /// Cc
    pub cc: Vec<Address>,
    /// Bcc
    pub bcc: Vec<Address>,
    /// In-Reply-To
    pub in_reply_to: Option<String>,
    /// Message-ID
    pub message_id: Option<String>,
}

/// An address of an ENVELOPE. A group begins with one whose host is `None` and whose mailbox is the group's name, and ends with one
/// where both are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The display name, raw.
    pub name: Option<String>,
    /// The source route.
    pub route: Option<String>,
    /// The local part, or a group's name.
    pub mailbox: Option<String>,
    /// The domain.
    pub host: Option<String>,
}

/// ENVELOPE of these raw header fields. Of a field that is there twice, the first counts.
pub fn envelope(headers: &[u8]) -> Envelope {
    let mut envelope = Envelope::default();
    for field in fields(headers) {
        let text = |slot: &mut Option<String>| {
            slot.get_or_insert_with(|| field.unfolded());
        };
        let list = |slot: &mut Vec<Address>| {
            if slot.is_empty() {
                *slot = addresses(&field.unfolded());
            }
        };
        match field.name.to_ascii_lowercase().as_str() {
            "date" => text(&mut envelope.date),
            "subject" => text(&mut envelope.subject),
            "in-reply-to" => text(&mut envelope.in_reply_to),
            "message-id" => text(&mut envelope.message_id),
            "from" => list(&mut envelope.from),
            "sender" => list(&mut envelope.sender),
            "reply-to" => list(&mut envelope.reply_to),
            "to" => list(&mut envelope.to),
            "cc" => list(&mut envelope.cc),
            "bcc" => list(&mut envelope.bcc),
            _ => {}
        }
    }
    if envelope.sender.is_empty() {
        envelope.sender = envelope.from.clone();
    }
    if envelope.reply_to.is_empty() {
        envelope.reply_to = envelope.from.clone();
    }
    envelope
}

/// The raw fields of `header` that [`LISTED`] names.
pub(crate) fn listed_fields(header: &[u8]) -> Vec<u8> {
    select(header, LISTED)
}

/// The raw fields of `header` that ENVELOPE needs.
pub(crate) fn envelope_fields(header: &[u8]) -> Vec<u8> {
    select(header, ENVELOPE)
}

fn select(header: &[u8], names: &[&str]) -> Vec<u8> {
    let wanted = |field: &Field<'_>| names.iter().any(|name| field.is(name));
    fields(header).filter(wanted).flat_map(|field| field.raw).copied().collect()
}

/// The addresses of an address list (RFC 5322 §3.4), as far as they can be read; obsolete and slightly broken forms too.
pub(crate) fn addresses(text: &str) -> Vec<Address> {
    let mut tokens = Tokens { text };
    let mut found = Vec::new();
    let mut in_group = false;
    while let Some(next) = tokens.peek() {
        match next {
            ',' => _ = tokens.skip(','),
            ';' => {
                tokens.skip(';');
                if std::mem::take(&mut in_group) {
                    found.push(Address::default());
                }
            }
            _ => read_address(&mut tokens, &mut found, &mut in_group),
        }
    }
    if in_group {
        found.push(Address::default());
    }
    found
}

fn read_address(tokens: &mut Tokens<'_>, found: &mut Vec<Address>, in_group: &mut bool) {
    let words = tokens.until(&[',', ';', ':', '<', '@']);
    match tokens.peek() {
        Some(':') => {
            tokens.skip(':');
            *in_group = true;
            found.push(Address { mailbox: Some(words), ..Address::default() });
        }
        Some('<') => {
            tokens.skip('<');
            let mut address = angle(tokens);
            address.name = (!words.is_empty()).then_some(words);
            found.push(address);
        }
        Some('@') => {
            tokens.skip('@');
            let rest = tokens.text;
            let host = tokens.until(&[',', ';', '<']);
            // `a@b <a@b>`, which is not allowed but common: the name is what stands before the bracket.
            if tokens.skip('<') {
                found.push(Address { name: Some(format!("{words}@{host}")), ..angle(tokens) });
                return;
            }
            // `a@b (A B)`, the name as it was written before RFC 822.
            let read = &rest[..rest.len() - tokens.text.len()];
            let comment = read.find('(').map(|at| Tokens { text: &read[at..] }.comment());
            found.push(Address {
                name: comment.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()),
                route: None,
                mailbox: Some(local_part(&words)),
                host: Some(without_blanks(&host)),
            });
        }
        _ if !words.is_empty() => {
            found.push(Address { mailbox: Some(words), host: Some(String::new()), ..Address::default() });
        }
        _ => _ = tokens.until(&[',', ';']),
    }
}

/// What is between angle brackets; the opening one is read already.
fn angle(tokens: &mut Tokens<'_>) -> Address {
    let mut address = Address::default();
    if tokens.peek() == Some('@') {
        address.route = Some(without_blanks(&tokens.until(&[':', '>'])));
        tokens.skip(':');
    }
    let local = local_part(&tokens.until(&['@', '>']));
    let host = if tokens.skip('@') { without_blanks(&tokens.until(&['>'])) } else { String::new() };
    tokens.skip('>');
    address.mailbox = Some(local);
    address.host = Some(host);
    address
}

/// A local part without the blanks that the obsolete syntax allows around its dots.
fn local_part(text: &str) -> String {
    text.replace(" .", ".").replace(". ", ".")
}

fn without_blanks(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(name: Option<&str>, mailbox: &str, host: &str) -> Address {
        Address {
            name: name.map(Into::into),
            route: None,
            mailbox: Some(mailbox.into()),
            host: Some(host.into()),
        }
    }

    #[test]
    fn addresses_are_read_in_all_their_forms() {
        let cases: &[(&str, &[Address])] = &[
            ("a@b.test", &[one(None, "a", "b.test")]),
            ("A B <a@b.test>", &[one(Some("A B"), "a", "b.test")]),
            ("\"B, A\" <a@b.test>, c@d.test", &[one(Some("B, A"), "a", "b.test"), one(None, "c", "d.test")]),
            ("=?utf-8?q?J=C3=B6rg?= <j@x.test>", &[one(Some("=?utf-8?q?J=C3=B6rg?="), "j", "x.test")]),
            ("\"a b\"@x.test", &[one(None, "a b", "x.test")]),
            (
                "a@x.test (A (the) B), b@x.test ()",
                &[one(Some("A the B"), "a", "x.test"), one(None, "b", "x.test")],
            ),
            ("a@x.test via List <l@y.test>", &[one(Some("a@x.test via List"), "l", "y.test")]),
            ("a . b @ x . test", &[one(None, "a.b", "x.test")]),
            ("a@b <c@d>", &[one(Some("a@b"), "c", "d")]),
            ("nobody", &[one(None, "nobody", "")]),
            ("<>", &[one(None, "", "")]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(&addresses(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_group_begins_and_ends_with_a_marker() {
        let found = addresses("Friends: a@b.test, C <c@d.test>;, x@y.test");
        assert_eq!(found.len(), 5);
        assert_eq!((found[0].mailbox.as_deref(), &found[0].host), (Some("Friends"), &None));
        assert_eq!(found[3], Address::default());
        assert_eq!(addresses("undisclosed-recipients:;").len(), 2);
    }

    #[test]
    fn a_source_route_is_kept_apart() {
        let found = addresses("<@hop.test,@hop2.test:a@b.test>");
        assert_eq!(found[0].route.as_deref(), Some("@hop.test,@hop2.test"));
        assert_eq!(found[0].mailbox.as_deref(), Some("a"));
    }

    #[test]
    fn sender_and_reply_to_default_to_from() {
        let envelope = envelope(b"From: a@b.test\r\nSubject: one\r\nSubject: two\r\n\r\n");
        assert_eq!(envelope.sender, envelope.from);
        assert_eq!(envelope.reply_to, envelope.from);
        assert_eq!(envelope.subject.as_deref(), Some("one"));
        assert!(envelope.to.is_empty() && envelope.date.is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in "[ -~\"<>@,;:()\\\\é]{0,80}") {
            let _ = addresses(&text);
        }
    }
}
