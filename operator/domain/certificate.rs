//! The certificate of the domain's own names: that the service has a good one.

use std::collections::BTreeSet;
use std::time::Duration;

use ekitei_api::Client;
use ekitei_operator_api::{ConditionStatus, Conditions as _, DaneMode, MailDomain, MailDomainStatus};
use ekitei_operator_certificates::{HostName, KeyId};
use kube::ResourceExt as _;

use super::describe;
use super::records::Dns;
use super::work::Work;
use crate::certificate_objects::{Standing, Wanted, advance, shown, stored_as};
use crate::error::{Error, Optional as _, Result};

/// What the certificate's Secret is called after the object's name.
const SECRET: &str = "certificate";
/// What the names of domains' certificates begin with at the service.
const KIND: &str = "domain";
/// How soon records follow that a certificate needs.
const SOON: Duration = Duration::from_secs(1);
/// How a certificate says that nobody is asked for one.
const NO_SOURCE: &str = "none";

/// Brings the certificate forward.
///
/// # Errors
/// Those after which nothing is known of it; what an authority says is in the condition. Without DNS (then `dns` is why) what needs no records goes on.
pub async fn step(work: &mut Work, dns: Result<&Dns, &str>, service: &Client) -> Result<()> {
    let names = describe::certificate_names(&work.domain);
    if names.is_empty() {
        if !work.status.certificates.is_empty() {
            work.status.certificates.clear();
            let metrics = &work.context.metrics;
            for gauge in [&metrics.certificate_expiry, &metrics.certificate_renewal] {
                gauge.gone(&work.object());
            }
        }
        work.condition("CertificateReady", true, "NotNeeded", "the domain has no names that need one");
        return Ok(());
    }
    let hosts: Vec<HostName> = names
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, _>>()
        .map_err(|error| Error::invalid("NameInvalid", error))?;
    let domain = work.domain.clone();
    let name = format!("{}-{SECRET}", domain.name_any());
    let mut wanted = Wanted::new(domain.as_ref(), name, hosts, &domain.spec.certificate, service)
        .stored_for(KIND, &domain.spec.domain)
        .with_dns(dns.ok().map(|dns| &dns.open))
        .while_dns_is_away(dns.err());
    let published = published(&work.status)?;
    if let Some(host) = &domain.spec.clients.host {
        let host = host.parse().map_err(|error| Error::invalid("NameInvalid", error))?;
        let (ttl, shown) = tlsa(&domain, dns.ok(), &host, &published).await;
        wanted = wanted.with_tlsa(ttl, shown);
    }
    let standing = advance(&work.context, &wanted).await?;
    tell(work, &standing);
    if let Some(after) = standing.after {
        work.wake_in(after);
    }
    if standing.tlsa != published {
        // They are published in the next round, as the status says then.
        work.wake_in(SOON);
    }
    work.status.certificates = vec![standing.status];
    Ok(())
}

/// The keys whose TLSA records are published for the domain's own client host: those of the status, so that what a crash leaves is gone on from.
///
/// # Errors
/// `StatusInvalid`.
pub fn published(status: &MailDomainStatus) -> Result<BTreeSet<KeyId>> {
    status.certificates.first().map(Standing::published).transpose().map(Option::unwrap_or_default)
}

/// The TTL of the TLSA records of the client host, if there are to be any, and the keys that its servers show. While that is not known, what is published stays.
async fn tlsa(
    domain: &MailDomain,
    dns: Option<&Dns>,
    host: &HostName,
    published: &BTreeSet<KeyId>,
) -> (Option<u64>, Option<Vec<BTreeSet<KeyId>>>) {
    let (spec, ports) = (&domain.spec, describe::client_ports(domain));
    let is_wanted = match dns {
        Some(dns) => spec.clients.dane.mode == DaneMode::Auto && dns.signed,
        None => !published.is_empty(),
    };
    let seen = match (dns, host.as_str().parse()) {
        (Some(dns), Ok(name)) => match dns.open.verifier.recent_authorities(&name).await {
            Ok(authorities) => shown(&dns.open.verifier, &authorities, host, &ports).await,
            Err(_) => None,
        },
        _ => None,
    };
    (is_wanted.then_some(u64::from(spec.dns.ttl)), seen)
}

/// `CertificateReady`, and when it ends.
fn tell(work: &mut Work, standing: &Standing) {
    let status = &standing.status;
    work.context.metrics.certificate(&work.object(), &work.domain.spec.domain, status);
    let source = status.source.clone();
    if source == NO_SOURCE && !status.deployed {
        let message = "nobody is asked for one; the service gives its own";
        work.condition("CertificateReady", true, "NotManaged", message);
        return;
    }
    match &standing.trouble {
        // A renewal that fails is no trouble for those who connect, until the certificate ends.
        Some((reason, message)) if !status.deployed => {
            work.condition("CertificateReady", false, reason, message.clone());
        }
        Some((reason, message)) => work.condition("CertificateReady", true, reason, message.clone()),
        None if status.deployed => {
            work.condition(
                "CertificateReady",
                true,
                "CertificateReady",
                format!("the service has the certificate of {source}"),
            );
        }
        None if work.status.conditions.holds("CertificateReady") => {}
        None => {
            let message = status.message.clone().unwrap_or_else(|| "it is being obtained".to_owned());
            work.condition("CertificateReady", ConditionStatus::False, "CertificatePending", message);
        }
    }
}

/// Takes the certificate out of the service. Its Secrets go with the object.
///
/// # Errors
/// The service's.
pub async fn remove(work: &Work, service: &Client) -> Result<()> {
    service.delete_certificate(&stored_as(KIND, &work.domain.spec.domain)).await.optional().map(drop)
}
