//! Clients of the admin API: of the operator's own service, and of those of regions that have another one.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use ekitei_api::Client;
use ekitei_operator_api::{MailRegion, SecretKeyReference};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client as Kubernetes, ResourceExt as _};

use crate::error::{Error, Optional as _, Result};

/// Where a service is, and what opens it.
type Endpoint = (String, Option<String>);

/// Clients, one for each service and token.
#[derive(Default)]
pub struct Services {
    url: String,
    token_file: Option<PathBuf>,
    clients: Mutex<HashMap<Endpoint, Client>>,
    chance: [u8; 32],
}

impl Services {
    /// The operator's own service at `url`, with the token in a file.
    pub fn new(url: String, token_file: Option<PathBuf>) -> Self {
        Self { url, token_file, clients: Mutex::default(), chance: rand::random() }
    }

    /// The operator's own service.
    ///
    /// # Errors
    /// The token cannot be read, or the address makes no sense.
    pub async fn main(&self) -> Result<Client> {
        self.client(self.url.clone(), self.token().await?)
    }

    async fn token(&self) -> Result<Option<String>> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let token = tokio::fs::read_to_string(file).await;
        token.map(Some).map_err(|error| {
            Error::outside("ServiceTokenMissing", format!("{} cannot be read: {error}", file.display()))
        })
    }

    /// The service of a region: its own, or the operator's.
    ///
    /// # Errors
    /// As [`Services::main`]; a Secret that is not there.
    pub async fn of_region(&self, kubernetes: &Kubernetes, region: &MailRegion) -> Result<Client> {
        let Some(endpoint) = &region.spec.service else { return self.main().await };
        let namespace = region.namespace().unwrap_or_default();
        let token = secret_text(kubernetes, &namespace, &endpoint.token_ref).await?;
        self.client(endpoint.url.clone(), Some(token))
    }

    /// A secret that only those know who may use the service: its token, or chance where it has none.
    ///
    /// # Errors
    /// The token cannot be read.
    pub async fn key(&self) -> Result<Vec<u8>> {
        Ok(self.token().await?.map_or_else(|| self.chance.to_vec(), String::into_bytes))
    }

    fn client(&self, url: String, token: Option<String>) -> Result<Client> {
        let endpoint = (url, token.map(|token| token.trim().to_owned()));
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&endpoint) {
            return Ok(client.clone());
        }
        let client = Client::new(&endpoint.0, endpoint.1.clone())?;
        // Tokens that were replaced are not kept.
        clients.retain(|(url, _), _| *url != endpoint.0);
        clients.insert(endpoint, client.clone());
        Ok(client)
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("url", &self.url).finish_non_exhaustive()
    }
}

/// One key of a Secret, as octets.
///
/// # Errors
/// `SecretMissing` for a Secret or key that is not there: it may come.
pub async fn secret_key(
    kubernetes: &Kubernetes,
    namespace: &str,
    reference: &SecretKeyReference,
) -> Result<Vec<u8>> {
    let missing =
        |what: &str| Error::outside("SecretMissing", format!("{what} {namespace}/{}", reference.name));
    let secrets: Api<Secret> = Api::namespaced(kubernetes.clone(), namespace);
    let secret =
        secrets.get(&reference.name).await.optional()?.ok_or_else(|| missing("there is no Secret"))?;
    let data = secret.data.unwrap_or_default().remove(&reference.key);
    data.map(|octets| octets.0)
        .ok_or_else(|| missing(&format!("there is no key {} in Secret", reference.key)))
}

/// One key of a Secret, as text without white space around it.
///
/// # Errors
/// As [`secret_key`]; `SecretInvalid` for what is no text.
pub async fn secret_text(
    kubernetes: &Kubernetes,
    namespace: &str,
    reference: &SecretKeyReference,
) -> Result<String> {
    let octets = secret_key(kubernetes, namespace, reference).await?;
    let text = String::from_utf8(octets).map_err(|_| {
        Error::invalid(
            "SecretInvalid",
            format!("key {} of Secret {namespace}/{} is no text", reference.key, reference.name),
        )
    })?;
    Ok(text.trim().to_owned())
}
