//! What we wrote, as the caller keeps it in the object's status. With the markers it says what is ours; it alone says what to look for to prune.

use std::collections::{BTreeMap, BTreeSet};

use crate::family::Family;
use crate::name::NotAName;
use crate::record::{BadValue, Key, Value};

/// A record set, or the part of one, that we wrote or may be about to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which record set.
    pub key: Key,
    /// Which part of it.
    pub family: Family,
    /// The values that we wrote. Between [`Plan::intent`](crate::Plan::intent) and the end of the round, also those that we are about to write.
    pub values: BTreeSet<Value>,
    /// Seconds; the longest TTL that they were written with.
    pub ttl: u32,
}

/// An [`Entry`] in plain words, for a status that is JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryText {
    /// The owner name.
    pub name: String,
    /// The mnemonic of the type.
    pub record_type: String,
    /// The set identifier, where there are several.
    pub variant: Option<String>,
    /// Empty for the whole, a tag as `v=spf1`, or `*` for single values.
    pub family: String,
    /// The values as in a zone file.
    pub values: Vec<String>,
    /// Seconds.
    pub ttl: u32,
}

/// A status that somebody changed by hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum BadEntry {
    #[error(transparent)]
    Name(#[from] NotAName),
    #[error(transparent)]
    Value(#[from] BadValue),
}

/// All entries of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    entries: BTreeMap<(Key, Family), Entry>,
}

impl Inventory {
    /// What we have of a part of a record set.
    pub fn get(&self, key: &Key, family: &Family) -> Option<&Entry> {
        self.entries.get(&(key.clone(), family.clone()))
    }

    /// Adds an entry, or replaces the one of this part.
    pub fn insert(&mut self, entry: Entry) {
        self.entries.insert((entry.key.clone(), entry.family.clone()), entry);
    }

    /// Forgets a part.
    pub fn remove(&mut self, key: &Key, family: &Family) -> Option<Entry> {
        self.entries.remove(&(key.clone(), family.clone()))
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Whether nothing is ours.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries that `keep` says of, and the others: to handle each zone by itself.
    #[must_use]
    pub fn partition(self, keep: impl Fn(&Entry) -> bool) -> (Self, Self) {
        let (kept, other) = self.entries.into_iter().partition(|(_, entry)| keep(entry));
        (Self { entries: kept }, Self { entries: other })
    }

    /// Adds the entries of another inventory; values and TTLs of parts that both have are united.
    pub fn unite(&mut self, other: &Self) {
        for entry in other.iter() {
            let slot = self.entries.entry((entry.key.clone(), entry.family.clone()));
            let kept = slot.or_insert_with(|| entry.clone());
            kept.values.extend(entry.values.iter().cloned());
            kept.ttl = kept.ttl.max(entry.ttl);
        }
    }

    /// For the status.
    pub fn texts(&self) -> Vec<EntryText> {
        self.iter().map(EntryText::from).collect()
    }

    /// From the status.
    ///
    /// # Errors
    /// Somebody changed the status; nothing may be pruned by it.
    pub fn read(texts: impl IntoIterator<Item = EntryText>) -> Result<Self, BadEntry> {
        let mut inventory = Self::default();
        for text in texts {
            inventory.insert(text.try_into()?);
        }
        Ok(inventory)
    }
}

impl FromIterator<Entry> for Inventory {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut inventory = Self::default();
        entries.into_iter().for_each(|entry| inventory.insert(entry));
        inventory
    }
}

impl From<&Entry> for EntryText {
    fn from(entry: &Entry) -> Self {
        Self {
            name: entry.key.name.to_string(),
            record_type: entry.key.record_type.to_string(),
            variant: entry.key.variant.clone(),
            family: entry.family.to_string(),
            values: entry.values.iter().map(Value::to_string).collect(),
            ttl: entry.ttl,
        }
    }
}

impl TryFrom<EntryText> for Entry {
    type Error = BadEntry;

    fn try_from(text: EntryText) -> Result<Self, BadEntry> {
        let record_type = text.record_type.parse()?;
        let values =
            text.values.iter().map(|value| Value::parse(record_type, value)).collect::<Result<_, _>>()?;
        let key = Key { name: text.name.parse()?, record_type, variant: text.variant };
        Ok(Self { key, family: Family::read(&text.family), values, ttl: text.ttl })
    }
}
