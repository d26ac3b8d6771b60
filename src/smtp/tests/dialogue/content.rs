//! What may be in a message: line ends, dots, chunks, headers.

use crate::support::World;

/// Sends this behind DATA and returns the first reply.
async fn data_reply(world: &World, content: &[u8]) -> (String, Vec<String>) {
    let mut client = world.mx().await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    client.ask("DATA", "354 ").await;
    client.send(content).await;
    client.send("QUIT\r\n").await;
    let first = client.reply().await;
    let mut rest = Vec::new();
    while !rest.last().is_some_and(|reply: &String| reply.starts_with("221 ") || reply.starts_with("421 ")) {
        rest.push(client.reply().await);
    }
    (first, rest)
}

#[tokio::test]
async fn no_message_can_be_smuggled_into_another() {
    let smuggled =
        "MAIL FROM:<evil@b.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx";
    for end in [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\r",
        "\r\n.\r\r\n",
        "\r\r\n.\r\r\n",
        "\n.\r",
        "\r.\n",
        "\r\n\0.\r\n",
        "\r\n.\0\r\n",
        "\n\n.\n\n",
        "\r\n.\n\r\n",
    ] {
        let world = World::new().await;
        let content = format!("Subject: outer\r\n\r\nx{end}{smuggled}\r\n.\r\n");
        let (reply, rest) = data_reply(&world, content.as_bytes()).await;
        assert!(reply.starts_with("550 5.6.11 ") || reply.starts_with("550 5.6.0 "), "{end:?}: {reply}");
        assert_eq!(rest.len(), 1, "{end:?}: everything up to the proper end was one message: {rest:?}");
        assert!(world.inbox("alice").await.is_empty() && world.inbox("bob").await.is_empty(), "{end:?}");
    }
}

#[tokio::test]
async fn nul_and_overlong_lines_are_refused() {
    let world =
        World::with(|config| config.smtp.max_line_length = ekitei_config::ByteSize::bytes(2000)).await;
    let (reply, _) = data_reply(&world, b"Subject: x\r\n\r\na\0b\r\n.\r\n").await;
    assert!(reply.starts_with("550 5.6.0 "), "{reply}");
    let long = format!("Subject: x\r\n\r\n{}\r\n.\r\n", "x".repeat(1999));
    let (reply, _) = data_reply(&world, long.as_bytes()).await;
    assert!(reply.starts_with("550 5.6.0 "), "{reply}");
    let fits = format!("Subject: x\r\n\r\n{}\r\n.\r\n", "x".repeat(1998));
    let (reply, _) = data_reply(&world, fits.as_bytes()).await;
    assert!(reply.starts_with("250 "), "lines over 998 octets are taken: {reply}");
}

#[tokio::test]
async fn a_message_comes_in_chunks() {
    let world = World::new().await;
    let mut client = world.mx().await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    client.send("BDAT 10\r\nSubject: xBDAT 4\r\n\r\n\r\nBDAT 5 LAST\r\n.\r\na\nNOOP\r\n").await;
    client.expect("250 2.0.0 ").await;
    client.expect("250 2.0.0 ").await;
    client.expect("550 5.6.11 ").await;
    client.expect("250 2.0.0 OK").await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    client.send("BDAT 14\r\nSubject: x\r\n\r\n").await;
    client.expect("250 2.0.0 ").await;
    client.ask("RCPT TO:<bob@example.test>", "503 5.5.1 ").await;
    client.ask("DATA", "503 5.5.1 ").await;
    client.ask("RSET", "250 ").await;
    client.send("BDAT 0 LAST\r\n").await;
    client.expect("503 5.5.1 ").await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    client.send("BDAT 14\r\nSubject: x\r\n\r\nBDAT 6\r\n.\r\n..\nBDAT 0 LAST\r\n").await;
    client.expect("250 ").await;
    client.expect("250 ").await;
    client.expect("550 5.6.11 ").await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    client.send("BDAT 14\r\nSubject: x\r\n\r\nBDAT 7 LAST\r\n.\r\n..\r\n").await;
    client.expect("250 ").await;
    client.expect("250 2.0.0 OK, message ").await;
    client.envelope("a@b.test", &["bob@example.test"]).await;
    client.send("BDAT 14\r\nSubject: y\r\n\r\nVRFY alice\r\nBDAT 3 LAST\r\nb\r\n").await;
    for code in ["250 ", "252 ", "250 2.0.0 OK, message "] {
        client.expect(code).await;
    }
    let bob = world.inbox("bob").await;
    assert!(bob[0].ends_with("Subject: y\r\n\r\nb\r\n"), "no chunk is lost: {}", bob[0]);
    let inbox = world.inbox("alice").await;
    assert_eq!(inbox.len(), 1);
    assert!(inbox[0].ends_with("Subject: x\r\n\r\n.\r\n..\r\n"), "dots mean nothing in chunks: {}", inbox[0]);
}

#[tokio::test]
async fn a_chunk_without_a_place_is_read_past() {
    let world = World::new().await;
    let mut client = world.mx().await;
    client.send("BDAT 13 LAST\r\nMAIL FROM:<\r\nNOOP\r\n").await;
    client.expect("503 5.5.1 ").await;
    client.expect("250 2.0.0 ").await;
    client.ask("MAIL FROM:<a@b.test>", "250 ").await;
    client.ask("RCPT TO:<nobody@example.test>", "550 ").await;
    client.send("BDAT 3 LAST\r\nabcNOOP\r\n").await;
    client.expect("554 5.5.1 ").await;
    client.expect("250 2.0.0 ").await;
    client.ask("BDAT 99999999999999999999", "501 5.5.4 ").await;
    client.ask("BDAT 9999999999999 LAST", "552 5.3.4 ").await;
    client.expect_closed().await;
}

#[tokio::test]
async fn binary_messages_need_bdat() {
    let world = World::new().await;
    let mut client = world.mx().await;
    client.ask("MAIL FROM:<a@b.test> BODY=BINARYMIME", "250 ").await;
    client.ask("RCPT TO:<alice@example.test>", "250 ").await;
    client.ask("DATA", "503 5.5.1 ").await;
    let part = "Subject: x\r\nContent-Transfer-Encoding: binary\r\n\r\n\0a\nb\r";
    client.send(format!("BDAT {} LAST\r\n{part}", part.len())).await;
    client.expect("250 2.0.0 OK, message ").await;
    let inbox = world.inbox("alice").await;
    // All clients can read it: base64 of the same octets.
    let readable = "Subject: x\r\nContent-Transfer-Encoding: base64\r\n\r\nAGEKYg0=\r\n";
    assert!(inbox[0].ends_with(readable), "{}", inbox[0]);
    client.ask("MAIL FROM:<a@b.test> BODY=BINARYMIME", "250 ").await;
    client.ask("RCPT TO:<alice@example.test>", "250 ").await;
    client.send("BDAT 5 LAST\r\n\r\na\nb").await;
    client.expect("554 5.6.1 ").await;
}

#[tokio::test]
async fn a_utf8_header_needs_smtputf8_where_that_is_configured() {
    let lenient = World::new().await;
    let (reply, _) = data_reply(&lenient, "Subject: 駅\r\n\r\n.\r\n".as_bytes()).await;
    assert!(reply.starts_with("250 "), "{reply}");

    let world = World::with(|config| config.smtp.strict_smtputf8 = true).await;
    let (reply, _) = data_reply(&world, "Subject: 駅\r\n\r\n.\r\n".as_bytes()).await;
    assert!(reply.starts_with("550 5.6.7 "), "{reply}");
    let mut client = world.mx().await;
    client.ask("MAIL FROM:<駅@b.test> SMTPUTF8", "250 ").await;
    client.ask("RCPT TO:<alice@example.test>", "250 ").await;
    assert!(client.data("Subject: 駅\r\n\r\n").await.starts_with("250 "));
    let inbox = world.inbox("alice").await;
    assert!(inbox[0].contains("Return-Path: <駅@b.test>\r\n") && inbox[0].contains(" with UTF8SMTP id "));
    client.ask("MAIL FROM:<駅@b.test>", "553 5.6.7 ").await;
}

#[tokio::test]
async fn a_return_path_from_elsewhere_is_replaced() {
    let world = World::new().await;
    let mut client = world.mx().await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    assert!(client.data("Return-Path: <forged@c.test>\r\nSubject: x\r\n").await.starts_with("250 "));
    let inbox = world.inbox("alice").await;
    assert!(!inbox[0].contains("forged") && inbox[0].matches("Return-Path:").count() == 1, "{}", inbox[0]);
}

#[tokio::test]
async fn a_message_that_loops_is_refused() {
    let world = World::with(|config| config.smtp.max_hops = 3).await;
    let hops = |count: usize| format!("{}Subject: x\r\n\r\n.\r\n", "Received: from x by y\r\n".repeat(count));
    let (reply, _) = data_reply(&world, hops(3).as_bytes()).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let (reply, _) = data_reply(&world, hops(4).as_bytes()).await;
    assert!(reply.starts_with("554 5.4.6 "), "{reply}");
    let (reply, _) = data_reply(&world, b"Delivered-To: ALICE@example.test\r\n\r\n.\r\n").await;
    assert!(reply.starts_with("554 5.4.6 "), "{reply}");
    let (reply, _) = data_reply(&world, b"Delivered-To: bob@example.test\r\n\r\n.\r\n").await;
    assert!(reply.starts_with("250 "), "{reply}");
}

#[tokio::test]
async fn a_large_header_is_refused() {
    let world = World::with(|config| config.smtp.max_header_size = ekitei_config::ByteSize::kib(1)).await;
    let content = format!("{}\r\nbody\r\n.\r\n", "X-Filler: abcdefghijklmnopqrstuvwxyz\r\n".repeat(40));
    let (reply, _) = data_reply(&world, content.as_bytes()).await;
    assert!(reply.starts_with("552 5.3.4 "), "{reply}");
}
