//! `MailRegion`: MX replicas in one place.
//!
//! The steps: the objects of the region in its [`cluster`] ([`template`], [`configuration`], [`render`], `objects`), how its [`pods`] and [`addresses`] are, its
//! [`records`] in DNS (`publication`) with the certificate of its names, and the [`reverse`] names that only others can set. A step that fails does not keep the
//! others back. `removal` undoes them in the order that loses no mail.

use std::sync::Arc;
use std::time::Duration;

use ekitei_operator_api::{
    ConditionStatus, Conditions as _, Draft, MailDomain, MailRegion, MailRegionStatus,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};

use crate::apply::apply_status;
use crate::context::{Context, watched_secrets};
use crate::controller::{Outcome, Reconciler};
use crate::error::{Error, Result};
use crate::finalizer;
use crate::metrics::Object;

pub mod addresses;
mod certificate;
pub mod cluster;
pub mod configuration;
mod objects;
pub mod pods;
mod publication;
pub mod records;
mod removal;
pub mod render;
pub mod reverse;
mod steps;
pub mod template;
#[cfg(test)]
mod testing;

/// How often a region in another cluster is looked at: nothing there tells us what changes.
const OTHER_CLUSTER: Duration = Duration::from_secs(30);
/// How soon to look again for what nothing tells us of: servers that show a record, names that get addresses.
const SOON: Duration = Duration::from_secs(10);

/// The reconciler of MailRegions.
pub struct Regions;

impl Reconciler for Regions {
    type Object = MailRegion;
    const KIND: &'static str = "MailRegion";

    async fn controller(context: &Arc<Context>) -> Controller<MailRegion> {
        let (client, namespace) = (&context.client, context.namespace());
        let all = watcher::Config::default;
        let controller: Controller<MailRegion> =
            Controller::new(Api::namespaced(client.clone(), namespace), all());
        let stores: [Store<MailRegion>; 5] = std::array::from_fn(|_| controller.store());
        let [by_template, by_secret, by_service, by_slice, by_domain] = stores;
        let prefix = context.options.name_prefix.clone();
        let template = all().fields(&format!("metadata.name={}", context.options.region_template));
        controller
            .owns(Api::<Deployment>::namespaced(client.clone(), namespace), all())
            .owns(Api::<Service>::namespaced(client.clone(), namespace), all())
            .watches(Api::<ConfigMap>::namespaced(client.clone(), namespace), template, move |_| {
                of(&by_template, |_| true)
            })
            .watches(Api::<Secret>::namespaced(client.clone(), namespace), watched_secrets(), move |secret| {
                let name = secret.name_any();
                of(&by_secret, |region| {
                    refers_to_secret(region, &name)
                        || name.starts_with(&certificate::secret_name(&prefix, &region.name_any()))
                })
            })
            .watches(Api::<Service>::namespaced(client.clone(), namespace), all(), move |service| {
                let name = service.name_any();
                of(&by_service, |region| refers_to_service(region, &name))
            })
            .watches(Api::<EndpointSlice>::namespaced(client.clone(), namespace), all(), move |slice| {
                let service = slice.labels().get("kubernetes.io/service-name").cloned().unwrap_or_default();
                of(&by_slice, |region| is_behind(region, &service))
            })
            // A region that is deleted waits for the domains that list it.
            .watches(Api::<MailDomain>::all(client.clone()), all(), move |_| {
                of(&by_domain, finalizer::is_deleted)
            })
    }

    async fn reconcile(region: Arc<MailRegion>, context: Arc<Context>) -> Result<Outcome> {
        let mut work = Work::new(&region, &context);
        if finalizer::is_deleted(region.as_ref()) {
            return work.remove().await;
        }
        finalizer::hold(&context, region.as_ref()).await?;
        work.steps().await;
        work.conclude();
        work.finish().await?;
        work.measure();
        match work.failure.take() {
            Some(error) => Err(error),
            None => Ok(Outcome { ready: Some(work.status.conditions.holds("Ready")), after: work.wake }),
        }
    }
}

/// How many pods there should be. Of those that someone else keeps only that is known how many there are, which are all to be ready, and that none is too few.
fn desired_replicas(region: &MailRegion, status: &MailRegionStatus) -> i32 {
    match region.spec.placement.existing_service {
        Some(_) => status.replicas.max(1),
        None => region.spec.replicas,
    }
}

/// The regions that a rule applies to.
fn of(store: &Store<MailRegion>, rule: impl Fn(&MailRegion) -> bool) -> Vec<ObjectRef<MailRegion>> {
    let regions = store.state();
    regions.iter().filter(|one| rule(one)).map(|one| ObjectRef::from_obj(one.as_ref())).collect()
}

fn refers_to_secret(region: &MailRegion, name: &str) -> bool {
    let spec = &region.spec;
    let kubeconfig = spec.placement.kubeconfig.as_ref().map(|kubeconfig| &kubeconfig.secret_ref.name);
    let credentials = spec.storage.as_ref().and_then(|storage| storage.credentials_ref.as_ref());
    let token = spec.service.as_ref().map(|service| &service.token_ref.name);
    let certificate = spec.certificate.secret_ref.as_ref().map(|secret| &secret.name);
    let names = [kubeconfig, credentials.map(|secret| &secret.name), token, certificate];
    names.into_iter().flatten().any(|of_it| of_it == name)
}

fn refers_to_service(region: &MailRegion, name: &str) -> bool {
    let of_clients = region.spec.clients.as_ref().and_then(|clients| clients.service_ref.as_ref());
    is_behind(region, name) || of_clients.is_some_and(|service| service.name == name)
}

/// Whether the pods of a region are those of a Service that someone else keeps.
fn is_behind(region: &MailRegion, service: &str) -> bool {
    region.spec.placement.existing_service.as_ref().is_some_and(|existing| existing.name == service)
}

/// One reconciliation.
struct Work<'a> {
    region: &'a MailRegion,
    context: &'a Context,
    status: MailRegionStatus,
    /// Whether the status was stored on the way, so that the one that was read says nothing any more.
    stored: bool,
    /// When something is to be done next.
    wake: Option<Duration>,
    /// The failure that the reconciliation ends with; the other steps went on.
    failure: Option<Error>,
}

impl<'a> Work<'a> {
    fn new(region: &'a MailRegion, context: &'a Context) -> Self {
        let status = region.status.clone().unwrap_or_default();
        Self { region, context, status, stored: false, wake: None, failure: None }
    }

    fn condition(&mut self, draft: Draft) {
        self.status.conditions.set(draft, self.region.metadata.generation, self.context.clock.time().0);
    }

    fn wake_in(&mut self, after: Duration) {
        self.wake = Some(self.wake.map_or(after, |wake| wake.min(after)));
    }

    /// Says that what a step would find out is not known, or that a person has to do something about it.
    fn failed(&mut self, conditions: &[&'static str], error: Error) {
        let status = if error.needs_a_person() { ConditionStatus::False } else { ConditionStatus::Unknown };
        for type_ in conditions {
            // What was true is taken to be so while it only cannot be looked at: MX records depend on it.
            if status == ConditionStatus::Unknown && self.status.conditions.holds(type_) {
                continue;
            }
            self.condition(Draft { type_, status, reason: error.reason(), message: error.to_string() });
        }
        // What a person has to change must not hide what is worth another attempt soon.
        if self.failure.as_ref().is_none_or(|before| before.needs_a_person() && !error.needs_a_person()) {
            self.failure = Some(error);
        }
    }

    /// The condition `Ready`: the region takes mail, and the world can find it.
    fn conclude(&mut self) {
        let needed = [
            ("PodsReady", "PodsNotReady"),
            ("AddressesReady", "AddressesMissing"),
            ("DNSPublished", "DNSNotPublished"),
        ];
        let bad = needed.into_iter().find_map(|(type_, reason)| {
            let Some(condition) = self.status.conditions.find(type_) else {
                // A step before it failed, which says more.
                let why = self.failure.as_ref().map(ToString::to_string);
                return Some((reason, why.unwrap_or_else(|| "it has not been looked at yet".to_owned())));
            };
            // Of records that are published, and cannot be looked at now, nobody thinks that they are gone.
            let good =
                condition.status == "True" || (type_ == "DNSPublished" && condition.status == "Unknown");
            (!good).then(|| (reason, condition.message.clone()))
        });
        let (status, reason, message) = match (bad, &self.failure) {
            (Some((reason, message)), _) => (ConditionStatus::False, reason, message),
            // It takes mail; what is not as it should be is said all the same.
            (None, Some(error)) => (ConditionStatus::True, error.reason(), error.to_string()),
            (None, None) => (ConditionStatus::True, "Ready", format!("{} takes mail", self.region.spec.host)),
        };
        let draft = Draft { type_: "Ready", status, reason, message };
        self.condition(draft);
    }

    /// Writes the status, if it changed.
    async fn finish(&mut self) -> Result<()> {
        self.status.observed_generation = self.region.metadata.generation;
        let before = self.region.status.as_ref().filter(|_| !self.stored);
        apply_status(self.context, self.region, before, &self.status).await.map(drop)
    }

    fn measure(&self) {
        let (name, status) = (self.region.name_any(), &self.status);
        let states = [
            ("desired", desired_replicas(self.region, status)),
            ("there", status.replicas),
            ("ready", status.ready_replicas),
        ];
        let members = states.map(|(state, count)| ([name.as_str(), state], i64::from(count)));
        self.context.metrics.mx_replicas.show(&self.object(), members);
    }

    /// The region, as metrics know it.
    fn object(&self) -> Object {
        Object::of(Regions::KIND, self.region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_that_someone_else_keeps_are_as_many_as_there_are() {
        let found = |replicas| MailRegionStatus { replicas, ..MailRegionStatus::default() };
        let own = testing::region("{host: mx.tokyo.example.net, replicas: 3}");
        assert_eq!(desired_replicas(&own, &found(1)), 3);
        let foreign =
            testing::region("{host: mx.tokyo.example.net, placement: {existingService: {name: ekitei-all}}}");
        assert_eq!(desired_replicas(&foreign, &found(1)), 1);
        assert_eq!(desired_replicas(&foreign, &found(4)), 4);
        assert_eq!(desired_replicas(&foreign, &found(0)), 1, "nobody takes mail");
    }
}
