//! The outgoing queue: mail that waits to be sent, who sends it, and what its senders are told.
//!
//! A message in the queue is a row with the envelope and one *entry* for each destination, with the state of the recipients there. Entries are
//! written in the transaction of the delivery that accepted the message ([`Queue::companion`]), so that `250` covers all
//! recipients. The scheduler holds leases on shards of destinations; see `docs/design/0005-queue.md`.

mod accept;
mod admin;
mod classify;
mod conclude;
mod destination;
pub mod dsn;
mod error;
mod filter;
mod local;
mod metrics;
mod model;
mod notify;
mod queue;
mod quota;
mod rows;
mod schedule;
mod scheduler;
mod settle;
mod settlement;
mod spool;
mod statistics;
mod suppression;
mod sweep;
mod tally;
pub mod transfer;
mod transport;

#[cfg(test)]
mod scenarios;

/// What the queue says of an envelope and of failures, in the words of the sending client.
pub use ekitei_relay::{Envelope, Failure, Return, Status};

pub use admin::{Acted, Action, ListPage, Listed, MAX_PAGE};
pub use classify::Category;
pub use error::Error;
pub use filter::{Filter, State};
pub use local::{LocalOrRelay, Senders};
pub use model::{
    EntryId, EntryRow, Hint, MessageRow, NewMessage, NewRecipient, Origin, Place, QueueId, RecipientRow,
    RecipientState, Schedule, Shard, Stamp,
};
pub use notify::Signer;
pub use queue::{Queue, QueueContext};
pub use quota::{QuotaExceeded, QuotaOf};
pub use scheduler::{Scheduler, SchedulerContext, Variation};
pub use settlement::{Fence, Next, Notification, Settled, Settlement};
pub use spool::{DueCursor, FreshCursor, FreshPage, Loaded, Spool};
pub use statistics::{DestinationStatistics, Figures, QueueStatistics};
pub use suppression::Suppressed;
pub use transport::{Handled, Transport, TransportFuture, Way};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
