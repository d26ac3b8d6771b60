//! Mailboxes, messages, flags, the change log, quota, search and delivery.
//!
//! [`MailStore`] is the one way in. Every method that changes something returns once that is durable, and may be repeated
//! safely by the store underneath. A selected mailbox is read through a [`View`].

mod companion;
pub mod envelope;
mod error;
mod fence;
mod header;
mod mime;
mod mutation;
mod record;
mod request;
mod rows;
pub mod search;
mod store;
pub mod structure;
mod types;
mod view;
mod watch;

pub use companion::Companion;
pub use ekitei_directory::{DomainQuota, Quota};
pub use error::Error;
pub use fence::Fence;
pub use record::MessageRecord;
pub use request::{
    Appended, Changed, Copied, Delivery, ExpungeScope, FlagChange, FlagOperation, Folder, Mailbox,
    NewMessage, Settings, Status, Target, Usage,
};
pub use store::{
    Counted, CountedPlace, Difference, DomainCounting, MailStore, Maintenance, Repair, transfer,
};
pub use types::{
    AccountId, BodyId, Flags, InvalidMailboxName, Keywords, MailboxId, MailboxName, MessageId, ModSeq,
    SpecialUse, Uid,
};
pub use view::{Entry, Snapshot, View};
pub use watch::WatchFigures;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
