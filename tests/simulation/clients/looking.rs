//! Looking at mailboxes and reading messages.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use ekitei_blob::{Error as BodyError, KeyError};
use ekitei_mailstore::{Error, MailboxId, Snapshot, Uid};
use tokio::task::JoinSet;

use super::{Answer, Client, Watched};
use crate::ledger::Marks;
use crate::node::Node;

/// What was known of a mailbox before it was looked at.
struct Before {
    /// Messages that must be seen, unless somebody removes them meanwhile.
    sure: Vec<Uid>,
    /// Messages that must not.
    removed: Vec<Uid>,
}

impl Client {
    pub(super) async fn look_somewhere(&mut self, node: &Arc<Node>) {
        let mailbox = self.some_mailbox();
        self.look(node, mailbox).await;
    }

    /// Selects a mailbox, or hears what is new in it, and compares it with what must be there.
    pub(super) async fn look(&mut self, node: &Arc<Node>, mailbox: MailboxId) -> Option<Arc<Snapshot>> {
        let before = self.before(mailbox);
        let view = match self.watched.get(&mailbox) {
            Some(watched) => watched.view.clone(),
            None => {
                let select = node.mailstore.view(self.account, mailbox);
                match self.ask_quietly(node, &format!("select {}", mailbox.0), select).await {
                    Answer::Done(view) => view,
                    Answer::Refused(Error::NoSuchMailbox) => return self.not_there(mailbox),
                    _ => return None,
                }
            }
        };
        let last = self.watched.get(&mailbox).map(|watched| Arc::clone(&watched.last));
        let refresh = view.refresh();
        let what = format!("look at {}", mailbox.0);
        let Answer::Done(snapshot) = self.ask_quietly(node, &what, refresh).await else { return None };
        if snapshot.gone {
            self.watched.remove(&mailbox);
            return self.not_there(mailbox);
        }
        let seen =
            snapshot.entries.iter().map(|entry| (entry.uid, entry.message.to_string()[..12].to_owned()));
        let seen: Vec<_> = seen.collect();
        self.world.trace.note(&self.name, format_args!("sees {seen:?} up to {}", snapshot.uid_next));
        if let Some(last) = last {
            let wrong = wrong_step(&last, &snapshot);
            self.accuse_all(mailbox, wrong);
        }
        for entry in &snapshot.entries {
            self.world.learn(self.account, mailbox, entry).await;
        }
        self.compare(mailbox, &before, &snapshot);
        self.watched.insert(mailbox, Watched { view, last: Arc::clone(&snapshot) });
        Some(snapshot)
    }

    /// Asks for something whose answer is too long for the trace.
    async fn ask_quietly<T>(
        &mut self,
        node: &Node,
        what: &str,
        operation: impl Future<Output = ekitei_mailstore::Result<T>>,
    ) -> Answer<T> {
        let mut found = None;
        let answer = self
            .ask(node, what, async {
                found = Some(operation.await?);
                Ok(())
            })
            .await;
        match answer {
            Answer::Done(()) => found.map_or(Answer::Unknown, Answer::Done),
            Answer::Refused(error) => Answer::Refused(error),
            Answer::Unknown => Answer::Unknown,
        }
    }

    fn before(&self, mailbox: MailboxId) -> Before {
        let mut ledger = self.world.ledger();
        let mut before = Before { sure: Vec::new(), removed: Vec::new() };
        let Some(book) = ledger.book(self.account, mailbox) else { return before };
        for (uid, kept) in &book.kept {
            if kept.is_sure() && kept.promised {
                before.sure.push(*uid);
            } else if kept.removed.is_some() {
                before.removed.push(*uid);
            }
        }
        before
    }

    fn not_there(&self, mailbox: MailboxId) -> Option<Arc<Snapshot>> {
        let mut ledger = self.world.ledger();
        if ledger.book(self.account, mailbox).is_some_and(|book| !book.deletion_began) {
            let what = format!("{}: mailbox {} is not there, and nobody deleted it", self.name, mailbox.0);
            ledger.accuse(what);
        }
        None
    }

    pub(super) fn accuse_all(&self, mailbox: MailboxId, wrong: impl IntoIterator<Item = String>) {
        let mut ledger = self.world.ledger();
        for wrong in wrong {
            self.world.trace.note(&self.name, format_args!("ACCUSES: {wrong}"));
            ledger.accuse(format!("{} in mailbox {}: {wrong}", self.name, mailbox.0));
        }
    }

    /// Compares a view with the ledger.
    fn compare(&self, mailbox: MailboxId, before: &Before, snapshot: &Snapshot) {
        let mut wrong = Vec::new();
        if let Some(book) = self.world.ledger().book(self.account, mailbox) {
            if snapshot.uid_validity != book.uid_validity {
                wrong
                    .push(format!("UIDVALIDITY is {}, and was {}", snapshot.uid_validity, book.uid_validity));
            }
            let unseen = before.sure.iter().filter(|&&uid| snapshot.position(uid).is_none());
            let unseen = unseen.filter(|uid| book.kept.get(*uid).is_some_and(|kept| kept.is_sure()));
            wrong.extend(unseen.map(|uid| format!("UID {uid} was promised, and is not seen")));
            let back = before.removed.iter().filter(|&&uid| snapshot.position(uid).is_some());
            wrong.extend(back.map(|uid| format!("UID {uid} was removed, and is seen")));
            let own = Marks::of_client(self.number);
            for entry in &snapshot.entries {
                let Some(marks) = book.kept.get(&entry.uid).and_then(|kept| kept.marks) else { continue };
                let seen = Marks::of_entry(entry);
                if seen.among(own) != marks.among(own) {
                    wrong.push(format!("UID {} is marked {seen:?}, and should be {marks:?}", entry.uid));
                }
            }
        }
        self.accuse_all(mailbox, wrong);
    }

    /// Reads a message, or part of it.
    pub(super) async fn read(&mut self, node: &Arc<Node>) {
        let mailbox = self.some_mailbox();
        let Some((uid, message)) = self.some_messages(node, mailbox, 1).await.pop() else { return };
        let Some(whole) = self.world.whole(self.account, message) else { return };
        let ranges: Vec<Range<u64>> =
            (0..self.dice.below(3) + 1).map(|_| self.some_range(whole.len())).collect();
        let what = format!("read UID {uid} of {} {ranges:?}", mailbox.0);
        // As who fetches several parts of a message does.
        let account = self.account;
        let reading = async {
            let mut parts = JoinSet::new();
            for range in &ranges {
                let (node, range) = (Arc::clone(node), range.clone());
                parts.spawn(
                    async move { (node.mailstore.read(account, message, range.clone()).await, range) },
                );
            }
            let mut read = Vec::new();
            while let Some(part) = parts.join_next().await {
                if let Ok((octets, range)) = part {
                    read.push((octets?, range));
                }
            }
            Ok(read)
        };
        match self.ask_quietly(node, &what, reading).await {
            Answer::Done(read) => {
                let is_wrong = |(octets, range): &(Bytes, Range<u64>)| {
                    let end = usize::try_from(range.end).unwrap_or(usize::MAX).min(whole.len());
                    let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(end);
                    *octets != whole[start..end]
                };
                let wrong = read.iter().any(is_wrong);
                let wrong = wrong.then(|| format!("UID {uid} has other octets than were stored"));
                self.accuse_all(mailbox, wrong);
            }
            Answer::Refused(Error::Body(BodyError::NotFound(_))) => {
                let wrong = self.world.ledger().book(self.account, mailbox).and_then(|book| book.miss(uid));
                self.accuse_all(mailbox, wrong);
            }
            Answer::Refused(Error::Body(BodyError::Key(error))) if !is_temporary(&error) => {
                self.accuse_all(mailbox, [format!("UID {uid} cannot be read: {error}")]);
            }
            Answer::Refused(_) | Answer::Unknown => {}
        }
    }

    fn some_range(&mut self, length: usize) -> Range<u64> {
        if self.dice.chance(0.5) {
            return 0..u64::MAX;
        }
        let from = self.dice.below(length);
        from as u64..(from + self.dice.below(length)) as u64
    }

    /// The last look at everything, when nothing goes wrong any more.
    pub async fn last_look(mut self) {
        let Some(node) = self.connect() else { return };
        let watched: Vec<MailboxId> = self.watched.keys().copied().chain(self.mailboxes()).collect();
        for mailbox in watched {
            let Some(seen) = self.look(&node, mailbox).await else { continue };
            let stored = self.world.stored(self.account, mailbox).await;
            if stored.is_none_or(|stored| stored.entries != seen.entries || stored.uid_next != seen.uid_next)
            {
                self.accuse_all(mailbox, ["the view is not what is stored".to_owned()]);
            }
        }
    }
}

/// Whether a key may be there the next time.
fn is_temporary(error: &KeyError) -> bool {
    matches!(error, KeyError::Unavailable { .. } | KeyError::Store(_))
}

/// What is wrong with a mailbox that was seen in one way and then in another.
fn wrong_step(last: &Snapshot, next: &Snapshot) -> Vec<String> {
    let mut wrong = Vec::new();
    if next.uid_next < last.uid_next || next.highest_modseq < last.highest_modseq {
        wrong.push(format!("UIDNEXT or HIGHESTMODSEQ went back from {} to {}", last.uid_next, next.uid_next));
    }
    if !next.entries.is_sorted_by(|a, b| a.uid < b.uid) {
        wrong.push("UIDs do not ascend".to_owned());
    }
    for entry in &next.entries {
        match last.position(entry.uid).map(|at| &last.entries[at]) {
            None if entry.uid < last.uid_next => {
                wrong.push(format!("UID {} appears below UIDNEXT {}", entry.uid, last.uid_next));
            }
            Some(before) if before != entry && entry.modseq <= last.highest_modseq => {
                wrong.push(format!("UID {} changed, and its MODSEQ is not above the last one", entry.uid));
            }
            _ if entry.uid >= next.uid_next || entry.modseq > next.highest_modseq => {
                wrong.push(format!("UID {} is beyond UIDNEXT or HIGHESTMODSEQ", entry.uid));
            }
            _ => {}
        }
    }
    wrong
}
