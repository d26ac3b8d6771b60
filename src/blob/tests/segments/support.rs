//! A body store in memory, its packer, and what is known of the bodies in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{
    Blobs, BodyId, Error, Figures, Group, MemoryStore, ObjectStore, Owner, Packed, Packer, Packing, Settings,
    add_reference, remove_reference,
};
use ekitei_kv::clock::{Clock, ManualClock};
use ekitei_kv::lease::{Lease, LeaseOptions, LeaseSet, Leases};
use ekitei_kv::{Database, MonotonicClock};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub const GRACE: Duration = Duration::from_secs(100);
pub const MIN_AGE: Duration = Duration::from_secs(10);
pub const MAX_AGE: Duration = Duration::from_secs(1000);
pub const SEGMENT: u64 = 20_000;

/// A body that is expected to be there.
#[derive(Clone)]
pub struct Expected {
    pub octets: Bytes,
    pub account: u64,
}

pub struct World {
    pub database: Database,
    pub clock: Arc<ManualClock>,
    pub objects: MemoryStore,
    pub blobs: Blobs,
    pub packer: Packer,
    pub expected: BTreeMap<BodyId, Expected>,
    pub random: StdRng,
    leases: LeaseSet,
}

/// Blocks of 1000 octets; up to 3000 are hot.
pub fn settings() -> Settings {
    let packing = Packing {
        min_age: MIN_AGE,
        max_age: MAX_AGE,
        segment_size: SEGMENT,
        hot_limit: 1_000_000,
        ..Packing::default()
    };
    Settings { hot_limit: 3000, block_size: 1000, grace: GRACE, packing, ..Settings::default() }
}

impl World {
    pub async fn new() -> Self {
        Self::with(settings()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let database = Database::in_memory();
        let clock = ManualClock::new(Duration::from_secs(1_000_000));
        let objects = MemoryStore::new(clock.clone());
        let blobs = Blobs::new(database.clone(), objects.clone(), settings, clock.clone());
        let options = LeaseOptions {
            duration: Duration::from_secs(1_000_000),
            clock: MonotonicClock::system(),
            alone: true,
        };
        let leases = Leases::new(database.clone(), options);
        let set = leases.join(Packer::LEASES, Group::all().map(Group::lease_name));
        leases.renew().await.unwrap();
        let random = StdRng::seed_from_u64(1);
        let packer = Packer::new(blobs.clone());
        let expected = BTreeMap::new();
        Self { database, clock, objects, blobs, packer, expected, random, leases: set }
    }

    /// Another process over the same stores, which it reaches through these.
    pub fn process(&self, database: Database, objects: impl ObjectStore, settings: Settings) -> Blobs {
        Blobs::new(database, objects, settings, self.clock.clone())
    }

    pub fn lease(&self, group: Group) -> Lease {
        self.leases.held().into_iter().find(|lease| Group::of_lease(lease.name()) == Some(group)).unwrap()
    }

    pub fn leases(&self) -> Vec<Lease> {
        self.leases.held()
    }

    pub fn noise(&mut self, length: usize) -> Bytes {
        let mut octets = vec![0; length];
        self.random.fill_bytes(&mut octets);
        octets.into()
    }

    /// Stores a body of noise that the account refers to.
    pub async fn store(&mut self, account: u64, length: usize) -> BodyId {
        let octets = self.noise(length);
        let id = self.store_for(Owner::Account(account), octets.clone()).await.unwrap();
        self.expected.insert(id, Expected { octets, account });
        id
    }

    pub async fn store_for(&self, owner: Owner, octets: Bytes) -> Result<BodyId, Error> {
        let prepared = &self.blobs.prepare(octets).await?;
        let account = if let Owner::Account(account) = owner { account } else { u64::MAX };
        self.database
            .transact(|transaction| async move {
                prepared.store(&transaction, owner).await?;
                add_reference(&transaction, prepared.id(), account);
                Ok::<_, Error>(())
            })
            .await?;
        Ok(prepared.id())
    }

    /// Ends the reference of the account that has it.
    pub async fn remove(&mut self, body: BodyId) {
        let account = self.expected.remove(&body).unwrap().account;
        let now = self.clock.now();
        self.database
            .transact(|transaction| async move {
                remove_reference(&transaction, body, account, now);
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
    }

    pub async fn pack(&self) -> Packed {
        let mut all = Packed::default();
        for lease in self.leases() {
            loop {
                let packed = self.packer.round(&lease).await.unwrap();
                all.segments += packed.segments;
                all.bodies += packed.bodies;
                all.octets += packed.octets;
                all.void += packed.void;
                all.damaged += packed.damaged;
                if packed == Packed::default() {
                    break;
                }
            }
        }
        all
    }

    pub async fn figures(&self) -> Figures {
        let mut sum = Figures::default();
        for (_, figures) in self.blobs.figures().await.unwrap() {
            sum += figures;
        }
        sum
    }

    /// Everything that is expected is read as it was written.
    pub async fn check_bodies(&self) {
        for (id, expected) in &self.expected {
            let read = self.blobs.read(*id, 0..u64::MAX).await.unwrap();
            assert!(read == expected.octets, "{id} is another");
        }
    }

    /// The figures are those of what there is, and there is no object but those that are needed.
    pub async fn check_nothing_is_left(&self) {
        let figures = self.figures().await;
        let octets: usize = self.expected.values().map(|body| body.octets.len()).sum();
        assert_eq!(figures.hot_bodies + figures.live_bodies, self.expected.len() as u64, "{figures:?}");
        assert_eq!(figures.hot_octets + figures.live_octets, octets as u64, "{figures:?}");
        let segments = self.objects.names().iter().filter(|name| name.starts_with("segments/")).count();
        assert_eq!(segments, self.objects.names().len());
        assert_eq!(figures.segments, segments as u64, "{figures:?}");
        assert!(figures.segment_octets >= figures.live_octets);
    }

    /// Time goes by until nothing waits for the collector any more.
    pub async fn settle(&self) {
        for _ in 0..4 {
            self.clock.advance(GRACE);
            self.blobs.collect().await.unwrap();
            for lease in self.leases() {
                self.packer.compact(&lease).await.unwrap();
            }
        }
    }
}
