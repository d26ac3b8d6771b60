//! A process dies at every step there is: then another goes on, and everything is as it should be.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use ekitei_blob::{Error, MemoryStore, ObjectError, ObjectFuture, ObjectInfo, ObjectStore, Packer};
use ekitei_kv::{Link, LinkFuture};

use crate::support::{GRACE, MAX_AGE, World, settings};

/// So many steps are left; then all fail.
#[derive(Clone)]
struct Fuse(Arc<AtomicI64>);

impl Fuse {
    fn new(steps: i64) -> Self {
        Self(Arc::new(AtomicI64::new(steps)))
    }

    fn burns(&self) -> bool {
        self.0.fetch_sub(1, Ordering::SeqCst) > 0
    }

    fn is_blown(&self) -> bool {
        self.0.load(Ordering::SeqCst) < 0
    }

    fn pass(&self) -> Result<(), ObjectError> {
        if self.burns() { Ok(()) } else { Err(ObjectError::unavailable("the process is dead")) }
    }
}

impl Link for Fuse {
    fn pass(&self) -> LinkFuture<'_> {
        Box::pin(async {
            if self.burns() {
                Ok(())
            } else {
                Err(ekitei_kv::Error::Unavailable("the process is dead".into()))
            }
        })
    }
}

/// Objects behind the fuse: a call may have its effect without an answer.
struct Fused(MemoryStore, Fuse);

impl Fused {
    fn around<'a, T: Send + 'a>(&'a self, work: ObjectFuture<'a, T>) -> ObjectFuture<'a, T> {
        Box::pin(async move {
            self.1.pass()?;
            let result = work.await;
            self.1.pass()?;
            result
        })
    }
}

impl ObjectStore for Fused {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        self.around(self.0.put(name, pieces))
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
        self.around(self.0.get(name, range))
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        self.around(self.0.head(name))
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        self.around(self.0.delete(name))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> ObjectFuture<'a, Vec<ObjectInfo>> {
        self.around(self.0.list(prefix, after, limit))
    }
}

/// The life of some bodies: packed, deleted in part, compacted, collected; by a process that dies after so many steps. Whether it died.
async fn dies_after(steps: i64) -> bool {
    let mut world = World::new().await;
    let mut bodies = Vec::new();
    for n in 0..14 {
        bodies.push(world.store(5, 1500 + n).await);
        world.clock.advance(std::time::Duration::from_millis(1));
    }
    world.clock.advance(MAX_AGE);
    let fuse = Fuse::new(steps);
    let database = world.database.behind(Arc::new(fuse.clone()));
    let blobs = world.process(database, Fused(world.objects.clone(), fuse.clone()), settings());
    let packer = Packer::new(blobs.clone());
    let lease = world.lease(ekitei_blob::Group::of(ekitei_blob::Owner::Account(5)));
    let life = async {
        packer.round(&lease).await?;
        for body in &bodies[..9] {
            world.remove(*body).await;
        }
        for _ in 0..3 {
            world.clock.advance(GRACE);
            blobs.collect().await?;
            packer.compact(&lease).await?;
        }
        Ok::<_, Error>(())
    };
    let ended = life.await;
    assert_eq!(ended.is_err(), fuse.is_blown(), "{ended:?}");
    // The others go on.
    world.check_bodies().await;
    world.pack().await;
    world.check_bodies().await;
    world.settle().await;
    world.check_bodies().await;
    world.check_nothing_is_left().await;
    fuse.is_blown()
}

#[tokio::test(start_paused = true)]
async fn a_process_may_die_at_any_step() {
    let mut steps = 0;
    while dies_after(steps).await {
        steps += 1;
    }
    assert!(steps > 60, "{steps} steps");
}
