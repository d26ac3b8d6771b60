//! The envelope of a message as FETCH ENVELOPE writes it (RFC 9051 §7.5.2).

use std::borrow::Cow;

use bytes::BytesMut;

use super::text::put_nstring;
use crate::proto::mailbox_name::Encoding;

/// The octets of a header value: unfolded, with encoded-words as they are in the message.
pub type Text<'a> = Cow<'a, [u8]>;

/// The header fields that make an envelope. An absent field is `None`, or an empty list of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `Date`, as it was written.
    pub date: Option<Text<'a>>,
    /// `Subject`
    pub subject: Option<Text<'a>>,
    /// `From`
    pub from: Vec<Address<'a>>,
    /// `Sender`; that of `From` is written if it is empty (RFC 9051 §7.5.2).
    pub sender: Vec<Address<'a>>,
    /// `Reply-To`; that of `From` is written if it is empty.
    pub reply_to: Vec<Address<'a>>,
    /// `To`
    pub to: Vec<Address<'a>>,
    /// `Cc`
    pub cc: Vec<Address<'a>>,
    /// `Bcc`
    pub bcc: Vec<Address<'a>>,
    /// `In-Reply-To`
    pub in_reply_to: Option<Text<'a>>,
    /// `Message-ID`
    pub message_id: Option<Text<'a>>,
}

/// An address, or the start or end of a group of them (RFC 9051 §7.5.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Address<'a> {
    /// The display name.
    pub name: Option<Text<'a>>,
    /// The source route, obsolete.
    pub route: Option<Text<'a>>,
    /// The local part; the group's name at its start, and `None` at its end.
    pub mailbox: Option<Text<'a>>,
    /// The domain; `None` marks group syntax.
    pub host: Option<Text<'a>>,
}

impl<'a> Address<'a> {
    /// An ordinary address.
    pub fn new(name: Option<Text<'a>>, mailbox: Text<'a>, host: Text<'a>) -> Address<'a> {
        Address { name, route: None, mailbox: Some(mailbox), host: Some(host) }
    }

    /// The start of the group `name`, whose addresses follow.
    pub fn group_start(name: Text<'a>) -> Address<'a> {
        Address { mailbox: Some(name), ..Address::default() }
    }

    /// The end of a group.
    pub fn group_end() -> Address<'a> {
        Address::default()
    }
}

pub(super) fn put_envelope<'e>(out: &mut BytesMut, envelope: &'e Envelope<'e>, encoding: Encoding) {
    let or_from = |list: &'e Vec<Address<'e>>| if list.is_empty() { &envelope.from } else { list };
    out.extend_from_slice(b"(");
    put_nstring(out, envelope.date.as_deref(), encoding);
    out.extend_from_slice(b" ");
    put_nstring(out, envelope.subject.as_deref(), encoding);
    let (sender, reply_to) = (or_from(&envelope.sender), or_from(&envelope.reply_to));
    for list in [&envelope.from, sender, reply_to, &envelope.to, &envelope.cc, &envelope.bcc] {
        out.extend_from_slice(b" ");
        put_addresses(out, list, encoding);
    }
    for value in [&envelope.in_reply_to, &envelope.message_id] {
        out.extend_from_slice(b" ");
        put_nstring(out, value.as_deref(), encoding);
    }
    out.extend_from_slice(b")");
}

fn put_addresses(out: &mut BytesMut, addresses: &[Address<'_>], encoding: Encoding) {
    if addresses.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    out.extend_from_slice(b"(");
    for address in addresses {
        let fields = [&address.name, &address.route, &address.mailbox, &address.host];
        for (i, field) in fields.into_iter().enumerate() {
            out.extend_from_slice(if i == 0 { b"(" } else { b" " });
            put_nstring(out, field.as_deref(), encoding);
        }
        out.extend_from_slice(b")");
    }
    out.extend_from_slice(b")");
}
