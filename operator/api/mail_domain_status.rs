//! What is known about a domain.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mail_domain::DkimAlgorithm;

/// What is known about a domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailDomainStatus {
    /// Conditions: `Ready`, `Accepted`, `DNSPublished`, `DNSVerified`, `CertificateReady`, `DKIMReady`, `MXReady`, `DANEReady`, `ReverseDNSReady`, `Degraded`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The generation that the status is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The zone that the records are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whether it is signed (DNSSEC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<bool>,
    /// How many records there should be, and how many are seen on all servers: `12/14`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_verified: Option<String>,
    /// Every record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordStatus>,
    /// What the operator has published and owns. Only this is ever deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inventory: Vec<InventoryEntry>,
    /// DKIM keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dkim_keys: Vec<DkimKeyStatus>,
    /// Certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateStatus>,
    /// Regions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<RegionStatus>,
    /// The revision of the domain in the service that the operator saw last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_revision: Option<String>,
    /// The service in which the domain is this object's: `operator`, or `region/` and the home region if that has one of its own. Written before the domain is made there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_in: Option<String>,
    /// Aliases that the operator has made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

/// How a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RecordState {
    /// It is to be published.
    Pending,
    /// The provider has it; not every server was seen to.
    Published,
    /// Every authoritative server has it.
    Verified,
    /// Somebody changed it; it is being corrected.
    Drifted,
    /// Something else is there that is not ours.
    Conflict,
    /// A person is to publish it.
    Manual,
    /// It cannot be published.
    Failed,
}

/// A record, and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordStatus {
    /// Its name, without the last dot.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub type_: String,
    /// Its values, as in a zone file.
    pub values: Vec<String>,
    /// How it is.
    pub state: RecordState,
    /// Why, where it is not as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A record that the operator owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryEntry {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub type_: String,
    /// The values of it that are ours, as in a zone file.
    pub values: Vec<String>,
    /// Which part of the record is ours where others may have values beside: a tag as `v=spf1`, or `*` for just these values. Without it, all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Which one of several records of this name and type, where the provider answers by place or latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The longest time to live that it was written with, in seconds.
    #[serde(default)]
    pub ttl: u32,
}

/// How far a DKIM key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum DkimStage {
    /// Its record is not published yet.
    Pending,
    /// Its record is published, and not yet seen on every server, or caches may not know it.
    Published,
    /// It signs.
    Active,
    /// It signs no more; its record stays while mail that it signed is under way.
    Retiring,
}

/// A DKIM key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DkimKeyStatus {
    /// Its selector.
    pub selector: String,
    /// What it signs with.
    pub algorithm: DkimAlgorithm,
    /// How far it is.
    pub stage: DkimStage,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Time>,
    /// When its record was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Time>,
    /// How long caches may still know what was there before, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_seconds: Option<u32>,
    /// When every authoritative server was first seen to have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Time>,
    /// When it began to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated: Option<Time>,
    /// When it ceased to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<Time>,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// The names in it.
    pub names: Vec<String>,
    /// Where it comes from: `acme`, `cert-manager` or `secret`.
    pub source: String,
    /// The Secret that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// When it is to be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Time>,
    /// Its SHA-256 fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Whether the pods have it.
    #[serde(default)]
    pub deployed: bool,
    /// How far the change of its key is, where that is in DNS (TLSA).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollover: Option<RolloverStatus>,
    /// Why, where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How far the change of a key that is in DNS is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloverStatus {
    /// The stage, as docs/certificates.md names them.
    pub stage: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The SHA-256 of the keys whose TLSA records are published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// The state that the operator goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// A region of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionStatus {
    /// Its name.
    pub name: String,
    /// Its MX host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The preference in its MX record: what the domain says, and more while the region is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preference: Option<u16>,
    /// Whether it takes mail.
    pub ready: bool,
    /// Why, where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
