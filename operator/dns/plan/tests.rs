//! Ownership, by scenario; and for all zones: a plan settles, and others' values stay.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::desired::Purpose;
use crate::inventory::Entry;
use crate::owner::Claim;
use crate::provider::{Observations, ProviderError};
use crate::record::{RecordType, Value};

const CAPABLE: Capabilities = Capabilities {
    writes: true,
    atomic: true,
    prerequisites: true,
    routing: false,
    min_ttl: 60,
    markers: true,
};

type Zone = BTreeMap<Key, RecordSet>;

fn us() -> Owner {
    Owner::new("ours", "domain/a.test").unwrap()
}

fn them() -> Owner {
    Owner::new("theirs", "domain/a.test").unwrap()
}

fn key(name: &str, record_type: RecordType) -> Key {
    Key::new(name.parse().unwrap(), record_type)
}

fn set(name: &str, record_type: RecordType, values: &[&str]) -> RecordSet {
    let values = values.iter().map(|value| Value::parse(record_type, value).unwrap());
    RecordSet::new(name.parse().unwrap(), 300, values).unwrap()
}

fn want(name: &str, record_type: RecordType, family: &str, values: &[&str]) -> Desired {
    Desired { set: set(name, record_type, values), family: Family::read(family), purpose: Purpose::Spf }
}

fn zone(sets: impl IntoIterator<Item = RecordSet>) -> Zone {
    sets.into_iter().map(|set| (set.key(), set)).collect()
}

fn claim(owner: &Owner, name: &str, record_type: RecordType, family: &str) -> RecordSet {
    let at = owner::marker(&key(name, record_type)).unwrap();
    let claim = Claim::new(owner, record_type, &Family::read(family), []);
    RecordSet::new(at.name, 300, [claim.value()]).unwrap()
}

/// Answers as a server would: an alias for whatever is asked of its name.
fn look(zone: &Zone, desired: &[Desired], inventory: &Inventory) -> Observations {
    let mut observed = Observations::default();
    for key in crate::provider::needed(desired, inventory, true) {
        let alias = Key::new(key.name.clone(), RecordType::Cname);
        let found = zone.get(&key).or_else(|| zone.get(&alias)).cloned();
        observed.insert(key, Ok(found));
    }
    observed
}

fn plan_for(zone: &Zone, desired: &[Desired], inventory: &Inventory, adoption: Adoption) -> Plan {
    let (owner, observed) = (us(), look(zone, desired, inventory));
    let inputs =
        Inputs { owner: &owner, desired, observed: &observed, inventory, adoption, capabilities: CAPABLE };
    plan(inputs)
}

fn apply(zone: &mut Zone, changes: &[Change]) {
    for change in changes {
        let key = change.key().unwrap();
        assert_eq!(zone.get(&key), change.before.as_ref(), "the change is of what is there");
        match &change.after {
            Some(after) => zone.insert(key, after.clone()),
            None => zone.remove(&key),
        };
    }
}

fn states(plan: &Plan) -> Vec<&'static str> {
    plan.records.iter().map(|record| record.state.as_str()).collect()
}

#[test]
fn the_apex_text_is_shared_with_others() {
    let mut zone = zone([set("a.test", RecordType::Txt, &["google-site=1", "MS=2"])]);
    let desired = [want("a.test", RecordType::Txt, "v=spf1", &["\"v=spf1 mx -all\""])];
    let plan = plan_for(&zone, &desired, &Inventory::default(), Adoption::IfUnowned);
    assert_eq!(states(&plan), ["Pending"]);
    apply(&mut zone, &plan.changes);
    let shared = set("a.test", RecordType::Txt, &["google-site=1", "MS=2", "\"v=spf1 mx -all\""]);
    assert_eq!(zone[&shared.key()], shared);

    let gone = plan_for(&zone, &[], &plan.inventory, Adoption::IfUnowned);
    apply(&mut zone, &gone.changes);
    assert_eq!(
        zone.into_values().collect::<Vec<_>>(),
        [set("a.test", RecordType::Txt, &["google-site=1", "MS=2"])]
    );
    assert!(gone.inventory.is_empty());
}

#[test]
fn what_nobody_owns_is_adopted_only_if_that_is_allowed() {
    let there = zone([set("a.test", RecordType::Mx, &["10 old.test."])]);
    let desired = [want("a.test", RecordType::Mx, "", &["10 new.test."])];
    let none = Inventory::default();
    for (adoption, state, changes) in [
        (Adoption::IfUnowned, "Pending", 2),
        (Adoption::Force, "Pending", 2),
        (Adoption::Never, "Conflict", 0),
    ] {
        let plan = plan_for(&there, &desired, &none, adoption);
        assert_eq!((states(&plan), plan.changes.len()), (vec![state], changes), "{adoption:?}");
        assert!(plan.records[0].message.contains("10 old.test."), "{}", plan.records[0].message);
    }
    let same = [want("a.test", RecordType::Mx, "", &["10 old.test."])];
    let plan = plan_for(&there, &same, &none, Adoption::Never);
    assert_eq!((states(&plan), plan.changes.len()), (vec!["Published"], 0));
    assert!(plan.inventory.is_empty());
}

#[test]
fn what_another_owns_is_taken_only_by_force() {
    let marker = claim(&them(), "a.test", RecordType::Mx, "");
    let there = zone([set("a.test", RecordType::Mx, &["10 old.test."]), marker.clone()]);
    let desired = [want("a.test", RecordType::Mx, "", &["10 new.test."])];
    let plan = plan_for(&there, &desired, &Inventory::default(), Adoption::IfUnowned);
    assert_eq!((states(&plan), plan.changes.len()), (vec!["Conflict"], 0));
    assert!(matches!(&plan.records[0].state, State::Conflict { who } if who.contains("theirs")));

    let mut taken = there.clone();
    let plan = plan_for(&there, &desired, &Inventory::default(), Adoption::Force);
    apply(&mut taken, &plan.changes);
    assert_eq!(taken[&marker.key()], claim(&us(), "a.test", RecordType::Mx, ""));
}

#[test]
fn drift_is_told_from_what_is_new() {
    let desired = [want("a.test", RecordType::Mx, "", &["10 mx.test."])];
    let first = plan_for(&Zone::new(), &desired, &Inventory::default(), Adoption::Never);
    let mut now = Zone::new();
    apply(&mut now, &first.changes);
    let drifted = set("a.test", RecordType::Mx, &["10 evil.test."]);
    now.insert(drifted.key(), drifted);
    let plan = plan_for(&now, &desired, &first.inventory, Adoption::Never);
    assert_eq!(states(&plan), ["Drifted"]);
    assert!(plan.records[0].message.contains("evil.test"));

    let other = [want("a.test", RecordType::Mx, "", &["10 mx2.test."])];
    assert_eq!(states(&plan_for(&now, &other, &first.inventory, Adoption::Never)), ["Pending"]);
}

#[test]
fn what_somebody_took_over_is_not_pruned() {
    let entry = Entry {
        key: key("a.test", RecordType::Mx),
        family: Family::Whole,
        values: [Value::parse(RecordType::Mx, "10 mx.test.").unwrap()].into(),
        ttl: 300,
    };
    let inventory: Inventory = [entry].into_iter().collect();
    // As we wrote it, even if the marker is gone.
    let intact = zone([set("a.test", RecordType::Mx, &["10 mx.test."])]);
    assert_eq!(plan_for(&intact, &[], &inventory, Adoption::Force).changes.len(), 1);
    // With a marker of ours, whatever it is.
    let marked =
        zone([set("a.test", RecordType::Mx, &["10 x.test."]), claim(&us(), "a.test", RecordType::Mx, "")]);
    assert_eq!(plan_for(&marked, &[], &inventory, Adoption::Force).changes.len(), 2);
    // Neither.
    let changed = zone([set("a.test", RecordType::Mx, &["10 x.test."])]);
    let plan = plan_for(&changed, &[], &inventory, Adoption::Force);
    assert_eq!((plan.changes.len(), plan.released.len()), (0, 1));
    // A marker of another.
    let theirs =
        zone([set("a.test", RecordType::Mx, &["10 mx.test."]), claim(&them(), "a.test", RecordType::Mx, "")]);
    assert_eq!(plan_for(&theirs, &[], &inventory, Adoption::Force).changes.len(), 0);
}

#[test]
fn what_cannot_be_looked_up_is_neither_written_nor_pruned() {
    let desired = [want("a.test", RecordType::Mx, "", &["10 mx.test."])];
    let first = plan_for(&Zone::new(), &desired, &Inventory::default(), Adoption::Never);
    let mut there = Zone::new();
    apply(&mut there, &first.changes);
    let owner = us();
    for broken in [key("a.test", RecordType::Mx), key("_ekitei-owner.a.test", RecordType::Txt)] {
        for desired in [&desired[..], &[]] {
            let mut observed = look(&there, desired, &first.inventory);
            observed.insert(broken.clone(), Err(ProviderError::Unavailable("it is away".to_owned())));
            let plan = plan(Inputs {
                owner: &owner,
                desired,
                observed: &observed,
                inventory: &first.inventory,
                adoption: Adoption::Force,
                capabilities: CAPABLE,
            });
            assert!(plan.is_settled(), "{:?}", plan.changes);
            assert_eq!(plan.inventory, first.inventory);
            assert!(plan.records.iter().all(|record| record.state == State::Failed));
        }
    }
}

#[test]
fn an_alias_is_in_the_way_unless_it_is_ours() {
    let mut there = zone([set("mail.a.test", RecordType::Cname, &["web.test."])]);
    let desired = [want("mail.a.test", RecordType::A, "", &["192.0.2.1"])];
    let plan = plan_for(&there, &desired, &Inventory::default(), Adoption::Force);
    assert_eq!((states(&plan), plan.changes.len()), (vec!["Conflict"], 0));

    let alias = [want("mail.a.test", RecordType::Cname, "", &["web.test."])];
    let ours = plan_for(&there, &alias, &Inventory::default(), Adoption::IfUnowned);
    apply(&mut there, &ours.changes);
    let plan = plan_for(&there, &desired, &ours.inventory, Adoption::IfUnowned);
    apply(&mut there, &plan.changes);
    assert!(there.contains_key(&key("mail.a.test", RecordType::A)));
    assert!(!there.contains_key(&key("mail.a.test", RecordType::Cname)));

    let plan = plan_for(&there, &alias, &Inventory::default(), Adoption::IfUnowned);
    assert_eq!(states(&plan), ["Conflict"], "nor can there be an alias beside others' records");
}

#[test]
fn single_values_of_others_stay_theirs_even_if_we_want_the_same() {
    let issue = |name: &str| format!("0 issue \"{name}\"");
    let (one, two) = (issue("one.test"), issue("two.test"));
    let mut there = zone([set("a.test", RecordType::Caa, &[&one])]);
    let desired = [want("a.test", RecordType::Caa, "*", &[&one, &two])];
    let plan = plan_for(&there, &desired, &Inventory::default(), Adoption::Never);
    apply(&mut there, &plan.changes);
    assert_eq!(there[&key("a.test", RecordType::Caa)].values.len(), 2);
    // Even if the inventory is lost, the marker tells which is ours.
    let mut inventory = plan.inventory.clone();
    for entry in plan.inventory.iter() {
        inventory.insert(Entry { values: BTreeSet::new(), ..entry.clone() });
    }
    let gone = plan_for(&there, &[], &inventory, Adoption::Never);
    apply(&mut there, &gone.changes);
    assert_eq!(there.into_values().collect::<Vec<_>>(), [set("a.test", RecordType::Caa, &[&one])]);
}

#[test]
fn tags_of_caa_are_the_same_in_any_case_and_stay_as_others_wrote_them() {
    let theirs = "0 IsSue \"one.test\"";
    let mut there = zone([set("a.test", RecordType::Caa, &[theirs])]);
    let same = [want("a.test", RecordType::Caa, "*", &["0 issue \"one.test\""])];
    let plan = plan_for(&there, &same, &Inventory::default(), Adoption::Never);
    assert_eq!((states(&plan), plan.is_settled()), (vec!["Published"], true), "{:?}", plan.changes);

    let more = [want("a.test", RecordType::Caa, "*", &["0 issue \"one.test\"", "0 issue \"two.test\""])];
    let plan = plan_for(&there, &more, &Inventory::default(), Adoption::Never);
    apply(&mut there, &plan.changes);
    let written: Vec<String> =
        there[&key("a.test", RecordType::Caa)].values.iter().map(Value::to_string).collect();
    assert_eq!(written, [theirs, "0 issue \"two.test\""]);
}

#[test]
fn who_cannot_write_says_what_to_publish() {
    let desired = [want("a.test", RecordType::Mx, "", &["10 mx.test."])];
    let owner = us();
    let mut there = Zone::new();
    for expected in ["Manual", "Published"] {
        let observed = look(&there, &desired, &Inventory::default());
        let capabilities = Capabilities { writes: false, markers: false, ..CAPABLE };
        let plan = plan(Inputs {
            owner: &owner,
            desired: &desired,
            observed: &observed,
            inventory: &Inventory::default(),
            adoption: Adoption::IfUnowned,
            capabilities,
        });
        assert_eq!((states(&plan), plan.changes.len()), (vec![expected], 0));
        assert_eq!(plan.records[0].message.contains("a.test. 300 IN MX 10 mx.test."), expected == "Manual");
        there = zone([set("a.test", RecordType::Mx, &["10 mx.test."])]);
    }
}

/// Few names and values, so that they meet.
fn some_value(record_type: RecordType) -> impl Strategy<Value = String> {
    let values: &[&str] = match record_type {
        RecordType::Mx => &["10 a.test.", "10 b.test.", "20 a.test."],
        RecordType::Caa => &["0 issue \"a\"", "0 issue \"b\"", "0 iodef \"mailto:c\""],
        _ => &["\"v=spf1 mx\"", "\"v=spf1 a\"", "one", "two"],
    };
    prop::sample::select(values).prop_map(str::to_owned)
}

fn some_type() -> impl Strategy<Value = (RecordType, &'static str)> {
    prop::sample::select(vec![
        (RecordType::Mx, ""),
        (RecordType::Caa, "*"),
        (RecordType::Txt, "v=spf1"),
        (RecordType::Txt, "*"),
    ])
}

fn some_set() -> impl Strategy<Value = (RecordSet, Family)> {
    (prop::sample::select(vec!["a.test", "b.a.test"]), some_type()).prop_flat_map(
        |(name, (record_type, family))| {
            prop::collection::btree_set(some_value(record_type), 1..3).prop_map(move |values| {
                let mut values: Vec<&str> = values.iter().map(String::as_str).collect();
                if family.starts_with("v=") {
                    // There is one of those.
                    values = vec!["\"v=spf1 mx\""];
                }
                (set(name, record_type, &values), Family::read(family))
            })
        },
    )
}

fn desires() -> impl Strategy<Value = Vec<Desired>> {
    let one = some_set().prop_map(|(set, family)| Desired { set, family, purpose: Purpose::Spf });
    // Values with a tag are of the family of the tag.
    let sensible = |one: &Desired| {
        one.family != Family::Values
            || one.set.values.iter().all(|value| !matches!(value, Value::Txt(txt) if txt.has_tag("v=spf1")))
    };
    prop::collection::vec(one, 0..4).prop_map(move |all| all.into_iter().filter(sensible).collect())
}

fn some_zone() -> impl Strategy<Value = Zone> {
    let marked = (some_set(), any::<bool>(), any::<bool>()).prop_map(|((set, family), marked, theirs)| {
        let owner = if theirs { them() } else { us() };
        let claim = claim(&owner, set.name.as_str(), set.record_type, &family.to_string());
        [Some(set), marked.then_some(claim)].into_iter().flatten()
    });
    prop::collection::vec(marked, 0..4).prop_map(|sets| zone(sets.into_iter().flatten()))
}

fn some_adoption() -> impl Strategy<Value = Adoption> {
    prop::sample::select(vec![Adoption::IfUnowned, Adoption::Never, Adoption::Force])
}

/// Values that no rule lets us touch: none of a family or record set that is or was wanted, and no marker.
fn foreign(zone: &Zone, desired: &[Desired], before: &[Desired]) -> Vec<(Key, Value)> {
    let all = || desired.iter().chain(before);
    let touched = |key: &Key, value: &Value| {
        all().filter(|one| one.set.key() == *key).any(|one| match &one.family {
            Family::Values => one.set.values.contains(value),
            other => !other.select(&[value.clone()].into(), |_| false).is_empty(),
        })
    };
    let of = |(key, set): (&Key, &RecordSet)| {
        let values: Vec<_> = set.values.iter().map(|value| (key.clone(), value.clone())).collect();
        values
    };
    let values = zone.iter().filter(|(key, _)| !owner::is_marker(&key.name)).flat_map(of);
    values.filter(|(key, value)| !touched(key, value)).collect()
}

proptest! {
    #[test]
    fn a_plan_settles_and_values_of_others_stay(
        mut zone in some_zone(), first in desires(), second in desires(), adoption in some_adoption(),
    ) {
        let strangers = foreign(&zone, &first, &second);
        let (mut inventory, mut owned) = (Inventory::default(), BTreeSet::new());
        for desired in [&first, &second, &Vec::new()] {
            let plan = plan_for(&zone, desired, &inventory, adoption);
            apply(&mut zone, &plan.changes);
            let again = plan_for(&zone, desired, &plan.inventory, adoption);
            prop_assert!(again.is_settled(), "{:#?}", again.changes);
            prop_assert_eq!(&again.inventory, &plan.inventory);
            // A crash before the inventory was stored is the same.
            let crashed = plan_for(&zone, desired, &plan.intent, adoption);
            prop_assert!(crashed.is_settled(), "{:#?}", crashed.changes);
            for record in &again.records {
                let shown = zone.get(&record.desired.set.key());
                let shown = shown.map(|set| set.values.clone()).unwrap_or_default();
                let conflict = matches!(record.state, State::Conflict { .. });
                prop_assert!(conflict || record.desired.set.values.is_subset(&shown));
            }
            for (key, value) in &strangers {
                prop_assert!(zone.get(key).is_some_and(|set| set.values.contains(value)), "{key} {value}");
            }
            owned.extend(plan.inventory.iter().map(|entry| (entry.key.clone(), entry.family.clone())));
            inventory = plan.inventory;
        }
        prop_assert!(inventory.is_empty());
        let left = |(key, family): &(Key, Family)| {
            let at = owner::marker(key).unwrap();
            let lines = zone.get(&at).into_iter().flat_map(|set| &set.values).filter_map(Claim::read);
            lines.into_iter().any(|claim| {
                claim.owner == us() && claim.record_type == key.record_type && claim.family == *family
            })
        };
        prop_assert!(!owned.iter().any(left), "{zone:#?}");
    }
}
