//! What is said to servers with and without an extension: each is used only where it is offered.

use bytes::Bytes;

use super::support::*;
use crate::{
    BodyType, DeliverBy, Envelope, FailureKind, Notify, OriginalRecipient, RecipientOutcome, Return,
    Shipment, Status,
};

#[tokio::test(start_paused = true)]
async fn chunks_have_the_octets_as_they_are() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello("PIPELINING CHUNKING").await;
        peer.expect("MAIL FROM:<s@from.example>").await;
        peer.expect("RCPT TO:<1@to.example>").await;
        peer.nothing().await;
        peer.say("250 ok\n250 ok").await;
        peer.expect(&format!("BDAT {} LAST", MESSAGE.len())).await;
        assert_eq!(peer.chunk(MESSAGE.len()).await, MESSAGE);
        peer.say("250 ok").await;
        peer.quit().await;
    });
    assert_sent(&world.send(shipment(&["1@to.example"])).await);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn no_chunk_is_sent_to_nobody() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello("PIPELINING CHUNKING").await;
        peer.exchange(&[("MAIL FROM:<s@from.example>", "250 ok"), ("RCPT TO:<1@to.example>", "550 no")])
            .await;
        peer.quit().await;
    });
    failed(&world.send(shipment(&["1@to.example"])).await[0]);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_size_is_told_and_a_message_over_the_limit_is_not_sent() {
    let mut world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello(&format!("x;SIZE {}", MESSAGE.len())).await;
        peer.exchange(&[
            (&format!("MAIL FROM:<s@from.example> SIZE={}", MESSAGE.len()), "250 ok"),
            ("RCPT TO:<1@to.example>", "250 ok"),
        ])
        .await;
        peer.data().await;
        peer.say("250 ok").await;
        peer.quit().await;
    });
    assert_sent(&world.send(shipment(&["1@to.example"])).await);
    world.close().await;
    world.serve(A, |mut peer| async move {
        peer.hello(&format!("x;SIZE {}", MESSAGE.len() - 1)).await;
        peer.quit().await;
    });
    world.hosts.truncate(1);
    let outcomes = world.send(shipment(&["1@to.example", "2@to.example"])).await;
    assert!(outcomes.iter().all(|outcome| failed(outcome).status == Status(5, 3, 4)));
    world.close().await;
}

/// A shipment that uses every extension.
fn demanding() -> Shipment {
    let mut shipment = shipment(&["1@to.example"]);
    shipment.envelope = Envelope {
        ret: Some(Return::Headers),
        envelope_id: Some("id+1".into()),
        priority: 3,
        deliver_by: Some(DeliverBy { deadline: u64::MAX / 2, or_return: true }),
        ..shipment.envelope
    };
    shipment.recipients[0].notify = Some(Notify { success: true, failure: true, delay: false });
    shipment.recipients[0].original =
        Some(OriginalRecipient { address_type: "rfc822".into(), address: "one@old.example".into() });
    shipment
}

#[tokio::test(start_paused = true)]
async fn parameters_are_for_servers_that_know_them() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello("x;DSN;DELIVERBY;MT-PRIORITY").await;
        peer.exchange(&[
            ("MAIL FROM:<s@from.example> RET=HDRS ENVID=id+2B1 BY=999999999;R MT-PRIORITY=3", "250 ok"),
            ("RCPT TO:<1@to.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;one@old.example", "250 ok"),
        ])
        .await;
        peer.data().await;
        peer.say("250 ok").await;
        peer.quit().await;
    });
    let outcomes = world.send(demanding()).await;
    assert!(matches!(outcomes[0], RecipientOutcome::Sent { notifies: true, .. }), "{outcomes:?}");
    world.close().await;
    world.serve(A, |mut peer| async move {
        peer.hello("").await;
        peer.take(&["1@to.example"]).await;
        peer.quit().await;
    });
    let mut patient = demanding();
    patient.envelope.deliver_by = patient.envelope.deliver_by.map(|by| DeliverBy { or_return: false, ..by });
    let outcomes = world.send(patient).await;
    assert!(matches!(outcomes[0], RecipientOutcome::Sent { notifies: false, .. }), "{outcomes:?}");
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_to_come_back_if_it_is_late_goes_only_to_servers_that_know_how_late_it_is() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for (offer, text) in [("", "DELIVERBY"), ("x;DELIVERBY 7200", "wants 7200 seconds")] {
        let mut world = World::new();
        world.hosts.truncate(1);
        world.serve(A, move |mut peer| async move {
            peer.hello(offer).await;
            peer.quit().await;
        });
        let mut urgent = demanding();
        urgent.envelope.deliver_by = Some(DeliverBy { deadline: now + 3600, or_return: true });
        let outcomes = world.send(urgent).await;
        let failure = failed(&outcomes[0]);
        assert_eq!((failure.kind, failure.status), (FailureKind::Message, Status(5, 4, 7)), "{failure:?}");
        assert!(failure.text.contains(text), "{failure:?}");
        world.close().await;
    }
}

fn eight_bit(body: &'static str) -> Shipment {
    let mut shipment = shipment(&["1@to.example"]);
    shipment.envelope.body = BodyType::EightBitMime;
    shipment.message = vec![Bytes::from_static(body.as_bytes())];
    shipment
}

#[tokio::test(start_paused = true)]
async fn octets_over_127_are_only_for_servers_that_take_them() {
    let mut world = World::new();
    world.hosts.truncate(1);
    world.serve(A, |mut peer| async move {
        peer.hello("8BITMIME").await;
        peer.exchange(&[
            ("MAIL FROM:<s@from.example> BODY=8BITMIME", "250 ok"),
            ("RCPT TO:<1@to.example>", "250 ok"),
        ])
        .await;
        assert_eq!(peer.data().await, "Subject: x\r\n\r\n\u{e9}\r\n.\r\n");
        peer.say("250 ok").await;
        peer.quit().await;
    });
    assert_sent(&world.send(eight_bit("Subject: x\r\n\r\n\u{e9}\r\n")).await);
    world.close().await;
    world.serve(A, |mut peer| async move {
        peer.hello("").await;
        peer.envelope(&["1@to.example"]).await;
        assert!(peer.data().await.ends_with("\r\n\r\n=C3=A9\r\n.\r\n"));
        peer.say("250 ok").await;
        peer.quit().await;
    });
    assert_sent(&world.send(eight_bit("Subject: x\r\n\r\n\u{e9}\r\n")).await);
    world.close().await;
    world.serve(A, |mut peer| async move {
        peer.hello("").await;
        peer.quit().await;
    });
    let outcomes = world.send(eight_bit("Subject: \u{e9}\r\n\r\nx\r\n")).await;
    assert_eq!(
        (failed(&outcomes[0]).kind, failed(&outcomes[0]).status),
        (FailureKind::Message, Status(5, 6, 3))
    );
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn international_addresses_need_smtputf8_or_an_ascii_form() {
    let international = || {
        let mut shipment = shipment(&["1@b\u{fc}cher.example", "\u{fc}@to.example"]);
        shipment.envelope.smtputf8 = true;
        shipment
    };
    let mut world = World::new();
    world.hosts.truncate(1);
    world.serve(A, |mut peer| async move {
        peer.hello("SMTPUTF8").await;
        peer.exchange(&[
            ("MAIL FROM:<s@from.example> SMTPUTF8", "250 ok"),
            ("RCPT TO:<1@b\u{fc}cher.example>", "250 ok"),
            ("RCPT TO:<\u{fc}@to.example>", "250 ok"),
        ])
        .await;
        peer.data().await;
        peer.say("250 ok").await;
        peer.quit().await;
    });
    assert_sent(&world.send(international()).await);
    world.close().await;
    world.serve(A, |mut peer| async move {
        peer.hello("").await;
        peer.take(&["1@xn--bcher-kva.example"]).await;
        peer.quit().await;
    });
    let outcomes = world.send(international()).await;
    assert_eq!([status(&outcomes[0]), status(&outcomes[1])], [None, Some(Status(5, 6, 7))]);
    world.close().await;
    world.serve(A, |mut peer| async move {
        peer.hello("").await;
        peer.quit().await;
    });
    let mut from = international();
    from.envelope.reverse_path = Some("\u{e4}@from.example".into());
    assert!(world.send(from).await.iter().all(|outcome| failed(outcome).status == Status(5, 6, 7)));
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_one_host_lacks_another_may_have() {
    for is_up in [true, false] {
        let world = World::new();
        world.serve(A, |mut peer| async move {
            peer.hello("x;SIZE 99").await;
            peer.exchange(&[("MAIL FROM:<s@from.example> SIZE=20", "250 ok")]).await;
            peer.exchange(&[("RCPT TO:<1@to.example>", "250 ok")]).await;
            peer.data().await;
            peer.say("250 ok").await;
            peer.quit().await;
        });
        if is_up {
            world.serve(B, |mut peer| async move {
                peer.hello("SMTPUTF8").await;
                peer.exchange(&[("MAIL FROM:<s@from.example> SMTPUTF8", "250 ok")]).await;
                peer.exchange(&[("RCPT TO:<\u{fc}@to.example>", "250 ok")]).await;
                peer.data().await;
                peer.say("250 ok").await;
                peer.quit().await;
            });
        }
        let outcomes = world.send(shipment(&["1@to.example", "\u{fc}@to.example"])).await;
        assert_sent(&outcomes[..1]);
        if is_up {
            assert_sent(&outcomes[1..]);
        } else {
            assert_eq!(deferred(&outcomes[1]).kind, FailureKind::Connection, "it may be up again, and able");
        }
        world.close().await;
    }
}
