//! How bodies get from the metadata store into large objects, and are checked there.

use super::section;
use crate::{ByteSize, Duration};

section! {
    /// Small bodies are written with their metadata first, and moved into large objects (segments) by and by.
    pub struct BlobPacking {
        /// Whether that is done. Without, small bodies stay in the metadata store, and `hotLimit` does not matter.
        enabled: bool = true,
        /// How often is looked for what is to be moved.
        interval: Duration = Duration::seconds(10),
        /// Younger bodies are left alone, since many of them are deleted soon.
        min_age: Duration = Duration::minutes(5),
        /// Older bodies do not wait for others to fill a segment with. Mail that only waits to be sent is left alone until then.
        max_age: Duration = Duration::hours(24),
        /// The size of a segment, 1MiB to 64MiB. A process that packs needs three times that memory.
        segment_size: ByteSize = ByteSize::mib(16),
        /// Segments of which less than this share, in percent, is still needed are rewritten.
        #[schemars(range(min = 0, max = 90))]
        compact_below: u32 = 50,
        /// Octets a second that each process rewrites, at most.
        compact_rate: ByteSize = ByteSize::mib(8),
    }
}

section! {
    /// All bodies are read again from time to time, so that damage is found while there are copies and backups.
    pub struct BlobScrub {
        /// Whether that is done.
        enabled: bool = true,
        /// The time from the beginning of one round to that of the next.
        interval: Duration = Duration::hours(24 * 7),
        /// Octets a second that are read, by one process for all.
        rate: ByteSize = ByteSize::mib(4),
    }
}
