//! Counting what happens in windows of time, over all processes, without a transaction for each event.
//!
//! **How.** Events are counted in memory, at once. Every `filter.limits.syncInterval` (sooner when half of what a limit leaves is used up) a process
//! adds what it has counted since to one row for each key and window, hundreds of keys in one transaction, and learns from the same rows
//! what all processes have counted. Adding is atomic and conflicts with nobody. The rate is that of a sliding window: the whole
//! of the current window, and of the one before the share that is not over yet, as if it had been spread evenly.
//!
//! **Error bound.** A process lets an event through as long as what it counted itself, and what it knows of others, is within
//! the limit. It does not know what others let through since its last synchronisation, nor what they have not shared yet; a counter of an account is asked
//! for again when it was not for that long. So all of `n` processes
//! together may let through more than the limit by what `n - 1` of them let through in the time of one synchronisation, and
//! never more than `n - 1` times the limit in a window; if the store is away, each process holds the limit for itself. Windows before are
//! taken as even, so a burst at the end of one counts less than it should in the first moments of the next, by at most the share of the window
//! that has passed. Nothing is ever counted twice: a batch whose commit is unknown is repeated under its number, which the store knows.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ekitei_config::Cidr;
use ekitei_directory::AccountId;

use super::rows::Period;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// New connections to a group of listeners.
    Connections(&'static str),
    /// Messages.
    Messages,
    /// Recipients.
    Recipients,
    /// Failed logins.
    LoginFailures,
    /// Points towards a ban.
    Points,
}

impl Kind {
    /// The name in keys; for ever.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connections("smtp") => "smtp",
            Self::Connections("imap") => "imap",
            Self::Connections("pop3") => "pop3",
            Self::Connections(_) => "connections",
            Self::Messages => "messages",
            Self::Recipients => "recipients",
            Self::LoginFailures => "logins",
            Self::Points => "points",
        }
    }
}

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// One client or its network.
    Network(Cidr),
    Account(AccountId),
    /// The digest of a login name.
    Login([u8; 16]),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Account(account) => account.fmt(f),
            Self::Login(digest) => write!(f, "{:032x}", u128::from_be_bytes(*digest)),
        }
    }
}

/// One counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) subject: Subject,
}

/// The time over which events count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) length: Duration,
    /// Whether the window before counts with its share; else each begins with nothing, as days do.
    pub(crate) sliding: bool,
}

impl Window {
    /// For rates.
    pub(crate) const MINUTE: Self = Self { length: Duration::from_secs(60), sliding: true };
    /// A calendar day, in UTC.
    pub(crate) const DAY: Self = Self { length: Duration::from_secs(86_400), sliding: false };
}

/// What was counted and is not shared yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) key: Key,
    pub(crate) period: Period,
    pub(crate) amount: u64,
}

/// What all processes together counted, as the store has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) current: u64,
    pub(crate) previous: u64,
}

/// One counter in memory.
#[derive(Clone, Copy, Debug)]
struct Entry {
    window: Window,
    period: Period,
    /// What all counted in the window before.
    previous: u64,
    /// What all counted in this window, when the store was asked last.
    shared: u64,
    /// What is on its way to the store.
    in_flight: u64,
    /// What the store does not know.
    unshared: u64,
    /// The limit when it was counted last.
    limit: u64,
    /// What the limit left when the store was asked last.
    left: u64,
    /// When the store was asked last; `None` for never.
    asked: Option<Duration>,
}

impl Entry {
    fn new(window: Window, period: Period, limit: u64) -> Self {
        let (previous, shared, in_flight, unshared) = (0, 0, 0, 0);
        Self { window, period, previous, shared, in_flight, unshared, limit, left: limit, asked: None }
    }

    fn in_this_window(&self) -> u64 {
        self.shared.saturating_add(self.in_flight).saturating_add(self.unshared)
    }

    /// The count of the sliding window that ends now.
    fn estimate(&self, now: Duration) -> f64 {
        let before = if self.window.sliding { 1.0 - self.period.elapsed(now) } else { 0.0 };
        self.previous as f64 * before + self.in_this_window() as f64
    }

    /// Goes on to a later window; what the store does not know of the old one is handed out.
    fn advance(&mut self, window: Window, period: Period) -> u64 {
        let unshared = self.unshared;
        let previous = if self.period.is_before(period) { self.in_this_window() } else { 0 };
        *self = Self { previous, asked: self.asked, ..Self::new(window, period, self.limit) };
        unshared
    }
}

/// The counters of one process.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Key, Entry>,
    /// The keys of entries with something that is not shared; some may be gone.
    dirty: Vec<Key>,
    /// What is not shared of windows and entries that are gone.
    left_over: Vec<Delta>,
}

/// How an event is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counting {
    pub(crate) window: Window,
    /// The most that may happen within the window.
    pub(crate) limit: u64,
    /// Whether what is over the limit counts too.
    pub(crate) beyond: bool,
    /// The most counters there may be.
    pub(crate) max_keys: usize,
    pub(crate) now: Duration,
}

/// What came of counting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Counted {
    /// Whether the event is within the limit.
    pub(crate) within: bool,
    /// Whether the others should hear of it soon.
    pub(crate) urgent: bool,
}

impl Counters {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts `amount` events, unless they are over the limit (and `beyond` does not say that those count too).
    pub(crate) fn count(&self, key: Key, amount: u64, how: &Counting) -> Counted {
        let mut table = self.lock();
        let entry = table.entry(key, how);
        let within = entry.estimate(how.now) + amount as f64 <= how.limit as f64;
        if !within && !how.beyond {
            return Counted { within, urgent: false };
        }
        let was_clean = entry.unshared == 0;
        entry.unshared = entry.unshared.saturating_add(amount);
        let urgent = entry.unshared.saturating_mul(2) >= entry.left;
        if was_clean {
            table.note_dirty(key, how.max_keys);
        }
        Counted { within, urgent }
    }

    /// Whether `limit` is reached; none is that this process never counted towards.
    pub(crate) fn is_over(&self, key: Key, how: &Counting) -> bool {
        let mut table = self.lock();
        if !table.entries.contains_key(&key) {
            return false;
        }
        table.entry(key, how).estimate(how.now) >= how.limit as f64
    }

    /// Takes over what the store says about a counter in the window of `how`, unless something of this process is on its way there: then
    /// [`Counters::learn`] will.
    pub(crate) fn update(&self, key: Key, totals: Totals, how: &Counting) {
        let mut table = self.lock();
        let entry = table.entry(key, how);
        if entry.in_flight > 0 || entry.period != Period::at(how.now, how.window.length) {
            return;
        }
        // An answer that comes late may be older than what is known.
        (entry.shared, entry.previous) = (totals.current.max(entry.shared), totals.previous);
        entry.asked = Some(how.now);
        entry.left = entry.limit.saturating_sub(entry.estimate(how.now) as u64);
    }

    /// Whether the store was not asked about a counter for `interval`, and is not about to be told of something.
    pub(crate) fn is_stale(&self, key: Key, now: Duration, interval: Duration) -> bool {
        self.lock().entries.get(&key).is_none_or(|entry| match entry.asked {
            None => true,
            Some(asked) => {
                entry.in_flight == 0 && entry.unshared == 0 && asked.saturating_add(interval) <= now
            }
        })
    }

    /// Forgets a counter, as when what it led to has happened.
    pub(crate) fn forget(&self, key: Key) {
        self.lock().entries.remove(&key);
    }

    /// Takes up to `most` counts that are not shared.
    pub(crate) fn drain(&self, most: usize) -> Vec<Delta> {
        let mut table = self.lock();
        let table = &mut *table;
        let keep = table.left_over.len().saturating_sub(most);
        let mut deltas = table.left_over.split_off(keep);
        while deltas.len() < most
            && let Some(key) = table.dirty.pop()
        {
            let Some(entry) = table.entries.get_mut(&key).filter(|entry| entry.unshared > 0) else {
                continue;
            };
            let amount = std::mem::take(&mut entry.unshared);
            entry.in_flight = entry.in_flight.saturating_add(amount);
            deltas.push(Delta { key, period: entry.period, amount });
        }
        deltas
    }

    /// Takes over what the store says after a delta was added to it.
    pub(crate) fn learn(&self, delta: &Delta, totals: Totals, now: Duration) {
        let mut table = self.lock();
        let Some(entry) = table.entries.get_mut(&delta.key) else { return };
        if entry.period == delta.period {
            entry.in_flight = entry.in_flight.saturating_sub(delta.amount);
            entry.shared = totals.current;
            entry.previous = totals.previous;
        } else if delta.period.is_before(entry.period) {
            entry.previous = totals.current;
        }
        entry.asked = Some(now);
        entry.left = entry.limit.saturating_sub(entry.estimate(now) as u64);
    }

    /// How many counters there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().entries.len()
    }
}

impl Table {
    /// The counter for now.
    fn entry(&mut self, key: Key, how: &Counting) -> &mut Entry {
        let period = Period::at(how.now, how.window.length);
        if self.entries.len() >= how.max_keys && !self.entries.contains_key(&key) {
            self.make_room(how.now);
        }
        self.bound_left_over(how.max_keys);
        let entry = self.entries.entry(key).or_insert_with(|| Entry::new(how.window, period, how.limit));
        entry.limit = how.limit;
        // A clock that was put back stays in its window until the time comes round.
        if entry.window != how.window || period.is_after(entry.period) {
            let old = entry.period;
            let amount = entry.advance(how.window, period);
            if amount > 0 {
                self.left_over.push(Delta { key, period: old, amount });
            }
        }
        entry
    }

    /// Remembers that a counter has something to share.
    fn note_dirty(&mut self, key: Key, max_keys: usize) {
        self.dirty.push(key);
        // Counters come and go, and some are here more than once, when nothing can be shared for long.
        if self.dirty.len() > max_keys.saturating_mul(2) {
            let dirty = self.entries.iter().filter(|(_, entry)| entry.unshared > 0);
            self.dirty = dirty.map(|(key, _)| *key).collect();
        }
    }

    /// Forgets the older half of what is left over, when there is too much of it: nothing could be shared for so long that most of it no longer counts.
    fn bound_left_over(&mut self, max_keys: usize) {
        if self.left_over.len() > max_keys {
            self.left_over.drain(..max_keys / 2);
        }
    }

    /// Forgets all counters of windows that are over, or if there are none the half that counted least, so that room is made seldom.
    fn make_room(&mut self, now: Duration) {
        let before = self.entries.len();
        self.retain(|entry| {
            let period = Period::at(now, entry.window.length);
            period == entry.period || entry.window.sliding && entry.period.is_before(period)
        });
        if self.entries.len() < before {
            return;
        }
        let share = |entry: &Entry| entry.estimate(now) / entry.limit.max(1) as f64;
        let mut shares: Vec<f64> = self.entries.values().map(share).collect();
        let middle = shares.len() / 2;
        let (_, median, _) = shares.select_nth_unstable_by(middle, f64::total_cmp);
        let median = *median;
        self.retain(|entry| share(entry) > median);
    }

    /// Forgets the counters that `keep` does not want; what is not shared of them still will be.
    fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        let left_over = &mut self.left_over;
        self.entries.retain(|key, entry| {
            let stays = keep(entry);
            if !stays && entry.unshared > 0 {
                left_over.push(Delta { key: *key, period: entry.period, amount: entry.unshared });
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(6_000_000);

    fn key(account: u64) -> Key {
        Key { kind: Kind::Messages, subject: Subject::Account(AccountId::new(account)) }
    }

    fn at(now: Duration) -> Counting {
        Counting { window: Window::MINUTE, limit: 60, beyond: false, max_keys: 100, now }
    }

    fn passed(counters: &Counters, key: Key, now: Duration) -> usize {
        (0..200).filter(|_| counters.count(key, 1, &at(now)).within).count()
    }

    #[test]
    fn a_window_s_worth_passes_at_once_and_more_as_the_window_slides_on() {
        let counters = Counters::default();
        let seconds = |seconds| START + Duration::from_secs(seconds);
        assert_eq!(passed(&counters, key(1), seconds(0)), 60);
        assert_eq!(passed(&counters, key(1), seconds(59)), 0);
        assert_eq!(passed(&counters, key(1), seconds(60)), 0, "the window before counts in full at first");
        assert_eq!(passed(&counters, key(1), seconds(75)), 15);
        assert_eq!(passed(&counters, key(1), seconds(75)), 0);
        assert_eq!(passed(&counters, key(2), seconds(75)), 60, "keys do not share a count");
        assert_eq!(passed(&counters, key(1), seconds(600)), 60, "what is long past is forgotten");
        assert_eq!(passed(&counters, key(1), seconds(0)), 0, "a clock that is put back gives nothing away");
    }

    #[test]
    fn days_begin_with_nothing() {
        let counters = Counters::default();
        let day = |day| Counting { window: Window::DAY, limit: 2, ..at(Window::DAY.length * day) };
        let within = |key, how: &Counting| counters.count(key, 1, how).within;
        assert!(within(key(1), &day(1)) && within(key(1), &day(1)) && !within(key(1), &day(1)));
        assert!(within(key(2), &day(1)), "accounts do not share a count");
        assert!(within(key(1), &day(2)), "tomorrow is another day");
    }

    #[test]
    fn what_is_counted_is_shared_once_also_of_windows_and_counters_that_are_gone() {
        let counters = Counters::default();
        let later = START + Duration::from_secs(100);
        let share = || {
            let batch = counters.drain(7);
            assert!(batch.len() <= 7);
            batch.iter().map(|delta| delta.amount).sum::<u64>()
        };
        passed(&counters, key(0), START);
        passed(&counters, key(0), later);
        let mut amount = 0;
        for account in 1..1000 {
            counters.count(key(account), 1, &at(later));
            assert!(counters.len() <= 100);
            amount += if account % 5 == 0 { share() } else { 0 };
        }
        assert_eq!(passed(&counters, key(0), later), 0, "a flood washes no limit away");
        while amount < 60 + 40 + 999 {
            let shared = share();
            assert!(shared > 0, "{amount}");
            amount += shared;
        }
        assert_eq!(share(), 0);
        assert_eq!(amount, 60 + 40 + 999);
    }

    #[test]
    fn memory_is_bounded_however_long_nothing_can_be_shared() {
        let counters = Counters::default();
        for minute in 0..60 {
            for account in 0..200 {
                counters.count(key(account), 1, &at(START + Window::MINUTE.length * minute));
            }
        }
        let table = counters.lock();
        assert!(table.entries.len() <= 100 && table.dirty.len() <= 201 && table.left_over.len() <= 200);
    }

    #[test]
    fn what_others_counted_counts() {
        let counters = Counters::default();
        counters.count(key(1), 10, &at(START));
        let batch = counters.drain(10);
        assert_eq!(batch.len(), 1);
        counters.count(key(1), 1, &at(START));
        counters.learn(&batch[0], Totals { current: 55, previous: 0 }, START);
        assert_eq!(passed(&counters, key(1), START), 4);
        assert!(counters.count(key(1), 1, &Counting { beyond: true, ..at(START) }).urgent);
    }
}
