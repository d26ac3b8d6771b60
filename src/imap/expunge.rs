//! EXPUNGE and UID EXPUNGE (RFC 9051 §6.4.3, §6.4.9).

use ekitei_mailstore::ExpungeScope;

use crate::proto::response::Code;
use crate::proto::sequence::SequenceSet;
use crate::reply::{Outcome, Reply, Stop};
use crate::selected::Selected;
use crate::session::Session;

/// The reply to a change of a mailbox that was opened by EXAMINE.
fn read_only() -> Stop {
    Reply::no(Code::ReadOnly, "The mailbox was opened read-only").into()
}

impl Session {
    /// The selected mailbox.
    pub(crate) fn selected(&self) -> Result<&Selected, Stop> {
        self.selected.as_deref().ok_or_else(|| Reply::client_bug("Select a mailbox first").into())
    }

    /// The selected mailbox, to change it.
    pub(crate) fn selected_to_change(&self) -> Result<&Selected, Stop> {
        let selected = self.selected()?;
        if selected.read_only { Err(read_only()) } else { Ok(selected) }
    }

    /// EXPUNGE, and UID EXPUNGE of a set. The responses come with the updates after the command.
    pub(crate) async fn expunge(&mut self, set: Option<&SequenceSet>) -> Outcome {
        self.selected_to_change()?;
        if let Some(set) = set {
            self.learn_uids(true, set).await?;
        }
        let selected = self.selected()?;
        let scope = match set {
            None => ExpungeScope::Deleted,
            Some(set) => {
                let chosen = selected.choose(true, set)?;
                ExpungeScope::DeletedAmong(selected.uids(&chosen))
            }
        };
        self.shared.mailstore.expunge(self.account()?, selected.mailbox.id, &scope).await?;
        Ok(Reply::ok("Expunged"))
    }
}
