//! Message numbers with several sessions on one mailbox (RFC 9051 §5.5, §7.5.1).

use crate::support::{Client, World, message};

async fn two(count: usize) -> (World, Client, Client) {
    let world = World::new().await;
    let messages: Vec<String> = (1..=count).map(|n| message(&n.to_string())).collect();
    world.put("alice", "INBOX", &messages.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let one = world.select("alice").await;
    let other = world.select("alice").await;
    (world, one, other)
}

async fn expunge(client: &mut Client, set: &str) {
    client.ok(&format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)")).await;
    client.ok(&format!("UID EXPUNGE {set}")).await;
}

#[tokio::test]
async fn no_expunge_is_told_during_fetch_store_and_search() {
    let (_world, mut one, mut other) = two(3).await;
    expunge(&mut other, "2").await;
    one.dialogue("FETCH 3 UID", &["3 FETCH (UID 3)"], "OK ").await;
    one.dialogue("STORE 3 +FLAGS (\\Seen)", &["3 FETCH (FLAGS (\\Seen))"], "OK ").await;
    one.dialogue("SEARCH ALL", &["SEARCH 1 3"], "OK ").await;
    one.dialogue("NOOP", &["2 EXPUNGE"], "OK ").await;
    one.dialogue("FETCH 2 UID", &["2 FETCH (UID 3)"], "OK ").await;
}

#[tokio::test]
async fn uid_commands_may_tell_expunges() {
    for command in ["UID FETCH 3 UID", "UID STORE 3 +FLAGS.SILENT (\\Seen)", "UID SEARCH RETURN (SAVE) ALL"] {
        let (_world, mut one, mut other) = two(3).await;
        expunge(&mut other, "2").await;
        let untagged = one.ok(command).await;
        assert!(untagged.contains(&"2 EXPUNGE".to_owned()), "{command}: {untagged:?}");
    }
}

#[tokio::test]
async fn an_expunged_message_still_has_its_flags_here_but_no_body() {
    let (_world, mut one, mut other) = two(3).await;
    other.ok("STORE 2 +FLAGS.SILENT (\\Flagged)").await;
    one.ok("NOOP").await;
    expunge(&mut other, "2").await;
    one.dialogue(
        "FETCH 1:3 (FLAGS BODY.PEEK[TEXT])",
        &[
            "1 FETCH (FLAGS () BODY[TEXT] {3}\r\n1\r\n)",
            "2 FETCH (FLAGS (\\Flagged))",
            "3 FETCH (FLAGS () BODY[TEXT] {3}\r\n3\r\n)",
        ],
        "NO [EXPUNGEISSUED] ",
    )
    .await;
    one.dialogue("FETCH 2 BODY[]", &[], "NO [EXPUNGEISSUED] ").await;
    one.dialogue("STORE 2:3 +FLAGS (\\Seen)", &["3 FETCH (FLAGS (\\Seen))"], "NO [EXPUNGEISSUED] ").await;
    // COPY may tell of the expunge, and copies nothing.
    one.dialogue("COPY 2:3 Archive", &["2 EXPUNGE"], "NO [EXPUNGEISSUED] ").await;
}

#[tokio::test]
async fn new_messages_and_flags_of_others_are_told() {
    let (world, mut one, mut other) = two(2).await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Answered)").await;
    world.put("alice", "INBOX", &[&message("3")]).await;
    one.dialogue("NOOP", &["3 EXISTS", "1 FETCH (FLAGS (\\Answered))"], "OK ").await;
    one.dialogue("NOOP", &[], "OK ").await;
    // Without waiting for a NOOP, too.
    world.put("alice", "INBOX", &[&message("4")]).await;
    one.dialogue("SEARCH SUBJECT 4", &["4 EXISTS", "SEARCH 4"], "OK ").await;
    world.put("alice", "INBOX", &[&message("5")]).await;
    one.dialogue("UID FETCH 5:* UID", &["5 EXISTS", "5 FETCH (UID 5)"], "OK ").await;
}

#[tokio::test]
async fn silent_hides_the_own_change_and_not_that_of_others() {
    let (_world, mut one, mut other) = two(2).await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Flagged)").await;
    one.dialogue("STORE 1:2 +FLAGS.SILENT (\\Seen)", &["1 FETCH (FLAGS (\\Flagged \\Seen))"], "OK ").await;
    one.dialogue("NOOP", &[], "OK ").await;
    other.dialogue("NOOP", &["1 FETCH (FLAGS (\\Flagged \\Seen))", "2 FETCH (FLAGS (\\Seen))"], "OK ").await;
}

#[tokio::test]
async fn imap4rev2_tells_uids_with_flags() {
    let (world, _one, mut other) = two(1).await;
    let mut one = world.login("alice").await;
    one.ok("ENABLE IMAP4rev2").await;
    one.ok("SELECT INBOX").await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Seen)").await;
    one.dialogue("NOOP", &["1 FETCH (UID 1 FLAGS (\\Seen))"], "OK ").await;
}

/// The client should have waited, and did not: the numbers in what it sent are those that it knew.
#[tokio::test]
async fn numbers_in_pipelined_commands_do_not_change_under_them() {
    let (_world, mut one, mut other) = two(3).await;
    expunge(&mut other, "1").await;
    one.send("a NOOP\r\nb FETCH 3 UID\r\nc UID FETCH 3 UID\r\nd STORE 3 +FLAGS (\\Deleted)\r\ne NOOP\r\n")
        .await;
    assert_eq!(one.finish("a").await.untagged, Vec::<String>::new());
    assert_eq!(one.finish("b").await.untagged, ["3 FETCH (UID 3)"]);
    assert_eq!(one.finish("c").await.untagged, ["3 FETCH (UID 3)"]);
    assert_eq!(one.finish("d").await.untagged, ["3 FETCH (FLAGS (\\Deleted))"]);
    assert_eq!(one.finish("e").await.untagged, ["1 EXPUNGE"]);
}

#[tokio::test]
async fn numbers_that_come_later_count_too_unless_another_mailbox_is_selected_before() {
    let (_world, mut one, mut other) = two(3).await;
    expunge(&mut other, "1").await;
    one.send("a NOOP\r\nb STATUS Drafts (MESSAGES)\r\nc CHECK\r\nd COPY 3 Archive\r\n").await;
    assert_eq!(one.finish("a").await.untagged, Vec::<String>::new());
    assert_eq!(one.finish("b").await.untagged, ["STATUS Drafts (MESSAGES 0)"]);
    assert_eq!(one.finish("c").await.untagged, Vec::<String>::new());
    let copied = one.finish("d").await;
    assert!(copied.tagged.contains(" 3 1] "), "UID 3 is meant: {copied:?}");
    assert_eq!(copied.untagged, ["1 EXPUNGE"]);

    expunge(&mut other, "2").await;
    one.send("a NOOP\r\nb SELECT Drafts\r\nc SEARCH 1\r\nd IDLE\r\nDONE\r\n").await;
    assert_eq!(one.finish("a").await.untagged, ["1 EXPUNGE"]);
    assert!(one.finish("b").await.tagged.starts_with("OK "));
    assert!(one.finish("c").await.tagged.starts_with("BAD "));
    assert_eq!(one.response().await, "+ idling");
    assert!(one.finish("d").await.tagged.starts_with("OK "));
}

#[tokio::test]
async fn numbers_may_come_behind_an_append() {
    let (_world, mut one, mut other) = two(3).await;
    expunge(&mut other, "1").await;
    one.send("a NOOP\r\nb APPEND INBOX {6+}\r\na: b\r\n\r\nc FETCH 3 UID\r\nd NOOP\r\n").await;
    assert_eq!(one.finish("a").await.untagged, Vec::<String>::new());
    assert_eq!(one.finish("b").await.untagged, ["4 EXISTS"]);
    assert_eq!(one.finish("c").await.untagged, ["3 FETCH (UID 3)"]);
    assert_eq!(one.finish("d").await.untagged, ["1 EXPUNGE"]);
}

#[tokio::test]
async fn a_search_passes_over_messages_that_are_gone() {
    let (_world, mut one, mut other) = two(3).await;
    expunge(&mut other, "2").await;
    one.dialogue("SEARCH BODY 2", &["SEARCH"], "OK ").await;
    one.dialogue("SEARCH NOT HEADER X-None \"\"", &["SEARCH 1 3"], "OK ").await;
    one.dialogue("SEARCH TEXT example LARGER 1", &["SEARCH 1 3"], "OK ").await;
}

#[tokio::test]
async fn the_own_expunge_is_told_even_before_pipelined_numbers() {
    let (_world, mut one, _other) = two(3).await;
    one.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    one.send("a EXPUNGE\r\nb FETCH 1 UID\r\n").await;
    assert_eq!(one.finish("a").await.untagged, ["1 EXPUNGE"]);
    assert_eq!(one.finish("b").await.untagged, ["1 FETCH (UID 2)"]);
}

/// A UID that is not there is no error (RFC 9051 §6.4.9).
#[tokio::test]
async fn uid_commands_pass_over_messages_that_are_gone() {
    let (_world, mut one, mut other) = two(3).await;
    expunge(&mut other, "2").await;
    one.dialogue(
        "UID STORE 2:3 +FLAGS (\\Flagged)",
        &["3 FETCH (UID 3 FLAGS (\\Flagged))", "2 EXPUNGE"],
        "OK [EXPUNGEISSUED] ",
    )
    .await;
    expunge(&mut other, "1").await;
    one.send("a UID FETCH 1 BODY.PEEK[]\r\nb FETCH 2 UID\r\n").await;
    let gone = one.finish("a").await;
    assert!(
        gone.untagged == ["1 FETCH (UID 1)"] && gone.tagged.starts_with("OK [EXPUNGEISSUED] "),
        "{gone:?}"
    );
    assert_eq!(one.finish("b").await.untagged, ["2 FETCH (UID 3)"]);
}

/// A client may know UIDs from APPENDUID, or from its other connection.
#[tokio::test]
async fn uid_commands_reach_messages_that_are_not_told_yet() {
    let (world, mut one, _other) = two(1).await;
    world.put("alice", "INBOX", &[&message("2")]).await;
    let flags = ["2 EXISTS", "2 FETCH (UID 2 FLAGS (\\Deleted))"];
    one.dialogue("UID STORE 2 +FLAGS (\\Deleted)", &flags, "OK ").await;
    world.put("alice", "INBOX", &[&message("3")]).await;
    let copied = one.command("UID COPY 3 Archive").await;
    assert!(copied.untagged == ["3 EXISTS"] && copied.tagged.contains(" 3 1] "), "{copied:?}");
    world.put("alice", "INBOX", &[&message("4")]).await;
    let moved = one.ok("UID MOVE 1:4 Archive").await;
    assert!(moved[1].contains(" 1:4 2:5] "), "{moved:?}");
    assert_eq!(moved[2..], ["4 EXPUNGE", "3 EXPUNGE", "2 EXPUNGE", "1 EXPUNGE"]);
    let mut deleted = world.login("alice").await;
    deleted.ok(&format!("APPEND INBOX (\\Deleted) {{{}+}}\r\n{}", message("5").len(), message("5"))).await;
    one.dialogue("UID EXPUNGE 5", &["1 EXISTS", "1 EXPUNGE"], "OK ").await;
}
