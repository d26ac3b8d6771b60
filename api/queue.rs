//! The outgoing queue: what waits, why, and what is to become of it.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::client::{Client, PageQuery, Result};
use crate::types::Page;

/// Where an entry waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueState {
    /// To be tried as soon as may be, or being tried.
    Active,
    /// For its next attempt.
    Deferred,
    /// Held by an administrator.
    Held,
}

/// Which entries; all that is given has to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct QueueFilter {
    /// The reverse-path: an address, `@domain` for all of a domain, or `<>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// A recipient that still waits: an address, or `@domain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// The destination domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The last failure: an enhanced status code or its beginning (`4.4.1`, `4.4.`), a reply code (`451`), a category (`greylisted`), or some of its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// In the queue for at least so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than: Option<u64>,
    /// In the queue for less than so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newer_than: Option<u64>,
    /// Where it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<QueueState>,
    /// Who submitted it, by address or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// What is said of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueFailure {
    /// The enhanced status code (RFC 3463).
    #[schema(example = "4.4.1")]
    pub status: String,
    /// The reply code, if a server gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// What kind of failure it is, found from the codes and the words: `bad-mailbox`, `greylisted`, `tls`, ... Absent from older services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "connection")]
    pub category: Option<String>,
    /// What the server said, or what went wrong.
    pub text: String,
    /// The server: `host [address]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
}

/// What became of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecipientState {
    /// It waits.
    Waiting,
    /// It was sent.
    Sent,
    /// It was returned to the sender.
    Failed,
}

/// A recipient of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueRecipient {
    /// The address.
    pub address: String,
    /// What became of it.
    pub state: RecipientState,
    /// Why it failed, at last or for the time being.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<QueueFailure>,
    /// The server that took it, and what it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// When it was sent or returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
}

/// A message on its way to one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueEntry {
    /// Its id: that of the message, a hyphen, and the number of the destination.
    #[schema(example = "0199f2ab84d0c1d2e3f405162738495a-0")]
    pub id: String,
    /// The reverse-path; empty for `<>`.
    pub sender: String,
    /// The destination domain as A-labels, or an address literal.
    pub destination: String,
    /// Its recipients, at most 100.
    pub recipients: Vec<QueueRecipient>,
    /// Where it waits.
    pub state: QueueState,
    /// Why it waits, in one line.
    pub reason: String,
    /// Attempts that were made.
    pub attempts: u32,
    /// When the last one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<u64>,
    /// When the next one is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<u64>,
    /// When the message was received.
    pub received: u64,
    /// Octets of the message.
    pub size: u64,
    /// How the message came: `submission`, `relay`, `forward`, `notification`, `report`; `delivered` or `expanded` for what is here already, and waits only so
    /// that its sender is told.
    pub origin: String,
    /// The number of the account that submitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<u64>,
}

/// The envelope of a queued message, and its entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueuedMessage {
    /// The id of the message.
    pub id: String,
    /// The reverse-path; empty for `<>`.
    pub sender: String,
    /// `RET` of the envelope: `FULL` or `HDRS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<String>,
    /// `ENVID` of the envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope_id: Option<String>,
    /// It goes over verified TLS or not at all (RFC 8689).
    pub require_tls: bool,
    /// It needs SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// `MT-PRIORITY` (RFC 6710).
    pub priority: i8,
    /// By when it must be delivered (RFC 2852).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_by: Option<u64>,
    /// When it was received.
    pub received: u64,
    /// Its octets.
    pub size: u64,
    /// What is left of it in the queue.
    pub entries: Vec<QueueEntry>,
}

/// What is done to entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueAction {
    /// They are not sent until they are released.
    Hold,
    /// They are sent, if they were held.
    Release,
    /// They are tried now, if they wait for their next attempt. What is held stays held.
    Retry,
    /// They are returned to their senders.
    Bounce,
    /// They are removed, and nobody is told.
    Delete,
}

/// What is to be done, and to which entries: give either `ids` or `filter`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueOrder {
    /// What.
    pub action: QueueAction,
    /// Entries, or messages with all their entries; at most 1000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// All entries like this, some of them with each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<QueueFilter>,
    /// The `next` of the request before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueDone {
    /// Entries that are different now, or gone. Those that were like that already do not count.
    pub changed: u64,
    /// What to pass as `after` for those that are left; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Entries by where they wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueFigures {
    /// See [`QueueState::Active`].
    pub active: u64,
    /// See [`QueueState::Deferred`].
    pub deferred: u64,
    /// See [`QueueState::Held`].
    pub held: u64,
}

/// What waits for a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueDestination {
    /// The domain as A-labels, or an address literal.
    pub destination: String,
    /// Its entries.
    pub entries: QueueFigures,
}

/// Figures of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueStatistics {
    /// Messages.
    pub messages: u64,
    /// Octets of the messages.
    pub bytes: u64,
    /// Entries: a message has one for each destination.
    pub entries: QueueFigures,
    /// When the oldest message came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u64>,
    /// Destinations that something waits for.
    pub destinations: u64,
    /// Those of them with the most entries, beginning with the most.
    pub top: Vec<QueueDestination>,
}

/// An address that mail is not sent to for a while, since it kept failing for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SuppressedAddress {
    /// The address, in lower case.
    pub address: String,
    /// Failures that led to it.
    pub bounces: u32,
    /// The last of them.
    pub last: u64,
    /// Until when.
    pub until: u64,
    /// What was said last.
    pub text: String,
}

impl Client {
    /// One page of the entries that fit.
    pub async fn list_queue(&self, filter: &QueueFilter, page: &PageQuery) -> Result<Page<QueueEntry>> {
        self.json(self.request(Method::GET, &["queue"])?.query(filter).query(page)).await
    }

    /// A message by its id, or by that of one of its entries.
    pub async fn queued_message(&self, id: &str) -> Result<QueuedMessage> {
        self.get(&["queue", id]).await
    }

    /// The octets of a queued message, with `header_only` up to the empty line.
    pub async fn queued_octets(&self, id: &str, header_only: bool) -> Result<Vec<u8>> {
        let request = self.request(Method::GET, &["queue", id, "octets"])?;
        self.octets(request.query(&[("header", header_only)])).await
    }

    /// Does something to entries. With a filter, go on while there is a [`QueueDone::next`].
    pub async fn order_queue(&self, order: &QueueOrder) -> Result<QueueDone> {
        self.send(Method::POST, &["queue", "orders"], order, None).await
    }

    /// Figures, with the `top` destinations that most waits for.
    pub async fn queue_statistics(&self, top: usize) -> Result<QueueStatistics> {
        self.json(self.request(Method::GET, &["queue", "statistics"])?.query(&[("top", top)])).await
    }

    /// One page of the addresses that mail is not sent to.
    pub async fn list_suppressed(&self, page: &PageQuery) -> Result<Page<SuppressedAddress>> {
        self.list(&["suppressed"], page).await
    }

    /// Lets mail go to an address again.
    pub async fn delete_suppressed(&self, address: &str) -> Result<()> {
        self.delete(&["suppressed", address]).await
    }
}
