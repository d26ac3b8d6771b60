//! One destination in memory: what waits for it, in which order, and whether any of it may go now.

use std::collections::BTreeMap;
use std::time::Duration;

use ekitei_config::Queue;
use tokio::time::Instant;

use crate::destination::{Health, Pace, Rules};
use crate::model::{EntryId, Hint, Place, Shard};
use crate::spool::Loaded;

/// In which order entries go: the lower, the sooner. Urgency is the time at which the entry became due, in milliseconds, less what its
/// priority is worth; so of two entries the same one is first for as long as both wait. Those that are as urgent go as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    urgency: u64,
    number: u64,
}

impl Rank {
    pub(super) fn new(hint: &Hint, received: Duration, priority: i8, aging: Duration, number: u64) -> Self {
        let since = match hint.place {
            Place::Due(due) => due,
            Place::Fresh(_) | Place::Held => received,
        };
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let levels = u64::try_from(9 - i64::from(priority.clamp(-9, 9))).unwrap_or(0);
        Self { urgency: millis(since).saturating_add(levels * millis(aging)), number }
    }
}

/// An entry in memory.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) hint: Hint,
    /// As it was read, and when that began, if that was just now.
    pub(crate) loaded: Option<(Instant, Box<Loaded>)>,
}

/// One destination.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) shard: Shard,
    pub(crate) rules: Rules,
    pub(crate) health: Health,
    pub(crate) pace: Pace,
    pub(super) waiting: BTreeMap<Rank, Waiting>,
    /// Messages on their way.
    pub(super) active: usize,
    /// Not before, for a reason of ours.
    pub(super) postponed: Option<Instant>,
    /// Its entries are being put off.
    pub(crate) draining: bool,
    pub(super) overflow: Option<Overflow>,
    pub(super) listed: Listed,
}

/// Entries of a destination that are in the store only.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Overflow {
    /// How far its index has been read.
    pub(super) after: Option<EntryId>,
    /// More was left out behind the reading.
    pub(super) again: bool,
    /// It is being read.
    pub(super) reading: bool,
    /// It is among the hungry.
    pub(super) queued: bool,
}

/// Where a destination stands in the lists of all destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Listed {
    #[default]
    Nowhere,
    Ready(Rank),
    Wake(Instant),
    /// It is left alone, and has entries to be put off.
    Drain,
}

impl Destination {
    pub(super) fn new(name: &str, settings: &Queue) -> Self {
        Self {
            shard: Shard::of(name),
            rules: Rules::of(settings, name),
            health: Health::default(),
            pace: Pace::default(),
            waiting: BTreeMap::new(),
            active: 0,
            postponed: None,
            draining: false,
            overflow: None,
            listed: Listed::Nowhere,
        }
    }

    /// Entries that it may keep here: a share of all, and of a slow one no more than go in some minutes.
    pub(super) fn room(&self, capacity: usize) -> usize {
        let share = (capacity / 50).clamp(20, 1_000);
        match self.rules.per_minute {
            0 => share,
            rate => share.min((2 * usize::try_from(rate).unwrap_or(usize::MAX)).max(20)),
        }
    }

    pub(super) fn stands(&self, now: Instant) -> Listed {
        let Some((&rank, _)) = self.waiting.first_key_value() else { return Listed::Nowhere };
        // The end of the draining lists it again, and so does a message that is done.
        if self.draining {
            return Listed::Nowhere;
        }
        if self.health.blocked(now).is_some() {
            return Listed::Drain;
        }
        if self.active >= self.health.window().min(self.rules.concurrency) {
            return Listed::Nowhere;
        }
        let at = self.postponed.unwrap_or(now).max(self.pace.next(&self.rules, now));
        if at > now { Listed::Wake(at) } else { Listed::Ready(rank) }
    }
}
