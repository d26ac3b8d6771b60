//! Every limit has its reply.

use std::borrow::Cow;
use std::time::Duration;

use ekitei_config::{ByteSize, ListenerConfig, Protocol};
use ekitei_net::{Connection, Handler as _, Refusal};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{STRANGER, World};

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_as_early_as_possible() {
    let world = World::with(|config| config.smtp.max_message_size = ByteSize::bytes(1000)).await;
    let mut client = world.mx().await;
    client.ask("MAIL FROM:<a@b.test> SIZE=1001", "552 5.3.4 ").await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    assert!(client.data("x".repeat(999)).await.starts_with("552 5.3.4 "), "the CRLF counts");
    client.envelope("a@b.test", &["alice@example.test"]).await;
    assert!(client.data("x".repeat(998)).await.starts_with("250 "), "the trace fields do not count");
    client.envelope("a@b.test", &["alice@example.test"]).await;
    client.send(format!("BDAT 1100\r\n{}", "x".repeat(1100))).await;
    client.expect("552 5.3.4 ").await;
    client.send("BDAT 1 LAST\r\nx").await;
    client.expect("503 5.5.1 ").await;
    client.ask("NOOP", "250 ").await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    client.ask("DATA", "354 ").await;
    client.send("x".repeat(5000)).await;
    client.expect("552 5.3.4 ").await;
    client.expect_closed().await;
}

#[tokio::test]
async fn memory_for_messages_in_flight_is_bounded_and_given_back() {
    let world = World::with(|config| config.smtp.max_bodies_in_flight = ByteSize::kib(100)).await;
    let mut client = world.mx().await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    assert!(client.data("x\r\n".repeat(50_000)).await.starts_with("452 4.3.1 "));
    assert_eq!(world.server.bodies_in_flight().used(), 0);
    client.envelope("a@b.test", &["alice@example.test"]).await;
    client.ask("DATA", "354 ").await;
    client.send("x\r\n".repeat(20_000)).await;
    while world.server.bodies_in_flight().used() < 60_000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut other = world.mx().await;
    other.envelope("a@b.test", &["alice@example.test"]).await;
    assert!(other.data("x\r\n".repeat(15_000)).await.starts_with("452 4.3.1 "));
    client.send(".\r\n").await;
    client.expect("250 2.0.0 ").await;
    other.envelope("a@b.test", &["alice@example.test"]).await;
    assert!(other.data("x\r\n".repeat(15_000)).await.starts_with("250 "));
    assert_eq!(world.server.bodies_in_flight().used(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_memory_back() {
    let world = World::new().await;
    let mut client = world.mx().await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    client.send(format!("BDAT 20000\r\n{}", "x".repeat(20_000))).await;
    client.expect("250 ").await;
    assert!(world.server.bodies_in_flight().used() >= 20_000);
    drop(client);
    while world.server.bodies_in_flight().used() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(world.inbox("alice").await.is_empty());
}

#[tokio::test]
async fn recipients_of_a_message_are_bounded() {
    let world = World::with(|config| config.smtp.max_recipients = 1).await;
    let mut client = world.mx().await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    client.ask("RCPT TO:<bob@example.test>", "452 4.5.3 ").await;
    assert!(client.data("x").await.starts_with("250 "));
}

#[tokio::test]
async fn errors_end_the_connection() {
    let world = World::with(|config| config.smtp.max_errors = 2).await;
    let mut client = world.mx().await;
    client.ask("XYZZY", "500 ").await;
    client.ask("XYZZY", "500 ").await;
    client.ask("XYZZY", "500 ").await;
    client.expect("421 4.7.0 Too many errors").await;
    client.expect_closed().await;
}

#[tokio::test]
async fn unknown_recipients_end_the_connection() {
    let world = World::with(|config| config.smtp.max_unknown_recipients = 1).await;
    let mut client = world.mx().await;
    client.ask("MAIL FROM:<a@b.test>", "250 ").await;
    client.ask("RCPT TO:<x@example.test>", "550 5.1.1 ").await;
    client.ask("RCPT TO:<y@example.test>", "550 5.1.1 ").await;
    client.expect("421 4.7.0 Too many unknown recipients").await;
    client.expect_closed().await;
}

#[tokio::test]
async fn attempts_to_relay_end_the_connection() {
    let world = World::with(|config| config.smtp.max_errors = 1).await;
    let mut client = world.mx().await;
    client.ask("MAIL FROM:<a@b.test>", "250 ").await;
    client.ask("RCPT TO:<x@remote.test>", "550 5.7.1 ").await;
    client.ask("RCPT TO:<y@remote.test>", "550 5.7.1 ").await;
    client.expect("421 4.7.0 Too many errors").await;
    client.expect_closed().await;
}

#[tokio::test]
async fn replies_to_mistakes_are_slow() {
    let world = World::with(|config| config.smtp.tarpit_delay = ekitei_config::Duration::millis(40)).await;
    let mut client = world.mx().await;
    let start = std::time::Instant::now();
    client.ask("XYZZY", "500 ").await;
    client.ask("XYZZY", "500 ").await;
    assert!(start.elapsed() >= Duration::from_millis(40 + 80));
}

#[tokio::test]
async fn commands_without_mail_end_the_connection() {
    let world = World::with(|config| config.smtp.max_commands_without_mail = 3).await;
    let mut client = world.mx().await;
    client.ask("NOOP", "250 ").await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    client.data("x").await;
    for _ in 0..3 {
        client.ask("NOOP", "250 ").await;
    }
    client.ask("NOOP", "421 4.7.0 ").await;
    client.expect_closed().await;
}

#[tokio::test]
async fn messages_of_a_connection_and_of_an_address_are_bounded() {
    let world = World::with(|config| config.smtp.max_messages_per_connection = 1).await;
    let mut client = world.mx().await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    client.data("x").await;
    client.ask("MAIL FROM:<a@b.test>", "421 4.7.0 ").await;
    client.expect_closed().await;
    let world = World::with(|config| config.smtp.messages_per_address_per_minute = 1).await;
    world.mx().await.ask("MAIL FROM:<a@b.test>", "250 ").await;
    world.mx().await.ask("MAIL FROM:<a@b.test>", "450 4.7.1 ").await;
    let mut other = world.hello(Protocol::Smtp, "198.51.100.1:1").await;
    other.ask("MAIL FROM:<a@b.test>", "250 ").await;
}

#[tokio::test]
async fn silence_ends_the_connection() {
    let world = World::with(|config| {
        config.smtp.timeouts.command = ekitei_config::Duration::millis(100);
        config.smtp.timeouts.data_init = ekitei_config::Duration::millis(50);
        config.smtp.timeouts.data_block = ekitei_config::Duration::millis(50);
    })
    .await;
    let mut silent = world.connect(Protocol::Smtp, STRANGER).await;
    silent.expect("421 4.4.2 ").await;
    silent.expect_closed().await;
    for part in ["", "Subject: half"] {
        let mut stalled = world.mx().await;
        stalled.envelope("a@b.test", &["alice@example.test"]).await;
        stalled.ask("DATA", "354 ").await;
        stalled.send(part).await;
        stalled.expect("421 4.4.2 ").await;
        stalled.expect_closed().await;
    }
    assert!(world.inbox("alice").await.is_empty());
}

#[tokio::test]
async fn a_sender_that_drips_is_cut_off() {
    let world = World::with(|config| {
        config.smtp.timeouts.data_end = ekitei_config::Duration::millis(150);
    })
    .await;
    let mut slow = world.mx().await;
    slow.envelope("a@b.test", &["alice@example.test"]).await;
    slow.ask("DATA", "354 ").await;
    for _ in 0..10 {
        slow.send("x").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    slow.expect("421 4.4.2 ").await;
}

#[tokio::test]
async fn a_message_in_chunks_keeps_its_memory_no_longer_than_any_other() {
    let world = World::with(|config| {
        config.smtp.timeouts.data_end = ekitei_config::Duration::millis(150);
    })
    .await;
    for between in ["", "BDAT 0\r\n"] {
        let mut slow = world.mx().await;
        slow.envelope("a@b.test", &["alice@example.test"]).await;
        slow.send(format!("BDAT 5000\r\n{}", "x".repeat(5000))).await;
        slow.expect("250 2.0.0 ").await;
        for _ in 0..20 {
            // The server may be gone already.
            let _ = slow.stream.write_all(between.as_bytes()).await;
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        while slow.reply().await.starts_with("250 ") {}
        assert_eq!(world.server.bodies_in_flight().used(), 0);
    }
}

#[tokio::test]
async fn a_shutdown_lets_a_message_end_and_then_says_so() {
    let world = World::new().await;
    let mut idle = world.mx().await;
    let mut busy = world.mx().await;
    busy.envelope("a@b.test", &["alice@example.test"]).await;
    busy.ask("DATA", "354 ").await;
    busy.send("Subject: x\r\n\r\n").await;
    world.shutdown.begin();
    idle.expect("421 4.3.2 ").await;
    idle.expect_closed().await;
    busy.send("the rest\r\n.\r\n").await;
    busy.expect("250 2.0.0 ").await;
    busy.expect("421 4.3.2 ").await;
    busy.expect_closed().await;
    assert_eq!(world.inbox("alice").await.len(), 1);
}

#[tokio::test]
async fn connections_over_a_limit_are_told_why() {
    let world = World::new().await;
    let text = |reason| match world.server.refusal(reason) {
        Cow::Borrowed(line) => String::from_utf8(line.to_vec()).unwrap(),
        Cow::Owned(line) => String::from_utf8(line).unwrap(),
    };
    for (reason, beginning) in [
        (Refusal::Global, "421 4.7.0 "),
        (Refusal::Listener, "421 4.7.0 "),
        (Refusal::Address, "421 4.7.0 "),
        (Refusal::Rate, "421 4.7.0 "),
        (Refusal::Banned, "421 4.7.0 "),
        (Refusal::Blocked, "554 5.7.1 "),
        (Refusal::ShuttingDown, "421 4.3.2 "),
    ] {
        assert!(text(reason).starts_with(beginning) && text(reason).ends_with("\r\n"), "{reason:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_takes_little_memory() {
    let world = World::new().await;
    let (_near, far) = tokio::io::duplex(1);
    let address = STRANGER.parse().unwrap();
    let listener = std::sync::Arc::new(ListenerConfig::new(Protocol::Smtp, address));
    let connection = Connection::over(far, address, address, listener);
    let task = std::sync::Arc::clone(&world.server).handle(connection);
    let size = std::mem::size_of_val(&task); // Besides what it points to: under 1 KiB and the stream.
    assert!(size < 4 * 1024, "{size} octets");
}

#[tokio::test]
async fn whatever_a_client_sends_the_server_ends_in_good_order() {
    const PIECES: [&[u8]; 20] = [
        b"EHLO x\r\n",
        b"MAIL FROM:<a@b.test>\r\n",
        b"MAIL FROM:<> BODY=BINARYMIME\r\n",
        b"DATA\r\n",
        b"RSET\r\n",
        b"RCPT TO:<alice@example.test>\r\n",
        b"RCPT TO:<nobody@example.test>\r\n",
        b"BDAT 3\r\n",
        b"BDAT 2 LAST\r\n",
        b"\r\n.\r\n",
        b".\r\n",
        b"\r\n",
        b"\r",
        b"\0",
        b"\xff\xfe",
        b"AUTH PLAIN\r\n",
        b"STARTTLS\r\n",
        b"Subject: x\r\n",
        b"LHLO x\r\n",
        b"NOOP\r\n",
    ];
    let world = World::new().await;
    for seed in 1..200_u64 {
        let protocol = [Protocol::Smtp, Protocol::Submission, Protocol::Lmtp][(seed % 3) as usize];
        let address = "127.0.0.1:1".parse().unwrap();
        let (mut near, far) = tokio::io::duplex(1 << 20);
        let listener = std::sync::Arc::new(ListenerConfig::new(protocol, address));
        let connection = Connection::over(far, address, address, listener);
        let mut state = seed;
        for _ in 0..60 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            near.write_all(PIECES[(state >> 33) as usize % PIECES.len()]).await.unwrap();
        }
        near.shutdown().await.unwrap();
        std::sync::Arc::clone(&world.server).handle(connection).await;
        let mut replies = String::new();
        near.read_to_string(&mut replies).await.unwrap();
        let well_formed = |line: &str| {
            line.len() > 3
                && line.as_bytes()[..3].iter().all(u8::is_ascii_digit)
                && " -".contains(&line[3..4])
        };
        assert!(replies.split_terminator("\r\n").all(well_formed), "seed {seed}: {replies}");
    }
    assert_eq!(world.server.bodies_in_flight().used(), 0);
}
