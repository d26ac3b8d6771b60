//! Creating, deleting and renaming mailboxes. Each client does that to its own ones; an answer that never came is settled by looking.

use std::sync::Arc;

use ekitei_directory::AccountChange;
use ekitei_mailstore::{Error, Mailbox, MailboxId, MailboxName};

use super::{Answer, Client};
use crate::node::Node;

/// The smallest quota that a client gives itself.
const QUOTA: u64 = 60_000;

impl Client {
    pub(super) async fn create(&mut self, node: &Arc<Node>) {
        let name = self.own_name();
        let Ok(valid) = MailboxName::new(&name) else { return };
        let create = node.mailstore.create_mailbox(self.account, &valid, None);
        let answer = self.ask(node, &format!("create {name}"), create).await;
        let known = self.id_of(&name);
        let wrong = match &answer {
            Answer::Done(_) if known.is_some() => Some("it was there, and is created again"),
            Answer::Refused(Error::MailboxExists) if known.is_none() => {
                Some("it was not there, and is said to be")
            }
            _ => None,
        };
        self.accuse_name(&name, wrong);
        self.adopt_names().await;
        if let Answer::Done(Mailbox { id, .. }) = answer
            && self.id_of(&name) != Some(id)
        {
            self.accuse_name(&name, Some("it was created, and is another"));
        }
    }

    pub(super) async fn delete(&mut self, node: &Arc<Node>) {
        let name = self.own_name();
        let Ok(valid) = MailboxName::new(&name) else { return };
        let known = self.id_of(&name);
        if let Some(id) = known {
            self.set_deletion_began(id, true);
        }
        let delete = node.mailstore.delete_mailbox(self.account, &valid);
        let answer = self.ask(node, &format!("delete {name}"), delete).await;
        let has_children = self.own_names().iter().any(|(other, _)| other.starts_with(&format!("{name}/")));
        let wrong = match answer {
            Answer::Done(()) if known.is_none() => Some("it was not there, and is deleted"),
            Answer::Done(()) if has_children => Some("it has others below it, and is deleted"),
            Answer::Refused(Error::NoSuchMailbox) if known.is_some() => {
                Some("it is there, and is said not to be")
            }
            Answer::Refused(Error::HasChildren) if !has_children => Some("it has no others below it"),
            _ => None,
        };
        self.accuse_name(&name, wrong);
        let is_done = matches!(answer, Answer::Done(()));
        let found = self.stored_id(&valid).await;
        if is_done && found.is_some() {
            self.accuse_name(&name, Some("it was deleted, and is there"));
        }
        if let Some(id) = known {
            // Removing the messages may fail after the mailbox is gone; then somebody else does it.
            let gone = found != Some(id);
            let mut ledger = self.world.ledger();
            if gone {
                ledger.names.remove(&(self.account, name));
            }
            if let Some(book) = ledger.book(self.account, id) {
                book.gone = gone;
            }
            drop(ledger);
            self.set_deletion_began(id, gone);
        }
    }

    pub(super) async fn rename(&mut self, node: &Arc<Node>) {
        let (from, to) = (self.own_name(), self.own_name());
        let (Ok(valid_from), Ok(valid_to)) = (MailboxName::new(&from), MailboxName::new(&to)) else { return };
        let renaming = node.mailstore.rename_mailbox(self.account, &valid_from, &valid_to);
        let answer = self.ask(node, &format!("rename {from} to {to}"), renaming).await;
        let (source, target) = (self.id_of(&from), self.id_of(&to));
        let below = valid_to.is_below(&valid_from);
        let wrong = match &answer {
            Answer::Done(()) if source.is_none() || target.is_some() || below => {
                Some("it is renamed, and cannot be")
            }
            Answer::Refused(Error::NoSuchMailbox) if source.is_some() => {
                Some("it is there, and is said not to be")
            }
            Answer::Refused(Error::MailboxExists) if target.is_none() => Some("the other is not there"),
            _ => None,
        };
        self.accuse_name(&from, wrong);
        if target.is_some() || below {
            return;
        }
        let moved = source.is_some() && self.stored_id(&valid_to).await == source;
        if moved {
            let own = self.own_names();
            let mut ledger = self.world.ledger();
            for (name, id) in own {
                let rebased =
                    MailboxName::new(&name).ok().and_then(|name| name.rebased(&valid_from, &valid_to));
                if let Some(new) = rebased {
                    ledger.names.remove(&(self.account, name));
                    ledger.names.insert((self.account, new.as_str().to_owned()), id);
                }
            }
        }
        if matches!(answer, Answer::Done(())) && !moved {
            self.accuse_name(&from, Some("it was renamed, and is not"));
        }
        self.adopt_names().await;
    }

    /// Somebody sets the quota of the account.
    pub(super) async fn change_quota(&mut self, node: &Arc<Node>) {
        if !self.world.may_be_full(self.account) {
            return;
        }
        let quota = if self.dice.chance(0.5) { None } else { Some(QUOTA + self.dice.between(0, 10 * QUOTA)) };
        let change = AccountChange { quota: Some(quota), ..AccountChange::default() };
        // What the directory says is not compared with anything here.
        let _ = node.unless_dead(node.directory.update_account(self.account, change, None)).await;
        self.world.trace.note(&self.name, format_args!("sets the quota to {quota:?}"));
    }

    fn id_of(&self, name: &str) -> Option<MailboxId> {
        self.world.ledger().names.get(&(self.account, name.to_owned())).copied()
    }

    async fn stored_id(&self, name: &MailboxName) -> Option<MailboxId> {
        self.world.god.mailbox(self.account, name).await.ok().flatten().map(|mailbox| mailbox.id)
    }

    fn set_deletion_began(&self, id: MailboxId, began: bool) {
        if let Some(book) = self.world.ledger().book(self.account, id) {
            book.deletion_began = began;
        }
    }

    /// Its own mailboxes by name.
    fn own_names(&self) -> Vec<(String, MailboxId)> {
        let first = format!("c{}", self.number);
        let ledger = self.world.ledger();
        let names = ledger
            .names
            .iter()
            .filter(|((account, name), _)| *account == self.account && name.starts_with(&first));
        names.map(|((_, name), &id)| (name.clone(), id)).collect()
    }

    /// Notes mailboxes of its own that are new: those it created, and those above them. None may be gone.
    async fn adopt_names(&self) {
        let first = format!("c{}", self.number);
        let Ok(stored) = self.world.god.mailboxes(self.account).await else { return };
        for mailbox in stored.iter().filter(|mailbox| mailbox.name.as_str().starts_with(&first)) {
            if self.id_of(mailbox.name.as_str()).is_none() {
                let (name, id) = (mailbox.name.as_str(), mailbox.id);
                let owner = Some(self.number);
                self.world.ledger().open(self.account, id, name, mailbox.uid_validity, owner);
            }
        }
        for (name, id) in self.own_names() {
            if !stored.iter().any(|mailbox| mailbox.id == id && mailbox.name.as_str() == name) {
                self.accuse_name(&name, Some("it is not there any more"));
            }
        }
    }

    fn accuse_name(&self, name: &str, wrong: Option<&str>) {
        if let Some(wrong) = wrong {
            self.world.trace.note(&self.name, format_args!("ACCUSES: {name}: {wrong}"));
            self.world.ledger().accuse(format!("{} of {name}: {wrong}", self.name));
        }
    }
}
