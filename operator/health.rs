//! `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use ekitei_operator_api::MailDomain;
use ekitei_telemetry::EXPOSITION_CONTENT_TYPE;
use kube::api::{Api, ListParams};
use tokio::net::TcpListener;

use crate::context::Context;
use crate::controller::Stop;

/// How long the API server may take to answer before we say that we are not ready.
const PATIENCE: Duration = Duration::from_secs(3);

/// Serves until `stop`.
///
/// # Errors
/// The listener's.
pub async fn serve(listener: TcpListener, context: Arc<Context>, stop: Stop) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(context);
    axum::serve(listener, routes).with_graceful_shutdown(stop).await
}

/// Whether work can be done: the API server answers, and knows our objects. A process that waits to lead is ready.
async fn ready(State(context): State<Arc<Context>>) -> impl IntoResponse {
    let domains: Api<MailDomain> = Api::namespaced(context.client.clone(), context.namespace());
    let one = ListParams::default().limit(1);
    match tokio::time::timeout(PATIENCE, domains.list(&one)).await {
        Ok(Ok(_)) => (StatusCode::OK, "ok\n".to_owned()),
        Ok(Err(error)) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("MailDomains cannot be listed: {error}\n"))
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the API server does not answer\n".to_owned()),
    }
}

async fn metrics(State(context): State<Arc<Context>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, EXPOSITION_CONTENT_TYPE)], context.metrics.registry.render())
}
