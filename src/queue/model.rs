//! What is queued.

use std::time::Duration;

use bytes::Bytes;
use ekitei_directory::{AccountId, EmailAddress};
use ekitei_relay::{Envelope, Notify, OriginalRecipient};

/// Names a message in the queue: sixteen octets, in the order of arrival; shown as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub(crate) [u8; 16]);

/// Names one destination of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The message.
    pub message: QueueId,
    /// Which of its destinations.
    pub number: u32,
}

/// A message to queue.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// What MAIL said.
    pub envelope: Envelope,
    /// Where it goes; grouped by domain here.
    pub recipients: Vec<NewRecipient>,
    /// When it was received, since the epoch.
    pub received: Duration,
    /// Octets of the message.
    pub size: u64,
    /// Header fields for these recipients only, each with its CRLF; sent in front of the message. (A forwarded message has its ARC set here.)
    pub header: Bytes,
    /// Who submitted it.
    pub account: Option<AccountId>,
    /// How it came: for those who look at the queue.
    pub origin: Origin,
}

/// How a message came into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Origin {
    /// A user submitted it.
    Submission,
    /// A trusted network relayed it.
    Relay,
    /// An alias or group here leads elsewhere.
    Forward,
    /// The service itself: a notification.
    Notification,
    /// The service itself: a report to another domain.
    Report,
}

/// A recipient of a message to queue.
#[derive(Clone, Debug)]
pub struct NewRecipient {
    /// The address.
    pub address: EmailAddress,
    /// `NOTIFY`; `None` if it was not given.
    pub notify: Option<Notify>,
    /// `ORCPT`
    pub original: Option<OriginalRecipient>,
}
