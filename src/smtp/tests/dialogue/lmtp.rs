//! Mail from a front end over LMTP.

use ekitei_config::Protocol;

use crate::support::{STRANGER, World};

const FRONT_END: &str = "127.0.0.1:40000";

#[tokio::test]
async fn each_recipient_gets_a_reply_of_its_own() {
    let world = World::new().await;
    let mut client = world.hello(Protocol::Lmtp, FRONT_END).await;
    client.envelope("a@b.test", &["carol@example.test", "alice@example.test"]).await;
    client.ask("RCPT TO:<nobody@example.test>", "550 5.1.1 ").await;
    client.ask("RCPT TO:<bob@example.test>", "250 ").await;
    client.ask("DATA", "354 ").await;
    client.send(format!("Delivered-To: bob@example.test\r\n\r\n{}\r\n.\r\n", "x".repeat(3000))).await;
    client.expect("552 5.2.2 ").await;
    client.expect("250 2.0.0 OK, message ").await;
    client.expect("554 5.4.6 ").await;
    let inbox = world.inbox("alice").await;
    assert_eq!(inbox.len(), 1);
    assert!(inbox[0].contains(" with LMTP id "), "{}", inbox[0]);
    assert!(world.inbox("carol").await.is_empty() && world.inbox("bob").await.is_empty());
    client.ask("QUIT", "221 ").await;
}

#[tokio::test]
async fn a_message_that_nobody_may_have_is_refused_for_each() {
    let world = World::new().await;
    let mut client = world.hello(Protocol::Lmtp, FRONT_END).await;
    client.envelope("a@b.test", &["bob@example.test", "alice@example.test"]).await;
    client.send("BDAT 5\r\na: b\nBDAT 3 LAST\r\nx\r\nNOOP\r\n").await;
    client.expect("250 2.0.0 ").await;
    client.expect("550 5.6.11 ").await;
    client.expect("550 5.6.11 ").await;
    client.expect("250 2.0.0 OK").await;
}

#[tokio::test]
async fn lmtp_is_not_smtp() {
    let world = World::new().await;
    let mut client = world.connect(Protocol::Lmtp, FRONT_END).await;
    client.ask("EHLO x", "500 5.5.1 ").await;
    client.ask("HELO x", "500 5.5.1 ").await;
    client.ask("LHLO x", "250-mail.example.test\n").await;
    client.ask("MAIL FROM:<a@b.test>", "250 ").await;
    client.ask("RCPT TO:<someone@remote.test>", "550 5.7.1 <someone@remote.test>: Relaying denied").await;
    client.ask("DATA", "503 5.5.1 ").await;
    client.ask("AUTH PLAIN", "502 5.5.1 ").await;
}

#[tokio::test]
async fn only_trusted_front_ends_are_served() {
    let world = World::new().await;
    let mut client = world.open(Protocol::Lmtp, STRANGER, false);
    client.expect("554 5.7.1 ").await;
    client.expect_closed().await;
    let world =
        World::with(|config| config.smtp.trusted_networks = vec!["203.0.113.0/24".parse().unwrap()]).await;
    let mut client = world.hello(Protocol::Lmtp, STRANGER).await;
    client.ask("MAIL FROM:<a@b.test>", "250 ").await;
    client.ask("RCPT TO:<someone@remote.test>", "550 5.7.1 <someone@remote.test>: Relaying denied").await;
}
