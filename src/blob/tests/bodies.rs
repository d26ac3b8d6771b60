//! What is promised of bodies: read back as written, checked, collected only when nobody refers to them.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{
    Blobs, BodyId, Collected, DirectoryStore, Error, Owner, Settings, add_reference, remove_reference,
};
use ekitei_kv::clock::ManualClock;
use ekitei_kv::{Database, Link, LinkFuture};
use proptest::prelude::*;

const GRACE: Duration = Duration::from_secs(100);

struct Fixture {
    folder: tempfile::TempDir,
    database: Database,
    clock: Arc<ManualClock>,
    blobs: Blobs,
}

/// Blocks of 1000 octets; up to 3000 are hot.
fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::in_memory();
    let clock = ManualClock::new(Duration::from_secs(1_000_000));
    let settings = Settings { hot_limit: 3000, block_size: 1000, grace: GRACE, ..Settings::default() };
    let objects = DirectoryStore::open(folder.path()).unwrap();
    let blobs = Blobs::new(database.clone(), objects, settings, clock.clone());
    Fixture { folder, database, clock, blobs }
}

impl Fixture {
    /// Stores a body that account 1 refers to.
    async fn store(&self, body: Bytes) -> BodyId {
        let prepared = &self.blobs.prepare(body).await.unwrap();
        self.database
            .transact(|transaction| async move {
                prepared.store(&transaction, Owner::Account(1)).await?;
                add_reference(&transaction, prepared.id(), 1);
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        prepared.id()
    }

    async fn unrefer(&self, body: BodyId, account: u64) {
        let now = ekitei_kv::clock::Clock::now(&*self.clock);
        self.database
            .transact(|transaction| async move {
                remove_reference(&transaction, body, account, now);
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
    }

    fn object_files(&self) -> usize {
        fn count(path: &std::path::Path) -> usize {
            let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
            entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
        }
        count(self.folder.path())
    }
}

fn noise(length: usize) -> Bytes {
    (0..length).map(|_| rand::random::<u8>()).collect()
}

#[tokio::test]
async fn small_bodies_are_rows_and_large_ones_are_objects() {
    let fixture = fixture();
    for length in [0, 1, 999, 1000, 1001, 3000] {
        let body = noise(length);
        let id = fixture.store(body.clone()).await;
        assert_eq!(fixture.blobs.read(id, 0..u64::MAX).await.unwrap(), body);
    }
    assert_eq!(fixture.object_files(), 0);
    let text = Bytes::from(b"compressible ".repeat(1000));
    let id = fixture.store(text.clone()).await;
    assert_eq!(fixture.object_files(), 0, "what compresses below the limit is hot");
    assert_eq!(fixture.blobs.read(id, 0..u64::MAX).await.unwrap(), text);

    let body = noise(12_345);
    let id = fixture.store(body.clone()).await;
    assert_eq!(fixture.object_files(), 1);
    assert_eq!(fixture.blobs.read(id, 0..u64::MAX).await.unwrap(), body);
}

#[tokio::test]
async fn a_body_that_was_never_stored_is_not_found() {
    let missing = BodyId::from_bytes([1; 16]);
    assert!(matches!(fixture().blobs.read(missing, 0..1).await, Err(Error::NotFound(id)) if id == missing));
}

#[tokio::test]
async fn a_damaged_object_is_reported_and_its_sound_blocks_are_still_read() {
    let fixture = fixture();
    let body = noise(5000);
    let id = fixture.store(body.clone()).await;
    let name = id.to_string();
    let path = fixture.folder.path().join(&name[30..]).join(&name[28..30]).join(&name);
    let mut octets = std::fs::read(&path).unwrap();
    octets[2500] ^= 1;
    std::fs::write(&path, &octets).unwrap();
    assert!(matches!(fixture.blobs.read(id, 0..5000).await, Err(Error::Damaged { .. })));
    assert_eq!(fixture.blobs.read(id, 0..2000).await.unwrap(), body.slice(0..2000));
    octets.truncate(4100);
    std::fs::write(&path, &octets).unwrap();
    assert!(matches!(fixture.blobs.read(id, 4050..5000).await, Err(Error::Damaged { .. })));
}

#[tokio::test]
async fn a_body_is_deleted_after_the_grace_period_once_nobody_refers_to_it() {
    let fixture = fixture();
    let (small, large) = (fixture.store(noise(10)).await, fixture.store(noise(5000)).await);
    let kept = fixture.store(noise(10)).await;
    fixture
        .database
        .transact(|transaction| async move {
            add_reference(&transaction, kept, 2);
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    for body in [small, large, kept] {
        fixture.unrefer(body, 1).await;
    }
    assert_eq!(fixture.blobs.collect().await.unwrap(), Collected { waiting: 3, ..Collected::default() });

    fixture.clock.advance(GRACE);
    let collected = fixture.blobs.collect().await.unwrap();
    assert_eq!(collected, Collected { bodies: 2, objects: 1, waiting: 0 });
    assert_eq!(fixture.object_files(), 0);
    assert!(fixture.blobs.read(kept, 0..10).await.is_ok());
    assert!(matches!(fixture.blobs.read(large, 0..10).await, Err(Error::NotFound(_))));
    assert_eq!(fixture.blobs.collect().await.unwrap(), Collected::default());
}

#[tokio::test]
async fn an_object_without_a_delivery_is_removed_and_its_late_delivery_is_refused() {
    let fixture = fixture();
    let prepared = &fixture.blobs.prepare(noise(5000)).await.unwrap();
    assert_eq!(fixture.blobs.collect().await.unwrap().waiting, 1);
    fixture.clock.advance(GRACE);
    assert_eq!(fixture.blobs.collect().await.unwrap().objects, 1);
    assert_eq!(fixture.object_files(), 0);
    let late = fixture
        .database
        .transact(|transaction| async move { prepared.store(&transaction, Owner::Transit).await })
        .await;
    assert!(matches!(late, Err(Error::IntentExpired(_))));
}

#[tokio::test]
async fn the_collector_looks_at_everything_that_waits_however_much_it_is() {
    let fixture = fixture();
    let body = |n: u64| BodyId::from_bytes((u128::from(n) << 64).to_be_bytes());
    fixture
        .database
        .transact(|transaction| async move {
            (0..2500).for_each(|n| remove_reference(&transaction, body(n), 1, Duration::from_secs(1)));
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    assert_eq!(fixture.blobs.collect().await.unwrap(), Collected::default());
    fixture.unrefer(body(2500), 1).await;
    assert_eq!(fixture.blobs.collect().await.unwrap().waiting, 1, "the others are done");
}

/// A store that is a millisecond away.
struct Far;

impl Link for Far {
    fn pass(&self) -> LinkFuture<'_> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_collector_does_not_wait_for_one_deletion_before_it_begins_the_next() {
    const BODIES: u64 = 200;
    let fixture = fixture();
    for n in 0..BODIES {
        let body = fixture.store(Bytes::from(n.to_be_bytes().to_vec())).await;
        fixture.unrefer(body, 1).await;
    }
    fixture.clock.advance(GRACE);
    let objects = DirectoryStore::open(fixture.folder.path()).unwrap();
    let settings = Settings { grace: GRACE, ..Settings::default() };
    let far = fixture.database.behind(Arc::new(Far));
    let blobs = Blobs::new(far, objects, settings, fixture.clock.clone());
    let begun = tokio::time::Instant::now();
    assert_eq!(blobs.collect().await.unwrap().bodies, BODIES);
    assert!(begun.elapsed() < Duration::from_millis(2 * BODIES), "{:?}", begun.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_range_of_any_body_is_read(
        length in 0usize..8000, start in 0u64..9000, count in 0u64..9000, compressible: bool, twice: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = fixture();
            let body = if compressible { Bytes::from(b"abcdefg ".repeat(length / 8)) } else { noise(length) };
            let id = fixture.store(body.clone()).await;
            let cut = |at: u64| usize::try_from(at).unwrap().min(body.len());
            for _ in 0..=usize::from(twice) {
                let read = fixture.blobs.read(id, start..start + count).await.unwrap();
                assert_eq!(read, body.slice(cut(start)..cut(start + count)));
            }
        });
    }
}
