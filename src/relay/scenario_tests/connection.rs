//! From the connection to the point where mail is taken.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ekitei_config::Secret;
use tokio::time::Instant;

use super::support::*;
use crate::host::Login;
use crate::{FailureKind, Status};

#[tokio::test(start_paused = true)]
async fn a_host_that_refuses_is_passed_over_whatever_its_class() {
    for greeting in
        ["554 5.7.1 not you", "421 4.7.0 busy", "450 later", "220-what\n550 never", "hello", "250 ok"]
    {
        let world = World::new();
        world.serve(A, move |mut peer| async move { peer.say(greeting).await });
        world.serve(B, |mut peer| async move {
            peer.hello("").await;
            peer.take(&["1@to.example"]).await;
            peer.quit().await;
        });
        assert_sent(&world.send(shipment(&["1@to.example"])).await);
        world.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn mail_waits_when_all_hosts_refuse_unless_none_of_them_ever_takes_mail() {
    let world = World::new();
    world.serve(A, |mut peer| async move { peer.say("521 5.3.2 never").await });
    world.serve(B, |mut peer| async move { peer.say("554 5.7.1 not you").await });
    let outcomes = world.send(shipment(&["1@to.example"])).await;
    let last = deferred(&outcomes[0]);
    assert_eq!((last.kind, last.status, last.code), (FailureKind::Host, Status(4, 7, 1), Some(554)));
    assert_eq!((last.text.as_str(), last.remote.as_deref()), ("not you", Some("b.example [192.0.2.2]")));
    for address in [A, B] {
        world.serve(address, |mut peer| async move { peer.say("521 5.3.2 never (RFC 7504)").await });
    }
    let outcomes = world.send(shipment(&["1@to.example"])).await;
    assert_eq!(
        (failed(&outcomes[0]).kind, failed(&outcomes[0]).status),
        (FailureKind::Host, Status(5, 3, 2))
    );
    world.settle().await;
}

#[tokio::test(start_paused = true)]
async fn an_old_server_is_greeted_with_helo() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.say("220 mx.example").await;
        peer.exchange(&[("EHLO us.example", "502 what"), ("HELO us.example", "250 PIPELINING")]).await;
        peer.take(&["1@to.example"]).await;
        peer.quit().await;
    });
    assert_sent(&world.send(shipment(&["1@to.example"])).await);
    world.close().await;
    world.serve(A, |mut peer| async move {
        peer.say("220 mx.example").await;
        peer.exchange(&[("EHLO us.example", "550 who"), ("HELO us.example", "550 who")]).await;
    });
    let outcomes = world.send(shipment(&["1@to.example"])).await;
    assert_eq!(deferred(&outcomes[0]).kind, FailureKind::Connection, "the other host does not answer at all");
    world.settle().await;
}

#[tokio::test(start_paused = true)]
async fn the_configured_name_is_said() {
    let world = World::with(|config| config.relay.ehlo_name = "egress.example".into());
    world.serve(A, |mut peer| async move {
        peer.say("220 mx.example").await;
        peer.expect("EHLO egress.example").await;
    });
    world.send(shipment(&["1@to.example"])).await;
    world.settle().await;
}

#[tokio::test(start_paused = true)]
async fn every_address_of_a_host_is_tried() {
    let mut world = World::new();
    world.hosts = vec![host("a.example", &["192.0.2.9", A, B])];
    world.serve(A, |mut peer| async move { peer.say("421 busy").await });
    world.serve(B, |mut peer| async move {
        peer.hello("").await;
        peer.envelope(&["1@to.example"]).await;
        peer.expect("DATA").await;
        // It closes the connection before it has the message: nobody took it.
    });
    let outcomes = world.send(shipment(&["1@to.example"])).await;
    assert_eq!(deferred(&outcomes[0]).remote.as_deref(), Some("a.example [192.0.2.9]"), "tried again, last");
    assert_eq!(world.metric("relay_connections_total{result=\"failed\"}"), 2);
    world.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_refuses_hears_goodbye() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.say("554 5.7.1 not you").await;
        peer.quit().await;
    });
    world.serve(B, |mut peer| async move {
        peer.say("220 mx.example").await;
        peer.exchange(&[("EHLO us.example", "450 4.7.1 not now")]).await;
        peer.quit().await;
    });
    assert_eq!(deferred(&world.send(shipment(&["1@to.example"])).await[0]).kind, FailureKind::Host);
    world.settle().await;
}

#[tokio::test(start_paused = true)]
async fn not_every_message_waits_for_a_host_that_does_not_answer() {
    let world = World::with(|config| config.relay.max_idle_connections = 0);
    *world.network.silent.lock().unwrap() = Some(A.parse().unwrap());
    let taken_by = |address| {
        world.serve(address, |mut peer| async move {
            peer.hello("").await;
            peer.take(&["1@to.example"]).await;
            peer.quit().await;
        });
    };
    for waited in [30, 0] {
        let begun = Instant::now();
        taken_by(B);
        assert_sent(&world.send(shipment(&["1@to.example"])).await);
        assert_eq!(begun.elapsed().as_secs(), waited);
    }
    *world.network.silent.lock().unwrap() = None;
    tokio::time::sleep(Duration::from_secs(300)).await;
    taken_by(A);
    assert_sent(&world.send(shipment(&["1@to.example"])).await);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn connections_for_one_message_are_bounded() {
    let mut world = World::new();
    let addresses: Vec<String> = (1..=30).map(|n| format!("198.51.100.{n}")).collect();
    world.hosts = addresses.iter().map(|address| host("a.example", &[address])).collect();
    for address in &addresses[..10] {
        world.serve(address, |mut peer| async move { peer.say("421 busy").await });
    }
    let outcomes = world.send(shipment(&["1@to.example"])).await;
    assert_eq!(deferred(&outcomes[0]).status, Status(4, 3, 2));
    assert_eq!(world.metric("relay_connections_total{result=\"failed\"}"), 10);
    world.settle().await;
}

fn with_login() -> World {
    let mut world = World::new();
    world.hosts = vec![host("smart.example", &["127.0.0.1"])];
    world.login = Some(Login { username: "user".into(), password: Secret::new("secret") });
    world
}

#[tokio::test(start_paused = true)]
async fn a_smart_host_is_logged_in_to() {
    let world = with_login();
    world.serve("127.0.0.1", |mut peer| async move {
        peer.hello("x;AUTH LOGIN PLAIN").await;
        let response = STANDARD.encode("\0user\0secret");
        peer.exchange(&[(&format!("AUTH PLAIN {response}"), "235 welcome")]).await;
        peer.take(&["1@to.example"]).await;
        peer.quit().await;
    });
    assert_sent(&world.send(shipment(&["1@to.example"])).await);
    world.close().await;
    world.serve("127.0.0.1", |mut peer| async move {
        peer.hello("x;AUTH LOGIN").await;
        peer.exchange(&[
            ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
            ("dXNlcg==", "334 UGFzc3dvcmQ6"),
            ("c2VjcmV0", "535 5.7.8 wrong"),
        ])
        .await;
        peer.quit().await;
    });
    let outcomes = world.send(shipment(&["1@to.example"])).await;
    assert_eq!(
        (deferred(&outcomes[0]).kind, deferred(&outcomes[0]).status),
        (FailureKind::Host, Status(4, 7, 8))
    );
    world.settle().await;
}

#[tokio::test(start_paused = true)]
async fn mail_waits_where_the_smart_host_wants_more_of_us() {
    for offer in ["AUTH PLAIN", "PIPELINING;AUTH PLAIN"] {
        let world = with_login();
        world.serve("127.0.0.1", move |mut peer| async move {
            peer.hello(&format!("x;{offer}")).await;
            assert!(peer.line().await.starts_with("AUTH PLAIN "));
            peer.say("235 welcome").await;
            peer.exchange(&[("MAIL FROM:<s@from.example>", "530 5.7.1 log in as somebody else")]).await;
            while !peer.line().await.is_empty() {
                peer.say("503 5.5.1 mail first").await;
            }
        });
        let outcomes = world.send(shipment(&["1@to.example"])).await;
        assert_eq!(
            (deferred(&outcomes[0]).kind, deferred(&outcomes[0]).status),
            (FailureKind::Host, Status(4, 7, 1))
        );
        world.settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_password_is_not_sent_in_the_clear() {
    let mut world = with_login();
    world.hosts = vec![host("smart.example", &[A])];
    world.serve(A, |mut peer| async move {
        peer.hello("x;AUTH PLAIN").await;
        peer.quit().await;
    });
    let outcomes = world.send(shipment(&["1@to.example"])).await;
    assert_eq!(
        (deferred(&outcomes[0]).kind, deferred(&outcomes[0]).status),
        (FailureKind::Host, Status(4, 7, 0))
    );
    world.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_smart_host_cannot_prompt_for_ever() {
    let world = with_login();
    world.serve("127.0.0.1", |mut peer| async move {
        peer.hello("x;AUTH LOGIN").await;
        peer.expect("AUTH LOGIN").await;
        for answer in ["dXNlcg==", "c2VjcmV0"] {
            peer.say("334 YQ==").await;
            peer.expect(answer).await;
        }
        peer.say("334 YQ==").await;
        peer.exchange(&[("*", "501 5.5.2 cancelled")]).await;
        peer.quit().await;
    });
    assert_eq!(deferred(&world.send(shipment(&["1@to.example"])).await[0]).kind, FailureKind::Host);
    tokio::time::timeout(Duration::from_secs(60), world.settle()).await.unwrap();
}
