//! APPEND: one message or several, what is refused before it is sent, and that a refusal leaves nothing behind.

use tokio::io::AsyncWriteExt;

use crate::support::{World, message};

#[tokio::test]
async fn a_message_is_kept_with_its_flags_and_date() {
    let world = World::new().await;
    let mut client = world.select("alice").await;
    let text = message("hello");
    let command = format!("APPEND INBOX (\\Seen $Label) \" 1-Feb-2024 10:20:30 +0100\" {{{}}}", text.len());
    let tag = client.begin(&command).await;
    assert!(client.response().await.starts_with("+ "));
    client.send(format!("{text}\r\n")).await;
    let answer = client.finish(&tag).await;
    assert!(answer.tagged.starts_with("OK [APPENDUID ") && answer.tagged.contains(" 1] "), "{answer:?}");
    assert_eq!(answer.untagged, ["1 EXISTS"], "the mailbox is the selected one");
    let fetched = client.ok("FETCH 1 (FLAGS INTERNALDATE BODY.PEEK[])").await;
    let expected = format!(
        "1 FETCH (FLAGS (\\Seen $Label) INTERNALDATE \"01-Feb-2024 09:20:30 +0000\" BODY[] {{{}}}\r\n{text})",
        text.len()
    );
    assert_eq!(fetched.last(), Some(&expected));
}

#[tokio::test]
async fn several_messages_come_all_or_none() {
    let world = World::new().await;
    let mut client = world.login("alice").await;
    client
        .send("a APPEND Drafts (\\Draft) {6+}\r\na: b\r\n {6+}\r\nc: d\r\n\r\nb APPEND Drafts {6+}\r\na: b\r\n {99999999+}\r\n")
        .await;
    let answer = client.finish("a").await;
    assert!(answer.tagged.starts_with("OK [APPENDUID ") && answer.tagged.contains(" 1:2] "), "{answer:?}");
    let answer = client.finish("b").await;
    assert!(answer.tagged.starts_with("NO [TOOBIG] "), "{answer:?}");
    // What was announced is skipped, not taken for commands.
    let mut octets = vec![b'x'; 99_999_999 / 1000];
    octets.extend_from_slice(b"\r\n");
    for _ in 0..999 {
        client.send(&vec![b'x'; 99_999]).await;
    }
    client.send(vec![b'x'; 99_999_999 - 999 * 99_999]).await;
    client.send("\r\nc STATUS Drafts (MESSAGES)\r\n").await;
    assert_eq!(client.finish("c").await.untagged, ["STATUS Drafts (MESSAGES 2)"]);
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_before_it_is_sent() {
    let world = World::with(|config| {
        config.imap.append_limit = ekitei_config::ByteSize::kib(100);
        config.imap.max_bodies_in_flight = ekitei_config::ByteSize::kib(50);
    })
    .await;
    let mut client = world.login("carol").await;
    // No `+` comes: the tagged response is the first thing the server says.
    client.dialogue("APPEND Nowhere {100}", &[], "NO [TRYCREATE] ").await;
    client.dialogue("APPEND INBOX {3000}", &[], "NO [OVERQUOTA] ").await;
    client.dialogue("APPEND INBOX {200000}", &[], "NO [TOOBIG] ").await;
    let mut client = world.login("alice").await;
    client.dialogue("APPEND INBOX {60000}", &[], "NO [LIMIT] ").await;
    client.ok("STATUS INBOX (MESSAGES)").await;
    let mut stranger = world.connect().await;
    stranger.dialogue("APPEND INBOX {10}", &[], "BAD [CLIENTBUG] Log in first").await;
}

#[tokio::test]
async fn no_account_takes_all_the_memory_for_messages() {
    let world = World::with(|config| {
        config.imap.append_limit = ekitei_config::ByteSize::kib(20);
        config.imap.max_bodies_in_flight = ekitei_config::ByteSize::kib(100);
    })
    .await;
    let (mut first, mut second) = (world.login("alice").await, world.login("alice").await);
    first.begin("APPEND INBOX {20000}").await;
    assert_eq!(first.response().await, "+ OK");
    second.dialogue("APPEND INBOX {20000}", &[], "NO [LIMIT] ").await;
    let mut other = world.login("bob").await;
    other.begin("APPEND INBOX {20000}").await;
    assert_eq!(other.response().await, "+ OK");
}

#[tokio::test]
async fn an_append_comes_to_its_end() {
    let world = World::with(|config| config.imap.idle_timeout = ekitei_config::Duration::millis(400)).await;
    let mut client = world.login("alice").await;
    client.send("a APPEND INBOX {1000+}\r\n").await;
    for _ in 0..40 {
        // The server may be gone already.
        let _ = client.stream.write_all(b"x").await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    client.ends_with("* BYE You were silent for too long").await;
}

#[tokio::test]
async fn an_append_that_breaks_off_leaves_nothing() {
    let world =
        World::with(|config| config.imap.max_bodies_in_flight = ekitei_config::ByteSize::kib(50)).await;
    let mut client = world.login("alice").await;
    client.send("a APPEND INBOX {6+}\r\na: b\r\n {40000+}\r\nhalf").await;
    drop(client);
    let mut client = world.login("alice").await;
    client.dialogue("STATUS INBOX (MESSAGES)", &["STATUS INBOX (MESSAGES 0)"], "OK ").await;
    // Its memory is free again, once the server has seen that the client is gone.
    for _ in 0..100 {
        client.send("x APPEND INBOX {40000}\r\n").await;
        if client.response().await.starts_with("+ ") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the memory is not given back");
}

#[tokio::test]
async fn quota_holds_for_all_messages_together() {
    let world = World::new().await;
    let mut client = world.login("carol").await;
    let text = message(&"x".repeat(400));
    let size = text.len();
    assert!(size < 1000 && 2 * size > 1000 && 3 * size > 2000);
    client.send(format!("a APPEND INBOX {{{size}+}}\r\n{text} {{{size}+}}\r\n{text} {{{size}}}\r\n")).await;
    let answer = client.finish("a").await;
    assert!(answer.tagged.starts_with("NO [OVERQUOTA] "), "{answer:?}");
    client.dialogue("STATUS INBOX (MESSAGES)", &["STATUS INBOX (MESSAGES 0)"], "OK ").await;
}

#[tokio::test]
async fn a_message_without_octets_or_with_nul_refuses_the_whole_append() {
    let world = World::new().await;
    let mut client = world.login("alice").await;
    client.fails("APPEND INBOX {6+}\r\na: b\r\n {0+}\r\n", "NO [CANNOT] ").await;
    client.fails("APPEND INBOX {6+}\r\na: b\0\n", "BAD [CLIENTBUG] ").await;
    client.fails("APPEND INBOX ~{6+}\r\na: b\0\n", "NO [UNKNOWN-CTE] ").await;
    client.dialogue("STATUS INBOX (MESSAGES)", &["STATUS INBOX (MESSAGES 0)"], "OK ").await;
}

#[tokio::test]
async fn binary_and_utf8_literals() {
    let world = World::new().await;
    let mut client = world.login("alice").await;
    client.send(b"a APPEND INBOX ~{8+}\r\nA: b\r\n\r\n\r\n").await;
    assert!(client.finish("a").await.tagged.starts_with("OK [APPENDUID "));
    client.fails("APPEND INBOX UTF8 (~{8+}\r\nA: b\r\n\r\n)", "BAD ").await;
    client.ok("ENABLE UTF8=ACCEPT").await;
    client.send("b APPEND INBOX UTF8 (~{9+}\r\nA: ü\r\n\r\n)\r\n").await;
    assert!(client.finish("b").await.tagged.starts_with("OK [APPENDUID "));
    client.dialogue("STATUS INBOX (MESSAGES)", &["STATUS INBOX (MESSAGES 2)"], "OK ").await;
}
