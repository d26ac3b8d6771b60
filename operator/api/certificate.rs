//! Where certificates come from, and how long their keys last: of domains and of regions.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::reference::{SecretKeyReference, SecretReference};

/// Where a certificate comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IssuerKind {
    /// cert-manager where it is installed and `certManager` is given; else ACME where `acme` is given or the operator has a default; else a certificate of the service itself.
    #[default]
    Auto,
    /// cert-manager.
    CertManager,
    /// The operator, by ACME with DNS-01 (RFC 8555).
    Acme,
    /// A Secret that someone else keeps.
    Secret,
    /// None: the service has one, or another does TLS.
    None,
}

/// A certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.issuer) || self.issuer != 'Secret' || has(self.secretRef)", "message": "issuer Secret needs a secretRef"},
    {"rule": "!has(self.issuer) || self.issuer != 'CertManager' || has(self.certManager)", "message": "issuer CertManager needs certManager"},
]))]
pub struct Certificate {
    /// Where it comes from.
    pub issuer: IssuerKind,
    /// With `Secret`: a Secret of type `kubernetes.io/tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// With `CertManager`: who issues it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_manager: Option<CertManagerIssuer>,
    /// With `Acme`: who issues it; without it, the operator's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeIssuer>,
    /// How its key is followed by another where TLSA records of it are published. Without them, each certificate of ours has a key of its own.
    pub key: KeyRollover,
}

/// How a key that is in the DNS is followed by another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyRollover {
    /// How old a key becomes: the first renewal after this time brings another. `0s` for ever. It says nothing of keys that others make.
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "duration(self) == duration('0s') || (duration(self) >= duration('24h') && duration(self) <= duration('87600h'))", "message": "the rotation must be 0s (never), or at least 24h and at most 87600h"}]))]
    pub rotation: Duration,
    /// How much longer than their TTL records may be in caches, before the next key is used.
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "duration(self) >= duration('1m') && duration(self) <= duration('24h')", "message": "the margin must be at least 1m and at most 24h"}]))]
    pub margin: Duration,
    /// How long the record of the former key stays after the next one is in force.
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "duration(self) >= duration('10m') && duration(self) <= duration('2160h')", "message": "retired keys must be kept at least 10m and at most 2160h"}]))]
    pub keep_retired: Duration,
}

impl Default for KeyRollover {
    fn default() -> Self {
        Self {
            rotation: Duration::hours(180 * 24),
            margin: Duration::seconds(600),
            keep_retired: Duration::hours(1),
        }
    }
}

/// An issuer of cert-manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertManagerIssuer {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// `Issuer` or `ClusterIssuer`.
    #[serde(default = "issuer")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its group, for issuers that are not cert-manager's own.
    #[serde(default = "issuer_group")]
    #[schemars(length(min = 1, max = 253))]
    pub group: String,
}

fn issuer() -> String {
    "ClusterIssuer".to_owned()
}

fn issuer_group() -> String {
    "cert-manager.io".to_owned()
}

/// An authority that speaks ACME.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcmeIssuer {
    /// The URL of its directory, such as `https://acme-v02.api.letsencrypt.org/directory`.
    #[schemars(length(min = 9, max = 2048), pattern("^https://"))]
    pub directory: String,
    /// Whom it writes to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 3, max = 254)))]
    pub contacts: Vec<String>,
    /// That its terms of service are agreed to.
    #[serde(default)]
    pub terms_of_service_agreed: bool,
    /// The account at the authority that this one belongs to (RFC 8555 §7.3.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_account: Option<ExternalAccountBinding>,
    /// The Secret that the key of the ACME account is kept in; it is made if it is not there. Without it, one of the operator's for this directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_secret_ref: Option<SecretReference>,
    /// A certificate of an authority that signs the server's, in PEM, for private authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<SecretKeyReference>,
    /// The profile of certificates, such as `tlsserver` or `shortlived`, where the authority has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub profile: Option<String>,
}

/// An account outside of ACME.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalAccountBinding {
    /// Its key identifier.
    #[schemars(length(min = 1, max = 512))]
    pub key_id: String,
    /// Its HMAC key, in base64url, as the authority gives it.
    pub key_ref: SecretKeyReference,
}
