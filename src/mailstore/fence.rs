//! What somebody must still hold when their change is committed.

use std::fmt;

use ekitei_kv::Transaction;
use futures_util::future::{BoxFuture, ready};

/// A claim that may have been lost to another process since it was looked at last: a lease, above all.
pub trait Fence: Send + Sync {
    /// Makes the transaction fail unless the claim still stands at its commit: reads the row of the claim, with a read conflict.
    ///
    /// # Errors
    /// [`ekitei_kv::Error::Fenced`] when it is another's; failures of the read.
    fn check<'a>(&'a self, transaction: &'a Transaction) -> BoxFuture<'a, ekitei_kv::Result<()>>;
}

impl fmt::Debug for dyn Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fence")
    }
}

/// For those who need hold nothing.
pub(crate) struct NoFence;

impl Fence for NoFence {
    fn check<'a>(&'a self, _: &'a Transaction) -> BoxFuture<'a, ekitei_kv::Result<()>> {
        Box::pin(ready(Ok(())))
    }
}
