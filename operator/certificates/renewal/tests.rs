//! Windows, two thirds, and keys.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use rcgen::{CertificateParams, KeyPair};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A certificate for the first 90 days of 2026.
fn certificate() -> Certificate {
    let mut parameters = CertificateParams::new(vec!["mx.example.org".to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2026, 4, 1);
    let made = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
    Certificate::from_pem(&made.pem()).unwrap()
}

fn advice(start: &str, end: &str) -> Advice {
    let window = Window { start: time(start), end: time(end), explanation: None };
    Advice { window, ask_after: Duration::from_secs(3600) }
}

#[test]
fn without_advice_it_is_at_two_thirds() {
    let now = time("2026-01-01T00:00:00Z");
    let plan = Plan::new(&certificate(), None, now);
    let error = plan.renew_at.duration_since(time("2026-03-02T00:00:00Z")).abs();
    assert!(error.as_secs() <= 1, "{}", plan.renew_at);
    for (moment, stands) in [
        ("2026-03-01T23:00:00Z", Freshness::Fresh),
        ("2026-03-02T01:00:00Z", Freshness::Due),
        ("2026-03-16T23:00:00Z", Freshness::Due),
        ("2026-03-17T01:00:00Z", Freshness::Urgent),
        ("2026-04-01T00:00:01Z", Freshness::Expired),
    ] {
        assert_eq!(plan.freshness(time(moment)), stands, "{moment}");
    }
    assert!(!plan.is_to_be_asked(time("2026-01-01T05:59:59Z")));
    assert!(plan.is_to_be_asked(time("2026-01-01T06:00:00Z")));
}

#[test]
fn a_time_in_the_window_is_always_the_same_for_one_certificate_and_spread_over_many() {
    let now = time("2026-01-01T00:00:00Z");
    let window = advice("2026-02-20T00:00:00Z", "2026-02-22T00:00:00Z");
    let certificates: Vec<Certificate> = (0..16).map(|_| certificate()).collect();
    let times: BTreeSet<Timestamp> = certificates
        .iter()
        .map(|certificate| {
            let plan = Plan::new(certificate, Some(window.clone()), now);
            assert_eq!(plan, Plan::new(certificate, Some(window.clone()), now));
            assert_eq!(plan.ask_at, time("2026-01-01T01:00:00Z"));
            assert!((window.window.start..window.window.end).contains(&plan.renew_at));
            plan.renew_at
        })
        .collect();
    assert!(times.len() > 12, "{times:?}");
}

#[test]
fn a_window_that_moves_moves_the_renewal() {
    let certificate = certificate();
    let mut plan = Plan::new(
        &certificate,
        Some(advice("2026-02-20T00:00:00Z", "2026-02-22T00:00:00Z")),
        time("2026-01-01T00:00:00Z"),
    );
    // The authority is about to revoke.
    plan.update(
        &certificate,
        Some(advice("2026-01-09T00:00:00Z", "2026-01-09T01:00:00Z")),
        time("2026-01-10T00:00:00Z"),
    );
    assert_eq!(plan.freshness(time("2026-01-10T00:00:00Z")), Freshness::Due);
    // It cannot be asked: what it said holds, and it is asked later.
    let before = plan.clone();
    plan.update(&certificate, None, time("2026-01-10T00:00:00Z"));
    assert_eq!((plan.renew_at, &plan.window), (before.renew_at, &before.window));
    assert_eq!(plan.ask_at, time("2026-01-10T06:00:00Z"));
}

#[test]
fn advice_that_cannot_be_meant_is_not_followed() {
    let certificate = certificate();
    let now = time("2026-01-01T00:00:00Z");
    let two_thirds = Plan::new(&certificate, None, now).renew_at;
    let backwards =
        Plan::new(&certificate, Some(advice("2026-02-22T00:00:00Z", "2026-02-20T00:00:00Z")), now);
    assert_eq!((backwards.renew_at, backwards.window), (two_thirds, None));
    let late = Plan::new(&certificate, Some(advice("2027-02-20T00:00:00Z", "2027-02-22T00:00:00Z")), now);
    assert!(
        late.renew_at < certificate.not_after(),
        "the certificate shall not end before: {}",
        late.renew_at
    );
    let mut hurried = advice("2026-02-20T00:00:00Z", "2026-02-22T00:00:00Z");
    hurried.ask_after = Duration::ZERO;
    assert_eq!(Plan::new(&certificate, Some(hurried), now).ask_at, time("2026-01-01T00:01:00Z"));
    let mut lazy = advice("2026-02-20T00:00:00Z", "2026-02-22T00:00:00Z");
    lazy.ask_after = DAY * 365;
    assert_eq!(Plan::new(&certificate, Some(lazy), now).ask_at, time("2026-01-02T00:00:00Z"));
}

#[test]
fn a_key_is_due_before_the_renewal_at_which_it_would_be_too_old() {
    let certificate = certificate();
    let plan = Plan::new(&certificate, None, time("2026-01-01T00:00:00Z"));
    let since = time("2025-10-01T00:00:00Z");
    let due = |now: &str, age: Option<Duration>| plan.key_is_due(since, age, 2 * DAY, time(now));
    assert!(!due("2026-02-27T00:00:00Z", Some(Duration::ZERO)), "the renewal is far");
    assert!(due("2026-02-28T01:00:00Z", Some(Duration::ZERO)));
    assert!(due("2026-02-28T01:00:00Z", Some(DAY * 152)));
    assert!(!due("2026-02-28T01:00:00Z", Some(DAY * 153)), "it will be 152 days old");
    assert!(!due("2026-03-28T00:00:00Z", None), "kept for ever");
}
