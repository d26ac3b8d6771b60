//! Data keys, which bodies are encrypted with.

use axum::extract::State;
use axum::http::StatusCode;
use ekitei_api::{DataKey, DataKeyRotation, DataKeyState, DataKeysRewrapped, DataKeysRotated, Page, Problem};
use ekitei_blob::{DataKeyId, KeyScope};
use ekitei_directory::Domain;
use ekitei_keyring::{KeyInfo, KeyState};
use serde::Deserialize;
use utoipa::IntoParams;

use super::DomainPaging;
use crate::extract::{Json, Path, Query};
use crate::problem::{Refused, Result};
use crate::state::AppState;

fn key(info: KeyInfo) -> DataKey {
    DataKey {
        id: info.id.get(),
        domain: match info.scope {
            KeyScope::Service => None,
            KeyScope::Domain(domain) => Some(domain.to_string()),
        },
        state: match info.state {
            KeyState::Active => DataKeyState::Active,
            KeyState::Retired => DataKeyState::Retired,
            KeyState::Destroyed => DataKeyState::Destroyed,
        },
        created: info.created,
        retired: info.retired,
        destroyed: info.destroyed,
        master_key: info.master_key,
    }
}

fn scope(domain: &str) -> Result<KeyScope> {
    Ok(KeyScope::Domain(Domain::parse(domain)?.as_ascii().into()))
}

/// Keys in the order of their numbers.
#[utoipa::path(get, path = "/api/v1/data-keys", tag = "encryption", params(DomainPaging), responses(
    (status = 200, description = "A page of keys.", body = Page<DataKey>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(state): State<AppState>,
    Query(paging): Query<DomainPaging>,
) -> Result<axum::Json<Page<DataKey>>> {
    let scope = paging.domain.as_deref().map(scope).transpose()?;
    let page = paging.page();
    let after = page.after.as_deref().map(str::parse).transpose();
    let after = after.map_err(|_| Refused::invalid("`after` must be the `next` of a page"))?;
    let limit = page.effective_limit();
    let found = state.parts.keyring.list(scope.as_ref(), after.map(DataKeyId::new), limit).await?;
    let next = found.next.map(|next| next.get().to_string());
    Ok(axum::Json(Page { items: found.items.into_iter().map(key).collect(), next }))
}

/// A key.
#[utoipa::path(get, path = "/api/v1/data-keys/{id}", tag = "encryption", params(("id" = u64, Path)), responses(
    (status = 200, description = "The key.", body = DataKey),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(State(state): State<AppState>, Path(id): Path<u64>) -> Result<axum::Json<DataKey>> {
    Ok(axum::Json(key(state.parts.keyring.key(DataKeyId::new(id)).await?)))
}

/// Make new keys in place of those in force. Older ones go on reading; bodies stay as they are.
#[utoipa::path(post, path = "/api/v1/data-keys/rotate", tag = "encryption", request_body = DataKeyRotation, responses(
    (status = 200, description = "What was done.", body = DataKeysRotated),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn rotate(
    State(state): State<AppState>,
    Json(whose): Json<DataKeyRotation>,
) -> Result<axum::Json<DataKeysRotated>> {
    let keyring = &state.parts.keyring;
    let scope = match whose {
        DataKeyRotation { domain: Some(domain), service: false, all: false } => scope(&domain)?,
        DataKeyRotation { domain: None, service: true, all: false } => KeyScope::Service,
        DataKeyRotation { domain: None, service: false, all: true } => {
            let done = keyring.rotate_all().await?;
            return Ok(axum::Json(DataKeysRotated { rotated: done.rotated, failed: done.failed }));
        }
        _ => {
            return Err(Refused::invalid(
                "exactly one of domain, service and all says whose keys are replaced",
            ));
        }
    };
    keyring.rotate(&scope).await?;
    Ok(axum::Json(DataKeysRotated { rotated: 1, failed: 0 }))
}

/// Wrap all keys by the master key in force. Every process must have that one in its configuration.
#[utoipa::path(post, path = "/api/v1/data-keys/rewrap", tag = "encryption", responses(
    (status = 200, description = "What was done.", body = DataKeysRewrapped),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn rewrap(State(state): State<AppState>) -> Result<axum::Json<DataKeysRewrapped>> {
    let done = state.parts.keyring.rewrap().await?;
    let ekitei_keyring::Rewrapped { rewrapped, current, failed } = done;
    Ok(axum::Json(DataKeysRewrapped { rewrapped, current, failed }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Destruction {
    /// Also a key that bodies need: they are lost.
    #[serde(default)]
    force: bool,
}

/// Destroy a key, and with it what it encrypted. Unless it is forced, the records of all bodies are read first.
#[utoipa::path(delete, path = "/api/v1/data-keys/{id}", tag = "encryption", params(("id" = u64, Path), Destruction), responses(
    (status = 204, description = "It is destroyed."),
    (status = 409, description = "Bodies need it.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn destroy(
    State(state): State<AppState>,
    Path(id): Path<u64>,
    Query(Destruction { force }): Query<Destruction>,
) -> Result<StatusCode> {
    state.parts.keyring.destroy(DataKeyId::new(id), force).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<ekitei_keyring::Error> for Refused {
    fn from(error: ekitei_keyring::Error) -> Self {
        use ekitei_api::ProblemCode;
        use ekitei_keyring::{Error, WrapError};
        let code = match &error {
            Error::NoSuchKey(_) | Error::NoKeyYet(_) => ProblemCode::NotFound,
            Error::InUse { .. } | Error::Overtaken(_) => ProblemCode::InUse,
            Error::Master { error: WrapError::Unavailable(_), .. } | Error::Store(_) => {
                ProblemCode::Unavailable
            }
            // The operator's fault, and the operator is who asks.
            Error::Master { error: WrapError::Refused(_), .. } => ProblemCode::Invalid,
            Error::Bodies(_) => return Self::internal(&error),
        };
        Self::new(code, error)
    }
}
