//! Changing and removing messages: STORE and EXPUNGE, and what POP3 does at its end.

use std::sync::Arc;

use ekitei_mailstore::{Changed, Error, ExpungeScope, FlagChange, FlagOperation, MailboxId, ModSeq, Uid};

use super::{Answer, Client};
use crate::ledger::{Doubt, Ledger, Marks, Moment};
use crate::node::Node;

/// A STORE under way.
struct Storing {
    mailbox: MailboxId,
    uids: Vec<Uid>,
    adds: bool,
    marks: Marks,
    modseq: ModSeq,
}

impl Storing {
    fn apply(&self, marks: Marks) -> Marks {
        if self.adds { marks.with(self.marks) } else { marks.without(self.marks) }
    }
}

impl Client {
    /// Adds or removes marks that nobody else changes.
    pub(super) async fn store(&mut self, node: &Arc<Node>) {
        let mailbox = self.some_mailbox();
        let uids: Vec<Uid> =
            self.some_messages(node, mailbox, 6).await.into_iter().map(|(uid, _)| uid).collect();
        if uids.is_empty() {
            return;
        }
        let (bits, adds) = (self.dice.between(0, u64::MAX), self.dice.chance(0.6));
        let marks = Marks::of_client(self.number).chosen(bits);
        let modseq =
            self.world.ledger().book(self.account, mailbox).map_or(ModSeq::default(), |book| book.modseq);
        let storing = Storing { mailbox, uids, adds, marks, modseq };
        let operation = if adds { FlagOperation::Add } else { FlagOperation::Remove };
        let change = FlagChange { operation, flags: marks.flags(), keywords: marks.keywords() };
        self.changing(&storing, true);
        let what = format!("{operation:?} {marks:?} {:?} of {}", storing.uids, mailbox.0);
        let store = node.mailstore.store_flags(self.account, mailbox, &storing.uids, &change);
        match self.ask(node, &what, store).await {
            Answer::Done(changed) => self.stored(&storing, &changed),
            Answer::Refused(Error::NoSuchMailbox) => self.must_be_deleted(mailbox),
            Answer::Refused(_) => {}
            Answer::Unknown => self.settle_stored(&storing).await,
        }
        self.changing(&storing, false);
    }

    /// A change of marks begins or ends.
    fn changing(&self, storing: &Storing, begins: bool) {
        let mut ledger = self.world.ledger();
        let now = ledger.tick();
        let Some(book) = ledger.book(self.account, storing.mailbox) else { return };
        for &uid in &storing.uids {
            let (under_way, last) = &mut book.entry(uid).changing[self.number];
            *last = now;
            *under_way = if begins { *under_way + 1 } else { *under_way - 1 };
        }
    }

    fn stored(&self, storing: &Storing, changed: &Changed) {
        let mut wrong = Vec::new();
        if let Some(book) = self.world.ledger().book(self.account, storing.mailbox) {
            wrong.extend(
                changed
                    .uids
                    .iter()
                    .filter(|uid| !storing.uids.contains(uid))
                    .map(|uid| format!("UID {uid} was not asked for")),
            );
            if !changed.uids.is_empty() {
                if changed.modseq <= storing.modseq {
                    wrong.push(format!("MODSEQ is {:?} after {:?}", changed.modseq, storing.modseq));
                }
                book.modseq = book.modseq.max(changed.modseq);
            }
            let is_there = !book.deletion_began;
            for &uid in &storing.uids {
                let kept = book.entry(uid);
                let Some(before) = kept.marks else { continue };
                let after = storing.apply(before);
                kept.marks = Some(after);
                if kept.is_sure() && is_there && changed.uids.contains(&uid) != (before != after) {
                    wrong.push(format!("UID {uid} was {before:?}, is {after:?}, and is told otherwise"));
                }
            }
        }
        self.accuse_all(storing.mailbox, wrong);
    }

    /// Looks whether a STORE of an unknown result happened: to all of the messages, or to none.
    async fn settle_stored(&self, storing: &Storing) {
        let Some(stored) = self.world.stored(self.account, storing.mailbox).await else { return };
        let (mut changed, mut unchanged) = (0, 0);
        let own = Marks::of_client(self.number);
        if let Some(book) = self.world.ledger().book(self.account, storing.mailbox) {
            for &uid in &storing.uids {
                let Some(entry) = stored.position(uid).map(|at| &stored.entries[at]) else { continue };
                let kept = book.entry(uid);
                let (Some(before), now) = (kept.marks, Marks::of_entry(entry).among(own)) else { continue };
                let after = storing.apply(before);
                match now {
                    _ if after == before => {}
                    now if now == after.among(own) => changed += 1,
                    _ => unchanged += 1,
                }
                kept.marks = Some(before.without(own).with(now));
            }
        }
        self.world
            .trace
            .note(&self.name, format_args!("finds that {changed} were marked, and {unchanged} not"));
        let wrong = (changed > 0 && unchanged > 0).then(|| "a STORE was done in part".to_owned());
        self.accuse_all(storing.mailbox, wrong);
    }

    fn must_be_deleted(&self, mailbox: MailboxId) {
        let began = self.world.ledger().book(self.account, mailbox).is_some_and(|book| book.deletion_began);
        let wrong = (!began).then(|| "it is not there, and nobody deleted it".to_owned());
        self.accuse_all(mailbox, wrong);
    }

    /// Removes messages: some by their UIDs, as POP3 does, or what is marked as deleted, which one client does only.
    pub(super) async fn expunge(&mut self, node: &Arc<Node>) {
        let mailbox = self.some_mailbox();
        let seen = self.some_messages(node, mailbox, 4).await;
        let mut uids: Vec<Uid> = seen.into_iter().map(|(uid, _)| uid).collect();
        let by_mark = self.number == 0 && self.dice.chance(0.5);
        let began = {
            let mut ledger = self.world.ledger();
            let began = ledger.tick();
            let Some(book) = ledger.book(self.account, mailbox) else { return };
            let scope_is_all = by_mark && book.owner == Some(self.number);
            if scope_is_all {
                uids = book
                    .kept
                    .iter()
                    .filter(|(_, kept)| kept.removed.is_none())
                    .map(|(uid, _)| *uid)
                    .collect();
            }
            let is_marked = |uid: &Uid| {
                book.kept
                    .get(uid)
                    .and_then(|kept| kept.marks)
                    .is_none_or(|marks| marks.contains(Marks::DELETED))
            };
            if by_mark {
                uids.retain(is_marked);
            }
            uids.iter().for_each(|&uid| book.entry(uid).removal_began = true);
            began
        };
        if uids.is_empty() {
            return;
        }
        let scope = if by_mark {
            ExpungeScope::DeletedAmong(uids.clone())
        } else {
            ExpungeScope::Exactly(uids.clone())
        };
        let expunge = node.mailstore.expunge(self.account, mailbox, &scope);
        let answer = self.ask(node, &format!("expunge {uids:?} of {}", mailbox.0), expunge).await;
        match answer {
            Answer::Done(changed) => self.removed(mailbox, &uids, &changed),
            Answer::Refused(Error::NoSuchMailbox) => self.must_be_deleted(mailbox),
            Answer::Refused(_) => {}
            Answer::Unknown => self.doubt(mailbox, uids, began),
        }
    }

    fn removed(&self, mailbox: MailboxId, uids: &[Uid], changed: &Changed) {
        let mut ledger = self.world.ledger();
        let now = ledger.tick();
        let mut wrong: Vec<String> = changed
            .uids
            .iter()
            .filter(|uid| !uids.contains(uid))
            .map(|uid| format!("UID {uid} was not to be removed"))
            .collect();
        if let Some(book) = ledger.book(self.account, mailbox) {
            for &uid in uids {
                if changed.uids.contains(&uid) {
                    wrong.extend(book.remove(uid, now));
                } else {
                    wrong.extend(book.miss(uid));
                }
            }
            book.modseq = book.modseq.max(changed.modseq);
        }
        drop(ledger);
        self.accuse_all(mailbox, wrong);
    }

    /// Nobody knows whether a removal happened.
    fn doubt(&self, mailbox: MailboxId, uids: Vec<Uid>, operation: Moment) {
        let ledger: &mut Ledger = &mut self.world.ledger();
        if let Some(book) = ledger.book(self.account, mailbox) {
            uids.iter().for_each(|&uid| book.entry(uid).doubtful.push(operation));
        }
        ledger.doubts.push(Doubt { operation, mailbox: (self.account, mailbox), uids, happened: None });
    }
}
