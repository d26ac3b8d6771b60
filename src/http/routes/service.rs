//! The service itself: what runs, and how it is.

use std::time::{Duration, SystemTime};

use axum::extract::State;
use ekitei_api::{Check, CheckStatus, DoctorReport, Problem, ServerInfo};

use crate::health;
use crate::problem::Result;
use crate::state::AppState;

/// How long before its end a certificate is worth a warning.
const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 86_400);

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

/// How the service is, as it sees itself.
#[utoipa::path(get, path = "/api/v1/doctor", tag = "service", responses(
    (status = 200, description = "What was looked at.", body = DoctorReport),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn doctor(State(state): State<AppState>) -> axum::Json<DoctorReport> {
    let mut checks = vec![store(&state).await];
    checks.extend(certificates(&state));
    checks.extend(listeners(&state));
    axum::Json(DoctorReport { checks })
}

async fn store(state: &AppState) -> Check {
    let name = "store".to_owned();
    match health::store_answers(state).await {
        Ok(()) => Check { name, status: CheckStatus::Ok, detail: "answers".to_owned() },
        Err(detail) => Check { name, status: CheckStatus::Failure, detail },
    }
}

fn certificates(state: &AppState) -> Vec<Check> {
    let found = state.parts.tls.certificates();
    if found.is_empty() {
        let detail = "no certificate is configured, so TLS is not offered".to_owned();
        return vec![Check { name: "certificate".to_owned(), status: CheckStatus::Failure, detail }];
    }
    let now = SystemTime::now();
    let check = |certificate: &ekitei_net::CertificateStatus| {
        let names = certificate.names.join(", ");
        let left = certificate.not_after.duration_since(now);
        let (status, detail) = match left {
            _ if certificate.not_before > now => (CheckStatus::Failure, "is not valid yet".to_owned()),
            Err(_) => (CheckStatus::Failure, "has expired".to_owned()),
            Ok(left) if left < EXPIRY_WARNING => {
                (CheckStatus::Warning, format!("ends in {} days", left.as_secs() / 86_400))
            }
            Ok(left) => (CheckStatus::Ok, format!("valid for {} days", left.as_secs() / 86_400)),
        };
        let detail = format!("{detail} (names: {names})");
        Check { name: format!("certificate {}", certificate.path.display()), status, detail }
    };
    found.iter().map(check).collect()
}

/// That the service answers proves that its listeners were bound: it does not start otherwise.
fn listeners(state: &AppState) -> Vec<Check> {
    let config = state.parts.live.load();
    let check = |listener: &ekitei_config::ListenerConfig| Check {
        name: format!("listener {}", listener.label()),
        status: CheckStatus::Ok,
        detail: format!("{} on {}", listener.protocol, listener.address),
    };
    config.listeners.iter().map(check).collect()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
