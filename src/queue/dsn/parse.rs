//! Reading a notification that another service sent: what it says of each recipient.
//!
//! Everything is bounded: the octets that are looked at, the parts, the fields and the recipients. What is beyond is left out, and what
//! cannot be read is `None`; nothing in a notification is trusted to be true.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ekitei_relay::Status;

use super::encode::decode_quoted_printable;
use super::{Action, address};

/// Recipients of a report that are read.
pub const MAX_RECIPIENTS: usize = 1000;
/// Octets of a message that are looked at.
const MAX_OCTETS: usize = 4 << 20;
/// Octets of the status part that are read.
const MAX_STATUS: usize = 1 << 20;
/// Octets of a header.
const MAX_HEADER: usize = 64 << 10;
/// Parts of the message that are looked at.
const MAX_PARTS: usize = 20;
/// Octets of a field's value.
const MAX_VALUE: usize = 2000;

/// What a notification says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedReport {
    /// `Original-Envelope-Id`: ENVID of the message.
    pub envelope_id: Option<String>,
    /// `Reporting-MTA`: who says so.
    pub reporting_mta: Option<String>,
    /// Its recipients, at most [`MAX_RECIPIENTS`]; never none.
    pub recipients: Vec<ParsedRecipient>,
    /// Message-ID of the message that it is about, without brackets, if its header came back.
    pub message_id: Option<String>,
}

/// What a notification says of a recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedRecipient {
    /// As the sender named it, if the notification says.
    pub original_recipient: Option<String>,
    /// As it was named in the end.
    pub final_recipient: Option<String>,
    /// What happened.
    pub action: Option<Action>,
    /// The status.
    pub status: Option<Status>,
    /// The server that said so.
    pub remote_mta: Option<String>,
    /// What it said.
    pub diagnostic: Option<String>,
}

/// Reads a notification; `None` when the message is none (RFC 6522, RFC 3464), or tells of no recipient.
pub fn parse(message: &[u8]) -> Option<ParsedReport> {
    let message = &message[..message.len().min(MAX_OCTETS)];
    let (header, body) = split_header(message)?;
    let content_type = ContentType::of(header)?;
    if content_type.media_type != "multipart/report" {
        return None;
    }
    if content_type.parameter("report-type").is_some_and(|kind| !kind.eq_ignore_ascii_case("delivery-status"))
    {
        return None;
    }
    let boundary = content_type.parameter("boundary").filter(|b| !b.is_empty() && b.len() <= 70)?;
    let mut report = None;
    let mut message_id = None;
    for part in parts(body, boundary) {
        let Some((header, content)) = split_header(part) else { continue };
        let Some(content_type) = ContentType::of(header) else { continue };
        match content_type.media_type.as_str() {
            "message/delivery-status" | "message/global-delivery-status" if report.is_none() => {
                report = read_status(&decode(header, content));
            }
            "message/rfc822" | "message/global" | "text/rfc822-headers" | "message/global-headers" => {
                let original = decode(header, &content[..content.len().min(MAX_HEADER)]);
                let original = split_header(&original).map_or(&original[..], |(header, _)| header);
                let id = fields(original).find(|(name, _)| name == "message-id").map(|(_, value)| value);
                message_id =
                    id.map(|id| id.trim_matches(['<', '>', ' ']).to_owned()).filter(|id| !id.is_empty());
            }
            _ => {}
        }
    }
    report.map(|report| ParsedReport { message_id, ..report })
}

/// Reads the status part: groups of fields with empty lines between them, the first one about the message.
fn read_status(text: &[u8]) -> Option<ParsedReport> {
    let text = &text[..text.len().min(MAX_STATUS)];
    let mut report =
        ParsedReport { envelope_id: None, reporting_mta: None, recipients: Vec::new(), message_id: None };
    for group in groups(text).take(MAX_RECIPIENTS + 1) {
        let mut recipient = ParsedRecipient::default();
        let mut is_recipient = false;
        for (name, value) in fields(group) {
            match name.as_str() {
                "original-envelope-id" => report.envelope_id = Some(value),
                "reporting-mta" => report.reporting_mta = typed(&value),
                "original-recipient" => recipient.original_recipient = address::read(&value).map(|(_, a)| a),
                "final-recipient" => {
                    recipient.final_recipient = address::read(&value).map(|(_, address)| address);
                    is_recipient = true;
                }
                "action" => {
                    recipient.action = Action::parse(value.split([' ', '(']).next().unwrap_or_default());
                    is_recipient = true;
                }
                "status" => recipient.status = status(&value),
                "remote-mta" => recipient.remote_mta = typed(&value),
                "diagnostic-code" => recipient.diagnostic = typed(&value),
                _ => {}
            }
        }
        if is_recipient && report.recipients.len() < MAX_RECIPIENTS {
            report.recipients.push(recipient);
        }
    }
    (!report.recipients.is_empty()).then_some(report)
}

/// `type; value` without its type.
fn typed(value: &str) -> Option<String> {
    let value = value.split_once(';').map_or(value, |(_, value)| value).trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// `5.1.1`, and whatever comment follows it.
fn status(value: &str) -> Option<Status> {
    let mut numbers = value.trim().split([' ', '(']).next()?.split('.');
    let (class, subject, detail) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let status = Status(class.parse().ok()?, subject.parse().ok()?, detail.parse().ok()?);
    (matches!(status.0, 2 | 4 | 5) && status.1 < 1000 && status.2 < 1000 && numbers.next().is_none())
        .then_some(status)
}

/// Splits at the first empty line; a message or part that begins with one has no header.
fn split_header(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    while at < message.len().min(MAX_HEADER) {
        let end = memchr::memchr(b'\n', &message[at..]).map_or(message.len(), |newline| at + newline + 1);
        if matches!(&message[at..end], b"\r\n" | b"\n") {
            return Some((&message[..at], &message[end..]));
        }
        at = end;
    }
    None
}

/// Lines with their line ends.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&octet| octet == b'\n')
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Groups of lines between empty ones.
fn groups(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let length = lines(rest).take_while(|line| !without_line_end(line).trim_ascii().is_empty());
            let length: usize = length.map(<[u8]>::len).sum();
            let (group, after) = rest.split_at(length);
            let separator = lines(after).next().map_or(0, <[u8]>::len);
            rest = &after[separator..];
            if !group.is_empty() {
                return Some(group);
            }
        }
        None
    })
}

/// Fields: the name in lower case, and the unfolded value.
fn fields(header: &[u8]) -> impl Iterator<Item = (String, String)> {
    let mut lines = lines(header).peekable();
    std::iter::from_fn(move || {
        loop {
            let line = without_line_end(lines.next()?);
            let mut value = String::new();
            let name = line.iter().position(|&octet| octet == b':').map(|colon| {
                append(&mut value, &line[colon + 1..]);
                String::from_utf8_lossy(&line[..colon]).trim().to_ascii_lowercase()
            });
            while let Some(continuation) = lines.next_if(|line| matches!(line.first(), Some(b' ' | b'\t'))) {
                append(&mut value, without_line_end(continuation));
            }
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                return Some((name, value));
            }
        }
    })
}

/// Appends a line of a folded value, with one space for the fold.
fn append(value: &mut String, line: &[u8]) {
    let line = line.trim_ascii();
    let room = MAX_VALUE.saturating_sub(value.len());
    let text = String::from_utf8_lossy(&line[..line.len().min(room)]);
    if !value.is_empty() && !text.is_empty() {
        value.push(' ');
    }
    value.extend(text.chars().filter(|c| !c.is_control()));
}

/// Content-Type.
struct ContentType {
    /// `type/subtype` in lower case.
    media_type: String,
    parameters: Vec<(String, String)>,
}

impl ContentType {
    fn of(header: &[u8]) -> Option<Self> {
        let (_, value) = fields(header).find(|(name, _)| name == "content-type")?;
        let (media_type, mut rest) = value.split_once(';').unwrap_or((&value, ""));
        let media_type = media_type.trim().to_ascii_lowercase();
        let mut parameters = Vec::new();
        while let Some((name, after)) = rest.split_once('=') {
            let name = name.trim_matches([' ', '\t', ';']).to_ascii_lowercase();
            let after = after.trim_start();
            let (text, tail) = match after.strip_prefix('"') {
                Some(quoted) => unquote(quoted),
                None => {
                    let (text, tail) = after.split_once(';').unwrap_or((after, ""));
                    (text.trim().to_owned(), tail)
                }
            };
            parameters.push((name, text));
            rest = tail;
        }
        Some(Self { media_type, parameters })
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A quoted string without its opening quote, and what follows it.
fn unquote(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, &quoted[at + 1..]),
            '\\' => text.extend(chars.next().map(|(_, c)| c)),
            c => text.push(c),
        }
    }
    (text, "")
}

/// The parts of a multipart body, without preamble and epilogue.
fn parts<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let delimiter = format!("--{boundary}").into_bytes();
    let mut parts = Vec::new();
    let mut start = None;
    let mut at = 0;
    for line in lines(body) {
        let rest = line.strip_prefix(&delimiter[..]).map(<[u8]>::trim_ascii_end);
        if matches!(rest, Some(b"" | b"--")) {
            if let Some(start) = start {
                parts.push(without_line_end(&body[start..at]));
            }
            start = Some(at + line.len());
            if rest == Some(b"--") || parts.len() == MAX_PARTS {
                return parts;
            }
        }
        at += line.len();
    }
    // A part without a closing delimiter: the message was cut.
    parts.extend(start.map(|start| &body[start..]));
    parts
}

/// A part's content without its transfer encoding; what does not decode is as it stands.
fn decode(header: &[u8], content: &[u8]) -> Vec<u8> {
    let encoding = fields(header).find(|(name, _)| name == "content-transfer-encoding");
    match encoding.map(|(_, value)| value.to_ascii_lowercase()).as_deref() {
        Some("quoted-printable") => decode_quoted_printable(content),
        Some("base64") => {
            let digits: Vec<u8> =
                content.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
            // What was cut may end within four digits.
            let whole = digits.len() / 4 * 4;
            STANDARD.decode(&digits[..whole]).unwrap_or_else(|_| content.to_vec())
        }
        _ => content.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// As Postfix writes them, shortened.
    const POSTFIX: &str = "From: MAILER-DAEMON@mx.example.net\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n\
        \tboundary=\"B1/x\"\r\n\r\nThis is a MIME-encapsulated message.\r\n\r\n--B1/x\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n\r\n\
        --B1/x\r\nContent-Description: Delivery report\r\nContent-Type: message/delivery-status\r\n\r\n\
        Reporting-MTA: dns; mx.example.net\r\nOriginal-Envelope-Id: E1\r\nX-Postfix-Queue-ID: 4F\r\n\r\n\
        Final-Recipient: rfc822; bob@example.net\r\nOriginal-Recipient: rfc822;Bob@example.net\r\nAction: failed\r\n\
        Status: 5.1.1\r\nRemote-MTA: dns; in.example.net\r\nDiagnostic-Code: smtp; 550 5.1.1 <bob@example.net>: User\r\n    unknown\r\n\
        \r\nFinal-Recipient: rfc822; carol@example.net\r\nAction: delayed (for now)\r\nStatus: 4.2.2 (full)\r\n\r\n\
        --B1/x\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <m1@example.org>\r\nSubject: x\r\n\r\nbody\r\n\r\n--B1/x--\r\n";

    #[test]
    fn a_report_of_another_service_is_read() {
        let report = parse(POSTFIX.as_bytes()).unwrap();
        assert_eq!(report.envelope_id.as_deref(), Some("E1"));
        assert_eq!(report.reporting_mta.as_deref(), Some("mx.example.net"));
        assert_eq!(report.message_id.as_deref(), Some("m1@example.org"));
        let bob = ParsedRecipient {
            original_recipient: Some("Bob@example.net".into()),
            final_recipient: Some("bob@example.net".into()),
            action: Some(Action::Failed),
            status: Some(Status(5, 1, 1)),
            remote_mta: Some("in.example.net".into()),
            diagnostic: Some("550 5.1.1 <bob@example.net>: User unknown".into()),
        };
        assert_eq!(report.recipients[0], bob);
        let carol = &report.recipients[1];
        assert_eq!((carol.action, carol.status), (Some(Action::Delayed), Some(Status(4, 2, 2))));
    }

    #[test]
    fn what_is_no_report_is_none() {
        for text in [
            "Subject: hello\r\n\r\nbody",
            "Content-Type: multipart/report; report-type=disposition-notification; boundary=x\r\n\r\n--x\r\n",
            "Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; a\r\n--x--",
            "Content-Type: multipart/report; boundary=\"\"\r\n\r\n----\r\n",
            "",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn more_recipients_than_anyone_has_are_left_out() {
        let many = "Final-Recipient: rfc822; a@b\r\nAction: failed\r\nStatus: 5.0.0\r\n\r\n"
            .repeat(3 * MAX_RECIPIENTS);
        let text =
            POSTFIX.replace("Final-Recipient: rfc822; bob", &format!("{many}Final-Recipient: rfc822; bob"));
        assert_eq!(parse(text.as_bytes()).unwrap().recipients.len(), MAX_RECIPIENTS);
    }

    proptest! {
        #[test]
        fn damage_does_no_harm(at in 0..POSTFIX.len(), octets in proptest::collection::vec(any::<u8>(), 0..20), cut in 0..POSTFIX.len()) {
            let mut message = POSTFIX.as_bytes().to_vec();
            message.splice(at..at, octets);
            message.truncate(cut.max(at));
            if let Some(report) = parse(&message) {
                prop_assert!(!report.recipients.is_empty());
            }
        }

        #[test]
        fn noise_is_no_report(octets in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(parse(&octets), None);
        }
    }
}
