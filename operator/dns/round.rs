//! One round over one zone: look, plan, remember, write.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::BoxFuture;

use crate::desired::Desired;
use crate::inventory::{Entry, Inventory};
use crate::owner::{self, Claim, Owner};
use crate::plan::{self, Adoption, Change, Inputs, Plan, RecordState, State};
use crate::provider::{Provider, ProviderError, Zone, observe};
use crate::record::{Key, RecordSet, RecordType, Value};

/// Attempts, when somebody else writes at the same time.
const ATTEMPTS: usize = 4;

/// Keeps an inventory where it is found after a crash.
pub trait Store<E>: Send {
    /// Stores it; what is stored is what may be ours.
    ///
    /// # Errors
    /// Whatever keeps it from being stored. Then nothing is written to the zone.
    fn store<'a>(&'a mut self, inventory: &'a Inventory) -> BoxFuture<'a, Result<(), E>>;
}

/// Everything that a round over one zone is about.
#[derive(Clone, Copy, Debug)]
pub struct Round<'a> {
    /// Where the zone is kept.
    pub provider: &'a dyn Provider,
    /// The zone.
    pub zone: &'a Zone,
    /// Who we are.
    pub owner: &'a Owner,
    /// What there should be in this zone. To remove everything, nothing.
    pub desired: &'a [Desired],
    /// What to do with what nobody owns.
    pub adoption: Adoption,
}

/// What became of a round.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Every record that is wanted: what was written is [`State::Published`].
    pub records: Vec<RecordState>,
    /// What is ours now.
    pub inventory: Inventory,
    /// Record sets that were written.
    pub written: Vec<Change>,
    /// Those of them that somebody had changed.
    pub drifted: Vec<Key>,
    /// Parts that were ours and are not any more, without having been removed, and why.
    pub released: Vec<(Key, String)>,
    /// Why not everything was done, if it was not.
    pub error: Option<ProviderError>,
}

impl Round<'_> {
    /// Looks and plans. To be followed by [`apply`](Self::apply), once [`Plan::intent`] is stored.
    pub async fn prepare(&self, inventory: &Inventory) -> Plan {
        let observed = observe(self.provider, self.zone, self.desired, inventory).await;
        plan::plan(Inputs {
            owner: self.owner,
            desired: self.desired,
            observed: &observed,
            inventory,
            adoption: self.adoption,
            capabilities: self.provider.capabilities(),
        })
    }

    /// Does all of it, and again if somebody wrote at the same time. `store` is called with what may be ours before anything is written; nothing is
    /// if it fails.
    ///
    /// # Errors
    /// What `store` says. All else is in the [`Outcome`].
    pub async fn run<E: Send>(&self, inventory: &Inventory, store: &mut dyn Store<E>) -> Result<Outcome, E> {
        let mut inventory = inventory.clone();
        for _ in 1..ATTEMPTS {
            let plan = self.prepare(&inventory).await;
            if !plan.is_settled() && plan.intent != inventory {
                store.store(&plan.intent).await?;
            }
            let intent = plan.intent.clone();
            let outcome = self.apply(plan).await;
            if !matches!(outcome.error, Some(ProviderError::Conflict(_))) {
                return Ok(outcome);
            }
            tracing::debug!(zone = %self.zone.name, "the zone was changed meanwhile; looking again");
            inventory = intent;
        }
        let plan = self.prepare(&inventory).await;
        store.store(&plan.intent).await?;
        Ok(self.apply(plan).await)
    }

    /// Writes what a plan says: all together, and if the provider rejects something, name by name and then set by set, so that one bad record does
    /// not keep the others back.
    pub async fn apply(&self, plan: Plan) -> Outcome {
        let Plan { changes, records, inventory, intent, released, error } = plan;
        let mut outcome = Outcome { records, released, error, ..Outcome::default() };
        let drifted = outcome.records.iter().filter(|record| record.state == State::Drifted);
        outcome.drifted = drifted.map(|record| record.desired.set.key()).collect();
        let mut failed = BTreeMap::new();
        match self.write(&changes).await {
            Ok(()) => outcome.written = changes,
            Err(error @ ProviderError::Rejected(_)) => {
                self.name_by_name(groups(changes), error, &mut failed, &mut outcome).await;
            }
            Err(error) => {
                fail(&mut failed, &changes, &error);
                outcome.error = Some(error);
            }
        }
        outcome.drifted.retain(|key| !failed.contains_key(key));
        settle(&mut outcome, &failed, inventory, &intent);
        outcome
    }

    /// Tries what was rejected as a whole in smaller parts.
    async fn name_by_name(
        &self,
        mut groups: Vec<Group>,
        error: ProviderError,
        failed: &mut BTreeMap<Key, String>,
        outcome: &mut Outcome,
    ) {
        if groups.len() == 1 {
            return self.set_by_set(groups.remove(0), error, failed, outcome).await;
        }
        for group in groups {
            let changes = group.changes();
            match self.write(&changes).await {
                Ok(()) => outcome.written.extend(changes),
                Err(error @ ProviderError::Rejected(_)) => {
                    self.set_by_set(group, error, failed, outcome).await;
                }
                Err(error) => give_up(&changes, error, failed, outcome),
            }
        }
    }

    /// The record sets of a name, each with its lines of the marker: one that is rejected does not keep those beside it back.
    async fn set_by_set(
        &self,
        mut group: Group,
        error: ProviderError,
        failed: &mut BTreeMap<Key, String>,
        outcome: &mut Outcome,
    ) {
        if group.sets.len() < 2 {
            return give_up(&group.changes(), error, failed, outcome);
        }
        let types: BTreeSet<RecordType> = group.sets.iter().filter_map(record_type).collect();
        for set in std::mem::take(&mut group.sets) {
            let lines = record_type(&set).and_then(|of| group.lines(|one| one == of));
            let step = Group { marker: lines, sets: vec![set] }.changes();
            match self.write(&step).await {
                Ok(()) => group.written(step, outcome),
                Err(error) => give_up(&step, error, failed, outcome),
            }
        }
        // Lines of record sets that are as they should be.
        let rest: Vec<Change> = group.lines(|one| !types.contains(&one)).into_iter().collect();
        match self.write(&rest).await {
            Ok(()) => group.written(rest, outcome),
            Err(error) => give_up(&rest, error, failed, outcome),
        }
    }

    async fn write(&self, changes: &[Change]) -> Result<(), ProviderError> {
        if changes.is_empty() { Ok(()) } else { self.provider.apply(self.zone, changes).await }
    }
}

/// Changes that belong together: those of a name.
#[derive(Debug, Default)]
struct Group {
    /// The change of its marker, if there is any.
    marker: Option<Change>,
    /// Those of its record sets.
    sets: Vec<Change>,
}

impl Group {
    /// All of them: a claim comes before what it claims, and goes after it.
    fn changes(&self) -> Vec<Change> {
        let (first, last): (Vec<_>, Vec<_>) = self.marker.iter().cloned().partition(plan::adds);
        [first, self.sets.clone(), last].concat()
    }

    /// The change of the marker's lines about some types only.
    fn lines(&self, about: impl Fn(RecordType) -> bool) -> Option<Change> {
        let marker = self.marker.as_ref()?;
        let values = |set: &Option<RecordSet>| set.as_ref().map(|set| set.values.clone()).unwrap_or_default();
        let (now, goal) = (values(&marker.before), values(&marker.after));
        let about = |line: &&Value| Claim::read(line).is_some_and(|claim| about(claim.record_type));
        let stays = now.iter().filter(|line| !about(line) || goal.contains(line));
        let lines: BTreeSet<Value> = stays.chain(goal.iter().filter(about)).cloned().collect();
        let like = marker.after.as_ref().or(marker.before.as_ref())?;
        let changed = lines != now;
        let after = (!lines.is_empty()).then(|| RecordSet { values: lines, ..like.clone() });
        changed.then(|| Change { before: marker.before.clone(), after })
    }

    /// Keeps what the marker is now.
    fn written(&mut self, changes: Vec<Change>, outcome: &mut Outcome) {
        let is_marker = |change: &&Change| change.key().is_some_and(|key| owner::is_marker(&key.name));
        if let (Some(marker), Some(lines)) = (&mut self.marker, changes.iter().find(is_marker)) {
            marker.before.clone_from(&lines.after);
        }
        outcome.written.extend(changes);
    }
}

fn record_type(change: &Change) -> Option<RecordType> {
    change.key().map(|key| key.record_type)
}

fn groups(changes: Vec<Change>) -> Vec<Group> {
    let mut groups: BTreeMap<_, Group> = BTreeMap::new();
    for change in changes {
        let Some(key) = change.key() else { continue };
        let is_marker = owner::is_marker(&key.name);
        let at = if is_marker { Ok(key) } else { owner::marker(&key) };
        let group = groups.entry(at.map_err(|error| error.0)).or_default();
        if is_marker {
            group.marker = Some(change);
        } else {
            group.sets.push(change);
        }
    }
    groups.into_values().collect()
}

fn give_up(
    changes: &[Change],
    error: ProviderError,
    failed: &mut BTreeMap<Key, String>,
    outcome: &mut Outcome,
) {
    fail(failed, changes, &error);
    // What has to be done about it comes before what happens by itself.
    if outcome.error.as_ref().is_none_or(ProviderError::is_temporary) {
        outcome.error = Some(error);
    }
}

fn fail(failed: &mut BTreeMap<Key, String>, changes: &[Change], error: &ProviderError) {
    failed.extend(changes.iter().filter_map(Change::key).map(|key| (key, error.to_string())));
}

/// The states and the inventory after writing: of what failed nobody knows whether it was written.
fn settle(outcome: &mut Outcome, failed: &BTreeMap<Key, String>, inventory: Inventory, intent: &Inventory) {
    for record in &mut outcome.records {
        match failed.get(&record.desired.set.key()) {
            Some(reason) if matches!(record.state, State::Pending | State::Drifted) => {
                record.state = State::Failed;
                record.message.clone_from(reason);
            }
            _ if matches!(record.state, State::Pending | State::Drifted) => record.state = State::Published,
            _ => {}
        }
    }
    outcome.inventory = inventory;
    let unknown: BTreeSet<&Key> = failed.keys().collect();
    let unknown: Vec<Entry> = intent.iter().filter(|entry| unknown.contains(&entry.key)).cloned().collect();
    outcome.inventory.unite(&unknown.into_iter().collect());
}

/// The zone of each record, by the longest match: what goes to which provider. Records that are in none of the zones come with none.
pub fn by_zone<'a>(desired: Vec<Desired>, zones: &'a [Zone]) -> Vec<(Option<&'a Zone>, Vec<Desired>)> {
    let mut found: Vec<(Option<&'a Zone>, Vec<Desired>)> = Vec::new();
    for one in desired {
        let zone = zones
            .iter()
            .filter(|zone| one.set.name.is_within(&zone.name))
            .max_by_key(|zone| zone.name.depth());
        match found.iter_mut().find(|(known, _)| *known == zone) {
            Some((_, records)) => records.push(one),
            None => found.push((zone, vec![one])),
        }
    }
    found
}
