//! Failures from replies, from connections that break, and of our own.

use crate::outcome::{Failure, FailureKind, RecipientOutcome};
use crate::proto::reply::{Reply, truncate};
use crate::proto::status::{Phase, Status};
use crate::wire::WireError;

/// The most octets of [`Failure::text`].
const TEXT: usize = 1000;

impl Failure {
    /// A failure that no reply is the cause of. Its text may quote what others chose, such as the names in a certificate.
    pub(crate) fn new(kind: FailureKind, status: Status, text: impl Into<String>) -> Self {
        let mut text = text.into();
        truncate(&mut text, TEXT);
        if text.contains(char::is_control) {
            text = text.replace(char::is_control, "?");
        }
        Self { kind, status, code: None, text, remote: None }
    }

    /// What a server said.
    pub(crate) fn of_reply(kind: FailureKind, reply: &Reply, phase: Phase) -> Self {
        let (status, text) = (reply.status(phase), reply.summary(TEXT));
        Self { kind, status, code: Some(reply.code()), text, remote: None }
    }

    /// A reply that is not one to what was asked.
    pub(crate) fn unexpected(reply: &Reply, waiting_for: &str) -> Self {
        let text = format!("unexpected answer to {waiting_for}: {}", reply.summary(TEXT));
        Self { code: Some(reply.code()), ..Self::new(FailureKind::Protocol, Status(4, 5, 0), text) }
    }

    /// A connection that broke while something was waited for.
    pub(crate) fn of_wire(error: &WireError, waiting_for: &str) -> Self {
        let (kind, status) = match error {
            WireError::Timeout | WireError::Closed | WireError::Io(_) => {
                (FailureKind::Connection, Status(4, 4, 2))
            }
            WireError::Reply(_) | WireError::Unasked => (FailureKind::Protocol, Status(4, 5, 0)),
        };
        Self::new(kind, status, format!("{error} (waiting for {waiting_for})"))
    }

    /// The work may be somebody else's now.
    pub(crate) fn fenced() -> Self {
        Self::new(FailureKind::Fenced, Status(4, 3, 2), "somebody else may be sending this; it was not sent")
    }

    /// For now or for ever, by the class of the status.
    pub(crate) fn into_outcome(self) -> RecipientOutcome {
        if self.status.0 == 5 { RecipientOutcome::Failed(self) } else { RecipientOutcome::Deferred(self) }
    }

    /// The same, said of a server: `host [address]`.
    #[must_use]
    pub(crate) fn at(self, remote: &str) -> Self {
        Self { remote: Some(remote.to_owned()), ..self }
    }

    /// The same as a temporary failure: a permanent refusal by one server is not one by the destination (RFC 5321 §5.1).
    #[must_use]
    pub(crate) fn temporary(mut self) -> Self {
        self.status.0 = 4;
        self
    }
}
