//! Groups and their members.

use axum::extract::State;
use axum::http::StatusCode;
use ekitei_api::{Group, GroupPatch, NewGroup, Page, Problem};
use ekitei_directory::{self as directory, Domain, EmailAddress, GroupChange};

use super::{DomainPaging, Paging, convert};
use crate::extract::{IfMatch, Json, Path, Query, Tagged};
use crate::problem::Result;
use crate::state::AppState;

/// Groups in the order of their addresses.
#[utoipa::path(get, path = "/api/v1/groups", tag = "groups", params(DomainPaging), responses(
    (status = 200, description = "A page of groups.", body = Page<Group>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(state): State<AppState>,
    Query(paging): Query<DomainPaging>,
) -> Result<axum::Json<Page<Group>>> {
    let domain = paging.domain.as_deref().map(Domain::parse).transpose()?;
    let page = state.parts.directory.list_groups(domain.as_ref(), &paging.page()).await?;
    Ok(convert::page(page, convert::group))
}

/// Create a group.
#[utoipa::path(post, path = "/api/v1/groups", tag = "groups", request_body = NewGroup, responses(
    (status = 201, description = "The group.", body = Group),
    (status = 409, description = "The address is taken.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(state): State<AppState>,
    Json(new): Json<NewGroup>,
) -> Result<(StatusCode, Tagged<Group>)> {
    let new = directory::NewGroup {
        address: convert::address(&new.address)?,
        display_name: new.display_name,
        members_may_send: new.members_may_send,
        members: convert::addresses(&new.members)?,
    };
    let group = state.parts.directory.create_group(new).await?;
    Ok((StatusCode::CREATED, convert::group(group).into()))
}

/// A group.
#[utoipa::path(get, path = "/api/v1/groups/{address}", tag = "groups", params(("address" = String, Path)), responses(
    (status = 200, description = "The group.", body = Group),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(state): State<AppState>,
    Path(address): Path<String>,
) -> Result<Tagged<Group>> {
    Ok(convert::group(state.parts.directory.group(&convert::address(&address)?).await?).into())
}

/// Change a group.
#[utoipa::path(patch, path = "/api/v1/groups/{address}", tag = "groups", params(
    ("address" = String, Path),
    ("If-Match" = Option<String>, Header, description = "Only if this is still its entity tag."),
), request_body(content = GroupPatch, content_type = "application/merge-patch+json"), responses(
    (status = 200, description = "The group as it is now.", body = Group),
    (status = 412, description = "It is not what If-Match names.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn change(
    State(state): State<AppState>,
    Path(address): Path<String>,
    IfMatch(revision): IfMatch,
    Json(patch): Json<GroupPatch>,
) -> Result<Tagged<Group>> {
    let change = GroupChange { display_name: patch.display_name, members_may_send: patch.members_may_send };
    let address = convert::address(&address)?;
    Ok(convert::group(state.parts.directory.update_group(&address, change, revision).await?).into())
}

/// Remove a group.
#[utoipa::path(delete, path = "/api/v1/groups/{address}", tag = "groups", params(("address" = String, Path)), responses(
    (status = 204, description = "It is gone."),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove(State(state): State<AppState>, Path(address): Path<String>) -> Result<StatusCode> {
    state.parts.directory.delete_group(&convert::address(&address)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Members in the order of their addresses.
#[utoipa::path(get, path = "/api/v1/groups/{address}/members", tag = "groups",
    params(("address" = String, Path), Paging), responses(
    (status = 200, description = "A page of members.", body = Page<String>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list_members(
    State(state): State<AppState>,
    Path(address): Path<String>,
    Query(paging): Query<Paging>,
) -> Result<axum::Json<Page<String>>> {
    let page = state.parts.directory.list_members(&convert::address(&address)?, &paging.into()).await?;
    Ok(convert::page(page, |member: EmailAddress| member.to_string()))
}

/// Add a member, if it is none yet.
#[utoipa::path(put, path = "/api/v1/groups/{address}/members/{member}", tag = "groups", params(
    ("address" = String, Path),
    ("member" = String, Path),
), responses(
    (status = 204, description = "It is a member."),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn add_member(
    State(state): State<AppState>,
    Path((group, member)): Path<(String, String)>,
) -> Result<StatusCode> {
    state.parts.directory.add_member(&convert::address(&group)?, &convert::address(&member)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a member.
#[utoipa::path(delete, path = "/api/v1/groups/{address}/members/{member}", tag = "groups", params(
    ("address" = String, Path),
    ("member" = String, Path),
), responses(
    (status = 204, description = "It is no member any more."),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove_member(
    State(state): State<AppState>,
    Path((group, member)): Path<(String, String)>,
) -> Result<StatusCode> {
    state.parts.directory.remove_member(&convert::address(&group)?, &convert::address(&member)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
