//! Mailboxes and messages.

use super::section;
use crate::{ByteSize, Duration};

section! {
    /// Mailboxes and messages.
    pub struct Mailstore {
        /// The quota of an account that has none of its own; `0` is no limit.
        default_quota: ByteSize = ByteSize::gib(10),
        /// The most mailboxes of one account.
        #[schemars(range(min = 10))]
        max_mailboxes: u32 = 2000,
        /// The most levels of hierarchy in a mailbox name.
        #[schemars(range(min = 1, max = 100))]
        max_mailbox_depth: u32 = 20,
        /// The longest mailbox name in UTF-8.
        max_mailbox_name_length: ByteSize = ByteSize::bytes(1000),
        /// The most different keywords in one mailbox.
        #[schemars(range(min = 1))]
        max_keywords: u32 = 200,
        /// How long messages stay in the mailbox with the special use Trash; `0` is for ever.
        trash_retention: Duration = Duration::days(0),
        /// How long messages stay in the mailbox with the special use Junk; `0` is for ever.
        junk_retention: Duration = Duration::days(0),
        /// How long the change log remembers expunged messages for clients that synchronise.
        expunged_retention: Duration = Duration::days(30),
        /// Views of mailboxes in memory, over all sessions, for `SELECT` without reading the store.
        view_cache_size: ByteSize = ByteSize::mib(64),
        /// The deepest nesting of MIME parts that is taken apart; what is deeper stays one part.
        #[schemars(range(min = 1, max = 200))]
        max_mime_depth: u32 = 50,
        /// The most MIME parts of one message that are taken apart.
        #[schemars(range(min = 1))]
        max_mime_parts: u32 = 1000,
        /// How deliveries share transactions.
        delivery_batch: DeliveryBatch = DeliveryBatch::default(),
    }
}

section! {
    /// Deliveries that arrive together may commit together. Each still has its own answer.
    pub struct DeliveryBatch {
        /// The most deliveries in one transaction; `1` turns batching off.
        #[schemars(range(min = 1))]
        max_messages: u32 = 64,
        /// The most bytes of bodies in one transaction. Transactions end at 10 MB.
        max_bytes: ByteSize = ByteSize::mib(4),
        /// How long the first delivery of a batch waits for others; `0` takes what is there.
        max_delay: Duration = Duration::millis(0),
        /// The most deliveries that may wait before more are refused for the moment.
        #[schemars(range(min = 1))]
        max_waiting: u32 = 10_000,
    }
}
