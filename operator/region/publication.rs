//! The records of a region in DNS: published by its provider, and looked at on every server of the zone.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ekitei_operator_api::{ConditionStatus, Draft, MailRegionStatus, RegionDns, Route53Routing};
use ekitei_operator_dns::round::Store;
use ekitei_operator_dns::{Inventory, Name, Owner, RecordState, RecordType, State};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use kube::ResourceExt as _;

use crate::apply::apply_status;
use crate::context::Context;
use crate::controller::Reconciler as _;
use crate::error::{Error, Result};
use crate::provider::{self, Open};
use crate::publish::{Place, Publication, Published, api_state, inventory, inventory_status, statuses};
use crate::region::records::Hosts;
use crate::region::{Regions, Work};

/// The addresses that records lead to.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    /// Those of the MX host.
    pub(super) host: BTreeSet<IpAddr>,
    /// Those of the host of users' programs; `None` if they are to have no records.
    pub(super) clients: Option<BTreeSet<IpAddr>>,
}

/// Where the records of a region go.
pub(super) struct Zone {
    /// What publishes them.
    pub(super) open: Open,
    /// The zone of the MX host.
    pub(super) place: Place,
    /// What is ours in it.
    pub(super) inventory: Inventory,
}

impl Zone {
    /// Whether the zone is signed. While that is not known, keys that are published stay.
    pub(super) fn is_signed(&self) -> bool {
        let has_keys = || self.inventory.iter().any(|entry| entry.key.record_type == RecordType::Tlsa);
        self.open.signed.or_else(|| self.place.is_signed()).unwrap_or_else(has_keys)
    }
}

/// Who owns the records of a region, whichever operator writes them.
pub(super) fn owner(context: &Context, region: &str) -> Result<Owner> {
    Owner::new(&context.options.owner, &format!("region/{region}"))
        .map_err(|error| Error::invalid("OwnerInvalid", error))
}

impl Work<'_> {
    /// Finds where the records go.
    pub(super) async fn zone(&self, dns: &RegionDns) -> Result<Zone> {
        let namespace = self.region.namespace().unwrap_or_default();
        let open = provider::open(self.context, &dns.provider, &namespace).await?;
        let host: Name =
            self.region.spec.host.parse().map_err(|error| Error::invalid("HostInvalid", error))?;
        let place = Place::find(&*open.provider, &open.verifier, &host).await.map_err(provider::failure)?;
        Ok(Zone { open, place, inventory: inventory(&self.status.inventory)? })
    }

    /// Publishes the records for these addresses and keys.
    pub(super) async fn publish(
        &mut self,
        dns: &RegionDns,
        zone: Zone,
        addresses: &Addresses,
        keys: &[[u8; 32]],
    ) -> Result<()> {
        let name = self.region.name_any();
        let nowhere = BTreeSet::new();
        let hosts = Hosts {
            region: &name,
            spec: &self.region.spec,
            addresses: &addresses.host,
            client_addresses: addresses.clients.as_ref().unwrap_or(&nowhere),
            keys,
            signed: zone.is_signed(),
            routing: zone.open.routing,
        };
        let desired = hosts.records(dns).map_err(|error| Error::invalid("RecordsInvalid", error))?;
        let published = self.round(dns, zone, desired).await?;
        for key in &published.drifted {
            self.context.metrics.drift_corrected.with(&[Regions::KIND]).inc();
            self.context
                .events
                .normal(self.region, "DriftCorrected", &format!("{key} had been changed"))
                .await;
        }
        self.status.records = statuses(&published.records);
        let states = published.records.iter().map(|record| record.state.as_str());
        self.context.metrics.records(&self.object(), states);
        self.condition(published_condition(&published));
        self.condition(verified_condition(&published.records));
        match &published.error {
            Some(error) => Err(provider::failure(error.clone())),
            None => Ok(()),
        }
    }

    /// Takes all records away.
    pub(super) async fn unpublish(&mut self, dns: &RegionDns) -> Result<()> {
        let zone = self.zone(dns).await?;
        let published = self.round(dns, zone, Vec::new()).await?;
        self.status.records.clear();
        match &published.error {
            Some(error) => Err(provider::failure(error.clone())),
            None if published.locked_by.is_some() => {
                Err(Error::outside("ZoneLocked", "another operator is writing to the zone"))
            }
            None if !published.inventory.is_empty() => Err(Error::outside(
                "RecordsLeft",
                "some records are in zones that the provider does not have now",
            )),
            None => Ok(()),
        }
    }

    async fn round(
        &mut self,
        dns: &RegionDns,
        zone: Zone,
        desired: Vec<ekitei_operator_dns::Desired>,
    ) -> Result<Published> {
        let (context, region) = (self.context, self.region);
        let owner = owner(context, &region.name_any())?;
        // A host name that regions share is one record set, and its parts are written by different operators.
        let shared = region.spec.clients.is_some() && zone.open.routing == Route53Routing::Simple;
        let service =
            if shared { Some(context.services.of_region(&context.client, region).await?) } else { None };
        let publication = Publication {
            provider: &*zone.open.provider,
            verifier: &zone.open.verifier,
            owner: &owner,
            place: &zone.place,
            desired,
            adoption: dns.adoption,
        };
        let published = publication.run(context, service.as_ref(), zone.inventory, self).await?;
        self.status.inventory = inventory_status(&published.inventory);
        Ok(published)
    }
}

impl Store<Error> for Work<'_> {
    fn store<'a>(&'a mut self, inventory: &'a Inventory) -> BoxFuture<'a, Result<()>> {
        self.status.inventory = inventory_status(inventory);
        self.stored = true;
        apply_status::<_, MailRegionStatus>(self.context, self.region, None, &self.status)
            .map(|stored| stored.map(drop))
            .boxed()
    }
}

/// The condition `DNSPublished`.
fn published_condition(published: &Published) -> Draft {
    let type_ = "DNSPublished";
    let with = |wanted: fn(&State) -> bool| published.records.iter().find(|record| wanted(&record.state));
    let told = |record: &RecordState| format!("{}: {}", record.desired.set.key(), record.message);
    let (status, reason, message) = if let Some(error) = &published.error {
        // What was published still is, as far as anybody knows.
        let status = if error.is_temporary() { ConditionStatus::Unknown } else { ConditionStatus::False };
        (status, error.reason(), error.to_string())
    } else if let Some(record) = with(|state| matches!(state, State::Conflict { .. })) {
        (ConditionStatus::False, "RecordConflict", told(record))
    } else if let Some(record) = with(|state| *state == State::Failed) {
        (ConditionStatus::False, "RecordFailed", told(record))
    } else if let Some(record) = with(|state| *state == State::Manual) {
        (ConditionStatus::False, "ManualRecords", told(record))
    } else if let Some(holder) = &published.locked_by {
        (ConditionStatus::Unknown, "ZoneLocked", holder.clone())
    } else {
        (ConditionStatus::True, "Published", format!("{} records", published.records.len()))
    };
    Draft { type_, status, reason, message }
}

/// The condition `DNSVerified`.
fn verified_condition(records: &[RecordState]) -> Draft {
    let missing = records
        .iter()
        .filter(|record| api_state(&record.state) != ekitei_operator_api::RecordState::Verified);
    let mut missing = missing.map(|record| format!("{}: {}", record.desired.set.key(), record.message));
    let (status, reason, message) = match missing.next() {
        None => {
            (ConditionStatus::True, "Verified", "every authoritative server shows every record".to_owned())
        }
        Some(first) => {
            (ConditionStatus::False, "NotYetVisible", format!("{first} (and {} more)", missing.count()))
        }
    };
    Draft { type_: "DNSVerified", status, reason, message: message.replace(" (and 0 more)", "") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ekitei_operator_dns::desired::Purpose;
    use ekitei_operator_dns::{Desired, Family, ProviderError, RecordSet, Value};

    use super::*;

    fn record(state: State, message: &str) -> RecordState {
        let value = Value::A([192, 0, 2, 5].into());
        let set = RecordSet::new("mx.example.net".parse().unwrap(), 300, [value]).unwrap();
        let desired = Desired { set, family: Family::Whole, purpose: Purpose::Address };
        RecordState { desired, state, message: message.to_owned() }
    }

    fn published(records: Vec<RecordState>) -> Published {
        Published { records, ..Published::default() }
    }

    #[test]
    fn a_provider_that_is_away_does_not_unpublish_anything() {
        let mut away = published(vec![record(State::Failed, "timeout")]);
        away.error = Some(ProviderError::Unavailable("timeout".to_owned()));
        let draft = published_condition(&away);
        assert_eq!((draft.status, draft.reason), (ConditionStatus::Unknown, "ServerUnreachable"));
    }

    #[test]
    fn what_keeps_records_from_being_published_is_told() {
        let conflict = State::Conflict { who: "domain/x of operator y".to_owned() };
        let draft =
            published_condition(&published(vec![record(State::Verified, ""), record(conflict, "it is y's")]));
        assert_eq!((draft.reason, draft.message.as_str()), ("RecordConflict", "mx.example.net A: it is y's"));
        assert_eq!(
            published_condition(&published(vec![record(State::Published, "")])).status,
            ConditionStatus::True
        );
        assert_eq!(published_condition(&published(vec![record(State::Manual, "")])).reason, "ManualRecords");
    }

    #[test]
    fn records_are_verified_when_all_servers_show_all_of_them() {
        let states = [record(State::Verified, ""), record(State::Published, "ns2 does not show it yet")];
        let draft = verified_condition(&states);
        assert_eq!(draft.message, "mx.example.net A: ns2 does not show it yet");
        assert_eq!(verified_condition(&states[..1]).status, ConditionStatus::True);
    }
}
