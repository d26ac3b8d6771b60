//! What carries a message to where it goes.

use std::future::Future;
use std::pin::Pin;

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

/// Carries messages: to other servers, or into mailboxes here.
pub trait Transport: Send + Sync + 'static {
    /// Sends a message: one result for each recipient, in order. May be dropped at any time, which ends the attempt.
    fn send(&self, shipment: Shipment) -> TransportFuture<'_>;
}
