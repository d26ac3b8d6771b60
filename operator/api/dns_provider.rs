//! `DNSProvider`: how records are published.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::{SecretKeyReference, SecretReference};

/// How records of some zones are published. Exactly one of the kinds is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "ekitei.dev",
    version = "v1alpha1",
    kind = "DNSProvider",
    root = "DnsProvider",
    plural = "dnsproviders",
    namespaced,
    status = "DnsProviderStatus",
    shortname = "dp",
    category = "mail",
    doc = "How records of mail domains are published.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Kind", type_ = "string", json_path = ".status.kind"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = "1"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.rfc2136), has(self.route53), has(self.dnsUpdate), has(self.externalDNS), has(self.manual)].filter(given, given).size() == 1").message("exactly one of rfc2136, route53, dnsUpdate, externalDNS and manual must be given"))]
pub struct DnsProviderSpec {
    /// The zones that it may write; all that it has, if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(
            length(min = 1, max = 253),
            pattern(r"^([a-z0-9_]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
        )
    )]
    pub zones: Vec<String>,
    /// Other namespaces whose objects may use it; `*` for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)))]
    pub allowed_namespaces: Vec<String>,
    /// How it is seen that records are published.
    #[serde(default)]
    pub verification: Verification,
    /// Dynamic updates (RFC 2136) with TSIG: BIND, Knot DNS, PowerDNS, NSD with a primary, Windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rfc2136: Option<Rfc2136>,
    /// Amazon Route 53.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route53: Option<Route53>,
    /// The API of another provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_update: Option<DnsUpdate>,
    /// Objects for ExternalDNS (`DNSEndpoint`).
    #[serde(default, rename = "externalDNS", skip_serializing_if = "Option::is_none")]
    pub external_dns: Option<ExternalDns>,
    /// Nothing is written; the status of the domain says what a person is to publish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<Manual>,
}

/// How it is seen that records are published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The authoritative servers to ask, as `host:port`; without any, those that the zone's NS records name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 270)))]
    pub servers: Vec<String>,
    /// Whether the zones are signed (DNSSEC); without it, what the resolver finds. TLSA records are of use in signed zones only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<bool>,
}

/// Dynamic updates (RFC 2136), over TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rfc2136 {
    /// The primary server, as `host` or `host:port`.
    #[schemars(length(min = 1, max = 270))]
    pub server: String,
    /// The key that signs them (RFC 8945).
    pub tsig: TsigKey,
}

/// A TSIG key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TsigKey {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its algorithm.
    #[serde(default)]
    pub algorithm: TsigAlgorithm,
    /// The secret, in base64, as the server's configuration has it.
    pub secret_ref: SecretKeyReference,
}

/// The algorithm of a TSIG key (RFC 8945 §6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TsigAlgorithm {
    /// HMAC with SHA-256.
    #[default]
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// HMAC with SHA-384.
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    /// HMAC with SHA-512.
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
}

/// Amazon Route 53. Without `credentialsRef`, the pod asks as what its service account stands for (IRSA, pod identity), or its machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Route53 {
    /// The hosted zone; without it, the public one with the longest matching name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub hosted_zone_id: Option<String>,
    /// A Secret with `accessKeyId`, `secretAccessKey` and, if needed, `sessionToken`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_ref: Option<SecretReference>,
    /// Another endpoint than Amazon's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), pattern("^https?://"))]
    pub endpoint: Option<String>,
    /// How users' programs find the nearest region, for host names that several regions share.
    #[serde(default)]
    pub routing: Route53Routing,
}

/// How Route 53 answers for a host name that several regions share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Route53Routing {
    /// One set of all addresses.
    #[default]
    Simple,
    /// The region with the least latency (the MailRegion's `spec.dns.awsRegion`).
    Latency,
    /// By continent or country (the MailRegion's `spec.dns.geolocation`).
    Geolocation,
}

/// A provider of the library `dns-update`, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsUpdate {
    /// Its name, such as `cloudflare`; docs/dns.md has all of them, and what each needs.
    #[schemars(length(min = 1, max = 64), pattern("^[a-z0-9][a-z0-9-]*$"))]
    pub name: String,
    /// A Secret with the credentials, under the keys that the provider needs.
    pub credentials_ref: SecretReference,
    /// What the provider needs that is no secret, such as an endpoint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// Objects for ExternalDNS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalDns {
    /// Labels of the `DNSEndpoint` objects, for ExternalDNS' `--label-filter`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Records are published by a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Manual {}

/// What is known about a provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsProviderStatus {
    /// Conditions: `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The generation that the status is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Which kind it is, such as `rfc2136` or `cloudflare`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The zones that it was seen to have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
}
