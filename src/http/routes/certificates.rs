//! TLS certificates that are kept in the store.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::StatusCode;
use ekitei_api::{Certificate, NewCertificate, Page, Problem, ProblemCode};
use ekitei_certificates::{CertificateInfo, CertificateName, Error, Revision};

use super::Paging;
use crate::extract::{IfMatch, Json, Path, Query, Tagged};
use crate::problem::{Refused, Result};
use crate::state::AppState;

fn certificate(info: CertificateInfo) -> Certificate {
    Certificate {
        name: info.name.to_string(),
        names: info.names,
        not_before: info.not_before,
        not_after: info.not_after,
        sha256: hexadecimal(&info.sha256),
        spki_sha256: hexadecimal(&info.spki_sha256),
        updated: info.updated,
        revision: info.revision.to_string(),
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut text, octet| {
        // Writing to a text does not fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

fn tagged(info: CertificateInfo) -> Tagged<Certificate> {
    Tagged { revision: info.revision.to_string(), object: certificate(info) }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::NoSuchCertificate(_) => ProblemCode::NotFound,
            Error::Stale(_) => ProblemCode::Stale,
            // The operator's fault, and the operator is who asks.
            Error::Invalid(_) | Error::Full(_) | Error::NoEncryptionKey => ProblemCode::Invalid,
            Error::Store(_) => ProblemCode::Unavailable,
            Error::Unusable(_) | Error::EncryptionKey(_) | Error::Tls(_) => return Self::internal(&error),
        };
        Self::new(code, error)
    }
}

/// Stored certificates in the order of their names, without their keys.
#[utoipa::path(get, path = "/api/v1/certificates", tag = "certificates", params(Paging), responses(
    (status = 200, description = "A page of certificates.", body = Page<Certificate>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(state): State<AppState>,
    Query(paging): Query<Paging>,
) -> Result<axum::Json<Page<Certificate>>> {
    let (found, more) = state.parts.certificates.list(paging.after.as_deref(), paging.limit).await?;
    let next = found.last().filter(|_| more).map(|last| last.name.to_string());
    Ok(axum::Json(Page { items: found.into_iter().map(certificate).collect(), next }))
}

/// A stored certificate, without its key.
#[utoipa::path(get, path = "/api/v1/certificates/{name}", tag = "certificates", params(("name" = String, Path)), responses(
    (status = 200, description = "The certificate.", body = Certificate),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Tagged<Certificate>> {
    let name: CertificateName = name.parse()?;
    Ok(tagged(state.parts.certificates.find(&name).await?))
}

/// Store a certificate with its key under a name, in place of the one that has it. All processes use it for handshakes within a second, and connections go on. The same
/// certificate and key again change nothing.
#[utoipa::path(put, path = "/api/v1/certificates/{name}", tag = "certificates", request_body = NewCertificate,
    params(("name" = String, Path, description = "Letters, digits and -._:; most often its first host."),
           ("If-Match" = Option<String>, Header, description = "The revision that is to be replaced.")), responses(
    (status = 200, description = "The certificate.", body = Certificate),
    (status = 412, description = "It is not the one that If-Match names.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn put(
    State(state): State<AppState>,
    Path(name): Path<String>,
    IfMatch(revision): IfMatch<Revision>,
    Json(new): Json<NewCertificate>,
) -> Result<Tagged<Certificate>> {
    let name: CertificateName = name.parse()?;
    let new = ekitei_certificates::NewCertificate { chain: new.certificate, key: new.key.into() };
    Ok(tagged(state.parts.certificates.put(&name, &new, revision).await?))
}

/// Remove a stored certificate.
#[utoipa::path(delete, path = "/api/v1/certificates/{name}", tag = "certificates", params(("name" = String, Path)), responses(
    (status = 204, description = "It is gone."),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove(State(state): State<AppState>, Path(name): Path<String>) -> Result<StatusCode> {
    let name: CertificateName = name.parse()?;
    state.parts.certificates.remove(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
