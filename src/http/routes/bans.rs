//! Bans of clients, and the greylist.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use ekitei_api::{Ban, GreylistEntry, GreylistRemoved, NewBan, Page, Problem, ProblemCode};
use ekitei_config::Cidr;
use ekitei_filter::BanError;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Paging;
use crate::extract::{Json, Path, Query};
use crate::problem::{Refused, Result};
use crate::state::AppState;

/// Objects on a page, if the client does not say.
const PAGE: usize = 100;
/// The most objects on a page.
const MAX_PAGE: usize = 1_000;

/// Which page of the greylist.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct GreylistPaging {
    /// What was put off and did not come again yet, instead of what passed.
    #[serde(default)]
    waiting: bool,
    /// The `next` of the page before.
    after: Option<String>,
    /// Objects on the page: 100 if absent, at most 1000.
    limit: Option<usize>,
}

fn ban(ban: &ekitei_filter::Ban) -> Ban {
    Ban {
        network: ban.network.to_string(),
        reason: ban.reason.clone(),
        manual: ban.manual,
        created: ban.created.as_secs(),
        until: ban.until.map(|until| until.as_secs()),
        times: ban.times,
    }
}

impl From<BanError> for Refused {
    fn from(error: BanError) -> Self {
        let code = match &error {
            BanError::NotFound(_) => ProblemCode::NotFound,
            BanError::Invalid(_) | BanError::Full(_) => ProblemCode::Invalid,
            BanError::Unavailable(_) => ProblemCode::Unavailable,
        };
        Self::new(code, error)
    }
}

fn page_size(limit: Option<usize>) -> usize {
    limit.unwrap_or(PAGE).clamp(1, MAX_PAGE)
}

fn network(text: &str) -> Result<Cidr> {
    text.parse().map_err(|error| Refused::invalid(format!("{text:?} is not {error}")))
}

fn address(text: &str) -> Result<IpAddr> {
    text.parse().map_err(|_| Refused::invalid(format!("{text:?} is not an address")))
}

/// Bans that count now, in the order of their networks as texts.
#[utoipa::path(get, path = "/api/v1/bans", tag = "bans", params(Paging), responses(
    (status = 200, description = "A page of bans.", body = Page<Ban>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(state): State<AppState>,
    Query(paging): Query<Paging>,
) -> Result<axum::Json<Page<Ban>>> {
    let limit = page_size(paging.limit);
    let bans = state.parts.limits.list_bans(paging.after.as_deref(), limit).await?;
    let next = bans.last().filter(|_| bans.len() == limit).map(|last| last.network.to_string());
    Ok(axum::Json(Page { items: bans.iter().map(ban).collect(), next }))
}

/// The ban that keeps an address out.
#[utoipa::path(get, path = "/api/v1/bans/{network}", tag = "bans",
    params(("network" = String, Path, description = "The address.")), responses(
    (status = 200, description = "The ban.", body = Ban),
    (status = 404, description = "The address is not banned.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(State(state): State<AppState>, Path(text): Path<String>) -> Result<axum::Json<Ban>> {
    let client = address(&text)?;
    match state.parts.limits.banned(client) {
        Some(found) => Ok(axum::Json(ban(&found))),
        None => Err(BanError::NotFound(Cidr::around(client, u8::MAX)).into()),
    }
}

/// Ban a network, in place of any ban that it has. Connections that are open stay so, but cannot log in any more.
#[utoipa::path(put, path = "/api/v1/bans/{network}", tag = "bans", request_body = NewBan,
    params(("network" = String, Path, description = "An address or a network, as 192.0.2.0/24.")), responses(
    (status = 200, description = "The ban.", body = Ban),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn put(
    State(state): State<AppState>,
    Path(text): Path<String>,
    Json(new): Json<NewBan>,
) -> Result<axum::Json<Ban>> {
    let length = new.duration.map(Duration::from_secs);
    let made = state.parts.limits.add_ban(network(&text)?, &new.reason, length).await?;
    Ok(axum::Json(ban(&made)))
}

/// End a ban, and forget what the network did.
#[utoipa::path(delete, path = "/api/v1/bans/{network}", tag = "bans",
    params(("network" = String, Path, description = "The network of the ban.")), responses(
    (status = 204, description = "It is over."),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove(State(state): State<AppState>, Path(text): Path<String>) -> Result<StatusCode> {
    state.parts.limits.remove_ban(network(&text)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn unavailable(error: ekitei_kv::Error) -> Refused {
    BanError::Unavailable(error).into()
}

/// Combinations of network, sender and recipient that the greylist knows.
#[utoipa::path(get, path = "/api/v1/greylist", tag = "bans", params(GreylistPaging), responses(
    (status = 200, description = "A page of combinations.", body = Page<GreylistEntry>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list_greylist(
    State(state): State<AppState>,
    Query(paging): Query<GreylistPaging>,
) -> Result<axum::Json<Page<GreylistEntry>>> {
    let GreylistPaging { waiting, after, limit } = paging;
    let page = state.parts.greylist.list(!waiting, after.as_deref(), page_size(limit)).await;
    let page = page.map_err(unavailable)?;
    let items = page.entries.into_iter().map(|entry| GreylistEntry {
        network: entry.network.to_string(),
        sender: entry.sender,
        recipient: entry.recipient,
        passed: entry.passed,
        at: entry.at.as_secs(),
    });
    Ok(axum::Json(Page { items: items.collect(), next: page.next }))
}

/// Forget all that the greylist knows about the network of a client: its next mail is its first.
#[utoipa::path(delete, path = "/api/v1/greylist/{address}", tag = "bans",
    params(("address" = String, Path, description = "An address in the network.")), responses(
    (status = 200, description = "How much that was.", body = GreylistRemoved),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove_greylist(
    State(state): State<AppState>,
    Path(text): Path<String>,
) -> Result<axum::Json<GreylistRemoved>> {
    let removed = state.parts.greylist.remove(address(&text)?).await.map_err(unavailable)?;
    Ok(axum::Json(GreylistRemoved { removed: u64::try_from(removed).unwrap_or(u64::MAX) }))
}
