//! The outgoing queue.

use super::section;
use crate::Duration;

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
    }
}
