//! STAT, LIST, UIDL, RETR, TOP, DELE, RSET, QUIT.
#![allow(clippy::unwrap_used)]

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Fixture, config};

const ONE: &str = "Subject: one\r\n\r\nfirst\r\n.dot\r\n..\r\n";
const TWO: &str = "Subject: two\r\nX: y\r\n\r\nsecond\r\nline\r\n";

async fn two_messages() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.deliver(ONE).await;
    fixture.deliver(TWO).await;
    fixture
}

#[tokio::test]
async fn messages_are_listed_with_their_octets() {
    let fixture = two_messages().await;
    let mut client = fixture.log_in().await;
    let (one, two) = (ONE.len(), TWO.len());
    assert_eq!(client.ask("STAT").await, format!("+OK 2 {}", one + two));
    assert_eq!(client.ask_for_lines("LIST").await, [format!("1 {one}"), format!("2 {two}")]);
    assert_eq!(client.ask("LIST 2").await, format!("+OK 2 {two}"));
    assert_eq!(client.ask("LIST 3").await, "-ERR there is no such message");
}

#[tokio::test]
async fn a_message_comes_back_byte_for_byte() {
    let fixture = two_messages().await;
    let mut client = fixture.log_in().await;
    for (number, message) in [(1, ONE), (2, TWO)] {
        let lines = client.ask_for_lines(&format!("RETR {number}")).await;
        assert_eq!(lines.join("\r\n") + "\r\n", message);
    }
    assert_eq!(client.ask_for_lines("TOP 1 1").await, ["Subject: one", "", "first"]);
    assert_eq!(client.ask_for_lines("TOP 2 0").await, ["Subject: two", "X: y", ""]);
    assert!(client.ask("RETR 3").await.starts_with("-ERR "));
    assert!(client.ask("TOP 1").await.starts_with("-ERR "));
}

#[tokio::test]
async fn a_large_message_streams_to_a_client_that_reads_slowly() {
    let fixture = Fixture::new().await;
    // Random enough that it is kept as an object, in several blocks.
    let body: String =
        (0_u64..200_000).map(|n| format!(".{:x}\r\n", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    let message = format!("Subject: large\r\n\r\n{body}");
    fixture.deliver(&message).await;
    assert_eq!(fixture.objects(), 1);
    let mut client = fixture.log_in().await;
    let first = client.ask("RETR 1").await;
    assert_eq!(first, format!("+OK {} octets", message.len()));
    let lines = client.lines().await;
    assert!(lines.join("\r\n") + "\r\n" == message, "the message differs");
    assert_eq!(client.ask_for_lines("TOP 1 2").await.len(), 4);
    assert_eq!(client.ask("NOOP").await, "+OK nothing done");
}

#[tokio::test]
async fn unique_ids_stay_when_other_messages_go_and_come() {
    let fixture = two_messages().await;
    let mut client = fixture.log_in().await;
    let ids = client.ask_for_lines("UIDL").await;
    let second = ids[1].strip_prefix("2 ").unwrap().to_owned();
    assert!(second.len() <= 70 && second.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "{second}");
    assert_eq!(client.ask("UIDL 2").await, format!("+OK 2 {second}"));
    client.ask("DELE 1").await;
    assert_eq!(client.ask_for_lines("UIDL").await, [format!("2 {second}")]);
    assert_eq!(client.ask("UIDL 1").await, "-ERR this message is marked as deleted");
    client.ask("QUIT").await;

    fixture.deliver("Subject: three\r\n\r\n").await;
    let mut client = fixture.log_in().await;
    let ids = client.ask_for_lines("UIDL").await;
    assert_eq!(ids[0], format!("1 {second}"), "the number changed, the id did not");
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn marked_messages_go_at_quit_and_only_those() {
    let fixture = two_messages().await;
    let mut client = fixture.log_in().await;
    assert_eq!(client.ask("DELE 1").await, "+OK message 1 is marked as deleted");
    assert_eq!(client.ask("DELE 1").await, "-ERR this message is marked as deleted");
    assert_eq!(client.ask("RETR 1").await, "-ERR this message is marked as deleted");
    assert_eq!(client.ask("STAT").await, format!("+OK 1 {}", TWO.len()));
    assert_eq!(fixture.uids().await, [1, 2], "not before QUIT");
    // Mail that comes meanwhile is not touched.
    fixture.deliver("Subject: three\r\n\r\n").await;
    assert_eq!(client.ask("QUIT").await, "+OK bye, 1 messages deleted");
    assert_eq!(client.rest().await, "");
    assert_eq!(fixture.uids().await, [2, 3]);
    assert!(fixture.registry.render().contains("ekitei_pop3_deleted_messages_total 1\n"));
}

#[tokio::test]
async fn rset_takes_the_marks_away() {
    let fixture = two_messages().await;
    let mut client = fixture.log_in().await;
    client.ask("DELE 1").await;
    assert_eq!(client.ask("RSET").await, "+OK no message is marked as deleted");
    assert_eq!(client.ask("QUIT").await, "+OK bye");
    assert_eq!(fixture.uids().await, [1, 2]);
}

#[tokio::test]
async fn a_message_that_another_client_removed_is_missed_politely() {
    let fixture = two_messages().await;
    let mut client = fixture.log_in().await;
    fixture.expunge(fixture.snapshot().await.entries[0].uid).await;
    assert_eq!(client.ask("RETR 1").await, "-ERR another client has removed this message");
    client.ask("DELE 1").await;
    client.ask("DELE 2").await;
    assert_eq!(client.ask("QUIT").await, "+OK bye, 2 messages deleted");
    assert!(fixture.uids().await.is_empty());
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_order() {
    let fixture = two_messages().await;
    let mut client = fixture.log_in().await;
    client.send(b"STAT\r\nDELE 1\r\nLIST\r\nNOOP\r\nQUIT\r\n").await;
    let expected = format!(
        "+OK 2 {}\r\n+OK message 1 is marked as deleted\r\n+OK 1 messages, {} octets\r\n2 {}\r\n.\r\n+OK nothing \
         done\r\n+OK bye, 1 messages deleted\r\n",
        ONE.len() + TWO.len(),
        TWO.len(),
        TWO.len()
    );
    assert_eq!(client.rest().await, expected);
}

#[tokio::test]
async fn commands_may_come_byte_by_byte() {
    let fixture = two_messages().await;
    let mut client = fixture.log_in().await;
    for byte in b"STAT\r\n" {
        client.stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(client.line().await.starts_with("+OK 2 "));
}

#[tokio::test]
async fn utf8_headers_are_sent_or_refused_as_configured() {
    let message = "Subject: \u{99c5}\u{9013}\r\n\r\nbody\r\n";
    let fixture = Fixture::new().await;
    fixture.deliver(message).await;
    let mut client = fixture.log_in().await;
    assert_eq!(client.ask_for_lines("RETR 1").await.join("\r\n") + "\r\n", message);

    let mut strict = config();
    strict.pop3.refuse_utf8_without_command = true;
    let fixture = Fixture::with(strict).await;
    fixture.deliver(message).await;
    fixture.deliver(ONE).await;
    let mut client = fixture.log_in().await;
    assert!(client.ask("RETR 1").await.starts_with("-ERR [UTF8] "));
    assert_eq!(client.ask_for_lines("RETR 2").await.len(), 5);
    assert!(client.ask("UTF8").await.starts_with("-ERR "), "it is too late for UTF8");
    client.ask("QUIT").await;
    let mut client = fixture.connect().await;
    assert!(client.ask("UTF8").await.starts_with("+OK "));
    client.ask("USER alice@example.test").await;
    client.ask("PASS correct horse battery").await;
    assert_eq!(client.ask_for_lines("RETR 1").await.join("\r\n") + "\r\n", message);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_deletes_nothing() {
    let fixture = two_messages().await;
    let mut client = fixture.log_in().await;
    client.ask("DELE 1").await;
    client.stream.shutdown().await.unwrap();
    let mut end = Vec::new();
    client.stream.read_to_end(&mut end).await.unwrap();
    assert_eq!(end, b"");
    assert_eq!(fixture.uids().await, [1, 2]);
}
