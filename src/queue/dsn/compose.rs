//! Composing a notification: `multipart/report` with a text for people, one for programs, and what is returned of the message.

use std::time::Duration;

use bytes::Bytes;
use mail_parser::{DateTime, MessageParser};

use super::encode::{field, quoted_printable};
use super::{Action, Composed, Report, Told, address, words};

/// Composes a notification; `None` when there is nothing to tell, or nobody to tell it to.
///
/// The whole message comes back only with a failure (RFC 3461 §4.3); otherwise, or where it is too large, its header does. Where the header or
/// an address is not ASCII, the parts are those of RFC 6533; they are encoded unless the notification needs SMTPUTF8 anyway for its own
/// addressee, so that it arrives through servers which do not know SMTPUTF8.
pub fn compose(report: &Report<'_>) -> Option<Composed> {
    if report.recipients.is_empty() || report.to.is_empty() {
        return None;
    }
    let head = header_of(report.head, report.reporter.max_header);
    let parts = Parts::new(report, head);
    let mut out = header(report, head);
    let boundary = format!("=_report_{}", report.id);
    out.extend_from_slice(
        format!(
            "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"{boundary}\"\r\n\r\n"
        )
        .as_bytes(),
    );
    for part in [parts.text(report, head), parts.status(report), parts.returned(report, head)] {
        out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        out.extend_from_slice(&part);
        // The line end before a delimiter belongs to the delimiter (RFC 2046 §5.1.1).
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let eight_bit = !out.is_ascii();
    Some(Composed { octets: Bytes::from(out), eight_bit, smtputf8: parts.smtputf8 })
}

/// A moment in UTC as RFC 5322 §3.3 writes it.
pub(super) fn date(since_epoch: Duration) -> String {
    DateTime::from_timestamp(i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)).to_rfc822()
}

/// The header of the notification, without what MIME adds.
fn header(report: &Report<'_>, head: &[u8]) -> Vec<u8> {
    let unicode = !report.to.is_ascii();
    let domain = &report.reporter.domain;
    let mut out = String::new();
    out += &field("Date", &date(report.now), unicode);
    out += &field("From", &format!("Mail Delivery System <MAILER-DAEMON@{domain}>"), unicode);
    out += &field("To", report.to, unicode);
    out += &field("Subject", words::subject(report.recipients), unicode);
    out += &field("Message-ID", &format!("<{}@{domain}>", report.id), unicode);
    if let Some(id) = MessageParser::default().parse_headers(head).as_ref().and_then(|m| m.message_id()) {
        let is_plain =
            id.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>')) && id.len() <= 900;
        if is_plain {
            out += &field("In-Reply-To", &format!("<{id}>"), unicode);
            out += &field("References", &format!("<{id}>"), unicode);
        }
    }
    out += "Auto-Submitted: auto-replied\r\n";
    out.into_bytes()
}

/// How the parts are written.
struct Parts {
    /// The types of RFC 6533.
    global: bool,
    /// Octets over 127 may stand in the header.
    smtputf8: bool,
}

impl Parts {
    fn new(report: &Report<'_>, head: &[u8]) -> Self {
        let smtputf8 = !report.to.is_ascii();
        let recipients = report.recipients.iter().all(|told| told.recipient.address.is_ascii());
        let global = smtputf8 || report.envelope.smtputf8 || !recipients || !head.is_ascii();
        Self { global, smtputf8 }
    }

    /// The part for people.
    fn text(&self, report: &Report<'_>, head: &[u8]) -> Vec<u8> {
        let original = MessageParser::default().parse_headers(head);
        let subject = original.as_ref().and_then(|message| message.subject());
        let subject = subject.map(|subject| subject.chars().take(200).collect::<String>());
        let text = words::text(report, subject.as_deref());
        let charset = if text.is_ascii() { "us-ascii" } else { "utf-8" };
        self.part(&format!("text/plain; charset={charset}"), "Notification", text.as_bytes(), false)
    }

    /// The part for programs (RFC 3464 §2).
    fn status(&self, report: &Report<'_>) -> Vec<u8> {
        let mut text = String::new();
        if let Some(id) = &report.envelope.envelope_id {
            text += &field("Original-Envelope-Id", id, self.global);
        }
        text += &field("Reporting-MTA", &format!("dns; {}", report.reporter.host), self.global);
        text += &field("Arrival-Date", &date(report.received), self.global);
        for told in report.recipients {
            text += "\r\n";
            text += &recipient_fields(told, self.global);
        }
        let subtype = if self.global { "global-delivery-status" } else { "delivery-status" };
        self.part(&format!("message/{subtype}"), "Delivery report", text.as_bytes(), self.global)
    }

    /// The message, or its header.
    fn returned(&self, report: &Report<'_>, head: &[u8]) -> Vec<u8> {
        let has_failure = report.recipients.iter().any(|told| told.action == Action::Failed);
        if let Some(full) = report.full.filter(|_| has_failure) {
            let subtype = if self.global { "global" } else { "rfc822" };
            let octets = full.concat();
            return self.part(&format!("message/{subtype}"), "Undelivered message", &octets, self.global);
        }
        let content_type = if self.global { "message/global-headers" } else { "text/rfc822-headers" };
        self.part(content_type, "Header of the message", head, self.global)
    }

    /// A part with its header. Text is encoded where it has to be; of messages only those of RFC 6532, since `message/rfc822` may not be
    /// (RFC 2046 §5.2.1).
    fn part(&self, content_type: &str, description: &str, octets: &[u8], global: bool) -> Vec<u8> {
        let may_encode = global || content_type.starts_with("text/plain");
        let encode = !octets.is_ascii() && may_encode && !self.smtputf8;
        let encoding = match (octets.is_ascii(), encode) {
            (true, _) => "7bit",
            (false, true) => "quoted-printable",
            (false, false) => "8bit",
        };
        let mut out = format!(
            "Content-Type: {content_type}\r\nContent-Description: {description}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
        )
        .into_bytes();
        out.extend_from_slice(&if encode { quoted_printable(octets) } else { octets.to_vec() });
        out
    }
}

/// The fields of one recipient (RFC 3464 §2.3).
fn recipient_fields(told: &Told, unicode: bool) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| text += &field(name, value, unicode);
    if let Some(original) = &told.recipient.original {
        line("Original-Recipient", &address::original(original, unicode));
    }
    line("Final-Recipient", &address::field(&told.recipient.address, unicode));
    line("Action", told.action.as_str());
    line("Status", &told.status.to_string());
    let remote =
        told.failure.as_ref().and_then(|failure| failure.remote.as_deref()).or(told.remote.as_deref());
    if let Some(remote) = remote {
        line("Remote-MTA", &format!("dns; {}", remote.split(' ').next().unwrap_or(remote)));
    }
    match (&told.failure, &told.reply) {
        (Some(failure), _) if failure.code.is_some() => {
            line("Diagnostic-Code", &format!("smtp; {}", words::reply_text(failure)));
        }
        (Some(failure), _) => line("Diagnostic-Code", &format!("x-ekitei; {}", failure.text)),
        (None, Some(reply)) => line("Diagnostic-Code", &format!("smtp; {reply}")),
        (None, None) => {}
    }
    if let Some(at) = told.last_attempt {
        line("Last-Attempt-Date", &date(at));
    }
    if let Some(until) = told.will_retry_until.filter(|_| told.action == Action::Delayed) {
        line("Will-Retry-Until", &date(until));
    }
    text
}

/// The header at the beginning of a message, with its last CRLF; cut after a whole field where it is too long.
fn header_of(head: &[u8], limit: usize) -> &[u8] {
    if head.starts_with(b"\r\n") {
        return &[];
    }
    let end = head.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 2);
    let (header, is_whole) = end.map_or((head, false), |end| (&head[..end], true));
    if is_whole && header.len() <= limit {
        return header;
    }
    let header = &header[..header.len().min(limit)];
    // A field ends where a line begins that is no continuation; the last one that can be seen is not known to be whole.
    let field_end = (2..header.len())
        .rev()
        .find(|&at| header[..at].ends_with(b"\r\n") && !matches!(header[at], b' ' | b'\t'));
    &header[..field_end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ekitei_relay::{Envelope, Failure, FailureKind, Notify, OriginalRecipient, Recipient, Status};
    use proptest::prelude::*;

    use super::super::{ParsedReport, Reporter, parse};
    use super::*;

    const HEAD: &[u8] = b"From: a@example.org\r\nSubject: Lunch\r\n on Friday\r\nMessage-ID: <x1@example.org>\r\n\r\nSecret body\r\n";

    fn reporter() -> Reporter {
        Reporter { host: "mx.example.org".into(), domain: "example.org".into(), max_header: 1000 }
    }

    fn recipient(address: &str) -> Recipient {
        let original =
            OriginalRecipient { address_type: "rfc822".into(), address: "Bob+2Bx@example.net".into() };
        Recipient { address: address.into(), notify: None, original: Some(original) }
    }

    fn failed(address: &str, text: &str) -> Told {
        let failure = Failure {
            kind: FailureKind::Recipient,
            status: Status(5, 1, 1),
            code: Some(550),
            text: text.into(),
            remote: Some("mx.example.net [192.0.2.7]".into()),
        };
        Told {
            recipient: recipient(address),
            action: Action::Failed,
            status: failure.status,
            failure: Some(failure),
            remote: None,
            reply: None,
            last_attempt: Some(Duration::from_secs(1_000_100)),
            will_retry_until: None,
        }
    }

    struct Case {
        to: String,
        envelope: Envelope,
        recipients: Vec<Told>,
        head: Vec<u8>,
        full: bool,
    }

    impl Case {
        fn new(recipients: Vec<Told>) -> Self {
            let envelope = Envelope { envelope_id: Some("QQ314159".into()), ..Envelope::default() };
            Self { to: "alice@example.org".into(), envelope, recipients, head: HEAD.to_vec(), full: false }
        }

        fn compose(&self) -> Composed {
            let full = [Bytes::copy_from_slice(&self.head)];
            compose(&Report {
                to: &self.to,
                envelope: &self.envelope,
                received: Duration::from_secs(1_000_000),
                recipients: &self.recipients,
                head: &self.head,
                full: self.full.then_some(&full[..]),
                reporter: &reporter(),
                id: "abc123",
                now: Duration::from_secs(1_000_200),
            })
            .unwrap()
        }

        fn text(&self) -> String {
            String::from_utf8(self.compose().octets.to_vec()).unwrap()
        }

        fn parsed(&self) -> ParsedReport {
            parse(&self.compose().octets).unwrap()
        }
    }

    #[test]
    fn a_failure_says_what_happened_to_people_and_to_programs() {
        let case = Case::new(vec![failed("bob@example.net", "User unknown")]);
        let text = case.text();
        for part in [
            "From: Mail Delivery System <MAILER-DAEMON@example.org>\r\nTo: alice@example.org\r\n",
            "Subject: Your message could not be delivered\r\n",
            "In-Reply-To: <x1@example.org>\r\n",
            "Auto-Submitted: auto-replied\r\n",
            "with the subject: Lunch on Friday\r\n",
            "  bob@example.net\r\n    There is no such address. Please check how it is spelled.\r\n",
            "    mx.example.net [192.0.2.7] said: 550 5.1.1 User unknown\r\n",
            "Content-Type: message/delivery-status\r\n",
            "Original-Envelope-Id: QQ314159\r\nReporting-MTA: dns; mx.example.org\r\n",
            "\r\n\r\nOriginal-Recipient: rfc822; Bob+x@example.net\r\nFinal-Recipient: rfc822; bob@example.net\r\n\
             Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.example.net\r\n\
             Diagnostic-Code: smtp; 550 5.1.1 User unknown\r\n",
            "Content-Type: text/rfc822-headers\r\n",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        assert!(!text.contains("Secret body"), "only the header is returned:\n{text}");
        assert!(!case.compose().eight_bit && !case.compose().smtputf8);
    }

    #[test]
    fn the_whole_message_comes_back_only_with_a_failure() {
        let mut case = Case::new(vec![failed("bob@example.net", "No")]);
        case.full = true;
        assert!(case.text().contains("Content-Type: message/rfc822\r\n"));
        assert!(case.text().contains("Secret body"));
        case.recipients[0].action = Action::Delayed;
        case.recipients[0].will_retry_until = Some(Duration::from_secs(2_000_000));
        let text = case.text();
        assert!(!text.contains("Secret body"), "{text}");
        assert!(text.contains("it is tried again until Sat, 24 Jan 1970\r\n03:33:20 +0000."), "{text}");
        assert!(text.contains("Will-Retry-Until: Sat, 24 Jan 1970 03:33:20 +0000\r\n"), "{text}");
    }

    #[test]
    fn what_is_not_ascii_has_the_types_of_rfc_6533_and_travels_without_smtputf8() {
        let mut case = Case::new(vec![failed("böb@exämple.net", "Ünknown")]);
        let composed = case.compose();
        assert!(!composed.eight_bit && !composed.smtputf8);
        let text = case.text();
        assert!(
            text.contains("message/global-delivery-status") && text.contains("message/global-headers"),
            "{text}"
        );
        let report = case.parsed();
        assert_eq!(report.recipients[0].final_recipient.as_deref(), Some("böb@exämple.net"));
        case.to = "älice@example.org".into();
        let composed = case.compose();
        assert!(composed.eight_bit && composed.smtputf8);
        assert_eq!(case.parsed().recipients, report.recipients);
    }

    #[test]
    fn several_recipients_share_a_notification() {
        let relayed = Told {
            action: Action::Relayed,
            status: Status(2, 0, 0),
            failure: None,
            remote: Some("mx.example.net [192.0.2.7]".into()),
            reply: Some("250 2.0.0 Ok".into()),
            ..failed("carol@example.net", "")
        };
        let case = Case::new(vec![failed("bob@example.net", "No"), relayed]);
        let actions: Vec<_> = case.parsed().recipients.iter().map(|recipient| recipient.action).collect();
        assert_eq!(actions, [Some(Action::Failed), Some(Action::Relayed)]);
    }

    #[test]
    fn notify_decides_what_is_wanted() {
        let only = |success, failure, delay| Some(Notify { success, failure, delay });
        assert!(Action::Failed.is_wanted(None) && Action::Delayed.is_wanted(None));
        assert!(!Action::Relayed.is_wanted(None) && !Action::Delivered.is_wanted(None));
        assert!(Action::Delivered.is_wanted(only(true, false, false)));
        for action in [Action::Failed, Action::Delayed, Action::Delivered, Action::Relayed, Action::Expanded]
        {
            assert!(!action.is_wanted(Some(Notify::NEVER)));
        }
    }

    #[test]
    fn a_header_that_is_too_long_is_cut_after_a_whole_field() {
        let head = b"A: 1\r\nB: 2\r\n 3\r\nC: 4\r\n\r\nbody";
        assert_eq!(header_of(head, 100), b"A: 1\r\nB: 2\r\n 3\r\nC: 4\r\n");
        assert_eq!(header_of(head, 20), b"A: 1\r\nB: 2\r\n 3\r\n");
        assert_eq!(header_of(head, 14), b"A: 1\r\n");
        assert_eq!(header_of(head, 3), b"");
        assert_eq!(header_of(b"\r\nbody", 100), b"");
    }

    proptest! {
        #[test]
        fn what_is_composed_reads_back(
            local in "[a-zöł+=]{1,20}", to in "[a-zö]{1,9}@example\\.org", text in ".{0,300}", head in "[ -~é\r\n]{0,200}",
            action in 0usize..5, full: bool, smtputf8: bool,
        ) {
            const ACTIONS: [Action; 5] =
                [Action::Failed, Action::Delayed, Action::Delivered, Action::Relayed, Action::Expanded];
            let address = format!("{local}@example.net");
            let mut told = failed(&address, &text);
            told.action = ACTIONS[action];
            let mut case = Case::new(vec![told, failed("bob@example.net", "No")]);
            (case.to, case.head, case.full, case.envelope.smtputf8) = (to, head.into_bytes(), full, smtputf8);
            let composed = case.compose();
            prop_assert_eq!(composed.smtputf8, !case.to.is_ascii());
            let report = parse(&composed.octets).unwrap();
            prop_assert_eq!(report.recipients.len(), 2);
            prop_assert_eq!(report.envelope_id.as_deref(), Some("QQ314159"));
            let first = &report.recipients[0];
            prop_assert_eq!(first.final_recipient.as_deref(), Some(address.as_str()));
            prop_assert_eq!(first.original_recipient.as_deref(), Some("Bob+x@example.net"));
            prop_assert_eq!(first.action, Some(ACTIONS[action]));
            prop_assert_eq!(first.status, Some(Status(5, 1, 1)));
            prop_assert_eq!(report.recipients[1].remote_mta.as_deref(), Some("mx.example.net"));
        }
    }
}
