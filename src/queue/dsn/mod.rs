//! Delivery status notifications (RFC 3461, RFC 3464, RFC 6522, RFC 6533): telling a sender what became of a message, and reading what other
//! services tell.
//!
//! [`compose`] makes one notification for all recipients of a settlement that the sender wants to hear of; [`parse`] reads one, within bounds.
//! Both are pure.

mod address;
mod compose;
mod encode;
mod parse;
mod words;

use std::time::Duration;

use bytes::Bytes;
use ekitei_relay::{Envelope, Failure, Notify, Recipient, Status};

pub use compose::compose;
pub use parse::{MAX_RECIPIENTS, ParsedRecipient, ParsedReport, parse};

/// What happened to a recipient (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// It is returned.
    Failed,
    /// It waits; it is tried on.
    Delayed,
    /// It is in the recipient's mailbox.
    Delivered,
    /// It was handed to a server that will tell nothing of its success.
    Relayed,
    /// It was sent on to several addresses.
    Expanded,
}

impl Action {
    /// The keyword.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }

    /// The action with this keyword, in any case.
    pub fn parse(keyword: &str) -> Option<Self> {
        let all = [Self::Failed, Self::Delayed, Self::Delivered, Self::Relayed, Self::Expanded];
        all.into_iter().find(|action| action.as_str().eq_ignore_ascii_case(keyword))
    }

    /// Whether a sender with this NOTIFY hears of it (RFC 3461 §5.2).
    pub fn is_wanted(self, notify: Option<Notify>) -> bool {
        let notify = notify.unwrap_or(Notify::DEFAULT);
        match self {
            Self::Failed => notify.failure,
            Self::Delayed => notify.delay,
            Self::Delivered | Self::Relayed | Self::Expanded => notify.success,
        }
    }
}

/// What a notification says of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// As RCPT named it.
    pub recipient: Recipient,
    /// What happened.
    pub action: Action,
    /// The status; its class is 2, 4 or 5 as the action demands.
    pub status: Status,
    /// Why it failed or waits.
    pub failure: Option<Failure>,
    /// The server that took it: `host [address]`.
    pub remote: Option<String>,
    /// What that server replied.
    pub reply: Option<String>,
    /// When it was last tried, since the epoch.
    pub last_attempt: Option<Duration>,
    /// Until when it is tried, since the epoch; of one that is delayed.
    pub will_retry_until: Option<Duration>,
}

/// What a notification is made of.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// To whom: the reverse-path of the message, or the postmaster where there is none.
    pub to: &'a str,
    /// Of the message that it is about.
    pub envelope: &'a Envelope,
    /// When that message was received, since the epoch.
    pub received: Duration,
    /// The recipients; those whose sender does not want to hear are to be left out before ([`Action::is_wanted`]).
    pub recipients: &'a [Told],
    /// The beginning of that message: at least its header, if that is not longer than what may be returned.
    pub head: &'a [u8],
    /// The whole message, if it may be returned (RET, and its size).
    pub full: Option<&'a [Bytes]>,
    /// Who reports.
    pub reporter: &'a Reporter,
    /// Makes Message-ID and the boundary unique: letters and digits.
    pub id: &'a str,
    /// Now, since the epoch.
    pub now: Duration,
}

/// Who reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// The name of this service: `Reporting-MTA`.
    pub host: String,
    /// The domain of `MAILER-DAEMON`, and of Message-ID.
    pub domain: String,
    /// Octets of a message's header that are returned, at most; what is longer is cut after a field.
    pub max_header: usize,
}

/// A notification, ready to be queued for the sender of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// Header and body, CRLF line ends.
    pub octets: Bytes,
    /// Whether octets over 127 occur, so that 8BITMIME is needed.
    pub eight_bit: bool,
    /// Whether its header is UTF-8, so that SMTPUTF8 is needed.
    pub smtputf8: bool,
}
