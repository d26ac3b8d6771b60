//! Secrets of type `kubernetes.io/tls` that others fill.

use ekitei_operator_certificates::{Certificate, Key};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;

use crate::error::{Error, Optional as _, Result};

/// The key of the certificate chain in such a Secret.
pub const CERTIFICATE: &str = "tls.crt";
/// The key of the private key.
pub const KEY: &str = "tls.key";

/// A certificate with its key.
#[derive(Debug)]
pub struct Pair {
    /// The chain.
    pub certificate: Certificate,
    /// Its key.
    pub key: Key,
}

/// Reads a Secret; `None` while it is not there or not filled yet, as cert-manager's before the first issue.
///
/// # Errors
/// `SecretInvalid` if what is in it does not go together; the Kubernetes API's.
pub async fn read(client: &Client, namespace: &str, name: &str) -> Result<Option<Pair>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let Some(secret) = secrets.get(name).await.optional()? else { return Ok(None) };
    pair(&secret)
        .map_err(|reason| Error::invalid("SecretInvalid", format!("Secret {namespace}/{name}: {reason}")))
}

/// The pair in a Secret; `None` if one of both is missing or empty.
///
/// # Errors
/// What is wrong with it, for people.
pub fn pair(secret: &Secret) -> Result<Option<Pair>, String> {
    let (Some(certificate), Some(key)) = (text(secret, CERTIFICATE)?, text(secret, KEY)?) else {
        return Ok(None);
    };
    let certificate =
        Certificate::from_pem(certificate).map_err(|error| format!("{CERTIFICATE}: {error}"))?;
    let key = Key::from_pem(key).map_err(|error| format!("{KEY}: {error}"))?;
    if !certificate.fits(&key) {
        return Err(format!("{KEY} is not the key of {CERTIFICATE}"));
    }
    Ok(Some(Pair { certificate, key }))
}

fn text<'a>(secret: &'a Secret, key: &str) -> Result<Option<&'a str>, String> {
    let octets = secret.data.as_ref().and_then(|data| data.get(key));
    match octets {
        Some(ByteString(octets)) if !octets.is_empty() => {
            std::str::from_utf8(octets).map(Some).map_err(|_| format!("{key} is no text"))
        }
        _ => Ok(None),
    }
}
