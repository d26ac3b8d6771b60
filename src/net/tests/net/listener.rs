//! Listeners over loopback sockets: limits, PROXY protocol, TLS, shutdown, and running out of descriptors.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use crate::common::{Service, certificate, client_tls, config, said, speak};
use ekitei_config::{Cidr, ListenerConfig, Protocol, ProxyProtocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn listener(protocol: Protocol) -> ListenerConfig {
    ListenerConfig::new(protocol, any())
}

fn behind(protocol: Protocol, balancers: &str) -> ListenerConfig {
    let network: Cidr = balancers.parse().unwrap();
    ListenerConfig {
        proxy_protocol: Some(ProxyProtocol { trusted_networks: vec![network] }),
        ..listener(protocol)
    }
}

#[tokio::test]
async fn a_client_is_served_and_the_connection_is_counted_until_it_ends() {
    let service = Service::start(config(), listener(Protocol::Smtp)).await;
    let mut client = service.connect().await;
    let expected = format!("peer {} tls none\n", client.local_addr().unwrap());
    assert_eq!(speak(&mut client, "").await, expected);
    assert_eq!(service.net.limits().total(), 1);
    client.shutdown().await.unwrap();
    assert_eq!(said(&mut client).await, "");
    service.until(|service| service.net.limits().total() == 0).await;
}

#[tokio::test]
async fn an_ipv4_client_of_a_socket_for_both_has_its_ipv4_address() {
    let both = ListenerConfig::new(Protocol::Smtp, "[::]:0".parse().unwrap());
    let service = Service::start(config(), both).await;
    let mut client = TcpStream::connect(("127.0.0.1", service.address.port())).await.unwrap();
    assert!(speak(&mut client, "").await.starts_with("peer 127.0.0.1:"));
}

#[tokio::test]
async fn a_client_over_a_limit_is_told_in_the_words_of_the_protocol() {
    let mut limited = config();
    limited.smtp.max_connections_per_address = 1;
    let service = Service::start(limited, listener(Protocol::Smtp)).await;
    let mut first = service.connect().await;
    speak(&mut first, "").await;
    assert_eq!(said(&mut service.connect().await).await, "refused address\n");
    assert_eq!(service.metric("ekitei_connections_refused_total{listener=\"smtp\",reason=\"address\"}"), 1);

    // A reload counts for the next connection.
    let mut wider = service.net.live().load().as_ref().clone();
    wider.smtp.max_connections_per_address = 0;
    wider.limits.max_connections = 2;
    service.net.live().replace(wider);
    let mut second = service.connect().await;
    speak(&mut second, "").await;
    assert_eq!(said(&mut service.connect().await).await, "refused global\n");
}

#[tokio::test]
async fn the_rate_of_connections_is_limited_except_for_trusted_networks() {
    let mut limited = config();
    limited.smtp.connections_per_address_per_minute = 2;
    let service = Service::start(limited, listener(Protocol::Smtp)).await;
    for _ in 0..2 {
        assert!(speak(&mut service.connect().await, "").await.starts_with("peer"));
    }
    assert_eq!(said(&mut service.connect().await).await, "refused rate\n");
    let mut trusting = service.net.live().load().as_ref().clone();
    trusting.smtp.trusted_networks = vec!["127.0.0.0/8".parse().unwrap()];
    service.net.live().replace(trusting);
    assert!(speak(&mut service.connect().await, "").await.starts_with("peer"));
}

#[tokio::test]
async fn a_trusted_load_balancer_names_the_client() {
    let service = Service::start(config(), behind(Protocol::Smtp, "127.0.0.0/8")).await;
    let mut client = service.connect().await;
    let header = "PROXY TCP4 192.0.2.7 198.51.100.2 5000 25\r\n";
    assert_eq!(speak(&mut client, header).await, "peer 192.0.2.7:5000 tls none\n");
    let mut check = service.connect().await;
    let expected = format!("peer {} tls none\n", check.local_addr().unwrap());
    assert_eq!(speak(&mut check, "PROXY UNKNOWN\r\n").await, expected, "a health check is itself");
}

#[tokio::test]
async fn a_proxy_header_frees_nobody_of_limits() {
    let mut limited = config();
    limited.smtp.connections_per_address_per_minute = 1;
    limited.smtp.trusted_networks = vec!["192.0.2.0/24".parse().unwrap()];
    let service = Service::start(limited, behind(Protocol::Smtp, "127.0.0.0/8")).await;
    let header = "PROXY TCP4 192.0.2.7 198.51.100.2 5000 25\r\n";
    assert!(speak(&mut service.connect().await, header).await.starts_with("peer 192.0.2.7"));
    assert_eq!(speak(&mut service.connect().await, header).await, "refused rate\n");
}

#[tokio::test]
async fn probes_get_through_when_clients_have_used_up_all_connections() {
    let mut limited = config();
    limited.limits.max_connections = 1;
    let service = Service::start(limited, listener(Protocol::Http)).await;
    let mut client = service.connect().await;
    speak(&mut client, "").await;
    assert!(speak(&mut service.connect().await, "").await.starts_with("peer"));
    assert_eq!(service.net.limits().total(), 2, "they are counted all the same");
}

#[tokio::test]
async fn a_proxy_header_from_anyone_else_or_none_at_all_is_the_end() {
    let service = Service::start(config(), behind(Protocol::Smtp, "10.0.0.0/8")).await;
    let mut stranger = service.connect().await;
    // The listener may have closed already.
    let _ = stranger.write_all(b"PROXY TCP4 10.0.0.1 10.0.0.2 5000 25\r\n").await;
    assert_eq!(said(&mut stranger).await, "");

    let service = Service::start(config(), behind(Protocol::Smtp, "127.0.0.0/8")).await;
    let mut silent = service.connect().await;
    silent.write_all(b"EHLO example.test\r\n").await.unwrap();
    assert_eq!(said(&mut silent).await, "");
    assert_eq!(service.metric("ekitei_proxy_rejected_total{listener=\"smtp\"}"), 1);
}

#[tokio::test]
async fn implicit_tls_comes_first_and_after_a_proxy_header() {
    let files = certificate(&["mx.example.test"]);
    let mut secure = config();
    secure.tls.certificates.push(files.pair());
    let service = Service::start(secure.clone(), listener(Protocol::Imaps)).await;
    let mut client = client_tls(&files)
        .connect("mx.example.test".try_into().unwrap(), service.connect().await)
        .await
        .unwrap();
    let line = speak(&mut client, "").await;
    assert!(line.contains("tls TLSv1.3 TLS_AES_256_GCM_SHA384 sni mx.example.test"), "{line}");

    let service = Service::start(secure, behind(Protocol::Imaps, "127.0.0.0/8")).await;
    let mut socket = service.connect().await;
    socket.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.2 5000 993\r\n").await.unwrap();
    let mut client = client_tls(&files).connect("mx.example.test".try_into().unwrap(), socket).await.unwrap();
    assert!(speak(&mut client, "").await.starts_with("peer 192.0.2.7:5000 tls TLSv1.3"));
}

#[tokio::test]
async fn a_client_that_does_not_shake_hands_is_cut_off() {
    let files = certificate(&["mx.example.test"]);
    let mut secure = config();
    secure.tls.certificates.push(files.pair());
    secure.limits.tls_handshake_timeout = ekitei_config::Duration::millis(100);
    let service = Service::start(secure, listener(Protocol::Imaps)).await;
    let mut silent = service.connect().await;
    assert_eq!(said(&mut silent).await, "");
    let mut plain = service.connect().await;
    plain.write_all(b"a LOGIN alice secret\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"peer"), "plaintext is not served");
    service.until(|service| service.net.limits().total() == 0).await;
    assert_eq!(service.metric("ekitei_tls_handshakes_total{listener=\"imaps\",result=\"failed\"}"), 2);
}

#[tokio::test]
async fn shutdown_stops_accepting_and_lets_clients_end() {
    let service = Service::start(config(), listener(Protocol::Imap)).await;
    let mut client = service.connect().await;
    speak(&mut client, "").await;
    let shutdown = service.net.shutdown().clone();
    shutdown.begin();
    service.served.await.unwrap();
    assert_eq!(speak(&mut client, "").await, "bye\n");
    assert_eq!(shutdown.running(), 1, "the client is still served");
    assert!(TcpStream::connect(service.address).await.is_err(), "and the socket is closed");
    drop(client);
    assert_eq!(shutdown.finish(Duration::from_secs(10)).await, 0);
}

/// Runs itself again with few descriptors, since the limit is one of the process.
#[test]
fn running_out_of_descriptors_is_survived() {
    const INSIDE: &str = "EKITEI_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(run_out_of_descriptors());
    }
    let status = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 40 && exec \"$0\" --exact listener::running_out_of_descriptors_is_survived"])
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success());
}

async fn run_out_of_descriptors() {
    let service = Service::start(config(), listener(Protocol::Smtp)).await;
    let mut clients = Vec::new();
    while let Ok(client) = TcpStream::connect(service.address).await {
        assert!(clients.len() < 100, "the descriptors must run out");
        clients.push(client);
        tokio::task::yield_now().await;
    }
    service.until(|service| service.metric("ekitei_accept_errors_total{listener=\"smtp\"}") > 0).await;
    drop(clients);
    service.until(|service| service.net.limits().total() == 0).await;
    assert!(speak(&mut service.connect().await, "").await.starts_with("peer"));
}
