//! FoundationDB's limits, enforced by both engines so that what passes on one machine passes on a cluster.

use std::time::Duration;

use crate::span::Span;

/// Largest key, in bytes.
pub const KEY_SIZE: usize = 10_000;
/// Largest value, in bytes.
pub const VALUE_SIZE: usize = 100_000;
/// Largest transaction: keys and values written, and the keys of conflict ranges, in bytes, with
/// [`MUTATION_OVERHEAD`] and [`RANGE_OVERHEAD`] for each. [`crate::Transaction::size`] tells the sum so far.
pub const TRANSACTION_SIZE: usize = 10_000_000;
/// How long a transaction may read and commit after its first read. The embedded engine counts exactly. A cluster forgets
/// about then: an idle one later, and what a transaction has read it knows for longer, so that only a new read or the commit is
/// sure to be refused in the end. Nothing may rely on being refused in time; work that must not be late has a lease.
pub const TRANSACTION_AGE: Duration = Duration::from_secs(5);
/// What each write adds to the size of its transaction besides key and value: FoundationDB counts its own
/// structures too.
pub const MUTATION_OVERHEAD: usize = 56;
/// What each conflict range adds to the size of its transaction besides its two keys.
pub const RANGE_OVERHEAD: usize = 32;

/// What a conflict range adds to the size of its transaction.
pub(crate) fn conflict_size(span: &Span) -> usize {
    span.size() + RANGE_OVERHEAD
}

/// What a write to one key, with its write conflict, adds to the size of its transaction.
pub(crate) fn point_size(key: usize, value: usize) -> usize {
    key + value + MUTATION_OVERHEAD + 2 * key + 1 + RANGE_OVERHEAD
}

/// What a range clear, with its write conflict, adds to the size of its transaction.
pub(crate) fn clear_range_size(start: usize, end: usize) -> usize {
    2 * (start + end) + MUTATION_OVERHEAD + RANGE_OVERHEAD
}
