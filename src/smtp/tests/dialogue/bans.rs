//! What clients do wrong leads to bans, and the banned are not let in.

use std::sync::Arc;
use std::time::Duration;

use ekitei_config::{Config, ListenerConfig, Live, Protocol};
use ekitei_net::{Listener, Net, Tls};
use ekitei_telemetry::Registry;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::{PASSWORD, STRANGER, World, plain};

fn is_banned(world: &World) -> bool {
    let stranger: std::net::SocketAddr = STRANGER.parse().unwrap();
    world.limits.banned(stranger.ip()).is_some()
}

#[tokio::test]
async fn each_kind_of_mistake_counts_its_points() {
    for (command, points) in
        [("RCPT TO:<nobody@example.test>", 4), ("RCPT TO:<someone@else.test>", 20), ("NONSENSE", 2)]
    {
        let world = World::with(|config| config.filter.limits.bans.threshold = 2 * points).await;
        let mut client = world.mx().await;
        client.ask("MAIL FROM:<a@b.test>", "250 ").await;
        client.ask(command, "5").await;
        assert!(!is_banned(&world), "{command} once");
        client.ask(command, "5").await;
        assert!(is_banned(&world), "{command} twice");
    }
}

#[tokio::test]
async fn users_and_front_ends_may_be_wrong_about_an_address() {
    let world = World::with(|config| {
        config.filter.limits.bans.threshold = 1;
        config.smtp.trusted_networks = vec!["198.51.100.0/24".parse().unwrap()];
    })
    .await;
    let mut user = world.user("alice").await;
    user.ask("MAIL FROM:<alice@example.test>", "250 ").await;
    user.ask("RCPT TO:<nobody@example.test>", "550 5.1.1 ").await;
    let mut front_end = world.hello(Protocol::Lmtp, "198.51.100.1:1234").await;
    front_end.ask("MAIL FROM:<a@b.test>", "250 ").await;
    front_end.ask("RCPT TO:<nobody@example.test>", "550 5.1.1 ").await;
    assert!(!is_banned(&world));
    assert!(world.limits.banned("198.51.100.1".parse().unwrap()).is_none());
}

#[tokio::test]
async fn guesses_lead_to_a_ban_that_ends_the_usefulness_of_open_connections() {
    let world = World::with(|config| config.filter.limits.bans.threshold = 20).await;
    let login = async |password: &str, answer: &str| {
        let mut client = world.open(Protocol::Submissions, STRANGER, true);
        client.expect("220 ").await;
        client.say("EHLO client.test").await;
        client.ask(&format!("AUTH PLAIN {}", plain("alice", password)), answer).await;
    };
    login("first", "535 5.7.8 ").await;
    login("first", "535 5.7.8 ").await;
    assert!(!is_banned(&world), "an old password is no guess");
    login("second", "535 5.7.8 ").await;
    login(PASSWORD, "454 4.7.0 ").await;
    assert!(is_banned(&world));
}

#[tokio::test]
async fn a_banned_client_is_told_so_and_goes() {
    let world = World::new().await;
    let net = Net::new(Live::new(Config::default()), Tls::none(), world.shutdown.clone(), &Registry::new());
    let net = net.with_gate(Arc::new(world.limits.clone()));
    let listener = ListenerConfig::new(Protocol::Smtp, "127.0.0.1:0".parse().unwrap());
    let listener = Listener::bind(listener, &net).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listener.serve(Arc::clone(&world.server)));
    let network = "127.0.0.0/24".parse().unwrap();
    for (length, answer) in [(Some(Duration::from_secs(60)), "421 4.7.0 "), (None, "554 5.7.1 ")] {
        world.limits.add_ban(network, "test", length).await.unwrap();
        let mut said = String::new();
        TcpStream::connect(address).await.unwrap().read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with(answer), "{said}");
    }
    world.limits.remove_ban(network).await.unwrap();
    let mut greeting = [0; 4];
    TcpStream::connect(address).await.unwrap().read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 ");
}
