//! What requests bring: bodies, queries, paths and preconditions, each refused in the words of this API.

use std::error::Error;
use std::str::FromStr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue, IF_MATCH};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use ekitei_api::ProblemCode;
use ekitei_config::ByteSize;
use ekitei_directory::Revision;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::{Refused, Result};
use crate::state::AppState;

/// A JSON body within `admin.maxRequestSize`.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &AppState) -> Result<Self> {
        let body = read_body(request, state.parts.live.load().admin.max_request_size).await?;
        match serde_json::from_slice(&body) {
            Ok(value) => Ok(Self(value)),
            Err(error) => Err(Refused::invalid(format!("the body is not what is asked for: {error}"))),
        }
    }
}

/// Reads a body of at most `limit`.
pub(crate) async fn read_body(request: Request, limit: ByteSize) -> Result<Bytes> {
    let too_large = || Refused::new(ProblemCode::TooLarge, format!("the body is larger than {limit}"));
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit.get()) {
        return Err(too_large());
    }
    let most = usize::try_from(limit.get()).unwrap_or(usize::MAX);
    match axum::body::to_bytes(request.into_body(), most).await {
        Ok(body) => Ok(body),
        Err(error) if was_too_slow(&error) => {
            Err(Refused::new(ProblemCode::Timeout, "nothing of the body came for too long"))
        }
        Err(_) if announced.is_none() => Err(too_large()),
        Err(_) => Err(Refused::invalid("the body ended too early")),
    }
}

/// The body of `request`, which fails when nothing of it comes for `patience`: what waits for it would otherwise wait for ever for a
/// client whose network is gone.
pub(crate) fn patiently(request: Request, patience: Duration) -> Request {
    request.map(|body| {
        let pieces = stream::try_unfold(body.into_data_stream(), move |mut pieces| async move {
            let piece = tokio::time::timeout(patience, pieces.next()).await?;
            Ok::<_, axum::BoxError>(piece.transpose()?.map(|piece| (piece, pieces)))
        });
        Body::from_stream(pieces)
    })
}

/// Whether a body failed by [`patiently`].
fn was_too_slow(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<tokio::time::error::Elapsed>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A query.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(error) => Err(Refused::invalid(error.body_text())),
        }
    }
}

/// The variable segments of a path.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(error) => Err(Refused::invalid(error.body_text())),
        }
    }
}

/// The revision that `If-Match` names (RFC 9110 §13.1.1); none for `*` and without the field.
pub(crate) struct IfMatch<R = Revision>(pub(crate) Option<R>);

impl<S: Sync, R: FromStr> FromRequestParts<S> for IfMatch<R> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let Some(value) = parts.headers.get(IF_MATCH) else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let tag = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        match tag.and_then(|tag| tag.parse::<R>().ok()) {
            Some(revision) => Ok(Self(Some(revision))),
            None => Err(Refused::invalid("If-Match is not one entity tag of this API")),
        }
    }
}

/// An object with its revision as the entity tag.
pub(crate) struct Tagged<T> {
    pub(crate) object: T,
    pub(crate) revision: String,
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", self.revision)) {
            headers.insert(ETAG, tag);
        }
        (headers, axum::Json(self.object)).into_response()
    }
}

/// A message body.
pub(crate) fn message_body(body: Body, size: u64) -> Response {
    let headers = [
        (axum::http::header::CONTENT_TYPE, HeaderValue::from_static("message/rfc822")),
        (CONTENT_LENGTH, HeaderValue::from(size)),
    ];
    (headers, body).into_response()
}
