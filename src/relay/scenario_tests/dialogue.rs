//! What is said for one message, and what the answers mean for each recipient.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::support::*;
use crate::{FailureKind, RecipientOutcome, Status};

#[tokio::test(start_paused = true)]
async fn without_pipelining_every_command_waits_for_its_answer() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello("").await;
        for command in ["MAIL FROM:<s@from.example>", "RCPT TO:<r@to.example>"] {
            peer.expect(command).await;
            peer.nothing().await;
            peer.say("250 ok").await;
        }
        peer.expect("DATA").await;
        peer.nothing().await;
        peer.say("354 go on").await;
        assert_eq!(peer.message().await, "Subject: x\r\n\r\n..dot\r\n.\r\n");
        peer.say("250-2.0.0 taken\n250 2.0.0 as 1").await;
        peer.quit().await;
    });
    let outcomes = world.send(shipment(&["r@to.example"])).await;
    let sent = RecipientOutcome::Sent {
        remote: format!("a.example [{A}]"),
        reply: "250 2.0.0 taken 2.0.0 as 1".into(),
        notifies: false,
    };
    assert_eq!(outcomes, [sent]);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn with_pipelining_everything_up_to_data_comes_at_once() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello("PIPELINING").await;
        for line in ["MAIL FROM:<s@from.example>", "RCPT TO:<1@to.example>", "RCPT TO:<2@to.example>", "DATA"]
        {
            peer.expect(line).await;
        }
        peer.say("250 ok\n550 5.1.1 no such user\n250 ok\n354 go on").await;
        peer.message().await;
        peer.say("250 ok").await;
        peer.quit().await;
    });
    let outcomes = world.send(shipment(&["1@to.example", "2@to.example"])).await;
    let refused = failed(&outcomes[0]);
    assert_eq!(
        (refused.kind, refused.status, refused.code),
        (FailureKind::Recipient, Status(5, 1, 1), Some(550))
    );
    assert_eq!(
        (refused.text.as_str(), refused.remote.as_deref()),
        ("no such user", Some("a.example [192.0.2.1]"))
    );
    assert_sent(&outcomes[1..]);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn each_recipient_has_its_own_outcome() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello("").await;
        peer.exchange(&[
            ("MAIL FROM:<s@from.example>", "250 ok"),
            ("RCPT TO:<1@to.example>", "450 4.7.1 greylisted"),
            ("RCPT TO:<2@to.example>", "251 forwarded"),
            ("RCPT TO:<3@to.example>", "553 what"),
            ("RCPT TO:<4@to.example>", "550 4.1.1 contradictory"),
        ])
        .await;
        peer.data().await;
        peer.say("451 4.3.0 not now").await;
        peer.quit().await;
    });
    let outcomes =
        world.send(shipment(&["1@to.example", "2@to.example", "3@to.example", "4@to.example"])).await;
    assert_eq!(
        (deferred(&outcomes[0]).status, deferred(&outcomes[0]).kind),
        (Status(4, 7, 1), FailureKind::Recipient)
    );
    assert_eq!(
        (deferred(&outcomes[1]).status, deferred(&outcomes[1]).kind),
        (Status(4, 3, 0), FailureKind::Message)
    );
    assert_eq!(failed(&outcomes[2]).status, Status(5, 1, 3), "the reply code's own meaning");
    assert_eq!(failed(&outcomes[3]).status, Status(5, 1, 0), "the enhanced code contradicts the reply code");
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn recipients_that_are_too_many_go_into_another_transaction() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello("PIPELINING").await;
        for line in [
            "MAIL FROM:<s@from.example>",
            "RCPT TO:<1@to.example>",
            "RCPT TO:<2@to.example>",
            "RCPT TO:<3@to.example>",
            "DATA",
        ] {
            peer.expect(line).await;
        }
        peer.say("250 ok\n250 ok\n452 4.5.3 too many\n552 too many\n354 go on").await;
        peer.message().await;
        peer.say("250 first").await;
        for line in ["MAIL FROM:<s@from.example>", "RCPT TO:<2@to.example>", "RCPT TO:<3@to.example>", "DATA"]
        {
            peer.expect(line).await;
        }
        peer.say("250 ok\n452 4.5.3 too many still\n452 4.2.2 mailbox full\n503 no recipients").await;
        peer.quit().await;
    });
    let outcomes = world.send(shipment(&["1@to.example", "2@to.example", "3@to.example"])).await;
    assert_sent(&outcomes[..1]);
    assert_eq!(deferred(&outcomes[1]).status, Status(4, 5, 3), "nobody was before it");
    assert_eq!(deferred(&outcomes[2]).status, Status(4, 2, 2));
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn announced_limits_are_kept() {
    let world = World::new();
    for recipients in [["1@to.example", "2@to.example"].as_slice(), &["3@to.example"]] {
        world.serve(A, move |mut peer| async move {
            peer.hello("x;LIMITS RCPTMAX=2 MAILMAX=1").await;
            peer.take(recipients).await;
            peer.quit().await;
        });
    }
    assert_sent(&world.send(shipment(&["1@to.example", "2@to.example", "3@to.example"])).await);
    world.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_mail_is_for_all_recipients() {
    for (answer, kind, status) in [
        ("550 5.7.1 not from you", FailureKind::Sender, Status(5, 7, 1)),
        ("552 5.3.4 too big", FailureKind::Message, Status(5, 3, 4)),
        ("450 4.7.1 slower", FailureKind::Sender, Status(4, 7, 1)),
    ] {
        for extension in ["", "PIPELINING"] {
            let world = World::new();
            world.serve(A, move |mut peer| async move {
                peer.hello(extension).await;
                peer.exchange(&[("MAIL FROM:<s@from.example>", answer)]).await;
                if !extension.is_empty() {
                    peer.exchange(&[
                        ("RCPT TO:<1@to.example>", "503 no"),
                        ("RCPT TO:<2@to.example>", "503 no"),
                        ("DATA", "503 no"),
                    ])
                    .await;
                }
                peer.quit().await;
            });
            let outcomes = world.send(shipment(&["1@to.example", "2@to.example"])).await;
            for outcome in &outcomes {
                assert_eq!(
                    (failure(outcome).kind, failure(outcome).status),
                    (kind, status),
                    "{answer} {extension}"
                );
            }
            world.close().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_data_is_for_those_that_were_accepted() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello("").await;
        peer.envelope(&["1@to.example"]).await;
        peer.exchange(&[("RCPT TO:<2@to.example>", "550 no"), ("DATA", "554 5.7.1 no thanks")]).await;
        peer.quit().await;
    });
    let outcomes = world.send(shipment(&["1@to.example", "2@to.example"])).await;
    assert_eq!(
        (failed(&outcomes[0]).kind, failed(&outcomes[0]).status),
        (FailureKind::Message, Status(5, 7, 1))
    );
    assert_eq!(failed(&outcomes[1]).kind, FailureKind::Recipient);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn after_421_another_host_takes_those_that_are_not_settled() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello("").await;
        peer.envelope(&["1@to.example"]).await;
        peer.exchange(&[
            ("RCPT TO:<2@to.example>", "550 no"),
            ("RCPT TO:<3@to.example>", "421 4.3.2 stopping"),
        ])
        .await;
    });
    world.serve(B, |mut peer| async move {
        peer.hello("").await;
        peer.take(&["1@to.example", "3@to.example"]).await;
        peer.quit().await;
    });
    let outcomes = world.send(shipment(&["1@to.example", "2@to.example", "3@to.example"])).await;
    assert_eq!(
        [status(&outcomes[0]), status(&outcomes[1]), status(&outcomes[2])],
        [None, Some(Status(5, 1, 0)), None]
    );
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_temporary_failure_of_the_system_makes_the_next_host_try() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello("").await;
        peer.exchange(&[("MAIL FROM:<s@from.example>", "452 4.3.1 disk full")]).await;
    });
    world.serve(B, |mut peer| async move {
        peer.hello("").await;
        peer.exchange(&[("MAIL FROM:<s@from.example>", "421 busy")]).await;
    });
    let outcomes = world.send(shipment(&["1@to.example"])).await;
    assert_eq!(
        (deferred(&outcomes[0]).kind, deferred(&outcomes[0]).status),
        (FailureKind::Host, Status(4, 3, 2))
    );
    assert_eq!(deferred(&outcomes[0]).remote.as_deref(), Some("b.example [192.0.2.2]"), "the last one");
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_may_have_taken_over_is_not_finished() {
    // Large enough that its end is not in the first write.
    let large: &'static str =
        Box::leak(format!("Subject: x\r\n\r\n{}", "abcdefgh\r\n".repeat(20_000)).into_boxed_str());
    for (extensions, message) in
        [("", MESSAGE), ("", large), ("PIPELINING CHUNKING", MESSAGE), ("PIPELINING CHUNKING", large)]
    {
        let world = World::new();
        world.serve(A, move |mut peer| async move {
            peer.hello(extensions).await;
            peer.envelope(&["1@to.example"]).await;
            peer.exchange(&[("RCPT TO:<2@to.example>", "550 no")]).await;
            if extensions.is_empty() {
                assert!(!peer.data().await.ends_with("\r\n.\r\n"));
            } else {
                let received = peer.message().await;
                assert!(received.len() < message.len(), "not all of the chunk");
            }
        });
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let mut shipment = shipment(&["1@to.example", "2@to.example"]);
        shipment.message = vec![Bytes::from_static(message.as_bytes())];
        shipment.may_finish = Arc::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            false
        });
        let outcomes = world.send(shipment).await;
        assert!(outcomes.iter().all(|outcome| deferred(outcome).kind == FailureKind::Fenced), "{outcomes:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        world.settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_end_is_not_answered_is_sent_again_later_and_not_at_once() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello("").await;
        peer.envelope(&["1@to.example"]).await;
        peer.data().await;
    });
    let outcomes = world.send(shipment(&["1@to.example"])).await;
    assert_eq!(
        (deferred(&outcomes[0]).kind, deferred(&outcomes[0]).status),
        (FailureKind::Connection, Status(4, 4, 2))
    );
    world.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_large_message_arrives_whole() {
    let text = format!("Subject: x\r\n\r\n{}", ".abcdefgh\r\n".repeat(50_000));
    for extensions in ["", "PIPELINING CHUNKING"] {
        let world = World::new();
        let (size, expected) = (text.len(), text.clone());
        world.serve(A, move |mut peer| async move {
            peer.hello(extensions).await;
            peer.envelope(&["1@to.example"]).await;
            if extensions.is_empty() {
                assert_eq!(peer.data().await, format!("{}.\r\n", expected.replace("\n.", "\n..")));
            } else {
                peer.expect(&format!("BDAT {size} LAST")).await;
                assert_eq!(peer.chunk(size).await, expected);
            }
            peer.say("250 ok").await;
            peer.quit().await;
        });
        let mut shipment = shipment(&["1@to.example"]);
        shipment.message = text.as_bytes().chunks(1000).map(Bytes::copy_from_slice).collect();
        assert_sent(&world.send(shipment).await);
        world.close().await;
    }
}
