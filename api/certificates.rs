//! TLS certificates that are kept in the store.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::client::{Client, PageQuery, Result};
use crate::types::Page;

/// A stored certificate, without its key. Times are seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// The name that it was given here; not one of its hosts.
    #[schema(example = "mail.example.test")]
    pub name: String,
    /// The DNS names that it is for, in lower case.
    pub names: Vec<String>,
    /// From when it is valid.
    pub not_before: u64,
    /// Until when it is valid.
    pub not_after: u64,
    /// The SHA-256 of the certificate in DER, in hexadecimal.
    pub sha256: String,
    /// The SHA-256 of its SubjectPublicKeyInfo in DER, in hexadecimal: what a TLSA record `3 1 1` has (RFC 6698 §2.1).
    pub spki_sha256: String,
    /// When it was set.
    pub updated: u64,
    /// Its revision: another one whenever it is set anew.
    pub revision: String,
}

/// A certificate to be stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCertificate {
    /// The chain in PEM, the certificate of the hosts first.
    #[schema(example = "-----BEGIN CERTIFICATE-----\n...")]
    pub certificate: String,
    /// Its private key in PEM: PKCS #8, PKCS #1 or SEC 1. It is stored encrypted, and nobody is shown it.
    #[schema(example = "-----BEGIN PRIVATE KEY-----\n...")]
    pub key: String,
}

impl std::fmt::Debug for NewCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewCertificate").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Client {
    /// One page of the stored certificates.
    pub async fn list_certificates(&self, page: &PageQuery) -> Result<Page<Certificate>> {
        self.list(&["certificates"], page).await
    }

    /// A stored certificate.
    pub async fn certificate(&self, name: &str) -> Result<Certificate> {
        self.get(&["certificates", name]).await
    }

    /// Stores a certificate under a name, in place of the one that it has, with `revision` only if it still has that. Every process
    /// uses it within a second. The same certificate and key again change nothing, and the revision stays.
    pub async fn put_certificate(
        &self,
        name: &str,
        new: &NewCertificate,
        revision: Option<&str>,
    ) -> Result<Certificate> {
        self.send(Method::PUT, &["certificates", name], new, revision).await
    }

    /// Removes a stored certificate.
    pub async fn delete_certificate(&self, name: &str) -> Result<()> {
        self.delete(&["certificates", name]).await
    }
}
