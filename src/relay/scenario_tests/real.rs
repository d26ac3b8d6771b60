//! The whole client over TCP, with a smart host on the loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use ekitei_config::{Config, Live, SmartHost};
use ekitei_dns::Resolver;
use ekitei_net::Stream;
use ekitei_telemetry::Registry;
use tokio::io::BufReader;
use tokio::net::TcpListener;

use super::support::*;
use crate::tls::sts::InProcess;
use crate::{FailureKind, Relay, RelayContext, TlsReporter, TlsSession};

struct Nobody;

impl TlsReporter for Nobody {
    fn session(&self, _: TlsSession) {}
}

fn relay(smart_host: SocketAddr) -> Relay {
    let mut config = Config { hostname: "us.example".into(), ..Config::default() };
    config.relay.smart_host = Some(SmartHost {
        host: smart_host.ip().to_string(),
        port: smart_host.port(),
        ..SmartHost::default()
    });
    config.relay.source_addresses = vec!["127.0.0.1".parse().unwrap()];
    let dns = Resolver::new(&config.dns).unwrap();
    relay_with(config, dns)
}

fn relay_with(config: Config, dns: Resolver) -> Relay {
    let context = RelayContext {
        live: Live::new(config),
        dns,
        registry: Registry::new(),
        tls_reporter: Arc::new(Nobody),
        policies: Arc::new(InProcess),
        own_hosts: None,
    };
    Relay::new(context)
}

#[tokio::test]
async fn mail_for_any_domain_goes_to_the_smart_host() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = relay(listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut peer = Peer { stream: BufReader::new(Stream::from(stream)) };
        peer.hello("PIPELINING").await;
        for recipient in ["1@to.example", "2@other.example"] {
            peer.take(&[recipient]).await;
        }
    });
    let mut other = shipment(&["2@other.example"]);
    other.destination = "other.example".into();
    assert_sent(&relay.send(shipment(&["1@to.example"])).await);
    assert_sent(&relay.send(other).await);
    server.await.unwrap();
}

#[tokio::test]
async fn a_message_that_waives_tls_is_sent_where_dane_would_make_it_wait() {
    use ekitei_dns::testing::TestDns;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dns = TestDns::signed(&format!(
        "to.example MX 10 mx.to.example\nmx.to.example A 127.0.0.1\n_{port}._tcp.mx.to.example TLSA 3 1 1 {}",
        "00".repeat(32)
    ));
    let mut config = Config { hostname: "us.example".into(), ..Config::default() };
    (config.relay.port, config.relay.ignore_addresses, config.relay.mta_sts) = (port, Vec::new(), false);
    let relay = relay_with(config, dns.resolver());
    let server = tokio::spawn(async move {
        for waives in [false, true] {
            let (stream, _) = listener.accept().await.unwrap();
            let mut peer = Peer { stream: BufReader::new(Stream::from(stream)) };
            peer.hello("").await;
            if waives {
                peer.envelope(&["1@to.example"]).await;
                peer.data().await;
                peer.say("250 ok").await;
            } else {
                peer.quit().await;
            }
        }
    });
    let outcomes = relay.send(shipment(&["1@to.example"])).await;
    assert_eq!(deferred(&outcomes[0]).kind, FailureKind::Tls);
    let mut report = shipment(&["1@to.example"]);
    report.message = vec!["TLS-Required: No\r\n\r\n".into()];
    assert_sent(&relay.send(report).await);
    server.await.unwrap();
}

#[tokio::test]
async fn a_notification_that_demands_tls_is_not_lost_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = relay(listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        for is_notification in [false, true] {
            let (stream, _) = listener.accept().await.unwrap();
            let mut peer = Peer { stream: BufReader::new(Stream::from(stream)) };
            // It may be offered under TLS only, so nobody is to believe this.
            peer.hello("REQUIRETLS").await;
            if is_notification {
                peer.exchange(&[("MAIL FROM:<>", "250 ok"), ("RCPT TO:<1@to.example>", "250 ok")]).await;
                peer.data().await;
                peer.say("250 ok").await;
            } else {
                peer.quit().await;
            }
        }
    });
    let mut confidential = shipment(&["1@to.example"]);
    confidential.envelope.require_tls = true;
    let outcomes = relay.send(confidential).await;
    assert_eq!(failed(&outcomes[0]).kind, FailureKind::Tls);
    let mut notification = shipment(&["1@to.example"]);
    (notification.envelope.require_tls, notification.envelope.reverse_path) = (true, None);
    assert_sent(&relay.send(notification).await);
    server.await.unwrap();
}

#[tokio::test]
async fn mail_waits_while_the_smart_host_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let outcomes = relay(address).send(shipment(&["1@to.example", "2@to.example"])).await;
    assert_eq!(outcomes.len(), 2);
    for outcome in &outcomes {
        assert_eq!(deferred(outcome).kind, FailureKind::Connection);
        assert_eq!(deferred(outcome).remote.as_deref(), Some("127.0.0.1 [127.0.0.1]"));
    }
}
