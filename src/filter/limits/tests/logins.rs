//! Logins that fail.

use ekitei_directory::{
    Argon2Cost, AuthContext, AuthError, Directory, Domain, EmailAddress, NewAccount, NewDomain, NewPassword,
    Service, Settings,
};

use super::*;

const ALICE: &str = "alice@example.test";
const PASSWORD: &str = "correct horse";
const HOME: &str = "198.51.100.7";

async fn directory(world: &World) -> Directory {
    let settings = Settings {
        argon2: Argon2Cost { memory_kib: 8, passes: 1, lanes: 1 },
        failed_login_delay: Duration::ZERO,
        ..Settings::default()
    };
    let directory = Directory::new(world.database.clone(), settings, world.clock.clone());
    let domain = Domain::parse("example.test").unwrap();
    directory.create_domain(&domain, NewDomain::default()).await.unwrap();
    let alice = NewAccount {
        address: EmailAddress::parse(ALICE).unwrap(),
        display_name: String::new(),
        password: Some(NewPassword::Plain(PASSWORD.into())),
        quota: None,
        enabled: true,
        forwarding: None,
    };
    directory.create_account(alice).await.unwrap();
    directory
}

async fn login(
    limits: &Limits,
    directory: &Directory,
    client: &str,
    password: &str,
) -> Result<(), AuthError> {
    let context = AuthContext { service: Service::Imap, peer: Some(ip(client)) };
    limits.authenticate(directory, ALICE, password, context).await.map(drop)
}

#[tokio::test]
async fn an_address_that_guesses_is_banned_with_all_its_connections() {
    let world = World::new();
    let (limits, directory) = (world.process().await, directory(&world).await);
    for guess in 0..10 {
        let refused = login(&limits, &directory, CLIENT, &format!("guess {guess}")).await;
        assert!(matches!(refused, Err(AuthError::InvalidCredentials)));
    }
    assert_eq!(connect(&limits, CLIENT, 0), Err(Refusal::Banned));
    let refused = login(&limits, &directory, CLIENT, PASSWORD).await;
    assert!(matches!(refused, Err(AuthError::Limited)), "a connection that it had open is of no more use");
    login(&limits, &directory, HOME, PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_program_with_an_old_password_guesses_nothing() {
    let world = World::new();
    let (limits, directory) = (world.process().await, directory(&world).await);
    for _ in 0..50 {
        login(&limits, &directory, CLIENT, "last year's").await.unwrap_err();
    }
    assert!(limits.banned(ip(CLIENT)).is_none());
}

#[tokio::test]
async fn an_account_that_thousands_guess_at_is_open_to_its_user_alone() {
    let world = World::with(|config| config.filter.limits.login_failures_per_account_per_hour = 20);
    let (limits, directory) = (world.process().await, directory(&world).await);
    login(&limits, &directory, HOME, PASSWORD).await.unwrap();
    for host in 0..20 {
        let refused = login(&limits, &directory, &format!("192.0.2.{host}"), "guess").await;
        assert!(matches!(refused, Err(AuthError::InvalidCredentials)));
    }
    let stranger = login(&limits, &directory, "203.0.113.1", PASSWORD).await;
    assert!(matches!(stranger, Err(AuthError::Limited)));
    login(&limits, &directory, HOME, PASSWORD).await.unwrap();
    limits.sync().await.unwrap();

    // A process that begins now hears of the failures with the first that it sees itself.
    let other = world.process().await;
    login(&other, &directory, "203.0.113.2", "guess").await.unwrap_err();
    other.sync().await.unwrap();
    let stranger = login(&other, &directory, "203.0.113.1", PASSWORD).await;
    assert!(matches!(stranger, Err(AuthError::Limited)));
    login(&other, &directory, HOME, PASSWORD).await.unwrap();

    world.clock.advance(HOUR * 2);
    login(&other, &directory, "203.0.113.1", PASSWORD).await.unwrap();
}
