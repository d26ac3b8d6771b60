//! Every mailbox against the ledger: its name, its messages and their marks, their octets, and what was counted.

use std::sync::Arc;

use ekitei_mailstore::{AccountId, Flags, Mailbox, MailboxId, Snapshot, Uid};

use crate::ledger::{Doubt, Kept, Ledger, Marks};
use crate::world::World;

/// Compares all accounts.
pub async fn compare(world: &Arc<World>) {
    for account in world.accounts() {
        compare_account(world, account).await;
    }
    let doubts = std::mem::take(&mut world.ledger().doubts);
    for doubt in &doubts {
        let ledger: &mut Ledger = &mut world.ledger();
        if let Some(wrong) = in_part(ledger, doubt) {
            ledger.accuse(wrong);
        }
    }
}

async fn compare_account(world: &Arc<World>, account: AccountId) {
    let judge = world.fresh_eyes();
    let mailboxes = match judge.mailboxes(account).await {
        Ok(mailboxes) => mailboxes,
        Err(error) => return world.ledger().accuse(format!("account {account} cannot be read: {error}")),
    };
    let (mut bytes, mut messages) = (0, 0);
    for mailbox in &mailboxes {
        let Some(stored) = world.stored(account, mailbox.id).await else {
            world.ledger().accuse(format!("{} of account {account} cannot be read", mailbox.name));
            continue;
        };
        bytes += stored.entries.iter().map(|entry| entry.size).sum::<u64>();
        messages += stored.entries.len() as u64;
        for entry in &stored.entries {
            world.learn(account, mailbox.id, entry).await;
            let read = judge.read(account, entry.message, 0..u64::MAX).await;
            if read.ok().map(|read| read.len() as u64) != Some(entry.size) {
                let what =
                    format!("UID {} of {} in account {account} cannot be read", entry.uid, mailbox.name);
                world.ledger().accuse(what);
            }
        }
        count(world, account, mailbox, &stored).await;
        compare_mailbox(&mut world.ledger(), account, mailbox, &stored);
    }
    match judge.usage(account).await {
        Ok(usage) if (usage.bytes, usage.messages) == (bytes, messages) => {}
        usage => world.ledger().accuse(format!(
            "account {account} holds {bytes} octets in {messages} messages, and counts {usage:?}"
        )),
    }
    compare_names(&mut world.ledger(), account, &mailboxes);
}

fn compare_names(ledger: &mut Ledger, account: AccountId, mailboxes: &[Mailbox]) {
    let known: Vec<(String, MailboxId)> = ledger
        .names
        .iter()
        .filter(|((owner, _), _)| *owner == account)
        .map(|((_, name), &id)| (name.clone(), id))
        .collect();
    for (name, id) in &known {
        if !mailboxes.iter().any(|mailbox| mailbox.name.as_str() == name && mailbox.id == *id) {
            ledger.accuse(format!("mailbox {name} of account {account} is lost"));
        }
    }
    for mailbox in mailboxes {
        let is_ours = mailbox.name.is_inbox() || mailbox.name.as_str().starts_with('c');
        if is_ours && !known.iter().any(|(name, id)| mailbox.name.as_str() == name && mailbox.id == *id) {
            ledger.accuse(format!("mailbox {} of account {account} should not be there", mailbox.name));
        }
    }
}

/// Compares counters with a recount.
async fn count(world: &Arc<World>, account: AccountId, mailbox: &Mailbox, stored: &Snapshot) {
    let entries = &stored.entries;
    let count =
        |test: &dyn Fn(Flags) -> bool| entries.iter().filter(|entry| test(entry.flags)).count() as u64;
    let counted = (
        entries.len() as u64,
        count(&|flags| !flags.contains(Flags::SEEN)),
        count(&|flags| flags.contains(Flags::DELETED)),
        entries.iter().map(|entry| entry.size).sum::<u64>(),
        stored.uid_next,
    );
    let status = world.god.status(account, mailbox.id).await;
    let status =
        status.map(|status| (status.messages, status.unseen, status.deleted, status.size, status.uid_next));
    if status.as_ref().ok() != Some(&counted) {
        let what = format!("{} of account {account} has {counted:?}, and counts {status:?}", mailbox.name);
        world.ledger().accuse(what);
    }
}

fn compare_mailbox(ledger: &mut Ledger, account: AccountId, mailbox: &Mailbox, stored: &Snapshot) {
    let Some(book) = ledger.book(account, mailbox.id) else { return };
    let mut wrong = Vec::new();
    let is_inbox = book.owner.is_none();
    for (uid, kept) in &mut book.kept {
        let entry = stored.position(*uid).map(|at| &stored.entries[at]);
        let marks = entry.map(Marks::of_entry);
        kept.is_there = marks.is_some();
        wrong.extend(wrong_with(*uid, kept, marks, is_inbox));
        if *uid >= stored.uid_next {
            wrong.push(format!("UID {uid} is not below UIDNEXT {}", stored.uid_next));
        }
    }
    if !is_inbox && book.highest + 1 != stored.uid_next.get() {
        wrong.push(format!("UIDNEXT is {} after {}", stored.uid_next, book.highest));
    }
    for wrong in wrong {
        ledger.accuse(format!("{} of account {account}: {wrong}", mailbox.name));
    }
}

/// What is wrong with one message, given how it is marked; `None` if it is not there.
fn wrong_with(uid: Uid, kept: &Kept, marks: Option<Marks>, is_inbox: bool) -> Option<String> {
    let name = kept.name.as_deref().unwrap_or("a message");
    match marks {
        Some(_) if kept.removed.is_some() => Some(format!("UID {uid}, {name}, was removed, and is there")),
        Some(_) if kept.missed => Some(format!("UID {uid}, {name}, was not there, and is there")),
        // What comes into INBOX is compared by name.
        Some(_) if !kept.promised && !is_inbox => Some(format!("UID {uid}, {name}, was never added")),
        Some(has) if kept.marks.is_some_and(|marks| marks != has) => {
            Some(format!("UID {uid}, {name}, is marked {has:?}, and should be {:?}", kept.marks))
        }
        None if kept.added && kept.removed.is_none() && kept.doubtful.is_empty() => {
            Some(format!("UID {uid}, {name}, is lost"))
        }
        _ => None,
    }
}

/// What is wrong if a removal of an unknown result was done in part, or was not what else is known of it.
fn in_part(ledger: &mut Ledger, doubt: &Doubt) -> Option<String> {
    let Doubt { operation, mailbox, uids, happened } = doubt;
    let book = ledger.book(mailbox.0, mailbox.1)?;
    if book.gone {
        return None;
    }
    let (mut there, mut gone) = (0, 0);
    for uid in uids {
        let kept = book.kept.get(uid)?;
        // Others may have removed it.
        if kept.removed.is_some() || kept.doubtful.len() > 1 {
            continue;
        }
        if kept.is_there { there += 1 } else { gone += 1 }
    }
    let wrong = match happened {
        Some(true) => there > 0,
        Some(false) => gone > 0,
        None => there > 0 && gone > 0,
    };
    wrong.then(|| {
        format!("removal {operation} in mailbox {mailbox:?} of {uids:?}: {gone} are gone, {there} are there ({happened:?})")
    })
}
