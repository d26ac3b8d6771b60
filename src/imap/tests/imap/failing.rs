//! What clients hear when the store fails, and what is counted.

use std::io::ErrorKind;

use crate::support::{World, message};

#[tokio::test]
async fn a_store_that_cannot_commit_is_unavailable_and_can_still_be_read() {
    let world = World::new().await;
    world.put("alice", "INBOX", &[&message("one")]).await;
    let mut unlucky = world.select("alice").await;
    world.faults.fail_write(ErrorKind::StorageFull);
    // The command that was under way when the store failed may have been done: it gets no answer.
    unlucky.begin("STORE 1 +FLAGS (\\Flagged)").await;
    unlucky.ends_with("* BYE ").await;
    let mut client = world.select("alice").await;
    client.fails("STORE 1 +FLAGS (\\Flagged)", "NO [UNAVAILABLE] ").await;
    let text = message("two");
    client.fails(&format!("APPEND INBOX {{{}+}}\r\n{text}", text.len()), "NO [UNAVAILABLE] ").await;
    client.fails("CREATE Work", "NO [UNAVAILABLE] ").await;
    client.fails("COPY 1 Archive", "NO [UNAVAILABLE] ").await;
    client.fails("MOVE 1 Archive", "NO [UNAVAILABLE] ").await;
    // \Seen cannot be kept, and is not claimed.
    client
        .dialogue("FETCH 1 (BODY[TEXT] FLAGS)", &["1 FETCH (BODY[TEXT] {5}\r\none\r\n FLAGS ())"], "OK ")
        .await;
    client.dialogue("SEARCH UNSEEN", &["SEARCH 1"], "OK ").await;
}

#[tokio::test]
async fn a_client_that_stops_reading_costs_little_and_is_given_up() {
    let world = World::with(|config| {
        config.imap.write_timeout = ekitei_config::Duration::millis(200);
        config.imap.output_buffer = ekitei_config::ByteSize::kib(16);
    })
    .await;
    world.put("alice", "INBOX", &[&message(&"x".repeat(900)).repeat(1000)]).await;
    let mut client = world.select("alice").await;
    let sent = |metrics: String| {
        let line =
            metrics.lines().find(|line| line.starts_with("ekitei_imap_bytes_total{direction=\"out\"}"));
        line.unwrap().rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let before = sent(world.registry.render());
    client.begin("FETCH 1 BODY[]").await;
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        if world.registry.render().contains("ekitei_imap_sessions{state=\"selected\"} 0") {
            let taken = sent(world.registry.render()) - before;
            assert!(taken <= 4096, "no more than the transport holds, and not {taken} octets");
            return;
        }
    }
    panic!("the session is still there");
}

#[tokio::test]
async fn sessions_and_commands_are_counted() {
    let world = World::new().await;
    world.put("alice", "INBOX", &[&message("one")]).await;
    let mut client = world.select("alice").await;
    client.ok("FETCH 1 FLAGS").await;
    client.fails("STATUS Nowhere (MESSAGES)", "NO ").await;
    let text = message("two");
    client.ok(&format!("APPEND INBOX {{{}+}}\r\n{text}", text.len())).await;
    let mut waiting = world.login("alice").await;
    waiting.begin("IDLE").await;
    assert_eq!(waiting.response().await, "+ idling");
    let metrics = world.registry.render();
    for line in [
        "ekitei_imap_sessions{state=\"selected\"} 1",
        "ekitei_imap_sessions{state=\"authenticated\"} 1",
        "ekitei_imap_sessions{state=\"not_authenticated\"} 0",
        "ekitei_imap_idle_sessions 1",
        "ekitei_imap_commands_total{command=\"FETCH\",result=\"OK\"} 1",
        "ekitei_imap_commands_total{command=\"STATUS\",result=\"NO\"} 1",
        "ekitei_imap_commands_total{command=\"APPEND\",result=\"OK\"} 1",
        "ekitei_imap_command_seconds_count{command=\"APPEND\"} 1",
        "ekitei_imap_logins_total{result=\"ok\"} 2",
        "ekitei_imap_messages_fetched_total 1",
        "ekitei_imap_messages_appended_total 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line} in\n{metrics}");
    }
    drop((client, waiting));
    for _ in 0..100 {
        if world.registry.render().contains("ekitei_imap_sessions{state=\"selected\"} 0") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("sessions that ended are still counted");
}
