//! The certificate of a region's host names: obtained, followed by another in time, and given to the service; and the keys of it that are in DNS.

use std::collections::BTreeSet;

use ekitei_operator_api::{ConditionStatus, DaneMode, Draft, RegionDns};
use ekitei_operator_certificates::{HostName, KeyId};
use ekitei_operator_dns::RecordType;
use kube::ResourceExt as _;

use crate::certificate_objects::{Standing, Wanted, advance, shown, stored_as};
use crate::context::Context;
use crate::error::{Error, Optional as _, Result};
use crate::provider;
use crate::publish::dane;
use crate::region::Work;
use crate::region::publication::Zone;

/// What the names of regions' certificates begin with at the service.
const KIND: &str = "region";

/// The port whose TLSA records senders look for (RFC 7672 §2.2.3).
const SMTP: u16 = 25;

/// What is known of the DNS of a region's names.
#[derive(Clone, Copy)]
pub(super) enum Names<'a> {
    /// Somebody else publishes the records.
    Foreign,
    /// The zone of the MX host.
    Zone(&'a Zone),
    /// It cannot be found or written now, and why.
    Away(&'a str),
}

/// What the names of the Secrets of a region's certificate begin with.
pub(super) fn secret_name(prefix: &str, region: &str) -> String {
    format!("{prefix}-{region}-tls")
}

impl Work<'_> {
    /// Brings the certificate forward. Returns the keys whose TLSA records are to be published.
    pub(super) async fn certificate(&mut self, names: Names<'_>) -> BTreeSet<KeyId> {
        if let (Names::Zone(zone), Some(dns)) = (names, &self.region.spec.dns) {
            let is_wanted = dns.dane.mode == DaneMode::Auto;
            self.condition(dane::condition(&zone.place, zone.open.signed, is_wanted));
        }
        match Box::pin(self.advance_certificate(names)).await {
            Ok(standing) => {
                self.condition(condition(&standing));
                if let Some((reason, message)) = &standing.trouble {
                    self.context.events.warning(self.region, reason, message).await;
                }
                if let Some(after) = standing.after {
                    self.wake_in(after);
                }
                self.context.metrics.certificate(&self.object(), &self.region.spec.host, &standing.status);
                self.status.certificates = vec![standing.status];
                standing.tlsa
            }
            Err(error) => {
                self.failed(&["CertificateReady"], error);
                // A record that is removed by mistake may cost mail.
                let before = self.status.certificates.first().map(Standing::published);
                before.and_then(Result::ok).unwrap_or_default()
            }
        }
    }

    async fn advance_certificate(&self, names: Names<'_>) -> Result<Standing> {
        let spec = &self.region.spec;
        let host =
            |name: &str| name.parse::<HostName>().map_err(|error| Error::invalid("HostInvalid", error));
        let mx = host(&spec.host)?;
        let mut hosts = vec![mx.clone()];
        if let Some(clients) = spec.clients.as_ref().filter(|clients| clients.host != spec.host) {
            hosts.push(host(&clients.host)?);
        }
        let service = self.context.services.of_region(&self.context.client, self.region).await?;
        let name = secret_name(&self.context.options.name_prefix, &self.region.name_any());
        let wanted =
            Wanted::new(self.region, name, hosts, &spec.certificate, &service).stored_for(KIND, &spec.host);
        let Some(dns) = &spec.dns else { return advance(self.context, &wanted).await };
        let ttl = u64::from(dns.ttl);
        let wanted = match names {
            Names::Foreign => wanted,
            Names::Zone(zone) => {
                let published = dns.dane.mode == DaneMode::Auto && zone.is_signed();
                let seen = match &zone.place.authorities {
                    Ok(authorities) => shown(&zone.open.verifier, authorities, &mx, &[SMTP]).await,
                    Err(_) => None,
                };
                wanted.with_dns(Some(&zone.open)).with_tlsa(published.then_some(ttl), seen)
            }
            Names::Away(why) => {
                // What is published stays, and what the servers show counts though the provider is away.
                let published = dns.dane.mode == DaneMode::Auto && self.has_keys();
                let seen = self.shown_without_provider(dns, &mx).await;
                wanted.while_dns_is_away(Some(why)).with_tlsa(published.then_some(ttl), seen)
            }
        };
        advance(self.context, &wanted).await
    }

    /// Whether keys of the region are in the DNS, as far as is known.
    fn has_keys(&self) -> bool {
        let tlsa = RecordType::Tlsa.as_str();
        self.status.inventory.iter().any(|entry| entry.type_ == tlsa)
    }

    async fn shown_without_provider(&self, dns: &RegionDns, mx: &HostName) -> Option<Vec<BTreeSet<KeyId>>> {
        let namespace = self.region.namespace().unwrap_or_default();
        let open = provider::open(self.context, &dns.provider, &namespace).await.ok()?;
        let authorities = open.verifier.authorities(&mx.as_str().parse().ok()?).await.ok()?;
        shown(&open.verifier, &authorities, mx, &[SMTP]).await
    }
}

/// Takes the certificate of a region that is gone out of the service.
pub(super) async fn remove(context: &Context, region: &ekitei_operator_api::MailRegion) -> Result<()> {
    let deployed = region.status.as_ref().is_some_and(|status| !status.certificates.is_empty());
    if !deployed {
        return Ok(());
    }
    let service = context.services.of_region(&context.client, region).await?;
    context.leadership.check()?;
    service.delete_certificate(&stored_as(KIND, &region.spec.host)).await.optional().map(drop)
}

fn condition(standing: &Standing) -> Draft {
    let (status, reason, message) = match &standing.trouble {
        // What is in the way of a renewal does not take away what there is.
        Some((reason, message)) => {
            (ConditionStatus::from(standing.status.deployed), *reason, message.clone())
        }
        None if standing.status.secret.is_none() => {
            (ConditionStatus::True, "NotManaged", "the service has a certificate of its own".to_owned())
        }
        None => (ConditionStatus::True, "CertificateReady", standing.status.names.join(", ")),
    };
    Draft { type_: "CertificateReady", status, reason, message }
}

#[cfg(test)]
mod tests {
    use ekitei_operator_api::CertificateStatus;

    use super::*;

    fn standing(deployed: bool, trouble: Option<&str>) -> Standing {
        let status = CertificateStatus {
            names: vec!["mx.example.net".to_owned()],
            source: "acme".to_owned(),
            secret: Some("mail-mx-tokyo-tls".to_owned()),
            not_after: None,
            renewal: None,
            fingerprint: None,
            deployed,
            rollover: None,
            message: None,
        };
        let trouble = trouble.map(|message| ("ACMERefused", message.to_owned()));
        Standing { status, tlsa: BTreeSet::new(), trouble, after: None }
    }

    #[test]
    fn a_renewal_that_fails_is_told_and_takes_nothing_away() {
        let renewal = condition(&standing(true, Some("too many requests")));
        assert_eq!((renewal.status, renewal.reason), (ConditionStatus::True, "ACMERefused"));
        assert_eq!(condition(&standing(false, Some("too many requests"))).status, ConditionStatus::False);
        assert_eq!(condition(&standing(true, None)).message, "mx.example.net");
    }
}
