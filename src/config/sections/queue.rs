//! The outgoing queue.

use super::queue_delivery::{QueueDestination, QueueNotifications, QueueQuotas, QueueWarmUp};
use super::section;
use crate::{ByteSize, Duration};

section! {
    /// Mail that waits to be sent.
    pub struct Queue {
        /// Whether this process sends mail. Where it does not, it only puts mail into the queue, and others send it.
        enabled: bool = true,
        /// The waits between attempts; the last one repeats. Each is varied by up to a tenth.
        retry_schedule: Vec<Duration> = vec![
            Duration::minutes(2),
            Duration::minutes(5),
            Duration::minutes(10),
            Duration::minutes(20),
            Duration::minutes(40),
            Duration::hours(1),
            Duration::hours(2),
            Duration::hours(4),
        ],
        /// How long a message is tried before it is returned to its sender (RFC 5321 §4.5.4.1 asks for 4 to 5 days).
        lifetime: Duration = Duration::days(5),
        /// After how long the sender is told that a message still waits (RFC 3464 `delayed`); `0` for never.
        delay_notice: Duration = Duration::hours(4),
        /// Messages that wait, over all; `452 4.3.1` to new ones above it. `0` is no limit.
        max_messages: u64 = 2_000_000,
        /// How long the work of a process that died is left alone before another takes it up.
        lease: Duration = Duration::seconds(15),
        /// Messages that this process sends at once, over all destinations.
        #[schemars(range(min = 1))]
        max_active: u32 = 500,
        /// Memory for the large ones among them, which wait for each other. A message is large when so many at once as may be sent would not fit.
        max_active_memory: ByteSize = ByteSize::mib(256),
        /// Entries that this process keeps in memory until they can be sent; the others are found again when there is room.
        #[schemars(range(min = 100))]
        backlog: u32 = 50_000,
        /// Messages that are sent to one destination at once, over the whole cluster. It begins with one, and grows with success.
        #[schemars(range(min = 1))]
        concurrency: u32 = 20,
        /// Messages a minute to one destination, over the whole cluster. `0` is no limit.
        rate_per_minute: u32 = 0,
        /// Messages an hour to one destination, over the whole cluster. `0` is no limit.
        rate_per_hour: u32 = 0,
        /// How long a destination is left alone when it cannot be reached, after the first time, the second, and so on; the last one repeats. Its
        /// mail is deferred meanwhile without attempts.
        backoff: Vec<Duration> = vec![
            Duration::minutes(1),
            Duration::minutes(2),
            Duration::minutes(5),
            Duration::minutes(10),
            Duration::minutes(20),
            Duration::minutes(30),
        ],
        /// A message that waits this long is as urgent as one of the next higher MT-PRIORITY (RFC 6710) that has just come.
        priority_aging: Duration = Duration::minutes(15),
        /// Rules for some destinations; the first that names a domain counts.
        destinations: Vec<QueueDestination> = Vec::new(),
        /// Schedules for addresses that send for the first time.
        warm_up: Vec<QueueWarmUp> = Vec::new(),
        /// What senders may send to other domains.
        quotas: QueueQuotas = QueueQuotas::default(),
        /// What senders are told.
        notifications: QueueNotifications = QueueNotifications::default(),
        /// Addresses that keep bouncing.
        suppression: Suppression = Suppression::default(),
    }
}

section! {
    /// Mail to an address that failed for good (`5.1.x`) several times is refused for a while without an attempt, since servers
    /// think less of those who keep trying.
    pub struct Suppression {
        /// Failures within the window that lead to it; `0` turns it off.
        bounces: u32 = 3,
        /// Failures count together when they are within this time from the first.
        window: Duration = Duration::days(7),
        /// How long mail to the address is refused then.
        duration: Duration = Duration::days(30),
    }
}
