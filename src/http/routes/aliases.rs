//! Aliases.

use axum::extract::State;
use axum::http::StatusCode;
use ekitei_api::{Alias, AliasTargets, NewAlias, Page, Problem};
use ekitei_directory::{Domain, Error};

use super::{DomainPaging, convert};
use crate::extract::{IfMatch, Json, Path, Query, Tagged};
use crate::problem::Result;
use crate::state::AppState;

/// Aliases in the order of their addresses.
#[utoipa::path(get, path = "/api/v1/aliases", tag = "aliases", params(DomainPaging), responses(
    (status = 200, description = "A page of aliases.", body = Page<Alias>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(state): State<AppState>,
    Query(paging): Query<DomainPaging>,
) -> Result<axum::Json<Page<Alias>>> {
    let domain = paging.domain.as_deref().map(Domain::parse).transpose()?;
    let page = state.parts.directory.list_aliases(domain.as_ref(), &paging.page()).await?;
    Ok(convert::page(page, convert::alias))
}

/// Create an alias.
#[utoipa::path(post, path = "/api/v1/aliases", tag = "aliases", request_body = NewAlias, responses(
    (status = 201, description = "The alias.", body = Alias),
    (status = 409, description = "The address is taken.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(state): State<AppState>,
    Json(new): Json<NewAlias>,
) -> Result<(StatusCode, Tagged<Alias>)> {
    let (address, targets) = (convert::address(&new.address)?, convert::addresses(&new.targets)?);
    let alias = state.parts.directory.create_alias(&address, targets).await?;
    Ok((StatusCode::CREATED, convert::alias(alias).into()))
}

/// An alias.
#[utoipa::path(get, path = "/api/v1/aliases/{address}", tag = "aliases", params(("address" = String, Path)), responses(
    (status = 200, description = "The alias.", body = Alias),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(state): State<AppState>,
    Path(address): Path<String>,
) -> Result<Tagged<Alias>> {
    Ok(convert::alias(state.parts.directory.alias(&convert::address(&address)?).await?).into())
}

/// Make an alias have exactly these targets, whether it is there or not.
#[utoipa::path(put, path = "/api/v1/aliases/{address}", tag = "aliases", params(
    ("address" = String, Path),
    ("If-Match" = Option<String>, Header, description = "Only if it is there, and this is still its entity tag."),
), request_body = AliasTargets, responses(
    (status = 200, description = "The alias as it is now.", body = Alias),
    (status = 412, description = "It is not what If-Match names.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn replace(
    State(state): State<AppState>,
    Path(address): Path<String>,
    IfMatch(revision): IfMatch,
    Json(AliasTargets { targets }): Json<AliasTargets>,
) -> Result<Tagged<Alias>> {
    let (address, targets) = (convert::address(&address)?, convert::addresses(&targets)?);
    let directory = &state.parts.directory;
    let alias = match directory.update_alias(&address, targets.clone(), revision).await {
        Err(Error::NotFound { .. }) if revision.is_none() => {
            directory.create_alias(&address, targets).await?
        }
        updated => updated?,
    };
    Ok(convert::alias(alias).into())
}

/// Remove an alias.
#[utoipa::path(delete, path = "/api/v1/aliases/{address}", tag = "aliases", params(("address" = String, Path)), responses(
    (status = 204, description = "It is gone."),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove(State(state): State<AppState>, Path(address): Path<String>) -> Result<StatusCode> {
    state.parts.directory.delete_alias(&convert::address(&address)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
