//! What the filter finds, as clients and readers see it.

use ekitei_config::{HelloAction, Protocol};
use ekitei_dns::testing::TestDns;

use crate::support::{STRANGER, World};

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
