//! What concerns one way to a destination keeps no other mail for it waiting; and what the service itself writes is signed.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ekitei_directory::Domain;
use ekitei_kv::MemoryOptions;
use ekitei_mailstore::Fence;
use ekitei_queue::{Signer, Transport, TransportFuture};
use ekitei_relay::{Envelope, FailureKind, RecipientOutcome, Shipment, Status};
use futures_util::future::{BoxFuture, ready};
use support::{Fake, Journal, NodeOptions, World, failed, failure, sent};
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const PLAIN: &str = "Subject: a\r\n\r\nb\r\n";
const WAIVING: &str = "Subject: a\r\nTLS-Required: No\r\n\r\nb\r\n";

fn world() -> World {
    World::new(MemoryOptions::default(), |_| {})
}

fn of(kind: FailureKind, status: Status) -> RecipientOutcome {
    RecipientOutcome::Deferred(failure(kind, None, status, "not now"))
}

/// Mail of `shop.example` goes through a smart host, all other directly.
struct Routed(Arc<Fake>);

impl Transport for Routed {
    fn send(&self, shipment: Shipment, fence: Arc<dyn Fence>) -> TransportFuture<'_> {
        self.0.send(shipment, fence)
    }

    fn through(&self, _: &str, sender_domain: Option<&str>) -> Option<Arc<str>> {
        (sender_domain == Some("shop.example")).then(|| "smart.shop.example:587".into())
    }
}

#[tokio::test(start_paused = true)]
async fn the_broken_smart_host_of_one_sender_keeps_nobody_else_waiting() {
    let (world, shop, others) = (world(), Journal::default(), Journal::default());
    let fake = Fake::new({
        let (shop, others) = (shop.clone(), others.clone());
        move |shipment: Shipment| {
            let is_shop = shipment.sender_domain.as_deref() == Some("shop.example");
            if is_shop {
                shop.add(&shipment)
            } else {
                others.add(&shipment)
            }
            ready(vec![if is_shop { of(FailureKind::Connection, Status(4, 4, 1)) } else { sent() }])
        }
    });
    let node = world.node(Arc::new(Routed(fake)), NodeOptions::default());
    for _ in 0..50 {
        let mut of_shop = world.message(&["bob@there.example"]);
        of_shop.envelope.reverse_path = Some("till@shop.example".to_owned());
        world.enqueue(of_shop, PLAIN).await;
        world.enqueue(world.message(&["bob@there.example"]), PLAIN).await;
        sleep(SECOND).await;
    }
    assert_eq!(others.count("there.example"), 50, "they do not wait for the shop's host");
    assert_eq!(shop.count("there.example"), 1, "one attempt finds out for all that go through it");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_waives_tls_is_not_put_off_since_tls_fails() {
    let (world, strict, waiving) = (world(), Journal::default(), Journal::default());
    let transport = Fake::new({
        let (strict, waiving) = (strict.clone(), waiving.clone());
        move |shipment: Shipment| {
            let waives = shipment.message.concat().windows(8).any(|octets| octets == b"Required");
            if waives {
                waiving.add(&shipment)
            } else {
                strict.add(&shipment)
            }
            ready(vec![if waives { sent() } else { of(FailureKind::Tls, Status(4, 7, 5)) }])
        }
    });
    let node = world.node(transport, NodeOptions::default());
    for _ in 0..20 {
        world.enqueue(world.message(&["bob@there.example"]), PLAIN).await;
        world.enqueue(world.message(&["bob@there.example"]), WAIVING).await;
        sleep(SECOND).await;
    }
    assert_eq!(waiving.count("there.example"), 20);
    assert_eq!(strict.count("there.example"), 1, "that others go without TLS says nothing of it");
    sleep(HOUR).await;
    let attempts = strict.count("there.example");
    assert!((4..=7).contains(&attempts), "{attempts} attempts in an hour");
    node.stop().await;
}

/// Signs with its name, but not at first.
struct Hesitant(AtomicUsize);

impl Signer for Hesitant {
    fn sign<'a>(&'a self, domain: &'a Domain, _: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        let signed = match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => Err("no key now".to_owned()),
            _ => Ok(format!("DKIM-Signature: d={}\r\n", domain.as_ascii()).into_bytes()),
        };
        Box::pin(ready(signed))
    }
}

#[tokio::test(start_paused = true)]
async fn notifications_are_signed_in_the_name_of_their_author() {
    let (world, journal) = (world(), Journal::default());
    let transport = Fake::new({
        let journal = journal.clone();
        move |shipment: Shipment| {
            journal.add(&shipment);
            ready(vec![if shipment.destination == "there.example" { failed() } else { sent() }])
        }
    });
    let signer: Arc<dyn Signer> = Arc::new(Hesitant(AtomicUsize::new(0)));
    let node = world.node(transport, NodeOptions { signer: Some(signer), ..NodeOptions::default() });
    let mut message = world.message(&["bob@there.example"]);
    message.envelope = Envelope { reverse_path: Some("alice@far.example".into()), ..message.envelope };
    world.queue.enqueue(Bytes::from(PLAIN), message).await.unwrap();
    sleep(10 * SECOND).await;
    let told: Vec<String> =
        journal.all().into_iter().filter(|(_, to, _)| to == "far.example").map(|(_, _, text)| text).collect();
    let [notification] = told.as_slice() else { panic!("one notification, and not {}", told.len()) };
    let (signature, rest) = notification.split_once("\r\n").unwrap();
    assert_eq!(signature, "DKIM-Signature: d=mx.here.example", "in front of everything");
    let from = rest.lines().find(|line| line.starts_with("From:")).unwrap();
    assert!(from.contains("@mx.here.example"), "{from}");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_confidential_mail_is_as_confidential() {
    let world = world();
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let transport = Fake::new({
        let told = Arc::clone(&told);
        move |shipment: Shipment| {
            if shipment.destination == "far.example" {
                told.lock().unwrap().push(shipment.envelope.clone());
            }
            ready(vec![if shipment.destination == "there.example" { failed() } else { sent() }])
        }
    });
    let node = world.node(transport, NodeOptions::default());
    for require_tls in [true, false] {
        let mut message = world.message(&["bob@there.example"]);
        let reverse_path = Some("alice@far.example".into());
        message.envelope = Envelope { reverse_path, require_tls, ..message.envelope };
        world.enqueue(message, PLAIN).await;
        sleep(10 * SECOND).await;
    }
    let told = told.lock().unwrap().clone();
    assert_eq!(told.iter().map(|envelope| envelope.require_tls).collect::<Vec<_>>(), [true, false]);
    assert!(told.iter().all(|envelope| envelope.reverse_path.is_none()));
    node.stop().await;
}
