//! Bodies that are restored under the ids they had: attempts may be interrupted, run side by side, or come late.

use bytes::Bytes;
use ekitei_blob::{
    BodyId, Error, KeyScope, ObjectErrorKind, ObjectStore, Operation, Owner, Packing, Prepared, Settings,
    add_reference,
};
use ekitei_kv::keys::{key, subspace::BODIES};

use crate::support::{Expected, GRACE, World, settings};

/// A service that makes no segments.
async fn without_segments() -> World {
    let packing = Packing { enabled: false, ..settings().packing };
    World::with(Settings { packing, ..settings() }).await
}

impl World {
    /// A body of another store.
    fn lost(&mut self) -> (BodyId, Bytes) {
        (BodyId::generate(&*self.clock), self.noise(12_000))
    }

    async fn prepare_as(&self, (id, octets): &(BodyId, Bytes)) -> Result<Prepared, Error> {
        self.blobs.prepare_as(*id, &KeyScope::Service, octets.clone(), usize::MAX).await
    }

    async fn store_as(&mut self, prepared: &Prepared, octets: &Bytes) -> Result<(), Error> {
        self.database
            .transact(|transaction| async move {
                prepared.store(&transaction, Owner::Account(1)).await?;
                add_reference(&transaction, prepared.id(), 1);
                Ok::<_, Error>(())
            })
            .await?;
        self.expected.insert(prepared.id(), Expected { octets: octets.clone(), account: 1 });
        Ok(())
    }

    async fn set(&self, row: &[u8], value: &[u8]) {
        self.database
            .transact(|transaction| async move {
                transaction.set(row, value);
                Ok::<_, ekitei_kv::Error>(())
            })
            .await
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_writes_an_object_of_its_own() {
    let mut world = World::new().await;
    let lost = world.lost();
    let interrupted = world.prepare_as(&lost).await.unwrap();
    let resumed = world.prepare_as(&lost).await.unwrap();
    assert_eq!(world.objects.names().len(), 2);
    world.store_as(&resumed, &lost.1).await.unwrap();
    // What the interrupted one does late changes nothing.
    world.store_as(&interrupted, &lost.1).await.unwrap();
    world.settle().await;
    world.check_bodies().await;
    world.check_nothing_is_left().await;
    world.remove(lost.0).await;
    world.settle().await;
    assert!(world.objects.names().is_empty());
    world.check_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_took_too_long_is_refused() {
    let mut world = World::new().await;
    let lost = world.lost();
    let late = world.prepare_as(&lost).await.unwrap();
    world.settle().await;
    assert!(world.objects.names().is_empty());
    assert!(matches!(world.store_as(&late, &lost.1).await, Err(Error::IntentExpired(_))));
}

#[tokio::test(start_paused = true)]
async fn without_segments_a_body_that_is_there_is_not_written_again() {
    let mut world = without_segments().await;
    let lost = world.lost();
    let first = world.prepare_as(&lost).await.unwrap();
    assert_eq!(world.objects.names(), [lost.0.to_string()]);
    world.store_as(&first, &lost.1).await.unwrap();
    // An attempt that looked for the body before it was there.
    let puts = world.objects.calls(Operation::Put);
    assert!(matches!(world.prepare_as(&lost).await, Err(Error::IntentExpired(_))));
    assert_eq!(world.objects.calls(Operation::Put), puts);
    world.settle().await;
    world.check_bodies().await;
}

#[tokio::test(start_paused = true)]
async fn without_segments_what_the_collector_removes_is_not_written_again() {
    let mut world = without_segments().await;
    let lost = world.lost();
    let mut deleting = [0; 9];
    deleting[0] = 1;
    world.set(&key(&(BODIES, 2u32, lost.0.as_bytes().as_slice())), &deleting).await;
    assert!(matches!(world.prepare_as(&lost).await, Err(Error::IntentExpired(_))));
    world.blobs.collect().await.unwrap();
    let prepared = world.prepare_as(&lost).await.unwrap();
    world.store_as(&prepared, &lost.1).await.unwrap();
    world.settle().await;
    world.check_bodies().await;
}

#[tokio::test(start_paused = true)]
async fn without_segments_the_object_of_another_cluster_is_left_alone() {
    let mut world = without_segments().await;
    let lost = world.lost();
    let theirs = Bytes::from_static(b"sealed by a cluster that is alive");
    world.objects.put(&lost.0.to_string(), vec![theirs.clone()]).await.unwrap();
    let refused = world.prepare_as(&lost).await;
    assert!(
        matches!(&refused, Err(Error::Objects(error)) if error.kind() == ObjectErrorKind::Invalid),
        "{refused:?}"
    );
    world.settle().await;
    assert_eq!(world.objects.get(&lost.0.to_string(), 0..99).await.unwrap(), theirs);
}

#[tokio::test(start_paused = true)]
async fn the_collector_does_not_delete_an_object_that_a_body_is_in() {
    let mut world = without_segments().await;
    let body = world.store(1, 12_000).await;
    for state in [0, 1] {
        let mut intent = [0; 9];
        intent[0] = state;
        world.set(&key(&(BODIES, 2u32, body.as_bytes().as_slice())), &intent).await;
        world.clock.advance(GRACE);
        assert_eq!(world.blobs.collect().await.unwrap().objects, 0);
        world.check_bodies().await;
    }
}
