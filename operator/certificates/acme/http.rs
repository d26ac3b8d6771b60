//! The HTTPS client below the ACME library: the system's authorities and others, limits of time and size, and a note of
//! what the library does not pass on (`Retry-After` of refusals).

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::{AcmeError, Server};

/// No answer of an ACME server is longer; a chain of certificates has a few thousand octets.
const LARGEST_ANSWER: usize = 1 << 20;

/// What is known of the last answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Note {
    /// The status of an answer; 0 if there was none.
    pub(super) status: u16,
    /// When the server wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

tokio::task_local! {
    /// Of the call that is being made: calls run beside each other, and each awaits its requests itself.
    static NOTE: Cell<Note>;
}

/// Makes a call whose answers are noted.
pub(super) async fn noting<F: Future>(call: F) -> F::Output {
    NOTE.scope(Cell::default(), call).await
}

/// What was noted of the last answer.
pub(super) fn take_note() -> Note {
    NOTE.try_with(Cell::take).unwrap_or_default()
}

fn note(note: Note) {
    // Outside of a call there is nobody to read it.
    let _ = NOTE.try_with(|cell| cell.set(note));
}

/// A client for one server.
pub(super) struct Https {
    client: reqwest::Client,
}

impl Https {
    /// # Errors
    /// [`AcmeError::BadInput`] for authorities that cannot be read, or a directory that is not `https`.
    pub(super) fn new(server: &Server) -> Result<Self, AcmeError> {
        if !server.directory.starts_with("https://") {
            return Err(AcmeError::BadInput(format!(
                "the ACME directory {:?} is not an https URL",
                server.directory
            )));
        }
        let bad = |what: &str, error: &dyn std::fmt::Display| AcmeError::BadInput(format!("{what}: {error}"));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad("TLS", &error))?
            .with_root_certificates(roots(server.authorities.as_deref())?)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .timeout(server.patience.request)
            .user_agent(concat!("ekitei-operator/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| bad("the HTTPS client", &error))?;
        Ok(Self { client })
    }
}

/// The authorities of the system, and those in `pem`.
fn roots(pem: Option<&str>) -> Result<RootCertStore, AcmeError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let bad = |error: String| AcmeError::BadInput(format!("the authorities of the ACME server: {error}"));
    if let Some(pem) = pem {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| bad(error.to_string()))?;
            roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(bad("there is no certificate in PEM".to_owned()));
        }
    }
    Ok(roots)
}

type AnswerFuture = Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>>;

impl HttpClient for Https {
    fn request(&self, request: http::Request<BodyWrapper<Bytes>>) -> AnswerFuture {
        note(Note::default());
        let client = self.client.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(|never| -> Error { match never {} })?.to_bytes();
            let other = |error: reqwest::Error| Error::Other(Box::new(error));
            let request =
                client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
            let answer: http::Response<reqwest::Body> = request.send().await.map_err(other)?.into();
            let (parts, body) = answer.into_parts();
            if parts.status.as_u16() >= 400 {
                note(Note { status: parts.status.as_u16(), retry_after: retry_after(&parts.headers) });
            }
            let body = Limited::new(body, LARGEST_ANSWER).collect().await.map_err(Error::Other)?.to_bytes();
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
}

/// `Retry-After` as a number of seconds or as a date (RFC 9110 §10.2.3).
fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(SystemTime::from(date).duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn after(value: &str) -> Option<Duration> {
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::RETRY_AFTER, value.parse().unwrap());
        retry_after(&headers)
    }

    #[test]
    fn the_time_to_wait_is_read_as_seconds_or_as_a_date() {
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let far = after("Fri, 01 Jan 2100 00:00:00 GMT").unwrap();
        assert!(far > Duration::from_secs(365 * 86_400), "{far:?}");
        assert_eq!(after("soon"), None);
        assert_eq!(retry_after(&http::HeaderMap::new()), None);
    }

    #[test]
    fn only_authorities_that_can_be_read_are_trusted() {
        let key = rcgen::generate_simple_self_signed(vec!["ca.example".to_owned()]).unwrap();
        let server = Server::new("https://acme.example/directory");
        assert!(Https::new(&server.clone().with_authorities(key.cert.pem())).is_ok());
        for wrong in ["", "nothing", &key.signing_key.serialize_pem()] {
            assert!(
                matches!(Https::new(&server.clone().with_authorities(wrong)), Err(AcmeError::BadInput(_))),
                "{wrong:?}"
            );
        }
        assert!(matches!(
            Https::new(&Server::new("http://acme.example/directory")),
            Err(AcmeError::BadInput(_))
        ));
    }
}
