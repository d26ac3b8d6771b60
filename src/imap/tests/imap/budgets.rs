//! What commands cost the store, as a client gives them: see `docs/transactions.md`.

#[path = "../../../../tests/transactions/table.rs"]
#[allow(clippy::expect_used)]
mod table;

use ekitei_mailstore::{MailboxId, Uid};
use table::{Budget, Table};

use crate::support::{World, message};

const fn budget(commits: u64, gets: u64, ranges: u64, rows: u64, kib: u64) -> Budget {
    Budget { commits, gets, ranges, rows, kib }
}

/// An INBOX of 10 000 messages.
async fn world() -> World {
    let world = World::new().await;
    let messages: Vec<String> = (0..500).map(|n| message(&n.to_string())).collect();
    world.put("alice", "INBOX", &messages.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let alice = world.account("alice").await;
    let mut filled = 500;
    while filled < 10_000 {
        let next: Vec<Uid> = (1..=filled.min(10_000 - filled)).filter_map(Uid::new).collect();
        world.mailstore.copy(alice, MailboxId::INBOX, &next, MailboxId::INBOX, None).await.unwrap();
        filled += u32::try_from(next.len()).unwrap();
    }
    world
}

#[tokio::test]
async fn budgets_of_commands() {
    let world = world().await;
    let observer = &world.observer;
    let mut client = world.login("alice").await;
    let mut table = Table::new("imap");
    observer.take();

    client.ok("SELECT INBOX").await;
    table.spent("SELECT, 10 000 messages", observer.take(), budget(0, 5, 3, 10_001, 0));
    assert_eq!(client.ok("FETCH 1:* FLAGS").await.len(), 10_000);
    table.spent("FETCH 1:* FLAGS, 10 000 messages", observer.take(), budget(0, 1, 1, 0, 0));
    client.ok("NOOP").await;
    table.spent("NOOP", observer.take(), budget(0, 1, 1, 0, 0));
    client.ok("STORE 7 +FLAGS (\\Seen)").await;
    table.spent("STORE 7 +FLAGS (\\Seen)", observer.take(), budget(1, 4, 3, 3, 2));
    client.ok("FETCH 8 BODY.PEEK[]").await;
    table.spent("FETCH 8 BODY.PEEK[]", observer.take(), budget(0, 1, 3, 3, 0));
    client.ok("FETCH 1:100 (ENVELOPE BODYSTRUCTURE)").await;
    table.spent("FETCH 1:100 (ENVELOPE BODYSTRUCTURE)", observer.take(), budget(0, 1, 100, 100, 0));
    client.ok("COPY 1:10 Archive").await;
    table.spent("COPY 1:10 Archive", observer.take(), budget(1, 7, 2, 12, 8));
    client.ok("MOVE 1 Archive").await;
    table.spent("MOVE 1 Archive", observer.take(), budget(1, 7, 3, 4, 4));
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    observer.take();
    client.ok("EXPUNGE").await;
    table.spent("EXPUNGE of 1", observer.take(), budget(1, 4, 4, 4, 2));

    let tag = client.begin("IDLE").await;
    assert_eq!(client.response().await, "+ idling");
    let mut other = world.login("alice").await;
    observer.take();
    other.ok("STATUS INBOX (MESSAGES UNSEEN)").await;
    table.spent("STATUS INBOX (MESSAGES UNSEEN)", observer.take(), budget(0, 8, 1, 1, 0));
    world.put("alice", "INBOX", &[&message("new")]).await;
    observer.take();
    world.put("alice", "INBOX", &[&message("newer")]).await;
    let mut told = client.response().await;
    while told != "* 10000 EXISTS" {
        told = client.response().await;
    }
    table.spent(
        "a message that comes while a session is in IDLE, and its telling",
        observer.take(),
        // One range is the octets that wait to be packed, which are looked at once a second.
        budget(1, 10, 5, 12, 4),
    );
    client.send("DONE\r\n").await;
    client.finish(&tag).await;
    table.finish();
}
