//! Whatever the network and the server do, a body that was stored is read as it was written.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ekitei_blob::resilience::{Metrics, Settings as Patience};
use ekitei_blob::{Blobs, BodyId, Error, ObjectErrorKind, ObjectStore, Owner, Resilient, Settings};
use ekitei_kv::Database;
use ekitei_kv::clock::SystemClock;
use ekitei_s3::S3Store;
use ekitei_telemetry::Registry;

use crate::support::proxy::{Fault, Proxy};
use crate::support::{bucket, noise, seaweed, settings};

/// Bodies in a real bucket behind a hostile proxy.
struct Scene {
    proxy: Proxy,
    database: Database,
    store: Resilient,
    blobs: Blobs,
    registry: Registry,
}

/// Short times, so that the tests are short.
fn patience() -> Patience {
    Patience {
        attempt: Duration::from_secs(2),
        total: Duration::from_secs(15),
        first_delay: Duration::from_millis(5),
        max_delay: Duration::from_millis(100),
        hedge_after: Duration::from_millis(300),
        away_after: Duration::from_millis(500),
        probe_interval: Duration::from_millis(100),
        ..Patience::default()
    }
}

impl Scene {
    /// A scene with a bucket of this name, or none and a line in the report of what was skipped.
    async fn set(name: &str) -> Option<Self> {
        let address = seaweed::shared()?;
        bucket(&address, name).await;
        let proxy = Proxy::start(&address).await;
        let objects = S3Store::open(settings(&proxy.address, name)).await.unwrap();
        let registry = Registry::new();
        let store = Resilient::new(objects, patience(), Metrics::new(&registry));
        let database = Database::in_memory();
        let settings = Settings { hot_limit: 1000, ..Settings::default() };
        let blobs = Blobs::new(database.clone(), store.clone(), settings, std::sync::Arc::new(SystemClock));
        Some(Self { proxy, database, store, blobs, registry })
    }

    async fn store(&self, body: &Bytes) -> Result<BodyId, Error> {
        let prepared = &self.blobs.prepare(body.clone()).await?;
        self.database
            .transact(|transaction| async move {
                prepared.store(&transaction, Owner::Account(1)).await?;
                ekitei_blob::add_reference(&transaction, prepared.id(), 1);
                Ok::<_, Error>(())
            })
            .await?;
        Ok(prepared.id())
    }

    /// Stores a body and reads it, while these things happen to the requests of this method.
    async fn survives(&self, method: &str, faults: Vec<Fault>) {
        let body = noise(400_000);
        let happened = self.proxy.count(method, "");
        let expected = faults.len();
        self.proxy.fail(method, faults.clone());
        let id = self.store(&body).await.unwrap();
        assert!(self.blobs.read(id, 0..u64::MAX).await.unwrap() == body, "{faults:?}: another body");
        assert!(self.proxy.count(method, "") >= happened + expected, "{faults:?} did not all happen");
    }

    fn metric(&self, line: &str) -> bool {
        self.registry.render().lines().any(|shown| shown.starts_with(line) && !shown.ends_with(" 0"))
    }
}

#[tokio::test]
async fn a_body_survives_what_happens_while_it_is_written() {
    let Some(scene) = Scene::set("written").await else { return };
    scene.survives("PUT", vec![Fault::Answer(503, "SlowDown"), Fault::Answer(503, "SlowDown")]).await;
    scene.survives("PUT", vec![Fault::Answer(500, "InternalError")]).await;
    scene.survives("PUT", vec![Fault::Swallow, Fault::Swallow]).await;
    scene.survives("PUT", vec![Fault::Answer(403, "ExpiredToken")]).await;
    scene.survives("PUT", vec![Fault::Hang]).await;
    assert!(scene.metric("ekitei_blob_object_retries_total{operation=\"put\",reason=\"throttled\"}"));
    assert!(scene.metric("ekitei_blob_object_retries_total{operation=\"put\",reason=\"expired\"}"));
}

#[tokio::test]
async fn a_body_survives_what_happens_while_it_is_read() {
    let Some(scene) = Scene::set("read").await else { return };
    scene
        .survives("GET", vec![Fault::Answer(503, "SlowDown"), Fault::Answer(503, "ServiceUnavailable")])
        .await;
    scene.survives("GET", vec![Fault::Reset, Fault::Reset]).await;
    scene.survives("GET", vec![Fault::Truncate, Fault::Truncate]).await;
    scene.survives("GET", vec![Fault::Swallow]).await;
    scene.survives("GET", vec![Fault::Answer(400, "ExpiredToken")]).await;
    scene.survives("GET", vec![Fault::Flip]).await;
    // An eventually consistent store does not show a new object at once.
    scene.survives("GET", vec![Fault::Answer(404, "NoSuchKey"), Fault::Answer(404, "NoSuchKey")]).await;
    assert!(scene.metric("ekitei_blob_object_retries_total{operation=\"get\",reason=\"damaged\"}"));
    assert!(scene.metric("ekitei_blob_object_retries_total{operation=\"get\",reason=\"not-found\"}"));
}

#[tokio::test]
async fn an_expired_token_is_renewed_even_if_the_answer_does_not_say_so() {
    let Some(scene) = Scene::set("head").await else { return };
    scene.store.put("abcd", vec![noise(100)]).await.unwrap();
    // An answer to HEAD has no body, and so no code.
    scene.proxy.fail("HEAD", [Fault::Answer(400, "ExpiredToken")]);
    assert_eq!(scene.store.head("abcd").await.unwrap().size, 100);
}

#[tokio::test]
async fn a_slow_first_octet_costs_the_delay_of_the_second_request() {
    let Some(scene) = Scene::set("hedged").await else { return };
    let body = noise(100_000);
    let id = scene.store(&body).await.unwrap();
    scene.proxy.fail("GET", [Fault::Slow(Duration::from_millis(1900))]);
    let begun = Instant::now();
    assert!(scene.blobs.read(id, 0..u64::MAX).await.unwrap() == body);
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert!(scene.metric("ekitei_blob_object_hedges_total{outcome=\"won\"}"));
}

#[tokio::test]
async fn a_large_body_is_uploaded_in_parts_and_what_breaks_off_is_aborted() {
    let Some(scene) = Scene::set("parts").await else { return };
    let body = noise(20 << 20);
    // More than are sent again: the whole is begun anew.
    scene.proxy.fail("PUT", vec![Fault::Answer(500, "InternalError"); 6]);
    let id = scene.store(&body).await.unwrap();
    assert!(scene.blobs.read(id, 0..u64::MAX).await.unwrap() == body);
    assert_eq!(scene.proxy.count("POST", "uploads"), 2, "one that broke off, and one more");
    let aborted = async {
        while scene.proxy.count("DELETE", "uploadId=") == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), aborted).await.expect("an upload is left behind");
}

#[tokio::test]
async fn a_part_that_fails_is_sent_again_alone() {
    let Some(scene) = Scene::set("one-part").await else { return };
    let body = noise(20 << 20);
    scene.proxy.fail("PUT", [Fault::Swallow, Fault::Answer(503, "SlowDown"), Fault::Hang]);
    let id = scene.store(&body).await.unwrap();
    assert!(scene.blobs.read(id, 0..u64::MAX).await.unwrap() == body);
    assert_eq!(scene.proxy.count("PUT", "partNumber="), 6, "three parts, each once more");
    assert_eq!(scene.proxy.count("POST", "uploads"), 1, "the others did not begin again");
    assert_eq!(scene.proxy.count("DELETE", "uploadId="), 0);
}

#[tokio::test]
async fn what_is_wrong_with_the_request_is_not_tried_again() {
    let Some(scene) = Scene::set("denied").await else { return };
    scene.proxy.fail("PUT", [Fault::Answer(403, "AccessDenied")]);
    let error = scene.store.put("abcd", vec![noise(5000)]).await.unwrap_err();
    assert_eq!(error.kind(), ObjectErrorKind::Denied);
    assert!(error.to_string().contains("AccessDenied") && error.to_string().contains("PROXY1"), "{error}");
    assert_eq!(scene.proxy.count("PUT", ""), 1);
}

#[tokio::test]
async fn a_store_that_is_away_is_found_back() {
    let Some(scene) = Scene::set("away").await else { return };
    scene.proxy.outage(Some(Fault::Swallow));
    let mut away = scene.store.watch_away();
    let gone = tokio::time::timeout(Duration::from_secs(14), away.wait_for(|away| *away));
    let (put, gone) = tokio::join!(scene.store.put("abcd", vec![noise(5000)]), gone);
    put.unwrap_err();
    gone.expect("the first call finds that it is away").unwrap();
    let begun = Instant::now();
    scene.store.put("abcd", vec![noise(5000)]).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_millis(200), "a call to a store that is away fails at once");
    // What has room among the rows is accepted all the while.
    let body = noise(100);
    let id = scene.store(&body).await.unwrap();

    scene.proxy.outage(None);
    tokio::time::timeout(Duration::from_secs(10), away.wait_for(|away| !away)).await.unwrap().unwrap();
    scene.survives("PUT", Vec::new()).await;
    assert_eq!(scene.blobs.read(id, 0..100).await.unwrap(), body);
}
