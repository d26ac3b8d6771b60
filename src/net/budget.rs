//! A budget of bytes shared by many connections, such as the memory for messages being received.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number of bytes that may be in use at once. Clones share it.
#[derive(Debug, Clone)]
pub struct ByteBudget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    total: u64,
    used: AtomicU64,
}

/// Bytes taken from a [`ByteBudget`]; dropping it gives them back.
#[derive(Debug)]
pub struct BytePermit {
    shared: Arc<Shared>,
    held: u64,
}

impl ByteBudget {
    /// A budget of `total` bytes.
    pub fn new(total: u64) -> Self {
        Self { shared: Arc::new(Shared { total, used: AtomicU64::new(0) }) }
    }

    /// Takes `bytes`, or nothing when they are not there. Never waits: the client is told to come later.
    pub fn try_take(&self, bytes: u64) -> Option<BytePermit> {
        let mut permit = BytePermit { shared: Arc::clone(&self.shared), held: 0 };
        permit.try_grow(bytes).then_some(permit)
    }

    /// How many bytes are in use.
    pub fn used(&self) -> u64 {
        self.shared.used.load(Ordering::Relaxed)
    }

    /// How many bytes there are.
    pub fn total(&self) -> u64 {
        self.shared.total
    }
}

impl BytePermit {
    /// Takes `more` bytes as well; `false`, and nothing taken, when they are not there.
    pub fn try_grow(&mut self, more: u64) -> bool {
        let total = self.shared.total;
        let taken = self.shared.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(more).filter(|sum| *sum <= total)
        });
        if taken.is_ok() {
            self.held += more;
        }
        taken.is_ok()
    }

    /// How many bytes this permit holds.
    pub fn held(&self) -> u64 {
        self.held
    }
}

impl Drop for BytePermit {
    fn drop(&mut self) {
        self.shared.used.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_budget_is_never_exceeded_and_always_returned() {
        let budget = ByteBudget::new(100);
        let mut first = budget.try_take(60).unwrap();
        assert!(budget.try_take(41).is_none());
        assert!(!first.try_grow(41));
        assert_eq!(budget.used(), 60, "a refusal takes nothing");
        let second = budget.try_take(40).unwrap();
        assert!(!first.try_grow(1));
        drop(second);
        assert!(first.try_grow(40));
        assert!(!first.try_grow(u64::MAX));
        drop(first);
        assert_eq!(budget.used(), 0);
    }
}
