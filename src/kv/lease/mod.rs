//! Leases: work that one process does at a time, with a token that rises whenever the work changes hands.
//!
//! Rows:
//!
//! | key | value |
//! |---|---|
//! | `(CLUSTER, "lease", group, name)` | format octet, token u64, holder (16 octets; zeros for nobody) |
//! | `(CLUSTER, "member", process)` | the process's beat: u64, another with every renewal |
//! | `(CLUSTER, "member", process, group)` | the process takes part in that group; empty |
//!
//! A process renews all that it holds by writing one row, its beat; the lease rows are written only when work changes hands, so
//! that reading them in a transaction ([`Lease::check`]) does not conflict with renewals.
//!
//! No two clocks are compared. A process is dead when its beat has not changed for the duration of a lease, by the *contender's* monotonic
//! clock and counted from when the contender first read that beat; its leases may be taken then. The holder stops believing in its leases earlier:
//! its count begins before the renewal is written, and a margin comes off for clocks of different speed. A holder that was paused
//! notices by its clock ([`Lease::holds`]); what it commits in spite of that is refused ([`Lease::check`]).
//!
//! The names of a group are shared: nobody takes more than its part, and who has more is asked to give some back
//! ([`Lease::is_wanted_back`]) when its work at hand is done.

mod members;
mod round;
mod rows;
mod statistics;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::keys::range;
use crate::keys::subspace::CLUSTER;
use round::{Found, Round, Share};
use rows::{Row, lease_key, member_rows};

use crate::{Database, Error, MonotonicClock, RangeOptions, Result, Transaction};
pub use members::{Holding, holdings, members};
pub use statistics::LeaseStatistics;

/// Renewals within the duration of a lease.
const RENEWALS: u32 = 3;
/// The part of the duration that the holder gives up, for clocks of different speed.
const MARGIN: u32 = 5;

/// The id of a process among those that hold leases: another one each time that a process starts.
pub type MemberId = [u8; 16];
const NOBODY: MemberId = [0; 16];

/// How leases are held.
#[derive(Clone, Debug)]
pub struct LeaseOptions {
    /// How long the work of a process that died is left alone. It is taken up at the latest after this and two thirds more.
    pub duration: Duration,
    /// The clock that durations are measured with.
    pub clock: MonotonicClock,
    /// No other process can have the store (the embedded one has a lock): what an earlier process held is taken up at once.
    pub alone: bool,
}

/// The leases of one process: cheap to clone. Call [`Leases::run`] in a task of its own, and [`Leases::stop`] before the process ends.
#[derive(Clone)]
pub struct Leases {
    inner: Arc<Inner>,
}

/// The leases of one group that the process holds.
pub struct LeaseSet {
    inner: Arc<Inner>,
    group: &'static str,
    changes: watch::Receiver<u64>,
}

/// A lease that the process holds, or held: cheap to clone.
#[derive(Clone)]
pub struct Lease {
    shared: Arc<Held>,
}

struct Held {
    group: &'static str,
    name: String,
    member: MemberId,
    token: u64,
    clock: MonotonicClock,
    /// Nanoseconds on `clock`: until then nobody can have taken it.
    until: AtomicU64,
    lost: AtomicBool,
    wanted_back: AtomicBool,
}

struct Inner {
    database: Database,
    options: LeaseOptions,
    member: MemberId,
    /// Something was joined, or a group got more names.
    joined: Notify,
    /// Rounds run one at a time: each applies what it found to `state`.
    round: tokio::sync::Mutex<()>,
    /// Held briefly, and never across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<&'static str, Group>,
    seen: HashMap<MemberId, Seen>,
    beat: u64,
    stopped: bool,
    /// It takes part in no group.
    aside: bool,
    /// Nanoseconds on the process's clock: so long holds what was renewed last.
    until: u64,
    late: u64,
    failed: u64,
}

struct Group {
    names: BTreeSet<String>,
    held: BTreeMap<String, Lease>,
    /// Leases that were taken from processes that died.
    takeovers: u64,
    changes: watch::Sender<u64>,
}

/// A beat of another process, and when it was first read.
#[derive(Clone, Copy)]
struct Seen {
    beat: u64,
    since: Duration,
}

impl Lease {
    /// What it is for.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Rises whenever the work changes hands.
    pub fn token(&self) -> u64 {
        self.shared.token
    }

    /// Whether nobody else can hold it now, by this process's own clock: ask it immediately before what cannot be undone.
    pub fn holds(&self) -> bool {
        let now = nanoseconds(self.shared.clock.now());
        !self.shared.lost.load(Ordering::Acquire) && now < self.shared.until.load(Ordering::Acquire)
    }

    /// Whether it will never be this process's again: it was released, or another took it.
    pub fn is_lost(&self) -> bool {
        self.shared.lost.load(Ordering::Acquire)
    }

    /// Whether others have less than their part: begin nothing new, end what is at hand, and call [`Leases::release`].
    pub fn is_wanted_back(&self) -> bool {
        self.shared.wanted_back.load(Ordering::Acquire)
    }

    /// Makes the transaction fail unless the lease is this process's at its commit.
    ///
    /// # Errors
    /// [`Error::Fenced`] when it is not; failures of the read.
    pub async fn check(&self, transaction: &Transaction) -> Result<()> {
        let row = transaction.get(&lease_key(self.shared.group, &self.shared.name)).await?;
        let ours = Row { token: self.shared.token, holder: self.shared.member };
        match row.as_deref().map(Row::decode).transpose()? {
            Some(row) if row == ours => Ok(()),
            _ => Err(Error::Fenced),
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({}/{}, token {})", self.shared.group, self.shared.name, self.shared.token)
    }
}

impl LeaseSet {
    /// The leases of the group that are this process's, in the order of their names. Some may not [hold](Lease::holds) at the moment.
    pub fn held(&self) -> Vec<Lease> {
        self.inner.lock().groups.get(self.group).map_or_else(Vec::new, |g| g.held.values().cloned().collect())
    }

    /// Waits until leases came or went, or are wanted back.
    pub async fn changed(&mut self) {
        // The sender lives as long as `inner`.
        let _ = self.changes.changed().await;
    }
}

impl Leases {
    /// The leases of a process, which takes part in nothing yet.
    pub fn new(database: Database, options: LeaseOptions) -> Self {
        let state = Mutex::default();
        let (round, joined) = (tokio::sync::Mutex::default(), Notify::new());
        Self { inner: Arc::new(Inner { database, options, member: random_member(), joined, round, state }) }
    }

    /// Who this process is among the members.
    pub fn member(&self) -> MemberId {
        self.inner.member
    }

    /// What this process has seen of leases until now.
    pub fn statistics(&self) -> LeaseStatistics {
        let state = self.inner.lock();
        let held = |group: &Group| group.held.values().filter(|lease| lease.holds()).count();
        LeaseStatistics {
            held: state.groups.iter().map(|(name, group)| (*name, held(group))).collect(),
            takeovers: state.groups.iter().map(|(name, group)| (*name, group.takeovers)).collect(),
            late: state.late,
            failed: state.failed,
        }
    }

    /// Leaves all work to others: sets that are joined stay empty. The process is a member all the same. Call it before the first renewal.
    pub fn stand_aside(&self) {
        self.inner.lock().aside = true;
    }

    /// Takes part in the work of a group, at once if [`Leases::run`] runs. Every process must give the same names, or less.
    pub fn join(&self, group: &'static str, names: impl IntoIterator<Item = String>) -> LeaseSet {
        let mut state = self.inner.lock();
        let joined = state.groups.entry(group).or_insert_with(|| Group {
            names: BTreeSet::new(),
            held: BTreeMap::new(),
            takeovers: 0,
            changes: watch::Sender::new(0),
        });
        joined.names.extend(names);
        self.inner.joined.notify_one();
        LeaseSet { inner: Arc::clone(&self.inner), group, changes: joined.changes.subscribe() }
    }

    /// Renews what is held and takes what is free, three times in the duration of a lease, until it is dropped or
    /// [`Leases::stop`] was called.
    pub async fn run(&self) {
        while !self.inner.lock().stopped {
            if let Err(error) = self.renew().await {
                self.inner.lock().failed += 1;
                tracing::warn!(%error, "leases could not be renewed");
            }
            // Biased, so that a simulation repeats itself.
            tokio::select! {
                biased;
                () = tokio::time::sleep(self.inner.options.duration / RENEWALS) => {}
                () = self.inner.joined.notified() => {}
            }
        }
    }

    /// One round: renews what is held and takes what is free, in one transaction.
    ///
    /// # Errors
    /// When the store fails; what is held ends by itself if that lasts.
    pub async fn renew(&self) -> Result<()> {
        let _turn = self.inner.round.lock().await;
        let began = self.inner.options.clock.now();
        let Some(round) = self.inner.begin_round(began) else { return Ok(()) };
        let round = &round;
        let found = self
            .inner
            .database
            .transact(|transaction: Transaction| async move { round.write(&transaction).await });
        let found = found.await?;
        self.inner.apply(found, began);
        Ok(())
    }

    /// Gives a lease back, so that another can take it at once. It does not hold any more from this call on.
    ///
    /// # Errors
    /// When the store fails: then the next renewal takes it up again, under the same token.
    pub async fn release(&self, lease: &Lease) -> Result<()> {
        let _turn = self.inner.round.lock().await;
        lease.shared.lost.store(true, Ordering::Release);
        if let Some(group) = self.inner.lock().groups.get_mut(lease.shared.group) {
            if group.held.get(lease.name()).is_some_and(|held| held.token() == lease.token()) {
                group.held.remove(lease.name());
            }
            group.notify();
        }
        let at = &lease_key(lease.shared.group, &lease.shared.name);
        let ours = Row { token: lease.shared.token, holder: lease.shared.member };
        self.inner
            .database
            .transact(|transaction: Transaction| async move {
                if transaction.get(at).await?.as_deref().map(Row::decode).transpose()? == Some(ours) {
                    transaction.set(at, &Row { holder: NOBODY, ..ours }.encode());
                }
                Ok(())
            })
            .await
    }

    /// Gives everything back and takes nothing any more: before the process ends, when its work has ended.
    ///
    /// # Errors
    /// When the store fails: then others take the leases when their duration is over.
    pub async fn stop(&self) -> Result<()> {
        let _turn = self.inner.round.lock().await;
        {
            let mut state = self.inner.lock();
            state.stopped = true;
            for group in state.groups.values_mut() {
                for lease in std::mem::take(&mut group.held).into_values() {
                    lease.shared.lost.store(true, Ordering::Release);
                }
                group.notify();
            }
        }
        let member = &self.inner.member;
        self.inner
            .database
            .transact(|transaction: Transaction| async move {
                let leases =
                    transaction.get_range(range(&(CLUSTER, "lease")), RangeOptions::default()).await?;
                for lease in leases {
                    let row = Row::decode(&lease.value)?;
                    if row.holder == *member {
                        transaction.set(&lease.key, &Row { holder: NOBODY, ..row }.encode());
                    }
                }
                transaction.clear_range(member_rows(member));
                Ok(())
            })
            .await
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a round needs to know; `None` after the stop.
    fn begin_round(&self, now: Duration) -> Option<Round> {
        let mut state = self.lock();
        if state.stopped {
            return None;
        }
        state.beat += 1;
        let silent = |seen: &Seen| now.saturating_sub(seen.since) >= self.options.duration;
        let silent = state.seen.iter().filter(|(_, seen)| silent(seen));
        let groups = state.groups.iter().filter(|_| !state.aside);
        Some(Round {
            member: self.member,
            beat: state.beat,
            alone: self.options.alone,
            silent: silent.map(|(member, seen)| (*member, seen.beat)).collect(),
            groups: groups.map(|(group, joined)| (*group, joined.names.clone())).collect(),
        })
    }

    /// Takes over what a round found, which began at `began`.
    fn apply(&self, found: Found, began: Duration) {
        let now = self.options.clock.now();
        let duration = self.options.duration;
        let until = nanoseconds(began + duration - duration / MARGIN);
        let mut state = self.lock();
        let state = &mut *state;
        let held = state.groups.values().any(|group| !group.held.is_empty());
        state.late += u64::from(held && nanoseconds(now) >= state.until);
        state.until = until;
        state.seen.retain(|member, _| found.beats.contains_key(member));
        for (member, beat) in found.beats {
            let seen = state.seen.entry(member).or_insert(Seen { beat, since: now });
            if seen.beat != beat {
                *seen = Seen { beat, since: now };
            }
        }
        for (name, group) in &mut state.groups {
            let Some(share) = found.shares.get(name) else { continue };
            group.apply(share, until, |lease, token| {
                Arc::new(Held {
                    group: name,
                    name: lease.to_owned(),
                    member: self.member,
                    token,
                    clock: self.options.clock.clone(),
                    until: AtomicU64::new(until),
                    lost: AtomicBool::new(false),
                    wanted_back: AtomicBool::new(false),
                })
            });
        }
    }
}

impl Group {
    /// Takes over what a round found: these are the leases that the process holds now, until `until`.
    fn apply(&mut self, share: &Share, until: u64, new: impl Fn(&str, u64) -> Arc<Held>) {
        let mut changed = false;
        self.takeovers += share.taken_over;
        self.held.retain(|name, lease| {
            let stays = share.held.get(name) == Some(&lease.token());
            if !stays {
                lease.shared.lost.store(true, Ordering::Release);
                changed = true;
            }
            stays
        });
        for (name, &token) in &share.held {
            match self.held.get(name) {
                Some(lease) => lease.shared.until.store(until, Ordering::Release),
                None => {
                    self.held.insert(name.clone(), Lease { shared: new(name, token) });
                    changed = true;
                }
            }
        }
        // The last ones by name: the same in each round, so that what is ended for others is not begun again.
        let excess = self.held.len().saturating_sub(share.part);
        for (n, lease) in self.held.values().rev().enumerate() {
            changed |= lease.shared.wanted_back.swap(n < excess, Ordering::AcqRel) != (n < excess);
        }
        if changed {
            self.notify();
        }
    }

    fn notify(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// An id that no other process has, nor this one had before it was started again.
fn random_member() -> MemberId {
    let half = || RandomState::new().hash_one(0).to_le_bytes();
    let mut member = NOBODY;
    member[..8].copy_from_slice(&half());
    member[8..].copy_from_slice(&half());
    member
}
