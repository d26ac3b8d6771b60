//! Locks with names.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use ekitei_api::{Lock, NewLock, Page, Problem, ProblemCode};
use ekitei_cluster::LockError;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Paging;
use crate::extract::{Json, Path, Query};
use crate::problem::{Refused, Result};
use crate::state::AppState;

/// Locks on a page, if the client does not say.
const PAGE: usize = 100;
/// The most locks on a page.
const MAX_PAGE: usize = 1_000;

fn lock(found: ekitei_cluster::Lock) -> Lock {
    let ekitei_cluster::Lock { name, holder, expires, token } = found;
    Lock { name, holder, expires: expires.as_secs(), token }
}

impl From<LockError> for Refused {
    fn from(error: LockError) -> Self {
        let code = match &error {
            LockError::Held(_) => ProblemCode::InUse,
            LockError::Invalid(_) | LockError::Full(_) => ProblemCode::Invalid,
            LockError::Store(_) => ProblemCode::Unavailable,
        };
        Self::new(code, error)
    }
}

/// Locks that are held, in the order of their names.
#[utoipa::path(get, path = "/api/v1/locks", tag = "locks", params(Paging), responses(
    (status = 200, description = "A page of locks.", body = Page<Lock>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(state): State<AppState>,
    Query(paging): Query<Paging>,
) -> Result<axum::Json<Page<Lock>>> {
    let limit = paging.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let found = state.parts.locks.list(paging.after.as_deref(), limit).await?;
    let next = found.last().filter(|_| found.len() == limit).map(|last| last.name.clone());
    Ok(axum::Json(Page { items: found.into_iter().map(lock).collect(), next }))
}

/// A lock.
#[utoipa::path(get, path = "/api/v1/locks/{name}", tag = "locks", params(("name" = String, Path)), responses(
    (status = 200, description = "The lock.", body = Lock),
    (status = 404, description = "Nobody holds it.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<axum::Json<Lock>> {
    match state.parts.locks.find(&name).await? {
        Some(found) => Ok(axum::Json(lock(found))),
        None => Err(Refused::new(ProblemCode::NotFound, format!("nobody holds the lock {name}"))),
    }
}

/// Take a lock, or renew it: the same holder may ask again at any time. Nobody else gets it until it ends, or is given back. The token is higher
/// whenever it was taken anew.
#[utoipa::path(put, path = "/api/v1/locks/{name}", tag = "locks", request_body = NewLock,
    params(("name" = String, Path, description = "Letters, digits and -._:")), responses(
    (status = 200, description = "The lock.", body = Lock),
    (status = 409, description = "Another holds it; the detail says who.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn put(
    State(state): State<AppState>,
    Path(name): Path<String>,
    Json(new): Json<NewLock>,
) -> Result<axum::Json<Lock>> {
    let time = Duration::from_secs(new.seconds);
    Ok(axum::Json(lock(state.parts.locks.take(&name, &new.holder, time).await?)))
}

/// Who gives a lock back.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Holder {
    /// Who holds it.
    holder: String,
}

/// Give a lock back. That nobody holds it is no error.
#[utoipa::path(delete, path = "/api/v1/locks/{name}", tag = "locks", params(("name" = String, Path), Holder), responses(
    (status = 204, description = "This holder has it no more."),
    (status = 409, description = "Another holds it.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove(
    State(state): State<AppState>,
    Path(name): Path<String>,
    Query(Holder { holder }): Query<Holder>,
) -> Result<StatusCode> {
    state.parts.locks.release(&name, &holder).await?;
    Ok(StatusCode::NO_CONTENT)
}
