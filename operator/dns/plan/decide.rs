//! The decisions of a plan, record set by record set and part by part.

use std::collections::BTreeSet;

use super::{Adoption, Change, Inputs, Parts, Plan, RecordState, State};
use crate::desired::Desired;
use crate::family::Family;
use crate::inventory::Entry;
use crate::owner::Claim;
use crate::provider::{Observations, ProviderError};
use crate::record::{Key, RecordSet, RecordType, Value};

/// Seconds that a marker may be kept in caches; nobody but operators asks for it.
const MARKER_TTL: u32 = 300;

/// The marker of a name, as it is and as it will be.
pub(super) struct Marker {
    key: Key,
    before: Option<RecordSet>,
    lines: BTreeSet<Value>,
    /// Why it is not known.
    failure: Option<ProviderError>,
}

impl Marker {
    pub(super) fn read(key: &Key, observed: &Observations) -> Self {
        let (before, failure) = match observed.get(key) {
            Ok(Some(other)) if other.record_type != key.record_type => {
                let target = other.values.first().map(Value::to_string).unwrap_or_default();
                let reason = format!("{} is an alias of {target}, so no marker can be there", key.name);
                (None, Some(ProviderError::Rejected(reason)))
            }
            Ok(found) => (found, None),
            Err(error) => (None, Some(error)),
        };
        let lines = before.iter().flat_map(|set| set.values.iter().cloned()).collect();
        Self { key: key.clone(), before, lines, failure }
    }

    fn claims(&self, record_type: RecordType, family: &Family) -> Vec<(Value, Claim)> {
        let claims =
            self.lines.iter().filter_map(|line| Claim::read(line).map(|claim| (line.clone(), claim)));
        claims
            .filter(|(_, claim)| claim.record_type == record_type && overlap(&claim.family, family))
            .collect()
    }

    /// The change, if anything is to change.
    pub(super) fn change(self) -> Option<Change> {
        let Self { key, before, lines, failure } = self;
        let known = before.as_ref().map(|set| set.values.clone()).unwrap_or_default();
        if failure.is_some() || known == lines {
            return None;
        }
        let ttl = before.as_ref().and_then(|set| set.ttl).unwrap_or(MARKER_TTL);
        let after = RecordSet::new(key.name, ttl, lines);
        Some(Change { before, after })
    }
}

/// Whether a change adds values.
pub(crate) fn adds(change: &Change) -> bool {
    let before = change.before.as_ref().map(|set| set.values.clone()).unwrap_or_default();
    change.after.as_ref().is_some_and(|after| !after.values.is_subset(&before))
}

/// Two parts that cannot both be somebody's: the whole and anything, the same tag.
fn overlap(one: &Family, other: &Family) -> bool {
    match (one, other) {
        (Family::Values, Family::Values) => true,
        (Family::Whole, _) | (_, Family::Whole) => true,
        (one, other) => one == other,
    }
}

/// What is known of one part.
struct Part<'a> {
    key: &'a Key,
    family: &'a Family,
    wanted: Option<&'a Desired>,
    entry: Option<&'a Entry>,
    /// Our line, if there is one.
    mine: Option<(Value, Claim)>,
    /// The other owner, if there is one and parts cannot be shared.
    other: Option<String>,
    /// Lines of others that stand in the way.
    obstacles: Vec<Value>,
    /// The values that belong to the part.
    present: BTreeSet<Value>,
}

/// What is to become of a part.
enum Decision {
    /// The values are to be those that are wanted, and the claim ours.
    Write(State, String),
    /// It is as it is.
    Leave(State, String),
    /// Our values go, and the claim.
    Prune,
    /// The claim goes, if it is ours; the values stay.
    Release(String),
}

/// Decides about all parts of one record set.
pub(super) fn record_set(
    inputs: &Inputs<'_>,
    key: &Key,
    parts: &Parts,
    marker: Result<Option<(Key, &mut Marker)>, String>,
    plan: &mut Plan,
) -> Option<Change> {
    let observed = inputs.observed.get(key);
    let (observed, mut marker) = match (observed, marker) {
        (Ok(observed), Ok(marker)) => match marker.as_ref().and_then(|(_, marker)| marker.failure.clone()) {
            Some(error) => return fail(inputs, key, parts, error, plan),
            None => (observed, marker.map(|(_, marker)| marker)),
        },
        (Err(error), _) => return fail(inputs, key, parts, error, plan),
        (_, Err(reason)) => return fail(inputs, key, parts, ProviderError::Rejected(reason), plan),
    };
    let in_the_way = in_the_way(inputs, key, observed.as_ref());
    // What is there of another type, since the name is an alias, is not of this record set.
    let before = observed.filter(|set| set.record_type == key.record_type);
    let existing = before.as_ref().map(|set| set.values.clone()).unwrap_or_default();
    let mut values = existing.clone();
    let mut ours = BTreeSet::new();
    let mut ttl = None;
    // What goes makes room for what comes.
    let (going, coming): (Vec<_>, Vec<_>) = parts.iter().partition(|(_, wanted)| wanted.is_none());
    for (family, wanted) in going.into_iter().chain(coming) {
        let part = look(inputs, key, family, wanted.as_ref(), marker.as_deref(), &existing);
        let decision = match &in_the_way {
            Some(reason) if wanted.is_some() && inputs.capabilities.writes => Decision::Leave(
                State::Conflict { who: reason.clone() },
                format!("the name is taken by {reason}"),
            ),
            _ => decide(inputs, &part, before.as_ref()),
        };
        if let (Decision::Write(..), Some(wanted)) = (&decision, wanted) {
            ours.extend(wanted.set.values.iter().cloned());
            ttl = ttl.max(wanted.set.ttl);
        }
        carry_out(inputs, &part, decision, &mut values, marker.as_deref_mut(), plan);
    }
    if !inputs.capabilities.writes {
        return None;
    }
    change(inputs, key, parts, before, values, &ours, ttl)
}

/// The change from what is there to `values`, of which `ours` are to have `ttl`; none if it is the same.
fn change(
    inputs: &Inputs<'_>,
    key: &Key,
    parts: &Parts,
    before: Option<RecordSet>,
    values: BTreeSet<Value>,
    ours: &BTreeSet<Value>,
    ttl: Option<u32>,
) -> Option<Change> {
    let kept = before.as_ref().and_then(|set| set.ttl);
    // Who shares a record set does not change its TTL for others.
    let shared = values.iter().any(|value| !ours.contains(value));
    let floor = |ttl: u32| ttl.max(inputs.capabilities.min_ttl);
    let ttl = if shared { kept.or(ttl) } else { ttl.map(floor).or(kept) };
    let variant = parts.values().flatten().next().and_then(|one| one.set.variant.clone());
    let variant = variant.or_else(|| before.as_ref().and_then(|set| set.variant.clone()));
    let (name, record_type) = (key.name.clone(), key.record_type);
    let after = (!values.is_empty()).then_some(RecordSet { name, record_type, ttl, values, variant });
    let unchanged = match (&before, &after) {
        (None, None) => true,
        (Some(before), Some(after)) => before.same(after),
        _ => false,
    };
    (!unchanged).then_some(Change { before, after })
}

/// Leaves a record set as it is, since it is not known what it is.
fn fail(
    inputs: &Inputs<'_>,
    key: &Key,
    parts: &Parts,
    error: ProviderError,
    plan: &mut Plan,
) -> Option<Change> {
    for (family, wanted) in parts {
        if let Some(entry) = inputs.inventory.get(key, family) {
            plan.inventory.insert(entry.clone());
        }
        if let Some(desired) = wanted.clone() {
            plan.records.push(RecordState { desired, state: State::Failed, message: error.to_string() });
        }
    }
    // What has to be done about it comes before what happens by itself.
    if plan.error.as_ref().is_none_or(ProviderError::is_temporary) {
        plan.error = Some(error);
    }
    None
}

/// What makes that there cannot be such a record at this name: an alias beside others.
fn in_the_way(inputs: &Inputs<'_>, key: &Key, observed: Option<&RecordSet>) -> Option<String> {
    let is_ours = |key: &Key| {
        let goes = !inputs.desired.iter().any(|one| one.set.key() == *key);
        goes && inputs.inventory.get(key, &Family::Whole).is_some()
    };
    if key.record_type != RecordType::Cname {
        let alias = observed.filter(|set| set.record_type == RecordType::Cname)?;
        let target = alias.values.first().map(Value::to_string).unwrap_or_default();
        return (!is_ours(&alias.key())).then(|| format!("an alias of {target}"));
    }
    let beside = [RecordType::A, RecordType::Aaaa, RecordType::Txt, RecordType::Mx];
    beside.into_iter().find_map(|record_type| {
        let beside = Key::new(key.name.clone(), record_type);
        let found = inputs.observed.get(&beside).ok().flatten()?;
        (found.record_type == record_type && !is_ours(&beside))
            .then(|| format!("{record_type} records, beside which there can be no alias"))
    })
}

fn look<'a>(
    inputs: &Inputs<'a>,
    key: &'a Key,
    family: &'a Family,
    wanted: Option<&'a Desired>,
    marker: Option<&Marker>,
    existing: &BTreeSet<Value>,
) -> Part<'a> {
    let claims = marker.map(|marker| marker.claims(key.record_type, family)).unwrap_or_default();
    let (mine, others): (Vec<_>, Vec<_>) =
        claims.into_iter().partition(|(_, claim)| claim.owner == *inputs.owner && claim.family == *family);
    // Values of several may stand beside each other; of everything else there is one owner.
    let others: Vec<_> = others
        .into_iter()
        .filter(|(_, claim)| {
            claim.owner != *inputs.owner && (*family != Family::Values || claim.family == Family::Whole)
        })
        .collect();
    let entry = inputs.inventory.get(key, family);
    let mine = mine.into_iter().next();
    let written = |value: &Value| {
        entry.is_some_and(|entry| entry.values.contains(value))
            || mine.as_ref().is_some_and(|(_, claim)| claim.names(value))
            || wanted.is_some_and(|wanted| wanted.set.values.contains(value))
    };
    let present = family.select(existing, written);
    Part {
        key,
        family,
        wanted,
        entry,
        other: others.first().map(|(_, claim)| claim.owner.to_string()),
        obstacles: others.into_iter().map(|(line, _)| line).collect(),
        mine,
        present,
    }
}

fn decide(inputs: &Inputs<'_>, part: &Part<'_>, before: Option<&RecordSet>) -> Decision {
    let Some(wanted) = part.wanted else { return retire(inputs, part) };
    let matches = part.present == wanted.set.values;
    if !inputs.capabilities.writes {
        return if matches {
            Decision::Leave(State::Published, String::new())
        } else {
            let lines = wanted.set.lines().join("\n");
            let instead = if part.present.is_empty() { "" } else { " in place of what is there" };
            Decision::Leave(State::Manual, format!("publish{instead}:\n{lines}"))
        };
    }
    if let Some(who) = part.other.clone().filter(|_| inputs.adoption != Adoption::Force) {
        return Decision::Leave(
            State::Conflict { who: who.clone() },
            format!("the record is {who}; adoption: Force would take it over"),
        );
    }
    let owned = part.mine.is_some() || part.entry.is_some();
    let exact = matches && !ttl_differs(inputs, part, wanted, before);
    if !owned && !part.present.is_empty() && *part.family != Family::Values {
        return adopt(inputs.adoption, part, exact);
    }
    let written = part.entry.is_some_and(|entry| match part.family {
        Family::Values => {
            wanted.set.values.difference(&part.present).all(|value| entry.values.contains(value))
        }
        Family::Whole | Family::Tagged(_) => entry.values == wanted.set.values,
    });
    let (state, message) = match (exact, part.present.is_empty()) {
        (true, _) => (State::Published, String::new()),
        (false, true) if written => (State::Drifted, "it was removed by somebody else".to_owned()),
        (false, true) => (State::Pending, String::new()),
        (false, false) if written && !matches => {
            (State::Drifted, format!("it was changed to {} by somebody else", list(&part.present)))
        }
        (false, false) => (State::Pending, format!("it replaces {}", list(&part.present))),
    };
    Decision::Write(state, message)
}

/// What to do about something that is there, that nobody owns, and that is where ours should be.
fn adopt(adoption: Adoption, part: &Part<'_>, exact: bool) -> Decision {
    match (adoption, exact) {
        (Adoption::Never, true) => {
            Decision::Leave(State::Published, "it was there already, and stays unowned".to_owned())
        }
        (Adoption::Never, false) => Decision::Leave(
            State::Conflict { who: "nobody's that is known".to_owned() },
            format!("there is {} already; adoption: IfUnowned would replace it", list(&part.present)),
        ),
        (_, true) => Decision::Write(State::Published, "it was there already, and is adopted".to_owned()),
        (_, false) => Decision::Write(
            State::Pending,
            format!("it was there already, and replaces {}", list(&part.present)),
        ),
    }
}

/// What to do about a part that is not wanted any more.
fn retire(inputs: &Inputs<'_>, part: &Part<'_>) -> Decision {
    if !inputs.capabilities.writes {
        return Decision::Release("the provider cannot remove it".to_owned());
    }
    if let Some(who) = &part.other {
        return Decision::Release(format!("it is {who} now"));
    }
    let intact = part.entry.is_some_and(|entry| part.present.is_subset(&entry.values));
    // Without markers the inventory is all there is.
    if part.mine.is_some() || intact || part.present.is_empty() {
        Decision::Prune
    } else {
        Decision::Release(format!(
            "its marker is gone, and {} is not what was written: somebody took it over",
            list(&part.present)
        ))
    }
}

fn carry_out(
    inputs: &Inputs<'_>,
    part: &Part<'_>,
    decision: Decision,
    values: &mut BTreeSet<Value>,
    marker: Option<&mut Marker>,
    plan: &mut Plan,
) {
    let mine = part.mine.as_ref().map(|(line, _)| line.clone());
    match (decision, part.wanted) {
        (Decision::Write(state, message), Some(wanted)) => {
            // What is there already stays as it is written: equal is enough.
            values.retain(|value| !part.present.contains(value) || wanted.set.values.contains(value));
            values.extend(wanted.set.values.iter().cloned());
            let ours = claimed(inputs, part, wanted);
            if let Some(marker) = marker {
                let gone = mine.iter().chain(&part.obstacles);
                gone.for_each(|line| {
                    marker.lines.remove(line);
                });
                if !ours.is_empty() {
                    let claim = Claim::new(inputs.owner, part.key.record_type, part.family, ours.clone());
                    marker.lines.insert(claim.value());
                }
            }
            if !ours.is_empty() {
                plan.inventory.insert(Entry {
                    key: part.key.clone(),
                    family: part.family.clone(),
                    values: ours,
                    ttl: wanted.set.ttl.unwrap_or_default(),
                });
            }
            plan.records.push(RecordState { desired: wanted.clone(), state, message });
        }
        (Decision::Leave(state, message), Some(wanted)) => {
            plan.records.push(RecordState { desired: wanted.clone(), state, message });
        }
        (Decision::Prune, _) => {
            values.retain(|value| !part.present.contains(value));
            if let (Some(marker), Some(line)) = (marker, &mine) {
                marker.lines.remove(line);
            }
        }
        (Decision::Release(reason), _) => {
            if let (Some(marker), Some(line)) = (marker, &mine) {
                marker.lines.remove(line);
            }
            plan.released.push((part.key.clone(), reason));
        }
        (Decision::Write(..) | Decision::Leave(..), None) => {}
    }
}

/// The values that are ours from now on. Where those of several stand beside each other, what somebody else put there stays theirs.
fn claimed(inputs: &Inputs<'_>, part: &Part<'_>, wanted: &Desired) -> BTreeSet<Value> {
    let was_ours = |value: &Value| {
        part.entry.is_some_and(|entry| entry.values.contains(value))
            || part.mine.as_ref().is_some_and(|(_, claim)| claim.names(value))
    };
    let all = *part.family != Family::Values || inputs.adoption == Adoption::Force;
    let ours = |value: &&Value| all || !part.present.contains(*value) || was_ours(value);
    wanted.set.values.iter().filter(ours).cloned().collect()
}

fn ttl_differs(inputs: &Inputs<'_>, part: &Part<'_>, wanted: &Desired, before: Option<&RecordSet>) -> bool {
    let Some(before) = before else { return true };
    let shared = before.values.iter().any(|value| !part.present.contains(value));
    let wanted = wanted.set.ttl.map(|ttl| ttl.max(inputs.capabilities.min_ttl));
    !shared && before.ttl.is_some() && wanted.is_some() && before.ttl != wanted
}

fn list(values: &BTreeSet<Value>) -> String {
    values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")
}
