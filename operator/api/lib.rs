//! The objects of `ekitei.dev/v1alpha1`: what a person writes (spec), and what the operator says about it (status).
//!
//! Pure types without a client. The definitions for the API server ([`crds`]) are made from them, with every rule that the API server can check
//! by itself: formats, bounds, and CEL rules for what depends on two fields or on the previous value. What is checked there is not checked again by the operator.

// Printer columns have types and paths in common, which the lint takes for repetitions.
#![allow(clippy::duplicated_attributes)]

mod certificate;
mod condition;
mod crds;
mod dns_provider;
mod duration;
mod mail_account;
mod mail_domain;
mod mail_domain_status;
mod mail_region;
mod reference;

pub use certificate::{
    AcmeIssuer, CertManagerIssuer, Certificate, ExternalAccountBinding, IssuerKind, KeyRollover,
};
pub use condition::{ConditionStatus, Conditions, Draft};
pub use crds::{crds, yaml};
pub use dns_provider::{
    DnsProvider, DnsProviderSpec, DnsProviderStatus, DnsUpdate, ExternalDns, Manual, Rfc2136, Route53,
    Route53Routing, TsigAlgorithm, TsigKey, Verification,
};
pub use duration::{Duration, DurationError};
pub use mail_account::{
    AccountDrift, Forwarding, MailAccount, MailAccountSpec, MailAccountStatus, PasswordSource,
};
pub use mail_domain::{
    AccountDefaults, AdoptionPolicy, Alias, Caa, CaaMode, ClientAccess, Dane, DaneMode, DeletionPolicies,
    DeletionPolicy, Dkim, DkimAlgorithm, Dmarc, DmarcAlignment, DmarcPolicy, Dns, MailDomain, MailDomainSpec,
    MtaSts, MtaStsMode, RegionReference, Spf, SpfPolicy, TlsReporting,
};
pub use mail_domain_status::{
    CertificateStatus, DkimKeyStatus, DkimStage, InventoryEntry, MailDomainStatus, RecordState, RecordStatus,
    RegionStatus, RolloverStatus,
};
pub use mail_region::{
    Foundationdb, KubeconfigReference, MailRegion, MailRegionSpec, MailRegionStatus, Placement,
    RegionClients, RegionDns, ServiceEndpoint, ServiceReference, Storage,
};
pub use reference::{ClusterFileReference, ProviderReference, SecretKeyReference, SecretReference};

/// The group of all objects.
pub const GROUP: &str = "ekitei.dev";
/// Their version.
pub const VERSION: &str = "v1alpha1";
/// Who writes what the operator writes (server-side apply).
pub const FIELD_MANAGER: &str = "ekitei-operator";
/// Keeps an object until what belongs to it outside of the cluster is gone.
pub const FINALIZER: &str = "ekitei.dev/operator";
/// With the value `true`, the operator looks at an object and changes nothing for it.
pub const PAUSED: &str = "ekitei.dev/paused";
/// The label of everything that is made for a region: its name.
pub const REGION_LABEL: &str = "ekitei.dev/region";
