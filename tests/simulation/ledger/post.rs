//! What is known of messages that were handed in: for mailboxes here, for servers elsewhere, or both.

use std::collections::{BTreeMap, BTreeSet};

use ekitei_mailstore::{AccountId, Uid};

/// What a sender was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing yet.
    Waits,
    /// It is ours: for each of its mailboxes here, whether it is there.
    Accepted(Vec<bool>),
    /// It is not.
    Refused,
    /// Nothing, for ever.
    Nothing,
}

/// A message that was handed in.
#[derive(Clone, Debug)]
pub struct Posted {
    /// The accounts that it is for.
    pub accounts: Vec<AccountId>,
    /// Addresses elsewhere, and whether the sender wants to hear of failure.
    pub recipients: Vec<(String, bool)>,
    /// Accounts among them that may be full.
    pub may_be_full: Vec<AccountId>,
    /// What the sender was told.
    pub told: Told,
}

/// Messages by their names.
#[derive(Debug, Default)]
pub struct Post {
    /// Those that were handed in.
    pub posted: BTreeMap<String, Posted>,
    /// The UIDs in INBOX under which somebody ever saw a message.
    pub seen: BTreeMap<(AccountId, String), BTreeSet<Uid>>,
    /// How often a server elsewhere took a message for a recipient.
    pub taken: BTreeMap<(String, String), u32>,
    /// What senders were told in notifications: by message, recipient and action.
    pub notified: BTreeSet<(String, String, &'static str)>,
}

impl Post {
    /// Somebody saw a message in an INBOX.
    pub fn see(&mut self, account: AccountId, name: &str, uid: Uid) {
        self.seen.entry((account, name.to_owned())).or_default().insert(uid);
    }

    /// How many times an account has, or had, a message.
    pub fn copies(&self, account: AccountId, name: &str) -> usize {
        self.seen.get(&(account, name.to_owned())).map_or(0, BTreeSet::len)
    }

    /// What is wrong with what became of the messages.
    pub fn broken(&self) -> Vec<String> {
        self.posted.iter().flat_map(|(name, posted)| self.broken_of(name, posted)).collect()
    }

    fn broken_of(&self, name: &str, posted: &Posted) -> Vec<String> {
        let mut broken = Vec::new();
        let copies: Vec<usize> = posted.accounts.iter().map(|&account| self.copies(account, name)).collect();
        for (account, &copies) in posted.accounts.iter().zip(&copies).filter(|(_, copies)| **copies > 1) {
            broken.push(format!("{name} is {copies} times in account {account}"));
        }
        let reached = posted.recipients.iter().filter(|(address, _)| self.is_settled(name, address)).count();
        match &posted.told {
            Told::Waits => broken.push(format!("{name} was never answered")),
            Told::Accepted(there) => {
                for ((account, &there), &copies) in posted.accounts.iter().zip(there).zip(&copies) {
                    if there != (copies > 0) {
                        broken.push(format!("{name}: told {there}, {copies} times in account {account}"));
                    }
                }
            }
            Told::Refused => {
                if copies.iter().sum::<usize>() + reached > 0 {
                    broken
                        .push(format!("{name} was refused: {copies:?} here, {reached} recipients elsewhere"));
                }
                return broken;
            }
            Told::Nothing => {
                let counts = posted.accounts.iter().zip(&copies);
                let mut counts = counts.filter(|(account, _)| !posted.may_be_full.contains(account));
                let all = counts.all(|(_, &copies)| copies > 0)
                    && posted
                        .recipients
                        .iter()
                        .all(|(address, notify)| !notify || self.is_settled(name, address));
                let none = copies.iter().all(|&copies| copies == 0) && reached == 0;
                if !all && !none {
                    broken.push(format!(
                        "{name} is there in part: {copies:?} here, {reached} recipients elsewhere"
                    ));
                }
                if none {
                    return broken;
                }
            }
        }
        for (address, notify) in &posted.recipients {
            let failed = self.notified.contains(&(name.to_owned(), address.clone(), "failed"));
            let taken = self.taken.get(&(name.to_owned(), address.clone())).copied().unwrap_or(0);
            if taken == 0 && *notify && !failed {
                broken.push(format!(
                    "{name} to {address} is lost: nobody took it, and its sender does not know"
                ));
            }
            if failed && !*notify {
                broken.push(format!("the sender of {name} did not want to hear of {address}"));
            }
        }
        broken
    }

    /// Whether anything is known of a recipient elsewhere. One whose failure nobody wanted to hear of may have failed.
    fn is_settled(&self, name: &str, address: &str) -> bool {
        let key = (name.to_owned(), address.to_owned());
        self.taken.contains_key(&key) || self.notified.contains(&(key.0, key.1, "failed"))
    }
}
