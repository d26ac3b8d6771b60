//! The rules by which a rollover goes on.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::state::{Action, Observation, Phase, Rollover, Served, Step, Timing};
use crate::KeyId;
use crate::renewal::{Freshness, later};

/// The TTL that is assumed of records that were there before us.
const UNKNOWN_TTL: u64 = 86_400;

impl Rollover {
    /// What follows from `seen`: the state to persist, and then what to do. The same state and observation always give
    /// the same; nothing is done here.
    #[must_use]
    pub fn advance(&self, seen: &Observation, timing: &Timing) -> Step {
        let mut state = self.clone();
        state.note_publication(seen, timing);
        state.phase = state.next_phase(seen, timing);
        let actions = state.actions(seen);
        let wake = state.wait_ends(timing).filter(|end| *end > seen.now);
        Step { state, actions, wake }
    }

    /// Keeps account of what resolvers may hold.
    fn note_publication(&mut self, seen: &Observation, timing: &Timing) {
        let Some(wanted) = seen.tlsa else {
            self.note_withdrawal(seen, timing);
            return;
        };
        self.withdrawn_since = None;
        match self.published_ttl {
            Some(ttl) => self.published_ttl = Some(ttl.max(wanted)),
            // The first records are published only when the key in force is known, so that it is among them.
            None if self.current().is_some() && seen.served_key().is_some() => {
                self.published_ttl = Some(wanted)
            }
            None => {}
        }
    }

    /// After the last name server stopped showing records, and their TTL, nobody can have one.
    fn note_withdrawal(&mut self, seen: &Observation, timing: &Timing) {
        let (Some(ttl), Some(shown)) = (self.published_ttl, seen.shown()) else { return };
        if shown.iter().any(|keys| !keys.is_empty()) {
            self.withdrawn_since = None;
            return;
        }
        let since = *self.withdrawn_since.get_or_insert(seen.now);
        if seen.now >= later(since, timing.wait(ttl)) {
            self.published_ttl = None;
            self.withdrawn_since = None;
        }
    }

    /// Whether the certificate of `key` may take the place of one with another key, as far as names go: `None` if that
    /// cannot be told now.
    fn is_safe(&self, key: KeyId, seen: &Observation) -> Option<bool> {
        if self.published_ttl.is_none() {
            return Some(true);
        }
        let shown = seen.shown()?;
        Some(match seen.tlsa {
            Some(_) => shown.iter().all(|keys| keys.contains(&key)),
            None => shown.iter().all(BTreeSet::is_empty),
        })
    }

    fn next_phase(&mut self, seen: &Observation, timing: &Timing) -> Phase {
        match self.phase.clone() {
            Phase::Empty => match (seen.served, seen.candidate) {
                // What is in the DNS already decides how to go on, so it must be known.
                (Served::Certificate { key, .. }, _) if seen.shown().is_some() => self.adopt(key, seen),
                (Served::Nothing, Some(key)) => Phase::First { key },
                _ => Phase::Empty,
            },
            Phase::First { key } => match seen.served {
                Served::Certificate { key, .. } if seen.shown().is_some() => self.adopt(key, seen),
                _ if !seen.keys.contains(&key) => Phase::Empty,
                _ => Phase::First { key },
            },
            Phase::Steady { current } => match seen.candidate {
                Some(next) if next != current && rotation_is_due(current, seen) => match self.published_ttl {
                    Some(_) => Phase::NextPublished { current, next, shown_since: None },
                    None => Phase::SwitchDue { current, next },
                },
                _ => Phase::Steady { current },
            },
            Phase::NextPublished { current, next, shown_since } => {
                if let Some(phase) = end_of_switch(current, next, seen) {
                    return phase;
                }
                self.wait_for_names(current, next, shown_since, seen, timing)
            }
            Phase::SwitchDue { current, next } => {
                if let Some(phase) = end_of_switch(current, next, seen) {
                    return phase;
                }
                match self.is_safe(next, seen) {
                    Some(false) => Phase::NextPublished { current, next, shown_since: None },
                    Some(true) | None => Phase::SwitchDue { current, next },
                }
            }
            Phase::Switched { current, previous, since } => retire(current, previous, since, seen, timing),
        }
    }

    /// A certificate is in force that this state did not put there: what was published before is not known either.
    fn adopt(&mut self, key: KeyId, seen: &Observation) -> Phase {
        let records_exist = seen.shown().is_some_and(|shown| shown.iter().any(|keys| !keys.is_empty()));
        if records_exist {
            self.published_ttl =
                Some(self.published_ttl.unwrap_or(0).max(UNKNOWN_TTL).max(seen.tlsa.unwrap_or(0)));
        }
        Phase::Steady { current: key }
    }

    /// Two keys are published: has the time come?
    fn wait_for_names(
        &self,
        current: KeyId,
        next: KeyId,
        shown_since: Option<Timestamp>,
        seen: &Observation,
        timing: &Timing,
    ) -> Phase {
        let Some(ttl) = self.published_ttl else { return Phase::SwitchDue { current, next } };
        // Without a wish for records the way on is that the old ones have gone from all caches (`note_withdrawal`).
        let safe = if seen.tlsa.is_some() { self.is_safe(next, seen) } else { Some(false) };
        let shown_since = match safe {
            None => shown_since,
            Some(false) => None,
            Some(true) => {
                let since = shown_since.unwrap_or(seen.now);
                if seen.now >= later(since, timing.wait(ttl)) {
                    return Phase::SwitchDue { current, next };
                }
                Some(since)
            }
        };
        Phase::NextPublished { current, next, shown_since }
    }

    /// What this state wants done.
    fn actions(&self, seen: &Observation) -> Vec<Action> {
        let mut actions = Vec::new();
        actions.extend(self.publication(seen));
        match self.phase {
            Phase::Empty => {
                if seen.served == Served::Nothing && seen.candidate.is_none() {
                    actions.push(Action::PrepareKey);
                }
            }
            Phase::First { key } => {
                actions.extend(issue(key, seen, Freshness::Due));
                actions.extend(self.deploy(key, seen));
            }
            Phase::Steady { current } => {
                let rotating = rotation_is_due(current, seen);
                if rotating && seen.candidate.is_none_or(|key| key == current) {
                    actions.push(Action::PrepareKey);
                }
                let at = if rotating { Freshness::Urgent } else { Freshness::Due };
                // Where nothing has to be published the next key has its certificate as soon as this one would.
                if !rotating || self.published_ttl.is_some() {
                    actions.extend(issue(current, seen, at));
                }
                actions.extend(self.deploy(current, seen));
            }
            Phase::NextPublished { current, .. } => {
                actions.extend(issue(current, seen, Freshness::Urgent));
                actions.extend(self.deploy(current, seen));
            }
            Phase::SwitchDue { current, next } => {
                actions.extend(issue(next, seen, Freshness::Due));
                if seen.has_certificate(next) && self.is_safe(next, seen) == Some(true) {
                    actions.extend(self.deploy(next, seen));
                } else {
                    actions.extend(self.deploy(current, seen));
                }
            }
            Phase::Switched { current, .. } => {
                actions.extend(issue(current, seen, Freshness::Due));
                actions.extend(self.deploy(current, seen));
            }
        }
        actions.extend(self.discards(seen));
        actions
    }

    /// The records of all keys of this state, and of the key in force whatever it is. None where they are not wanted, if
    /// there may be some; nothing at all where there never were any.
    fn publication(&self, seen: &Observation) -> Option<Action> {
        self.published_ttl?;
        if seen.tlsa.is_none() {
            return Some(Action::Publish(BTreeSet::new()));
        }
        let mut keys = self.keys();
        keys.extend(seen.served_key());
        Some(Action::Publish(keys))
    }

    /// The service gets the certificate of `key`: a newer one of the same key at any time, one of another key only if
    /// the names are safe for it.
    fn deploy(&self, key: KeyId, seen: &Observation) -> Option<Action> {
        let wanted = match seen.served {
            Served::Unknown => false,
            Served::Nothing => true,
            Served::Certificate { key: served, newest } if served == key => !newest,
            Served::Certificate { .. } => self.is_safe(key, seen) == Some(true),
        };
        (wanted && seen.has_certificate(key)).then_some(Action::Deploy(key))
    }

    /// Private keys that nothing needs any more.
    fn discards(&self, seen: &Observation) -> Vec<Action> {
        if matches!(self.phase, Phase::Empty) {
            return Vec::new();
        }
        let mut kept = self.keys();
        kept.extend(seen.candidate);
        seen.keys.difference(&kept).copied().map(Action::Discard).collect()
    }
}

/// Whether another key should follow: it was asked for, or the current one's private half is lost.
fn rotation_is_due(current: KeyId, seen: &Observation) -> bool {
    seen.rotation_due || !seen.keys.contains(&current)
}

/// Ends the way to the next key where it is in force already, or lost. A lost key may be on its way into the service
/// with a certificate that was sent a moment ago, so its record too is kept for a while.
fn end_of_switch(current: KeyId, next: KeyId, seen: &Observation) -> Option<Phase> {
    match seen.served {
        Served::Certificate { key, .. } if key == next => {
            Some(Phase::Switched { current: next, previous: current, since: Some(seen.now) })
        }
        Served::Unknown => None,
        _ if !seen.keys.contains(&next) => Some(Phase::Switched { current, previous: next, since: None }),
        _ => None,
    }
}

/// Waits until the record of the old key has no use.
fn retire(
    current: KeyId,
    previous: KeyId,
    since: Option<Timestamp>,
    seen: &Observation,
    timing: &Timing,
) -> Phase {
    let lost = !seen.keys.contains(&current);
    let since = match seen.served {
        Served::Unknown => return Phase::Switched { current, previous, since },
        Served::Certificate { key, .. } if key == current => Some(since.unwrap_or(seen.now)),
        // It can not be put in force again, so the other one is the current one after all.
        Served::Certificate { key, .. } if key == previous && lost => {
            return Phase::Switched { current: previous, previous: current, since: None };
        }
        // Nothing of ours is in force, and this key will not be: the next one is prepared by a steady state.
        _ if lost => Some(since.unwrap_or(seen.now)),
        _ => None,
    };
    match since {
        Some(since) if seen.now >= later(since, timing.retire_after) => Phase::Steady { current },
        since => Phase::Switched { current, previous, since },
    }
}

/// A certificate for `key`, if there is none at hand or the one there is stands at least at `at`.
fn issue(key: KeyId, seen: &Observation, at: Freshness) -> Option<Action> {
    let needed = seen.certificates.get(&key).is_none_or(|freshness| *freshness >= at);
    (needed && seen.keys.contains(&key)).then_some(Action::Issue(key))
}
