//! What accounts and domains hold, and whether their counters are right.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::client::{Client, PageQuery, Result};
use crate::types::Page;

/// What an account holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountUsage {
    /// Its number.
    pub id: u64,
    /// Its address.
    #[schema(example = "alice@example.test")]
    pub address: String,
    /// Messages in all its mailboxes; one that is in two mailboxes counts twice.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// What it may hold, in octets: its own quota, its domain's for each account or the service's; absent for no limit.
    pub quota: Option<u64>,
}

/// What all accounts of a domain hold together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DomainUsage {
    /// Its name in A-labels.
    pub name: String,
    /// Its name in U-labels.
    pub unicode_name: String,
    /// Messages in all mailboxes of its accounts.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// What they may hold together, in octets; absent for no limit.
    pub total_quota: Option<u64>,
}

/// What a counter is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CountedIn {
    /// A mailbox.
    Mailbox,
    /// An account.
    Account,
    /// A domain.
    Domain,
}

/// A counter that was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CountDifference {
    /// What it is of.
    pub counted_in: CountedIn,
    /// The address of the account, or the name of the domain.
    pub name: String,
    /// The mailbox.
    pub mailbox: Option<String>,
    /// `messages`, `unseen`, `deleted` or `octets`.
    #[schema(example = "octets")]
    pub what: String,
    /// What it said.
    pub counter: i64,
    /// What there was.
    pub actual: i64,
    /// Whether it is right now.
    pub repaired: bool,
}

impl Client {
    /// One page of what accounts hold.
    pub async fn list_account_usage(&self, page: &PageQuery) -> Result<Page<AccountUsage>> {
        self.list(&["usage", "accounts"], page).await
    }

    /// What an account holds.
    pub async fn account_usage(&self, account: &str) -> Result<AccountUsage> {
        self.get(&["accounts", account, "usage"]).await
    }

    /// One page of what domains hold.
    pub async fn list_domain_usage(&self, page: &PageQuery) -> Result<Page<DomainUsage>> {
        self.list(&["usage", "domains"], page).await
    }

    /// What a domain holds.
    pub async fn domain_usage(&self, name: &str) -> Result<DomainUsage> {
        self.get(&["domains", name, "usage"]).await
    }

    /// Counts the mail of an account again, with `repair` setting right what differs.
    pub async fn recount_account(&self, account: &str, repair: bool) -> Result<Page<CountDifference>> {
        let request = self.request(Method::POST, &["accounts", account, "recount"])?;
        self.json(request.query(&[("repair", repair)])).await
    }

    /// Counts again what the accounts of a domain hold together, with `repair` setting right what differs.
    pub async fn recount_domain(&self, name: &str, repair: bool) -> Result<Page<CountDifference>> {
        let request = self.request(Method::POST, &["domains", name, "recount"])?;
        self.json(request.query(&[("repair", repair)])).await
    }
}
