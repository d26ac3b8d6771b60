//! Mail from other hosts.

use ekitei_config::Protocol;
use ekitei_directory::{Domain, DomainChange, NewDomain, NewGroup};

use crate::support::{STRANGER, World, address};

#[tokio::test]
async fn a_message_is_kept_before_it_is_accepted() {
    let world = World::new().await;
    let mut client = world.mx().await;
    client.envelope("sender@other.test", &["Alice@Example.TEST"]).await;
    let reply = client.data("Subject: hello\r\n\r\n..dot\r\nbye").await;
    let id = reply.strip_prefix("250 2.0.0 OK, message ").unwrap_or_else(|| panic!("{reply}")).to_owned();
    let expected = format!(
        "Return-Path: <sender@other.test>\r\n\
         Delivered-To: alice@example.test\r\n\
         Received: from client.test ([203.0.113.9])\r\n\tby mail.example.test (Ekitei) with ESMTP id {id}\r\n\t\
         for <Alice@Example.TEST>;\r\n\tFri, 2 Jan 2026 03:04:05 +0000\r\n\
         Subject: hello\r\n\r\n.dot\r\nbye\r\n"
    );
    assert_eq!(world.inbox("alice").await, [expected]);
    client.ask("QUIT", "221 2.0.0 ").await;
    client.expect_closed().await;
}

#[tokio::test]
async fn ehlo_lists_what_is_offered() {
    let world = World::new().await;
    let mut client = world.connect(Protocol::Smtp, STRANGER).await;
    let reply = client.ask("EHLO client.test", "250-mail.example.test\n").await;
    let offered: Vec<&str> = reply.lines().skip(1).map(|line| &line[4..]).collect();
    assert_eq!(
        offered,
        [
            "PIPELINING",
            "8BITMIME",
            "SMTPUTF8",
            "CHUNKING",
            "BINARYMIME",
            "DSN",
            "ENHANCEDSTATUSCODES",
            "DELIVERBY",
            "MT-PRIORITY",
            "SIZE 52428800",
            "LIMITS RCPTMAX=1000 MAILMAX=1000",
            "HELP",
        ]
    );
    assert!(reply.ends_with("250 HELP"));
}

#[tokio::test]
async fn commands_in_the_wrong_order_are_refused() {
    let world = World::new().await;
    let mut client = world.connect(Protocol::Smtp, STRANGER).await;
    client.ask("MAIL FROM:<a@b.test>", "503 5.5.1 ").await;
    client.ask("HELO client.test", "250 mail.example.test").await;
    client.ask("MAIL FROM:<a@b.test> SIZE=1", "555 5.5.4 ").await;
    client.ask("RCPT TO:<alice@example.test>", "503 5.5.1 ").await;
    client.ask("DATA", "503 5.5.1 ").await;
    client.ask("MAIL FROM:<a@b.test>", "250 2.1.0 ").await;
    client.ask("MAIL FROM:<a@b.test>", "503 5.5.1 ").await;
    client.ask("DATA", "503 5.5.1 ").await;
    client.ask("RCPT TO:<nobody@example.test>", "550 5.1.1 <nobody@example.test>: ").await;
    client.ask("DATA", "554 5.5.1 ").await;
    client.ask("RSET", "250 2.0.0 ").await;
    client.ask("RCPT TO:<alice@example.test>", "503 5.5.1 ").await;
    client.ask("AUTH PLAIN", "502 5.5.1 ").await;
    client.ask("STARTTLS", "454 4.7.0 ").await;
    client.ask("LHLO x", "500 5.5.2 ").await;
}

#[tokio::test]
async fn commands_that_are_none_are_refused() {
    let world = World::new().await;
    let mut client = world.mx().await;
    client.ask("XYZZY", "500 5.5.2 ").await;
    client.ask("NOOP a\0b", "500 5.5.2 ").await;
    client.ask("EHLO", "501 5.5.4 ").await;
    client.ask("DATA now", "501 5.5.4 ").await;
    client.ask("MAIL FROM:<a b@c.test>", "501 5.1.7 ").await;
    client.ask("MAIL FROM:<a@b.test> SIZE=x", "501 5.5.4 ").await;
    client.ask("MAIL FROM:<a@b.test> HOLDFOR=3", "555 5.5.4 ").await;
    client.ask("MAIL FROM:<a@b.test> REQUIRETLS", "555 5.5.4 ").await;
    client.ask("MAIL FROM:<> BODY=8BITMIME RET=HDRS ENVID=x+2B", "250 2.1.0 ").await;
    client.ask("RCPT TO:<alice>", "501 5.1.3 ").await;
    client.ask("RCPT TO:<alice@example.test> NOTIFY=SOMETIMES", "501 5.5.4 ").await;
    client.ask("RCPT TO:<alice@example.test> NOTIFY=NEVER ORCPT=rfc822;a@b", "250 2.1.5 ").await;
    client.ask("VRFY alice", "252 2.5.2 ").await;
    client.ask("EXPN staff", "502 5.5.1 ").await;
    client.ask("HELP", "214-2.0.0 ").await;
    client.ask("NOOP", "250 2.0.0 ").await;
    client.ask(&format!("NOOP {}", "x".repeat(3000)), "500 5.5.2 Line too long").await;
    client.ask("NOOP", "250 2.0.0 ").await;
}

#[tokio::test]
async fn a_command_that_ends_with_a_bare_lf_ends_the_connection() {
    let world = World::new().await;
    let mut client = world.mx().await;
    client.send("NOOP\nMAIL FROM:<a@b.test>\r\n").await;
    client.expect("521 5.5.2 ").await;
    client.expect_closed().await;
}

#[tokio::test]
async fn nobody_relays_through_here() {
    let world = World::new().await;
    let mut client = world.mx().await;
    client.ask("MAIL FROM:<alice@example.test>", "250 ").await;
    for attempt in [
        "victim@remote.test",
        "@example.test:victim@remote.test",
        "@remote.test,@example.test:victim@remote.test",
        "victim@[192.0.2.25]",
        "victim@[IPv6:2001:db8::1]",
        "\"alice@example.test\"@remote.test",
    ] {
        client.ask(&format!("RCPT TO:<{attempt}>"), "550 5.7.1 ").await;
    }
    for attempt in [
        "victim%remote.test@example.test",
        "remote.test!victim@example.test",
        "victim@remote.test@example.test",
        "\"victim@remote.test\"@example.test",
        "victim:remote.test@example.test",
    ] {
        let reply = client.say(&format!("RCPT TO:<{attempt}>")).await;
        assert!(reply.starts_with("550 5.1.1 ") || reply.starts_with("501 5.1.3 "), "{attempt}: {reply}");
    }
    client.ask("DATA", "554 5.5.1 ").await;
}

#[tokio::test]
async fn recipients_are_checked_when_they_are_named() {
    let world = World::new().await;
    let directory = &world.directory;
    let remote = [address("x@remote.test")].into_iter().collect();
    directory.create_alias(&address("away@example.test"), remote).await.unwrap();
    let circle = ["ping@example.test", "pong@example.test"].map(address);
    for (from, to) in [(&circle[0], &circle[1]), (&circle[1], &circle[0])] {
        directory.create_alias(from, [to.clone()].into_iter().collect()).await.unwrap();
    }
    let mut client = world.mx().await;
    client.ask("MAIL FROM:<a@b.test>", "250 ").await;
    client.ask("RCPT TO:<ping@example.test>", "451 4.3.5 ").await;
    client.ask("RCPT TO:<alice@example.test>", "250 2.1.5 ").await;
    client.ask("RCPT TO:<nobody@example.test>", "550 5.1.1 ").await;
    client.ask("RCPT TO:<dora@example.test>", "550 5.2.1 ").await;
    client.ask("RCPT TO:<away@example.test>", "250 2.1.5 ").await;
    client.ask("RCPT TO:<駅@example.test>", "553 5.6.7 ").await;
    assert!(client.data("Subject: x\r\n").await.starts_with("250 2.0.0 "));
    assert_eq!(world.inbox("alice").await.len(), 1);
}

#[tokio::test]
async fn the_postmaster_takes_mail() {
    let world = World::new().await;
    let other = Domain::parse("other.test").unwrap();
    world.directory.create_domain(&other, NewDomain::default()).await.unwrap();
    let mut client = world.mx().await;
    for postmaster in ["Postmaster@example.test", "postmaster@other.test", "PostMaster"] {
        client.envelope("a@b.test", &[postmaster]).await;
        assert!(client.data("Subject: x\r\n").await.starts_with("250 2.0.0 "));
    }
    assert_eq!(world.inbox("bob").await.len(), 3);
}

#[tokio::test]
async fn a_message_for_many_is_stored_once_for_each_account() {
    let world = World::new().await;
    let group = NewGroup {
        address: address("all@example.test"),
        display_name: String::new(),
        members_may_send: false,
        members: [address("alice@example.test"), address("bob@example.test")].into_iter().collect(),
    };
    world.directory.create_group(group).await.unwrap();
    let mut client = world.mx().await;
    client.envelope("a@b.test", &["all@example.test", "bob@example.test", "BOB@example.test"]).await;
    assert!(client.data("Subject: x\r\n").await.starts_with("250 2.0.0 "));
    for name in ["alice", "bob"] {
        let inbox = world.inbox(name).await;
        assert_eq!(inbox.len(), 1, "{name}");
        assert!(
            inbox[0]
                .starts_with(&format!("Return-Path: <a@b.test>\r\nDelivered-To: {name}@example.test\r\n")),
            "{}",
            inbox[0]
        );
        assert!(!inbox[0].contains("\r\n\tfor <"), "recipients do not learn of each other");
    }
}

#[tokio::test]
async fn a_group_with_a_full_member_has_to_wait() {
    let world = World::new().await;
    let group = NewGroup {
        address: address("all@example.test"),
        display_name: String::new(),
        members_may_send: false,
        members: [address("alice@example.test"), address("carol@example.test")].into_iter().collect(),
    };
    world.directory.create_group(group).await.unwrap();
    let mut client = world.mx().await;
    client.envelope("a@b.test", &["carol@example.test"]).await;
    assert!(client.data(format!("Subject: 1\r\n\r\n{}", "x".repeat(1200))).await.starts_with("250 "));
    client.ask("MAIL FROM:<a@b.test> SIZE=1000", "250 ").await;
    client.ask("RCPT TO:<all@example.test>", "452 4.2.2 ").await;
    client.ask("RSET", "250 ").await;
    // A client that does not say the size learns at the end, and alice does not get it twice.
    client.envelope("a@b.test", &["all@example.test"]).await;
    assert!(client.data("x".repeat(1000)).await.starts_with("452 4.2.2 "));
    assert!(world.inbox("alice").await.is_empty());
}

#[tokio::test]
async fn a_detail_names_a_mailbox_if_there_is_one() {
    let world = World::new().await;
    world.inbox("alice").await; // The first look creates the mailboxes.
    let mut client = world.mx().await;
    for to in ["alice+Archive@example.test", "alice+nothing@example.test"] {
        client.envelope("a@b.test", &[to]).await;
        assert!(client.data("Subject: x\r\n").await.starts_with("250 "));
    }
    assert_eq!(world.mail_in("alice", "Archive").await.len(), 1);
    assert_eq!(world.inbox("alice").await.len(), 1);
}

#[tokio::test]
async fn replies_to_pipelined_commands_come_in_order() {
    let world = World::new().await;
    let mut client = world.mx().await;
    client
        .send(
            "MAIL FROM:<a@b.test>\r\nRCPT TO:<nobody@example.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n",
        )
        .await;
    for code in ["250 2.1.0 ", "550 5.1.1 ", "250 2.1.5 ", "354 "] {
        client.expect(code).await;
    }
    client.send("Subject: x\r\n\r\n.\r\nMAIL FROM:<c@b.test>\r\nRSET\r\nQUIT\r\n").await;
    for code in ["250 2.0.0 ", "250 2.1.0 ", "250 2.0.0 ", "221 2.0.0 "] {
        client.expect(code).await;
    }
    client.expect_closed().await;
    assert_eq!(world.inbox("alice").await.len(), 1);
}

#[tokio::test]
async fn a_full_mailbox_is_known_at_rcpt_and_at_the_end() {
    let world = World::new().await;
    let mut client = world.mx().await;
    client.ask("MAIL FROM:<a@b.test> SIZE=5000", "250 ").await;
    client.ask("RCPT TO:<carol@example.test>", "552 5.2.2 ").await;
    client.ask("RSET", "250 ").await;
    client.envelope("a@b.test", &["carol@example.test"]).await;
    assert!(client.data("x".repeat(3000)).await.starts_with("552 5.2.2 "), "it can never fit");
    client.envelope("a@b.test", &["carol@example.test"]).await;
    assert!(client.data(format!("Subject: 1\r\n\r\n{}", "x".repeat(1200))).await.starts_with("250 2.0.0 "));
    client.envelope("a@b.test", &["carol@example.test"]).await;
    assert!(client.data(format!("Subject: 2\r\n\r\n{}", "x".repeat(1200))).await.starts_with("452 4.2.2 "));
    client.ask("MAIL FROM:<a@b.test> SIZE=1500", "250 ").await;
    client.ask("RCPT TO:<carol@example.test>", "452 4.2.2 ").await;
    assert_eq!(world.inbox("carol").await.len(), 1);
}

#[tokio::test]
async fn a_domain_that_is_full_takes_mail_for_none_of_its_accounts() {
    let world = World::new().await;
    let domain = Domain::parse("example.test").unwrap();
    let total = DomainChange { total_quota: Some(Some(2000)), ..DomainChange::default() };
    world.directory.update_domain(&domain, total, None).await.unwrap();
    let mut client = world.mx().await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    assert!(client.data("x".repeat(3000)).await.starts_with("552 5.2.2 "), "it can never fit");
    client.envelope("a@b.test", &["alice@example.test"]).await;
    assert!(client.data(format!("Subject: 1\r\n\r\n{}", "x".repeat(1200))).await.starts_with("250 2.0.0 "));
    client.envelope("a@b.test", &["bob@example.test"]).await;
    assert!(client.data(format!("Subject: 2\r\n\r\n{}", "x".repeat(1200))).await.starts_with("452 4.2.2 "));
    client.ask("MAIL FROM:<a@b.test> SIZE=1500", "250 ").await;
    client.ask("RCPT TO:<bob@example.test>", "452 4.2.2 ").await;
    assert_eq!(world.inbox("bob").await.len(), 0);
}

#[tokio::test]
async fn if_one_recipient_cannot_have_a_message_nobody_gets_it_twice_or_not_at_all() {
    let world = World::new().await;
    let mut client = world.mx().await;
    client.envelope("a@b.test", &["alice@example.test", "carol@example.test"]).await;
    assert!(client.data("x".repeat(3000)).await.starts_with("552 5.2.2 "));
    assert!(world.inbox("alice").await.is_empty());
    // The client learns who it was by announcing the size, and the others get it.
    client.ask("MAIL FROM:<a@b.test> SIZE=3000", "250 ").await;
    client.ask("RCPT TO:<alice@example.test>", "250 ").await;
    client.ask("RCPT TO:<carol@example.test>", "552 5.2.2 ").await;
    assert!(client.data("x".repeat(3000)).await.starts_with("250 2.0.0 "));
    assert_eq!((world.inbox("alice").await.len(), world.inbox("carol").await.len()), (1, 0));
}

#[tokio::test]
async fn a_message_whose_fate_is_not_known_gets_no_reply_and_later_ones_are_deferred() {
    let world = World::new().await;
    let mut client = world.mx().await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    world.faults.fail_sync(std::io::ErrorKind::StorageFull);
    client.ask("DATA", "354 ").await;
    // It may be on disk, and appear after a restart: neither 250 nor 451 would be true.
    client.send("Subject: x\r\n\r\n.\r\n").await;
    client.expect_closed().await;

    let mut client = world.mx().await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    assert!(client.data("Subject: x\r\n").await.starts_with("451 4.3.0 "));
}

#[tokio::test]
async fn an_unknown_commit_is_neither_lost_nor_doubled() {
    use ekitei_kv::CommitFault::{UnknownApplied, UnknownNotApplied};
    for fault in [UnknownApplied, UnknownNotApplied] {
        let world = World::new().await;
        world.inbox("alice").await;
        let mut client = world.mx().await;
        client.envelope("a@b.test", &["alice@example.test"]).await;
        world.faults.commits([Some(fault)]);
        assert!(client.data("Subject: x\r\n").await.starts_with("250 2.0.0 "));
        assert_eq!(world.inbox("alice").await.len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn outcomes_are_counted() {
    let world = World::new().await;
    let mut client = world.mx().await;
    client.ask("MAIL FROM:<a@b.test>", "250 ").await;
    client.ask("RCPT TO:<nobody@example.test>", "550 ").await;
    client.ask("RCPT TO:<alice@example.test>", "250 ").await;
    client.data("Subject: x\r\n").await;
    let metrics = world.registry.render();
    for line in [
        "ekitei_smtp_connections_open{role=\"smtp\"} 1",
        "ekitei_smtp_messages_total{outcome=\"accepted\",role=\"smtp\"} 1",
        "ekitei_smtp_recipients_total{outcome=\"accepted\",role=\"smtp\"} 1",
        "ekitei_smtp_recipients_total{outcome=\"unknown\",role=\"smtp\"} 1",
        "ekitei_smtp_command_errors_total{code=\"550\"} 1",
        "ekitei_smtp_delivery_seconds_count 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn it_makes_no_difference_how_the_octets_arrive() {
    let dialogue = concat!(
        "EHLO client.test\r\nMAIL FROM:<a@b.test> SIZE=100\r\nRCPT TO:<alice@example.test>\r\n",
        "RCPT TO:<nobody@example.test>\r\nDATA\r\nSubject: 1\r\n\r\n..\r\n.x\r\n\r\n.\r\n",
        "XYZZY\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nBDAT 12\r\nSubject: 2\r\nBDAT 5 LAST\r\n\r\n.\r\n",
        "MAIL FROM:<a@b.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nbare\n.\n\r\n.\r\nVRFY x\r\nQUIT\r\n",
    );
    let mut expected = None;
    for piece in [dialogue.len(), 1, 2, 3, 7, 64] {
        let world = World::new().await;
        let mut client = world.connect(Protocol::Smtp, STRANGER).await;
        for octets in dialogue.as_bytes().chunks(piece) {
            client.send(octets).await;
            tokio::task::yield_now().await;
        }
        let mut codes = Vec::new();
        while codes.last().is_none_or(|code| code != "221") {
            codes.push(client.reply().await.lines().last().unwrap_or_default()[..3].to_owned());
        }
        client.expect_closed().await;
        let bodies: Vec<String> =
            world.inbox("alice").await.iter().map(|message| after_trace(message)).collect();
        assert!(world.inbox("bob").await.is_empty());
        let seen = (codes, bodies);
        assert_eq!(*expected.get_or_insert_with(|| seen.clone()), seen, "in pieces of {piece}");
    }
    let (codes, bodies) = expected.unwrap();
    assert_eq!(codes.join(" "), "250 250 250 550 354 250 500 250 250 250 250 250 250 354 550 252 221");
    assert_eq!(bodies, ["Subject: 1\r\n\r\n.\r\nx\r\n\r\n", "Subject: 2\r\n\r\n.\r\n"]);
}

/// A message without the fields that delivery put in front.
fn after_trace(message: &str) -> String {
    message[message.find("Subject:").unwrap()..].to_owned()
}
