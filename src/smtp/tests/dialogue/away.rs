//! Mail while the object store is away: accepted up to a limit, then put off, and nothing is lost.

use std::time::Duration;

use ekitei_blob::{Group, Packer};
use ekitei_kv::MonotonicClock;
use ekitei_kv::lease::{LeaseOptions, Leases};

use crate::support::{HOT_LIMIT, World};

/// A message of so many lines that do not compress well.
fn message(lines: usize) -> String {
    let line = || (0..76).map(|_| char::from(rand::random_range(b'A'..=b'z'))).collect::<String>();
    let lines: Vec<String> = (0..lines).map(|_| line()).collect();
    format!("From: bob@example.test\r\nSubject: noise\r\n\r\n{}\r\n", lines.join("\r\n"))
}

/// Delivers messages until one is refused; those that were accepted, and the last reply.
async fn deliver_until_refused(world: &World, lines: usize) -> (Vec<String>, String) {
    let mut accepted = Vec::new();
    loop {
        let mut client = world.mx().await;
        client.envelope("sender@other.test", &["alice@example.test"]).await;
        let text = message(lines);
        let reply = client.data(&text).await;
        world.clock.advance(Duration::from_secs(1));
        if !reply.starts_with("250 ") {
            return (accepted, reply);
        }
        accepted.push(text);
        assert!(accepted.len() < 100, "there is no limit");
    }
}

async fn pack(world: &World) {
    let options =
        LeaseOptions { duration: Duration::from_secs(60), clock: MonotonicClock::system(), alone: true };
    let leases = Leases::new(world.database.clone(), options);
    let held = leases.join(Packer::LEASES, Group::all().map(Group::lease_name));
    leases.renew().await.unwrap();
    let packer = Packer::new(world.blobs.clone());
    world.blobs.request_packing().await.unwrap();
    for lease in held.held() {
        while packer.round(&lease).await.unwrap().bodies > 0 {}
    }
}

#[tokio::test]
async fn mail_waits_for_the_object_store_up_to_the_limit_and_is_put_off_then() {
    let world = World::new().await;
    world.objects.set_away(true);
    // About 300 kB each: too large for rows at other times.
    let (mut accepted, reply) = deliver_until_refused(&world, 5_000).await;
    assert!(accepted.len() >= 2, "{}", accepted.len());
    assert!(reply.starts_with("452 4.3.1 "), "{reply}");
    let (small, reply) = deliver_until_refused(&world, 500).await;
    assert!(reply.starts_with("452 4.3.1 "), "{reply}");
    accepted.extend(small);
    let status = world.blobs.status().await.unwrap();
    let hot = status.figures().hot_octets;
    assert!(hot <= HOT_LIMIT && hot > HOT_LIMIT / 10 * 9, "{hot} octets");
    assert!(world.objects.names().is_empty());
    assert_eq!(world.inbox("alice").await.len(), accepted.len(), "all of it can be read");

    world.objects.set_away(false);
    let mut client = world.mx().await;
    client.envelope("sender@other.test", &["alice@example.test"]).await;
    let late = message(500);
    assert!(client.data(&late).await.starts_with("250 "), "the other's next attempt");
    accepted.push(late);
    pack(&world).await;
    assert_eq!(world.blobs.status().await.unwrap().figures().hot_bodies, 0);
    let inbox = world.inbox("alice").await;
    assert_eq!(inbox.len(), accepted.len());
    for text in accepted {
        assert!(inbox.iter().any(|message| message.contains(&text)));
    }
}

#[tokio::test]
async fn mail_that_is_relayed_is_put_off_as_well() {
    let world = World::new().await;
    world.objects.set_away(true);
    let (_, reply) = deliver_until_refused(&world, 5_000).await;
    assert!(reply.starts_with("452 4.3.1 "), "{reply}");
    deliver_until_refused(&world, 500).await;
    let mut client = world.user("bob").await;
    client.envelope("bob@example.test", &["somebody@other.test"]).await;
    let reply = client.data(message(2_000)).await;
    assert!(reply.starts_with("452 4.3.1 "), "{reply}");
}
