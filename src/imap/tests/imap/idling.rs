//! IDLE (RFC 2177).

use crate::support::{World, message};

#[tokio::test]
async fn changes_are_told_as_they_happen() {
    let world = World::new().await;
    world.put("alice", "INBOX", &[&message("1"), &message("2")]).await;
    let mut other = world.select("alice").await;
    let mut client = world.select("alice").await;
    let tag = client.begin("IDLE").await;
    assert_eq!(client.response().await, "+ idling");
    world.put("alice", "INBOX", &[&message("3")]).await;
    assert_eq!(client.response().await, "* 3 EXISTS");
    other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(client.response().await, "* 1 FETCH (FLAGS (\\Deleted))");
    other.ok("EXPUNGE").await;
    assert_eq!(client.response().await, "* 1 EXPUNGE");
    client.send("DONE\r\n").await;
    let answer = client.finish(&tag).await;
    assert!(answer.tagged.starts_with("OK ") && answer.untagged.is_empty(), "{answer:?}");
}

#[tokio::test]
async fn what_changed_before_idle_is_told_at_once() {
    let world = World::new().await;
    let mut client = world.select("alice").await;
    world.put("alice", "INBOX", &[&message("1")]).await;
    client.begin("IDLE").await;
    assert_eq!(client.response().await, "+ idling");
    assert_eq!(client.response().await, "* 1 EXISTS");
}

#[tokio::test]
async fn idle_is_possible_without_a_mailbox_and_ends_with_done_only() {
    let world = World::new().await;
    let mut client = world.login("alice").await;
    client.send("a IDLE\r\ndone\r\nb IDLE\r\nNOOP\r\nc NOOP\r\n").await;
    assert_eq!(client.response().await, "+ idling");
    assert!(client.finish("a").await.tagged.starts_with("OK "));
    assert_eq!(client.response().await, "+ idling");
    assert!(client.finish("b").await.tagged.starts_with("BAD "));
    assert!(client.finish("c").await.tagged.starts_with("OK "));
}

#[tokio::test]
async fn shutdown_and_silence_end_an_idle() {
    let world = World::new().await;
    let mut client = world.select("alice").await;
    client.begin("IDLE").await;
    assert_eq!(client.response().await, "+ idling");
    world.shutdown.begin();
    client.ends_with("* BYE [UNAVAILABLE] ").await;

    let world = World::with(|config| {
        config.imap.idle_timeout = ekitei_config::Duration::millis(1000);
        config.imap.idle_keepalive = ekitei_config::Duration::millis(400);
    })
    .await;
    let mut client = world.login("alice").await;
    client.begin("IDLE").await;
    assert_eq!(client.response().await, "+ idling");
    assert_eq!(client.response().await, "* OK Still here");
    assert_eq!(client.response().await, "* OK Still here");
    client.ends_with("* BYE You were silent for too long").await;
}
