//! Publishing the records of one object, and looking whether the world sees them.
//!
//! The order is what makes a crash harmless: the inventory with what may be ours soon is stored in the status before anything is written, and what is ours
//! afterwards when it was. Several operators may write a zone: only the one that has the zone's lock in the store does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ekitei_api::{Client, ClientError, NewLock, ProblemCode};
use ekitei_operator_api::{AdoptionPolicy, InventoryEntry, RecordState as ApiState, RecordStatus};
use ekitei_operator_dns::desired::Purpose;
use ekitei_operator_dns::inventory::EntryText;
use ekitei_operator_dns::plan::Change;
use ekitei_operator_dns::round::Store;
use ekitei_operator_dns::verify::{Authorities, Security, VerifyError, View, confirm};
use ekitei_operator_dns::{
    Adoption, Desired, Inventory, Key, Name, Outcome, Owner, Plan, Provider, ProviderError, RecordState,
    Round, State, Value, Verifier, Zone,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::OwnedMutexGuard;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::fail;

/// How long a lock is taken for, in seconds: longer than a round takes.
const LOCK_SECONDS: u64 = 120;

/// One round at a time in each zone, within this process.
#[derive(Debug, Default)]
pub struct Zones(Mutex<HashMap<Name, Arc<tokio::sync::Mutex<()>>>>);

impl Zones {
    async fn enter(&self, zone: &Name) -> OwnedMutexGuard<()> {
        let mutex = {
            let mut zones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            zones.retain(|name, mutex| name == zone || Arc::strong_count(mutex) > 1);
            Arc::clone(zones.entry(zone.clone()).or_default())
        };
        mutex.lock_owned().await
    }
}

/// Where records go: a zone, and who answers for it.
#[derive(Clone, Debug)]
pub struct Place {
    /// The zone, as the provider has it.
    pub zone: Zone,
    /// Its servers, or why they are not known.
    pub authorities: Result<Authorities, VerifyError>,
}

impl Place {
    /// The zone of a name.
    ///
    /// # Errors
    /// The provider's. That its servers cannot be found is none: records can be written all the same.
    pub async fn find(
        provider: &dyn Provider,
        verifier: &Verifier,
        name: &Name,
    ) -> Result<Self, ProviderError> {
        let zone = provider.zone(name).await?;
        let authorities = verifier.authorities(&zone.name).await;
        Ok(Self { zone, authorities })
    }

    /// Whether it is signed; `None` if that is not known now.
    pub fn is_signed(&self) -> Option<bool> {
        let security = self.authorities.as_ref().ok()?.security?;
        Some(security != Security::Unsigned)
    }
}

/// Records of one object.
#[derive(Debug)]
pub struct Publication<'a> {
    /// What publishes them.
    pub provider: &'a dyn Provider,
    /// What looks whether the world sees them.
    pub verifier: &'a Verifier,
    /// Whose they are.
    pub owner: &'a Owner,
    /// Where most of them go.
    pub place: &'a Place,
    /// All of them; to remove everything, none.
    pub desired: Vec<Desired>,
    /// What to do with what is there already.
    pub adoption: AdoptionPolicy,
}

/// How records are after a round.
#[derive(Debug, Default)]
pub struct Published {
    /// Each that there should be.
    pub records: Vec<RecordState>,
    /// What is ours.
    pub inventory: Inventory,
    /// What was written.
    pub written: Vec<Change>,
    /// Those that somebody had changed.
    pub drifted: Vec<Key>,
    /// Parts that were ours and that somebody else has now.
    pub released: Vec<(Key, String)>,
    /// Who writes now, if it is another operator.
    pub locked_by: Option<String>,
    /// Why not everything was done.
    pub error: Option<ProviderError>,
}

impl Publication<'_> {
    /// Looks, stores what may become ours, writes, and asks every server. `lock` is the service whose store has the lock of the zone; without it nobody else
    /// writes these records.
    ///
    /// # Errors
    /// What `store` says, and the service's. What the provider says is in [`Published::error`].
    pub async fn run(
        &self,
        context: &Context,
        lock: Option<&Client>,
        inventory: Inventory,
        store: &mut dyn Store<Error>,
    ) -> Result<Published> {
        let mut published = Published::default();
        let (groups, mut rest) = self.groups(inventory, &mut published).await;
        let mut groups = groups.into_iter();
        while let Some((place, desired, mine)) = groups.next() {
            // What is in zones that are still to come is ours all the same, should this be the last that is stored.
            let mut others = rest.clone();
            groups.as_slice().iter().for_each(|(_, _, later)| others.unite(later));
            let mut beside = Beside { others, context, store };
            let mut outcome =
                self.round(context, lock, &place, &desired, &mine, &mut published, &mut beside).await?;
            rest.unite(&outcome.inventory);
            let mut records = outcome.records;
            let all_agreements = !desired.is_empty() && desired.iter().all(is_agreement);
            if let (true, Some(error @ ProviderError::NoZone { .. })) = (all_agreements, &outcome.error) {
                // The zone is known to DNS only, and not to the provider.
                records = desired.iter().map(|one| nowhere(one.clone(), error)).collect();
                outcome.error = None;
            }
            if let Ok(authorities) = &place.authorities {
                confirm(&mut records, &self.verifier.check(authorities, &desired).await);
            }
            published.records.extend(records);
            published.written.extend(outcome.written);
            published.drifted.extend(outcome.drifted);
            published.released.extend(outcome.released);
            published.error = published.error.take().or(outcome.error);
        }
        published.inventory = rest;
        tell_agreements(&mut published.records, &self.place.zone.name);
        Ok(published)
    }

    /// What goes to which zone, each with its part of the inventory, and the part of the inventory that is in none of them. Records for which there is no zone are told to people.
    async fn groups(
        &self,
        inventory: Inventory,
        published: &mut Published,
    ) -> (Vec<(Place, Vec<Desired>, Inventory)>, Inventory) {
        let mut groups = vec![(self.place.clone(), Vec::new(), Inventory::default())];
        for desired in self.desired.iter().filter(|desired| self.provider.takes(&desired.set)) {
            let at = match self.group(&mut groups, &desired.set.name).await {
                Ok(at) => at,
                Err(error) => {
                    let mut record = [nowhere(desired.clone(), &error)];
                    self.confirm_elsewhere(&mut record).await;
                    published.records.extend(record);
                    if !matches!(error, ProviderError::NoZone { .. }) {
                        published.error.get_or_insert(error);
                    }
                    continue;
                }
            };
            groups[at].1.push(desired.clone());
        }
        let mut rest = Inventory::default();
        for entry in inventory.iter() {
            match self.group(&mut groups, &entry.key.name).await {
                Ok(at) => groups[at].2.insert(entry.clone()),
                // What cannot be reached stays in the inventory: it is ours all the same.
                Err(_) => rest.insert(entry.clone()),
            }
        }
        (groups, rest)
    }

    /// Whether somebody else publishes a record that is in no zone of the provider. The servers of its zone are asked, as far as they can be found.
    async fn confirm_elsewhere(&self, records: &mut [RecordState; 1]) {
        let desired = records[0].desired.clone();
        if records[0].state == State::Manual
            && let Ok(authorities) = self.verifier.recent_authorities(&desired.set.name).await
        {
            let mut seen = self.verifier.check(&authorities, std::slice::from_ref(&desired)).await;
            if is_agreement(&desired) {
                seen.iter_mut()
                    .flat_map(|seen| &mut seen.servers)
                    .for_each(|(_, view)| agree(view, &desired));
            }
            confirm(records, &seen);
        }
    }

    /// Which of the groups a name belongs to; there is a new one if it needs one.
    async fn group(
        &self,
        groups: &mut Vec<(Place, Vec<Desired>, Inventory)>,
        name: &Name,
    ) -> Result<usize, ProviderError> {
        let depth = |at: &usize| groups[*at].0.zone.name.depth();
        let within = |at: &usize| name.is_within(&groups[*at].0.zone.name);
        if let Some(at) = (0..groups.len()).filter(within).max_by_key(depth) {
            return Ok(at);
        }
        let place = Place::find(self.provider, self.verifier, name).await?;
        groups.push((place, Vec::new(), Inventory::default()));
        Ok(groups.len() - 1)
    }

    #[allow(clippy::too_many_arguments)]
    async fn round(
        &self,
        context: &Context,
        lock: Option<&Client>,
        place: &Place,
        desired: &[Desired],
        inventory: &Inventory,
        published: &mut Published,
        store: &mut Beside<'_>,
    ) -> Result<Outcome> {
        let adoption = adoption(self.adoption);
        let round =
            Round { provider: self.provider, zone: &place.zone, owner: self.owner, desired, adoption };
        let _turn = context.zones.enter(&place.zone.name).await;
        let plan = round.prepare(inventory).await;
        if plan.is_settled() {
            return Ok(round.apply(plan).await);
        }
        context.leadership.check()?;
        let lock = match lock {
            Some(service) => match Lock::take(context, service, &place.zone.name).await? {
                Ok(lock) => Some(lock),
                Err(holder) => {
                    published.locked_by = Some(holder.clone());
                    return Ok(watched(plan, inventory, &holder));
                }
            },
            None => None,
        };
        let outcome = round.run(inventory, store).await;
        if let Some(lock) = lock {
            lock.give_back().await;
        }
        let outcome = outcome?;
        fail::point("records.applied")?;
        Ok(outcome)
    }
}

/// Stores the inventory of one zone together with that of the others, while this process leads.
struct Beside<'a> {
    others: Inventory,
    context: &'a Context,
    store: &'a mut dyn Store<Error>,
}

impl Store<Error> for Beside<'_> {
    fn store<'a>(&'a mut self, intent: &'a Inventory) -> BoxFuture<'a, Result<()>> {
        async move {
            let mut all = self.others.clone();
            all.unite(intent);
            self.store.store(&all).await?;
            fail::point("records.intent")?;
            self.context.leadership.check()
        }
        .boxed()
    }
}

/// A zone's lock in the store, for one round.
struct Lock<'a> {
    service: &'a Client,
    name: String,
    holder: String,
}

impl<'a> Lock<'a> {
    /// The lock, or who has it.
    async fn take(context: &Context, service: &'a Client, zone: &Name) -> Result<Result<Self, String>> {
        let (name, holder) = (format!("dns:{zone}"), context.leadership.holder());
        let wanted = NewLock { holder: holder.clone(), seconds: LOCK_SECONDS };
        match service.put_lock(&name, &wanted).await {
            Ok(_) => Ok(Ok(Self { service, name, holder })),
            Err(ClientError::Problem(problem)) if problem.code == ProblemCode::InUse => {
                Ok(Err(problem.detail))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn give_back(self) {
        if let Err(error) = self.service.delete_lock(&self.name, &self.holder).await {
            tracing::debug!(%error, lock = self.name, "the lock was not given back; it runs out");
        }
    }
}

/// What a plan comes to while somebody else writes.
fn watched(plan: Plan, inventory: &Inventory, holder: &str) -> Outcome {
    let mut records = plan.records;
    for record in &mut records {
        if matches!(record.state, State::Pending | State::Drifted) {
            record.message = format!("another operator is writing to the zone: {holder}");
        }
    }
    Outcome { records, inventory: inventory.clone(), ..Outcome::default() }
}

/// A record for which the provider has no zone.
fn nowhere(desired: Desired, error: &ProviderError) -> RecordState {
    match error {
        ProviderError::NoZone { .. } => {
            let message = format!(
                "it is in no zone of the provider; publish it elsewhere: {}",
                desired.set.lines().join("; ")
            );
            RecordState { desired, state: State::Manual, message }
        }
        error => RecordState { desired, state: State::Failed, message: error.to_string() },
    }
}

/// Whether a record says that somebody takes DMARC reports about the domain (RFC 9990 §4).
fn is_agreement(desired: &Desired) -> bool {
    desired.purpose == Purpose::DmarcReports
}

/// How somebody else words an agreement is theirs: any text of the kind is one.
fn agree(view: &mut View, desired: &Desired) {
    if let View::Other(set) = view
        && !desired.family.select(&set.values, |_| false).is_empty()
    {
        *view = View::Shown { ttl: set.ttl.unwrap_or_default() };
    }
}

/// Agreements that only others could publish keep nobody from being ready. What is missing is told with the DMARC record that needs it.
fn tell_agreements(records: &mut Vec<RecordState>, zone: &Name) {
    let is_missing = |record: &RecordState| {
        let (desired, by_hand) = (&record.desired, record.state == State::Manual);
        by_hand && is_agreement(desired) && !desired.set.name.is_within(zone)
    };
    let (missing, mut counted): (Vec<_>, Vec<_>) = std::mem::take(records).into_iter().partition(is_missing);
    if let Some(dmarc) = counted.iter_mut().find(|record| record.desired.purpose == Purpose::Dmarc) {
        for record in missing {
            let separator = if dmarc.message.is_empty() { "" } else { "; " };
            let lines = record.desired.set.lines().join("; ");
            dmarc.message +=
                &format!("{separator}reports go nowhere unless who takes them publishes: {lines}");
        }
    }
    *records = counted;
}

fn adoption(policy: AdoptionPolicy) -> Adoption {
    match policy {
        AdoptionPolicy::IfUnowned => Adoption::IfUnowned,
        AdoptionPolicy::Never => Adoption::Never,
        AdoptionPolicy::Force => Adoption::Force,
    }
}

/// The records for a status.
pub fn statuses(records: &[RecordState]) -> Vec<RecordStatus> {
    let status = |record: &RecordState| RecordStatus {
        name: record.desired.set.name.to_string(),
        type_: record.desired.set.record_type.to_string(),
        values: record.desired.set.values.iter().map(Value::to_string).collect(),
        state: api_state(&record.state),
        message: Some(record.message.clone()).filter(|message| !message.is_empty()),
    };
    records.iter().map(status).collect()
}

/// A state, as the status has it.
pub fn api_state(state: &State) -> ApiState {
    match state {
        State::Pending => ApiState::Pending,
        State::Published => ApiState::Published,
        State::Verified => ApiState::Verified,
        State::Drifted => ApiState::Drifted,
        State::Conflict { .. } => ApiState::Conflict,
        State::Manual => ApiState::Manual,
        State::Failed => ApiState::Failed,
    }
}

/// An inventory, for a status.
pub fn inventory_status(inventory: &Inventory) -> Vec<InventoryEntry> {
    let entry = |text: EntryText| InventoryEntry {
        name: text.name,
        type_: text.record_type,
        values: text.values,
        family: Some(text.family).filter(|family| !family.is_empty()),
        variant: text.variant,
        ttl: text.ttl,
    };
    inventory.texts().into_iter().map(entry).collect()
}

/// The inventory of a status.
///
/// # Errors
/// `InventoryInvalid`: somebody changed the status by hand.
pub fn inventory(entries: &[InventoryEntry]) -> Result<Inventory> {
    let text = |entry: &InventoryEntry| EntryText {
        name: entry.name.clone(),
        record_type: entry.type_.clone(),
        variant: entry.variant.clone(),
        family: entry.family.clone().unwrap_or_default(),
        values: entry.values.clone(),
        ttl: entry.ttl,
    };
    Inventory::read(entries.iter().map(text)).map_err(|error| {
        Error::invalid("InventoryInvalid", format!("status.inventory was changed by hand: {error}"))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ekitei_operator_dns::{Family, RecordSet};

    use super::*;

    #[test]
    fn an_inventory_survives_the_status() {
        let entry = |family: Option<&str>, type_: &str, value: &str| InventoryEntry {
            name: "example.org".to_owned(),
            type_: type_.to_owned(),
            values: vec![value.to_owned()],
            family: family.map(str::to_owned),
            variant: None,
            ttl: 300,
        };
        let mut entries = vec![
            entry(None, "MX", "10 mx.example.net."),
            entry(Some("v=spf1"), "TXT", "\"v=spf1 -all\""),
            entry(Some("*"), "CAA", "0 issue \"ca.example\""),
        ];
        let mut read = inventory_status(&inventory(&entries).unwrap());
        entries.sort_by(|a, b| a.type_.cmp(&b.type_));
        read.sort_by(|a, b| a.type_.cmp(&b.type_));
        assert_eq!(read, entries);
    }

    #[test]
    fn agreements_that_only_others_can_publish_are_told_and_not_waited_for() {
        let record = |name: &str, purpose, state| {
            let set = RecordSet::new(name.parse().unwrap(), 300, [Value::txt("v=DMARC1;")]).unwrap();
            let family = Family::Tagged("v=DMARC1".to_owned());
            RecordState { desired: Desired { set, family, purpose }, state, message: String::new() }
        };
        let agreement = |name: &str| record(name, Purpose::DmarcReports, State::Manual);
        let mut records = vec![
            agreement("example.org._report._dmarc.reports.test"),
            agreement("example.org._report._dmarc.sub.example.org"),
            record("_dmarc.example.org", Purpose::Dmarc, State::Verified),
        ];
        tell_agreements(&mut records, &"example.org".parse().unwrap());
        let names: Vec<&str> = records.iter().map(|record| record.desired.set.name.as_str()).collect();
        assert_eq!(names, ["example.org._report._dmarc.sub.example.org", "_dmarc.example.org"]);
        let told = "example.org._report._dmarc.reports.test. 300 IN TXT \"v=DMARC1;\"";
        assert!(records[1].message.ends_with(told), "{}", records[1].message);

        let desired = &records[0].desired;
        let text = |text| RecordSet::new(desired.set.name.clone(), 60, [Value::txt(text)]).unwrap();
        let mut view = View::Other(text("v=DMARC1"));
        agree(&mut view, desired);
        assert_eq!(view, View::Shown { ttl: 60 });
        let mut view = View::Other(text("v=spf1 -all"));
        agree(&mut view, desired);
        assert!(matches!(view, View::Other(_)));
    }

    #[test]
    fn an_inventory_that_cannot_be_read_is_told_and_not_taken_for_an_empty_one() {
        let entry = InventoryEntry {
            name: "example.org".to_owned(),
            type_: "NONSENSE".to_owned(),
            values: Vec::new(),
            family: None,
            variant: None,
            ttl: 0,
        };
        assert_eq!(inventory(&[entry]).unwrap_err().reason(), "InventoryInvalid");
    }
}
