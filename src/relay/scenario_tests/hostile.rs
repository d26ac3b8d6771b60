//! Servers that break the protocol, on purpose or not: each costs a bounded time and bounded memory, and the next host is tried.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};

use super::support::*;
use crate::{FailureKind, RecipientOutcome, Status};

/// Sends to a host that behaves so, and to nobody else. Returns kind and status of the deferral.
async fn outcome_of<F>(behaviour: impl FnOnce(Peer) -> F + Send + 'static) -> (FailureKind, Status)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut world = World::new();
    world.hosts.truncate(1);
    world.serve(A, behaviour);
    let outcomes = world.send(shipment(&["1@to.example"])).await;
    let failure = deferred(&outcomes[0]);
    let found = (failure.kind, failure.status);
    world.settle().await;
    found
}

const PROTOCOL: (FailureKind, Status) = (FailureKind::Protocol, Status(4, 5, 0));
const BROKEN: (FailureKind, Status) = (FailureKind::Connection, Status(4, 4, 2));

/// Writes until the other side has closed the connection.
async fn flood(mut peer: Peer, octets: &[u8]) {
    while peer.stream.get_mut().write_all(octets).await.is_ok() {}
}

#[tokio::test(start_paused = true)]
async fn an_endless_banner_is_cut_off() {
    assert_eq!(outcome_of(|peer| flood(peer, b"220-welcome\r\n")).await, PROTOCOL);
    assert_eq!(outcome_of(|peer| flood(peer, b"x")).await, PROTOCOL, "on one line");
    assert_eq!(outcome_of(|peer| flood(peer, b"\0")).await, PROTOCOL);
}

#[tokio::test(start_paused = true)]
async fn an_endless_reply_is_cut_off() {
    let endless = |mut peer: Peer| async move {
        peer.hello("").await;
        peer.expect("MAIL FROM:<s@from.example>").await;
        flood(peer, b"250-more\r\n").await;
    };
    assert_eq!(outcome_of(endless).await, PROTOCOL);
}

#[tokio::test(start_paused = true)]
async fn endless_replies_while_a_message_is_sent_are_not_collected() {
    let chatty = |mut peer: Peer| async move {
        peer.hello("").await;
        peer.envelope(&["1@to.example"]).await;
        peer.expect("DATA").await;
        peer.say("354 go on").await;
        flood(peer, b"250 taken\r\n").await;
    };
    let mut world = World::new();
    world.hosts.truncate(1);
    world.serve(A, chatty);
    let mut shipment = shipment(&["1@to.example"]);
    shipment.message = vec![Bytes::from(vec![b'a'; 1_000_000])];
    let begun = Instant::now();
    assert_eq!(deferred(&world.send(shipment).await[0]).status, BROKEN.1, "it does not read");
    assert!(begun.elapsed() < Duration::from_secs(600));
    world.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_reply_drop_by_drop_is_bounded_in_time() {
    let begun = Instant::now();
    let slow = |mut peer: Peer| async move {
        while peer.stream.get_mut().write_all(b"2").await.is_ok() {
            sleep(Duration::from_secs(60)).await;
        }
    };
    assert_eq!(outcome_of(slow).await, BROKEN);
    assert!(begun.elapsed() < Duration::from_secs(400), "five minutes, and a turn of the server");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up_in_each_phase() {
    let commands = ["EHLO us.example", "MAIL FROM:<s@from.example>", "RCPT TO:<1@to.example>", "DATA"];
    for silent_after in 0..=commands.len() {
        let begun = Instant::now();
        let silent = move |mut peer: Peer| async move {
            let answers = ["220 hi", "250 mx", "250 ok", "250 ok", "354 go on"];
            for (answer, command) in answers.iter().zip(commands).take(silent_after) {
                peer.say(answer).await;
                peer.expect(command).await;
            }
            // Until the client is gone.
            let _ = peer.stream.read_to_end(&mut Vec::new()).await;
        };
        assert_eq!(outcome_of(silent).await, BROKEN, "after {silent_after} commands");
        assert!(begun.elapsed() <= Duration::from_secs(600), "after {silent_after} commands");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_slow_with_everything_is_given_up() {
    let recipients: Vec<String> = (0..100).map(|n| format!("{n}@to.example")).collect();
    let mut world = World::new();
    world.hosts.truncate(1);
    world.serve(A, |mut peer| async move {
        peer.hello("PIPELINING").await;
        while !peer.line().await.is_empty() {
            sleep(Duration::from_secs(240)).await;
            peer.say("250 ok").await;
        }
    });
    let begun = Instant::now();
    let outcomes = world.send(shipment(&recipients.iter().map(String::as_str).collect::<Vec<_>>())).await;
    assert!(outcomes.iter().all(|outcome| deferred(outcome).status == BROKEN.1));
    assert_eq!(begun.elapsed().as_secs(), 15 * 60);
}

#[tokio::test(start_paused = true)]
async fn who_closes_the_connection_before_the_end_has_not_taken_the_message() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello("").await;
        peer.envelope(&["1@to.example"]).await;
        peer.exchange(&[("DATA", "354 go on")]).await;
        peer.line().await;
    });
    world.serve(B, |mut peer| async move {
        peer.hello("").await;
        peer.envelope(&["1@to.example"]).await;
        peer.data().await;
        peer.say("250 ok").await;
        peer.quit().await;
    });
    let mut shipment = shipment(&["1@to.example"]);
    shipment.message = vec![Bytes::from(b"a\r\n".repeat(100_000))];
    assert_sent(&world.send(shipment).await);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_the_middle_of_the_message_is_heard() {
    for (said, expected) in [
        ("552 5.3.4 too big", Some((FailureKind::Message, Status(5, 3, 4)))),
        ("421 4.3.2 stopping", Some((FailureKind::Host, Status(4, 3, 2)))),
    ] {
        let mut world = World::new();
        world.hosts.truncate(1);
        world.serve(A, move |mut peer| async move {
            peer.hello("").await;
            peer.envelope(&["1@to.example"]).await;
            peer.exchange(&[("DATA", "354 go on")]).await;
            peer.line().await;
            peer.say(said).await;
        });
        let mut shipment = shipment(&["1@to.example"]);
        shipment.message = vec![Bytes::from(b"a\r\n".repeat(100_000))];
        let outcomes = world.send(shipment).await;
        assert_eq!(Some((failure(&outcomes[0]).kind, failure(&outcomes[0]).status)), expected);
        world.settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_the_message_and_one_that_is_too_slow_does_not() {
    for (pause, is_sent) in [(Duration::from_secs(1), true), (Duration::from_secs(60), false)] {
        let mut world = World::new();
        world.hosts.truncate(1);
        world.serve(A, move |mut peer| async move {
            peer.hello("").await;
            peer.envelope(&["1@to.example"]).await;
            peer.exchange(&[("DATA", "354 go on")]).await;
            let mut buffer = vec![0; 8 * 1024];
            let mut end = Vec::new();
            while !end.ends_with(b"\r\n.\r\n") {
                let read = peer.stream.read(&mut buffer).await.unwrap();
                if read == 0 {
                    return;
                }
                end = [&end[end.len().saturating_sub(5)..], &buffer[..read]].concat();
                sleep(pause).await;
            }
            peer.say("250 ok").await;
            peer.end().await;
        });
        let mut shipment = shipment(&["1@to.example"]);
        shipment.message = vec![Bytes::from(b"a\r\n".repeat(100_000))];
        let outcomes = world.send(shipment).await;
        assert_eq!(status(&outcomes[0]), (!is_sent).then_some(BROKEN.1));
        world.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_speaks_unasked_is_not_spoken_to_again() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello("x;LIMITS RCPTMAX=1").await;
        peer.envelope(&["1@to.example"]).await;
        peer.data().await;
        // The second answer would be taken for that of the next MAIL.
        peer.say("250 ok\n250 ok").await;
        peer.end().await;
    });
    world.serve(B, |mut peer| async move {
        peer.hello("").await;
        peer.take(&["2@to.example"]).await;
        peer.quit().await;
    });
    assert_sent(&world.send(shipment(&["1@to.example", "2@to.example"])).await);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_end_of_the_message_is_none_to_its_end() {
    for (extension, size) in [("", 10), ("", 300_000), ("CHUNKING", 10)] {
        let world = World::new();
        world.serve(A, move |mut peer| async move {
            peer.hello(extension).await;
            peer.exchange(&[("MAIL FROM:<s@from.example>", "250 ok")]).await;
            peer.expect("RCPT TO:<1@to.example>").await;
            if extension.is_empty() {
                peer.say("250 ok").await;
                peer.expect("DATA").await;
                peer.say_at_once("354 go on\r\n250 taken\r\n").await;
            } else {
                peer.say_at_once("250 ok\r\n250 taken\r\n").await;
            }
            let _ = peer.stream.read_to_end(&mut Vec::new()).await;
            peer.say("550 this is the answer").await;
        });
        world.serve(B, |mut peer| async move {
            peer.hello("").await;
            peer.envelope(&["1@to.example"]).await;
            peer.data().await;
            peer.say("250 ok").await;
            peer.quit().await;
        });
        let mut shipment = shipment(&["1@to.example"]);
        shipment.message = vec![Bytes::from(b"aaaaaaaa\r\n".repeat(size / 10))];
        let outcomes = world.send(shipment).await;
        assert!(
            matches!(&outcomes[0], RecipientOutcome::Sent { remote, .. } if remote.starts_with("b.example")),
            "{outcomes:?}"
        );
        world.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_waits_for_a_message_to_nobody_gets_none() {
    let mut world = World::new();
    world.hosts.truncate(1);
    world.serve(A, |mut peer| async move {
        peer.hello("PIPELINING").await;
        peer.exchange(&[
            ("MAIL FROM:<s@from.example>", "250 ok"),
            ("RCPT TO:<1@to.example>", "550 no"),
            ("DATA", "354 go on"),
        ])
        .await;
        assert_eq!(peer.message().await, "");
    });
    assert_eq!(failed(&world.send(shipment(&["1@to.example"])).await[0]).kind, FailureKind::Recipient);
    world.settle().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_given_up_leaves_no_connection_behind() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello("").await;
        peer.exchange(&[("MAIL FROM:<s@from.example>", "250 ok")]).await;
        peer.expect("RCPT TO:<1@to.example>").await;
        assert_eq!(peer.line().await, "");
    });
    let attempt = tokio::time::timeout(Duration::from_secs(5), world.send(shipment(&["1@to.example"])));
    assert!(attempt.await.is_err());
    assert_eq!(world.metric("relay_connections_idle"), 0);
    world.settle().await;
}
