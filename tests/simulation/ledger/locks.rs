//! What is known of locks: who has which for sure, and which tokens were given.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Somebody asks for a lock. Times are since the beginning of the run.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Which lock.
    pub lock: &'static str,
    /// Who.
    pub holder: String,
    /// When.
    pub at: Duration,
    /// For how long.
    pub time: Duration,
}

/// Somebody has a lock, as sure as clocks are.
#[derive(Debug)]
struct Claim {
    token: u64,
    /// It was told that it has it.
    since: Duration,
    /// Whatever the clocks say, nobody else can have it before.
    until: Duration,
}

/// The locks of a run.
#[derive(Debug, Default)]
pub struct Locks {
    claims: BTreeMap<(&'static str, String), Claim>,
    /// To whom a token was given, and for what.
    tokens: BTreeMap<u64, (&'static str, String)>,
    /// The highest token of each lock that somebody was told.
    highest: BTreeMap<&'static str, u64>,
    /// From then on each lock is free for sure, if nobody is asking for it.
    free: BTreeMap<&'static str, Duration>,
    /// Who is asking for which, and has no answer yet.
    asking: BTreeSet<(&'static str, String)>,
}

impl Locks {
    /// Somebody asks: what it had it may lose, since a renewal may be shorter. Returns the highest token of the lock until now.
    pub fn ask(&mut self, ask: &Ask) -> u64 {
        self.gives_back(ask.lock, &ask.holder);
        self.asking.insert((ask.lock, ask.holder.clone()));
        self.highest.get(ask.lock).copied().unwrap_or(0)
    }

    /// Somebody begins to give a lock back.
    pub fn gives_back(&mut self, lock: &'static str, holder: &str) {
        self.claims.remove(&(lock, holder.to_owned()));
    }

    /// Somebody was given a lock; what is wrong with that. Clocks differ by `doubt` at most.
    pub fn taken(
        &mut self,
        ask: &Ask,
        token: u64,
        highest: u64,
        now: Duration,
        doubt: Duration,
    ) -> Option<String> {
        let Ask { lock, holder, at, time } = ask;
        self.in_doubt(ask, now, doubt);
        let until = (*at + *time).saturating_sub(doubt);
        self.claims.insert((lock, holder.clone()), Claim { token, since: now, until });
        let known = self.highest.entry(lock).or_default();
        *known = token.max(*known);
        let owner = self.tokens.entry(token).or_insert_with(|| (lock, holder.clone()));
        if (owner.0, &owner.1) != (*lock, holder) {
            return Some(format!("{holder} has token {token} of {lock}, which was given for {owner:?}"));
        }
        if token < highest {
            return Some(format!("{holder} has token {token} of {lock} after {highest} was given"));
        }
        let others = self.claims.iter().filter(|((other, by), _)| other == lock && by != holder);
        let had = others.into_iter().find(|(_, claim)| claim.since <= *at && now <= claim.until);
        had.map(|((_, by), claim)| {
            format!("{lock} is given to {holder} with token {token}, and {by} has it with {}", claim.token)
        })
    }

    /// Somebody was told that another has the lock; what is wrong with that.
    pub fn refused(&mut self, ask: &Ask, doubt: Duration) -> Option<String> {
        self.asking.remove(&(ask.lock, ask.holder.clone()));
        if self.asking.iter().any(|(lock, _)| *lock == ask.lock) {
            return None;
        }
        let free = self.free.get(ask.lock).copied().unwrap_or_default();
        (ask.at > free + doubt)
            .then(|| format!("{} is refused to {}, and nobody has it", ask.lock, ask.holder))
    }

    /// Somebody may have been given a lock by `now`, or be given it yet.
    pub fn in_doubt(&mut self, ask: &Ask, now: Duration, doubt: Duration) {
        self.asking.remove(&(ask.lock, ask.holder.clone()));
        let free = self.free.entry(ask.lock).or_default();
        *free = (now + ask.time + doubt).max(*free);
    }
}
