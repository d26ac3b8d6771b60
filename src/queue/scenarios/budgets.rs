//! What accepting and sending cost the store: see `docs/transactions.md`.

#[path = "../../../tests/transactions/table.rs"]
#[allow(clippy::expect_used)]
mod table;

use super::*;
use table::{Budget, Table};

const fn budget(commits: u64, gets: u64, ranges: u64, rows: u64, kib: u64) -> Budget {
    Budget { commits, gets, ranges, rows, kib }
}

#[tokio::test]
async fn budgets_of_the_queue() {
    let fixture = Fixture::new().await;
    let observer = &fixture.observer;
    let mut table = Table::new("queue");
    fixture.enqueue(&["bob@z.example"]).await;
    observer.take();

    fixture.enqueue(&["bob@a.example"]).await;
    table.spent("accept a message for 1 recipient", observer.take(), budget(1, 2, 0, 0, 4));
    fixture.enqueue(&["bob@b.example", "carol@b.example", "bob@c.example", "bob@d.example"]).await;
    table.spent("accept a message for 3 destinations", observer.take(), budget(1, 2, 0, 0, 6));

    let hints = fixture.fresh("a.example").await;
    let hint = hints[0];
    table.spent("look for what is fresh in a shard", observer.take(), budget(0, 0, 1, 1, 0));
    let loaded = fixture.load("a.example", hint).await.unwrap();
    table.spent("load an entry with its message", observer.take(), budget(0, 3, 0, 0, 0));
    fixture.spool().body(&loaded.message).await.unwrap();
    table.spent("read its body", observer.take(), budget(0, 0, 1, 2, 0));
    let done = settlement(&loaded, &sent(), Next::Remove);
    fixture.spool().settle(&fixture.fence("a.example"), done).await.unwrap();
    table.spent("settle what became of it", observer.take(), budget(1, 6, 1, 0, 4));

    let (queue, message) = (&fixture.queue, || fixture.message(&["bob@e.example"]));
    let accepted = (0..100).map(|_| queue.enqueue(octets("hello"), message()));
    for accepted in futures_util::future::join_all(accepted).await {
        accepted.unwrap();
    }
    table.spent("accept 100 messages at once", observer.take(), budget(2, 0, 0, 0, 250));
    let hints = fixture.fresh("e.example").await;
    let loaded = fixture.spool().load(Shard::of("e.example"), &hints).await.unwrap();
    table.spent("find and load 100 entries", observer.take(), budget(0, 300, 1, 100, 0));
    let fence = &fixture.fence("e.example");
    let settled = loaded
        .iter()
        .flatten()
        .map(|loaded| fixture.spool().settle(fence, settlement(loaded, &sent(), Next::Remove)));
    for settled in futures_util::future::join_all(settled).await {
        settled.unwrap();
    }
    table.spent("settle 100 entries", observer.take(), budget(2, 310, 0, 0, 160));
    table.finish();
}
