//! Data keys as they are shown.

use std::collections::BTreeSet;

use ekitei_blob::{DataKeyId, KeyScope};

use crate::rows::{self, KeyRow};

/// How far a data key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyState {
    /// New bodies are encrypted with it.
    Active,
    /// It reads what it encrypted.
    Retired,
    /// It is gone, and with it what it encrypted.
    Destroyed,
}

impl KeyState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Active, Self::Retired, Self::Destroyed];

    /// Its name for people and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Destroyed => "destroyed",
        }
    }
}

/// A data key, without its secret. Times are seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its number.
    pub id: DataKeyId,
    /// Whose it is.
    pub scope: KeyScope,
    /// How far it is.
    pub state: KeyState,
    /// When it was made.
    pub created: u64,
    /// When another one came in force.
    pub retired: Option<u64>,
    /// When it was destroyed.
    pub destroyed: Option<u64>,
    /// The name of the master key that wraps it.
    pub master_key: Option<String>,
}

impl KeyInfo {
    pub(crate) fn new(id: DataKeyId, row: KeyRow) -> Self {
        Self {
            id,
            scope: rows::scope_of(&row.scope),
            state: row.state(),
            created: row.created,
            retired: row.retired,
            destroyed: row.destroyed,
            master_key: row.wrapped.map(|wrapped| wrapped.by),
        }
    }
}

impl KeyRow {
    pub(crate) fn state(&self) -> KeyState {
        match (self.destroyed, self.retired) {
            (Some(_), _) => KeyState::Destroyed,
            (None, Some(_)) => KeyState::Retired,
            (None, None) => KeyState::Active,
        }
    }
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys, in the order of their numbers.
    pub items: Vec<KeyInfo>,
    /// Where the next page goes on, if there is one.
    pub next: Option<DataKeyId>,
}

/// What [`crate::Keyring::rotate_all`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// Keys that were made.
    pub rotated: u64,
    /// Scopes that keep their keys; the log says why.
    pub failed: u64,
    /// The keys that were made.
    pub(crate) made: BTreeSet<DataKeyId>,
}

/// What [`crate::Keyring::rewrap`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Keys that are wrapped by the master key in force now.
    pub rewrapped: u64,
    /// Keys that were already.
    pub current: u64,
    /// Keys that could not be unwrapped or wrapped; the log says why.
    pub failed: u64,
}
