//! What all reconcilers share.

use std::io;
use std::sync::Arc;

use ekitei_operator_dns::verify::Validator;
use ekitei_telemetry::Registry;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher;
use kube::{Api, Client};

use crate::account::index::Index;
use crate::apply::Applied;
use crate::backoff::Backoff;
use crate::certificate_objects::Shared as Certificates;
use crate::clock::Clock;
use crate::events::Events;
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::provider::open::{Clients, Credentials};
use crate::publish::Zones;
use crate::region::cluster::Clusters;
use crate::services::Services;

/// Which Secrets are watched: nobody names those of Helm's releases, of which there are many of up to a megabyte, nor tokens of service accounts.
pub fn watched_secrets() -> watcher::Config {
    let types = ["helm.sh/release.v1", "kubernetes.io/service-account-token"];
    let others = types.map(|type_| format!("type!={type_}")).join(",");
    // Each page is in memory as a whole.
    watcher::Config::default().fields(&others).page_size(50)
}

/// What all reconcilers share.
pub struct Context {
    /// The Kubernetes API of this cluster.
    pub client: Client,
    /// What the operator was told when it started.
    pub options: Options,
    /// This process among those of the operator.
    pub identity: String,
    /// What time it is.
    pub clock: Clock,
    /// What is measured.
    pub metrics: Metrics,
    /// What people are told.
    pub events: Events,
    /// The admin API.
    pub services: Services,
    /// How long to wait after failures.
    pub backoff: Backoff,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// What was written and need not be written again.
    pub applied: Applied,
    /// One round at a time in each zone.
    pub zones: Zones,
    /// What certificates share.
    pub certificates: Certificates,
    /// All MailAccounts, once their controller runs.
    pub accounts: Index,
    /// Says which zones are secure.
    pub validator: Arc<Validator>,
    /// Clients of other clusters.
    pub clusters: Clusters,
    /// Clients of Route 53.
    pub route53: Clients,
    /// Credentials of DNSProviders that are deleted.
    pub credentials: Credentials,
}

impl Context {
    /// A context of this process.
    ///
    /// # Errors
    /// The trust anchors of DNSSEC cannot be read.
    pub fn new(client: Client, options: Options, leadership: Leadership) -> io::Result<Arc<Self>> {
        let identity = options.identity();
        let validator = Validator::new(&options.resolvers, options.dnssec_trust_anchors.as_deref())?;
        Ok(Arc::new(Self {
            identity: identity.clone(),
            clock: Clock::system(),
            metrics: Metrics::new(Registry::new()),
            events: Events::new(client.clone(), &identity),
            services: Services::new(options.service_url.clone(), options.service_token_file.clone()),
            backoff: Backoff::new(rand::random::<f64>),
            applied: Applied::default(),
            zones: Zones::default(),
            certificates: Certificates::default(),
            accounts: Index::default(),
            validator: Arc::new(validator),
            clusters: Clusters::default(),
            route53: Clients::default(),
            credentials: Credentials::default(),
            client,
            options,
            leadership,
        }))
    }

    /// The operator's namespace.
    pub fn namespace(&self) -> &str {
        &self.options.namespace
    }

    /// The Secrets to watch ([`watched_secrets`] says which of them), wherever they may be read.
    pub fn secrets(&self) -> Vec<Api<Secret>> {
        let watched = self.options.watched_secrets().into_iter();
        let api = |namespace: Option<&str>| match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        watched.map(api).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_secrets_that_nobody_names_are_not_read() {
        let watched = watched_secrets();
        let selector = watched.field_selector.unwrap_or_default();
        assert_eq!(selector, "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token");
        assert_eq!(watched.page_size, Some(50));
    }
}
