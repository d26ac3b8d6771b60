//! The process as one of a cluster.

use super::section;
use crate::Duration;

section! {
    /// This process as one of a cluster.
    pub struct Cluster {
        /// The region that it works in; shown by `ekitei node list`.
        region: String = String::new(),
        /// Whether it takes part in the work for all, by leases: sending, packing, sweeping, reports, backups. Some process must; a process that only serves
        /// clients need not. The embedded store has one process, which must.
        work: bool = true,
        /// How often it looks at the other processes.
        interval: Duration = Duration::seconds(5),
        /// How long every process must have understood a new form of data before the first such form is written to a store of a release that had none.
        /// Longer than such a release takes to start.
        feature_delay: Duration = Duration::minutes(1),
        /// How long processes that died are shown.
        keep_dead: Duration = Duration::hours(1),
        /// The most named locks (`ekitei lock`) that are held at a time.
        max_locks: u32 = 1_000,
        /// The longest time that a named lock is held without being renewed.
        max_lock_time: Duration = Duration::hours(1),
    }
}
