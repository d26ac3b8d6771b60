//! Sessions that end without QUIT: silence, shutdown, a lost lock.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crate::support::{Fixture, config};

#[tokio::test]
async fn a_silent_client_is_cut_off_without_a_word() {
    let mut config = config();
    config.pop3.auth_timeout = ekitei_config::Duration::millis(50);
    config.pop3.idle_timeout = ekitei_config::Duration::millis(50);
    let fixture = Fixture::with(config).await;
    fixture.deliver("Subject: x\r\n\r\n").await;
    assert_eq!(fixture.connect().await.rest().await, "");
    let mut client = fixture.log_in().await;
    client.ask("DELE 1").await;
    assert_eq!(client.rest().await, "");
    assert_eq!(fixture.uids().await, [1], "nothing is deleted without QUIT");
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off() {
    let mut config = config();
    config.pop3.write_timeout = ekitei_config::Duration::millis(50);
    let fixture = Fixture::with(config).await;
    fixture.deliver(&format!("Subject: x\r\n\r\n{}", "line\r\n".repeat(10_000))).await;
    let mut client = fixture.log_in().await;
    client.send(b"RETR 1\r\n").await;
    while fixture.shutdown.running() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!client.rest().await.ends_with("\r\n.\r\n"), "a message that was cut off does not look whole");
}

#[tokio::test]
async fn shutdown_tells_the_client_and_deletes_nothing() {
    let fixture = Fixture::new().await;
    fixture.deliver("Subject: x\r\n\r\n").await;
    let mut client = fixture.log_in().await;
    client.ask("DELE 1").await;
    assert_eq!(fixture.shutdown.finish(Duration::from_secs(10)).await, 0);
    assert!(client.rest().await.starts_with("-ERR [SYS/TEMP] the service is stopping"));
    assert_eq!(fixture.uids().await, [1]);
}

#[tokio::test]
async fn a_session_that_lost_its_lock_deletes_nothing() {
    let fixture = Fixture::new().await;
    fixture.deliver("Subject: x\r\n\r\n").await;
    let mut client = fixture.log_in().await;
    client.ask("DELE 1").await;
    fixture.steal_lease().await;
    assert!(client.ask("QUIT").await.starts_with("-ERR [SYS/TEMP] another session has taken over"));
    assert_eq!(fixture.uids().await, [1]);
}

#[tokio::test]
async fn a_lock_that_is_lost_meanwhile_ends_the_session() {
    let mut config = config();
    config.pop3.lease = ekitei_config::Duration::millis(90);
    let fixture = Fixture::with(config).await;
    let mut client = fixture.log_in().await;
    fixture.steal_lease().await;
    assert_eq!(client.rest().await, "-ERR [SYS/TEMP] another session has taken over the mailbox\r\n");
}

#[tokio::test]
async fn nothing_is_said_of_a_deletion_whose_fate_is_not_known() {
    let fixture = Fixture::new().await;
    fixture.deliver("Subject: x\r\n\r\n").await;
    let mut client = fixture.log_in().await;
    client.ask("DELE 1").await;
    // The deletion may be on disk, and show after a restart.
    fixture.disk.at_sync(1);
    client.send(b"QUIT\r\n").await;
    assert_eq!(client.rest().await, "", "neither +OK nor -ERR would be true");
}
