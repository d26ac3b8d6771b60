//! The sending client: where mail for a domain goes, over which TLS, and what became of it for each recipient.
//!
//! [`Relay::send`] takes one message for recipients of one destination, tries the hosts of the destination in their order, and says what became
//! of each recipient. It keeps no state of a message: whoever calls it does.

mod envelope;
mod outcome;

use std::sync::Arc;

use bytes::Bytes;
use ekitei_config::Live;
use ekitei_dns::Resolver;
use ekitei_telemetry::Registry;

pub use envelope::{BodyType, DeliverBy, Envelope, Notify, OriginalRecipient, Recipient, Return};
pub use outcome::{Failure, FailureKind, RecipientOutcome, Status, TlsReporter, TlsResult, TlsSession};

/// What the relay is made of.
pub struct RelayContext {
    /// The configuration in force.
    pub live: Live,
    /// The resolver.
    pub dns: Resolver,
    /// Metrics.
    pub registry: Registry,
    /// Who hears of TLS with other servers, for reports (RFC 8460).
    pub tls_reporter: Arc<dyn TlsReporter>,
}

/// The sending client: cheap to clone.
#[derive(Clone)]
pub struct Relay {
    context: Arc<RelayContext>,
}

/// One message for recipients of one destination.
pub struct Shipment {
    /// The domain part of the recipients as A-labels, or an address literal (`[192.0.2.1]`).
    pub destination: String,
    /// The domain that sends, for smart hosts by domain: of the account, else of the reverse-path; `None` for notifications.
    pub sender_domain: Option<String>,
    /// What MAIL says.
    pub envelope: Envelope,
    /// What RCPT says; at least one.
    pub recipients: Vec<Recipient>,
    /// The message in pieces, CRLF line ends, not dot-stuffed.
    pub message: Vec<Bytes>,
    /// Asked immediately before the end of the message is sent: `false` when somebody else may have taken the work over, and the message must not be sent.
    pub may_finish: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Relay {
    /// A client for the whole process. Call [`Relay::maintain`] in a task of its own.
    pub fn new(context: RelayContext) -> Self {
        Self { context: Arc::new(context) }
    }

    /// Sends a message: one outcome for each recipient, in order. Never fails as a whole: what prevents the sending is the outcome of every recipient.
    pub async fn send(&self, shipment: Shipment) -> Vec<RecipientOutcome> {
        let _ = (shipment, &self.context);
        unimplemented!()
    }

    /// Closes connections that nobody used for a while; runs until it is dropped.
    pub async fn maintain(&self) {
        unimplemented!()
    }
}
