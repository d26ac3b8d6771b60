//! Connections that are used again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::support::*;

#[tokio::test(start_paused = true)]
async fn the_next_message_goes_over_the_same_connection() {
    let world = World::new();
    world.serve(A, |mut peer| async move {
        peer.hello("").await;
        peer.take(&["1@to.example"]).await;
        // No RSET: the transaction was finished.
        peer.take(&["2@to.example"]).await;
        peer.quit().await;
    });
    assert_sent(&world.send(shipment(&["1@to.example"])).await);
    assert_sent(&world.send(shipment(&["2@to.example"])).await);
    assert_eq!(world.metric("relay_connections_idle"), 1);
    assert_eq!(world.metric("relay_connections_total{result=\"reused\"}"), 1);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_transaction_that_was_not_finished_there_is_rset() {
    for extension in ["", "PIPELINING"] {
        let world = World::new();
        world.serve(A, move |mut peer| async move {
            peer.hello(extension).await;
            peer.exchange(&[("MAIL FROM:<s@from.example>", "250 ok"), ("RCPT TO:<1@to.example>", "550 no")])
                .await;
            if !extension.is_empty() {
                peer.exchange(&[("DATA", "554 no")]).await;
            }
            peer.exchange(&[("RSET", "250 ok")]).await;
            peer.take(&["2@to.example"]).await;
            peer.quit().await;
        });
        failed(&world.send(shipment(&["1@to.example"])).await[0]);
        assert_sent(&world.send(shipment(&["2@to.example"])).await);
        world.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_went_stale_is_replaced_by_a_new_one_to_the_same_host() {
    // Closed with or without a word while it was idle, or only when it is used.
    for case in 0..3 {
        let world = World::new();
        world.serve(A, move |mut peer| async move {
            peer.hello("").await;
            peer.take(&["1@to.example"]).await;
            match case {
                0 => {}
                1 => peer.say("421 4.4.2 too long").await,
                _ => peer.exchange(&[("MAIL FROM:<s@from.example>", "421 4.4.2 too long")]).await,
            }
        });
        world.serve(A, |mut peer| async move {
            peer.hello("").await;
            peer.take(&["2@to.example"]).await;
            peer.quit().await;
        });
        assert_sent(&world.send(shipment(&["1@to.example"])).await);
        sleep(Duration::from_secs(1)).await;
        assert_sent(&world.send(shipment(&["2@to.example"])).await);
        assert_eq!(world.metric("relay_connections_total{result=\"stale\"}"), u64::from(case == 2));
        world.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_carries_so_many_messages() {
    let world = World::with(|config| config.relay.messages_per_connection = 2);
    for recipients in [["1@to.example", "2@to.example"].as_slice(), &["3@to.example"]] {
        world.serve(A, move |mut peer| async move {
            peer.hello("").await;
            for recipient in recipients {
                peer.take(&[recipient]).await;
            }
            peer.quit().await;
        });
    }
    for recipient in ["1@to.example", "2@to.example", "3@to.example"] {
        assert_sent(&world.send(shipment(&[recipient])).await);
    }
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_bounded_in_number_and_time() {
    let world = World::with(|config| config.relay.max_idle_connections = 1);
    for address in [A, B] {
        world.serve(address, |mut peer| async move {
            peer.hello("").await;
            peer.take(&["1@to.example"]).await;
            peer.quit().await;
        });
    }
    assert_sent(&world.send(shipment(&["1@to.example"])).await);
    let other = World { hosts: vec![host("b.example", &[B])], client: world.client.clone(), ..World::new() };
    assert_sent(&other.send(shipment(&["1@to.example"])).await);
    assert_eq!(world.metric("relay_connections_idle"), 1, "the older one was ended");
    let maintaining = tokio::spawn(Arc::clone(&world.client).maintain());
    sleep(Duration::from_secs(45)).await;
    assert_eq!(world.metric("relay_connections_idle"), 0);
    maintaining.abort();
    world.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_goes_only_to_so_many_destinations_as_the_server_allows() {
    let world = World::new();
    for _ in 0..2 {
        world.serve(A, |mut peer| async move {
            peer.hello("x;LIMITS RCPTDOMAINMAX=1").await;
            peer.take(&["1@to.example"]).await;
            peer.quit().await;
        });
    }
    assert_sent(&world.send(shipment(&["1@to.example"])).await);
    let mut elsewhere = shipment(&["1@to.example"]);
    elsewhere.destination = "other.example".into();
    assert_sent(&world.send(elsewhere).await);
    world.close().await;
}
