//! The work that waits in memory, by destination: what may go next, and what has to be found again later because there is no room for it.
//!
//! Pure state with one owner, the scheduler. An entry is here once at most, waiting or active. Where a destination has more entries than it may
//! keep here, the rest is left in the store, and the destination is *hungry*: [`Backlog::next_hungry`] says whose index is to be read when there is
//! room again.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ekitei_config::Queue;
use tokio::time::Instant;

use super::lane::{Destination, Listed, Rank, Waiting};
use crate::destination::{Block, Rules};
use crate::model::{EntryId, Hint, Place, Shard};
use crate::schedule::RetrySchedule;
use crate::spool::Loaded;
use crate::transport::Way;

/// Entries of one destination that are kept as they were loaded, since they go at once.
const KEEP_LOADED: usize = 32;
/// For so long an entry need not be read again.
pub(crate) const LOADED_AGE: Duration = Duration::from_secs(1);

/// Hungry destinations that are looked at at a time.
const HUNGRY: usize = 64;

/// The name of a destination.
pub(crate) type Name = Arc<str>;

#[derive(Debug)]
struct Known {
    turn: u32,
    destination: Name,
    /// Its place while it waits; `None` while it is active.
    rank: Option<Rank>,
    /// A later turn that it was offered with while it was active.
    later: Option<u32>,
}

/// What became of an entry that was offered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It waits here.
    Taken,
    /// It was here already.
    Known,
    /// There is no room; its destination is hungry now.
    NoRoom,
    /// There is no room for another destination: its shard has to be read again some time.
    NoDestination,
}

/// The work in memory.
#[derive(Debug)]
pub(crate) struct Backlog {
    destinations: BTreeMap<Name, Destination>,
    known: HashMap<EntryId, Known>,
    /// When entries ended that were active just now: what was read of them before that is out of date.
    ended: HashMap<EntryId, Instant>,
    ready: BTreeSet<(Rank, Name)>,
    wakes: BTreeSet<(Instant, Name)>,
    drains: BTreeSet<Name>,
    hungry: VecDeque<Name>,
    waiting: usize,
    active: usize,
    /// Entries that were taken so far.
    offered: u64,
    settings: Arc<Queue>,
}

impl Backlog {
    pub(crate) fn new(settings: Arc<Queue>) -> Self {
        Self {
            destinations: BTreeMap::new(),
            known: HashMap::new(),
            ended: HashMap::new(),
            ready: BTreeSet::new(),
            wakes: BTreeSet::new(),
            drains: BTreeSet::new(),
            hungry: VecDeque::new(),
            waiting: 0,
            active: 0,
            offered: 0,
            settings,
        }
    }

    /// Entries that wait here.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Messages on their way.
    pub(crate) fn active(&self) -> usize {
        self.active
    }

    /// The schedule of a destination's retries.
    pub(crate) fn schedule(&self, name: &Name) -> Option<Arc<RetrySchedule>> {
        self.destinations.get(name).map(|destination| Arc::clone(&destination.rules.schedule))
    }

    /// The shard of a destination.
    pub(crate) fn shard(&self, name: &Name) -> Option<Shard> {
        self.destinations.get(name).map(|destination| destination.shard)
    }

    /// Destinations here, and those of them that are left alone.
    pub(crate) fn destinations(&self, now: Instant) -> (usize, usize) {
        let blocked = self.destinations.values().filter(|d| d.is_blocked(now)).count();
        (self.destinations.len(), blocked)
    }

    fn capacity(&self) -> usize {
        usize::try_from(self.settings.backlog).unwrap_or(usize::MAX)
    }

    /// Takes over another configuration.
    pub(crate) fn configure(&mut self, settings: Arc<Queue>, now: Instant) {
        self.settings = settings;
        for (name, destination) in &mut self.destinations {
            destination.rules = Rules::of(&self.settings, name);
        }
        let names: Vec<Name> = self.destinations.keys().cloned().collect();
        names.iter().for_each(|name| self.list(name, now));
    }

    /// Takes an entry that goes by `way`, if there is room for it. `read` is when its reading began; without it, `loaded` only says what the
    /// entry is about, and it is read again before it goes.
    pub(crate) fn offer(
        &mut self,
        hint: Hint,
        loaded: Box<Loaded>,
        way: &Way,
        read: Option<Instant>,
        now: Instant,
    ) -> Offered {
        if let Some(known) = self.known.get_mut(&hint.entry) {
            if known.turn >= hint.turn {
                return Offered::Known;
            }
            if known.rank.is_none() {
                known.later = known.later.max(Some(hint.turn));
                return Offered::Known;
            }
            // An administrator gave it another turn while it waited.
            self.forget_waiting(hint.entry, now);
        }
        let capacity = self.capacity();
        let name: Name = match self.destinations.get_key_value(loaded.entry.destination.as_str()) {
            Some((name, _)) => Arc::clone(name),
            None if self.destinations.len() >= capacity => return Offered::NoDestination,
            None => self.add_destination(&loaded.entry.destination),
        };
        let is_full = self.waiting >= capacity;
        let Some(destination) = self.destinations.get_mut(&name) else { return Offered::NoDestination };
        if is_full || destination.waiting() >= destination.room(capacity) {
            self.overflow(&name);
            return Offered::NoRoom;
        }
        if matches!(hint.place, Place::Fresh(_)) && hint.turn > 0 {
            // Released or to be tried again, by an administrator's word.
            destination.lane(way).health.probe(now);
            destination.postponed = None;
        }
        let envelope = &loaded.message.envelope;
        let aging = self.settings.priority_aging.get();
        self.offered += 1;
        let rank = Rank::new(&hint, loaded.message.received, envelope.priority, aging, self.offered);
        // Its index may have been read while it was on its way still: what it was then must not be sent again.
        let read = read.filter(|read| self.ended.get(&hint.entry).is_none_or(|ended| ended < read));
        let read = read.filter(|_| destination.waiting() < KEEP_LOADED);
        let loaded = read.map(|read| (read, loaded));
        destination.lane(way).waiting.insert(rank, Waiting { hint, loaded });
        self.waiting += 1;
        let known = Known { turn: hint.turn, destination: Arc::clone(&name), rank: Some(rank), later: None };
        self.known.insert(hint.entry, known);
        self.list(&name, now);
        Offered::Taken
    }

    fn add_destination(&mut self, name: &str) -> Name {
        let destination = Destination::new(name, &self.settings);
        let name: Name = name.into();
        self.destinations.insert(Arc::clone(&name), destination);
        name
    }

    /// Notes that a destination has more than is here.
    fn overflow(&mut self, name: &Name) {
        let Some(destination) = self.destinations.get_mut(name) else { return };
        let overflow = destination.overflow.get_or_insert_default();
        overflow.again |= overflow.after.is_some() || overflow.reading;
        if !overflow.queued && !overflow.reading {
            overflow.queued = true;
            self.hungry.push_back(Arc::clone(name));
        }
    }

    /// The next destination whose index is to be read: its shard, from where, and how many entries there is room for.
    pub(crate) fn next_hungry(&mut self) -> Option<(Name, Shard, Option<EntryId>, usize)> {
        let capacity = self.capacity();
        for _ in 0..self.hungry.len().min(HUNGRY) {
            let name = self.hungry.pop_front()?;
            let Some(destination) = self.destinations.get_mut(&name) else { continue };
            let room = destination.room(capacity);
            let free = room.saturating_sub(destination.waiting());
            let Some(overflow) = &mut destination.overflow else { continue };
            if free * 2 < room || self.waiting + free > capacity {
                self.hungry.push_back(name);
                continue;
            }
            (overflow.queued, overflow.reading) = (false, true);
            let after = overflow.after;
            return Some((name, destination.shard, after, free.max(1)));
        }
        None
    }

    /// A part of a destination's index was read, up to `after`; `None` when that was its end, or it failed (`failed`).
    pub(crate) fn fed(&mut self, name: &Name, after: Option<EntryId>, failed: bool) {
        let Some(destination) = self.destinations.get_mut(name) else { return };
        let Some(overflow) = &mut destination.overflow else { return };
        overflow.reading = false;
        if !failed {
            if after.is_none() && !overflow.again {
                destination.overflow = None;
                return;
            }
            if after.is_none() {
                overflow.again = false;
            }
            overflow.after = after;
        }
        overflow.queued = true;
        self.hungry.push_back(Arc::clone(name));
    }

    /// The most urgent entry that may go now, with the way that it goes. It is active from now on, and counts against its destination's limits.
    pub(crate) fn next(&mut self, now: Instant) -> Option<(Name, Way, Waiting)> {
        self.wake(now);
        let (_, name) = self.ready.first()?.clone();
        let destination = self.destinations.get_mut(&name)?;
        let begun = destination.begin(now);
        if let Some((_, waiting)) = &begun {
            destination.pace.count(&destination.rules, now);
            self.active += 1;
            self.waiting -= 1;
            self.set_active(waiting.hint.entry);
        }
        self.list(&name, now);
        begun.map(|(way, waiting)| (name, way, waiting))
    }

    /// The destination that [`Backlog::next`] would take an entry of.
    pub(crate) fn peek(&mut self, now: Instant) -> Option<(Name, &Destination)> {
        self.wake(now);
        let name = Arc::clone(&self.ready.first()?.1);
        let destination = self.destinations.get(&name)?;
        Some((name, destination))
    }

    fn wake(&mut self, now: Instant) {
        while let Some((at, name)) = self.wakes.first().cloned() {
            if at > now {
                return;
            }
            self.wakes.remove(&(at, Arc::clone(&name)));
            if let Some(destination) = self.destinations.get_mut(&name) {
                destination.listed = Listed::Nowhere;
            }
            self.list(&name, now);
        }
    }

    /// When the next destination may be sent to that may not now.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.wakes.first().map(|(at, _)| *at)
    }

    fn set_active(&mut self, entry: EntryId) {
        if let Some(known) = self.known.get_mut(&entry) {
            known.rank = None;
        }
    }

    /// Leaves a destination for a while, without a word to anyone.
    pub(crate) fn postpone(&mut self, name: &Name, until: Option<Instant>, now: Instant) {
        if let Some(destination) = self.destinations.get_mut(name) {
            destination.postponed = until;
            self.list(name, now);
        }
    }

    /// Leaves a destination alone: its entries are put off ([`Backlog::drain`]).
    pub(crate) fn block(&mut self, name: &Name, block: Block, now: Instant) {
        if let Some(destination) = self.destinations.get_mut(name) {
            destination.block(&block);
            self.list(name, now);
        }
    }

    /// A way to a destination that is left alone and has entries to be put off.
    pub(crate) fn next_to_drain(&mut self, now: Instant) -> Option<(Name, Way)> {
        while let Some(name) = self.drains.first().cloned() {
            if let Some(way) = self.destinations.get(&name).and_then(|destination| destination.to_drain(now))
            {
                return Some((name, way.clone()));
            }
            // Its time is over.
            self.drains.remove(&name);
            self.update(&name, now, |destination| destination.listed = Listed::Nowhere);
        }
        None
    }

    /// Entries of a way that is left alone, to be put off, with the reason; they are active, and count against no limit.
    pub(crate) fn drain(
        &mut self,
        name: &Name,
        way: &Way,
        limit: usize,
        now: Instant,
    ) -> Option<(Block, Vec<Waiting>)> {
        let lane = self.destinations.get_mut(name)?.lane(way);
        let Some(block) = lane.health.blocked(now).cloned() else {
            self.list(name, now);
            return None;
        };
        let mut drained = Vec::new();
        while drained.len() < limit
            && let Some((_, waiting)) = lane.waiting.pop_first()
        {
            drained.push(waiting);
        }
        lane.draining = !drained.is_empty();
        self.waiting -= drained.len();
        for waiting in &drained {
            self.set_active(waiting.hint.entry);
        }
        self.list(name, now);
        (!drained.is_empty()).then_some((block, drained))
    }

    /// An entry that was active is not here any more. Returns the turn that it was offered with meanwhile, if that is a later one: its hint has
    /// been read, and nobody took it.
    pub(crate) fn done(&mut self, entry: EntryId, now: Instant) -> Option<u32> {
        self.ended.insert(entry, now);
        self.known.remove(&entry)?.later
    }

    /// A message that went by `way` is not on its way any more.
    pub(crate) fn arrived(&mut self, name: &Name, way: &Way) {
        self.active = self.active.saturating_sub(1);
        if let Some(destination) = self.destinations.get_mut(name) {
            destination.arrived(way);
        }
    }

    /// Changes what is known of a destination.
    pub(crate) fn update(&mut self, name: &Name, now: Instant, change: impl FnOnce(&mut Destination)) {
        if let Some(destination) = self.destinations.get_mut(name) {
            change(destination);
            self.list(name, now);
        }
    }

    fn forget_waiting(&mut self, entry: EntryId, now: Instant) {
        let Some(known) = self.known.remove(&entry) else { return };
        let Some(destination) = self.destinations.get_mut(&known.destination) else { return };
        if known.rank.is_some_and(|rank| destination.remove(rank).is_some()) {
            self.waiting -= 1;
        }
        self.list(&known.destination, now);
    }

    /// Forgets everything of a shard that waits; what is active stays until it is done.
    pub(crate) fn abandon(&mut self, shard: Shard) {
        let of_shard = |d: &Destination| d.shard == shard;
        let names: Vec<Name> =
            self.destinations.iter().filter(|(_, d)| of_shard(d)).map(|(name, _)| Arc::clone(name)).collect();
        for name in names {
            self.unlist(&name);
            if let Some(destination) = self.destinations.remove(&name) {
                self.waiting -= destination.waiting();
                for waiting in destination.all_waiting() {
                    self.known.remove(&waiting.hint.entry);
                }
            }
        }
    }

    /// Forgets destinations that have nothing here, and of which nothing is known that matters.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.ended.retain(|_, ended| now.duration_since(*ended) <= LOADED_AGE);
        let idle =
            self.destinations.iter_mut().filter_map(|(name, d)| d.is_idle(now).then(|| Arc::clone(name)));
        for name in idle.collect::<Vec<Name>>() {
            self.unlist(&name);
            self.destinations.remove(&name);
        }
    }

    fn unlist(&mut self, name: &Name) {
        let Some(destination) = self.destinations.get_mut(name) else { return };
        match std::mem::take(&mut destination.listed) {
            Listed::Nowhere => {}
            Listed::Ready(rank) => {
                self.ready.remove(&(rank, Arc::clone(name)));
            }
            Listed::Wake(at) => {
                self.wakes.remove(&(at, Arc::clone(name)));
            }
            Listed::Drain => {
                self.drains.remove(name);
            }
        }
    }

    /// Puts a destination where it belongs: ready, to be woken at some time, or nowhere.
    fn list(&mut self, name: &Name, now: Instant) {
        let Some(destination) = self.destinations.get(name) else { return };
        let listed = destination.stands(now);
        if listed == destination.listed {
            return;
        }
        self.unlist(name);
        if let Some(destination) = self.destinations.get_mut(name) {
            destination.listed = listed;
        }
        match listed {
            Listed::Nowhere => {}
            Listed::Ready(rank) => {
                self.ready.insert((rank, Arc::clone(name)));
            }
            Listed::Wake(at) => {
                self.wakes.insert((at, Arc::clone(name)));
            }
            Listed::Drain => {
                self.drains.insert(Arc::clone(name));
            }
        }
    }
}
