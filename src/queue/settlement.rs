//! What the owner of a shard makes of an entry: the result of an attempt, and all that follows from it.

use std::time::Duration;

use ekitei_blob::Prepared;
use ekitei_kv::Transaction;
use ekitei_kv::lease::Lease;
use futures_util::future::BoxFuture;

use crate::accept::Accepted;
use crate::model::{EntryId, Hint, QueueId, RecipientState, Shard};

/// The right to write results for a shard: its lease, which every such transaction checks.
#[derive(Clone, Debug)]
pub struct Fence {
    /// The shard.
    pub shard: Shard,
    /// The lease of that shard.
    pub lease: Lease,
}

impl ekitei_mailstore::Fence for Fence {
    fn check<'a>(&'a self, transaction: &'a Transaction) -> BoxFuture<'a, ekitei_kv::Result<()>> {
        Box::pin(self.lease.check(transaction))
    }
}

/// What becomes of one entry. Made from what [`crate::Spool::load`] gave, by the owner of the entry's shard.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The entry.
    pub entry: EntryId,
    /// [`crate::EntryRow::revision`] as it was loaded: a settlement is applied once.
    pub revision: u32,
    /// The states of all its recipients, in order.
    pub recipients: Vec<RecipientState>,
    /// What happens next. When no recipient waits any more, the entry goes, whatever this says.
    pub next: Next,
    /// Whether an attempt to send was made: it counts.
    pub attempted: bool,
    /// Whether the sender has been told by now, with this settlement or before, that the entry is delayed.
    pub delay_notified: bool,
    /// What the sender is told; queued in the same transaction, or not at all.
    pub notifications: Vec<Notification>,
}

/// What happens to an entry next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is tried again at this time since the epoch.
    At(Duration),
    /// It is removed.
    Remove,
}

/// What a settlement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is applied, and the entry waits under this hint. One whose time is before what its owner has read already has to be
    /// remembered by the owner.
    Waits(Hint),
    /// It is applied, and the entry is held, because an administrator said so meanwhile.
    Held,
    /// It is applied, and the entry is gone.
    Removed,
    /// The entry was gone already: an administrator deleted it. Nothing was written, and no notification queued.
    Gone,
}

/// A message to the sender about an entry: its body is encoded, and it has its id, so that it can be written in each attempt of a
/// transaction as the same message. Made by [`crate::Spool::prepare`].
#[derive(Clone, Debug)]
pub struct Notification {
    pub(crate) body: Prepared,
    pub(crate) accepted: Accepted,
}

impl Notification {
    /// Its id in the queue.
    pub fn id(&self) -> QueueId {
        self.accepted.id()
    }
}
