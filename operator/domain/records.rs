//! The records of a domain: published, owned, looked at on every server.

use std::time::Duration;

use ekitei_api::Client;
use ekitei_operator_api::{
    AdoptionPolicy, CaaMode, ConditionStatus, Conditions as _, DaneMode, MailDomain, MailRegion, RecordState,
};
use ekitei_operator_dns::provider::ProviderError;
use ekitei_operator_dns::{Key, Name, Owner, RecordType};

use kube::ResourceExt as _;

use super::certificate;
use super::describe::Facts;
use super::work::Work;
use crate::error::{Error, Result};
use crate::provider::{self, Open, access};
use crate::publish::{Place, Publication, Published, dane, inventory, inventory_status, statuses};

/// How soon servers are asked again that do not show all records yet.
const SERVERS: Duration = Duration::from_secs(10);
/// How soon it is looked again whether a person has published records.
const PERSON: Duration = Duration::from_secs(60);
/// The longest time between two looks at records that are not as they should be.
const LONGEST: Duration = Duration::from_secs(300);

/// Where the records of a domain go.
pub struct Dns {
    /// What publishes them.
    pub open: Open,
    /// Its zone.
    pub place: Place,
    /// Whose records they are.
    pub owner: Owner,
    /// Whether the zone is signed.
    pub signed: bool,
}

/// Opens the provider and finds the zone.
///
/// # Errors
/// The provider is not there, not allowed, away, or does not have the zone.
pub async fn open(work: &mut Work) -> Result<Dns> {
    let spec = &work.domain.spec.dns;
    let open = provider::open(&work.context, &spec.provider, &work.namespace()).await?;
    let at: Name = match &spec.zone {
        Some(zone) => zone.parse().map_err(|error| Error::invalid("ZoneInvalid", error))?,
        None => work.name.clone(),
    };
    let place = Place::find(open.provider.as_ref(), &open.verifier, &at).await.map_err(provider::failure)?;
    let owner = Owner::new(&work.context.options.owner, &format!("domain/{}", work.name))
        .map_err(|error| Error::invalid("OwnerInvalid", error))?;
    // While it cannot be found out, the zone is what it was: keys must not vanish because a server is slow.
    let signed = open.signed.or(place.is_signed()).or(work.status.signed).unwrap_or(false);
    work.status.zone = Some(place.zone.name.to_string());
    work.status.signed = Some(signed);
    Ok(Dns { open, place, owner, signed })
}

/// Publishes what the domain should have. `keys` are names and texts of DKIM records.
///
/// # Errors
/// What only a person can change in the spec, and the errors of the Kubernetes API and of the service. What the provider says is in the result.
pub async fn step(
    work: &mut Work,
    dns: &Dns,
    service: &Client,
    regions: &[MailRegion],
    keys: &[(String, String)],
) -> Result<Published> {
    let region_statuses = work.status.regions.clone();
    let has_caa = has_caa(work, dns).await?;
    let domain = work.domain.clone();
    let host_keys: Vec<[u8; 32]> =
        certificate::published(&work.status)?.iter().map(|key| *key.as_bytes()).collect();
    // Asked only where it makes a difference.
    let cert_manager = domain.spec.certificate.cert_manager.is_some()
        && work.context.certificates.cert_manager.is_installed(&work.context.client).await?;
    let facts = Facts {
        domain: &domain,
        regions,
        statuses: &region_statuses,
        keys,
        signed: dns.signed,
        has_caa,
        default_authority: work.context.options.acme_directory.as_deref(),
        cert_manager,
        host_keys: &host_keys,
    };
    let issuer_is_unknown = facts.issuer_is_unknown();
    let desired = facts.records().map_err(|error| Error::invalid("RecordsInvalid", error))?;
    let publication = Publication {
        provider: dns.open.provider.as_ref(),
        verifier: &dns.open.verifier,
        owner: &dns.owner,
        place: &dns.place,
        desired,
        adoption: adoption(work).await,
    };
    let before = inventory(&work.status.inventory)?;
    let context = work.context.clone();
    let published = publication.run(&context, Some(service), before, work).await?;
    work.status.inventory = inventory_status(&published.inventory);
    work.status.records = statuses(&published.records);
    tell(work, &published).await;
    if issuer_is_unknown {
        work.warn("CAAIssuerUnknown", "the CAA records do not name the authority of the certificate, since nobody says which it is: spec.caa.issuers").await;
    }
    conditions(work, dns, &published);
    let dane = dane::condition(&dns.place, dns.open.signed, wants_keys(&domain, regions));
    work.condition(dane.type_, dane.status, dane.reason, dane.message);
    Ok(published)
}

/// Whether there are to be TLSA records, of the domain's own host or of its regions' hosts: either is worth something only where the domain's zone is secure.
fn wants_keys(domain: &MailDomain, regions: &[MailRegion]) -> bool {
    let clients = &domain.spec.clients;
    let of_region = |region: &MailRegion| {
        let is_listed = domain.spec.regions.iter().any(|listed| listed.name == region.name_any());
        is_listed && region.spec.dns.as_ref().is_some_and(|dns| dns.dane.mode == DaneMode::Auto)
    };
    (clients.host.is_some() && clients.dane.mode == DaneMode::Auto) || regions.iter().any(of_region)
}

/// What the object may do with records that are there already; people are told if that is less than it says.
async fn adoption(work: &Work) -> AdoptionPolicy {
    let dns = &work.domain.spec.dns;
    let allowed = allowed_adoption(&work.domain);
    if allowed != dns.adoption {
        let note = "adoption: Force is for providers of the object's own namespace; records of others are left alone";
        work.warn("ForceNotAllowed", note).await;
    }
    allowed
}

/// What the object may do with records that are there already.
pub fn allowed_adoption(domain: &MailDomain) -> AdoptionPolicy {
    let dns = &domain.spec.dns;
    access::adoption(dns.adoption, &dns.provider, &domain.namespace().unwrap_or_default())
}

/// Whether the domain has CAA records that are not ours. While that cannot be looked up, what is published stays as it is.
async fn has_caa(work: &Work, dns: &Dns) -> Result<bool> {
    if work.domain.spec.caa.mode != CaaMode::Merge {
        return Ok(false);
    }
    let ours = inventory(&work.status.inventory)?;
    let ours =
        ours.iter().find(|entry| entry.key.record_type == RecordType::Caa && entry.key.name == work.name);
    let key = Key::new(work.name.clone(), RecordType::Caa);
    Ok(match dns.open.provider.get(&dns.place.zone, &key).await {
        Ok(found) => found.is_some_and(|found| {
            found.values.iter().any(|value| !ours.is_some_and(|ours| ours.values.contains(value)))
        }),
        Err(_) => ours.is_some(),
    })
}

/// Events and metrics of a round.
async fn tell(work: &Work, published: &Published) {
    let metrics = &work.context.metrics;
    metrics.records(&work.object(), published.records.iter().map(|record| record.state.as_str()));
    if !published.drifted.is_empty() {
        let names: Vec<String> = published.drifted.iter().map(ToString::to_string).collect();
        metrics.drift_corrected.with(&["MailDomain"]).inc_by(names.len() as u64);
        let note =
            format!("somebody had changed records, which are as they should be again: {}", names.join(", "));
        work.warn("DriftCorrected", &note).await;
    } else if !published.written.is_empty() {
        let count = published.written.len();
        work.tell("RecordsPublished", &format!("{count} record sets were written")).await;
    }
    for (key, why) in &published.released {
        work.warn("RecordReleased", &format!("{key} is not ours any more: {why}")).await;
    }
}

/// `DNSPublished`, `DNSVerified`, and when to look again.
fn conditions(work: &mut Work, dns: &Dns, published: &Published) {
    let (status, reason, message) = published_condition(&work.status.records, published);
    work.condition("DNSPublished", status, reason, message);
    let records = &work.status.records;
    let verified = records.iter().filter(|record| record.state == RecordState::Verified).count();
    let all = records.len();
    let first = records.iter().find(|record| record.state != RecordState::Verified).map(|record| {
        format!("{} {}: {}", record.name, record.type_, record.message.as_deref().unwrap_or("not seen yet"))
    });
    let by_hand = records.iter().any(|record| record.state == RecordState::Manual);
    work.status.records_verified = Some(format!("{verified}/{all}"));
    match (&dns.place.authorities, first) {
        (Err(error), _) => {
            work.condition("DNSVerified", ConditionStatus::Unknown, "ServersUnknown", error.to_string())
        }
        (Ok(_), None) => {
            work.condition("DNSVerified", true, "Verified", format!("every server shows all {all} records"));
            return;
        }
        (Ok(_), Some(first)) => {
            let message = format!("{verified} of {all} records are shown by every server; {first}");
            work.condition("DNSVerified", false, "NotYetVisible", message);
        }
    }
    let since = work.status.conditions.find("DNSVerified").map(|found| found.last_transition_time.clone());
    let lasts = since.map_or(Duration::ZERO, |since| work.context.clock.since(&since));
    // What was written just now may be seen soon, whatever else is wrong for how long.
    let lasts = if published.written.is_empty() { lasts } else { Duration::ZERO };
    work.wake_in(interval(if by_hand { PERSON } else { SERVERS }, lasts));
}

/// How soon to look again at something that is wrong for so long: what did not come for hours need not be seen within seconds.
fn interval(shortest: Duration, lasts: Duration) -> Duration {
    (lasts / 4).clamp(shortest, LONGEST)
}

/// Whether all records are published, and if not, the worst that is in the way.
fn published_condition(
    records: &[ekitei_operator_api::RecordStatus],
    published: &Published,
) -> (bool, &'static str, String) {
    if let Some(error) = published.error.as_ref().filter(|error| !matches!(error, ProviderError::Rejected(_)))
    {
        return (false, error.reason(), error.to_string());
    }
    if let Some(holder) = &published.locked_by {
        return (false, "ZoneLocked", format!("another operator is writing to the zone: {holder}"));
    }
    for (state, reason) in [
        (RecordState::Conflict, "RecordConflict"),
        (RecordState::Failed, "RecordFailed"),
        (RecordState::Manual, "ManualRecords"),
        (RecordState::Drifted, "NotPublished"),
        (RecordState::Pending, "NotPublished"),
    ] {
        let of_it: Vec<_> = records.iter().filter(|record| record.state == state).collect();
        if let Some(first) = of_it.first() {
            let more =
                if of_it.len() > 1 { format!(" (and {} more)", of_it.len() - 1) } else { String::new() };
            let message = first.message.as_deref().unwrap_or("it is not published yet");
            return (false, reason, format!("{} {}: {message}{more}", first.name, first.type_));
        }
    }
    (true, "Published", format!("{} records are published", records.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_for_long_is_looked_at_less_often() {
        let seconds = |lasts| interval(SERVERS, Duration::from_secs(lasts)).as_secs();
        assert_eq!([0, 40, 80, 1200, 86_400].map(seconds), [10, 10, 20, 300, 300]);
        assert_eq!(interval(PERSON, Duration::ZERO), PERSON);
    }
}
