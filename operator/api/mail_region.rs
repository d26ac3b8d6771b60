//! `MailRegion`: MX replicas in one place.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::certificate::Certificate;
use crate::mail_domain::{AdoptionPolicy, Dane};
use crate::mail_domain_status::{CertificateStatus, InventoryEntry, RecordStatus};
use crate::reference::{ClusterFileReference, ProviderReference, SecretKeyReference, SecretReference};

/// MX replicas in one place: some nodes of this cluster, or another cluster. It lives in the namespace of the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "ekitei.dev",
    version = "v1alpha1",
    kind = "MailRegion",
    plural = "mailregions",
    namespaced,
    status = "MailRegionStatus",
    shortname = "mr",
    category = "mail",
    doc = "MX replicas in one place.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Host", type_ = "string", json_path = ".spec.host"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Addresses", type_ = "string", json_path = ".status.addresses"),
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
pub struct MailRegionSpec {
    /// The name of its MX host, which its addresses should resolve to. It stays: MX records name it, and its addresses would go with another name.
    #[schemars(
        length(min = 4, max = 253),
        pattern(r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    )]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the host cannot be changed; make another MailRegion"))]
    pub host: String,
    /// How many pods.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// Where they run.
    #[serde(default)]
    pub placement: Placement,
    /// The store that they use, where it is not the one of the region template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Keys of the service's configuration, merged into that of the region template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub configuration: Option<serde_json::Map<String, serde_json::Value>>,
    /// Annotations of its Service, as clouds want them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service_annotations: BTreeMap<String, String>,
    /// Its addresses, where they are not those of its Service: an address that is translated, or a load balancer made by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 2, max = 45)))]
    #[x_kube(validation = Rule::new("self.all(address, isIP(address))").message("every address must be an IP address"))]
    pub addresses: Vec<String>,
    /// Whether records may name private addresses that its Services have, though nobody outside reaches them. Those in `addresses` and `egressAddresses` may always.
    #[serde(default)]
    pub allow_private_addresses: bool,
    /// Addresses that its pods send mail from, where they are others; they are in the SPF records too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 2, max = 49)))]
    #[x_kube(validation = Rule::new("self.all(address, isIP(address) || isCIDR(address))").message("every one must be an IP address or a network"))]
    pub egress_addresses: Vec<String>,
    /// Records of its host names. Without it, they are published by someone else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<RegionDns>,
    /// The certificate of its host name.
    #[serde(default)]
    pub certificate: Certificate,
    /// Where users' programs of the domains whose home it is connect to. Without it, to the MX host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<RegionClients>,
    /// The admin API of its service, where it is not the one that the operator was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceEndpoint>,
}

fn two() -> i32 {
    2
}

fn free_form(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Where pods run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.kubeconfig) == has(oldSelf.kubeconfig)").message("the cluster cannot be changed, for the old one's pods would stay; make another MailRegion"))]
pub struct Placement {
    /// Labels of the nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
    /// A Service that someone else keeps, with the pods behind it, such as that of the chart. Then no pods are made, and `replicas` says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing_service: Option<ServiceReference>,
    /// Another cluster. The region template must have all it refers to (Secrets, ConfigMaps) there. It stays, but what is in the Secret may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the cluster cannot be changed, for the old one's pods would stay; make another MailRegion"))]
    pub kubeconfig: Option<KubeconfigReference>,
}

/// Another cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeconfigReference {
    /// The Secret with its kubeconfig.
    pub secret_ref: SecretKeyReference,
    /// The namespace there; without it, the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// The store of a region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// FoundationDB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foundationdb: Option<Foundationdb>,
    /// The `blobs` section of the service's configuration: the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub blobs: Option<serde_json::Map<String, serde_json::Value>>,
    /// A Secret whose keys are environment variables of the pods, such as `AWS_ACCESS_KEY_ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_ref: Option<SecretReference>,
}

/// A FoundationDB cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Foundationdb {
    /// Its cluster file.
    pub cluster_file: ClusterFileReference,
    /// The prefix of all keys, where several services share a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub prefix: Option<String>,
}

/// Records of a region's host names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionDns {
    /// What publishes them.
    pub provider: ProviderReference,
    /// Their time to live, in seconds.
    #[serde(default = "host_ttl")]
    #[schemars(range(min = 30, max = 86400))]
    pub ttl: u32,
    /// What to do with records that are there already and are not ours.
    #[serde(default)]
    pub adoption: AdoptionPolicy,
    /// Keys of the MX host in DNS (RFC 7672).
    #[serde(default)]
    pub dane: Dane,
    /// The AWS region that stands for this one in latency routing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub aws_region: Option<String>,
    /// A continent (`continent:AS`) or country (`country:JP`) that is served by this region, or `*`, in geolocation routing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), pattern(r"^(\*|continent:[A-Z]{2}|country:[A-Z]{2})$"))]
    pub geolocation: Option<String>,
}

fn host_ttl() -> u32 {
    300
}

/// Where users' programs connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionClients {
    /// The host name, such as `mail.example.net`. Several regions may share one.
    #[schemars(
        length(min = 4, max = 253),
        pattern(r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    )]
    pub host: String,
    /// The Service in the operator's namespace (or that of the other cluster) whose addresses it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_ref: Option<ServiceReference>,
    /// Its addresses, where they are not those of a Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 2, max = 45)))]
    #[x_kube(validation = Rule::new("self.all(address, isIP(address))").message("every address must be an IP address"))]
    pub addresses: Vec<String>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReference {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// An admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEndpoint {
    /// Its URL, such as `http://ekitei-admin.mail:8080`.
    #[schemars(length(min = 8, max = 2048), pattern("^https?://"))]
    pub url: String,
    /// Its token.
    pub token_ref: SecretKeyReference,
}

/// What is known about a region.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailRegionStatus {
    /// Conditions: `Ready`, `PodsReady`, `AddressesReady`, `DNSPublished`, `DNSVerified`, `CertificateReady`, `DANEReady`, `ReverseDNSReady`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The generation that the status is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many pods there are.
    #[serde(default)]
    pub replicas: i32,
    /// How many of them are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// The selector of its pods, for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The addresses of its MX host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// The addresses that its mail comes from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress_addresses: Vec<String>,
    /// The host that users' programs connect to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_host: Option<String>,
    /// Its records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordStatus>,
    /// What the operator has published and owns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inventory: Vec<InventoryEntry>,
    /// Its certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateStatus>,
    /// What to tell the provider of the addresses, where reverse DNS is not as it should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reverse_dns: Vec<String>,
}
