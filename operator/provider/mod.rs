//! `DNSProvider`: how records are published. The objects of others use it by [`open()`]; its own reconciler looks whether it works.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ekitei_operator_api::{
    ConditionStatus, Conditions as _, DnsProvider, DnsProviderSpec, DnsProviderStatus, Draft, MailDomain,
    MailRegion, ProviderReference,
};
use ekitei_operator_dns::{Key, Name, RecordType};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};

use crate::apply::apply_status;
use crate::context::Context;
use crate::controller::{Outcome, Reconciler};
use crate::error::Result;

pub mod access;
pub mod endpoint;
pub mod external_dns;
mod limited;
pub mod open;

pub use open::{Open, failure, kind, open, open_object, reason};

/// How often a provider is tried.
const TRIED: Duration = Duration::from_secs(300);
/// How many zones are tried.
const ZONES: usize = 64;

/// The reconciler of DNSProviders.
pub struct Providers;

impl Reconciler for Providers {
    type Object = DnsProvider;
    const KIND: &'static str = "DNSProvider";

    async fn controller(context: &Arc<Context>) -> Controller<DnsProvider> {
        let mut controller: Controller<DnsProvider> =
            Controller::new(Api::all(context.client.clone()), watcher::Config::default());
        for secrets in context.secrets() {
            let store = controller.store();
            controller = controller
                .watches(secrets, watcher::Config::default(), move |secret| with_secret(&store, &secret));
        }
        controller
    }

    async fn reconcile(provider: Arc<DnsProvider>, context: Arc<Context>) -> Result<Outcome> {
        if provider.metadata.deletion_timestamp.is_some() {
            return Ok(Outcome::gone());
        }
        let mut status = provider.status.clone().unwrap_or_default();
        status.kind = Some(kind(&provider.spec).to_owned());
        status.observed_generation = provider.metadata.generation;
        let result = tried(&provider, &context).await;
        let draft = match &result {
            Ok(zones) if zones.is_empty() => ready(
                ConditionStatus::Unknown,
                "NothingTried",
                "it names no zone and nothing uses it yet, so nothing could be tried".to_owned(),
            ),
            Ok(zones) => ready(ConditionStatus::True, "Ready", format!("it has {}", zones.join(", "))),
            Err(error) => ready(ConditionStatus::False, error.reason(), error.to_string()),
        };
        status.zones = result.as_ref().map(Clone::clone).unwrap_or_default();
        status.conditions.set(draft, provider.metadata.generation, context.clock.time().0);
        write(&context, &provider, &status).await?;
        let zones = result?;
        Ok(Outcome { ready: Some(!zones.is_empty()), after: Some(TRIED) })
    }
}

/// The providers whose credentials are in a Secret.
fn with_secret(store: &Store<DnsProvider>, secret: &Secret) -> Vec<ObjectRef<DnsProvider>> {
    let providers = store.state();
    let of_it = providers.iter().filter(|provider| {
        provider.namespace() == secret.namespace()
            && secrets_of(&provider.spec).contains(secret.name_any().as_str())
    });
    of_it.map(|provider| ObjectRef::from_obj(provider.as_ref())).collect()
}

fn ready(status: ConditionStatus, reason: &'static str, message: String) -> Draft {
    Draft { type_: "Ready", status, reason, message }
}

async fn write(context: &Context, provider: &DnsProvider, status: &DnsProviderStatus) -> Result<()> {
    apply_status(context, provider, provider.status.as_ref(), status).await.map(drop)
}

/// The zones that a provider was seen to have: those that it names, or those of what uses it.
async fn tried(provider: &DnsProvider, context: &Context) -> Result<Vec<String>> {
    let open = open_object(context, provider).await?;
    let mut names = open::zones(&provider.spec)?;
    if names.is_empty() {
        names = users(provider, context).await?;
    }
    let mut zones = BTreeSet::new();
    for name in names.iter().take(ZONES) {
        let zone = open.provider.zone(name).await.map_err(failure)?;
        // Reading needs the credentials, too.
        let apex = Key::new(zone.name.clone(), RecordType::Txt);
        open.provider.get(&zone, &apex).await.map_err(failure)?;
        zones.insert(zone.name.to_string());
    }
    Ok(zones.into_iter().collect())
}

/// Names in DNS of the objects that use a provider.
async fn users(provider: &DnsProvider, context: &Context) -> Result<Vec<Name>> {
    let (of, name) = (provider.namespace().unwrap_or_default(), provider.name_any());
    let uses = |reference: &ProviderReference, namespace: Option<String>| {
        let namespace = namespace.unwrap_or_default();
        access::allows(provider, &namespace)
            && access::place(reference, &namespace) == (of.as_str(), name.as_str())
    };
    let domains = Api::<MailDomain>::all(context.client.clone()).list(&ListParams::default()).await?;
    let regions = Api::<MailRegion>::namespaced(context.client.clone(), context.namespace());
    let regions = regions.list(&ListParams::default()).await?;
    let of_domains = domains.into_iter().filter(|domain| uses(&domain.spec.dns.provider, domain.namespace()));
    let of_regions = regions
        .into_iter()
        .filter(|region| region.spec.dns.as_ref().is_some_and(|dns| uses(&dns.provider, region.namespace())));
    let names = of_domains.map(|domain| domain.spec.domain).chain(of_regions.map(|region| region.spec.host));
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

/// The Secrets that a provider needs.
fn secrets_of(spec: &DnsProviderSpec) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    names.extend(spec.rfc2136.as_ref().map(|settings| settings.tsig.secret_ref.name.as_str()));
    let route53 = spec.route53.as_ref().and_then(|settings| settings.credentials_ref.as_ref());
    names.extend(route53.map(|secret| secret.name.as_str()));
    names.extend(spec.dns_update.as_ref().map(|settings| settings.credentials_ref.name.as_str()));
    names
}
