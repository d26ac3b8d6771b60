//! FoundationDB's limits, enforced by both engines so that what passes on one machine passes on a cluster.

use std::time::Duration;

/// Largest key, in bytes.
pub const KEY_SIZE: usize = 10_000;
/// Largest value, in bytes.
pub const VALUE_SIZE: usize = 100_000;
/// Largest transaction: keys and values written, and the keys of conflict ranges, in bytes.
pub const TRANSACTION_SIZE: usize = 10_000_000;
/// How long a transaction may read and commit after its first read.
pub const TRANSACTION_AGE: Duration = Duration::from_secs(5);
