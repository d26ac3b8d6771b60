//! DKIM keys.

use axum::extract::State;
use axum::http::StatusCode;
use ekitei_api::{
    DkimActivation, DkimAlgorithm, DkimKey, DkimKeyPatch, DkimStage, NewDkimKeys, Page, Problem,
};
use ekitei_directory::Domain;
use ekitei_signing::{Activation, Algorithm, KeyInfo, NewKey, Stage};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{DomainPaging, convert};
use crate::extract::{Json, Path, Query};
use crate::problem::{Refused, Result};
use crate::state::AppState;

fn key(info: KeyInfo) -> DkimKey {
    DkimKey {
        domain: info.domain.as_ascii().to_owned(),
        selector: info.selector,
        algorithm: match info.algorithm {
            Algorithm::Rsa => DkimAlgorithm::Rsa,
            Algorithm::Ed25519 => DkimAlgorithm::Ed25519,
        },
        stage: match info.stage {
            Stage::Published => DkimStage::Published,
            Stage::Signing => DkimStage::Signing,
            Stage::Retired => DkimStage::Retired,
        },
        activation: match info.activation {
            Activation::Automatic => DkimActivation::Automatic,
            Activation::Manual => DkimActivation::Manual,
        },
        created: info.created.unix(),
        activated: info.activated.map(|time| time.unix()),
        retired: info.retired.map(|time| time.unix()),
        record_line: info.record.zone_line(),
        record_name: info.record.name,
        record_text: info.record.text,
    }
}

fn algorithm(algorithm: DkimAlgorithm) -> Algorithm {
    match algorithm {
        DkimAlgorithm::Rsa => Algorithm::Rsa,
        DkimAlgorithm::Ed25519 => Algorithm::Ed25519,
    }
}

/// Keys in the order of domains and selectors, with the records to publish.
#[utoipa::path(get, path = "/api/v1/dkim-keys", tag = "dkim", params(DomainPaging), responses(
    (status = 200, description = "A page of keys.", body = Page<DkimKey>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(state): State<AppState>,
    Query(paging): Query<DomainPaging>,
) -> Result<axum::Json<Page<DkimKey>>> {
    let domain = paging.domain.as_deref().map(Domain::parse).transpose()?;
    let page = state.parts.signing.list(domain.as_ref(), &paging.page()).await?;
    Ok(convert::page(page, key))
}

/// Make keys: one, or one for each algorithm that is configured. Answers with their records, which are to be published.
#[utoipa::path(post, path = "/api/v1/dkim-keys", tag = "dkim", request_body = NewDkimKeys, responses(
    (status = 201, description = "The keys.", body = Page<DkimKey>),
    (status = 409, description = "The selector is taken.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(state): State<AppState>,
    Json(new): Json<NewDkimKeys>,
) -> Result<(StatusCode, axum::Json<Page<DkimKey>>)> {
    let domain = Domain::parse(&new.domain)?;
    let activation = match new.activation {
        DkimActivation::Automatic => Activation::Automatic,
        DkimActivation::Manual => Activation::Manual,
    };
    let new =
        NewKey { algorithm: new.algorithm.map(algorithm), selector: new.selector, now: new.now, activation };
    let made = state.parts.signing.create(&domain, new).await?;
    let page = Page { items: made.into_iter().map(key).collect(), next: None };
    Ok((StatusCode::CREATED, axum::Json(page)))
}

/// A key.
#[utoipa::path(get, path = "/api/v1/dkim-keys/{domain}/{selector}", tag = "dkim", params(
    ("domain" = String, Path), ("selector" = String, Path),
), responses(
    (status = 200, description = "The key.", body = DkimKey),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(state): State<AppState>,
    Path((domain, selector)): Path<(String, String)>,
) -> Result<axum::Json<DkimKey>> {
    let found = state.parts.signing.key(&Domain::parse(&domain)?, &selector).await?;
    Ok(axum::Json(key(found)))
}

/// Let a key sign, which retires the one of the same algorithm before it; or let it sign no more.
#[utoipa::path(patch, path = "/api/v1/dkim-keys/{domain}/{selector}", tag = "dkim", params(
    ("domain" = String, Path), ("selector" = String, Path),
), request_body(content = DkimKeyPatch, content_type = "application/merge-patch+json"), responses(
    (status = 200, description = "The key as it is now.", body = DkimKey),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn change(
    State(state): State<AppState>,
    Path((domain, selector)): Path<(String, String)>,
    Json(patch): Json<DkimKeyPatch>,
) -> Result<axum::Json<DkimKey>> {
    let domain = Domain::parse(&domain)?;
    let signing = &state.parts.signing;
    let changed = match patch.stage {
        DkimStage::Published => return Err(Refused::invalid("a key is published only when it is made")),
        DkimStage::Signing => signing.activate(&domain, &selector).await?,
        DkimStage::Retired => signing.retire(&domain, &selector).await?,
    };
    Ok(axum::Json(key(changed)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Removal {
    /// Also a key that signs, or that mail under way was signed with.
    #[serde(default)]
    force: bool,
}

/// Remove a key.
#[utoipa::path(delete, path = "/api/v1/dkim-keys/{domain}/{selector}", tag = "dkim", params(
    ("domain" = String, Path), ("selector" = String, Path), Removal,
), responses(
    (status = 204, description = "It is gone."),
    (status = 409, description = "Mail under way may need it.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove(
    State(state): State<AppState>,
    Path((domain, selector)): Path<(String, String)>,
    Query(Removal { force }): Query<Removal>,
) -> Result<StatusCode> {
    state.parts.signing.remove(&Domain::parse(&domain)?, &selector, force).await?;
    Ok(StatusCode::NO_CONTENT)
}
