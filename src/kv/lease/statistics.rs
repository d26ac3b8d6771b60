//! What a process has seen of its leases: for metrics.

use std::collections::BTreeMap;

/// Figures since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseStatistics {
    /// Leases that hold now, by group; a group that the process takes part in without having any of it is there with 0.
    pub held: BTreeMap<&'static str, usize>,
    /// Leases taken from processes that died, by group.
    pub takeovers: BTreeMap<&'static str, u64>,
    /// Renewals that came when leases had ended already by this process's own clock: it was paused, or the store slow.
    pub late: u64,
    /// Renewals that failed.
    pub failed: u64,
}
