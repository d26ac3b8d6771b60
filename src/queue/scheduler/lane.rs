//! One destination in memory: what waits for it, by which way and in which order, and whether any of it may go now.
//!
//! Limits are the destination's. Whether it can be reached is known of each *way* to it ([`Way`]), and each has a lane of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use ekitei_config::Queue;
use tokio::time::Instant;

use crate::destination::{Block, Health, Pace, Rules};
use crate::model::{EntryId, Hint, Place, Shard};
use crate::spool::Loaded;
use crate::transport::Way;

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
    pub(crate) pace: Pace,
    /// The ways to it that something is known of. Few: as many as there are smart hosts.
    lanes: BTreeMap<Way, Lane>,
    /// Not before, for a reason of ours.
    pub(super) postponed: Option<Instant>,
    pub(super) overflow: Option<Overflow>,
    pub(super) listed: Listed,
}

/// One way to a destination.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) health: Health,
    /// Its entries are being put off.
    pub(crate) draining: bool,
    pub(super) waiting: BTreeMap<Rank, Waiting>,
    /// Messages on their way.
    active: usize,
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
    /// A way to it is left alone, and has entries to be put off.
    Drain,
}

impl Lane {
    /// Whether its entries are to be put off. The end of the draining lists it again.
    fn is_to_drain(&self, now: Instant) -> bool {
        !self.draining && !self.waiting.is_empty() && self.health.blocked(now).is_some()
    }

    /// The rank of its first entry, if that may go.
    fn first(&self, now: Instant) -> Option<Rank> {
        let may_go =
            !self.draining && self.active < self.health.window() && self.health.blocked(now).is_none();
        self.waiting.first_key_value().filter(|_| may_go).map(|(&rank, _)| rank)
    }

    /// Whether it can be forgotten.
    fn is_idle(&self, now: Instant) -> bool {
        self.waiting.is_empty() && self.active == 0 && !self.draining && self.health.is_idle(now)
    }
}

impl Destination {
    pub(super) fn new(name: &str, settings: &Queue) -> Self {
        Self {
            shard: Shard::of(name),
            rules: Rules::of(settings, name),
            pace: Pace::default(),
            lanes: BTreeMap::new(),
            postponed: None,
            overflow: None,
            listed: Listed::Nowhere,
        }
    }

    /// What is known of a way to it.
    pub(crate) fn lane(&mut self, way: &Way) -> &mut Lane {
        self.lanes.entry(way.clone()).or_default()
    }

    /// Leaves it alone by every way, for a reason of ours.
    pub(super) fn block(&mut self, block: &Block) {
        self.lanes.values_mut().for_each(|lane| lane.health.block(block.clone()));
    }

    /// Whether a way to it is left alone.
    pub(super) fn is_blocked(&self, now: Instant) -> bool {
        self.lanes.values().any(|lane| lane.health.blocked(now).is_some())
    }

    /// Its entries here.
    pub(super) fn waiting(&self) -> usize {
        self.lanes.values().map(|lane| lane.waiting.len()).sum()
    }

    /// All its entries here.
    pub(super) fn all_waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.lanes.values().flat_map(|lane| lane.waiting.values())
    }

    /// Takes an entry out; ranks are of one entry alone, whatever its way.
    pub(super) fn remove(&mut self, rank: Rank) -> Option<Waiting> {
        self.lanes.values_mut().find_map(|lane| lane.waiting.remove(&rank))
    }

    /// The most urgent entry that may go, which is on its way from now on.
    pub(super) fn begin(&mut self, now: Instant) -> Option<(Way, Waiting)> {
        let first = |(way, lane): (&Way, &Lane)| Some((lane.first(now)?, way.clone()));
        let (rank, way) = self.lanes.iter().filter_map(first).min()?;
        let lane = self.lanes.get_mut(&way)?;
        let waiting = lane.waiting.remove(&rank)?;
        lane.active += 1;
        Some((way, waiting))
    }

    /// A message is not on its way any more.
    pub(super) fn arrived(&mut self, way: &Way) {
        if let Some(lane) = self.lanes.get_mut(way) {
            lane.active = lane.active.saturating_sub(1);
        }
    }

    /// A way that is left alone and has entries to be put off.
    pub(super) fn to_drain(&self, now: Instant) -> Option<&Way> {
        self.lanes.iter().find(|(_, lane)| lane.is_to_drain(now)).map(|(way, _)| way)
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
        if self.to_drain(now).is_some() {
            return Listed::Drain;
        }
        let active: usize = self.lanes.values().map(|lane| lane.active).sum();
        // What is done or put off lists it again.
        let Some(rank) = self.lanes.values().filter_map(|lane| lane.first(now)).min() else {
            return Listed::Nowhere;
        };
        if active >= self.rules.concurrency {
            return Listed::Nowhere;
        }
        let at = self.postponed.unwrap_or(now).max(self.pace.next(&self.rules, now));
        if at > now { Listed::Wake(at) } else { Listed::Ready(rank) }
    }

    /// Forgets ways of which nothing is known that matters; whether nothing is left.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        self.lanes.retain(|_, lane| !lane.is_idle(now));
        self.lanes.is_empty() && self.overflow.is_none() && self.pace.is_idle(now)
    }
}
