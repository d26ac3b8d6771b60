//! Publishing the records of one object, and looking whether the world sees them.
//!
//! The order is what makes a crash harmless: the inventory with what may be ours soon is stored in the status before anything is written, and what is ours
//! afterwards when it was. Several operators may write a zone: only the one whose [`turn`] it is does.

mod agreement;
pub mod dane;
mod status;
#[cfg(test)]
mod testing;
mod turn;

use ekitei_api::{Client, NewLock};
use ekitei_operator_api::AdoptionPolicy;
use ekitei_operator_dns::plan::Change;
use ekitei_operator_dns::round::Store;
use ekitei_operator_dns::verify::{Authorities, Security, VerifyError, confirm};
use ekitei_operator_dns::{
    Adoption, Desired, Inventory, Key, Name, Outcome, Owner, Plan, Provider, ProviderError, RecordState,
    Round, State, Verifier, Zone,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::fail;
use crate::leader::Leadership;
use agreement::{agree, is_agreement};
pub use status::{api_state, inventory, inventory_status, statuses};
pub use turn::Zones;
use turn::{Guarded, Lock};

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
        let Context { zones, leadership, .. } = context;
        let writer = Writer { zones, leadership, lock, seconds: turn::LOCK_SECONDS };
        self.write(&writer, inventory, store).await
    }

    async fn write(
        &self,
        writer: &Writer<'_>,
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
            let mut beside = Beside { others, leadership: writer.leadership, store };
            let (mut outcome, locked_by) =
                Box::pin(self.round(writer, &place, &desired, &mine, &mut beside)).await?;
            published.locked_by = published.locked_by.take().or(locked_by);
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
        agreement::tell(&mut published.records, &self.place.zone.name);
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

    /// What became of the records of one zone, and who writes to it if it is another operator.
    async fn round(
        &self,
        writer: &Writer<'_>,
        place: &Place,
        desired: &[Desired],
        inventory: &Inventory,
        store: &mut Beside<'_>,
    ) -> Result<(Outcome, Option<String>)> {
        let adoption = adoption(self.adoption);
        let round =
            Round { provider: self.provider, zone: &place.zone, owner: self.owner, desired, adoption };
        let _turn = writer.zones.enter(&place.zone.name).await;
        let plan = round.prepare(inventory).await;
        if plan.is_settled() {
            return Ok((round.apply(plan).await, None));
        }
        writer.leadership.check()?;
        let Some(service) = writer.lock else {
            let outcome = round.run(inventory, store).await?;
            fail::point("records.applied")?;
            return Ok((outcome, None));
        };
        let wanted = NewLock { holder: writer.leadership.holder(), seconds: writer.seconds };
        let lock = match Lock::take(service, &place.zone.name, wanted).await? {
            Ok(lock) => lock,
            Err(holder) => return Ok((watched(plan, inventory, &holder), Some(holder))),
        };
        let guarded = Guarded { inner: self.provider, lock: &lock };
        let round = Round { provider: &guarded, ..round };
        let outcome = lock.during(round.run(inventory, store)).await;
        let lost = lock.lost();
        if lost.is_none() {
            lock.give_back().await;
        }
        let mut outcome = outcome?;
        fail::point("records.applied")?;
        // What was not written for that reason is written in a later round, by whoever has the lock then.
        let locked_by = lost.filter(|_| outcome.error.as_ref().is_some_and(ProviderError::is_temporary));
        if locked_by.is_some() {
            outcome.error = None;
        }
        Ok((outcome, locked_by))
    }
}

/// What writing needs besides the records.
struct Writer<'a> {
    zones: &'a Zones,
    leadership: &'a Leadership,
    /// The service whose store has the locks of zones, where others write the same records.
    lock: Option<&'a Client>,
    /// For how long a lock is taken.
    seconds: u64,
}

/// Stores the inventory of one zone together with that of the others, while this process leads.
struct Beside<'a> {
    others: Inventory,
    leadership: &'a Leadership,
    store: &'a mut dyn Store<Error>,
}

impl Store<Error> for Beside<'_> {
    fn store<'a>(&'a mut self, intent: &'a Inventory) -> BoxFuture<'a, Result<()>> {
        async move {
            let mut all = self.others.clone();
            all.unite(intent);
            self.store.store(&all).await?;
            fail::point("records.intent")?;
            self.leadership.check()
        }
        .boxed()
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

fn adoption(policy: AdoptionPolicy) -> Adoption {
    match policy {
        AdoptionPolicy::IfUnowned => Adoption::IfUnowned,
        AdoptionPolicy::Never => Adoption::Never,
        AdoptionPolicy::Force => Adoption::Force,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use ekitei_operator_dns::verify::Settings;

    use super::testing::{Fake, Locks, desired};
    use super::*;

    /// Keeps what was stored, in order.
    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<Inventory>>>);

    impl Memory {
        fn stored(&self) -> Vec<Inventory> {
            self.0.lock().unwrap().clone()
        }
    }

    impl Store<Error> for Memory {
        fn store<'a>(&'a mut self, inventory: &'a Inventory) -> BoxFuture<'a, Result<()>> {
            self.0.lock().unwrap().push(inventory.clone());
            async { Ok(()) }.boxed()
        }
    }

    async fn publish(
        provider: &Fake,
        desired: Vec<Desired>,
        inventory: Inventory,
        memory: &Memory,
        lock: Option<&Client>,
    ) -> Published {
        let servers = vec!["127.0.0.1:1".to_owned()];
        let verifier = Verifier::new(Settings { servers, ..Settings::default() });
        let owner = Owner::new("test", "domain/a.test").unwrap();
        let place = Place::find(provider, &verifier, &"a.test".parse().unwrap()).await.unwrap();
        let publication = Publication {
            provider,
            verifier: &verifier,
            owner: &owner,
            place: &place,
            desired,
            adoption: AdoptionPolicy::IfUnowned,
        };
        let (zones, leadership) = (Zones::default(), Leadership::always());
        let writer = Writer { zones: &zones, leadership: &leadership, lock, seconds: 2 };
        publication.write(&writer, inventory, &mut memory.clone()).await.unwrap()
    }

    fn names(inventory: &Inventory) -> Vec<&str> {
        inventory.iter().map(|entry| entry.key.name.as_str()).collect()
    }

    #[tokio::test]
    async fn what_is_ours_in_later_zones_is_remembered_while_an_earlier_one_is_written() {
        let (provider, memory) = (Fake::new(&["a.test", "b.test"]), Memory::default());
        let there = vec![desired("x.b.test")];
        let first = publish(&provider, there, Inventory::default(), &memory, None).await;
        assert_eq!(names(&first.inventory), ["x.b.test"]);

        let both = vec![desired("x.a.test"), desired("x.b.test"), desired("y.b.test")];
        let second = publish(&provider, both, first.inventory, &memory, None).await;
        assert_eq!(names(&second.inventory), ["x.a.test", "x.b.test", "y.b.test"]);
        // A process that dies after any of them finds all that is in its zones.
        let stored = memory.stored();
        let stored: Vec<_> = stored.iter().map(names).collect();
        assert_eq!(
            stored,
            [vec!["x.b.test"], vec!["x.a.test", "x.b.test"], vec!["x.a.test", "x.b.test", "y.b.test"]]
        );
    }

    #[tokio::test]
    async fn what_was_not_written_since_the_lock_was_lost_is_for_a_later_round() {
        let locks = Locks::start().await;
        let (service, taken) = (locks.client(), locks.clone());
        let slow =
            Fake::new(&["a.test"]).slow(Duration::from_millis(600)).after(move || taken.give_to("them"));
        let memory = Memory::default();
        let wanted = vec![desired("x.a.test"), desired("y.a.test")];
        let some = publish(&slow, wanted.clone(), Inventory::default(), &memory, Some(&service)).await;
        // A marker, and what was under way when the lock was renewed in vain.
        assert_eq!((slow.names().len(), &some.error), (2, &None), "{:?}", slow.names());
        assert!(some.locked_by.as_ref().unwrap().contains("them"), "{some:?}");
        assert_eq!(names(&some.inventory), ["x.a.test", "y.a.test"], "whatever was written is ours");
        assert_eq!(locks.holder().as_deref(), Some("them"));

        let none = publish(&slow, wanted.clone(), some.inventory, &memory, Some(&service)).await;
        assert!(none.locked_by.is_some());
        locks.release();
        let provider = slow.slow(Duration::ZERO).after(|| {});
        let all = publish(&provider, wanted, none.inventory, &memory, Some(&service)).await;
        assert_eq!((all.locked_by, all.error, provider.names().len()), (None, None, 4));
        assert_eq!(locks.holder(), None);
    }
}
