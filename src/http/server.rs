//! The HTTP server: connections from `ekitei-net`, served by hyper with the routes of this crate.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ekitei_api::ProblemCode;
use ekitei_config::{Live, Protocol};
use ekitei_net::{Connection, Handler, Refusal, Shutdown};
use ekitei_telemetry::{CounterFamily, HistogramFamily, SECONDS, Timer};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use utoipa::openapi::OpenApi;

use crate::problem::Refused;
use crate::state::{AppState, Parts, State as AppInner};
use crate::{public, routes};

/// Answers HTTP requests; one for all listeners of `protocol: http` and `protocol: https`.
pub struct Server {
    router: Router,
    /// What is served on `protocol: https`: that anyone may reach.
    public: Router,
    live: Live,
    shutdown: Shutdown,
}

/// The description of the API, as `/api/openapi.json` shows it.
pub fn openapi() -> OpenApi {
    routes::all().into_openapi()
}

impl Server {
    /// Makes the server; its metrics go to the registry of `parts`.
    pub fn new(parts: Parts) -> Self {
        let metrics = Arc::new(Metrics::new(&parts));
        let (shutdown, live) = (parts.shutdown.clone(), parts.live.clone());
        let state = AppInner::new(parts);
        let (api, description) = routes::protected(&state).split_for_parts();
        let (open, _) = routes::open().split_for_parts();
        debug_assert!(!description.paths.paths.is_empty(), "the API has routes");
        let router = Router::new()
            .merge(api)
            .merge(open)
            .merge(public::routes())
            .route("/api/openapi.json", get(|| async { axum::Json(openapi()) }));
        let finish = |router: Router<AppState>| finish(router, &state, &metrics);
        Self { router: finish(router), public: finish(public::routes()), live, shutdown }
    }

    /// The routes, for tests that need no socket.
    pub fn router(&self) -> Router {
        self.router.clone()
    }
}

impl Handler for Server {
    fn refusal(&self, _: Refusal) -> Cow<'_, [u8]> {
        Cow::Borrowed(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    }

    async fn handle(self: Arc<Self>, mut connection: Connection) {
        let everything = connection.listener.protocol == Protocol::Http || self.live.load().admin.on_https;
        let router = if everything { &self.router } else { &self.public };
        let service = TowerToHyperService::new(router.clone());
        let io = TokioIo::new(connection.take_stream());
        let serving = http1::Builder::new().timer(TokioTimer::new()).serve_connection(io, service);
        let mut serving = std::pin::pin!(serving);
        let result = tokio::select! {
            result = serving.as_mut() => result,
            () = self.shutdown.graceful() => {
                // The request in progress is answered; an idle connection ends at once.
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(peer = %connection.peer, %error, "an HTTP connection ended early");
        }
    }
}

/// What all routes have: problems in place of plain errors, a time limit, metrics.
fn finish(router: Router<AppState>, state: &AppState, metrics: &Arc<Metrics>) -> Router {
    router
        .fallback(|| async { Refused::new(ProblemCode::NotFound, "there is no such path") })
        .method_not_allowed_fallback(|| async {
            Refused::new(ProblemCode::MethodNotAllowed, "the path does not know this method")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(state), limit_time))
        .layer(middleware::from_fn_with_state(Arc::clone(metrics), measure))
        .with_state(Arc::clone(state))
}

/// Ends requests that take longer than `admin.requestTimeout`, but for those that take as long as there is much to do.
async fn limit_time(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    if path.is_some_and(|path| is_unlimited(request.method(), path)) {
        return next.run(request).await;
    }
    let limit = state.parts.live.load().admin.request_timeout.get();
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refused::new(ProblemCode::Timeout, "the request took longer than admin.requestTimeout")
            .into_response(),
    }
}

/// Whether a request has no time limit of its own: bodies of messages, which take as long as the client; and what reads or writes all there is of something.
fn is_unlimited(method: &Method, path: &str) -> bool {
    match *method {
        _ if path.contains("/messages") => true,
        Method::POST => path.ends_with("/recount") || path.starts_with("/api/v1/data-keys/"),
        Method::DELETE => matches!(path, "/api/v1/data-keys/{id}" | "/api/v1/accounts/{account}"),
        _ => false,
    }
}

struct Metrics {
    requests: CounterFamily,
    seconds: HistogramFamily,
}

impl Metrics {
    fn new(parts: &Parts) -> Self {
        Self {
            requests: parts.registry.counters(
                "http_requests_total",
                "Requests by route and status.",
                &["route", "status"],
            ),
            seconds: parts.registry.histograms(
                "http_request_seconds",
                "Time of requests.",
                &["route"],
                SECONDS,
            ),
        }
    }
}

/// Clients may invent methods; the labels of metrics are from a short list.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

async fn measure(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let timer = Timer::start();
    let method = method_label(request.method());
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = path.map_or_else(|| "unknown".to_owned(), |path| format!("{method} {path}"));
    let response = next.run(request).await;
    metrics.requests.with(&[&route, response.status().as_str()]).inc();
    timer.observe(&metrics.seconds.with(&[&route]));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_as_long_as_there_is_much_to_do_is_not_cut_off() {
        for (method, path) in [
            (Method::GET, "/api/v1/accounts/{account}/messages"),
            (Method::POST, "/api/v1/accounts/{account}/recount"),
            (Method::POST, "/api/v1/domains/{domain}/recount"),
            (Method::POST, "/api/v1/data-keys/rotate"),
            (Method::POST, "/api/v1/data-keys/rewrap"),
            (Method::DELETE, "/api/v1/data-keys/{id}"),
            (Method::DELETE, "/api/v1/accounts/{account}"),
        ] {
            assert!(is_unlimited(&method, path), "{method} {path}");
            assert!(openapi().paths.paths.contains_key(path), "{path}");
        }
        for (method, path) in [
            (Method::GET, "/api/v1/accounts"),
            (Method::POST, "/api/v1/accounts"),
            (Method::DELETE, "/api/v1/accounts/{account}/app-passwords/{name}"),
            (Method::GET, "/api/v1/data-keys"),
            (Method::DELETE, "/api/v1/domains/{domain}"),
        ] {
            assert!(!is_unlimited(&method, path), "{method} {path}");
        }
    }
}
