//! BODYSTRUCTURE and ENVELOPE of stored messages, in the words of the protocol (RFC 9051 §7.5.2).

use std::borrow::Cow;

use ekitei_mailstore::envelope as stored;
use ekitei_mailstore::structure::{Content, ContentFields, EmbeddedMessage, Part};

use crate::proto::response::{Address, BodyKind, BodyStructure, Disposition, Envelope, SingleFields, Text};

/// What BODY and BODYSTRUCTURE say of a part. As deep as the store lets structures be.
pub(crate) fn body_structure(part: &Part) -> BodyStructure<'_> {
    let fields = &part.fields;
    let (kind, content_parameters) = match &part.content {
        Content::Multipart(parts) => {
            let parts = parts.iter().map(body_structure).collect();
            (BodyKind::Multipart { subtype: text(&fields.subtype), parts }, parameters(&fields.parameters))
        }
        Content::Message(message) => (embedded(part, message), parameters(&fields.parameters)),
        Content::Leaf => leaf(part),
    };
    let disposition = fields
        .disposition
        .as_ref()
        .map(|(kind, values)| Disposition { kind: text(kind), parameters: parameters(values) });
    BodyStructure {
        kind,
        parameters: content_parameters,
        disposition,
        language: fields.language.iter().map(|language| text(language)).collect(),
        location: fields.location.as_deref().map(text),
    }
}

fn leaf(part: &Part) -> (BodyKind<'_>, Vec<(Text<'_>, Text<'_>)>) {
    let fields = &part.fields;
    let is = |media_type: &str| fields.media_type.eq_ignore_ascii_case(media_type);
    if is("text") {
        let kind = BodyKind::Text {
            subtype: text(&fields.subtype),
            fields: single(part),
            lines: u64::from(part.lines),
        };
        return (kind, parameters(&fields.parameters));
    }
    // The grammar has a form of its own for these, with the parts or the message inside. One that was not taken apart, since it is nested
    // too deeply or broken, is octets to a client.
    let opaque = is("multipart") || fields.is("message", "rfc822") || fields.is("message", "global");
    let (media_type, subtype) = if opaque {
        (text("APPLICATION"), text("OCTET-STREAM"))
    } else {
        (text(&fields.media_type), text(&fields.subtype))
    };
    let kind = BodyKind::Basic { media_type, subtype, fields: single(part) };
    (kind, if opaque { Vec::new() } else { parameters(&fields.parameters) })
}

fn embedded<'a>(part: &'a Part, message: &'a EmbeddedMessage) -> BodyKind<'a> {
    BodyKind::Message {
        subtype: text(&part.fields.subtype),
        fields: single(part),
        envelope: Box::new(envelope(stored::envelope(&message.headers))),
        body: Box::new(body_structure(&message.part)),
        lines: u64::from(part.lines),
    }
}

fn single(part: &Part) -> SingleFields<'_> {
    let ContentFields { id, description, encoding, md5, .. } = &part.fields;
    SingleFields {
        id: id.as_deref().map(text),
        description: description.as_deref().map(text),
        encoding: (!encoding.is_empty()).then(|| text(encoding)),
        size: part.body.length,
        md5: md5.as_deref().map(text),
    }
}

fn parameters(parameters: &[(String, String)]) -> Vec<(Text<'_>, Text<'_>)> {
    parameters.iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn text(text: &str) -> Text<'_> {
    Cow::Borrowed(text.as_bytes())
}

/// ENVELOPE as the protocol writes it.
pub(crate) fn envelope(envelope: stored::Envelope) -> Envelope<'static> {
    let list = |list: Vec<stored::Address>| list.into_iter().map(address).collect();
    Envelope {
        date: owned(envelope.date),
        subject: owned(envelope.subject),
        from: list(envelope.from),
        sender: list(envelope.sender),
        reply_to: list(envelope.reply_to),
        to: list(envelope.to),
        cc: list(envelope.cc),
        bcc: list(envelope.bcc),
        in_reply_to: owned(envelope.in_reply_to),
        message_id: owned(envelope.message_id),
    }
}

fn address(address: stored::Address) -> Address<'static> {
    Address {
        name: owned(address.name),
        route: owned(address.route),
        mailbox: owned(address.mailbox),
        host: owned(address.host),
    }
}

fn owned(text: Option<String>) -> Option<Text<'static>> {
    text.map(|text| Cow::Owned(text.into_bytes()))
}
