//! STORE and UID STORE (RFC 9051 §6.4.6).

use ekitei_mailstore::{Entry, FlagChange, FlagOperation, Flags, Keywords};

use crate::numbering::Expunges;
use crate::proto::command::{Store, StoreAction};
use crate::proto::response::Code;
use crate::reply::{Outcome, Reply};
use crate::selected::stored_flags;
use crate::session::Session;

fn change(store: &Store) -> FlagChange {
    let operation = match store.action {
        StoreAction::Replace => FlagOperation::Set,
        StoreAction::Add => FlagOperation::Add,
        StoreAction::Remove => FlagOperation::Remove,
    };
    let (flags, keywords) = stored_flags(&store.flags);
    FlagChange { operation, flags, keywords }
}

/// The flags that the client thinks a message has after its change.
fn expected(before: &Entry, change: &FlagChange) -> (Flags, Keywords) {
    match change.operation {
        FlagOperation::Set => (change.flags, change.keywords.clone()),
        FlagOperation::Add => (before.flags.union(change.flags), before.keywords.union(&change.keywords)),
        FlagOperation::Remove => {
            (before.flags.difference(change.flags), before.keywords.difference(&change.keywords))
        }
    }
}

impl Session {
    pub(crate) async fn store(&mut self, store: &Store) -> Outcome {
        if store.unchanged_since.is_some() {
            return Err(Reply::bad("UNCHANGEDSINCE is not offered").into());
        }
        self.selected_to_change()?;
        self.learn_uids(store.uid, &store.set).await?;
        let selected = self.selected()?;
        let chosen = selected.choose(store.uid, &store.set)?;
        let uids = selected.uids(&chosen);
        let change = change(store);
        let mailbox = selected.mailbox.id;
        if !uids.is_empty() {
            let adds = change.operation != FlagOperation::Remove;
            let lessons = adds.then(|| self.keyword_lessons(&uids, &change.keywords)).flatten();
            self.shared.mailstore.store_flags(self.account()?, mailbox, &uids, &change).await?;
            self.teach(lessons);
            self.refresh_selected().await?;
        }
        let silent = store.silent;
        // What the client asked for it knows, unless others changed the flags too; without SILENT it is told of these messages below.
        let known = |before: &Entry, now: &Entry| {
            uids.binary_search(&now.uid).is_ok()
                && (!silent || expected(before, &change) == (now.flags, now.keywords.clone()))
        };
        self.tell(Expunges::Withhold, store.uid, known).await?;
        // The numbers stand still until the end of the command: what was chosen is where it was.
        let mut gone = false;
        for index in chosen.iter() {
            if !self.selected()?.numbering.is_alive(index) {
                gone = true;
            } else if !silent {
                self.tell_flags(index, store.uid || self.rev2);
                self.wire.drain().await?;
            }
        }
        if gone && store.uid {
            // A UID that is not there is no error (RFC 9051 §6.4.9).
            return Ok(Reply::ok("Stored; some of the messages are expunged").with_code(Code::ExpungeIssued));
        }
        if gone {
            return Err(Reply::no(Code::ExpungeIssued, "Some of the messages are expunged").into());
        }
        Ok(Reply::ok("Stored"))
    }
}
