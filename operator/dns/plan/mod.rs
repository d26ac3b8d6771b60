//! What to change, and what is true of each record: a pure function of what is wanted, what is there, and what is ours.
//!
//! The rules of ownership, for each part of a record set ([`Family`]):
//!
//! - a marker names another owner: [`State::Conflict`], unless [`Adoption::Force`];
//! - a marker names us, or the inventory has the part: ours, to be corrected or, if it is not wanted any more, removed;
//! - nobody is named and something is there: adopted with [`Adoption::IfUnowned`], a conflict with [`Adoption::Never`] (unless it is what we want);
//! - the inventory has a part that no marker claims and whose values are not those that we wrote: somebody took it over. It is never pruned;
//! - what could not be looked up is left as it is.

mod decide;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use decide::adds;

use crate::desired::Desired;
use crate::family::Family;
use crate::inventory::Inventory;
use crate::owner::{self, Owner};
use crate::provider::{Capabilities, Observations, ProviderError};
use crate::record::{Key, RecordSet};

/// What to do with records that are there and that nobody owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Adoption {
    /// They become ours.
    #[default]
    IfUnowned,
    /// They stay, and the record is in conflict.
    Never,
    /// They become ours even if a marker names somebody else.
    Force,
}

/// A change of one record set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it is now, exactly: the change is not to be made if it is anything else.
    pub before: Option<RecordSet>,
    /// What it will be; none removes it.
    pub after: Option<RecordSet>,
}

impl Change {
    /// Which record set.
    pub fn key(&self) -> Option<Key> {
        self.after.as_ref().or(self.before.as_ref()).map(RecordSet::key)
    }
}

/// How far a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is to be written.
    Pending,
    /// The provider has it.
    Published,
    /// Every authoritative server shows it.
    Verified,
    /// It was written, and somebody changed it: it is to be corrected.
    Drifted,
    /// It is somebody else's.
    Conflict {
        /// Whose, in words.
        who: String,
    },
    /// Nobody but the operator can write it; the message has the lines to publish.
    Manual,
    /// It cannot be looked up or written.
    Failed,
}

impl State {
    /// Its name, for the status.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Published => "Published",
            Self::Verified => "Verified",
            Self::Drifted => "Drifted",
            Self::Conflict { .. } => "Conflict",
            Self::Manual => "Manual",
            Self::Failed => "Failed",
        }
    }
}

/// A record that is wanted, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordState {
    /// What is wanted.
    pub desired: Desired,
    /// How far it is.
    pub state: State,
    /// Why, and what to do about it; empty if there is nothing to say.
    pub message: String,
}

/// What follows from a look at the zone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What to write, in this order.
    pub changes: Vec<Change>,
    /// Every record that is wanted; those that [`changes`](Self::changes) are about are [`State::Pending`] or [`State::Drifted`].
    pub records: Vec<RecordState>,
    /// What is ours once the changes are made.
    pub inventory: Inventory,
    /// What is ours or may be while the changes are being made: to be stored before they are.
    pub intent: Inventory,
    /// Parts that were ours and are not any more, without having been removed, and why.
    pub released: Vec<(Key, String)>,
    /// Why something could not be looked up, if something could not.
    pub error: Option<ProviderError>,
}

impl Plan {
    /// Whether there is nothing to write.
    pub fn is_settled(&self) -> bool {
        self.changes.is_empty()
    }
}

/// What a plan is made of: one zone's part of everything.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Who we are.
    pub owner: &'a Owner,
    /// What there should be.
    pub desired: &'a [Desired],
    /// What is there.
    pub observed: &'a Observations,
    /// What we wrote.
    pub inventory: &'a Inventory,
    /// What to do with what nobody owns.
    pub adoption: Adoption,
    /// What the provider can do.
    pub capabilities: Capabilities,
}

/// Compares what is wanted with what is there. Applied, its changes lead to a zone of which the same function wants nothing more.
pub fn plan(inputs: Inputs<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut markers: BTreeMap<Key, decide::Marker> = BTreeMap::new();
    let mut records = Vec::new();
    for (key, parts) in parts(inputs.desired, inputs.inventory) {
        let marker = if inputs.capabilities.markers && inputs.capabilities.writes {
            match owner::marker(&key) {
                Ok(at) => {
                    let known = markers.entry(at.clone());
                    Ok(Some((
                        at.clone(),
                        known.or_insert_with(|| decide::Marker::read(&at, inputs.observed)),
                    )))
                }
                Err(error) => Err(format!("its name is too long for a marker: {error}")),
            }
        } else {
            Ok(None)
        };
        let change = decide::record_set(&inputs, &key, &parts, marker, &mut plan);
        records.extend(change);
    }
    // A claim comes before what it claims, and goes after it.
    let markers = markers.into_values().filter_map(decide::Marker::change);
    let (first, last) = markers.partition::<Vec<_>, _>(adds);
    let (removed, written) =
        records.into_iter().partition::<Vec<_>, _>(|change: &Change| change.after.is_none());
    // An alias goes before what takes its place, and the other way round.
    plan.changes = [first, removed, written, last].concat();
    plan.intent = inputs.inventory.clone();
    plan.intent.unite(&plan.inventory);
    plan
}

/// The parts of record sets that are wanted or were written, by record set.
type Parts = BTreeMap<Family, Option<Desired>>;

fn parts(desired: &[Desired], inventory: &Inventory) -> BTreeMap<Key, Parts> {
    let mut keys: BTreeMap<Key, Parts> = BTreeMap::new();
    for entry in inventory.iter() {
        keys.entry(entry.key.clone()).or_default().insert(entry.family.clone(), None);
    }
    for one in desired {
        let slot = keys.entry(one.set.key()).or_default().entry(one.family.clone()).or_default();
        match slot {
            None => *slot = Some(one.clone()),
            Some(known) => {
                known.set.values.extend(one.set.values.iter().cloned());
                known.set.ttl = known.set.ttl.min(one.set.ttl);
            }
        }
    }
    keys
}

/// The keys of a plan's changes that are not of markers.
pub fn changed(changes: &[Change]) -> BTreeSet<Key> {
    changes.iter().filter_map(Change::key).filter(|key| !owner::is_marker(&key.name)).collect()
}
