//! What the filter says of a client, a recipient, a message.

use bytes::Bytes;

/// Whether to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// Refuse this step.
    Refuse(Refusal),
    /// Refuse this step, and close the connection.
    Disconnect(Refusal),
}

/// A refusal in the words of SMTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reply code, 4xx or 5xx.
    pub code: u16,
    /// The enhanced status code, such as `5.7.26`.
    pub enhanced: String,
    /// The text, one line.
    pub text: String,
}

impl Refusal {
    /// A refusal; control characters and what is not ASCII, which a reply cannot carry, are taken out of its text.
    pub fn new(code: u16, enhanced: impl Into<String>, text: impl AsRef<str>) -> Self {
        let text: String = text.as_ref().chars().filter(|c| matches!(c, ' '..='~')).take(400).collect();
        Self { code, enhanced: enhanced.into(), text }
    }

    /// Whether the client is asked to come again.
    pub fn is_temporary(&self) -> bool {
        self.code < 500
    }
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It is delivered.
    Accept,
    /// It is delivered to the mailbox for junk.
    Junk,
    /// It is taken and kept from everyone: accepted and dropped, as a milter may ask for.
    Discard,
    /// It is refused.
    Refuse(Refusal),
}

/// The result of all checks of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What becomes of it.
    pub disposition: Disposition,
    /// Domains of recipients (lower case, A-labels) whose own policy puts it into the mailbox for junk, though `disposition` is
    /// [`Disposition::Accept`].
    pub junk_for: Vec<String>,
    /// The message as it is to be stored, without forged fields and with what scanners changed; `None` if it is as it came.
    pub message: Option<Bytes>,
    /// Fields to put in front, each with its CRLF: Authentication-Results, Received-SPF, scanners' fields.
    pub header: Vec<u8>,
    /// The value of Authentication-Results, for ARC; empty if nothing was checked.
    pub results: String,
    /// What milters changed about the envelope.
    pub envelope: EnvelopeChanges,
}

/// What milters want changed about the envelope. Addresses are without brackets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvelopeChanges {
    /// The new reverse-path; empty for the null reverse-path.
    pub sender: Option<String>,
    /// More recipients. Whether the message may go to them is the server's to say.
    pub added: Vec<String>,
    /// Recipients who are not to have it.
    pub removed: Vec<String>,
}

impl Judgement {
    /// A message that is taken as it came.
    pub fn accept() -> Self {
        Self {
            disposition: Disposition::Accept,
            junk_for: Vec::new(),
            message: None,
            header: Vec::new(),
            results: String::new(),
            envelope: EnvelopeChanges::default(),
        }
    }

    /// Whether the message belongs into the mailbox for junk of recipients of this domain.
    pub fn is_junk_for(&self, domain: &str) -> bool {
        self.disposition == Disposition::Junk
            || self.junk_for.iter().any(|of| of.eq_ignore_ascii_case(domain))
    }
}
