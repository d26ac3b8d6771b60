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
    /// The message as it is to be stored, without forged fields and with what scanners changed; `None` if it is as it came.
    pub message: Option<Bytes>,
    /// Fields to put in front, each with its CRLF: Authentication-Results, Received-SPF, scanners' fields.
    pub header: Vec<u8>,
    /// The value of Authentication-Results, for ARC.
    pub results: String,
}
