//! Mailboxes and messages.

use super::section;
use crate::{ByteSize, Duration};

section! {
    /// Mailboxes and messages.
    pub struct Mailstore {
        /// The quota of an account when neither it nor its domain has one; `0` is no limit.
        default_quota: ByteSize = ByteSize::gib(10),
        /// The most mailboxes of one account.
        #[schemars(range(min = 10))]
        max_mailboxes: u32 = 10_000,
        /// The most levels of hierarchy in a mailbox name.
        #[schemars(range(min = 1, max = 100))]
        max_mailbox_depth: u32 = 20,
        /// The most keywords of one message.
        #[schemars(range(min = 1))]
        max_keywords: u32 = 100,
        /// How many changes of a mailbox are remembered for clients that synchronise; one that missed more reads the
        /// mailbox anew.
        #[schemars(range(min = 100))]
        change_log_length: u32 = 10_000,
        /// Memory for what is known about messages that clients list.
        record_cache_size: ByteSize = ByteSize::mib(8),
        /// How many accounts with waiting clients this process follows with a watch on the store, so that they hear of changes at once. FoundationDB keeps about
        /// 100 MB of watches on each storage server, for all processes together. Accounts beyond that are polled.
        #[schemars(range(min = 1))]
        max_watches: u32 = 20_000,
        /// How often accounts without a watch are looked at.
        watch_poll_interval: Duration = Duration::seconds(1),
        /// How often old changes are forgotten and bodies that nothing refers to are removed.
        maintenance_interval: Duration = Duration::minutes(10),
        /// How deliveries share transactions.
        delivery_batch: DeliveryBatch = DeliveryBatch::default(),
    }
}

section! {
    /// Deliveries that arrive together commit together. Each still has its own answer.
    pub struct DeliveryBatch {
        /// The most deliveries in one transaction; `1` turns batching off.
        #[schemars(range(min = 1, max = 10_000))]
        max_messages: u32 = 256,
        /// The most bytes of rows in one transaction. Transactions end at 10 MB.
        max_bytes: ByteSize = ByteSize::mib(4),
    }
}
