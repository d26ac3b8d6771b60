//! The rules one by one, and then the promise under any order of events.

#![allow(clippy::unwrap_used)]

mod promise;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::*;
use crate::KeyId;
use crate::renewal::Freshness;

pub(super) fn key(number: u8) -> KeyId {
    KeyId::from_bytes([number; 32])
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

const TTL: u64 = 3600;
/// The TTL and the default margin.
const WAIT: i64 = 3600 + 600;

/// Key 1 in force with a fresh certificate, and shown by two name servers.
fn calm(now: i64) -> Observation {
    Observation {
        now: at(now),
        tlsa: Some(TTL),
        served: Served::Certificate { key: key(1), newest: true },
        keys: BTreeSet::from([key(1)]),
        candidate: None,
        certificates: BTreeMap::from([(key(1), Freshness::Fresh)]),
        rotation_due: false,
        shown: shown(&[&[1], &[1]]),
    }
}

/// What name servers show.
fn shown(servers: &[&[u8]]) -> Option<Vec<BTreeSet<KeyId>>> {
    Some(servers.iter().map(|keys| keys.iter().copied().map(key).collect()).collect())
}

fn publish(keys: &[u8]) -> Action {
    Action::Publish(keys.iter().copied().map(key).collect())
}

fn steady(current: u8) -> Rollover {
    Rollover {
        phase: Phase::Steady { current: key(current) },
        published_ttl: Some(TTL),
        withdrawn_since: None,
    }
}

fn step(state: &Rollover, seen: &Observation) -> Step {
    state.advance(seen, &Timing::default())
}

#[test]
fn nothing_is_done_to_a_steady_host_but_that_its_record_is_kept() {
    let step = step(&steady(1), &calm(0));
    assert_eq!(step.state, steady(1));
    assert_eq!(step.actions, [publish(&[1])]);
    assert_eq!(step.wake, None);
}

#[test]
fn a_host_with_dane_goes_from_key_to_key_in_four_steps() {
    // The key is due: another one is made first.
    let mut seen = Observation { rotation_due: true, ..calm(0) };
    let made = step(&steady(1), &seen);
    assert_eq!(made.actions, [publish(&[1]), Action::PrepareKey]);

    // Both are published as soon as it exists, and nothing else happens until all name servers show both.
    seen.candidate = Some(key(2));
    seen.keys.insert(key(2));
    let published = step(&made.state, &seen);
    assert_eq!(published.actions, [publish(&[1, 2])]);
    assert_eq!(
        published.state.phase,
        Phase::NextPublished { current: key(1), next: key(2), shown_since: None }
    );

    seen.now = at(100_000);
    seen.shown = shown(&[&[1, 2], &[1]]);
    let lagging = step(&published.state, &seen);
    assert_eq!(lagging.state, published.state, "one name server is behind");

    // All show it: the TTL and the margin pass.
    seen.now = at(100_010);
    seen.shown = shown(&[&[1, 2], &[1, 2]]);
    let waiting = step(&lagging.state, &seen);
    assert_eq!(waiting.wake, Some(at(100_010 + WAIT)));
    seen.now = at(100_010 + WAIT - 1);
    let still = step(&waiting.state, &seen);
    assert_eq!(still.state, waiting.state);
    assert_eq!(still.actions, [publish(&[1, 2])]);

    // The certificate of the next key is obtained and put in force.
    seen.now = at(100_010 + WAIT);
    let due = step(&still.state, &seen);
    assert_eq!(due.state.phase, Phase::SwitchDue { current: key(1), next: key(2) });
    assert_eq!(due.actions, [publish(&[1, 2]), Action::Issue(key(2))]);
    seen.certificates.insert(key(2), Freshness::Fresh);
    assert_eq!(step(&due.state, &seen).actions, [publish(&[1, 2]), Action::Deploy(key(2))]);

    // It is in force: the old record stays for an hour, and then the old key has no use.
    seen.served = Served::Certificate { key: key(2), newest: true };
    seen.candidate = None;
    seen.rotation_due = false;
    let switched = step(&due.state, &seen);
    assert_eq!(switched.actions, [publish(&[1, 2])]);
    assert_eq!(switched.wake, Some(at(100_010 + WAIT + 3600)));
    seen.now = at(100_010 + WAIT + 3600);
    let end = step(&switched.state, &seen);
    assert_eq!(end.state, steady(2));
    assert_eq!(end.actions, [publish(&[2]), Action::Discard(key(1))]);
}

#[test]
fn without_dane_a_key_is_followed_at_once() {
    let state = Rollover { phase: Phase::Steady { current: key(1) }, ..Rollover::default() };
    let seen = Observation {
        tlsa: None,
        shown: None,
        rotation_due: true,
        candidate: Some(key(2)),
        keys: BTreeSet::from([key(1), key(2)]),
        certificates: BTreeMap::from([(key(1), Freshness::Due), (key(2), Freshness::Fresh)]),
        ..calm(0)
    };
    let step = step(&state, &seen);
    assert_eq!(step.state.phase, Phase::SwitchDue { current: key(1), next: key(2) });
    assert_eq!(step.actions, [Action::Deploy(key(2))], "and nothing is said to any name server");
}

#[test]
fn a_renewal_with_the_same_key_needs_no_names() {
    let mut seen =
        Observation { certificates: BTreeMap::from([(key(1), Freshness::Due)]), shown: None, ..calm(0) };
    assert_eq!(step(&steady(1), &seen).actions, [publish(&[1]), Action::Issue(key(1))]);
    seen.certificates.insert(key(1), Freshness::Fresh);
    seen.served = Served::Certificate { key: key(1), newest: false };
    assert_eq!(step(&steady(1), &seen).actions, [publish(&[1]), Action::Deploy(key(1))]);
}

#[test]
fn the_first_certificate_is_in_force_before_its_record_is_published() {
    let nothing = Observation {
        served: Served::Nothing,
        keys: BTreeSet::new(),
        certificates: BTreeMap::new(),
        shown: shown(&[&[]]),
        ..calm(0)
    };
    assert_eq!(step(&Rollover::default(), &nothing).actions, [Action::PrepareKey]);
    let mut seen = Observation { keys: BTreeSet::from([key(1)]), candidate: Some(key(1)), ..nothing };
    let first = step(&Rollover::default(), &seen);
    assert_eq!(first.state.phase, Phase::First { key: key(1) });
    assert_eq!(first.actions, [Action::Issue(key(1))]);
    seen.certificates.insert(key(1), Freshness::Fresh);
    assert_eq!(step(&first.state, &seen).actions, [Action::Deploy(key(1))]);
    seen.served = Served::Certificate { key: key(1), newest: true };
    let steady_now = step(&first.state, &seen);
    assert_eq!(steady_now.actions, [], "the state says that it is in force, and the next round publishes it");
    assert_eq!(step(&steady_now.state, &seen).actions, [publish(&[1])]);
}

#[test]
fn a_record_that_vanishes_from_a_name_server_starts_the_wait_again() {
    let phase = Phase::NextPublished { current: key(1), next: key(2), shown_since: Some(at(0)) };
    let state = Rollover { phase, ..steady(1) };
    let seen = Observation {
        keys: BTreeSet::from([key(1), key(2)]),
        shown: shown(&[&[1, 2], &[1]]),
        ..calm(WAIT * 10)
    };
    let step_back = step(&state, &seen);
    assert_eq!(
        step_back.state.phase,
        Phase::NextPublished { current: key(1), next: key(2), shown_since: None }
    );

    let due = Rollover { phase: Phase::SwitchDue { current: key(1), next: key(2) }, ..steady(1) };
    let ready = BTreeMap::from([(key(1), Freshness::Fresh), (key(2), Freshness::Fresh)]);
    let seen = Observation { certificates: ready, ..seen };
    assert_eq!(step(&due, &seen).state.phase, step_back.state.phase);
    let unknown = Observation { shown: None, ..seen };
    assert_eq!(step(&due, &unknown).actions, [publish(&[1, 2])], "what cannot be seen is not risked");
}

#[test]
fn a_lost_key_is_followed_by_another_and_its_record_stays_until_then() {
    let seen = Observation { keys: BTreeSet::new(), certificates: BTreeMap::new(), ..calm(0) };
    assert_eq!(step(&steady(1), &seen).actions, [publish(&[1]), Action::PrepareKey]);

    let phase = Phase::NextPublished { current: key(1), next: key(2), shown_since: Some(at(0)) };
    let lost = step(&Rollover { phase, ..steady(1) }, &calm(10));
    assert_eq!(lost.state.phase, Phase::Switched { current: key(1), previous: key(2), since: None });
    assert_eq!(lost.actions, [publish(&[1, 2])]);
}

#[test]
fn what_somebody_else_put_in_force_gets_its_record_and_is_replaced() {
    let seen = Observation { served: Served::Certificate { key: key(9), newest: false }, ..calm(0) };
    assert_eq!(step(&steady(1), &seen).actions, [publish(&[1, 9]), Action::Deploy(key(1))]);
}

#[test]
fn after_dane_is_given_up_a_new_key_waits_until_no_cache_has_a_record() {
    let mut seen = Observation {
        tlsa: None,
        rotation_due: true,
        candidate: Some(key(2)),
        keys: BTreeSet::from([key(1), key(2)]),
        ..calm(0)
    };
    let first = step(&steady(1), &seen);
    assert_eq!(first.actions, [publish(&[])]);
    seen.shown = shown(&[&[], &[]]);
    let withdrawn = step(&first.state, &seen);
    assert_eq!(withdrawn.wake, Some(at(WAIT)));
    assert!(matches!(withdrawn.state.phase, Phase::NextPublished { .. }));
    seen.now = at(WAIT);
    let done = step(&withdrawn.state, &seen);
    assert_eq!(done.state.phase, Phase::SwitchDue { current: key(1), next: key(2) });
    assert_eq!(done.state.published_ttl, None);
}

#[test]
fn a_ttl_that_was_longer_once_is_waited_for() {
    let seen = Observation { tlsa: Some(60), ..calm(0) };
    assert_eq!(step(&steady(1), &seen).state.published_ttl, Some(TTL));
    let seen = Observation { tlsa: Some(86_400), ..calm(0) };
    assert_eq!(step(&steady(1), &seen).state.published_ttl, Some(86_400));
}

#[test]
fn the_state_is_written_as_it_is_read_in_a_status() {
    let phase = Phase::NextPublished { current: key(1), next: key(2), shown_since: Some(at(0)) };
    let state = Rollover { phase, ..steady(1) };
    let text = serde_json::to_value(&state).unwrap();
    assert_eq!(
        text,
        serde_json::json!({
            "phase": "NextPublished", "current": "01".repeat(32), "next": "02".repeat(32),
            "shownSince": "2027-01-15T08:00:00Z", "publishedTtl": 3600
        })
    );
    assert_eq!(serde_json::from_value::<Rollover>(text).unwrap(), state);
    assert_eq!(serde_json::to_value(Rollover::default()).unwrap(), serde_json::json!({"phase": "Empty"}));
}
