//! Fetching a policy over HTTPS (RFC 8461 §3.3).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ekitei_config::Cidr;
use ekitei_dns::Resolver;
use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::CONTENT_TYPE;
use rustls::RootCertStore;

use super::policy::PolicyError;
use crate::mx::is_ignored;
use crate::tls::report;

/// The longest policy (RFC 8461 §3.3 suggests 64 kilobytes).
const LARGEST: usize = 64 * 1024;

/// Why there is no policy.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// The server does not give it.
    #[error("the MTA-STS policy cannot be fetched: {0}")]
    Fetch(String),
    /// The server's certificate is not valid for its name.
    #[error("the server of the MTA-STS policy cannot be trusted: {0}")]
    Certificate(String),
    /// What it gives is no policy.
    #[error(transparent)]
    Invalid(#[from] PolicyError),
}

/// Fetches the text of a policy.
pub(crate) trait Fetch: Send + Sync {
    fn fetch<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<String, FetchError>>;
}

/// Over HTTPS, as the RFC has it.
pub(crate) struct Https {
    client: Result<reqwest::Client, String>,
    port: u16,
}

impl Https {
    /// A client that trusts `authorities`, asks `dns`, and connects to none of `ignored`.
    pub(crate) fn new(
        authorities: Arc<RootCertStore>,
        dns: Resolver,
        ignored: Vec<Cidr>,
        limit: Duration,
        port: u16,
    ) -> Self {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(crate::tls::trusting(authorities))
            .dns_resolver(Arc::new(Names { dns, ignored }))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .https_only(true)
            .timeout(limit)
            .pool_max_idle_per_host(0)
            .user_agent("ekitei")
            .build();
        Self { client: client.map_err(|error| error.to_string()), port }
    }

    async fn get(&self, domain: &str) -> Result<String, FetchError> {
        let client = self.client.as_ref().map_err(|reason| FetchError::Fetch(reason.clone()))?;
        let url = match self.port {
            443 => format!("https://mta-sts.{domain}/.well-known/mta-sts.txt"),
            port => format!("https://mta-sts.{domain}:{port}/.well-known/mta-sts.txt"),
        };
        let mut response = client.get(url).send().await.map_err(|error| classify(&error))?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Fetch(format!("the server answers {}", response.status())));
        }
        let kind =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("text/plain") {
            return Err(FetchError::Fetch(format!(
                "its type is {:?}, not text/plain",
                kind.chars().take(80).collect::<String>()
            )));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| classify(&error))? {
            if body.len() + chunk.len() > LARGEST {
                return Err(FetchError::Fetch(format!("it is longer than {LARGEST} octets")));
            }
            body.extend_from_slice(&chunk);
        }
        String::from_utf8(body).map_err(|_| FetchError::Fetch("it is no text".to_owned()))
    }
}

impl Fetch for Https {
    fn fetch<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<String, FetchError>> {
        Box::pin(self.get(domain))
    }
}

fn classify(error: &reqwest::Error) -> FetchError {
    if let Some(certificate) =
        report::tls_error(error).filter(|error| matches!(error, rustls::Error::InvalidCertificate(_)))
    {
        return FetchError::Certificate(certificate.to_string());
    }
    if error.is_timeout() {
        return FetchError::Fetch("no answer in time".to_owned());
    }
    let mut source: &dyn std::error::Error = error;
    while let Some(deeper) = source.source() {
        source = deeper;
    }
    FetchError::Fetch(source.to_string())
}

/// Our resolver for the HTTP client.
struct Names {
    dns: Resolver,
    ignored: Vec<Cidr>,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (dns, ignored) = (self.dns.clone(), self.ignored.clone());
        Box::pin(async move {
            let addresses = dns.addresses(name.as_str()).await?.value;
            let usable: Vec<SocketAddr> = addresses
                .into_iter()
                .filter(|address| !is_ignored(&ignored, *address))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            Ok(Box::new(usable.into_iter()) as Addrs)
        })
    }
}
