//! Requests to the collector: over our HTTP client, with our TLS.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;

use crate::{Error, Options};

/// Sends batches. They come from a thread outside of the runtime, and are sent within it.
#[derive(Debug)]
pub(crate) struct Carrier {
    client: reqwest::Client,
    runtime: Handle,
    /// Whether the last batch could not be sent: each change of that is logged once.
    failing: AtomicBool,
}

impl Carrier {
    pub(crate) fn new(options: &Options) -> Result<Self, Error> {
        let runtime = Handle::try_current().map_err(|error| Error::Client(error.to_string()))?;
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Client(error.to_string()))?
            .with_root_certificates(authorities(options.ca_file.as_deref())?)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(options.timeout)
            .user_agent("ekitei")
            .build()
            .map_err(|error| Error::Client(error.to_string()))?;
        Ok(Self { client, runtime, failing: AtomicBool::new(false) })
    }

    fn note(&self, result: &Result<Response<Bytes>, HttpError>) {
        match result {
            Ok(_) if self.failing.swap(false, Ordering::Relaxed) => {
                tracing::info!("traces are sent again");
            }
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "traces cannot be sent; they are dropped until the collector takes them");
            }
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Carrier {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let result = match reqwest::Request::try_from(request) {
            Ok(request) => {
                let sent = self.runtime.spawn(send(self.client.clone(), request));
                sent.await.unwrap_or_else(|error| Err(error.into()))
            }
            Err(error) => Err(error.into()),
        };
        self.note(&result);
        result
    }
}

/// Sends one batch. What the collector says beside its status is not read.
async fn send(client: reqwest::Client, request: reqwest::Request) -> Result<Response<Bytes>, HttpError> {
    let answer = client.execute(request).await.map_err(reqwest::Error::without_url)?;
    let status = answer.status();
    if !status.is_success() {
        return Err(format!("the collector answers {status}").into());
    }
    Ok(Response::builder().status(status).body(Bytes::new())?)
}

fn authorities(file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    let Some(file) = file else {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(store);
    };
    let failed = |reason: String| Error::Authorities(format!("{}: {reason}", file.display()));
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))? {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        store.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if store.is_empty() { Err(failed("there is no certificate in it".to_owned())) } else { Ok(store) }
}
