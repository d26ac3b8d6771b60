//! CREATE, DELETE, RENAME, SUBSCRIBE and UNSUBSCRIBE (RFC 9051 §6.3), and the names they are about.

use ekitei_directory::AccountId;
use ekitei_mailstore::{Error, Mailbox, MailboxName as StoredName, SpecialUse as StoredUse};

use crate::proto::MailboxName;
use crate::proto::response::{Code, ListAttribute, ListEntry};
use crate::proto::special_use::SpecialUse;
use crate::reply::{Outcome, Reply, Stop};
use crate::session::Session;

/// A name in the words of the store.
pub(crate) fn stored_name(name: &MailboxName) -> Result<StoredName, Stop> {
    StoredName::new(name.as_str()).map_err(|error| Reply::no(Code::Cannot, error.to_string()).into())
}

/// A name in the words of the protocol.
pub(crate) fn wire_name(name: &StoredName) -> MailboxName {
    MailboxName::new(name.as_str()).expect("a stored name is not empty and has no control character")
}

/// A special use in the words of the protocol.
pub(crate) fn wire_use(special_use: StoredUse) -> SpecialUse {
    match special_use {
        StoredUse::Drafts => SpecialUse::Drafts,
        StoredUse::Sent => SpecialUse::Sent,
        StoredUse::Trash => SpecialUse::Trash,
        StoredUse::Junk => SpecialUse::Junk,
        StoredUse::Archive => SpecialUse::Archive,
    }
}

/// The special use that CREATE asks for (RFC 6154 §3): at most one, and one that holds messages of its own.
fn stored_use(asked: &[SpecialUse]) -> Result<Option<StoredUse>, Stop> {
    match asked {
        [] => Ok(None),
        [SpecialUse::Drafts] => Ok(Some(StoredUse::Drafts)),
        [SpecialUse::Sent] => Ok(Some(StoredUse::Sent)),
        [SpecialUse::Trash] => Ok(Some(StoredUse::Trash)),
        [SpecialUse::Junk] => Ok(Some(StoredUse::Junk)),
        [SpecialUse::Archive] => Ok(Some(StoredUse::Archive)),
        [_] => Err(Reply::no(Code::UseAttr, "This special use is not possible").into()),
        _ => Err(Reply::no(Code::UseAttr, "A mailbox has at most one special use").into()),
    }
}

impl Session {
    /// Whose mail the session reads.
    pub(crate) fn account(&self) -> Result<AccountId, Stop> {
        let user = self.user.as_ref().ok_or_else(|| Reply::client_bug("Log in first"))?;
        Ok(user.account)
    }

    /// The mailbox of that name, which must be there.
    pub(crate) async fn mailbox(&self, name: &MailboxName) -> Result<Mailbox, Stop> {
        let found = self.shared.mailstore.mailbox(self.account()?, &stored_name(name)?).await?;
        found.ok_or_else(|| Error::NoSuchMailbox.into())
    }

    pub(crate) async fn create(&mut self, name: &MailboxName, special_use: &[SpecialUse]) -> Outcome {
        let special_use = stored_use(special_use)?;
        let name = stored_name(name)?;
        let created = self.shared.mailstore.create_mailbox(self.account()?, &name, special_use).await;
        match created {
            Ok(_) => Ok(Reply::ok("Created")),
            Err(Error::NotPermitted(reason)) if special_use.is_some() => {
                Err(Reply::no(Code::UseAttr, reason).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn delete(&mut self, name: &MailboxName) -> Outcome {
        let name = stored_name(name)?;
        self.shared.mailstore.delete_mailbox(self.account()?, &name).await?;
        Ok(Reply::ok("Deleted"))
    }

    /// RENAME; a client of IMAP4rev2 is told the mailbox under its new name (RFC 9051 §6.3.6).
    pub(crate) async fn rename(&mut self, from: &MailboxName, to: &MailboxName) -> Outcome {
        let (old, new) = (stored_name(from)?, stored_name(to)?);
        self.shared.mailstore.rename_mailbox(self.account()?, &old, &new).await?;
        // Renaming INBOX moves its messages and leaves it where it is (RFC 9051 §6.3.6): it has no old name.
        if self.rev2 && !old.is_inbox() {
            let attributes: &[ListAttribute] = &[];
            let entry = ListEntry { mailbox: to, attributes, child_subscribed: false, old_name: Some(from) };
            self.wire.responses(self.encoding).list(&entry);
        }
        Ok(Reply::ok("Renamed"))
    }

    /// SUBSCRIBE and UNSUBSCRIBE. The mailbox need not be there (RFC 9051 §6.3.7).
    pub(crate) async fn subscribe(&mut self, name: &MailboxName, on: bool) -> Outcome {
        self.shared.mailstore.set_subscribed(self.account()?, &stored_name(name)?, on).await?;
        Ok(Reply::ok(if on { "Subscribed" } else { "Unsubscribed" }))
    }
}
