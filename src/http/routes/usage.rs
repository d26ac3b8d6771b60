//! What accounts and domains hold, and counting it again.

use axum::extract::State;
use ekitei_api::{AccountUsage, CountDifference, CountedIn, DomainUsage, Page, Problem};
use ekitei_directory::{Account, Domain, DomainInfo};
use ekitei_mailstore::{CountedPlace, Difference, Repair};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{DomainPaging, Paging, accounts};
use crate::extract::{Path, Query};
use crate::problem::Result;
use crate::state::AppState;

/// What accounts hold, in the order of their addresses.
#[utoipa::path(get, path = "/api/v1/usage/accounts", tag = "accounts", params(DomainPaging), responses(
    (status = 200, description = "A page of accounts with what they hold.", body = Page<AccountUsage>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list_accounts(
    State(state): State<AppState>,
    Query(paging): Query<DomainPaging>,
) -> Result<axum::Json<Page<AccountUsage>>> {
    let domain = paging.domain.as_deref().map(Domain::parse).transpose()?;
    let page = state.parts.directory.list_accounts(domain.as_ref(), &paging.page()).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for account in page.items {
        items.push(of_account(&state, account).await?);
    }
    Ok(axum::Json(Page { items, next: page.next }))
}

/// What an account holds.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/usage", tag = "accounts",
    params(("account" = String, Path, description = "Its address or number.")), responses(
    (status = 200, description = "What it holds.", body = AccountUsage),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show_account(
    State(state): State<AppState>,
    Path(account): Path<String>,
) -> Result<axum::Json<AccountUsage>> {
    let account = accounts::find(&state, &account).await?;
    Ok(axum::Json(of_account(&state, account).await?))
}

/// What domains hold, in the order of their names.
#[utoipa::path(get, path = "/api/v1/usage/domains", tag = "domains", params(Paging), responses(
    (status = 200, description = "A page of domains with what their accounts hold together.", body = Page<DomainUsage>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list_domains(
    State(state): State<AppState>,
    Query(paging): Query<Paging>,
) -> Result<axum::Json<Page<DomainUsage>>> {
    let page = state.parts.directory.list_domains(&paging.into()).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for info in page.items {
        items.push(of_domain(&state, info).await?);
    }
    Ok(axum::Json(Page { items, next: page.next }))
}

/// What the accounts of a domain hold together.
#[utoipa::path(get, path = "/api/v1/domains/{domain}/usage", tag = "domains", params(("domain" = String, Path)), responses(
    (status = 200, description = "What they hold.", body = DomainUsage),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show_domain(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<axum::Json<DomainUsage>> {
    let info = state.parts.directory.domain(&Domain::parse(&name)?).await?;
    Ok(axum::Json(of_domain(&state, info).await?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recount {
    /// Also set right what differs.
    #[serde(default)]
    repair: bool,
}

/// Count the mail of an account again: its mailboxes by their messages, and the account by its mailboxes. It may be in use meanwhile.
#[utoipa::path(post, path = "/api/v1/accounts/{account}/recount", tag = "accounts", params(
    ("account" = String, Path, description = "Its address or number."), Recount,
), responses(
    (status = 200, description = "The counters that were wrong.", body = Page<CountDifference>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn recount_account(
    State(state): State<AppState>,
    Path(account): Path<String>,
    Query(recount): Query<Recount>,
) -> Result<axum::Json<Page<CountDifference>>> {
    let account = accounts::find(&state, &account).await?;
    let found = state.parts.mailstore.recount(account.id, recount.repair()).await?;
    Ok(recount.answer(&account.address.to_string(), found))
}

/// Count again what the accounts of a domain hold together, by the counters of each; those are to be counted before.
#[utoipa::path(post, path = "/api/v1/domains/{domain}/recount", tag = "domains", params(
    ("domain" = String, Path), Recount,
), responses(
    (status = 200, description = "The counters that were wrong.", body = Page<CountDifference>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn recount_domain(
    State(state): State<AppState>,
    Path(name): Path<String>,
    Query(recount): Query<Recount>,
) -> Result<axum::Json<Page<CountDifference>>> {
    let info = state.parts.directory.domain(&Domain::parse(&name)?).await?;
    let found = state.parts.mailstore.recount_domain(&info.name, recount.repair()).await?;
    Ok(recount.answer(&info.name.to_string(), found))
}

impl Recount {
    fn repair(&self) -> Repair {
        if self.repair { Repair::Yes } else { Repair::No }
    }

    fn answer(&self, name: &str, found: Vec<Difference>) -> axum::Json<Page<CountDifference>> {
        let difference = |Difference { place, what, counter, actual }| {
            let (counted_in, mailbox) = match place {
                CountedPlace::Mailbox(_, mailbox) => (CountedIn::Mailbox, Some(mailbox.to_string())),
                CountedPlace::Account => (CountedIn::Account, None),
                CountedPlace::Domain => (CountedIn::Domain, None),
            };
            CountDifference {
                counted_in,
                name: name.to_owned(),
                mailbox,
                what: what.name().to_owned(),
                counter,
                actual,
                repaired: self.repair,
            }
        };
        axum::Json(Page { items: found.into_iter().map(difference).collect(), next: None })
    }
}

async fn of_account(state: &AppState, account: Account) -> Result<AccountUsage> {
    let usage = state.parts.mailstore.usage(account.id).await?;
    Ok(AccountUsage {
        id: account.id.get(),
        address: account.address.to_string(),
        messages: usage.messages,
        octets: usage.bytes,
        quota: state.parts.directory.quota(account.id).await?.account,
    })
}

async fn of_domain(state: &AppState, info: DomainInfo) -> Result<DomainUsage> {
    let usage = state.parts.mailstore.domain_usage(&info.name).await?;
    Ok(DomainUsage {
        name: info.name.as_ascii().to_owned(),
        unicode_name: info.name.to_string(),
        messages: usage.messages,
        octets: usage.bytes,
        total_quota: info.total_quota,
    })
}
