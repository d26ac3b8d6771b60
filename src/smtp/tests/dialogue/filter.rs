//! What the filter finds, as clients and readers see it.

use std::sync::{Arc, Mutex};

use ekitei_config::{Endpoint, HelloAction, Milter, Protocol};
use ekitei_directory::Domain;
use ekitei_dns::testing::TestDns;
use ekitei_queue::Shard;
use ekitei_signing::{Algorithm, KeyRecord, NewKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{STRANGER, World, address};

const ZONE: &str = "9.113.0.203.in-addr.arpa PTR client.test\n\
                    client.test A 203.0.113.9\n\
                    sender.test TXT \"v=spf1 ip4:203.0.113.9 -all\"\n\
                    _dmarc.strict.test TXT \"v=DMARC1; p=reject\"\n\
                    _dmarc.careful.test TXT \"v=DMARC1; p=quarantine\"\n";

const NOT_ITS_AUTHOR: &str = "550 5.7.26 strict.test does not stand behind this message";

#[tokio::test]
async fn what_was_found_stands_above_received() {
    let dns = TestDns::start(ZONE);
    let world = World::filtering(&dns, |_| {}).await;
    let mut client = world.mx().await;
    client.envelope("a@sender.test", &["alice@example.test"]).await;
    let forged = "Authentication-Results: Mail.Example.Test; dmarc=pass\r\n";
    let reply = client.data(format!("{forged}From: a@sender.test\r\n\r\nhello")).await;
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    let [message] = world.inbox("alice").await.try_into().unwrap();
    let (results, rest) = message.split_once("Received: ").unwrap();
    assert_eq!(
        results,
        "Return-Path: <a@sender.test>\r\nDelivered-To: alice@example.test\r\n\
         Authentication-Results: mail.example.test;\r\n\tiprev=pass (client.test) policy.iprev=203.0.113.9;\r\n\t\
         spf=pass smtp.mailfrom=a@sender.test;\r\n\tspf=none smtp.helo=client.test;\r\n\t\
         dmarc=none header.from=sender.test\r\n"
    );
    assert!(rest.ends_with("+0000\r\nFrom: a@sender.test\r\n\r\nhello\r\n"), "{rest}");
}

#[tokio::test]
async fn a_refused_message_is_not_stored_and_the_next_one_is_judged_anew() {
    let dns = TestDns::start(ZONE);
    let world = World::filtering(&dns, |_| {}).await;
    let mut client = world.mx().await;
    client.envelope("a@sender.test", &["alice@example.test"]).await;
    let reply = client.data("From: a@strict.test\r\n\r\nhello").await;
    assert!(reply.starts_with(NOT_ITS_AUTHOR), "{reply}");
    assert_eq!(world.inbox("alice").await, Vec::<String>::new());
    client.envelope("a@sender.test", &["alice@example.test"]).await;
    let reply = client.data("From: a@sender.test\r\n\r\nhello").await;
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    assert_eq!(world.inbox("alice").await.len(), 1);
    let metrics = world.registry.render();
    assert!(metrics.contains("filter_verdicts_total{step=\"message\",verdict=\"reject\"} 1"), "{metrics}");
}

#[tokio::test]
async fn quarantine_is_the_mailbox_for_junk() {
    let dns = TestDns::start(ZONE);
    let world = World::filtering(&dns, |_| {}).await;
    let mut client = world.mx().await;
    client.envelope("a@sender.test", &["alice@example.test", "bob@example.test"]).await;
    let reply = client.data("From: a@careful.test\r\n\r\nhello").await;
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    for name in ["alice", "bob"] {
        assert_eq!(world.inbox(name).await, Vec::<String>::new());
        assert_eq!(world.mail_in(name, "Junk").await.len(), 1);
    }
}

#[tokio::test]
async fn chunks_are_judged_as_lines_are() {
    let dns = TestDns::start(ZONE);
    let world = World::filtering(&dns, |_| {}).await;
    let mut client = world.mx().await;
    client.envelope("a@sender.test", &["alice@example.test"]).await;
    client.send("BDAT 21\r\nFrom: a@strict.test\r\n").await;
    client.expect("250 2.0.0 ").await;
    client.send("BDAT 7 LAST\r\n\r\nhello").await;
    client.expect(NOT_ITS_AUTHOR).await;
}

#[tokio::test]
async fn a_refused_name_is_as_if_it_had_not_been_given() {
    let dns = TestDns::start(ZONE);
    let world = World::filtering(&dns, |config| config.filter.hello.malformed = HelloAction::Reject).await;
    let mut client = world.connect(Protocol::Smtp, STRANGER).await;
    client.ask("EHLO localhost", "550 5.7.1 ").await;
    client.ask("MAIL FROM:<a@sender.test>", "503 5.5.1 ").await;
    client.ask("EHLO client.test", "250-").await;
    client.ask("MAIL FROM:<a@sender.test>", "250 2.1.0 ").await;
    client.ask("EHLO localhost", "550 5.7.1 ").await;
    client.ask("RCPT TO:<alice@example.test>", "503 5.5.1 ").await;
}

#[tokio::test]
async fn users_and_trusted_hosts_are_not_judged() {
    let dns = TestDns::start(ZONE);
    let world = World::filtering(&dns, |config| {
        config.smtp.trusted_networks = vec!["198.51.100.0/24".parse().unwrap()];
    })
    .await;
    let mut trusted = world.hello(Protocol::Smtp, "198.51.100.7:4000").await;
    trusted.envelope("a@sender.test", &["alice@example.test"]).await;
    let reply = trusted.data("From: a@strict.test\r\n\r\nhello").await;
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    let mut user = world.user("bob").await;
    user.envelope("bob@example.test", &["alice@example.test"]).await;
    let forged = "Authentication-Results: mail.example.test; dmarc=pass\r\n";
    let reply = user.data(format!("{forged}From: bob@example.test\r\n\r\nhello")).await;
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    assert!(world.inbox("alice").await.iter().all(|message| !message.contains("Authentication-Results")));
    assert_eq!(dns.queries(), []);
}

#[tokio::test]
async fn greylisting_is_told_to_the_client() {
    let dns = TestDns::start(ZONE);
    let world = World::filtering(&dns, |config| {
        config.filter.greylist.enabled = true;
        config.filter.greylist.known_senders_pass = false;
    })
    .await;
    let mut client = world.mx().await;
    client.ask("MAIL FROM:<a@sender.test>", "250 ").await;
    client.ask("RCPT TO:<alice@example.test>", "451 4.7.1 ").await;
    client.ask("RCPT TO:<nobody@example.test>", "550 5.1.1 ").await;
}

#[tokio::test]
async fn junk_is_kept_here_and_not_sent_on() {
    for forward_junk in [false, true] {
        let dns = TestDns::start(ZONE);
        let world = World::filtering(&dns, |config| config.filter.forward_junk = forward_junk).await;
        let both = ["dora@remote.test", "bob@example.test"].map(address);
        world.directory.create_alias(&address("both@example.test"), both.into()).await.unwrap();
        let away = [address("eve@remote.test")];
        world.directory.create_alias(&address("away@example.test"), away.into()).await.unwrap();
        let queued =
            async || world.queue.spool().by_destination("remote.test", None, 10).await.unwrap().len();

        let mut client = world.mx().await;
        client.envelope("a@sender.test", &["both@example.test"]).await;
        let reply = client.data("From: a@careful.test\r\n\r\nhello").await;
        assert!(reply.starts_with("250 2.0.0 "), "{reply}");
        assert_eq!(world.mail_in("bob", "Junk").await.len(), 1);
        assert_eq!(queued().await, usize::from(forward_junk));

        client.envelope("a@sender.test", &["alice@example.test", "away@example.test"]).await;
        let reply = client.data("From: a@careful.test\r\n\r\nhello").await;
        assert!(reply.starts_with(if forward_junk { "250 2.0.0 " } else { "550 5.7.1 " }), "{reply}");
        assert_eq!(world.mail_in("alice", "Junk").await.len(), usize::from(forward_junk));

        client.envelope("a@sender.test", &["away@example.test"]).await;
        let reply = client.data("From: a@sender.test\r\n\r\nhello").await;
        assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    }
}

#[tokio::test]
async fn what_is_forwarded_is_what_was_sealed() {
    let dns = TestDns::start(ZONE);
    let world = World::filtering(&dns, |config| {
        config.filter.authentication.trusted_sealers = vec!["example.test".to_owned()];
    })
    .await;
    let new = NewKey { algorithm: Some(Algorithm::Ed25519), now: true, ..NewKey::default() };
    let keys = world.signing.create(&Domain::parse("example.test").unwrap(), new).await.unwrap();
    let KeyRecord { name, text } = &keys[0].record;
    dns.set(&format!("{ZONE}{name} TXT \"{text}\"\n_dmarc.sender.test TXT \"v=DMARC1; p=reject\"\n"));
    let away = [address("eve@remote.test")];
    world.directory.create_alias(&address("away@example.test"), away.into()).await.unwrap();

    let mut client = world.mx().await;
    client.envelope("a@sender.test", &["away@example.test"]).await;
    let message = "Return-Path: <x@y.test>\r\nAuthentication-Results: mail.example.test; dmarc=fail\r\n\
                   DKIM-Signature: v=1; a=rsa-sha256; d=gone.test; s=s; h=from; bh=eA==; b=eA==\r\n\
                   From: a@sender.test\r\nSubject:  folded\r\n\t twice \r\n\r\nhello  \r\n\r\n";
    let reply = client.data(message).await;
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    let spool = world.queue.spool();
    let hints = spool.by_destination("remote.test", None, 10).await.unwrap();
    let loaded = spool.load(Shard::of("remote.test"), &hints).await.unwrap();
    let sent = spool.body(&loaded[0].as_ref().unwrap().message).await.unwrap().concat();

    // Another host, which is not let send for the author, takes it to somebody who trusts us.
    let mut other = world.hello(Protocol::Smtp, "198.51.100.7:4000").await;
    other.envelope("SRS0=x@elsewhere.test", &["alice@example.test"]).await;
    let reply = other.data(sent).await;
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    let [message] = world.inbox("alice").await.try_into().unwrap();
    assert!(message.contains("\tarc=pass (i=1 vouched for by example.test)"), "{message}");
    assert!(message.contains("\tdmarc=fail (p=reject dis=none) header.from=sender.test"), "{message}");
    assert!(message.starts_with("Return-Path: <SRS0=x@") && !message.contains("x@y.test"), "{message}");
}

/// What a milter is told, by the letters of its commands.
type Heard = Arc<Mutex<Vec<(u8, Vec<u8>)>>>;

/// A milter that lets everything pass, and asks for a change at the end of a message.
async fn milter(change: (u8, &'static [u8])) -> (Milter, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Heard::default();
    let log = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u32().await {
                    let mut frame = vec![0; usize::try_from(length).unwrap()];
                    stream.read_exact(&mut frame).await.unwrap();
                    let answers: Vec<(u8, &[u8])> = match frame[0] {
                        b'O' => vec![(b'O', &[0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0, 0, 0])],
                        b'D' | b'A' | b'Q' => vec![],
                        b'E' => vec![change, (b'c', b"")],
                        _ => vec![(b'c', b"")],
                    };
                    log.lock().unwrap().push((frame[0], frame[1..].to_vec()));
                    for (letter, data) in answers {
                        stream.write_u32(u32::try_from(data.len()).unwrap() + 1).await.unwrap();
                        stream.write_u8(letter).await.unwrap();
                        stream.write_all(data).await.unwrap();
                    }
                }
            });
        }
    });
    let address = Some(Endpoint::Tcp { host: "127.0.0.1".to_owned(), port });
    (Milter { address, ..Milter::default() }, heard)
}

#[tokio::test]
async fn a_message_that_milters_leave_nobody_to_go_to_has_its_reply() {
    let dns = TestDns::start(ZONE);
    let (milter, heard) = milter((b'-', b"<alice@example.test>\0")).await;
    let world = World::filtering(&dns, |config| config.filter.scanners.milters = vec![milter]).await;
    let mut client = world.mx().await;
    client.ask("MAIL FROM:<a@sender.test>", "250 ").await;
    client.ask("RCPT TO:<alice@example.test> NOTIFY=FAILURE,DELAY ORCPT=rfc822;A+2Bb@c.test", "250 ").await;
    let reply = client.data("From: a@sender.test\r\n\r\nhello").await;
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    assert_eq!(world.inbox("alice").await, Vec::<String>::new());
    let told = heard.lock().unwrap().iter().find(|(letter, _)| *letter == b'R').unwrap().1.clone();
    assert_eq!(
        String::from_utf8(told).unwrap(),
        "<alice@example.test>\0NOTIFY=FAILURE,DELAY\0ORCPT=rfc822;A+2Bb@c.test\0"
    );
}

#[tokio::test]
async fn a_message_waits_for_where_a_milters_recipient_leads() {
    let dns = TestDns::start(ZONE);
    let (milter, _) = milter((b'+', b"<ping@example.test>\0")).await;
    let world = World::filtering(&dns, |config| config.filter.scanners.milters = vec![milter]).await;
    let [ping, pong] = ["ping@example.test", "pong@example.test"].map(address);
    for (from, to) in [(&ping, &pong), (&pong, &ping)] {
        world.directory.create_alias(from, [to.clone()].into()).await.unwrap();
    }
    let mut client = world.mx().await;
    client.envelope("a@sender.test", &["alice@example.test"]).await;
    let reply = client.data("From: a@sender.test\r\n\r\nhello").await;
    assert!(reply.starts_with("451 4.3.5 "), "{reply}");
    assert_eq!(world.inbox("alice").await, Vec::<String>::new());
}
