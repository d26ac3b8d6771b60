//! `ekitei selftest`: sends mail to a service as others do, over SMTP and submission, and reads it over IMAP.
//!
//! Unless it is given an account, it makes a domain and an account for it by the admin API, and removes both again. What it does
//! is what `helm test` runs.

mod imap;
mod line;
mod smtp;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ekitei_api::{Check, CheckStatus, Client, NewAccount, NewDomain};

use crate::cli::exit::{Context, Failure, Outcome};
use crate::cli::output::Format;
use line::Security;

/// Where to send to and read from.
#[derive(Args, Debug)]
pub struct Options {
    /// Where mail of other servers comes in, `HOST:25`; STARTTLS is used if it is offered.
    #[arg(long, value_name = "HOST:PORT")]
    smtp: Option<String>,
    /// Where users hand in mail with STARTTLS, `HOST:587`.
    #[arg(long, value_name = "HOST:PORT")]
    submission: Option<String>,
    /// Where users hand in mail over TLS, `HOST:465`.
    #[arg(long, value_name = "HOST:PORT")]
    submissions: Option<String>,
    /// Where users read it over TLS, `HOST:993`.
    #[arg(long, value_name = "HOST:PORT")]
    imaps: String,
    /// The account to use, in place of one that is made and removed.
    #[arg(long, value_name = "ADDRESS", requires = "password_file")]
    account: Option<String>,
    /// A file with its password.
    #[arg(long, value_name = "FILE", requires = "account")]
    password_file: Option<PathBuf>,
    /// Do not verify certificates.
    #[arg(long)]
    insecure: bool,
    /// How long to wait for connections, and for mail to arrive.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
}

/// Who sends and reads.
struct User {
    address: String,
    password: String,
}

/// Sends by every way that was named, reads what was sent, prints what it found; fails if anything is not as it should be.
pub async fn run(client: impl FnOnce() -> Outcome<Client>, format: Format, options: &Options) -> Outcome {
    if options.smtp.is_none() && options.submission.is_none() && options.submissions.is_none() {
        return Err(Failure::usage("nothing to send to: give --smtp, --submission or --submissions"));
    }
    let checks = match (&options.account, &options.password_file) {
        (Some(address), Some(file)) => {
            let password = std::fs::read_to_string(file).context(file.display())?;
            let user = User { address: address.clone(), password: password.trim_end().to_owned() };
            exchange(options, &user).await
        }
        _ => with_temporary_account(&client()?, options).await?,
    };
    format.list(&checks)?;
    let failed = checks.iter().filter(|check| check.status == CheckStatus::Failure).count();
    if failed > 0 {
        return Err(Failure::other(format!("{failed} of {} checks failed", checks.len())));
    }
    Ok(())
}

/// Makes an account in a domain that no other service can have (RFC 6761 §6.4), and removes both whatever happens.
async fn with_temporary_account(client: &Client, options: &Options) -> Outcome<Vec<Check>> {
    let domain = format!("selftest-{}.invalid", random());
    let user = User { address: format!("selftest@{domain}"), password: random() + &random() };
    client.create_domain(&NewDomain { name: domain.clone(), ..NewDomain::default() }).await?;
    let account = NewAccount {
        address: user.address.clone(),
        display_name: String::new(),
        password: Some(user.password.clone()),
        password_hash: None,
        quota: None,
        enabled: true,
        forwarding: None,
    };
    let mut checks = match client.create_account(&account).await {
        Ok(_) => exchange(options, &user).await,
        Err(error) => vec![failed("account", error)],
    };
    let removed = client.delete_domain(&domain, true).await;
    checks.push(match removed {
        Ok(()) => passed("removal", format!("{domain} is removed again")),
        Err(error) => failed("removal", format!("{domain} could not be removed: {error}")),
    });
    Ok(checks)
}

/// Sends and reads.
async fn exchange(options: &Options, user: &User) -> Vec<Check> {
    let patience = Duration::from_secs(options.timeout);
    let security = Security { insecure: options.insecure, patience };
    let ways = [
        ("smtp", &options.smtp, smtp::Way::Exchange),
        ("submission", &options.submission, smtp::Way::StartTls),
        ("submissions", &options.submissions, smtp::Way::ImplicitTls),
    ];
    let mut checks = Vec::new();
    let mut sent = Vec::new();
    for (name, address, way) in ways {
        let Some(address) = address else { continue };
        let marker = format!("selftest-{name}-{}", random());
        checks.push(match smtp::send(address, way, security, user, &marker).await {
            Ok(found) => {
                sent.push((name, marker));
                passed(name, format!("{address}: {found}"))
            }
            Err(error) => failed(name, format!("{address}: {error}")),
        });
    }
    if sent.is_empty() {
        return checks;
    }
    match imap::read(&options.imaps, security, user, &sent).await {
        Ok(found) => checks.extend(found),
        Err(error) => checks.push(failed("imaps", format!("{}: {error}", options.imaps))),
    }
    checks
}

fn random() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn passed(name: &str, detail: impl ToString) -> Check {
    Check { name: name.to_owned(), status: CheckStatus::Ok, detail: detail.to_string() }
}

fn failed(name: &str, detail: impl ToString) -> Check {
    Check { name: name.to_owned(), status: CheckStatus::Failure, detail: detail.to_string() }
}
