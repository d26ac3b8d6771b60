//! `MailAccount`: from an object to a user of the service, by the admin API.
//!
//! The steps: may it have its addresses ([`claim`])? Is the account there? What differs, and who changed it ([`drift`], [`fields`])? Was the Secret with
//! the password changed ([`password`])? What was changed elsewhere is shown and left alone.

use std::sync::Arc;
use std::time::Duration;

use ekitei_operator_api::{
    ConditionStatus, Conditions as _, DeletionPolicy, Draft, MailAccount, MailAccountStatus, MailDomain,
};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};

use crate::account::claim::Refusal;
use crate::apply::apply_status;
use crate::context::{Context, watched_secrets};
use crate::controller::{Outcome, Reconciler};
use crate::error::{Error, Optional as _, Result};
use crate::finalizer;

pub mod claim;
pub mod drift;
pub mod fields;
pub mod index;
pub mod password;
pub mod quantity;
mod service;

/// How long after a refusal to look whether its reason is gone, where nothing else says so.
const REFUSED: Duration = Duration::from_secs(60);
/// How old [`MailAccountStatus::last_seen`] may become: every write of it is a change of the object.
const SEEN: Duration = Duration::from_secs(300);

/// The reconciler of MailAccounts.
pub struct Accounts;

impl Reconciler for Accounts {
    type Object = MailAccount;
    const KIND: &'static str = "MailAccount";

    async fn controller(context: &Arc<Context>) -> Controller<MailAccount> {
        let all = || watcher::Config::default();
        let controller = Controller::new(Api::all(context.client.clone()), all());
        context.accounts.set(controller.store());
        let of_domain = controller.store();
        let domains = Api::<MailDomain>::all(context.client.clone());
        let mut controller = controller.watches(domains, all(), move |domain| {
            of(&of_domain, |account| {
                account.namespace() == domain.namespace()
                    && claim::domains(account).contains(&domain.spec.domain)
            })
        });
        for secrets in context.secrets() {
            let of_secret = controller.store();
            controller = controller
                .watches(secrets, watched_secrets(), move |secret| with_password(&of_secret, &secret));
        }
        controller
    }

    async fn reconcile(account: Arc<MailAccount>, context: Arc<Context>) -> Result<Outcome> {
        if finalizer::is_deleted(account.as_ref()) {
            return delete(&account, &context).await;
        }
        let mut work = Work::new(&account, &context);
        let result = work.steps().await;
        if let Err(error) = &result {
            work.ready(ConditionStatus::False, error.reason(), error.to_string());
        }
        work.finish().await?;
        result
    }
}

/// The accounts that a rule applies to.
fn of(store: &Store<MailAccount>, rule: impl Fn(&MailAccount) -> bool) -> Vec<ObjectRef<MailAccount>> {
    let accounts = store.state();
    accounts.iter().filter(|one| rule(one)).map(|one| ObjectRef::from_obj(one.as_ref())).collect()
}

/// The accounts whose password is in a Secret.
fn with_password(store: &Store<MailAccount>, secret: &Secret) -> Vec<ObjectRef<MailAccount>> {
    of(store, |account| {
        let password = account.spec.password.as_ref();
        account.namespace() == secret.namespace()
            && password.is_some_and(|password| password.secret_ref.name == secret.name_any())
    })
}

/// One reconciliation.
struct Work<'a> {
    account: &'a MailAccount,
    context: &'a Context,
    status: MailAccountStatus,
}

impl<'a> Work<'a> {
    fn new(account: &'a MailAccount, context: &'a Context) -> Self {
        Self { account, context, status: account.status.clone().unwrap_or_default() }
    }

    async fn steps(&mut self) -> Result<Outcome> {
        let domains = self.domains().await?;
        if let Err(refusal) = self.judge(&domains) {
            self.refuse(&refusal).await;
            return Ok(Outcome::waiting(REFUSED));
        }
        self.accepted("Accepted", ConditionStatus::True, String::new());
        finalizer::hold(self.context, self.account).await?;
        self.write(&domains).await?;
        self.ready(ConditionStatus::True, "Ready", String::new());
        Ok(Outcome::ready())
    }

    /// The MailDomains of the namespace that have the domains of the account's addresses.
    async fn domains(&self) -> Result<Vec<MailDomain>> {
        let namespace = self.account.namespace().unwrap_or_default();
        let api: Api<MailDomain> = Api::namespaced(self.context.client.clone(), &namespace);
        let mut found = Vec::new();
        for domain in claim::domains(self.account) {
            // What is no domain name no MailDomain has, and selectors could not be written with it.
            if domain.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-".contains(&octet)) {
                let of_it = ListParams::default().fields(&format!("spec.domain={domain}"));
                found.extend(api.list(&of_it).await?);
            }
        }
        Ok(found)
    }

    fn judge(&self, domains: &[MailDomain]) -> Result<(), Refusal> {
        let accounts = self.context.accounts.all();
        claim::judge(self.account, domains.iter(), accounts.iter().map(AsRef::as_ref))
    }

    async fn refuse(&mut self, refusal: &Refusal) {
        let message = refusal.message();
        self.context.events.warning(self.account, refusal.reason(), &message).await;
        self.accepted(refusal.reason(), ConditionStatus::False, message.clone());
        self.in_sync("NotAccepted", ConditionStatus::Unknown, String::new());
        self.ready(ConditionStatus::False, refusal.reason(), message);
    }

    fn accepted(&mut self, reason: &'static str, status: ConditionStatus, message: String) {
        self.condition(Draft { type_: "Accepted", status, reason, message });
    }

    fn in_sync(&mut self, reason: &'static str, status: ConditionStatus, message: String) {
        self.condition(Draft { type_: "InSync", status, reason, message });
    }

    fn ready(&mut self, status: ConditionStatus, reason: &'static str, message: String) {
        self.condition(Draft { type_: "Ready", status, reason, message });
    }

    fn condition(&mut self, draft: Draft) {
        let generation = self.account.metadata.generation;
        self.status.conditions.set(draft, generation, self.context.clock.time().0);
    }

    /// Writes the status, if it changed.
    async fn finish(&mut self) -> Result<()> {
        self.status.observed_generation = self.account.metadata.generation;
        apply_status(self.context, self.account, self.account.status.as_ref(), &self.status).await.map(drop)
    }
}

/// Gives an account that is deleted its end: by its policy, only if it was ours.
async fn delete(account: &MailAccount, context: &Context) -> Result<Outcome> {
    if !finalizer::holds(account) {
        return Ok(Outcome::gone());
    }
    let status = account.status.clone().unwrap_or_default();
    let ours = status.conditions.holds("Accepted");
    if let (DeletionPolicy::Delete, Some(id), true) = (account.spec.deletion_policy, status.account_id, ours)
    {
        let removed = service::remove(account, context, id, &status.applied).await;
        if finalizer::is_abandoned(account) {
            if let Err(error) = removed {
                tracing::warn!(account = account.name_any(), %error, "the account was given up");
            }
        } else if let Err(error) = removed {
            return Err(not_removed(account, context, error).await);
        }
    }
    finalizer::release(context, account).await?;
    Ok(Outcome::gone())
}

/// Says why a deleted account is still there.
async fn not_removed(account: &MailAccount, context: &Context, error: Error) -> Error {
    let mut work = Work::new(account, context);
    work.ready(ConditionStatus::False, "DeletionFailed", format!("the account is not deleted yet: {error}"));
    match work.finish().await.optional() {
        Ok(_) => error,
        Err(failed) => failed,
    }
}
