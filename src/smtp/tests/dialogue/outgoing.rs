//! Mail for other hosts: who may send it, and what is in the queue after the reply.

use ekitei_config::Protocol;
use ekitei_directory::{Domain, DomainChange, EmailAddress};
use ekitei_queue::{Loaded, Origin, Shard};
use ekitei_signing::NewKey;

use crate::support::{STRANGER, World, address};

const MESSAGE: &str = "From: alice@example.test\r\nSubject: Hello\r\n\r\nText\r\n";

/// What waits for a destination.
async fn queued(world: &World, destination: &str) -> Vec<Loaded> {
    let spool = world.queue.spool();
    let hints = spool.by_destination(destination, None, 100).await.unwrap();
    let loaded = spool.load(Shard::of(destination), &hints).await.unwrap();
    loaded.into_iter().flatten().collect()
}

fn recipients(entry: &Loaded) -> Vec<&str> {
    entry.entry.recipients.iter().map(|row| row.recipient.address.as_str()).collect()
}

async fn octets(world: &World, entry: &Loaded) -> String {
    let pieces = world.queue.spool().body(&entry.message).await.unwrap();
    pieces.iter().map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
}

#[tokio::test]
async fn a_users_mail_for_other_hosts_is_in_the_queue_when_the_reply_is_said() {
    let world = World::new().await;
    let mut client = world.user("alice").await;
    client.ask("MAIL FROM:<alice@example.test> RET=HDRS ENVID=e1 BY=60;R MT-PRIORITY=3", "250 ").await;
    client.ask("RCPT TO:<a@remote.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;A@remote.test", "250 ").await;
    client.ask("RCPT TO:<b@remote.test>", "250 ").await;
    client.ask("RCPT TO:<c@Other.test>", "250 ").await;
    client.ask("RCPT TO:<bob@example.test>", "250 ").await;
    assert!(client.data(MESSAGE).await.starts_with("250 "));
    assert_eq!(world.inbox("bob").await.len(), 1, "who is here has it already");

    let entries = queued(&world, "remote.test").await;
    let [entry] = entries.as_slice() else { panic!("one entry for a destination: {entries:?}") };
    assert_eq!(recipients(entry), ["a@remote.test", "b@remote.test"]);
    let first = &entry.entry.recipients[0].recipient;
    assert!(first.notify.is_some_and(|notify| notify.success && !notify.delay));
    assert_eq!(first.original.as_ref().unwrap().address, "A@remote.test");
    let envelope = &entry.message.envelope;
    assert_eq!(envelope.reverse_path.as_deref(), Some("alice@example.test"));
    assert_eq!((envelope.envelope_id.as_deref(), envelope.priority), (Some("e1"), 3));
    assert!(envelope.deliver_by.is_some_and(|by| by.or_return));
    assert_eq!(entry.message.account, Some(world.account("alice").await));
    assert_eq!(entry.message.origin, Origin::Submission);
    assert!(octets(&world, entry).await.contains("\r\n\r\nText\r\n"));
    assert_eq!(recipients(&queued(&world, "other.test").await[0]), ["c@other.test"]);
}

#[tokio::test]
async fn what_a_user_sends_is_signed_with_every_key_of_the_domain() {
    let world = World::new().await;
    let now = NewKey { now: true, ..NewKey::default() };
    world.signing.create(&Domain::parse("example.test").unwrap(), now).await.unwrap();
    let mut client = world.user("alice").await;
    client.envelope("alice@example.test", &["a@remote.test"]).await;
    assert!(client.data(MESSAGE).await.starts_with("250 "));
    let text = octets(&world, &queued(&world, "remote.test").await[0]).await;
    assert!(text.contains("a=rsa-sha256;") && text.contains("a=ed25519-sha256;"), "{text}");
    assert!(text.find("DKIM-Signature:").unwrap() < text.find("Received:").unwrap(), "in front: {text}");
}

#[tokio::test]
async fn nobody_gets_a_message_that_one_recipient_here_cannot_hold() {
    let world = World::new().await;
    let mut client = world.user("alice").await;
    client.envelope("alice@example.test", &["carol@example.test", "a@remote.test"]).await;
    let large = format!("From: alice@example.test\r\n\r\n{}", "x".repeat(70).repeat(40));
    let reply = client.data(&large).await;
    assert!(reply.starts_with("552 5.2.2 ") || reply.starts_with("452 4.2.2 "), "{reply}");
    assert!(queued(&world, "remote.test").await.is_empty());
}

#[tokio::test]
async fn only_a_trusted_network_relays_without_a_login() {
    let trust = |config: &mut ekitei_config::Config| {
        config.smtp.trusted_networks = vec!["203.0.113.0/24".parse().unwrap()];
    };
    let world = World::with(trust).await;
    let now = NewKey { now: true, ..NewKey::default() };
    world.signing.create(&Domain::parse("example.test").unwrap(), now).await.unwrap();
    let mut trusted = world.hello(Protocol::Smtp, STRANGER).await;
    trusted.envelope("app@example.test", &["a@remote.test"]).await;
    assert!(trusted.data(MESSAGE).await.starts_with("250 "));
    let entries = queued(&world, "remote.test").await;
    assert_eq!((entries[0].message.origin, entries[0].message.account), (Origin::Relay, None));
    assert!(octets(&world, &entries[0]).await.contains("DKIM-Signature:"));
    // It may be another MX of ours, which took it from anybody.
    trusted.envelope("app@example.test", &["alice@example.test"]).await;
    assert!(trusted.data(MESSAGE).await.starts_with("250 "));
    assert!(!world.inbox("alice").await[0].contains("DKIM-Signature:"));

    let mut stranger = world.hello(Protocol::Smtp, "198.51.100.1:1").await;
    stranger.ask("MAIL FROM:<a@b.test>", "250 ").await;
    stranger.ask("RCPT TO:<a@remote.test>", "550 5.7.1 ").await;
    let mut lmtp = World::with(trust).await.hello(Protocol::Lmtp, STRANGER).await;
    lmtp.ask("MAIL FROM:<a@b.test>", "250 ").await;
    lmtp.ask("RCPT TO:<a@remote.test>", "550 5.7.1 ").await;
}

#[tokio::test]
async fn an_alias_forwards_in_a_name_of_ours_and_takes_notifications_back() {
    let world = World::new().await;
    let targets = ["dora@remote.test", "bob@example.test"].map(address).into();
    world.directory.create_alias(&address("away@example.test"), targets).await.unwrap();
    let mut client = world.mx().await;
    client.envelope("eve@third.test", &["away@example.test"]).await;
    assert!(client.data(MESSAGE).await.starts_with("250 "));
    assert_eq!(world.inbox("bob").await.len(), 1);
    let entries = queued(&world, "remote.test").await;
    assert_eq!(
        (recipients(&entries[0]), entries[0].message.origin),
        (vec!["dora@remote.test"], Origin::Forward)
    );
    let sender = EmailAddress::parse(entries[0].message.envelope.reverse_path.as_deref().unwrap()).unwrap();
    assert_eq!(sender.domain().as_ascii(), "example.test", "the next host asks SPF about us");

    client.envelope("", &[&sender.to_wire()]).await;
    assert!(client.data("Subject: Undelivered\r\n\r\n").await.starts_with("250 "));
    assert_eq!(recipients(&queued(&world, "third.test").await[0]), ["eve@third.test"]);
    let ours = Domain::parse("example.test").unwrap();
    let change =
        DomainChange { catch_all: Some(Some(address("bob@example.test"))), ..DomainChange::default() };
    world.directory.update_domain(&ours, change, None).await.unwrap();
    client.envelope("", &[&sender.to_wire()]).await;
    assert!(client.data("Subject: Undelivered again\r\n\r\n").await.starts_with("250 "));
    assert_eq!(queued(&world, "third.test").await.len(), 2, "it is not for who has what nobody has");
    let change = DomainChange { catch_all: Some(None), ..DomainChange::default() };
    world.directory.update_domain(&ours, change, None).await.unwrap();
    // Nobody else may use that way.
    client.ask("MAIL FROM:<x@spam.test>", "250 ").await;
    client.ask(&format!("RCPT TO:<{}>", sender.to_wire()), "550 5.1.1 ").await;
}

#[tokio::test]
async fn an_account_forwards_and_keeps_a_copy_or_not() {
    let world = World::new().await;
    world.forward("alice", &["dora@remote.test", "bob@example.test"], true).await;
    let mut client = world.mx().await;
    client.envelope("eve@third.test", &["alice@example.test"]).await;
    assert!(client.data(MESSAGE).await.starts_with("250 "));
    assert_eq!((world.inbox("alice").await.len(), world.inbox("bob").await.len()), (1, 1));
    let entries = queued(&world, "remote.test").await;
    assert_eq!(
        (recipients(&entries[0]), entries[0].message.origin),
        (vec!["dora@remote.test"], Origin::Forward)
    );
    assert!(entries[0].message.envelope.reverse_path.as_deref().unwrap().starts_with("SRS0="));

    // Without a copy, nothing of the account itself is asked: not even whether it has room.
    world.forward("carol", &["dora@remote.test"], false).await;
    client.envelope("eve@third.test", &["carol+lists@example.test"]).await;
    let large = format!("From: eve@third.test\r\n\r\n{}", "x".repeat(70).repeat(40));
    assert!(client.data(&large).await.starts_with("250 "));
    assert!(world.inbox("carol").await.is_empty());
    assert_eq!(queued(&world, "remote.test").await.len(), 2);
    // Who gets the mail may not write in that name.
    let mut bob = world.user("bob").await;
    let reply = bob.say("MAIL FROM:<alice@example.test>").await;
    assert!(reply.starts_with("553 ") || reply.starts_with("550 "), "{reply}");
}

#[tokio::test]
async fn the_copy_and_what_is_sent_on_are_stored_together_or_not_at_all() {
    let world = World::new().await;
    world.forward("alice", &["dora@remote.test"], true).await;
    let mut client = world.mx().await;
    client.envelope("eve@third.test", &["alice@example.test"]).await;
    assert!(client.data(MESSAGE).await.starts_with("250 "));
    client.envelope("eve@third.test", &["alice@example.test"]).await;
    world.faults.fail_sync(std::io::ErrorKind::StorageFull);
    client.ask("DATA", "354 ").await;
    client.send("Subject: x\r\n\r\n.\r\n").await;
    client.expect_closed().await;
    assert_eq!((world.inbox("alice").await.len(), queued(&world, "remote.test").await.len()), (1, 1));
}

#[tokio::test]
async fn what_was_forwarded_and_is_sent_back_is_known() {
    let world = World::new().await;
    let to = ["dora@remote.test", "eric@remote.test"].map(address).into();
    world.directory.create_alias(&address("away@example.test"), to).await.unwrap();
    world.forward("alice", &["dora@remote.test"], false).await;
    let mut client = world.mx().await;
    for (round, name) in ["away@example.test", "Alice@example.test"].into_iter().enumerate() {
        client.envelope("eve@third.test", &[name]).await;
        assert!(client.data(MESSAGE).await.starts_with("250 "));
        let entries = queued(&world, "remote.test").await;
        let returned = octets(&world, &entries[round]).await;
        assert!(returned.contains(&format!("Delivered-To: {name}\r\n")), "{returned}");
        client.envelope("eve@third.test", &[name]).await;
        let reply = client.data(&returned).await;
        assert!(reply.starts_with("554 5.4.6 "), "{reply}");
    }
}

#[tokio::test]
async fn urgency_of_strangers_does_not_count() {
    let world = World::new().await;
    world
        .directory
        .create_alias(&address("away@example.test"), [address("d@remote.test")].into())
        .await
        .unwrap();
    let mut client = world.mx().await;
    client.ask("MAIL FROM:<a@b.test> MT-PRIORITY=9", "250 ").await;
    client.ask("RCPT TO:<away@example.test>", "250 ").await;
    assert!(client.data(MESSAGE).await.starts_with("250 "));
    assert_eq!(queued(&world, "remote.test").await[0].message.envelope.priority, 0);
}

#[tokio::test]
async fn users_write_to_so_many_elsewhere_in_an_hour() {
    let world = World::with(|config| config.queue.quotas.recipients_per_account_per_hour = 2).await;
    let mut client = world.user("alice").await;
    client.envelope("alice@example.test", &["a@remote.test", "b@remote.test", "bob@example.test"]).await;
    let reply = client.ask("RCPT TO:<c@remote.test>", "450 4.7.1 ").await;
    assert!(reply.contains("2 recipients of other domains in an hour"), "{reply}");
}

#[tokio::test]
async fn mail_that_only_goes_elsewhere_is_refused_when_it_cannot_be_stored() {
    let world = World::new().await;
    let to = [address("d@remote.test")].into();
    world.directory.create_alias(&address("away@example.test"), to).await.unwrap();
    let mut client = world.mx().await;
    client.envelope("a@b.test", &["alice@example.test"]).await;
    world.faults.fail_sync(std::io::ErrorKind::StorageFull);
    client.ask("DATA", "354 ").await;
    client.send("Subject: x\r\n\r\n.\r\n").await;
    client.expect_closed().await;
    // From here on nothing can be stored.
    let mut client = world.mx().await;
    client.envelope("a@b.test", &["away@example.test"]).await;
    let reply = client.data(MESSAGE).await;
    assert!(reply.starts_with("451 4.3.0 "), "{reply}");
}

#[tokio::test]
async fn a_sender_who_wants_to_hear_of_success_is_told_of_mailboxes_and_lists_here() {
    let world = World::new().await;
    let to = ["d@remote.test", "bob@example.test"].map(address).into();
    world.directory.create_alias(&address("both@example.test"), to).await.unwrap();
    let mut client = world.mx().await;
    for sender in ["", "eve@third.test"] {
        client.ask(&format!("MAIL FROM:<{sender}>"), "250 ").await;
        client.ask("RCPT TO:<alice@example.test> NOTIFY=SUCCESS", "250 ").await;
        client.ask("RCPT TO:<both@example.test> NOTIFY=SUCCESS,FAILURE", "250 ").await;
        client.ask("RCPT TO:<bob@example.test>", "250 ").await;
        assert!(client.data(MESSAGE).await.starts_with("250 "));
        let here = queued(&world, "example.test").await;
        if sender.is_empty() {
            assert!(here.is_empty(), "nobody is there to be told");
            continue;
        }
        let of = |origin| here.iter().filter(move |entry| entry.message.origin == origin).map(recipients);
        assert_eq!(of(Origin::Delivered).collect::<Vec<_>>(), [["alice@example.test"]]);
        assert_eq!(of(Origin::Expanded).collect::<Vec<_>>(), [["both@example.test"]]);
    }
    let forwarded = &queued(&world, "remote.test").await[1].entry.recipients[0].recipient;
    assert!(forwarded.notify.is_some_and(|notify| notify.failure && !notify.success));
}

#[tokio::test]
async fn a_sender_that_cannot_be_rewritten_is_forwarded_as_it_is() {
    let world = World::new().await;
    world
        .directory
        .create_alias(&address("away@example.test"), [address("d@remote.test")].into())
        .await
        .unwrap();
    let mut client = world.mx().await;
    client.envelope("list@a_b.test", &["away@example.test"]).await;
    assert!(client.data(MESSAGE).await.starts_with("250 "));
    let entry = &queued(&world, "remote.test").await[0];
    assert_eq!(entry.message.envelope.reverse_path.as_deref(), Some("list@a_b.test"));
}
