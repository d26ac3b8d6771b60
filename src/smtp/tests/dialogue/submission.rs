//! Mail from users.

use ekitei_config::Protocol;

use crate::support::{PASSWORD, STRANGER, World, address, base64, plain};

#[tokio::test]
async fn a_submitted_message_is_repaired_and_delivered() {
    let world = World::new().await;
    let mut client = world.user("alice").await;
    client.envelope("alice@example.test", &["bob@example.test"]).await;
    let reply =
        client.data("From: Alice <alice@example.test>\r\nBcc: carol@example.test\r\nSubject: x\r\n").await;
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    let inbox = world.inbox("bob").await;
    let message = &inbox[0];
    assert!(message.contains(" with ESMTPSA\r\n\ttls TLS_AES_256_GCM_SHA384 id "), "{message}");
    assert!(message.contains("\r\nDate: Fri, 2 Jan 2026 03:04:05 +0000\r\nMessage-ID: <"), "{message}");
    assert!(message.contains("@mail.example.test>\r\nFrom: Alice"), "{message}");
    assert!(!message.contains("Bcc"), "{message}");
}

#[tokio::test]
async fn nothing_is_sent_without_a_login() {
    let world = World::new().await;
    let mut client = world.hello(Protocol::Submission, STRANGER).await;
    client.ask("MAIL FROM:<alice@example.test>", "530 5.7.0 ").await;
    client.ask("RCPT TO:<bob@example.test>", "503 5.5.1 ").await;
}

#[tokio::test]
async fn passwords_are_not_taken_in_the_clear() {
    let world = World::new().await;
    let mut client = world.connect(Protocol::Submission, STRANGER).await;
    let reply = client.ask("EHLO client.test", "250-").await;
    assert!(!reply.contains("AUTH"), "{reply}");
    client.ask(&format!("AUTH PLAIN {}", plain("alice", PASSWORD)), "538 5.7.11 ").await;
}

#[tokio::test]
async fn every_form_of_auth() {
    let world = World::new().await;
    let user = base64("alice@example.test");
    let password = base64(PASSWORD);
    for steps in [
        vec![(format!("AUTH PLAIN {}", plain("alice", PASSWORD)), "235 2.7.0 ")],
        vec![("auth plain".into(), "334 "), (plain("alice", PASSWORD), "235 2.7.0 ")],
        vec![
            ("AUTH LOGIN".into(), "334 VXNlcm5hbWU6"),
            (user.clone(), "334 UGFzc3dvcmQ6"),
            (password.clone(), "235 2.7.0 "),
        ],
        vec![(format!("AUTH LOGIN {user}"), "334 UGFzc3dvcmQ6"), (password.clone(), "235 2.7.0 ")],
        vec![("AUTH LOGIN".into(), "334 "), ("*".into(), "501 5.7.0 ")],
        vec![("AUTH PLAIN".into(), "334 "), ("*".into(), "501 5.7.0 ")],
        vec![("AUTH PLAIN !!!".into(), "501 5.5.2 ")],
        vec![("AUTH PLAIN =".into(), "501 5.5.2 ")],
        vec![("AUTH PLAIN".into(), "334 "), ("x".repeat(13_000), "500 5.5.6 ")],
        vec![("AUTH CRAM-MD5".into(), "504 5.5.4 ")],
        vec![(format!("AUTH PLAIN {}", plain("alice", "wrong")), "535 5.7.8 ")],
        vec![(format!("AUTH PLAIN {}", plain("nobody", PASSWORD)), "535 5.7.8 ")],
        vec![(format!("AUTH PLAIN {}", plain("dora", PASSWORD)), "535 5.7.13 ")],
        vec![(
            format!("AUTH PLAIN {}", base64(&format!("bob\0alice@example.test\0{PASSWORD}"))),
            "501 5.5.2 ",
        )],
    ] {
        let mut client = world.open(Protocol::Submissions, STRANGER, true);
        client.expect("220 ").await;
        assert!(client.say("EHLO client.test").await.contains("AUTH PLAIN LOGIN"));
        for (line, beginning) in steps {
            client.ask(&line, beginning).await;
        }
    }
}

#[tokio::test]
async fn auth_has_its_place_in_the_order_of_commands() {
    let world = World::new().await;
    let mut client = world.open(Protocol::Submissions, STRANGER, true);
    client.expect("220 ").await;
    client.ask("AUTH PLAIN", "503 5.5.1 ").await;
    let mut client = world.user("alice").await;
    client.ask("AUTH PLAIN", "503 5.5.1 ").await;
}

#[tokio::test]
async fn failed_logins_end_the_connection() {
    let world = World::new().await;
    let mut client = world.open(Protocol::Submissions, STRANGER, true);
    client.expect("220 ").await;
    client.say("EHLO client.test").await;
    let wrong = format!("AUTH PLAIN {}", plain("alice", "wrong"));
    for _ in 0..3 {
        client.ask(&wrong, "535 5.7.8 ").await;
    }
    client.expect("421 4.7.0 ").await;
    client.expect_closed().await;
    assert!(world.registry.render().contains("ekitei_smtp_logins_total{outcome=\"refused\"} 3"));
}

#[tokio::test]
async fn users_send_only_in_their_own_name() {
    let world = World::new().await;
    let targets = [address("alice@example.test")].into_iter().collect();
    world.directory.create_alias(&address("sales@example.test"), targets).await.unwrap();
    let mut client = world.user("alice").await;
    client.ask("MAIL FROM:<bob@example.test>", "553 5.7.1 ").await;
    client.ask("MAIL FROM:<alice@remote.test>", "553 5.7.1 ").await;
    for (sender, from, beginning) in [
        ("sales@example.test", "From: alice+x@example.test", "250 2.0.0 "),
        ("", "From: alice@example.test", "250 2.0.0 "),
        ("alice@example.test", "From: bob@example.test", "550 5.7.1 "),
        ("alice@example.test", "From: Bob <bob@example.test>, alice@example.test", "550 5.7.1 "),
        ("alice@example.test", "From: alice@example.test\r\nSender: bob@example.test", "550 5.7.1 "),
        ("alice@example.test", "From: alice@example.test\r\nFrom: bob@example.test", "550 5.6.0 "),
        (
            "alice@example.test",
            "From: alice@example.test\r\nSender: alice@example.test\r\nSender: bob@example.test",
            "550 5.6.0 ",
        ),
        ("alice@example.test", "Subject: no author", "550 5.6.0 "),
    ] {
        client.envelope(sender, &["bob@example.test"]).await;
        let reply = client.data(format!("{from}\r\n")).await;
        assert!(reply.starts_with(beginning), "{from:?}: {reply}");
    }
    assert_eq!(world.inbox("bob").await.len(), 2);
}

#[tokio::test]
async fn accounts_have_rates() {
    let world = World::with(|config| {
        config.smtp.submission.messages_per_account_per_minute = 2;
        config.smtp.submission.recipients_per_account_per_day = 3;
    })
    .await;
    let mut client = world.user("alice").await;
    client.envelope("alice@example.test", &["bob@example.test", "alice@example.test"]).await;
    client.ask("RSET", "250 ").await;
    client.envelope("alice@example.test", &["bob@example.test"]).await;
    client.ask("RCPT TO:<alice@example.test>", "450 4.7.1 ").await;
    client.ask("RSET", "250 ").await;
    client.ask("MAIL FROM:<alice@example.test>", "450 4.7.1 ").await;
    let mut bob = world.user("bob").await;
    bob.envelope("bob@example.test", &["alice@example.test"]).await;
}
