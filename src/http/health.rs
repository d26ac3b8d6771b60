//! Health and metrics.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use ekitei_telemetry::EXPOSITION_CONTENT_TYPE;

use crate::authorization;
use crate::problem::Result;
use crate::state::AppState;

/// How long the store may take to answer before the service is not ready. Less than the probe's own timeout.
const STORE_TIMEOUT: Duration = Duration::from_millis(800);

/// The process runs.
#[utoipa::path(get, path = "/healthz/live", tag = "health", security(()), responses((status = 200, description = "The process runs.")))]
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// The service can take mail and logins.
#[utoipa::path(get, path = "/healthz/ready", tag = "health", security(()), responses(
    (status = 200, description = "Ready for clients."),
    (status = 503, description = "The store does not answer, or the service is shutting down."),
))]
pub(crate) async fn ready(State(state): State<AppState>) -> impl IntoResponse {
    match is_ready(&state).await {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

/// Whether clients can be served, or why not.
async fn is_ready(state: &AppState) -> std::result::Result<(), String> {
    if state.parts.shutdown.is_shutting_down() {
        return Err("shutting down".to_owned());
    }
    store_answers(state).await
}

/// Reads a row of the store.
pub(crate) async fn store_answers(state: &AppState) -> std::result::Result<(), String> {
    match tokio::time::timeout(STORE_TIMEOUT, state.parts.directory.version()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the store did not answer within {} ms", STORE_TIMEOUT.as_millis())),
    }
}

/// All metrics, in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", security((), ("token" = [])), responses(
    (status = 200, description = "All metrics.", content_type = "text/plain"),
    (status = "default", description = "A problem.", body = ekitei_api::Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn metrics(State(state): State<AppState>, headers: HeaderMap) -> Result<impl IntoResponse> {
    if state.parts.live.load().admin.protect_metrics {
        authorization::check(&state, &headers)?;
    }
    (state.parts.sample)();
    state.ready.set(is_ready(&state).await.is_ok().into());
    Ok(([(header::CONTENT_TYPE, EXPOSITION_CONTENT_TYPE)], state.parts.registry.render()))
}
