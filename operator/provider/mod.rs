//! `DNSProvider`: how records are published. The objects of others use it by [`open()`]; its own reconciler looks whether it works, and keeps one that is deleted
//! until nobody uses it ([`usage`]).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ekitei_operator_api::{
    ConditionStatus, Conditions as _, DnsProvider, DnsProviderSpec, DnsProviderStatus, Draft, MailDomain,
    MailRegion,
};
use ekitei_operator_dns::{Key, RecordType};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};

use crate::apply::apply_status;
use crate::context::{Context, watched_secrets};
use crate::controller::{Outcome, Reconciler};
use crate::error::{Optional as _, Result};
use crate::finalizer;

pub mod access;
pub mod endpoint;
pub mod external_dns;
mod limited;
pub mod open;
pub mod usage;

pub use open::{Open, failure, kind, open, open_object};
use usage::User;

/// How often a provider is tried.
const TRIED: Duration = Duration::from_secs(300);
/// How often to look whether anybody uses a deleted one still, should no watch say so.
const IN_USE: Duration = Duration::from_secs(60);
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
            controller =
                controller.watches(secrets, watched_secrets(), move |secret| with_secret(&store, &secret));
        }
        // What uses a provider keeps it: one that is about to go frees it.
        let domains = Api::<MailDomain>::all(context.client.clone());
        let regions = Api::<MailRegion>::namespaced(context.client.clone(), context.namespace());
        controller
            .watches(domains, watcher::Config::default(), |domain| freed(usage::by_domain(&domain), &domain))
            .watches(regions, watcher::Config::default(), |region| freed(usage::by_region(&region), &region))
    }

    async fn reconcile(provider: Arc<DnsProvider>, context: Arc<Context>) -> Result<Outcome> {
        let users = usage::all(&context).await?.of(&provider);
        if finalizer::is_deleted(provider.as_ref()) {
            return end(&provider, &context, &users).await;
        }
        if usage::in_use(&users).is_none() {
            // Who does not use it any more has taken its records away.
            finalizer::release(&context, provider.as_ref()).await?;
        }
        let mut status = provider.status.clone().unwrap_or_default();
        status.kind = Some(kind(&provider.spec).to_owned());
        status.observed_generation = provider.metadata.generation;
        let result = tried(&provider, &context, &users).await;
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

/// Lets a deleted provider go when nobody uses it: without it, the records that it published could not be taken away.
async fn end(provider: &DnsProvider, context: &Context, users: &[User]) -> Result<Outcome> {
    if !finalizer::holds(provider) {
        return Ok(gone(provider, context));
    }
    let Some(message) = usage::in_use(users) else {
        finalizer::release(context, provider).await?;
        return Ok(gone(provider, context));
    };
    if finalizer::is_abandoned(provider) {
        let note = format!("given up though {message}: their records are left to you");
        context.events.warning(provider, "Abandoned", &note).await;
        finalizer::release(context, provider).await?;
        return Ok(gone(provider, context));
    }
    context.events.warning(provider, "ProviderInUse", &message).await;
    let mut status = provider.status.clone().unwrap_or_default();
    let draft =
        ready(ConditionStatus::False, "ProviderInUse", format!("it was deleted, and stays while {message}"));
    status.conditions.set(draft, provider.metadata.generation, context.clock.time().0);
    write(context, provider, &status).await.optional()?;
    Ok(Outcome::waiting(IN_USE))
}

fn gone(provider: &DnsProvider, context: &Context) -> Outcome {
    context.credentials.forget(&provider.uid().unwrap_or_default());
    Outcome::gone()
}

/// The provider that an object which is deleted refers to.
fn freed<K: kube::Resource>(place: Option<(String, String)>, user: &K) -> Option<ObjectRef<DnsProvider>> {
    let (namespace, name) = place.filter(|_| finalizer::is_deleted(user))?;
    Some(ObjectRef::new(&name).within(&namespace))
}

/// The zones that a provider was seen to have: those that it names, or those of what uses it.
async fn tried(provider: &DnsProvider, context: &Context, users: &[User]) -> Result<Vec<String>> {
    let open = open_object(context, provider).await?;
    let mut names = open::zones(&provider.spec)?;
    if names.is_empty() {
        names = users.iter().filter_map(|user| user.dns_name.parse().ok()).collect();
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

/// The Secrets that a provider needs.
fn secrets_of(spec: &DnsProviderSpec) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    names.extend(spec.rfc2136.as_ref().map(|settings| settings.tsig.secret_ref.name.as_str()));
    let route53 = spec.route53.as_ref().and_then(|settings| settings.credentials_ref.as_ref());
    names.extend(route53.map(|secret| secret.name.as_str()));
    names.extend(spec.dns_update.as_ref().map(|settings| settings.credentials_ref.name.as_str()));
    names
}
