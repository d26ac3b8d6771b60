//! A store that refuses everything is one finding; one that refuses an object, one for that.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{
    FindingKind, MemoryStore, ObjectError, ObjectErrorKind, ObjectFuture, ObjectInfo, ObjectStore, Scrubbed,
    Scrubber,
};

use crate::scrub;
use crate::support::settings;

/// A bucket whose policy was changed.
#[derive(Clone)]
struct Forbidding {
    objects: MemoryStore,
    all: Arc<AtomicBool>,
    one: String,
}

impl Forbidding {
    fn check(&self, name: &str) -> Result<(), ObjectError> {
        if name == self.one || self.all.load(Ordering::SeqCst) {
            return Err(ObjectError::new(ObjectErrorKind::Denied, "AccessDenied"));
        }
        Ok(())
    }
}

impl ObjectStore for Forbidding {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        self.objects.put(name, pieces)
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
        Box::pin(async move {
            self.check(name)?;
            self.objects.get(name, range).await
        })
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        Box::pin(async move {
            self.check(name)?;
            self.objects.head(name).await
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        self.objects.delete(name)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> ObjectFuture<'a, Vec<ObjectInfo>> {
        Box::pin(async move {
            self.check(prefix)?;
            self.objects.list(prefix, after, limit).await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_refuses_all_is_one_finding_until_it_does_not_any_more() {
    let world = scrub::full().await;
    let lease = scrub::lease(&world.database).await;
    let all = Arc::new(AtomicBool::new(true));
    let objects =
        Forbidding { objects: world.objects.clone(), all: Arc::clone(&all), one: "nothing".to_owned() };
    let blobs = world.process(world.database.clone(), objects, settings());
    let scrubber = Scrubber::new(blobs, Duration::from_secs(100_000));
    for _ in 0..10 {
        assert!(matches!(scrubber.step(&lease).await.unwrap(), Scrubbed::Idle(_)));
    }
    let report = world.blobs.scrub_report().await.unwrap();
    let [finding] = &report.findings[..] else { panic!("{:?}", report.findings) };
    assert_eq!(finding.kind, FindingKind::Refused);
    assert!(finding.what.contains("AccessDenied"));

    // Again in the middle of a run, at the list.
    all.store(false, Ordering::SeqCst);
    let mut refused_again = false;
    let tally = loop {
        match scrubber.step(&lease).await.unwrap() {
            Scrubbed::Finished(tally) => break tally,
            Scrubbed::Idle(_) => {
                refused_again = true;
                all.store(false, Ordering::SeqCst);
            }
            Scrubbed::Step { .. } => {
                let phase = world.blobs.scrub_report().await.unwrap().phase;
                all.store(phase == ekitei_blob::ScrubPhase::Objects && !refused_again, Ordering::SeqCst);
            }
        }
    };
    assert!(refused_again);
    assert_eq!((tally.findings, tally.octets), (0, 30 * 1500 + 12_000 + 5 * 1000), "everything was checked");
    assert_eq!(scrub::findings(&world).await, []);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_refused_does_not_keep_the_others_from_being_checked() {
    let world = scrub::full().await;
    let lease = scrub::lease(&world.database).await;
    let one = world.objects.names().into_iter().find(|name| name.starts_with("segments/")).unwrap();
    let objects = Forbidding { objects: world.objects.clone(), all: Arc::default(), one: one.clone() };
    let blobs = world.process(world.database.clone(), objects, settings());
    let scrubber = Scrubber::new(blobs, Duration::from_secs(100_000));
    while !matches!(scrubber.step(&lease).await.unwrap(), Scrubbed::Finished(_)) {}
    assert_eq!(scrub::findings(&world).await, [(FindingKind::Damaged, one)]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_found_of_a_store_that_is_away_before_anybody_is_sure_of_that() {
    let world = scrub::full().await;
    let lease = scrub::lease(&world.database).await;
    let scrubber = Scrubber::new(world.blobs.clone(), Duration::from_secs(100_000));
    world.objects.set_away(true);
    assert!(scrubber.step(&lease).await.is_err(), "it is done again");
    world.objects.set_away(false);
    while !matches!(scrubber.step(&lease).await.unwrap(), Scrubbed::Finished(_)) {}
    assert_eq!(scrub::findings(&world).await, []);
}
