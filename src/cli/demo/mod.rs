//! `ekitei demo`: a whole service on one machine, for a first look.
//!
//! On the first start it writes a configuration, a certificate that nobody signed, a token and two passwords into the data
//! directory, and creates `example.test` with alice and bob. Later starts find all of that, and the mail.

mod files;
mod instructions;

use std::path::Path;

use ekitei_config::Config;
use ekitei_directory::{
    AccountChange, Directory, Domain, EmailAddress, Error, NewAccount, NewDomain, NewPassword, PageRequest,
};
use ekitei_signing::{NewKey, Signing};

use crate::cli::exit::{Context, Failure, Outcome};
use crate::cli::service::Service;
use crate::cli::start_logs;

/// The domain of the demo.
const DOMAIN: &str = "example.test";
/// Its users.
const USERS: [&str; 2] = ["alice", "bob"];
/// Sets the passwords of both users.
const PASSWORD_VARIABLE: &str = "EKITEI_DEMO_PASSWORD";

/// A user of the demo.
struct DemoUser {
    address: String,
    password: String,
}

/// Starts the demo in `data`, and runs until it is told to stop.
///
/// # Errors
/// What cannot be written, read, opened or bound.
pub async fn run(data: &Path) -> Outcome {
    let files = files::Files::prepare(data)?;
    let config = Config::load(&files.config).map_err(Failure::usage)?;
    let logs = start_logs(&config, None)?;
    let users = files.users(std::env::var(PASSWORD_VARIABLE).ok())?;
    let http = config.listeners.iter().any(|listener| listener.protocol == ekitei_config::Protocol::Http);
    if !http {
        return Err(Failure::usage(format!(
            "{} has no listener with protocol: http",
            files.config.display()
        )));
    }
    let service =
        Service::build(config, false).await.map_err(|error| Failure::other(format!("{error:#}")))?;
    fill(service.directory(), &users).await.context("the demo accounts")?;
    sign(service.signing()).await.context("the demo's DKIM keys")?;
    files.keep_passwords(&users)?;
    let addresses = service.addresses().context("the listeners")?;
    println!("{}", instructions::text(&addresses, &users, &files));
    service.run(Some(&files.config), logs).await.map_err(|error| Failure::other(format!("{error:#}")))
}

/// Creates what is not there yet, and sets passwords that have changed.
async fn fill(directory: &Directory, users: &[DemoUser]) -> Result<(), Error> {
    let domain = Domain::parse(DOMAIN)?;
    if !directory.is_local_domain(&domain).await? {
        directory.create_domain(&domain, NewDomain::default()).await?;
    }
    for user in users {
        let address = EmailAddress::parse(&user.address)?;
        let password = NewPassword::Plain(user.password.clone());
        match directory.account_by_address(&address).await {
            Ok(account) => set_password(directory, &account, user, password).await?,
            Err(Error::NotFound { .. }) => {
                let new = NewAccount {
                    address,
                    display_name: user.display_name(),
                    password: Some(password),
                    quota: None,
                    enabled: true,
                    forwarding: None,
                };
                directory.create_account(new).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes keys that sign at once, unless there are keys.
async fn sign(signing: &Signing) -> Result<(), ekitei_signing::Error> {
    let domain = Domain::parse(DOMAIN).map_err(|_| ekitei_signing::Error::NoSuchDomain(DOMAIN.to_owned()))?;
    if signing.list(Some(&domain), &PageRequest::default()).await?.items.is_empty() {
        signing.create(&domain, NewKey { now: true, ..NewKey::default() }).await?;
    }
    Ok(())
}

async fn set_password(
    directory: &Directory,
    account: &ekitei_directory::Account,
    user: &DemoUser,
    password: NewPassword,
) -> Result<(), Error> {
    let context = ekitei_directory::AuthContext { service: ekitei_directory::Service::Http, peer: None };
    if directory.authenticate(&user.address, &user.password, context).await.is_ok() {
        return Ok(());
    }
    let change = AccountChange { password: Some(Some(password)), ..AccountChange::default() };
    directory.update_account(account.id, change, None).await.map(drop)
}

impl DemoUser {
    /// `alice@example.test` is called Alice.
    fn display_name(&self) -> String {
        let mut letters = self.address.split('@').next().unwrap_or_default().chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
    }
}
