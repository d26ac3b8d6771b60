//! `ekitei account usage`, `ekitei account recount`, `ekitei domain usage`, `ekitei domain recount`

use clap::Args;
use ekitei_api::{AccountUsage, Client, CountDifference, CountedIn, DomainUsage};

use super::all_pages;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output::{Columns, Format, or_dash, size, yes_no};

/// Which accounts to show the usage of.
#[derive(Args)]
pub struct AccountUsageOptions {
    /// Which; all of them if it is left out.
    account: Option<String>,
    /// Only those of this domain.
    #[arg(long, conflicts_with = "account")]
    domain: Option<String>,
}

/// Which accounts to count again.
#[derive(Args)]
pub struct RecountOptions {
    /// Which.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    account: Option<String>,
    /// All accounts, and then all domains.
    #[arg(long)]
    all: bool,
    /// Set right what differs. Mail may be delivered and read meanwhile.
    #[arg(long)]
    repair: bool,
}

impl Columns for AccountUsage {
    const HEAD: &'static [&'static str] = &["ID", "ADDRESS", "MESSAGES", "SIZE", "QUOTA", "USED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.address.clone(),
            self.messages.to_string(),
            size(Some(self.octets)),
            size(self.quota),
            used(self.octets, self.quota),
        ]
    }
}

impl Columns for DomainUsage {
    const HEAD: &'static [&'static str] = &["NAME", "MESSAGES", "SIZE", "TOTAL QUOTA", "USED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.unicode_name.clone(),
            self.messages.to_string(),
            size(Some(self.octets)),
            size(self.total_quota),
            used(self.octets, self.total_quota),
        ]
    }
}

impl Columns for CountDifference {
    const HEAD: &'static [&'static str] = &["OF", "NAME", "MAILBOX", "WHAT", "COUNTER", "ACTUAL", "REPAIRED"];

    fn cells(&self) -> Vec<String> {
        let of = match self.counted_in {
            CountedIn::Mailbox => "mailbox",
            CountedIn::Account => "account",
            CountedIn::Domain => "domain",
        };
        vec![
            of.to_owned(),
            self.name.clone(),
            or_dash(self.mailbox.as_ref()),
            self.what.clone(),
            self.counter.to_string(),
            self.actual.to_string(),
            yes_no(self.repaired),
        ]
    }
}

/// The part of a quota that is used, in percent.
fn used(octets: u64, quota: Option<u64>) -> String {
    let percent = |quota: u64| format!("{}%", u128::from(octets) * 100 / u128::from(quota.max(1)));
    or_dash(quota.map(percent).as_ref())
}

/// Shows what accounts hold.
pub async fn accounts(client: &Client, format: Format, options: AccountUsageOptions) -> Outcome {
    match options.account {
        Some(account) => format.show(&client.account_usage(&account).await?),
        None => {
            let list = async |page| client.list_account_usage(&page).await;
            format.list(&all_pages(options.domain.as_deref(), list).await?)
        }
    }
}

/// Shows what domains hold.
pub async fn domains(client: &Client, format: Format, name: Option<String>) -> Outcome {
    match name {
        Some(name) => format.show(&client.domain_usage(&name).await?),
        None => {
            let list = async |page| client.list_domain_usage(&page).await;
            format.list(&all_pages(None, list).await?)
        }
    }
}

/// Counts accounts again.
pub async fn recount(client: &Client, format: Format, options: RecountOptions) -> Outcome {
    let RecountOptions { account, repair, .. } = options;
    if let Some(account) = account {
        return tell(format, &client.recount_account(&account, repair).await?.items);
    }
    let mut found = Vec::new();
    let accounts = all_pages(None, async |page| client.list_accounts(&page).await).await?;
    for account in accounts {
        found.extend(client.recount_account(&account.id.to_string(), repair).await?.items);
    }
    for domain in all_pages(None, async |page| client.list_domains(&page).await).await? {
        found.extend(client.recount_domain(&domain.name, repair).await?.items);
    }
    tell(format, &found)
}

/// Counts a domain again.
pub async fn recount_domain(client: &Client, format: Format, name: &str, repair: bool) -> Outcome {
    tell(format, &client.recount_domain(name, repair).await?.items)
}

/// Shows what differs; that something does and stays so is a failure.
fn tell(format: Format, found: &[CountDifference]) -> Outcome {
    if found.is_empty() && format == Format::Table {
        return format.done("all counters are right");
    }
    format.list(found)?;
    match found.iter().filter(|difference| !difference.repaired).count() {
        0 => Ok(()),
        wrong => Err(Failure::other(format!("{wrong} counters are wrong; --repair sets them right"))),
    }
}
