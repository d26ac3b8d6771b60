//! How the queue sends: limits of destinations, warm-up, quotas of senders, and what notifications hold.

use super::section;
use crate::{ByteSize, Duration};

section! {
    /// Limits of what is sent to some destinations, in the place of those of `queue`.
    pub struct QueueDestination {
        /// The domains, such as `example.com`, `*.example.com` (its subdomains) or `*`; the first rule that names a domain counts.
        domains: Vec<String> = Vec::new(),
        /// Messages at once; not given: `queue.concurrency`.
        concurrency: Option<u32> = None,
        /// Messages a minute; not given: `queue.ratePerMinute`.
        rate_per_minute: Option<u32> = None,
        /// Messages an hour; not given: `queue.ratePerHour`.
        rate_per_hour: Option<u32> = None,
        /// The waits between attempts; empty: `queue.retrySchedule`.
        retry_schedule: Vec<Duration> = Vec::new(),
        /// How long a message is tried; not given: `queue.lifetime`.
        lifetime: Option<Duration> = None,
    }
}

section! {
    /// A schedule for addresses that send for the first time: so many messages on each day, and no limit after the last. The count is one for all
    /// processes that name the schedule alike, so processes with different addresses need different names.
    pub struct QueueWarmUp {
        /// Its name.
        name: String = "default".to_owned(),
        /// The domains that it is for, as in `queue.destinations`; one schedule counts all of them together.
        domains: Vec<String> = vec!["*".to_owned()],
        /// The first day (UTC), as `2026-11-22`.
        start: String = String::new(),
        /// Messages on the first day, the second, and so on.
        messages_per_day: Vec<u32> = Vec::new(),
    }
}

section! {
    /// What senders may send to other domains, counted over the whole cluster; `450 4.7.1` above it. The limit of an account for a day, which
    /// counts recipients here too, is `smtp.submission.recipientsPerAccountPerDay`.
    pub struct QueueQuotas {
        /// The most recipients an hour of one account. `0` is no limit.
        recipients_per_account_per_hour: u32 = 0,
        /// The most recipients an hour of all accounts of one domain. `0` is no limit.
        recipients_per_domain_per_hour: u32 = 0,
        /// The most recipients a day of all accounts of one domain. `0` is no limit.
        recipients_per_domain_per_day: u32 = 0,
    }
}

section! {
    /// What senders are told of their messages (RFC 3464).
    pub struct QueueNotifications {
        /// The domain of their sender `MAILER-DAEMON`; empty for `hostname`.
        domain: String = String::new(),
        /// The largest message that comes back whole where the sender asked for that (`RET=FULL`); of others the header does. `0` for
        /// the header always.
        max_returned_message: ByteSize = ByteSize::kib(512),
        /// The longest header that comes back; what is longer is cut.
        max_returned_header: ByteSize = ByteSize::kib(32),
        /// Who gets a copy when a message without a sender (a notification) cannot be delivered; empty for nobody.
        double_bounces_to: String = String::new(),
    }
}
