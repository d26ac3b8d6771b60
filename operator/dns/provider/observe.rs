//! What is there now of everything that a plan is about.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt};

use super::{Provider, ProviderError, Zone};
use crate::desired::Desired;
use crate::inventory::Inventory;
use crate::owner;
use crate::record::{Key, RecordSet, RecordType};

/// Questions at a time.
const CONCURRENCY: usize = 8;

/// What was found, or why it is not known.
pub type Observed = Result<Option<RecordSet>, ProviderError>;

/// Record sets as they are, by what was asked for.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    found: BTreeMap<Key, Observed>,
}

impl Observations {
    /// What is known of a record set. What was not asked for is not known.
    pub fn get(&self, key: &Key) -> Observed {
        let unknown = || Err(ProviderError::Unavailable(format!("{key} was not looked up")));
        self.found.get(key).cloned().unwrap_or_else(unknown)
    }

    /// Says what was found.
    pub fn insert(&mut self, key: Key, observed: Observed) {
        self.found.insert(key, observed);
    }
}

/// All that has to be looked up for a plan: what is wanted, what we wrote, the markers of both, and what cannot be beside an alias.
pub fn needed(desired: &[Desired], inventory: &Inventory, markers: bool) -> BTreeSet<Key> {
    let wanted = desired.iter().map(|one| one.set.key());
    let mut keys: BTreeSet<Key> = wanted.chain(inventory.iter().map(|entry| entry.key.clone())).collect();
    if markers {
        let markers: Vec<Key> = keys.iter().filter_map(|key| owner::marker(key).ok()).collect();
        keys.extend(markers);
    }
    let aliases = desired.iter().filter(|one| one.set.record_type == RecordType::Cname);
    for alias in aliases {
        let beside = [RecordType::A, RecordType::Aaaa, RecordType::Txt, RecordType::Mx];
        keys.extend(beside.map(|record_type| Key::new(alias.set.name.clone(), record_type)));
    }
    keys
}

/// Asks the provider for all that a plan needs. What cannot be found out is told by the [`Observations`], not by an error.
pub async fn observe(
    provider: &dyn Provider,
    zone: &Zone,
    desired: &[Desired],
    inventory: &Inventory,
) -> Observations {
    let keys = needed(desired, inventory, provider.capabilities().markers);
    let ask = |key: Key| async move {
        let found = provider.get(zone, &key).await;
        (key, found)
    };
    let found = stream::iter(keys).map(ask).buffer_unordered(CONCURRENCY).collect().await;
    Observations { found }
}
