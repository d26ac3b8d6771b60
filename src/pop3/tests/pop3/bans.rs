//! Clients that guess passwords, and clients that are not let in.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use ekitei_config::{Config, ListenerConfig, Live, Protocol};
use ekitei_net::{Listener, Net, Tls};
use ekitei_telemetry::Registry;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::{Fixture, PASSWORD, USER, config};

#[tokio::test]
async fn guesses_lead_to_a_ban_that_ends_the_usefulness_of_open_connections() {
    let mut config = config();
    config.filter.limits.bans.threshold = 20;
    let fixture = Fixture::with(config).await;
    let (mut guesser, mut other) = (fixture.connect().await, fixture.connect().await);
    for guess in ["a", "b"] {
        guesser.ask(&format!("USER {USER}")).await;
        assert!(guesser.ask(&format!("PASS {guess}")).await.starts_with("-ERR [AUTH] "));
    }
    assert!(fixture.limits.banned("192.0.2.1".parse().unwrap()).is_some());
    other.ask(&format!("USER {USER}")).await;
    assert_eq!(other.ask(&format!("PASS {PASSWORD}")).await, "-ERR [SYS/TEMP] too many logins failed");
}

#[tokio::test]
async fn a_banned_client_is_told_so_and_goes() {
    let fixture = Fixture::new().await;
    let net = Net::new(Live::new(Config::default()), Tls::none(), fixture.shutdown.clone(), &Registry::new());
    let net = net.with_gate(Arc::new(fixture.limits.clone()));
    let listener = ListenerConfig::new(Protocol::Pop3, "127.0.0.1:0".parse().unwrap());
    let listener = Listener::bind(listener, &net).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listener.serve(Arc::clone(&fixture.server)));
    let network = "127.0.0.1".parse().unwrap();
    for (length, answer) in [(Some(Duration::from_secs(60)), "-ERR [SYS/TEMP] "), (None, "-ERR [SYS/PERM] ")]
    {
        fixture.limits.add_ban(network, "test", length).await.unwrap();
        let mut said = String::new();
        TcpStream::connect(address).await.unwrap().read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with(answer), "{said}");
    }
}
