//! A snapshot is made while users go on: each account is as it was at one version.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ekitei_kv::Database;
use ekitei_mailstore::{FlagChange, FlagOperation, Flags, Keywords, MailboxId, NewMessage, Uid};

use super::support::{World, message, name};
use crate::Depth;

/// Messages that are moved to and fro.
const MESSAGES: usize = 40;

/// Moves messages between two mailboxes of Alice, one by one and atomically, until it is told to stop.
async fn move_about(world: Arc<World>, stop: Arc<AtomicBool>, moved: Arc<AtomicU64>) {
    let (account, mailstore) = (world.id("alice").await, &world.backup.mailstore);
    let (inbox, other) =
        (MailboxId::INBOX, mailstore.mailbox_or_new(world.id("alice").await, &name("b")).await.unwrap());
    let change = |operation| FlagChange { operation, flags: Flags::FLAGGED, keywords: Keywords::default() };
    let (mut from, mut to) = (inbox, other);
    while !stop.load(Ordering::Acquire) {
        let view = mailstore.view(account, from).await.unwrap().refresh().await.unwrap();
        let some: Vec<Uid> = view.entries.iter().step_by(3).take(3).map(|entry| entry.uid).collect();
        if some.is_empty() {
            std::mem::swap(&mut from, &mut to);
            continue;
        }
        mailstore.move_messages(account, from, &some, to).await.unwrap();
        let flags = if moved.fetch_add(1, Ordering::AcqRel).is_multiple_of(2) {
            FlagOperation::Add
        } else {
            FlagOperation::Remove
        };
        let first = [view.entries[view.entries.len() - 1].uid];
        mailstore.store_flags(account, from, &first, &change(flags)).await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_moved_while_it_is_read_is_in_exactly_one_mailbox_of_the_snapshot() {
    // Three messages, or changes, in a transaction: each mailbox takes many of them.
    let world = Arc::new(World::with(3, 0, Database::in_memory()));
    world.fill(&["alice"]).await;
    let texts: Vec<String> = (0..MESSAGES).map(|n| format!("message {n:02}")).collect();
    world.append("alice", "INBOX", &texts).await;
    let objects = world.repository_objects();
    let (stop, moved) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = tokio::spawn(move_about(Arc::clone(&world), Arc::clone(&stop), Arc::clone(&moved)));
    let mut snapshots = Vec::new();
    let mut disturbed = 0;
    // On a busy machine the writer may not have its turn for a while.
    for made in 0.. {
        if made >= 8 && disturbed > 0 {
            break;
        }
        assert!(made < 1000, "nothing happens while snapshots are made");
        let before = moved.load(Ordering::Acquire);
        let snapshot = world.create(&objects).await.unwrap();
        let is_disturbed = moved.load(Ordering::Acquire) > before + 2;
        disturbed += u64::from(is_disturbed);
        if made < 8 || is_disturbed {
            snapshots.push(snapshot);
        }
    }
    stop.store(true, Ordering::Release);
    writer.await.unwrap();
    assert_eq!(world.verify(&objects, Depth::Full).await.problems, [] as [String; 0]);
    for snapshot in snapshots {
        assert_eq!(snapshot.totals.messages, MESSAGES as u64, "{}", snapshot.id);
        let (restored, done) = World::restored(&objects, &snapshot.id).await;
        done.unwrap();
        let found: Vec<String> =
            [restored.texts("alice", "INBOX").await, restored.texts("alice", "b").await].concat();
        let distinct: BTreeSet<&String> = found.iter().collect();
        assert_eq!((found.len(), distinct), (MESSAGES, texts.iter().collect()), "{}", snapshot.id);
    }
}

#[tokio::test]
async fn a_change_log_that_was_cut_off_meanwhile_is_made_up_for() {
    let world = World::with(3, 0, Database::in_memory());
    world.fill(&["alice"]).await;
    world.append("alice", "INBOX", &(0..20).map(|n| format!("first {n}")).collect::<Vec<_>>()).await;
    let (account, mailstore) = (world.id("alice").await, &world.backup.mailstore);
    let mut state = mailstore.account_state(account, &std::collections::BTreeMap::new(), 3).await.unwrap();
    for n in 0..30 {
        world.append("alice", "INBOX", &[format!("second {n}")]).await;
    }
    // Another pod keeps one change of a log.
    let short = ekitei_mailstore::Settings { change_log_length: 1, ..ekitei_mailstore::Settings::default() };
    let backup = &world.backup;
    let other = ekitei_mailstore::MailStore::new(
        backup.database.clone(),
        backup.blobs.clone(),
        short,
        backup.clock.clone(),
    );
    // A process hints at the logs that it finds long itself.
    let new = NewMessage {
        message: message("last"),
        flags: Flags::SEEN,
        keywords: Keywords::default(),
        received: None,
    };
    other.append(account, MailboxId::INBOX, vec![new], None).await.unwrap();
    assert_eq!(other.trim_change_logs().await.unwrap(), 1);
    mailstore.catch_up(&mut state, 3).await.unwrap();
    let anew = mailstore.account_state(account, &std::collections::BTreeMap::new(), 1000).await.unwrap();
    assert_eq!(state.mailboxes, anew.mailboxes);
    assert_eq!(state.mailboxes[&MailboxId::INBOX].entries.as_ref().unwrap().len(), 51);
}
