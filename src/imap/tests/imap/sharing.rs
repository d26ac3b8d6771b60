//! Reads that share something: one holds what another waits for.

use std::ops::Range;

use bytes::Bytes;
use ekitei_blob::{DirectoryStore, ObjectFuture, ObjectInfo, ObjectStore};
use ekitei_net::Tls;
use tokio::sync::Semaphore;

use crate::support::World;

/// A store that reads for one at a time, and not at once.
struct OneAtATime {
    objects: DirectoryStore,
    place: Semaphore,
}

impl ObjectStore for OneAtATime {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        self.objects.put(name, pieces)
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
        Box::pin(async move {
            let _place = self.place.acquire().await.unwrap();
            tokio::task::yield_now().await;
            self.objects.get(name, range).await
        })
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        self.objects.head(name)
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
        self.objects.list(prefix, after, limit)
    }
}

/// What is read ahead for later messages must not stop while the client takes an earlier one, or the rest of that waits for it for ever.
#[tokio::test]
async fn a_message_waits_for_no_read_that_waits_for_it() {
    let wrap = |objects| OneAtATime { objects, place: Semaphore::new(1) };
    let world = World::over(wrap, Tls::none(), |_| {}).await;
    // Too large for a row, and larger than what is read ahead. Lines that differ do not compress to nothing.
    let large = |of: u64| {
        let mut text = format!("Subject: {of}\r\n\r\n");
        let mut number = of;
        while text.len() < 3 << 20 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(&format!("{number:020}{:020}\r\n", number.rotate_left(29)));
        }
        text
    };
    let messages: Vec<String> = (1..=4).map(large).collect();
    world.put("alice", "INBOX", &messages.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut client = world.select("alice").await;

    let answer = client.command("FETCH 1:4 BODY.PEEK[]").await;

    assert!(answer.tagged.starts_with("OK"), "{}", answer.tagged);
    for (untagged, message) in answer.untagged.iter().zip(&messages) {
        assert!(untagged.contains(message.as_str()), "a message came back otherwise");
    }
    assert_eq!(answer.untagged.len(), messages.len());
}
