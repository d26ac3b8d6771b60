//! `MailDomain`: a domain that receives and sends mail.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::certificate::Certificate;
use crate::duration::Duration;
use crate::mail_domain_status::MailDomainStatus;
use crate::reference::ProviderReference;

/// A domain that receives and sends mail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "ekitei.dev",
    version = "v1alpha1",
    kind = "MailDomain",
    plural = "maildomains",
    namespaced,
    status = "MailDomainStatus",
    shortname = "md",
    category = "mail",
    selectable = ".spec.domain",
    doc = "A domain that receives and sends mail.",
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.domain"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Records", type_ = "string", json_path = ".status.recordsVerified"),
    printcolumn(
        name = "DKIM",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"DKIMReady\")].status"
    ),
    printcolumn(
        name = "Certificate",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"CertificateReady\")].status"
    ),
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
#[x_kube(
    validation = Rule::new("self.regions.exists_one(region, region.name == self.homeRegion)").message("homeRegion must be one of the regions").field_path(".homeRegion"),
    validation = Rule::new("!has(self.aliases) || self.aliases.all(alias, !((alias.localPart + '@' + self.domain) in alias.targets))").message("an alias must not lead to itself").field_path(".aliases"),
    validation = Rule::new("!has(self.clients) || !has(self.clients.host) || self.clients.host.endsWith('.' + self.domain)").message("clients.host must be a name below the domain").field_path(".clients.host"),
)]
pub struct MailDomainSpec {
    /// The name of the domain, in A-labels. It cannot be changed.
    #[schemars(
        length(min = 4, max = 253),
        pattern(r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")
    )]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the domain cannot be changed; make another MailDomain"))]
    pub domain: String,
    /// The region where its mailboxes live.
    #[schemars(length(min = 1, max = 63))]
    pub home_region: String,
    /// The regions that take mail for it.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub regions: Vec<RegionReference>,
    /// How its records are published.
    pub dns: Dns,
    /// Signatures of its mail (RFC 6376).
    #[serde(default)]
    pub dkim: Dkim,
    /// Who may send in its name (RFC 7208).
    #[serde(default)]
    pub spf: Spf,
    /// What receivers do with mail that only pretends to be from it (RFC 9989).
    #[serde(default)]
    pub dmarc: Dmarc,
    /// The policy of TLS for mail to it (RFC 8461).
    #[serde(default)]
    pub mta_sts: MtaSts,
    /// Reports about TLS of mail to it (RFC 8460).
    #[serde(default)]
    pub tls_reporting: TlsReporting,
    /// Which authorities may issue certificates for it (RFC 8659).
    #[serde(default)]
    pub caa: Caa,
    /// The certificate of its own names (`mta-sts.`, `autoconfig.`, `autodiscover.`, and its client host).
    #[serde(default)]
    pub certificate: Certificate,
    /// Where its users' programs connect to.
    #[serde(default)]
    pub clients: ClientAccess,
    /// What its accounts have, if they do not say otherwise.
    #[serde(default)]
    pub accounts: AccountDefaults,
    /// Addresses that lead to others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["localPart".into()]))]
    pub aliases: Vec<Alias>,
    /// Where mail for unknown users goes; without it, it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 254), pattern(r"^[^@\s]+@[^@\s]+$"))]
    pub catch_all: Option<String>,
    /// Where mail to postmaster@ and abuse@ goes when nobody has that address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 254), pattern(r"^[^@\s]+@[^@\s]+$"))]
    pub postmaster: Option<String>,
    /// What becomes of records and mail when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicies,
}

/// A region that takes mail for a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionReference {
    /// The MailRegion.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The preference in its MX record (RFC 5321 §5.1): the lowest is tried first. While a region is not ready, 1000 more.
    #[serde(default = "preference")]
    #[schemars(range(min = 0, max = 1000))]
    pub preference: u16,
}

fn preference() -> u16 {
    10
}

/// How records are published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dns {
    /// What publishes them.
    pub provider: ProviderReference,
    /// The zone, where it is not found by asking for SOA records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        pattern(r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")
    )]
    pub zone: Option<String>,
    /// Their time to live, in seconds.
    #[serde(default = "ttl")]
    #[schemars(range(min = 30, max = 86400))]
    pub ttl: u32,
    /// What to do with records that are there already and are not ours.
    #[serde(default)]
    pub adoption: AdoptionPolicy,
}

fn ttl() -> u32 {
    3600
}

/// What to do with records that are there already and are not ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdoptionPolicy {
    /// Take over those that say what ours say and that nobody marked as theirs; leave the others, and say so.
    #[default]
    IfUnowned,
    /// Leave them all, and say so.
    Never,
    /// Replace them. Those that others marked as theirs only if the provider is in the namespace of the object; else it is as `IfUnowned`.
    Force,
}

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DkimAlgorithm {
    /// RSA with 2048 bits and SHA-256.
    Rsa,
    /// Ed25519 with SHA-256 (RFC 8463).
    Ed25519,
}

/// Signatures of mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Dkim {
    /// One key for each. Receivers that do not know Ed25519 need RSA.
    #[schemars(length(min = 1, max = 2))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub algorithms: Vec<DkimAlgorithm>,
    /// How old a key becomes before it is replaced; `0s` for ever.
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "duration(self) == duration('0s') || (duration(self) >= duration('24h') && duration(self) <= duration('87600h'))", "message": "the rotation must be 0s (never), or at least 24h and at most 87600h"}]))]
    pub rotation: Duration,
    /// How long the record of a key that signs no more stays: at least as long as mail may be under way.
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "duration(self) >= duration('24h') && duration(self) <= duration('2160h')", "message": "retired keys must be kept at least 24h and at most 2160h"}]))]
    pub keep_retired: Duration,
}

impl Default for Dkim {
    fn default() -> Self {
        Self {
            algorithms: vec![DkimAlgorithm::Rsa, DkimAlgorithm::Ed25519],
            rotation: Duration::hours(180 * 24),
            keep_retired: Duration::hours(7 * 24),
        }
    }
}

/// What SPF says of mail from elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SpfPolicy {
    /// `-all`.
    Fail,
    /// `~all`.
    #[default]
    SoftFail,
    /// `?all`.
    Neutral,
}

/// Who may send in the name of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Spf {
    /// Whether there is a record.
    pub enabled: bool,
    /// What it says of mail from elsewhere.
    pub policy: SpfPolicy,
    /// Domains of others who send in its name (`include:`).
    #[schemars(length(max = 10), inner(length(min = 1, max = 253)))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Addresses and networks of others who send in its name.
    #[schemars(length(max = 64), inner(length(min = 2, max = 49)))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "self.all(address, isIP(address) || isCIDR(address))", "message": "every one must be an IP address or a network"}]))]
    pub addresses: Vec<String>,
}

impl Default for Spf {
    fn default() -> Self {
        Self { enabled: true, policy: SpfPolicy::default(), include: Vec::new(), addresses: Vec::new() }
    }
}

/// What receivers are asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DmarcPolicy {
    /// To report.
    #[default]
    None,
    /// To mistrust the mail.
    Quarantine,
    /// To refuse it.
    Reject,
}

/// How exactly domains must agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DmarcAlignment {
    /// The same organizational domain.
    #[default]
    Relaxed,
    /// The same domain.
    Strict,
}

/// What receivers do with mail that only pretends to be from a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Dmarc {
    /// Whether there is a record.
    pub enabled: bool,
    /// What receivers are asked to do.
    pub policy: DmarcPolicy,
    /// The same for subdomains; without it, as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subdomain_policy: Option<DmarcPolicy>,
    /// The same for subdomains that do not exist (`np`); without it, as for subdomains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonexistent_subdomain_policy: Option<DmarcPolicy>,
    /// Whether the policy is only tried (`t=y`).
    pub testing: bool,
    /// How exactly DKIM must agree.
    pub dkim_alignment: DmarcAlignment,
    /// How exactly SPF must agree.
    pub spf_alignment: DmarcAlignment,
    /// Where aggregate reports go; without any, to `dmarc-reports@` the domain, where the service reads them.
    #[schemars(length(max = 8), inner(length(min = 3, max = 254), pattern(r"^[^@\s]+@[^@\s]+$")))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aggregate_reports: Vec<String>,
    /// Where reports of single failures go.
    #[schemars(length(max = 8), inner(length(min = 3, max = 254), pattern(r"^[^@\s]+@[^@\s]+$")))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failure_reports: Vec<String>,
}

impl Default for Dmarc {
    fn default() -> Self {
        Self {
            enabled: true,
            policy: DmarcPolicy::None,
            subdomain_policy: None,
            nonexistent_subdomain_policy: None,
            testing: false,
            dkim_alignment: DmarcAlignment::Relaxed,
            spf_alignment: DmarcAlignment::Relaxed,
            aggregate_reports: Vec::new(),
            failure_reports: Vec::new(),
        }
    }
}

/// What senders do if TLS is not as the policy says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MtaStsMode {
    /// There is no policy, and a former one is taken back.
    None,
    /// They report, and deliver all the same.
    #[default]
    Testing,
    /// They do not deliver.
    Enforce,
}

/// The policy of TLS for mail to a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MtaSts {
    /// Whether there is a record and a page.
    pub enabled: bool,
    /// What senders do if TLS is not as the policy says.
    pub mode: MtaStsMode,
    /// How long senders keep it (RFC 8461 §3.2).
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "duration(self) >= duration('24h') && duration(self) <= duration('8766h')", "message": "maxAge must be at least 24h and at most 8766h"}]))]
    pub max_age: Duration,
}

impl Default for MtaSts {
    fn default() -> Self {
        Self { enabled: true, mode: MtaStsMode::Testing, max_age: Duration::hours(7 * 24) }
    }
}

/// Reports about TLS of mail to a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsReporting {
    /// Whether there is a record.
    pub enabled: bool,
    /// Where they go (`mailto:` or `https:`); without any, to `tls-reports@` the domain, where the service reads them.
    #[schemars(length(max = 8), inner(length(min = 8, max = 512), pattern("^(mailto:|https://)")))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
}

impl Default for TlsReporting {
    fn default() -> Self {
        Self { enabled: true, to: Vec::new() }
    }
}

/// Whether TLSA records are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DaneMode {
    /// Where the zone is signed.
    #[default]
    Auto,
    /// Nowhere.
    Disabled,
}

/// Keys of hosts in DNS: of MX hosts (RFC 7672), and of those that programs connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Dane {
    /// Whether they are published.
    pub mode: DaneMode,
}

/// What becomes of CAA records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CaaMode {
    /// Those of others stay, ours are added. A domain without any gets none: it would forbid the authorities of its other certificates.
    #[default]
    Merge,
    /// The domain gets ours, also where it had none.
    Enforce,
    /// They are left alone.
    Disabled,
}

/// Which authorities may issue certificates for a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Caa {
    /// What becomes of them.
    pub mode: CaaMode,
    /// The authorities, by their CAA names; without any, that of the issuer if it is known.
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<String>,
    /// Where authorities report requests that they refused (`iodef`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), pattern("^(mailto:|https?://)"))]
    pub iodef: Option<String>,
}

/// Where users' programs connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientAccess {
    /// Whether there are SRV records (RFC 6186, RFC 8314).
    pub srv: bool,
    /// Whether there are `autoconfig.` and `autodiscover.` names.
    pub autoconfig: bool,
    /// A host name below the domain, such as `mail.example.org`, that leads to the home region's client host. Without it, programs are told that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 4, max = 253),
        pattern(r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    )]
    pub host: Option<String>,
    /// Whether POP3 is offered.
    pub pop3: bool,
    /// The keys of `host` in DNS (RFC 6698), for programs that look for them.
    pub dane: Dane,
}

impl Default for ClientAccess {
    fn default() -> Self {
        Self { srv: true, autoconfig: true, host: None, pop3: false, dane: Dane::default() }
    }
}

/// What accounts have, if they do not say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AccountDefaults {
    /// What each may hold, such as `5Gi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), pattern("^[0-9]+(k|M|G|T|Ki|Mi|Gi|Ti)?$"))]
    pub quota: Option<String>,
    /// What all of them may hold together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), pattern("^[0-9]+(k|M|G|T|Ki|Mi|Gi|Ti)?$"))]
    pub total_quota: Option<String>,
}

/// An address that leads to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alias {
    /// What is before the `@`.
    #[schemars(length(min = 1, max = 64), pattern(r"^[^@\s]+$"))]
    pub local_part: String,
    /// The addresses that it leads to.
    #[schemars(length(min = 1, max = 25), inner(length(min = 3, max = 254), pattern(r"^[^@\s]+@[^@\s]+$")))]
    pub targets: Vec<String>,
}

/// What becomes of something when its object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It is deleted.
    Delete,
}

/// What becomes of records and mail when a MailDomain is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeletionPolicies {
    /// Records that the operator owns.
    pub dns: DeletionPolicy,
    /// The domain in the service, with its accounts and their mail.
    pub mail: DeletionPolicy,
}

impl Default for DeletionPolicies {
    fn default() -> Self {
        Self { dns: DeletionPolicy::Delete, mail: DeletionPolicy::Retain }
    }
}
