//! Adding messages to mailboxes: APPEND, COPY and MOVE.

use std::sync::Arc;

use ekitei_mailstore::{Copied, Error, MailboxId, MessageId, NewMessage, Uid};

use super::{Answer, Client};
use crate::ledger::{Doubt, Marks, Moment, Posted, Told};
use crate::node::Node;

/// A COPY or MOVE under way.
struct Transfer {
    from: MailboxId,
    to: MailboxId,
    removes: bool,
    began: Moment,
    floor: u32,
    wanted: Vec<(Uid, MessageId)>,
}

impl Client {
    pub(super) async fn append(&mut self, node: &Arc<Node>) {
        let own = self.own_mailbox().filter(|_| self.dice.chance(0.8));
        let mailbox = own.unwrap_or(MailboxId::INBOX);
        // What is added to INBOX is told apart by its name, and so comes alone.
        let count = if own.is_some() { 1 + self.dice.below(3) } else { 1 };
        let bits = self.dice.between(0, u64::MAX);
        let marks = Marks::of_client(self.number).chosen(bits);
        let mut names = Vec::new();
        let mut messages = Vec::new();
        for _ in 0..count {
            let (name, message) = self.world.compose(&mut self.dice);
            let (flags, keywords) = (marks.flags(), marks.keywords());
            messages.push(NewMessage { message, flags, keywords, received: None });
            names.push(name);
        }
        let floor = self.floor(mailbox);
        if own.is_none() {
            self.hand_in(&names[0]);
        }
        let quota = node.quota(self.account).await;
        let append = node.mailstore.append(self.account, mailbox, messages, quota);
        let answer = self.ask(node, &format!("append {names:?} {marks:?} to {}", mailbox.0), append).await;
        let told = match answer {
            Answer::Done(appended) => {
                if appended.uids.len() != names.len() {
                    self.accuse_all(mailbox, ["APPEND gave another number of UIDs".to_owned()]);
                }
                for (&uid, name) in appended.uids.iter().zip(&names) {
                    self.added(mailbox, uid, name, Some(marks), floor);
                }
                Told::Accepted(vec![true])
            }
            Answer::Refused(Error::NoSuchMailbox) => {
                self.accuse_all(mailbox, ["it is not there for an APPEND".to_owned()]);
                Told::Refused
            }
            Answer::Refused(_) => Told::Refused,
            Answer::Unknown => {
                if own.is_some() {
                    self.settle_added(mailbox, &names, Some(marks), true).await;
                }
                Told::Nothing
            }
        };
        if let Some(posted) = self.world.ledger().post.posted.get_mut(&names[0]) {
            posted.told = told;
        }
    }

    /// A message for INBOX is on its way.
    fn hand_in(&self, name: &str) {
        let posted = Posted {
            accounts: vec![self.account],
            recipients: Vec::new(),
            may_be_full: Vec::new(),
            told: Told::Waits,
        };
        self.world.ledger().post.posted.insert(name.to_owned(), posted);
    }

    fn floor(&self, mailbox: MailboxId) -> u32 {
        self.world.ledger().book(self.account, mailbox).map_or(0, |book| book.highest)
    }

    fn added(&self, mailbox: MailboxId, uid: Uid, name: &str, marks: Option<Marks>, floor: u32) {
        let mut ledger = self.world.ledger();
        let wrong = ledger.book(self.account, mailbox).and_then(|book| book.add(uid, name, marks, floor));
        if mailbox == MailboxId::INBOX {
            ledger.post.see(self.account, name, uid);
        }
        drop(ledger);
        self.accuse_all(mailbox, wrong);
    }

    /// Looks how many messages an operation of an unknown result added to a mailbox to which nobody else adds: all that it could, or none.
    async fn settle_added(
        &mut self,
        mailbox: MailboxId,
        names: &[String],
        marks: Option<Marks>,
        all: bool,
    ) -> usize {
        let Some(stored) = self.world.stored(self.account, mailbox).await else { return 0 };
        let floor = self.floor(mailbox);
        let count = (stored.uid_next.get() - 1).saturating_sub(floor) as usize;
        self.world.trace.note(&self.name, format_args!("finds that {count} were added"));
        if count > names.len() || (all && count != 0 && count != names.len()) {
            self.accuse_all(mailbox, [format!("{count} of {} messages were added", names.len())]);
        }
        for (n, name) in names.iter().enumerate().take(count) {
            let Some(uid) = Uid::new(floor + 1 + n as u32) else { continue };
            let name = match stored.position(uid).map(|at| &stored.entries[at]) {
                Some(entry) => self.world.name_of(self.account, entry.message).await,
                // Somebody removed it already, who saw it before.
                None => self.seen_name(mailbox, uid).unwrap_or_else(|| name.clone()),
            };
            self.added(mailbox, uid, &name, marks, floor + n as u32);
        }
        count
    }

    fn seen_name(&self, mailbox: MailboxId, uid: Uid) -> Option<String> {
        self.world.ledger().book(self.account, mailbox)?.kept.get(&uid)?.name.clone()
    }

    /// COPY, or MOVE, into a mailbox of its own.
    pub(super) async fn copy(&mut self, node: &Arc<Node>, removes: bool) {
        let (from, Some(to)) = (self.some_mailbox(), self.own_mailbox()) else { return };
        if from == to {
            return;
        }
        let wanted = self.some_messages(node, from, 5).await;
        if wanted.is_empty() {
            return;
        }
        let uids: Vec<Uid> = wanted.iter().map(|&(uid, _)| uid).collect();
        let began = self.begin_transfer(from, &uids, removes);
        let transfer = Transfer { from, to, removes, began, floor: self.floor(to), wanted };
        let (account, store) = (self.account, &node.mailstore);
        let answer = if removes {
            let moving = store.move_messages(account, from, &uids, to);
            self.ask(node, &format!("move {uids:?} of {} to {}", from.0, to.0), moving).await
        } else {
            let quota = node.quota(account).await;
            let copying = store.copy(account, from, &uids, to, quota);
            self.ask(node, &format!("copy {uids:?} of {} to {}", from.0, to.0), copying).await
        };
        match answer {
            Answer::Done(copied) => self.copied(&transfer, &copied).await,
            Answer::Refused(Error::NoSuchMailbox) => self.not_there_for_copy(from),
            Answer::Refused(_) => {}
            Answer::Unknown => self.settle_copied(&transfer).await,
        }
    }

    fn begin_transfer(&self, from: MailboxId, uids: &[Uid], removes: bool) -> Moment {
        let mut ledger = self.world.ledger();
        let began = ledger.tick();
        if removes && let Some(book) = ledger.book(self.account, from) {
            uids.iter().for_each(|&uid| book.entry(uid).removal_began = true);
        }
        began
    }

    fn not_there_for_copy(&self, from: MailboxId) {
        let began = self.world.ledger().book(self.account, from).is_some_and(|book| book.deletion_began);
        let wrong = (!began).then(|| "it is not there for a COPY, and nobody deleted it".to_owned());
        self.accuse_all(from, wrong);
    }

    async fn copied(&mut self, transfer: &Transfer, copied: &Copied) {
        let Transfer { from, to, floor, .. } = *transfer;
        let mut wrong = Vec::new();
        if !copied.uids.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1) {
            wrong.push("pairs of UIDs do not ascend".to_owned());
        }
        for (n, &(source, target)) in copied.uids.iter().enumerate() {
            let Some((_, message)) = transfer.wanted.iter().find(|(uid, _)| *uid == source) else {
                wrong.push(format!("UID {source} was not asked for"));
                continue;
            };
            let name = self.world.name_of(self.account, *message).await;
            self.added(to, target, &name, None, floor + n as u32);
        }
        wrong.extend(self.moved_away(transfer, copied));
        self.accuse_all(from, wrong);
        self.compare_marks(transfer, &copied.uids).await;
    }

    /// What became of the sources of a COPY or MOVE that was done; what is wrong with that.
    fn moved_away(&self, transfer: &Transfer, copied: &Copied) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut ledger = self.world.ledger();
        let now = ledger.tick();
        let done = |uid: Uid| copied.uids.iter().any(|&(source, _)| source == uid);
        let Some(book) = ledger.book(self.account, transfer.from) else { return wrong };
        for &(uid, _) in &transfer.wanted {
            if !done(uid) {
                wrong.extend(book.miss(uid));
            } else if transfer.removes {
                wrong.extend(book.remove(uid, now));
            } else if book.entry(uid).removed.is_some_and(|at| at < transfer.began) {
                wrong.push(format!("UID {uid} is copied after it was removed"));
            }
        }
        wrong
    }

    /// What was copied is marked as its source was, as far as nobody changed either meanwhile.
    async fn compare_marks(&mut self, transfer: &Transfer, pairs: &[(Uid, Uid)]) {
        let Some(stored) = self.world.stored(self.account, transfer.to).await else { return };
        let mut wrong = Vec::new();
        let mut ledger = self.world.ledger();
        for &(source, target) in pairs {
            let settled = |ledger: &mut crate::ledger::Ledger, mailbox, uid| {
                let kept = ledger.book(self.account, mailbox)?.kept.get(&uid)?;
                kept.settled_marks(transfer.began)
            };
            let of_source = settled(&mut ledger, transfer.from, source);
            let before = settled(&mut ledger, transfer.to, target);
            let Some(entry) = stored.position(target).map(|at| &stored.entries[at]) else { continue };
            let has = Marks::of_entry(entry);
            if let Some(book) = ledger.book(self.account, transfer.to) {
                let kept = book.entry(target);
                kept.marks = kept.marks.or(Some(has));
            }
            // A target that was seen before may have been changed since.
            let (Some((counts, marks)), None) = (of_source, before) else { continue };
            if has.among(counts) != marks {
                wrong.push(format!("UID {target} is marked {has:?}, and its source UID {source} {marks:?}"));
            }
        }
        drop(ledger);
        self.accuse_all(transfer.to, wrong);
    }

    async fn settle_copied(&mut self, transfer: &Transfer) {
        let mut names = Vec::new();
        for &(_, message) in &transfer.wanted {
            names.push(self.world.name_of(self.account, message).await);
        }
        let uids: Vec<Uid> = transfer.wanted.iter().map(|&(uid, _)| uid).collect();
        let sure = {
            let mut ledger = self.world.ledger();
            let book = ledger.book(self.account, transfer.from);
            !transfer.removes
                && book.is_some_and(|book| {
                    !book.deletion_began && uids.iter().all(|&uid| book.entry(uid).is_sure())
                })
        };
        let count = self.settle_added(transfer.to, &names, None, sure).await;
        if count == uids.len() {
            let targets = (transfer.floor + 1..).filter_map(Uid::new);
            let pairs: Vec<(Uid, Uid)> = uids.iter().copied().zip(targets).collect();
            self.compare_marks(transfer, &pairs).await;
        }
        self.learn_marks(transfer.to).await;
        if transfer.removes {
            let mut ledger = self.world.ledger();
            if let Some(book) = ledger.book(self.account, transfer.from) {
                uids.iter().for_each(|&uid| book.entry(uid).doubtful.push(transfer.began));
            }
            // If it happened in part, it is not known to which of them.
            let happened = (count == 0 || count == uids.len()).then_some(count > 0);
            let mailbox = (self.account, transfer.from);
            ledger.doubts.push(Doubt { operation: transfer.began, mailbox, uids, happened });
        }
    }

    /// Notes how messages are marked of which nobody knows.
    async fn learn_marks(&mut self, mailbox: MailboxId) {
        let Some(stored) = self.world.stored(self.account, mailbox).await else { return };
        let mut ledger = self.world.ledger();
        let Some(book) = ledger.book(self.account, mailbox) else { return };
        for entry in &stored.entries {
            let kept = book.entry(entry.uid);
            kept.marks = kept.marks.or(Some(Marks::of_entry(entry)));
        }
    }
}
