//! Domains.

use axum::extract::State;
use axum::http::StatusCode;
use ekitei_api::{Domain, DomainPatch, NewDomain, Page, Problem};
use ekitei_directory::{self as directory, DomainChange, PageRequest};
use serde::Deserialize;
use utoipa::IntoParams;

use super::convert;
use super::{Paging, accounts};
use crate::extract::{IfMatch, Json, Path, Query, Tagged};
use crate::problem::Result;
use crate::state::AppState;

/// Domains in the order of their names.
#[utoipa::path(get, path = "/api/v1/domains", tag = "domains", params(Paging), responses(
    (status = 200, description = "A page of domains.", body = Page<Domain>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(state): State<AppState>,
    Query(paging): Query<Paging>,
) -> Result<axum::Json<Page<Domain>>> {
    let page = state.parts.directory.list_domains(&paging.into()).await?;
    Ok(convert::page(page, convert::domain))
}

/// Create a domain.
#[utoipa::path(post, path = "/api/v1/domains", tag = "domains", request_body = NewDomain, responses(
    (status = 201, description = "The domain.", body = Domain),
    (status = 409, description = "The name is taken.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(state): State<AppState>,
    Json(new): Json<NewDomain>,
) -> Result<(StatusCode, Tagged<Domain>)> {
    let name = directory::Domain::parse(&new.name)?;
    let info = state.parts.directory.create_domain(&name, convert::new_domain(new)?).await?;
    Ok((StatusCode::CREATED, convert::domain(info).into()))
}

/// A domain.
#[utoipa::path(get, path = "/api/v1/domains/{domain}", tag = "domains", params(("domain" = String, Path)), responses(
    (status = 200, description = "The domain.", body = Domain),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(State(state): State<AppState>, Path(name): Path<String>) -> Result<Tagged<Domain>> {
    let name = directory::Domain::parse(&name)?;
    Ok(convert::domain(state.parts.directory.domain(&name).await?).into())
}

/// Change a domain.
#[utoipa::path(patch, path = "/api/v1/domains/{domain}", tag = "domains", params(
    ("domain" = String, Path),
    ("If-Match" = Option<String>, Header, description = "Only if this is still its entity tag."),
), request_body(content = DomainPatch, content_type = "application/merge-patch+json"), responses(
    (status = 200, description = "The domain as it is now.", body = Domain),
    (status = 412, description = "It is not what If-Match names.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn change(
    State(state): State<AppState>,
    Path(name): Path<String>,
    IfMatch(revision): IfMatch,
    Json(patch): Json<DomainPatch>,
) -> Result<Tagged<Domain>> {
    let name = directory::Domain::parse(&name)?;
    let change = convert::domain_change(patch)?;
    Ok(convert::domain(state.parts.directory.update_domain(&name, change, revision).await?).into())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Removal {
    /// Also remove its accounts with their mail, its aliases and its groups.
    #[serde(default)]
    force: bool,
}

/// Remove a domain.
#[utoipa::path(delete, path = "/api/v1/domains/{domain}", tag = "domains", params(("domain" = String, Path), Removal), responses(
    (status = 204, description = "It is gone."),
    (status = 409, description = "It is in use.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove(
    State(state): State<AppState>,
    Path(name): Path<String>,
    Query(Removal { force }): Query<Removal>,
) -> Result<StatusCode> {
    let name = directory::Domain::parse(&name)?;
    let directory = &state.parts.directory;
    if force {
        let disabled = DomainChange { enabled: Some(false), ..DomainChange::default() };
        directory.update_domain(&name, disabled, None).await?;
        // Mail first: once an account is gone, nobody knows whose mail it was.
        loop {
            let page = directory.list_accounts(Some(&name), &PageRequest::default()).await?;
            for account in page.items {
                accounts::remove_with_mail(&state, account.id).await?;
            }
            if page.next.is_none() {
                break;
            }
        }
    }
    directory.delete_domain(&name, force).await?;
    Ok(StatusCode::NO_CONTENT)
}
