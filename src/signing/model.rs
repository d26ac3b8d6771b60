//! Keys as their users see them.

use std::fmt;

use ekitei_directory::{Domain, Timestamp};
use serde::{Deserialize, Serialize};

use crate::key::Algorithm;
use crate::record::KeyRecord;
use crate::rows::NamedRow;

/// How far a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Its record should be in DNS; it does not sign yet.
    Published,
    /// It signs.
    Signing,
    /// It signs no more; its record must stay while mail that it signed is under way.
    Retired,
}

impl Stage {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Signing => "signing",
            Self::Retired => "retired",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who decides when a key begins and ceases to sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Maintenance, by the configuration.
    #[default]
    Automatic,
    /// Whoever made it: maintenance neither activates, retires nor removes it, and makes no key in its place.
    Manual,
}

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// The domain that it signs for.
    pub domain: Domain,
    /// Its selector.
    pub selector: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// How far it is.
    pub stage: Stage,
    /// Who decides how far it goes.
    pub activation: Activation,
    /// When it was made.
    pub created: Timestamp,
    /// When it began to sign.
    pub activated: Option<Timestamp>,
    /// When it ceased to sign.
    pub retired: Option<Timestamp>,
    /// What to publish.
    pub record: KeyRecord,
}

impl From<NamedRow> for KeyInfo {
    fn from(named: NamedRow) -> Self {
        let NamedRow { domain, selector, row } = named;
        Self {
            record: KeyRecord::new(&domain, &selector, row.algorithm, &row.public),
            domain,
            selector,
            algorithm: row.algorithm,
            stage: row.stage,
            activation: row.activation(),
            created: Timestamp::from_unix(row.created),
            activated: row.activated.map(Timestamp::from_unix),
            retired: row.retired.map(Timestamp::from_unix),
        }
    }
}

/// A key to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewKey {
    /// What it signs with; `None` for one of each that is configured.
    pub algorithm: Option<Algorithm>,
    /// Its selector; `None` for the configured pattern. Needs an algorithm.
    pub selector: Option<String>,
    /// It signs at once, before anybody could see its record.
    pub now: bool,
    /// Who decides when it begins to sign, if not at once, and when it ceases.
    pub activation: Activation,
}
