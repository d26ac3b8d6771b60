//! Certificates of objects: from what a spec wants to what the service has, through Secrets, cert-manager and ACME.
//!
//! [`advance`] is called in each round of an object that has a certificate. It reads the Secret that the operator keeps for it
//! ([`kept`]: keys, certificates, and how far a change of keys is), looks at what the service has and what name servers show,
//! and does what `ekitei_operator_certificates::rollover` says follows. The caller publishes [`Standing::tlsa`] and shows
//! [`Standing::status`].
//!
//! Where a certificate comes from ([`source`]):
//!
//! - cert-manager: we make its `Certificate` object ([`cert_manager`]) and read the Secret that it fills;
//! - a Secret that somebody else fills;
//! - ACME: [`accounts`], and [`orders`], which run beside the rounds because they take minutes.
//!
//! A key that came from another's Secret goes the same way as one of ours: where TLSA records are published, its record is
//! published first, and the service has it only when no resolver can be without the record.

pub mod accounts;
pub mod cert_manager;
pub mod challenges;
mod forward;
pub mod kept;
mod look;
pub mod orders;
pub mod source;
mod stand;
pub mod tls_secret;

use std::collections::BTreeSet;
use std::time::Duration;

use ekitei_api::Client;
use ekitei_operator_api::{Certificate as Spec, CertificateStatus};
use ekitei_operator_certificates::rollover::Timing;
use ekitei_operator_certificates::{HostName, KeyId, KeyType};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt as _};

use crate::error::Result;
use crate::provider::open::Open;

pub use forward::advance;
pub use look::shown;

/// The annotation of an object that asks for another key: whenever its value changes, once.
pub const ROTATE_KEY: &str = "ekitei.dev/rotate-key";

/// What all certificates share: what runs, and what was found out.
#[derive(Debug, Default)]
pub struct Shared {
    pub(crate) orders: orders::Orders,
    pub(crate) accounts: accounts::Accounts,
    pub(crate) cert_manager: cert_manager::Presence,
}

/// Which certificate is wanted.
#[derive(Clone)]
pub struct Wanted<'a> {
    /// The namespace of the object that wants it; its Secrets are there.
    pub namespace: String,
    /// The object: when it goes, its Secrets do.
    pub owner: OwnerReference,
    /// The name of the Secret that the operator keeps, and of cert-manager's `Certificate`.
    pub name: String,
    /// What the service calls it. Objects of different kinds have different names there, so that none gets into another's place.
    pub stored_as: String,
    /// What it called it formerly: there it goes, if it is the object's.
    pub stored_before: String,
    /// The domain that the names of a tenant's certificate must be in.
    pub domain: String,
    /// The host names, at least one.
    pub hosts: Vec<HostName>,
    /// Where it is to come from.
    pub spec: &'a Spec,
    /// The service that is to have it.
    pub service: &'a Client,
    /// What publishes the records of the hosts, for DNS-01.
    pub dns: Option<&'a Open>,
    /// Why it cannot be used now, if there is one: what needs no records goes on without.
    pub dns_trouble: Option<&'a str>,
    /// The TTL of TLSA records, if there are to be any.
    pub tlsa: Option<u64>,
    /// What all authoritative servers show as TLSA records of the host: [`shown`]. For hosts that never had any, one empty set.
    pub shown: Option<Vec<BTreeSet<KeyId>>>,
    /// The kind of keys that we make.
    pub key_type: KeyType,
    /// When a key of ours is followed by another: at the first renewal after this time. Zero gives each certificate its own.
    pub key_age: Option<Duration>,
    /// The value of [`ROTATE_KEY`].
    pub rotate: Option<String>,
    /// How long to wait for what nobody can see.
    pub timing: Timing,
}

impl<'a> Wanted<'a> {
    /// A certificate for `hosts` of an object, without TLSA records.
    pub fn new<K: Resource<DynamicType = ()>>(
        object: &K,
        name: impl Into<String>,
        hosts: Vec<HostName>,
        spec: &'a Spec,
        service: &'a Client,
    ) -> Self {
        let name = name.into();
        Self {
            namespace: object.namespace().unwrap_or_default(),
            owner: object.controller_owner_ref(&()).unwrap_or_default(),
            stored_as: name.clone(),
            stored_before: name.clone(),
            domain: hosts.first().map_or_else(String::new, |host| host.base().to_owned()),
            name,
            hosts,
            spec,
            service,
            dns: None,
            dns_trouble: None,
            tlsa: None,
            shown: Some(vec![BTreeSet::new()]),
            key_type: KeyType::default(),
            key_age: Some(Duration::ZERO),
            rotate: object.annotations().get(ROTATE_KEY).cloned(),
            timing: Timing { margin: spec.key.margin.get(), retire_after: spec.key.keep_retired.get() },
        }
    }

    /// Stores it at the service as the certificate of this host or domain of the kind.
    #[must_use]
    pub fn stored_for(mut self, kind: &str, domain: &str) -> Self {
        self.stored_as = stored_as(kind, domain);
        domain.clone_into(&mut self.stored_before);
        domain.clone_into(&mut self.domain);
        self
    }

    /// Answers challenges by this provider.
    #[must_use]
    pub fn with_dns(mut self, dns: Option<&'a Open>) -> Self {
        self.dns = dns;
        self
    }

    /// There is a provider, and this is why it cannot be used now.
    #[must_use]
    pub fn while_dns_is_away(mut self, why: Option<&'a str>) -> Self {
        self.dns_trouble = why;
        self
    }

    /// The host has TLSA records, or may have had some: with this TTL if there are to be any, and shown so now.
    #[must_use]
    pub fn with_tlsa(mut self, ttl: Option<u64>, shown: Option<Vec<BTreeSet<KeyId>>>) -> Self {
        self.tlsa = ttl;
        self.shown = shown;
        if ttl.is_some() {
            let rotation = self.spec.key.rotation.get();
            self.key_age = (!rotation.is_zero()).then_some(rotation);
        }
        self
    }
}

/// What the service calls the certificate of a host or domain of a kind.
pub fn stored_as(kind: &str, domain: &str) -> String {
    format!("{kind}.{domain}")
}

/// How a certificate stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// For the status of the object.
    pub status: CertificateStatus,
    /// The keys whose TLSA records are to be published, all of them and no others. When [`advance`] fails, those of the
    /// status of before are to stay: a record that is removed by mistake may cost mail.
    pub tlsa: BTreeSet<KeyId>,
    /// Why the service has no good certificate, or why it cannot be renewed: a reason in CamelCase, and what to tell people.
    pub trouble: Option<(&'static str, String)>,
    /// When to look again.
    pub after: Option<Duration>,
}

impl Standing {
    /// Whether the service has a certificate that is good for now, and nothing is in its way.
    pub fn is_ready(&self) -> bool {
        self.status.deployed && self.trouble.is_none()
    }

    /// The keys that a status says are published: what to go on publishing when [`advance`] fails, and until it is called again.
    ///
    /// # Errors
    /// `StatusInvalid`: somebody changed it by hand.
    pub fn published(status: &CertificateStatus) -> Result<BTreeSet<KeyId>> {
        let keys = status.rollover.iter().flat_map(|rollover| &rollover.keys);
        keys.map(|key| key.parse().map_err(|error| crate::error::Error::invalid("StatusInvalid", error)))
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::testing::domain;

    #[test]
    fn how_long_keys_last_is_what_the_spec_says() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let service = Client::new("http://127.0.0.1:1", None).unwrap();
        let (object, host) = (domain("example.org"), "mail.example.org".parse::<HostName>().unwrap());
        let wanted = |spec: &Spec, ttl| {
            let wanted = Wanted::new(&object, "certificate", vec![host.clone()], spec, &service);
            let wanted = wanted.with_tlsa(ttl, None);
            (wanted.key_age.map(|age| age.as_secs()), wanted.timing)
        };
        let mut spec = Spec::default();
        assert_eq!(wanted(&spec, Some(300)), (Some(180 * 86_400), Timing::default()));
        assert_eq!(wanted(&spec, None).0, Some(0), "without records, each certificate has its own");
        spec.key.rotation = "0s".parse().unwrap();
        spec.key.margin = "1m".parse().unwrap();
        spec.key.keep_retired = "30m".parse().unwrap();
        let timing = Timing { margin: Duration::from_secs(60), retire_after: Duration::from_secs(1800) };
        assert_eq!(wanted(&spec, Some(300)), (None, timing), "for ever");
    }
}
