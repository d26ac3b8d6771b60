//! The end of a region, in the order that loses no mail: no domain leads to it any more, then its names go, then caches forget them, then its pods go.

use std::time::Duration;

use ekitei_operator_api::{ConditionStatus, Conditions as _, Draft, MailDomain, RegionDns};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use crate::clock;
use crate::controller::{Outcome, Reconciler as _};
use crate::error::{Error, Optional as _, Result};
use crate::finalizer;
use crate::region::{Regions, Work, certificate, cluster, objects};

/// How often to look whether domains list the region still, should no watch say so.
const IN_USE: Duration = Duration::from_secs(60);
/// How many domains are named.
const NAMED: usize = 5;
/// The reason of conditions once the records are removed.
const REMOVED: &str = "RecordsRemoved";
/// The condition that is true since the records were removed. It has no other use, so the time of its transition is the one that counts.
const DRAINING: &str = "Draining";

/// What of a region is left where it cannot be reached, if a person gives it up. What comes after it is removed all the same: pods and load balancers cost money.
struct GivenUp {
    abandoned: bool,
    left: Vec<String>,
}

impl GivenUp {
    /// Passes over a step that failed, if the region is abandoned. Whoever does not lead any more may give up nothing.
    fn unless_done(&mut self, what: &str, result: Result<()>) -> Result<()> {
        match result {
            Err(error) if self.abandoned && !matches!(error, Error::NotLeader) => {
                self.left.push(format!("{what}: {error}"));
                Ok(())
            }
            result => result,
        }
    }
}

impl Work<'_> {
    /// Removes what belongs to a deleted region, step by step. What cannot be reached is given up only if a person says so.
    pub(super) async fn remove(&mut self) -> Result<Outcome> {
        if !finalizer::holds(self.region) {
            return Ok(Outcome::gone());
        }
        let abandoned = finalizer::is_abandoned(self.region);
        if !abandoned {
            let users = self.users().await?;
            if !users.is_empty() {
                return self.in_use(&users).await;
            }
        }
        let mut given_up = GivenUp { abandoned, left: Vec::new() };
        match self.undo(&mut given_up).await {
            Ok(None) => {}
            Ok(Some(wait)) => {
                self.finish().await?;
                return Ok(Outcome::waiting(wait));
            }
            Err(error) => {
                self.deleting("DeletionFailed", format!("the region is not deleted yet: {error}"));
                self.finish().await.optional()?;
                return Err(error);
            }
        }
        if !given_up.left.is_empty() {
            let note = format!("given up what could not be removed: {}", given_up.left.join("; "));
            self.context.events.warning(self.region, "Abandoned", &note).await;
        }
        finalizer::release(self.context, self.region).await?;
        tracing::info!(kind = Regions::KIND, name = self.region.name_any(), "removed");
        Ok(Outcome::gone())
    }

    /// The domains whose MX records lead to the region.
    async fn users(&self) -> Result<Vec<String>> {
        let name = self.region.name_any();
        let domains =
            Api::<MailDomain>::all(self.context.client.clone()).list(&ListParams::default()).await?;
        let lists = |domain: &MailDomain| domain.spec.regions.iter().any(|region| region.name == name);
        let full_name =
            |domain: MailDomain| format!("{}/{}", domain.namespace().unwrap_or_default(), domain.name_any());
        Ok(domains.into_iter().filter(lists).map(full_name).collect())
    }

    async fn in_use(&mut self, users: &[String]) -> Result<Outcome> {
        let mut named = users.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        if users.len() > NAMED {
            named.push_str(&format!(" and {} more", users.len() - NAMED));
        }
        let message = format!("it is not deleted while MailDomains list it: {named}");
        self.context.events.warning(self.region, "RegionInUse", &message).await;
        self.deleting("RegionInUse", message);
        self.finish().await?;
        Ok(Outcome::waiting(IN_USE))
    }

    fn deleting(&mut self, reason: &'static str, message: String) {
        self.condition(Draft { type_: "Ready", status: ConditionStatus::False, reason, message });
    }

    /// One step after the other. Returns how long to wait before the next.
    async fn undo(&mut self, given_up: &mut GivenUp) -> Result<Option<Duration>> {
        if let Some(dns) = self.region.spec.dns.clone() {
            if !self.status.inventory.is_empty() {
                let removed = self.remove_records(&dns).await;
                given_up.unless_done("records", removed)?;
            }
            let wait = self.still_cached(dns.ttl);
            if !given_up.abandoned && !wait.is_zero() {
                return Ok(Some(wait));
            }
        }
        given_up.unless_done("certificate", certificate::remove(self.context, self.region).await)?;
        given_up.unless_done("pods", self.remove_objects().await)?;
        Ok(None)
    }

    async fn remove_records(&mut self, dns: &RegionDns) -> Result<()> {
        self.unpublish(dns).await?;
        self.condition(Draft {
            type_: "DNSPublished",
            status: ConditionStatus::False,
            reason: REMOVED,
            message: "the records were removed; the pods end when caches have forgotten them".to_owned(),
        });
        self.condition(Draft {
            type_: DRAINING,
            status: ConditionStatus::True,
            reason: REMOVED,
            message: "no records lead to the region any more".to_owned(),
        });
        self.deleting("Draining", "waits until caches have forgotten its addresses".to_owned());
        Ok(())
    }

    /// Removes the pods and their Service, but for those that someone else keeps.
    async fn remove_objects(&self) -> Result<()> {
        if self.region.spec.placement.existing_service.is_some() {
            return Ok(());
        }
        let cluster = cluster::of(self.context, self.region).await?;
        objects::remove(self.context, self.region, &cluster).await.map_err(|error| match error {
            Error::Kubernetes(_) if cluster.is_other => {
                Error::outside("ClusterUnreachable", format!("in the cluster of the region: {error}"))
            }
            error => error,
        })
    }

    /// How long caches may still have the addresses.
    fn still_cached(&self, ttl: u32) -> Duration {
        let removed = self.status.conditions.find(DRAINING);
        removed.map_or(Duration::ZERO, |condition| {
            let forgotten =
                clock::after(&condition.last_transition_time, Duration::from_secs(u64::from(ttl)));
            self.context.clock.until(forgotten)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn away() -> Result<()> {
        Err(Error::outside("ServerUnreachable", "no answer"))
    }

    #[test]
    fn only_what_is_abandoned_is_passed_over_and_all_of_it_is_named() {
        let mut kept = GivenUp { abandoned: false, left: Vec::new() };
        assert!(kept.unless_done("records", away()).is_err());
        let mut given_up = GivenUp { abandoned: true, left: Vec::new() };
        given_up.unless_done("records", away()).unwrap();
        given_up.unless_done("certificate", Ok(())).unwrap();
        given_up.unless_done("pods", away()).unwrap();
        assert_eq!(given_up.left, ["records: no answer", "pods: no answer"]);
    }

    #[test]
    fn who_does_not_lead_any_more_gives_up_nothing() {
        let mut given_up = GivenUp { abandoned: true, left: Vec::new() };
        assert!(matches!(given_up.unless_done("records", Err(Error::NotLeader)), Err(Error::NotLeader)));
    }
}
