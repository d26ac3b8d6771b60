//! `MailDomain`: from an object to a domain that receives and sends mail.
//!
//! [`Domains::reconcile`] is the list of steps; each is a file. A step that fails says so in its condition and does not keep those from being done that do not need it.
//! Nothing is remembered from one time to the next but what the status has.

use std::sync::Arc;

use ekitei_api::{Client, DkimKey};
use ekitei_operator_api::{ConditionStatus, MailDomain, MailRegion};
use kube::api::Api;
use kube::runtime::{Controller, watcher};

use crate::context::Context;
use crate::controller::{Outcome, Reconciler};
use crate::error::{Error, Result};
use crate::{fail, finalizer};

mod accept;
mod certificate;
pub mod claim;
mod deletion;
mod describe;
mod dkim;
mod keys;
mod records;
mod regions;
mod reverse;
mod service;
mod summary;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod testing;
mod watches;
mod work;

use records::Dns;
use work::Work;

/// The reconciler of MailDomains.
pub struct Domains;

impl Reconciler for Domains {
    type Object = MailDomain;
    const KIND: &'static str = "MailDomain";

    async fn controller(context: &Arc<Context>) -> Controller<MailDomain> {
        let all = Api::all(context.client.clone());
        let controller = Controller::new(all, watcher::Config::default());
        watches::watch(controller, context).await
    }

    async fn reconcile(domain: Arc<MailDomain>, context: Arc<Context>) -> Result<Outcome> {
        let mut work = Work::begin(context, domain)?;
        let regions = accept::regions(&work).await?;
        let service = home_service(&work, &regions).await;
        if finalizer::is_deleted(work.domain.as_ref()) {
            // A domain of the service that is not this object's stays as it is.
            let is_ours = claim::holds(&work.context, &work.domain, describe::home(&work.domain, &regions));
            let gone = deletion::run(&mut work, is_ours.then_some(service)).await?;
            return Ok(if gone {
                Outcome::gone()
            } else {
                Outcome { ready: Some(false), after: work.wake() }
            });
        }
        let rivals = accept::rivals(&work).await?;
        let rivals = match claim::contenders(&work, rivals, &regions, &service).await {
            Ok(rivals) => rivals,
            Err(error) => return unknown(&mut work, error).await,
        };
        if let Some(refusal) = accept::refusal(&work.domain, &rivals, &regions) {
            return refuse(&mut work, refusal).await;
        }
        match claimed(&mut work, &regions, &service).await {
            Some(Ok(None)) => {}
            Some(Ok(Some(refusal))) => return refuse(&mut work, refusal).await,
            Some(Err(error)) => return unknown(&mut work, error).await,
            None => return unknown(&mut work, service.err().unwrap_or(Error::NotLeader)).await,
        }
        finalizer::hold(&work.context, work.domain.as_ref()).await?;
        work.condition("Accepted", true, "Accepted", "the domain is this object's");
        fail::point("accepted")?;
        let result = Box::pin(steps(&mut work, &regions, service)).await;
        if let Err(error) = result {
            work.step_failed(&[], error)?;
        }
        let ready = summary::step(&mut work);
        fail::point("status")?;
        work.store().await?;
        match work.take_failure() {
            Some(error) => Err(error),
            None => Ok(Outcome { ready: Some(ready), after: work.wake() }),
        }
    }
}

/// The service of the domain's home region.
async fn home_service(work: &Work, regions: &[MailRegion]) -> Result<Client> {
    match describe::home(&work.domain, regions) {
        Some(region) => work.context.services.of_region(&work.context.client, region).await,
        None => work.context.services.main().await,
    }
}

/// Says why the domain is not accepted, and leaves the world alone.
async fn refuse(work: &mut Work, refusal: accept::Refusal) -> Result<Outcome> {
    work.condition("Accepted", false, refusal.reason, refusal.message.clone());
    summary::step(work);
    work.store().await?;
    work.warn(refusal.reason, &refusal.message).await;
    Ok(Outcome { ready: Some(false), after: None })
}

/// Whether the domain of the service may be the object's; `None` where that cannot be asked.
async fn claimed(
    work: &mut Work,
    regions: &[MailRegion],
    service: &Result<Client>,
) -> Option<Result<Option<accept::Refusal>>> {
    if claim::holds(&work.context, &work.domain, describe::home(&work.domain, regions)) {
        return Some(Ok(None));
    }
    Some(claim::step(work, regions, service.as_ref().ok()?).await)
}

/// Says that nobody knows whether the domain is the object's, and leaves the world alone.
async fn unknown(work: &mut Work, error: Error) -> Result<Outcome> {
    if !matches!(error, Error::NotLeader) {
        work.condition("Accepted", ConditionStatus::Unknown, error.reason(), error.to_string());
        summary::step(work);
        work.store().await?;
    }
    Err(error)
}

/// Everything that is done for an accepted domain.
async fn steps(work: &mut Work, regions: &[MailRegion], service: Result<Client>) -> Result<()> {
    regions::step(work, regions);
    reverse::step(work, regions);
    let service = service?;
    let keys = match served(work, regions, &service).await {
        Ok(keys) => Some(keys),
        Err(error) => {
            work.step_failed(&["DKIMReady"], error)?;
            None
        }
    };
    fail::point("served")?;
    let dns = match records::open(work).await {
        Ok(dns) => Ok(dns),
        Err(error) => {
            let why = error.to_string();
            work.step_failed(&["DNSPublished", "DNSVerified"], error)?;
            Err(why)
        }
    };
    // Without the service nobody knows its keys, and records must not go because of that.
    if let Some(keys) = &keys
        && let Err(error) = publish(work, dns.as_ref().ok(), regions, &service, keys).await
    {
        work.step_failed(&["DNSPublished", "DNSVerified", "DKIMReady"], error)?;
    }
    fail::point("published")?;
    // A certificate ends whatever else is wrong; the first one is for a domain that the service took.
    let is_served = keys.is_some() || !work.status.certificates.is_empty();
    if is_served
        && let Err(error) = certificate::step(work, dns.as_ref().map_err(String::as_str), &service).await
    {
        work.step_failed(&["CertificateReady"], error)?;
    }
    fail::point("certified")
}

/// The domain in the service, and its keys.
async fn served(work: &mut Work, regions: &[MailRegion], service: &Client) -> Result<Vec<DkimKey>> {
    let hosts = work.status.regions.iter().filter_map(|region| region.host.clone()).collect();
    let client_host = describe::client_host(&work.domain, regions);
    let wanted = service::Wanted::new(&work.domain, hosts, client_host)?;
    service::step(work, service, &wanted).await?;
    dkim::prepare(work, service).await
}

/// The records, and what follows from them for the keys.
async fn publish(
    work: &mut Work,
    dns: Option<&Dns>,
    regions: &[MailRegion],
    service: &Client,
    keys: &[DkimKey],
) -> Result<()> {
    let Some(dns) = dns else { return dkim::advance(work, service, keys, None).await };
    let texts: Vec<(String, String)> =
        keys.iter().map(|key| (key.record_name.clone(), key.record_text.clone())).collect();
    let published = records::step(work, dns, service, regions, &texts).await?;
    let failure = published.error.clone();
    fail::point("records.stored")?;
    dkim::advance(work, service, keys, Some((dns, &published))).await?;
    match failure {
        // What is refused for single records is in their state; all else is tried again.
        Some(error) => Err(crate::provider::failure(error)),
        None => Ok(()),
    }
}
