//! What carries a message to where it goes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ekitei_mailstore::Fence;
use ekitei_relay::{RecipientOutcome, Shipment};

use crate::dsn::Action;

/// A future of a [`Transport`].
pub type TransportFuture<'a> = Pin<Box<dyn Future<Output = Vec<Handled>> + Send + 'a>>;

/// What became of one recipient, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handled {
    /// What became of it.
    pub outcome: RecipientOutcome,
    /// If it was sent: what the sender is told, if that is wanted. [`Action::Relayed`] for mail that went to another server.
    pub success: Action,
}

impl Handled {
    /// What the relay made of it.
    pub fn relayed(outcome: RecipientOutcome) -> Self {
        Self { outcome, success: Action::Relayed }
    }
}

/// By which way mail goes to a destination. That a destination cannot be reached is known of one way at a time: a smart host that is broken says
/// nothing of another, and TLS that fails nothing of mail that goes without.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    /// The host instead of the destination's own; `None` for those.
    pub through: Option<Arc<str>>,
    /// The message says `TLS-Required: No` (RFC 8689 §3), so that no policy of the destination holds it back.
    pub waives_tls: bool,
}

/// Carries messages: to other servers, or into mailboxes here.
pub trait Transport: Send + Sync + 'static {
    /// Sends a message: one result for each recipient, in order. May be dropped at any time, which ends the attempt. What is stored
    /// here on the way is committed behind `fence`.
    fn send(&self, shipment: Shipment, fence: Arc<dyn Fence>) -> TransportFuture<'_>;

    /// The host that mail from a domain to a destination goes through, instead of the destination's own, as configured now.
    fn through(&self, _destination: &str, _sender_domain: Option<&str>) -> Option<Arc<str>> {
        None
    }
}
