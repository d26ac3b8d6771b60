//! What a call costs and how it ends, whatever the store does. Time is tokio's, paused.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};

use ekitei_kv::clock::ManualClock;
use ekitei_telemetry::Registry;

use super::*;
use crate::memory_store::{Fault, Faults, MemoryStore, ScriptedFaults};

const NAME: &str = "abcd";

struct Fixture {
    memory: MemoryStore,
    store: Resilient,
    registry: Registry,
}

fn fixture(settings: Settings, faults: impl Faults) -> Fixture {
    let memory = MemoryStore::with_faults(ManualClock::new(Duration::from_secs(1)), faults);
    let registry = Registry::new();
    let store = Resilient::with_seed(memory.clone(), settings, Metrics::new(&registry), 7);
    Fixture { memory, store, registry }
}

fn scripted(settings: Settings, faults: Vec<Fault>) -> Fixture {
    fixture(settings, ScriptedFaults::new(faults))
}

fn fails(kind: ObjectErrorKind) -> Fault {
    Fault { before: Some(kind), ..Fault::default() }
}

fn takes(latency: Duration) -> Fault {
    Fault { latency, ..Fault::default() }
}

impl Fixture {
    async fn put(&self) -> Result<(), ObjectError> {
        self.store.put(NAME, vec![Bytes::from_static(b"hello")]).await
    }

    fn assert_shown(&self, line: &str) {
        let shown = self.registry.render();
        assert!(shown.contains(line), "no {line} in\n{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_after_growing_pauses() {
    let kinds = [ObjectErrorKind::Throttled, ObjectErrorKind::Unavailable, ObjectErrorKind::Damaged];
    let fixture = scripted(Settings::default(), kinds.map(fails).to_vec());
    let begun = Instant::now();
    fixture.put().await.unwrap();
    assert_eq!(fixture.memory.calls(Operation::Put), 4);
    assert!(begun.elapsed() < Duration::from_millis(500 + 200 + 400));
    fixture.assert_shown("ekitei_blob_object_retries_total{operation=\"put\",reason=\"throttled\"} 1");
    fixture.assert_shown("ekitei_blob_object_requests_total{operation=\"put\",outcome=\"ok\"} 1");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_is_not_tried_again() {
    for kind in [ObjectErrorKind::Denied, ObjectErrorKind::Invalid] {
        let fixture = scripted(Settings::default(), vec![fails(kind)]);
        assert_eq!(fixture.put().await.unwrap_err().kind(), kind);
        assert_eq!(fixture.memory.calls(Operation::Put), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn expired_credentials_are_renewed_at_once_and_not_for_ever() {
    let expired = || fails(ObjectErrorKind::Expired);
    let fixture = scripted(Settings::default(), vec![expired()]);
    let begun = Instant::now();
    fixture.put().await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);

    let fixture = scripted(Settings::default(), vec![expired(), expired(), expired()]);
    assert_eq!(fixture.put().await.unwrap_err().kind(), ObjectErrorKind::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_is_given_up_and_made_again() {
    let hangs = Fault { hangs: true, ..Fault::default() };
    let fixture = scripted(Settings::default(), vec![hangs]);
    let begun = Instant::now();
    fixture.put().await.unwrap();
    assert!(begun.elapsed() >= Settings::default().attempt);
    fixture.assert_shown("ekitei_blob_object_requests_total{operation=\"put\",outcome=\"timeout\"} 1");
}

#[tokio::test(start_paused = true)]
async fn a_large_object_has_more_time() {
    let settings = Settings { min_throughput: 1000, ..Settings::default() };
    let slow = settings.attempt + Duration::from_secs(5);
    let fixture = scripted(settings, vec![takes(slow)]);
    fixture.store.put(NAME, vec![vec![0; 6000].into()]).await.unwrap();
    assert_eq!(fixture.memory.calls(Operation::Put), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline_with_the_last_error() {
    let settings = Settings { away_after: Duration::from_secs(3600), ..Settings::default() };
    let fixture = fixture(settings.clone(), |_: Operation, _: &str| fails(ObjectErrorKind::Unavailable));
    let begun = Instant::now();
    assert_eq!(fixture.put().await.unwrap_err().kind(), ObjectErrorKind::Unavailable);
    assert!(begun.elapsed() <= settings.total);
    assert!(begun.elapsed() >= settings.total - settings.max_delay);
    fixture.assert_shown("ekitei_blob_object_given_up_total{operation=\"put\"} 1");
}

#[tokio::test(start_paused = true)]
async fn an_outage_does_not_multiply_the_load() {
    let settings = Settings {
        away_after: Duration::from_secs(3600),
        retry_share: 10,
        retry_reserve: 20,
        ..Settings::default()
    };
    let fixture = fixture(settings, |_: Operation, _: &str| fails(ObjectErrorKind::Unavailable));
    for _ in 0..500 {
        fixture.put().await.unwrap_err();
    }
    let calls = fixture.memory.calls(Operation::Put);
    assert!((520..=570).contains(&calls), "{calls} requests for 500 calls");
}

#[tokio::test(start_paused = true)]
async fn a_slow_read_is_asked_again_and_the_first_answer_counts() {
    let slow = takes(Duration::from_secs(8));
    let fixture = scripted(Settings::default(), vec![Fault::default(), slow]);
    fixture.put().await.unwrap();
    let begun = Instant::now();
    assert_eq!(fixture.store.get(NAME, 0..5).await.unwrap(), "hello");
    assert!(begun.elapsed() < Duration::from_millis(1100));
    fixture.assert_shown("ekitei_blob_object_hedges_total{outcome=\"won\"} 1");
    fixture.assert_shown("ekitei_blob_object_requests_total{operation=\"get\",outcome=\"dropped\"} 1");
    fixture.assert_shown("ekitei_blob_object_requests_in_flight 0");
}

#[tokio::test(start_paused = true)]
async fn the_error_of_one_of_two_requests_does_not_end_the_other() {
    let (slow, broken) = (takes(Duration::from_secs(2)), fails(ObjectErrorKind::Denied));
    let fixture = scripted(Settings::default(), vec![Fault::default(), slow, broken]);
    fixture.put().await.unwrap();
    assert_eq!(fixture.store.get(NAME, 0..5).await.unwrap(), "hello");
    assert_eq!(fixture.memory.calls(Operation::Get), 2);
    fixture.assert_shown("ekitei_blob_object_hedges_total{outcome=\"lost\"} 1");
}

#[tokio::test(start_paused = true)]
async fn a_new_object_is_waited_for_and_a_missing_one_is_reported() {
    let late = Fault { invisible: Duration::from_millis(900), ..Fault::default() };
    let fixture = scripted(Settings::default(), vec![late]);
    fixture.put().await.unwrap();
    assert!(fixture.store.head(NAME).await.unwrap_err().is_not_found());
    assert_eq!(fixture.store.get(NAME, 0..5).await.unwrap(), "hello");

    let begun = Instant::now();
    assert!(fixture.store.get("none", 0..5).await.unwrap_err().is_not_found());
    assert!(begun.elapsed() < Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn requests_at_the_same_time_are_limited() {
    let (now, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (counted, peak) = (Arc::clone(&now), Arc::clone(&most));
    let memory =
        MemoryStore::with_faults(ManualClock::new(Duration::from_secs(1)), move |_: Operation, _: &str| {
            peak.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                counted.fetch_sub(1, Ordering::SeqCst);
            });
            takes(Duration::from_millis(101))
        });
    let settings = Settings { max_requests: 4, ..Settings::default() };
    let store = Resilient::with_seed(memory.clone(), settings, Metrics::new(&Registry::new()), 7);
    let calls = (0..40).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.put(&format!("object-{n}"), Vec::new()).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert_eq!(memory.names().len(), 40);
    assert_eq!(most.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_left_alone_until_it_is_back() {
    let fixture = scripted(Settings::default(), Vec::new());
    let mut away = fixture.store.watch_away();
    fixture.memory.set_away(true);
    let begun = Instant::now();
    while !fixture.store.is_away() {
        fixture.put().await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(60), "it is never away");
    }
    assert!(begun.elapsed() >= Settings::default().away_after);
    assert!(*away.borrow_and_update());
    fixture.assert_shown("ekitei_blob_object_store_away 1");

    let (puts, failed) = (fixture.memory.calls(Operation::Put), Instant::now());
    for _ in 0..1000 {
        assert_eq!(fixture.put().await.unwrap_err().kind(), ObjectErrorKind::Unavailable);
    }
    assert_eq!(fixture.memory.calls(Operation::Put), puts);
    assert_eq!(failed.elapsed(), Duration::ZERO);

    tokio::time::sleep(Duration::from_secs(60)).await;
    let probes = fixture.memory.calls(Operation::Head);
    assert!((20..=60).contains(&probes), "{probes} probes in a minute");
    fixture.memory.set_away(false);
    away.changed().await.unwrap();
    assert!(!*away.borrow());
    fixture.put().await.unwrap();
    fixture.assert_shown("ekitei_blob_object_store_away 0");
    fixture.assert_shown("ekitei_blob_object_store_outages_total 1");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_away_even_if_one_request_comes_after_the_other() {
    let hangs = |_: Operation, _: &str| Fault { hangs: true, ..Fault::default() };
    let fixture = fixture(Settings::default(), hangs);
    let begun = Instant::now();
    fixture.put().await.unwrap_err();
    assert!(fixture.store.is_away());
    assert!(begun.elapsed() < Settings::default().total);
}

#[tokio::test(start_paused = true)]
async fn pauses_that_are_longer_than_the_patience_do_not_hide_that_a_store_is_away() {
    let settings = Settings {
        first_delay: Duration::from_secs(5),
        away_after: Duration::from_millis(500),
        ..Settings::default()
    };
    let fixture = fixture(settings, |_: Operation, _: &str| fails(ObjectErrorKind::Unavailable));
    fixture.put().await.unwrap_err();
    assert!(fixture.store.is_away());
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_tells_that_the_store_is_back() {
    let settings = Settings { attempt: Duration::from_secs(40), ..Settings::default() };
    let fixture = fixture(settings, |_: Operation, name: &str| match name {
        "slow" => takes(Duration::from_secs(30)),
        _ => fails(ObjectErrorKind::Unavailable),
    });
    let slow = tokio::spawn({
        let store = fixture.store.clone();
        async move { store.put("slow", Vec::new()).await }
    });
    while !fixture.store.is_away() {
        fixture.put().await.unwrap_err();
    }
    fixture.assert_shown("ekitei_blob_object_store_away 1");
    slow.await.unwrap().unwrap();
    assert!(!fixture.store.is_away());
    fixture.assert_shown("ekitei_blob_object_store_away 0");
    // Nobody asks any more.
    let probes = fixture.memory.calls(Operation::Head);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fixture.memory.calls(Operation::Head), probes);
}

#[tokio::test(start_paused = true)]
async fn who_fails_with_damage_again_and_again_is_given_up() {
    let fixture = fixture(Settings::default(), |_: Operation, _: &str| fails(ObjectErrorKind::Damaged));
    fixture.put().await.unwrap_err();
    fixture.assert_shown("ekitei_blob_object_given_up_total{operation=\"put\"} 1");
}

#[tokio::test(start_paused = true)]
async fn many_are_deleted_side_by_side() {
    let fixture = fixture(Settings::default(), |_: Operation, _: &str| takes(Duration::from_millis(100)));
    let names: Vec<String> = (0..40).map(|n| format!("object-{n}")).collect();
    let begun = Instant::now();
    fixture.store.delete_many(&names).await.unwrap();
    assert_eq!(fixture.memory.calls(Operation::Delete), 40);
    assert!(begun.elapsed() <= Duration::from_millis(700), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whatever_a_store_does_what_was_written_is_read() {
    for seed in 0..50 {
        // Damage that nobody notices is not of this layer: bodies have their own checksums.
        let rates = crate::memory_store::Rates { cut: 0.0, flip: 0.0, ..crate::memory_store::Rates::harsh() };
        let settings = Settings { retry_share: 100, ..Settings::default() };
        let fixture = fixture(settings, crate::memory_store::SeededFaults::new(seed, rates));
        for n in 0..40 {
            let (name, body) = (format!("object-{n}"), format!("body {n}"));
            fixture.store.put(&name, vec![body.clone().into()]).await.unwrap();
            let begun = Instant::now();
            let read = fixture.store.get(&name, 0..99).await;
            assert_eq!(read.as_deref(), Ok(body.as_bytes()), "seed {seed}, after {:?}", begun.elapsed());
        }
        let listed = fixture.store.list("", "", 100).await.unwrap();
        assert!(listed.len() <= 40);
    }
}
