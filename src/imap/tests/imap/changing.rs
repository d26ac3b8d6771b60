//! STORE, COPY, MOVE and EXPUNGE.

use ekitei_directory::{Domain, DomainChange};

use crate::support::{World, message};

async fn world(count: usize) -> World {
    let world = World::new().await;
    let messages: Vec<String> = (1..=count).map(|n| message(&n.to_string())).collect();
    world.put("alice", "INBOX", &messages.iter().map(String::as_str).collect::<Vec<_>>()).await;
    world
}

#[tokio::test]
async fn store_sets_adds_and_removes_and_tells_the_new_flags() {
    let world = world(3).await;
    let mut client = world.select("alice").await;
    client
        .dialogue(
            "STORE 1:2 +FLAGS (\\Seen \\Flagged)",
            &["1 FETCH (FLAGS (\\Flagged \\Seen))", "2 FETCH (FLAGS (\\Flagged \\Seen))"],
            "OK ",
        )
        .await;
    client.dialogue("STORE 1 -FLAGS \\Seen", &["1 FETCH (FLAGS (\\Flagged))"], "OK ").await;
    client.dialogue("STORE 1 FLAGS ()", &["1 FETCH (FLAGS ())"], "OK ").await;
    client.dialogue("STORE 1 FLAGS ()", &["1 FETCH (FLAGS ())"], "OK ").await;
    client.dialogue("UID STORE 3 FLAGS.SILENT (\\Draft)", &[], "OK ").await;
    client.dialogue("UID STORE 3 +FLAGS (\\Seen)", &["3 FETCH (UID 3 FLAGS (\\Seen \\Draft))"], "OK ").await;
    client.dialogue("UID STORE 99 +FLAGS (\\Seen)", &[], "OK ").await;
    client.fails("STORE 4 +FLAGS (\\Seen)", "BAD [CLIENTBUG] ").await;
    client.fails("STORE 1 +FLAGS (\\Recent)", "BAD ").await;
}

#[tokio::test]
async fn a_new_keyword_is_announced_before_it_is_used() {
    let world = world(1).await;
    let mut client = world.select("alice").await;
    client
        .dialogue(
            "STORE 1 +FLAGS ($Label)",
            &["FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Label)", "1 FETCH (FLAGS ($Label))"],
            "OK ",
        )
        .await;
    client.dialogue("STORE 1 -FLAGS ($label)", &["1 FETCH (FLAGS ())"], "OK ").await;
}

#[tokio::test]
async fn very_many_keywords_are_not_all_told() {
    let world = world(30).await;
    let mut client = world.select("alice").await;
    for n in 1..=30 {
        let keywords: Vec<String> = (0..50).map(|k| format!("k{n}-{k}")).collect();
        client.ok(&format!("STORE {n} +FLAGS.SILENT ({})", keywords.join(" "))).await;
    }
    let told = client.ok("SELECT INBOX").await;
    let flags = told.iter().find(|line| line.starts_with("FLAGS ")).unwrap();
    assert_eq!(flags.split(' ').count(), 1 + 5 + 1000);
    let last = client.ok("FETCH 30 FLAGS").await;
    assert!(last.len() == 1 && last[0].contains(" k30-49"), "{last:?}");
}

#[tokio::test]
async fn copy_tells_the_uids_and_asks_for_the_mailbox() {
    let world = world(4).await;
    let mut client = world.select("alice").await;
    client.ok("STORE 2 +FLAGS.SILENT (\\Flagged $Label)").await;
    client.fails("COPY 1 Nowhere", "NO [TRYCREATE] ").await;
    let answer = client.command("COPY 2,4 Archive").await;
    let code = answer.tagged.split_once(']').unwrap().0.to_owned();
    assert!(code.starts_with("OK [COPYUID ") && code.ends_with(" 2,4 1:2"), "{code}");
    client.dialogue("UID COPY 99 Archive", &[], "OK There is nothing to copy").await;
    client.ok("SELECT Archive").await;
    client
        .dialogue(
            "FETCH 1:* (FLAGS BODY.PEEK[TEXT])",
            &[
                "1 FETCH (FLAGS (\\Flagged $Label) BODY[TEXT] {3}\r\n2\r\n)",
                "2 FETCH (FLAGS () BODY[TEXT] {3}\r\n4\r\n)",
            ],
            "OK ",
        )
        .await;
}

#[tokio::test]
async fn copy_is_within_the_quota_or_not_at_all() {
    let world = World::new().await;
    world.put("carol", "INBOX", &[&message(&"x".repeat(500)), &message("small")]).await;
    let mut client = world.select("carol").await;
    client.fails("COPY 1:2 Archive", "NO [OVERQUOTA] ").await;
    client.dialogue("STATUS Archive (MESSAGES)", &["STATUS Archive (MESSAGES 0)"], "OK ").await;
    client.ok("COPY 2 Archive").await;
}

#[tokio::test]
async fn a_domain_that_is_full_takes_no_copy_and_no_message() {
    let world = world(2).await;
    let domain = Domain::parse("example.test").unwrap();
    let held = world.mailstore.domain_usage(&domain).await.unwrap().bytes;
    let full = DomainChange { total_quota: Some(Some(held)), ..DomainChange::default() };
    world.directory.update_domain(&domain, full, None).await.unwrap();
    let mut client = world.select("alice").await;
    client.fails("COPY 1 Archive", "NO [OVERQUOTA] ").await;
    client.ok("MOVE 1 Archive").await;
    let mut other = world.select("bob").await;
    other.fails("APPEND INBOX {10+}\r\n0123456789", "NO [OVERQUOTA] ").await;
}

#[tokio::test]
async fn move_tells_copyuid_and_then_the_expunges() {
    let world = world(4).await;
    let mut client = world.select("alice").await;
    let answer = client.command("MOVE 1,3 Archive").await;
    assert!(answer.tagged.starts_with("OK Moved"), "{answer:?}");
    assert!(answer.untagged[0].starts_with("OK [COPYUID ") && answer.untagged[0].contains(" 1,3 1:2] "));
    assert_eq!(answer.untagged[1..], ["3 EXPUNGE", "1 EXPUNGE"]);
    client.dialogue("FETCH 1:* UID", &["1 FETCH (UID 2)", "2 FETCH (UID 4)"], "OK ").await;
    client.fails("UID MOVE 2 Nowhere", "NO [TRYCREATE] ").await;
    client.dialogue("STATUS Archive (MESSAGES)", &["STATUS Archive (MESSAGES 2)"], "OK ").await;
}

#[tokio::test]
async fn expunge_removes_what_is_deleted_or_those_named() {
    let world = world(5).await;
    let mut client = world.select("alice").await;
    client.ok("STORE 1,3,5 +FLAGS.SILENT (\\Deleted)").await;
    client.dialogue("UID EXPUNGE 2:3", &["3 EXPUNGE"], "OK ").await;
    client.dialogue("EXPUNGE", &["4 EXPUNGE", "1 EXPUNGE"], "OK ").await;
    client.dialogue("EXPUNGE", &[], "OK ").await;
    client.dialogue("FETCH 1:* UID", &["1 FETCH (UID 2)", "2 FETCH (UID 4)"], "OK ").await;
}

#[tokio::test]
async fn a_deleted_mailbox_is_an_empty_one_for_who_has_it_selected() {
    let world = world(1).await;
    let mut client = world.login("alice").await;
    client.ok("CREATE Short").await;
    world.put("alice", "Short", &[&message("one")]).await;
    client.ok("SELECT Short").await;
    let mut other = world.login("alice").await;
    other.ok("DELETE Short").await;
    client.dialogue("NOOP", &["1 EXPUNGE"], "OK ").await;
    client.fails("COPY 1 INBOX", "BAD [CLIENTBUG] ").await;
    client.ok("UNSELECT").await;
}
