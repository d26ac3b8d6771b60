//! SELECT, EXAMINE, CLOSE and UNSELECT.

use crate::support::{World, message};

#[tokio::test]
async fn select_tells_what_a_client_needs() {
    let world = World::new().await;
    world.put("alice", "INBOX", &[&message("one"), &message("two"), &message("three")]).await;
    let mut client = world.login("alice").await;
    client.ok("SELECT INBOX").await;
    client.ok("STORE 1 +FLAGS (\\Seen $Forwarded)").await;
    let answer = client.command("SELECT INBOX").await;
    assert!(answer.tagged.starts_with("OK [READ-WRITE] "));
    let expected = [
        "OK [CLOSED] ",
        "FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Forwarded)",
        "3 EXISTS",
        "0 RECENT",
        "OK [UNSEEN 2] ",
        "OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Forwarded \\*)] ",
        "OK [UIDVALIDITY ",
        "OK [UIDNEXT 4] ",
    ];
    assert_eq!(answer.untagged.len(), expected.len(), "{answer:?}");
    for (line, expected) in answer.untagged.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line} is not {expected}");
    }
}

#[tokio::test]
async fn imap4rev2_has_no_recent_and_lists_the_mailbox() {
    let world = World::new().await;
    let mut client = world.login("alice").await;
    client.ok("ENABLE IMAP4rev2").await;
    let untagged = client.ok("SELECT inbox").await;
    assert!(untagged.contains(&"0 EXISTS".to_owned()), "{untagged:?}");
    assert!(!untagged.iter().any(|line| line.contains("RECENT") || line.contains("UNSEEN")), "{untagged:?}");
    assert_eq!(untagged.last().unwrap(), "LIST (\\HasNoChildren) \"/\" INBOX");
    client.fails("ENABLE UTF8=ACCEPT", "BAD [CLIENTBUG] ").await;
}

#[tokio::test]
async fn a_failed_select_leaves_nothing_selected() {
    let world = World::new().await;
    let mut client = world.select("alice").await;
    let untagged = client.fails("SELECT Nowhere", "NO [NONEXISTENT] ").await;
    assert!(untagged[0].starts_with("OK [CLOSED] "), "{untagged:?}");
    client.fails("FETCH 1 FLAGS", "BAD [CLIENTBUG] Select a mailbox first").await;
    client.fails("SELECT INBOX (CONDSTORE)", "BAD ").await;
}

#[tokio::test]
async fn a_mailbox_that_is_examined_does_not_change() {
    let world = World::new().await;
    world.put("alice", "INBOX", &[&message("one")]).await;
    let mut client = world.login("alice").await;
    let untagged = client.ok("EXAMINE INBOX").await;
    assert!(untagged.iter().any(|line| line.starts_with("OK [PERMANENTFLAGS ()] ")), "{untagged:?}");
    for command in ["STORE 1 +FLAGS (\\Deleted)", "EXPUNGE", "UID EXPUNGE 1", "MOVE 1 Trash"] {
        client.fails(command, "NO [READ-ONLY] ").await;
    }
    client.ok("FETCH 1 BODY[TEXT]").await;
    client.dialogue("FETCH 1 FLAGS", &["1 FETCH (FLAGS ())"], "OK ").await;
    client.ok("COPY 1 Archive").await;
    client.ok("CLOSE").await;
}

#[tokio::test]
async fn close_expunges_in_silence_and_unselect_does_not() {
    let world = World::new().await;
    world.put("alice", "INBOX", &[&message("one"), &message("two")]).await;
    let mut client = world.select("alice").await;
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    client.dialogue("UNSELECT", &[], "OK ").await;
    client.dialogue("STATUS INBOX (MESSAGES)", &["STATUS INBOX (MESSAGES 2)"], "OK ").await;
    client.fails("CLOSE", "BAD [CLIENTBUG] ").await;
    client.ok("SELECT INBOX").await;
    client.dialogue("CLOSE", &[], "OK ").await;
    client.dialogue("STATUS INBOX (MESSAGES)", &["STATUS INBOX (MESSAGES 1)"], "OK ").await;
}
