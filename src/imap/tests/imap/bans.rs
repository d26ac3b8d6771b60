//! Clients that guess passwords, and clients that are not let in.

use std::sync::Arc;
use std::time::Duration;

use ekitei_config::{Config, ListenerConfig, Live, Protocol};
use ekitei_net::{Listener, Net, Tls};
use ekitei_telemetry::Registry;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::{PASSWORD, World};

#[tokio::test]
async fn guesses_lead_to_a_ban_that_ends_the_usefulness_of_open_connections() {
    let world = World::with(|config| {
        config.imap.max_auth_failures = 5;
        config.filter.limits.bans.threshold = 30;
    })
    .await;
    let (mut guesser, mut other) = (world.connect().await, world.connect().await);
    for guess in ["a", "b", "c"] {
        guesser.fails(&format!("LOGIN alice@example.test {guess}"), "NO [AUTHENTICATIONFAILED] ").await;
    }
    assert!(world.limits.banned("203.0.113.9".parse().unwrap()).is_some());
    other.fails(&format!("LOGIN alice@example.test {PASSWORD:?}"), "NO [LIMIT] ").await;
    let count = "ekitei_imap_logins_total{result=\"limited\"} 1";
    assert!(world.registry.render().contains(count), "{}", world.registry.render());
}

#[tokio::test]
async fn a_banned_client_is_told_so_and_goes() {
    let world = World::new().await;
    let net = Net::new(Live::new(Config::default()), Tls::none(), world.shutdown.clone(), &Registry::new());
    let net = net.with_gate(Arc::new(world.limits.clone()));
    let listener = ListenerConfig::new(Protocol::Imap, "127.0.0.1:0".parse().unwrap());
    let listener = Listener::bind(listener, &net).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listener.serve(Arc::clone(&world.server)));
    let network = "127.0.0.1".parse().unwrap();
    for (length, answer) in
        [(Some(Duration::from_secs(60)), "* BYE [LIMIT] "), (None, "* BYE [CONTACTADMIN] ")]
    {
        world.limits.add_ban(network, "test", length).await.unwrap();
        let mut said = String::new();
        TcpStream::connect(address).await.unwrap().read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with(answer), "{said}");
    }
    world.limits.remove_ban(network).await.unwrap();
    let mut greeting = [0; 5];
    TcpStream::connect(address).await.unwrap().read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"* OK ");
}
