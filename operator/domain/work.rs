//! One domain while it is worked on: what was found out, what is waited for, and the status that comes of it.

use std::sync::Arc;
use std::time::Duration;

use ekitei_operator_api::{ConditionStatus, Conditions as _, Draft, MailDomain, MailDomainStatus};
use ekitei_operator_dns::round::Store;
use ekitei_operator_dns::{Inventory, Name};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use kube::ResourceExt as _;

use super::Domains;
use crate::apply::apply_status;
use crate::context::Context;
use crate::controller::Reconciler as _;
use crate::error::{Error, Result};
use crate::metrics::Object;
use crate::publish::inventory_status;

/// One domain while it is worked on.
pub struct Work {
    /// What all reconcilers share.
    pub context: Arc<Context>,
    /// The object, as the API server has it.
    pub domain: Arc<MailDomain>,
    /// Its name.
    pub name: Name,
    /// The status that is being made.
    pub status: MailDomainStatus,
    /// As it was stored last.
    stored: Option<MailDomainStatus>,
    /// When something is to be done next.
    wake: Option<Duration>,
    /// The first step that failed: the others went on.
    failure: Option<Error>,
    /// Whether we gave the domain in the service its revision just now.
    revised: bool,
}

impl Work {
    /// Begins with the object as the API server has it.
    ///
    /// # Errors
    /// That the domain is none, though the API server takes no such object.
    pub fn begin(context: Arc<Context>, domain: Arc<MailDomain>) -> Result<Self> {
        let name = domain.spec.domain.parse().map_err(|error| Error::invalid("DomainInvalid", error))?;
        let stored = domain.status.clone();
        let status = stored.clone().unwrap_or_default();
        Ok(Self { context, domain, name, status, stored, wake: None, failure: None, revised: false })
    }

    /// Says whether something is true.
    pub fn condition(
        &mut self,
        type_: &'static str,
        status: impl Into<ConditionStatus>,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let draft = Draft { type_, status: status.into(), reason, message: message.into() };
        self.status.conditions.set(draft, self.domain.metadata.generation, self.context.clock.time().0);
    }

    /// Wants to be called again after this time, by the operator's clock.
    pub fn wake_in(&mut self, after: Duration) {
        self.wake = Some(self.wake.map_or(after, |wake| wake.min(after)));
    }

    /// When it wants to be called again.
    pub fn wake(&self) -> Option<Duration> {
        self.wake
    }

    /// Remembers that a step failed, tells it as what the step's condition is, and goes on; unless nothing may be written any more.
    ///
    /// # Errors
    /// [`Error::NotLeader`].
    pub fn step_failed(&mut self, conditions: &[&'static str], error: Error) -> Result<()> {
        if matches!(error, Error::NotLeader) {
            return Err(error);
        }
        for type_ in conditions {
            // What was true stays true while it only cannot be looked at.
            if self.status.conditions.holds(type_) && !error.needs_a_person() {
                continue;
            }
            self.condition(type_, ConditionStatus::Unknown, error.reason(), error.to_string());
        }
        tracing::info!(domain = %self.name, reason = error.reason(), %error, "a step failed");
        // What a person has to change must not hide what is worth another attempt soon.
        if self.failure.as_ref().is_none_or(|before| before.needs_a_person() && !error.needs_a_person()) {
            self.failure = Some(error);
        }
        Ok(())
    }

    /// The first step that failed.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// The failure that the reconciliation ends with.
    pub fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Notes the revision that a write of ours gave the domain in the service. It is stored with what else is news, or when the service has it still the next time: were it
    /// stored alone, each such write would begin another reconciliation.
    pub fn revised(&mut self, revision: String) {
        self.status.service_revision = Some(revision);
        self.revised = true;
    }

    /// Stores the status, if it says something else than before.
    ///
    /// # Errors
    /// The Kubernetes API's.
    pub async fn store(&mut self) -> Result<()> {
        self.status.observed_generation = self.domain.metadata.generation;
        if self.revised && self.stored.as_ref().is_some_and(|stored| says_the_same(stored, &self.status)) {
            return Ok(());
        }
        apply_status(&self.context, self.domain.as_ref(), self.stored.as_ref(), &self.status).await?;
        self.stored = Some(self.status.clone());
        Ok(())
    }

    /// The object, as metrics know it.
    pub fn object(&self) -> Object {
        Object::of(Domains::KIND, self.domain.as_ref())
    }

    /// The namespace of the object.
    pub fn namespace(&self) -> String {
        self.domain.namespace().unwrap_or_default()
    }

    /// Tells people that something was done.
    pub async fn tell(&self, reason: &'static str, note: &str) {
        self.context.events.normal(self.domain.as_ref(), reason, note).await;
    }

    /// Tells people that something is not as it should be.
    pub async fn warn(&self, reason: &'static str, note: &str) {
        self.context.events.warning(self.domain.as_ref(), reason, note).await;
    }
}

/// Whether two statuses differ in nothing but the revision of the domain in the service.
fn says_the_same(one: &MailDomainStatus, other: &MailDomainStatus) -> bool {
    *one == MailDomainStatus { service_revision: one.service_revision.clone(), ..other.clone() }
}

impl Store<Error> for Work {
    fn store<'a>(&'a mut self, inventory: &'a Inventory) -> BoxFuture<'a, Result<()>> {
        self.status.inventory = inventory_status(inventory);
        self.store().boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_revision_of_the_service_is_no_news_alone() {
        let revised = |revision: &str, aliases: &[&str]| MailDomainStatus {
            service_revision: Some(revision.to_owned()),
            aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
            ..MailDomainStatus::default()
        };
        assert!(says_the_same(&revised("1", &[]), &revised("2", &[])));
        assert!(!says_the_same(&revised("1", &[]), &revised("2", &["sales@example.org"])));
    }
}
