//! The bearer token (RFC 6750).

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use ekitei_api::ProblemCode;
use ekitei_telemetry::{continue_trace, trace_count, trace_span};
use subtle::ConstantTimeEq;
use tracing::{Instrument as _, Span};

use crate::problem::{Refused, Result};
use crate::state::AppState;

/// Lets pass who has the token.
pub(crate) async fn require_token(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response> {
    check(&state, request.headers())?;
    // Only now: who has no token has no say in what is traced.
    let trace = trace(&request);
    let response = next.run(request).instrument(trace.clone()).await;
    trace.record("http.response.status_code", trace_count(response.status().as_u16()));
    Ok(response)
}

/// The span of a request, in the caller's trace if it names one.
fn trace(request: &Request) -> Span {
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str);
    let span = trace_span!(
        parent: None,
        "admin.request",
        otel.kind = "server",
        otel.name = %format_args!("{} {route}", request.method()),
        http.request.method = %request.method(),
        http.route = route,
        http.response.status_code = tracing::field::Empty,
    );
    let named = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    if let Some(traceparent) = named {
        continue_trace(&span, traceparent);
    }
    span
}

/// Whether the request has the token.
pub(crate) fn check(state: &AppState, headers: &HeaderMap) -> Result<()> {
    let config = state.parts.live.load();
    let Some(token) = config.admin.token.as_ref().filter(|token| !token.is_empty()) else {
        return Err(Refused::new(
            ProblemCode::Unavailable,
            "admin.token is not configured, so nobody is let in",
        ));
    };
    let sent = headers.get(AUTHORIZATION).map(|value| value.as_bytes()).and_then(bearer);
    let Some(sent) = sent else {
        return Err(Refused::new(ProblemCode::Unauthorized, "a bearer token is required"));
    };
    // Takes the same time wherever the two differ; only the length shows.
    if sent.ct_eq(token.expose().as_bytes()).into() {
        Ok(())
    } else {
        Err(Refused::new(ProblemCode::Unauthorized, "the bearer token is not the configured one"))
    }
}

/// The token after `Bearer`, in any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}
