//! The service itself: what runs.

use std::time::SystemTime;

use axum::extract::State;
use ekitei_api::{Problem, ServerInfo};

use crate::problem::Result;
use crate::state::AppState;

/// What is running.
#[utoipa::path(get, path = "/api/v1/server", tag = "service", responses(
    (status = 200, description = "What is running.", body = ServerInfo),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn server(State(state): State<AppState>) -> Result<axum::Json<ServerInfo>> {
    Ok(axum::Json(ServerInfo {
        software: "ekitei".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: state.parts.live.load().hostname.clone(),
        started: seconds(state.started),
        directory_version: state.parts.directory.version().await?,
    }))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
