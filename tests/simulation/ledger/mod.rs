//! The ledger: what clients were promised, refused, or left in doubt about.
//!
//! What was acknowledged must be there, and what was refused must not. Where the answer is unknown, either is right, but all of an operation or nothing of
//! it. Unknown operations of a client are settled as soon as they end, by looking at what is stored past all faults: that is possible since each mailbox but INBOX has one
//! client that adds to it, each mark one that changes it, and each message a name.

mod book;
mod locks;
mod marks;
mod post;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::DataKeyId;
use ekitei_mailstore::{AccountId, MailboxId, MessageId};

pub use book::{Book, Kept, Moment};
pub use locks::{Ask, Locks};
pub use marks::{CLIENTS, Marks};
pub use post::{Post, Posted, Told};

/// The ledger of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    moment: Moment,
    /// The mailboxes that ever were.
    pub books: BTreeMap<(AccountId, MailboxId), Book>,
    /// Mailboxes by name, as their clients know them.
    pub names: BTreeMap<(AccountId, String), MailboxId>,
    /// The highest UIDVALIDITY that a name ever had.
    pub validities: BTreeMap<(AccountId, String), u32>,
    /// Octets of messages by name.
    pub contents: BTreeMap<String, Bytes>,
    /// The names of messages, for those that somebody looked at.
    pub messages: BTreeMap<MessageId, String>,
    /// Messages that were handed in.
    pub post: Post,
    /// Removals in doubt: what they were about, and whether they happened, if that is known.
    pub doubts: Vec<Doubt>,
    /// Locks of programs outside.
    pub locks: Locks,
    /// Rounds of jobs: which, when, and by whom.
    pub rounds: Vec<(&'static str, Duration, String)>,
    /// Data keys of which somebody was told that they are destroyed.
    pub destroyed_keys: BTreeSet<DataKeyId>,
    /// Messages that have this number or a higher one are encrypted.
    pub encrypted_from: Option<usize>,
    /// Promises that were broken.
    pub broken: Vec<String>,
    /// Operations by what became of them.
    pub figures: Figures,
}

/// A removal of which nobody knows whether it happened.
#[derive(Debug)]
pub struct Doubt {
    /// The operation.
    pub operation: Moment,
    /// Where.
    pub mailbox: (AccountId, MailboxId),
    /// What it was to remove, whatever its flags.
    pub uids: Vec<ekitei_mailstore::Uid>,
    /// Whether it happened, if something else tells.
    pub happened: Option<bool>,
}

/// How much a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Operations that were acknowledged.
    pub done: u64,
    /// Operations that were refused.
    pub refused: u64,
    /// Operations whose result is unknown.
    pub unknown: u64,
    /// Processes that died.
    pub deaths: u64,
    /// Messages that servers elsewhere took.
    pub taken: u64,
    /// Locks that were given.
    pub locked: u64,
    /// Data keys that were destroyed.
    pub destroyed: u64,
}

impl Ledger {
    /// The next moment.
    pub fn tick(&mut self) -> Moment {
        self.moment += 1;
        self.moment
    }

    /// An operation of the mailstore ended.
    pub fn count<T>(&mut self, answer: &crate::clients::Answer<T>) {
        use crate::clients::Answer;
        match answer {
            Answer::Done(_) => self.figures.done += 1,
            Answer::Refused(_) => self.figures.refused += 1,
            Answer::Unknown => self.figures.unknown += 1,
        }
    }

    /// A message was handed in.
    pub fn count_told(&mut self, told: &Told) {
        match told {
            Told::Accepted(_) => self.figures.done += 1,
            Told::Refused => self.figures.refused += 1,
            Told::Waits | Told::Nothing => self.figures.unknown += 1,
        }
    }

    /// A promise was broken.
    pub fn accuse(&mut self, what: impl Into<String>) {
        self.broken.push(what.into());
    }

    /// The book of a mailbox.
    pub fn book(&mut self, account: AccountId, mailbox: MailboxId) -> Option<&mut Book> {
        self.books.get_mut(&(account, mailbox))
    }

    /// A new mailbox.
    pub fn open(
        &mut self,
        account: AccountId,
        mailbox: MailboxId,
        name: &str,
        uid_validity: u32,
        owner: Option<usize>,
    ) {
        let highest = self.validities.entry((account, name.to_owned())).or_default();
        if uid_validity <= *highest {
            let accusation = format!("UIDVALIDITY of {name} is {uid_validity} after {highest}");
            self.broken.push(accusation);
        }
        self.validities.insert((account, name.to_owned()), uid_validity);
        if self.books.contains_key(&(account, mailbox)) {
            self.broken.push(format!("the id of {name} was another mailbox's: {mailbox:?}"));
        }
        self.books.insert((account, mailbox), Book::new(uid_validity, owner));
        self.names.insert((account, name.to_owned()), mailbox);
    }
}
