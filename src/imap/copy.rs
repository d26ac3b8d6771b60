//! COPY and MOVE (RFC 9051 §6.4.7, §6.4.8), with COPYUID (RFC 4315).

use ekitei_mailstore::{Copied, Error, Mailbox, Uid};

use crate::proto::MailboxName;
use crate::proto::command::Transfer;
use crate::proto::response::{Code, Status};
use crate::proto::sequence::NumberSet;
use crate::reply::{Outcome, Reply, Stop, target_failure, try_create};
use crate::selected::Selected;
use crate::session::Session;

/// COPYUID, if anything was copied.
fn copy_uid(copied: &Copied) -> Option<Code> {
    let source: NumberSet = copied.uids.iter().map(|(from, _)| from.get()).collect();
    let destination: NumberSet = copied.uids.iter().map(|(_, to)| to.get()).collect();
    (!source.is_empty()).then_some(Code::CopyUid { uid_validity: copied.uid_validity, source, destination })
}

/// The UIDs that are to go. Message numbers of messages that are gone refuse the command: all are copied, or none.
fn uids(selected: &Selected, transfer: &Transfer) -> Result<Vec<Uid>, Stop> {
    let chosen = selected.choose(transfer.uid, &transfer.set)?;
    if !transfer.uid && chosen.iter().any(|index| !selected.numbering.is_alive(index)) {
        return Err(Reply::no(Code::ExpungeIssued, "Some of the messages are expunged").into());
    }
    Ok(selected.uids(&chosen))
}

impl Session {
    /// The mailbox that messages go to; `TRYCREATE` if it is not there.
    pub(crate) async fn target(&self, name: &MailboxName) -> Result<Mailbox, Stop> {
        let name = crate::mailboxes::stored_name(name)?;
        let found = self.shared.mailstore.mailbox(self.account()?, &name).await?;
        found.ok_or_else(|| try_create().into())
    }

    pub(crate) async fn copy(&mut self, transfer: &Transfer) -> Outcome {
        self.learn_uids(transfer.uid, &transfer.set).await?;
        let uids = uids(self.selected()?, transfer)?;
        let target = self.target(&transfer.mailbox).await?;
        if uids.is_empty() {
            return Ok(Reply::ok("There is nothing to copy"));
        }
        let (account, from) = (self.account()?, self.selected()?.mailbox.id);
        let quota = self.shared.directory.quota(account).await?;
        let lessons = self.transfer_lessons(&uids, target.special_use);
        let copied = self.shared.mailstore.copy(account, from, &uids, target.id, Some(quota)).await;
        let copied = self.transferred(copied).await?;
        self.teach_transferred(lessons, &copied);
        Ok(Reply { code: copy_uid(&copied), ..Reply::ok("Copied") })
    }

    /// MOVE. COPYUID comes before the EXPUNGE responses (RFC 6851 §4.3), which come with the updates after the command.
    pub(crate) async fn move_messages(&mut self, transfer: &Transfer) -> Outcome {
        self.selected_to_change()?;
        self.learn_uids(transfer.uid, &transfer.set).await?;
        let uids = uids(self.selected()?, transfer)?;
        let target = self.target(&transfer.mailbox).await?;
        if uids.is_empty() {
            return Ok(Reply::ok("There is nothing to move"));
        }
        let (account, from) = (self.account()?, self.selected()?.mailbox.id);
        let lessons = self.transfer_lessons(&uids, target.special_use);
        let moved = self.shared.mailstore.move_messages(account, from, &uids, target.id).await;
        let moved = self.transferred(moved).await?;
        self.teach_transferred(lessons, &moved);
        if let Some(code) = copy_uid(&moved) {
            self.wire.responses(self.encoding).untagged(Status::Ok, Some(&code), "Moved");
        }
        Ok(Reply::ok("Moved"))
    }

    /// Tells which mailbox is missing, if one is: the target may be created, the selected one is gone.
    async fn transferred(&mut self, result: Result<Copied, Error>) -> Result<Copied, Stop> {
        match result {
            Err(Error::NoSuchMailbox) => {
                self.refresh_selected().await?;
                let gone = self.selected()?.numbering.is_gone();
                Err(if gone { Error::NoSuchMailbox.into() } else { target_failure(Error::NoSuchMailbox) })
            }
            other => Ok(other?),
        }
    }
}
