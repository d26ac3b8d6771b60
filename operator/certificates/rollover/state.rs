//! The state of a rollover, what goes in and what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::KeyId;
use crate::renewal::{Freshness, later};

/// Where the keys of a host stand. Serialized, `{"phase": "NextPublished", "current": "…", "next": "…", …}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollover {
    /// How far it is.
    #[serde(flatten)]
    pub phase: Phase,
    /// The longest TTL, in seconds, that TLSA records of this host have had since there are any; `None` when no resolver
    /// can know a record. It never falls while there are records, because they stay in caches with the TTL they had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_ttl: Option<u64>,
    /// TLSA is no longer wanted, and since then no name server has shown a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_since: Option<Timestamp>,
}

/// The steps from one key to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all_fields = "camelCase")]
pub enum Phase {
    /// No certificate is known.
    #[default]
    Empty,
    /// The first certificate is awaited. Nothing is published before it is in force: there is nothing to compare with.
    First {
        /// Its key.
        key: KeyId,
    },
    /// One key.
    Steady {
        /// The key in force.
        current: KeyId,
    },
    /// The records of two keys are published, or being published.
    NextPublished {
        /// The key in force.
        current: KeyId,
        /// The one that will follow.
        next: KeyId,
        /// Since when all name servers show the next key. `None` until then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shown_since: Option<Timestamp>,
    },
    /// No resolver can have a set without the next key: its certificate is obtained and put in force.
    SwitchDue {
        /// The key that was in force, and may still be.
        current: KeyId,
        /// The one that follows.
        next: KeyId,
    },
    /// The next key is the current one; the record of the old is kept for a while.
    Switched {
        /// The key in force.
        current: KeyId,
        /// The one before (or the one that was to follow, and was lost).
        previous: KeyId,
        /// Since when the service has been seen with the current one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
    },
}

/// What the service gives to those who connect to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It could not be asked.
    Unknown,
    /// It has no certificate for the host.
    Nothing,
    /// A certificate.
    Certificate {
        /// The key of it.
        key: KeyId,
        /// Whether it is the one at hand for that key, and not an older one.
        newest: bool,
    },
}

/// What is the case, as far as it could be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The time.
    pub now: Timestamp,
    /// The TTL in seconds of TLSA records if they are to be published (the zone is signed, and DANE is wanted).
    pub tlsa: Option<u64>,
    /// What the service has.
    pub served: Served,
    /// The keys whose private half is at hand.
    pub keys: BTreeSet<KeyId>,
    /// A key at hand that was made or given to be the next (or the first) one.
    pub candidate: Option<KeyId>,
    /// How the certificates stand that are at hand, by their key; only those that cover the names wanted.
    pub certificates: BTreeMap<KeyId, Freshness>,
    /// Whether the current key should be followed by another ([`crate::renewal::Plan::key_is_due`], or by request). A
    /// key whose private half is lost is always due.
    pub rotation_due: bool,
    /// The keys in the TLSA records that each authoritative name server of the zone shows, one set for each. `None` if
    /// one of them gave no answer, or if they were not asked. Where the host is in no zone that we write, and so never
    /// had records of ours: one empty set.
    pub shown: Option<Vec<BTreeSet<KeyId>>>,
}

/// What is to be done, and may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish TLSA records of exactly these keys; none removes them.
    Publish(BTreeSet<KeyId>),
    /// Make a key and keep it, so that it is the next observation's candidate.
    PrepareKey,
    /// Obtain a certificate for this key.
    Issue(KeyId),
    /// Give the service the certificate at hand for this key.
    Deploy(KeyId),
    /// Delete the private half of this key: it has no use any more.
    Discard(KeyId),
}

/// What follows from an observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The state to persist before anything is done.
    pub state: Rollover,
    /// What to do then, in this order.
    pub actions: Vec<Action>,
    /// When to look again if nothing happens before; `None`: the usual interval.
    pub wake: Option<Timestamp>,
}

/// How long to wait for what nobody can observe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Added to the TTL: resolvers that keep records a little longer, clocks that differ, name servers behind an address
    /// that answers with more than one machine.
    pub margin: Duration,
    /// How long the record of the old key is kept after the service was seen with the new one: processes that have not
    /// yet taken it, and handshakes that began before.
    pub retire_after: Duration,
}

impl Default for Timing {
    /// Ten minutes, and one hour.
    fn default() -> Self {
        Self { margin: Duration::from_secs(600), retire_after: Duration::from_secs(3600) }
    }
}

impl Timing {
    /// How long before its renewal a certificate's next key should be prepared: as long as publishing it takes.
    pub fn lead(&self, ttl: u64) -> Duration {
        self.wait(ttl) + self.margin
    }

    /// How long a set may be in caches after the last name server stopped showing it.
    pub(super) fn wait(&self, ttl: u64) -> Duration {
        Duration::from_secs(ttl).saturating_add(self.margin)
    }
}

impl Observation {
    /// Whether there is a certificate at hand for `key` that a client would accept.
    pub(super) fn has_certificate(&self, key: KeyId) -> bool {
        self.certificates.get(&key).is_some_and(|freshness| *freshness != Freshness::Expired)
    }

    /// The key in force, if it is known.
    pub(super) fn served_key(&self) -> Option<KeyId> {
        match self.served {
            Served::Certificate { key, .. } => Some(key),
            Served::Unknown | Served::Nothing => None,
        }
    }

    /// What the name servers show; `None` too if there are none, as then nothing was seen.
    pub(super) fn shown(&self) -> Option<&[BTreeSet<KeyId>]> {
        self.shown.as_deref().filter(|servers| !servers.is_empty())
    }
}

impl Rollover {
    /// The keys that the state speaks of: their records are published, and their private halves kept.
    pub fn keys(&self) -> BTreeSet<KeyId> {
        match self.phase {
            Phase::Empty => BTreeSet::new(),
            Phase::First { key: one } | Phase::Steady { current: one } => BTreeSet::from([one]),
            Phase::NextPublished { current: one, next: other, .. }
            | Phase::SwitchDue { current: one, next: other }
            | Phase::Switched { current: one, previous: other, .. } => BTreeSet::from([one, other]),
        }
    }

    /// The key in force as far as the state knows: of the two of a switch that is due, the old one.
    pub fn current(&self) -> Option<KeyId> {
        match self.phase {
            Phase::Empty | Phase::First { .. } => None,
            Phase::Steady { current }
            | Phase::NextPublished { current, .. }
            | Phase::SwitchDue { current, .. }
            | Phase::Switched { current, .. } => Some(current),
        }
    }

    /// When the next key may be put in force, or the old record removed: when the state's own waiting is over.
    pub fn wait_ends(&self, timing: &Timing) -> Option<Timestamp> {
        let ttl = self.published_ttl.unwrap_or(0);
        let withdrawal = self.withdrawn_since.map(|since| later(since, timing.wait(ttl)));
        let phase = match self.phase {
            Phase::NextPublished { shown_since: Some(since), .. } => Some(later(since, timing.wait(ttl))),
            Phase::Switched { since: Some(since), .. } => Some(later(since, timing.retire_after)),
            _ => None,
        };
        phase.into_iter().chain(withdrawal).min()
    }
}

/// For a person who reads a status.
impl fmt::Display for Rollover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.phase {
            Phase::Empty => f.write_str("no certificate yet"),
            Phase::First { key } => write!(f, "the first certificate, of key {}, is awaited", key.short()),
            Phase::Steady { current } => write!(f, "key {} is in force", current.short()),
            Phase::NextPublished { next, shown_since: None, .. } => {
                write!(f, "key {} follows; not all name servers show its TLSA record yet", next.short())
            }
            Phase::NextPublished { next, shown_since: Some(since), .. } => write!(
                f,
                "key {} follows; all name servers show its TLSA record since {since}, and its TTL has to pass",
                next.short()
            ),
            Phase::SwitchDue { next, .. } => {
                write!(f, "key {} follows; its certificate is obtained and put in force", next.short())
            }
            Phase::Switched { current, previous, .. } => write!(
                f,
                "key {} is in force; the TLSA record of key {} is kept a little longer",
                current.short(),
                previous.short()
            ),
        }
    }
}
