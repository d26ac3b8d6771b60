//! What else a domain has to be looked at for: its regions, its provider, Secrets, certificates of cert-manager, and others that want the same domain.

use std::sync::Arc;

use ekitei_operator_api::{DnsProvider, MailDomain, MailRegion};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};

use crate::certificate_objects::cert_manager;
use crate::context::{Context, watched_secrets};

/// Watches all of it. Certificates of cert-manager only where it is installed.
pub async fn watch(controller: Controller<MailDomain>, context: &Arc<Context>) -> Controller<MailDomain> {
    let client = &context.client;
    let all = || watcher::Config::default();
    let store = controller.store();
    let regions: Api<MailRegion> = Api::namespaced(client.clone(), context.namespace());
    let with_region = with(&store, |domain, region: &MailRegion| {
        let name = region.name_any();
        domain.spec.regions.iter().any(|one| one.name == name)
    });
    let with_provider = with(&store, |domain, provider: &DnsProvider| {
        let reference = &domain.spec.dns.provider;
        let namespace = reference.namespace.clone().or_else(|| domain.namespace());
        reference.name == provider.name_any() && namespace == provider.namespace()
    });
    let with_name = with(&store, |domain, other: &MailDomain| {
        domain.spec.domain == other.spec.domain && domain.uid() != other.uid()
    });
    let mut controller = controller
        .watches(regions, all(), with_region)
        .watches(Api::<DnsProvider>::all(client.clone()), all(), with_provider)
        .watches(Api::<MailDomain>::all(client.clone()), all(), with_name);
    for secrets in context.secrets() {
        let with_secret = with(&store, |domain, secret: &Secret| {
            domain.namespace() == secret.namespace()
                && (names_secret(domain, &secret.name_any()) || owns(domain, secret))
        });
        controller = controller.watches(secrets, watched_secrets(), with_secret);
    }
    // Where that cannot be found out now, or it is installed later, the certificates are looked at when the resync comes.
    if !cert_manager::is_installed(client).await.unwrap_or(false) {
        return controller;
    }
    let resource = cert_manager::resource();
    let with_certificate = with(&store, |domain, certificate: &DynamicObject| {
        domain.namespace() == certificate.namespace() && owns(domain, certificate)
    });
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    controller.watches_with(api, resource, all(), with_certificate)
}

/// The domains of the store that `concerns` says of.
fn with<K>(
    store: &Store<MailDomain>,
    concerns: impl Fn(&MailDomain, &K) -> bool + Send + Sync + 'static,
) -> impl Fn(K) -> Vec<ObjectRef<MailDomain>> + Send + Sync + 'static {
    let store = store.clone();
    move |other| {
        let domains = store.state();
        let found = domains.iter().filter(|domain| concerns(domain, &other));
        found.map(|domain| ObjectRef::from_obj(domain.as_ref())).collect()
    }
}

/// Whether an object was made for a domain.
fn owns(domain: &MailDomain, other: &impl kube::Resource) -> bool {
    other.owner_references().iter().any(|owner| Some(&owner.uid) == domain.metadata.uid.as_ref())
}

/// Whether the domain's spec names a Secret.
fn names_secret(domain: &MailDomain, name: &str) -> bool {
    let certificate = &domain.spec.certificate;
    let acme = certificate.acme.as_ref();
    let names = [
        certificate.secret_ref.as_ref().map(|reference| &reference.name),
        acme.and_then(|acme| acme.account_secret_ref.as_ref()).map(|reference| &reference.name),
        acme.and_then(|acme| acme.ca_ref.as_ref()).map(|reference| &reference.name),
        acme.and_then(|acme| acme.external_account.as_ref()).map(|external| &external.key_ref.name),
    ];
    names.into_iter().flatten().any(|one| one == name)
}
