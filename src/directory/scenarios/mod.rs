//! What the directory promises, by example, on the in-memory engine.

#![allow(clippy::unwrap_used)]

mod addresses;
mod logins;
mod objects;
mod recipients;
mod repetition;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ekitei_kv::Database;
use ekitei_kv::clock::ManualClock;

use crate::{
    Account, AccountId, AuthContext, Directory, Domain, EmailAddress, NewAccount, NewDomain, NewPassword,
    Service, Settings,
};

const CONTEXT: AuthContext = AuthContext { service: Service::Imap, peer: None };

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

fn addresses(texts: &[&str]) -> BTreeSet<EmailAddress> {
    texts.iter().map(|text| address(text)).collect()
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// Cheap hashes, so that tests measure rules and not Argon2id.
fn settings() -> Settings {
    Settings {
        argon2: crate::Argon2Cost { memory_kib: 8, passes: 1, lanes: 1 },
        failed_login_delay: Duration::ZERO,
        ..Settings::default()
    }
}

fn directory_with(db: Database, settings: Settings) -> Directory {
    Directory::new(db, settings, ManualClock::new(Duration::from_secs(1_800_000_000)))
}

/// An empty directory.
fn empty() -> Directory {
    directory_with(Database::in_memory(), settings())
}

/// A directory with `example.test`, alice and bob.
async fn example() -> Directory {
    let directory = empty();
    fill(&directory).await;
    directory
}

async fn fill(directory: &Directory) {
    directory.create_domain(&domain("example.test"), NewDomain::default()).await.unwrap();
    for user in ["alice", "bob"] {
        add(directory, &format!("{user}@example.test")).await;
    }
}

/// Adds an account whose password is `secret of <its address>`.
async fn add(directory: &Directory, text: &str) -> Account {
    let password = NewPassword::Plain(format!("secret of {text}"));
    add_with(directory, text, Some(password)).await
}

async fn add_with(directory: &Directory, text: &str, password: Option<NewPassword>) -> Account {
    let new = NewAccount {
        address: address(text),
        display_name: String::new(),
        password,
        quota: None,
        enabled: true,
        forwarding: None,
    };
    directory.create_account(new).await.unwrap()
}

async fn id(directory: &Directory, text: &str) -> AccountId {
    directory.account_by_address(&address(text)).await.unwrap().id
}

/// Two handles that share a store but no memory, as two processes would.
fn two_processes() -> (Directory, Directory) {
    let db = Database::in_memory();
    (directory_with(db.clone(), settings()), directory_with(db, settings()))
}

/// Follows changes in the background, as a service does.
fn following(directory: &Directory) -> Arc<tokio::task::JoinHandle<()>> {
    let directory = directory.clone();
    Arc::new(tokio::spawn(async move { directory.follow_changes().await }))
}
