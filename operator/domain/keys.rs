//! The life of DKIM keys: pure rules.
//!
//! Pending -> Published -> Active -> Retiring, and then gone. A key signs only after every authoritative server was seen to have its record, and the time has passed
//! for which caches may know what was there before. A key that signs no more keeps its record as long as mail that it signed may be under way; then first the key
//! goes, and its record only when there is no key any more.

use std::time::Duration;

use ekitei_operator_api::{Dkim, DkimAlgorithm, DkimKeyStatus, DkimStage};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::clock::after;

/// A key, as the service has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceKey {
    /// Its selector.
    pub selector: String,
    /// What it signs with.
    pub algorithm: DkimAlgorithm,
    /// Whether it signs.
    pub signs: bool,
    /// Whether it has ceased to.
    pub retired: bool,
    /// Whether the operator says when it begins and ceases; else the service does.
    pub ours: bool,
}

/// How a key's record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Nobody could look.
    Unknown,
    /// It is not published.
    Absent,
    /// The provider has it; not every server shows it.
    Published,
    /// Every server shows it.
    Everywhere,
}

/// What to do in the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Let it sign.
    Activate(String),
    /// Let it sign no more.
    Retire(String),
    /// Forget it; its record goes afterwards.
    Remove(String),
}

/// What follows from a look at the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// All keys, as they are after the actions.
    pub keys: Vec<DkimKeyStatus>,
    /// What to do, in this order.
    pub actions: Vec<Action>,
    /// When to look again.
    pub wake: Option<Timestamp>,
}

/// Algorithms that need a new key: they have none that signs or will sign, or the one that signs is due to be replaced.
pub fn missing(
    spec: &Dkim,
    keys: &[ServiceKey],
    before: &[DkimKeyStatus],
    now: Timestamp,
) -> Vec<DkimAlgorithm> {
    let lacks = |algorithm: &DkimAlgorithm| {
        let of_it = || keys.iter().filter(|key| key.algorithm == *algorithm && !key.retired);
        let successor = of_it().any(|key| !key.signs);
        let signs = of_it().any(|key| key.signs && !is_due(spec, status(before, &key.selector), now));
        !successor && !signs
    };
    spec.algorithms.iter().copied().filter(lacks).collect()
}

/// Whether a key that signs is as old as keys become.
fn is_due(spec: &Dkim, key: Option<&DkimKeyStatus>, now: Timestamp) -> bool {
    rotation(spec, key).is_some_and(|due| due <= now)
}

/// When a key is to be replaced, if it signs and does not do so for ever.
pub fn replacement(spec: &Dkim, key: &DkimKeyStatus) -> Option<Timestamp> {
    rotation(spec, Some(key).filter(|key| key.stage == DkimStage::Active))
}

/// When a key that signs is to be replaced.
fn rotation(spec: &Dkim, key: Option<&DkimKeyStatus>) -> Option<Timestamp> {
    let rotation = spec.rotation.get();
    let activated = key?.activated.as_ref()?;
    (!rotation.is_zero()).then(|| after(activated, rotation))
}

fn status<'a>(before: &'a [DkimKeyStatus], selector: &str) -> Option<&'a DkimKeyStatus> {
    before.iter().find(|key| key.selector == selector)
}

/// Decides what happens to each key. `cache` is how long caches may know what was there before a record of which nothing else is known.
pub fn decide(
    spec: &Dkim,
    keys: &[ServiceKey],
    before: &[DkimKeyStatus],
    visibility: impl Fn(&str) -> Visibility,
    cache: Duration,
    now: &Time,
) -> Decision {
    let mut decision = Decision::default();
    for key in keys {
        let known = status(before, &key.selector);
        let mut next = known.cloned().unwrap_or_else(|| new(key, now));
        observe(&mut next, key, visibility(&key.selector), now);
        decision.keys.push(next);
    }
    activate(&mut decision, spec, keys, cache, now);
    retire(&mut decision, spec, keys, now);
    remove(&mut decision, spec, keys, now);
    rotate(&mut decision, spec, now);
    decision
}

/// What is known of all keys, with those that were not seen before.
pub fn begin(keys: &[ServiceKey], before: &[DkimKeyStatus], now: &Time) -> Vec<DkimKeyStatus> {
    keys.iter().map(|key| status(before, &key.selector).cloned().unwrap_or_else(|| new(key, now))).collect()
}

fn new(key: &ServiceKey, now: &Time) -> DkimKeyStatus {
    DkimKeyStatus {
        selector: key.selector.clone(),
        algorithm: key.algorithm,
        stage: DkimStage::Pending,
        created: Some(now.clone()),
        published: None,
        cache_seconds: None,
        verified: None,
        activated: None,
        retired: None,
    }
}

/// What is seen of a key, before anything is decided. The service says what a key does; when it began is what we saw.
fn observe(key: &mut DkimKeyStatus, service: &ServiceKey, visibility: Visibility, now: &Time) {
    match visibility {
        Visibility::Unknown => {}
        Visibility::Absent => (key.published, key.verified) = (None, None),
        Visibility::Published => {
            key.published.get_or_insert_with(|| now.clone());
            key.verified = None;
        }
        Visibility::Everywhere => {
            key.published.get_or_insert_with(|| now.clone());
            key.verified.get_or_insert_with(|| now.clone());
        }
    }
    key.stage = if service.retired {
        key.retired.get_or_insert_with(|| now.clone());
        DkimStage::Retiring
    } else if service.signs {
        key.activated.get_or_insert_with(|| now.clone());
        DkimStage::Active
    } else if key.published.is_some() {
        DkimStage::Published
    } else {
        DkimStage::Pending
    };
}

fn wake(decision: &mut Decision, at: Timestamp) {
    decision.wake = Some(decision.wake.map_or(at, |wake| wake.min(at)));
}

/// Whether the operator may say what this key does.
fn is_ours(keys: &[ServiceKey], selector: &str) -> bool {
    keys.iter().any(|key| key.selector == selector && key.ours)
}

/// Lets keys sign that every cache must know by now.
fn activate(decision: &mut Decision, spec: &Dkim, keys: &[ServiceKey], cache: Duration, now: &Time) {
    for at in 0..decision.keys.len() {
        let key = &decision.keys[at];
        let waits = key.stage == DkimStage::Published && spec.algorithms.contains(&key.algorithm);
        let Some(verified) = key.verified.clone().filter(|_| waits && is_ours(keys, &key.selector)) else {
            continue;
        };
        let forgotten = key.cache_seconds.map_or(cache, |seconds| Duration::from_secs(u64::from(seconds)));
        let from = after(&verified, forgotten);
        if from > now.0 {
            wake(decision, from);
            continue;
        }
        let key = &mut decision.keys[at];
        key.stage = DkimStage::Active;
        key.activated = Some(now.clone());
        decision.actions.push(Action::Activate(key.selector.clone()));
    }
}

/// Of several keys of an algorithm that sign, only the one that began last goes on; keys of an algorithm that is not wanted any more cease, once another one signs.
fn retire(decision: &mut Decision, spec: &Dkim, keys: &[ServiceKey], now: &Time) {
    let active = |algorithm| {
        let of_it =
            decision.keys.iter().filter(|key| key.stage == DkimStage::Active && key.algorithm == algorithm);
        of_it
            .max_by_key(|key| (is_ours(keys, &key.selector), key.activated.as_ref().map(|time| time.0)))
            .cloned()
    };
    let newest: Vec<DkimKeyStatus> = spec.algorithms.iter().copied().filter_map(active).collect();
    if newest.is_empty() {
        return;
    }
    for key in decision.keys.iter_mut().filter(|key| key.stage == DkimStage::Active) {
        let wanted = spec.algorithms.contains(&key.algorithm);
        let stays = newest.iter().any(|newest| newest.selector == key.selector);
        let replaced = newest.iter().any(|newest| newest.algorithm == key.algorithm);
        if stays || (wanted && !replaced) {
            continue;
        }
        key.stage = DkimStage::Retiring;
        key.retired = Some(now.clone());
        decision.actions.push(Action::Retire(key.selector.clone()));
    }
}

/// Removes keys that nothing under way needs, and keys that never signed and are not wanted any more.
fn remove(decision: &mut Decision, spec: &Dkim, keys: &[ServiceKey], now: &Time) {
    let mut wakes = Vec::new();
    let mut removed = Vec::new();
    decision.keys.retain(|key| {
        if !is_ours(keys, &key.selector) && key.stage != DkimStage::Retiring {
            return true;
        }
        let goes = match key.stage {
            DkimStage::Retiring => {
                let until =
                    key.retired.as_ref().map_or(now.0, |retired| after(retired, spec.keep_retired.get()));
                if until > now.0 {
                    wakes.push(until);
                }
                until <= now.0
            }
            DkimStage::Pending | DkimStage::Published => !spec.algorithms.contains(&key.algorithm),
            DkimStage::Active => false,
        };
        if goes {
            removed.push(Action::Remove(key.selector.clone()));
        }
        !goes
    });
    decision.actions.extend(removed);
    wakes.into_iter().for_each(|at| wake(decision, at));
}

/// When keys that sign are to be replaced; a successor that is made then is waited for by others.
fn rotate(decision: &mut Decision, spec: &Dkim, now: &Time) {
    let due: Vec<Timestamp> = decision
        .keys
        .iter()
        .filter_map(|key| replacement(spec, key))
        .map(|due| if due > now.0 { due } else { now.0 + SignedDuration::from_secs(60) })
        .collect();
    due.into_iter().for_each(|at| wake(decision, at));
}

/// Whether each wanted algorithm has a key that signs; or which has none, and why.
pub fn readiness(spec: &Dkim, keys: &[DkimKeyStatus]) -> Result<String, (&'static str, String)> {
    let name = |algorithm: DkimAlgorithm| match algorithm {
        DkimAlgorithm::Rsa => "RSA",
        DkimAlgorithm::Ed25519 => "Ed25519",
    };
    for algorithm in &spec.algorithms {
        let of_it = || keys.iter().filter(|key| key.algorithm == *algorithm);
        if of_it().any(|key| key.stage == DkimStage::Active) {
            continue;
        }
        let waiting = of_it().find(|key| key.stage == DkimStage::Published);
        return Err(match waiting {
            Some(key) if key.verified.is_some() => (
                "WaitingForCaches",
                format!(
                    "every server shows the record of {}; it signs when no cache can know that it was absent",
                    key.selector
                ),
            ),
            Some(key) => {
                ("WaitingForServers", format!("not every server shows the record of {} yet", key.selector))
            }
            None => (
                "WaitingForRecord",
                format!("the record of the {} key is not published yet", name(*algorithm)),
            ),
        });
    }
    let active = keys.iter().filter(|key| key.stage == DkimStage::Active);
    Ok(format!("signs with {}", active.map(|key| key.selector.as_str()).collect::<Vec<_>>().join(" and ")))
}

#[cfg(test)]
mod tests;
