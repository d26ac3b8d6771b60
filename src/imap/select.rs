//! SELECT, EXAMINE, CLOSE and UNSELECT (RFC 9051 §6.3.2, §6.3.3, §6.4.1, §6.4.2).

use ekitei_mailstore::{ExpungeScope, Flags};

use crate::numbering::number;
use crate::proto::command::Select;
use crate::proto::response::{Code, ListEntry, Status};
use crate::reply::{Outcome, Reply};
use crate::selected::Selected;
use crate::session::Session;

impl Session {
    /// SELECT, and EXAMINE for `read_only`. Whatever comes of it, the mailbox that was selected is closed.
    pub(crate) async fn select(&mut self, select: &Select, read_only: bool) -> Outcome {
        if let Some(parameter) = select.parameters.first() {
            return Err(Reply::bad(format!("The parameter {} is not offered", parameter.name)).into());
        }
        if self.selected.take().is_some() {
            let text = "The mailbox selected before is closed";
            self.wire.responses(self.encoding).untagged(Status::Ok, Some(&Code::Closed), text);
        }
        let mailbox = self.mailbox(&select.mailbox).await?;
        let view = self.shared.mailstore.view(self.account()?, mailbox.id).await?;
        let snapshot = view.refresh().await?;
        let selected = Box::new(Selected::new(mailbox, read_only, view, snapshot));
        self.tell_selected(&selected);
        if self.rev2 {
            let attributes = self.attributes(&selected.mailbox).await?;
            let entry = ListEntry {
                mailbox: &select.mailbox,
                attributes: &attributes,
                child_subscribed: false,
                old_name: None,
            };
            self.wire.responses(self.encoding).list(&entry);
        }
        self.selected = Some(selected);
        let code = if read_only { Code::ReadOnly } else { Code::ReadWrite };
        Ok(Reply::ok("Selected").with_code(code))
    }

    fn tell_selected(&mut self, selected: &Selected) {
        let (numbering, flags) = (&selected.numbering, selected.flags());
        let snapshot = numbering.told();
        let rev2 = self.rev2;
        let mut responses = self.wire.responses(self.encoding);
        responses.flags(&flags);
        responses.exists(u32::try_from(numbering.len()).unwrap_or(u32::MAX));
        if !rev2 {
            responses.recent(0);
            let unseen = snapshot.entries.iter().position(|entry| !entry.flags.contains(Flags::SEEN));
            if let Some(index) = unseen {
                responses.untagged(Status::Ok, Some(&Code::Unseen(number(index))), "First unseen message");
            }
        }
        let permanent = if selected.read_only {
            Code::PermanentFlags { flags: Vec::new(), more: false }
        } else {
            Code::PermanentFlags { flags, more: true }
        };
        responses.untagged(Status::Ok, Some(&permanent), "Flags that are kept");
        let validity = Code::UidValidity(snapshot.uid_validity);
        responses.untagged(Status::Ok, Some(&validity), "UIDs are valid");
        let next = Code::UidNext(snapshot.uid_next.get());
        responses.untagged(Status::Ok, Some(&next), "The UID of the next message");
    }

    /// CLOSE: expunges silently what has `\Deleted`, unless the mailbox is read-only, and deselects the mailbox.
    pub(crate) async fn close(&mut self) -> Outcome {
        let Some(selected) = self.selected.take() else { return Ok(Reply::ok("Closed")) };
        if selected.read_only {
            return Ok(Reply::ok("Closed; nothing was expunged"));
        }
        let (store, account) = (&self.shared.mailstore, self.account()?);
        match store.expunge(account, selected.mailbox.id, &ExpungeScope::Deleted).await {
            // A mailbox that was deleted meanwhile has nothing to expunge.
            Ok(_) | Err(ekitei_mailstore::Error::NoSuchMailbox) => Ok(Reply::ok("Closed")),
            Err(error) => {
                // Still selected: the client may try again, or UNSELECT.
                self.selected = Some(selected);
                Err(error.into())
            }
        }
    }

    /// UNSELECT (RFC 3691).
    pub(crate) fn unselect(&mut self) -> Outcome {
        self.selected = None;
        Ok(Reply::ok("Unselected"))
    }
}
