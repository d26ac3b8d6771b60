//! Mail whose bodies were packed: delivered with one commit, read from segments, gone when it is expunged.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{Blobs, Error as BodyError, Group, MemoryStore, Packer, Packing, Settings as BodySettings};
use ekitei_kv::clock::{Clock, ManualClock};
use ekitei_kv::lease::{LeaseOptions, LeaseSet, Leases};
use ekitei_kv::{Database, MonotonicClock};
use ekitei_mailstore::{
    AccountId, Delivery, Error, ExpungeScope, Flags, Folder, Keywords, MailStore, MailboxId, NewMessage,
    Settings, Target, Uid,
};

const GRACE: Duration = Duration::from_secs(60);
const ALICE: AccountId = AccountId::new(7);
const BOB: AccountId = AccountId::new(8);

struct World {
    database: Database,
    clock: Arc<ManualClock>,
    objects: MemoryStore,
    blobs: Blobs,
    store: MailStore,
    leases: LeaseSet,
}

async fn world(hot_limit: u64) -> World {
    let database = Database::in_memory();
    let clock = ManualClock::new(Duration::from_secs(1_700_000_000));
    let objects = MemoryStore::new(clock.clone());
    let packing = Packing { hot_limit, ..Packing::default() };
    let bodies = BodySettings { grace: GRACE, packing, ..BodySettings::default() };
    let blobs = Blobs::new(database.clone(), objects.clone(), bodies, clock.clone());
    let store = MailStore::new(database.clone(), blobs.clone(), Settings::default(), clock.clone());
    let options =
        LeaseOptions { duration: Duration::from_secs(1000), clock: MonotonicClock::system(), alone: true };
    let leases = Leases::new(database.clone(), options);
    let set = leases.join(Packer::LEASES, Group::all().map(Group::lease_name));
    leases.renew().await.unwrap();
    World { database, clock, objects, blobs, store, leases: set }
}

impl World {
    async fn deliver(&self, accounts: &[AccountId], message: Bytes) -> Result<Vec<Uid>, Error> {
        let target = |&account: &AccountId| Target {
            account,
            folder: Folder::Inbox,
            flags: Flags::NONE,
            quota: None,
            header: Bytes::from_static(b"Delivered-To: x\r\n"),
        };
        let delivery = Delivery {
            message,
            received: self.clock.now(),
            targets: accounts.iter().map(target).collect(),
            companions: Vec::new(),
            fence: None,
        };
        let outcomes = self.store.deliver(delivery).await?;
        Ok(outcomes.into_iter().map(|outcome| outcome.unwrap().1).collect())
    }

    async fn pack(&self) -> u64 {
        let packer = Packer::new(self.blobs.clone());
        self.blobs.request_packing().await.unwrap();
        let mut bodies = 0;
        for lease in self.leases.held() {
            loop {
                let packed = packer.round(&lease).await.unwrap();
                bodies += packed.bodies;
                if packed.bodies == 0 {
                    break;
                }
            }
        }
        bodies
    }

    async fn read_all(&self, account: AccountId) -> Vec<Bytes> {
        let view = self.store.view(account, MailboxId::INBOX).await.unwrap();
        let mut all = Vec::new();
        for entry in &view.refresh().await.unwrap().entries {
            all.push(self.store.read(account, entry.message, 0..u64::MAX).await.unwrap());
        }
        all
    }
}

fn message(n: usize) -> Bytes {
    format!("Subject: {n}\r\n\r\n{}\r\n", "lorem ipsum ".repeat(n)).into()
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_one_commit_and_its_body_moves_without_anyone_noticing() {
    let world = world(1 << 30).await;
    world.deliver(&[ALICE, BOB], message(1)).await.unwrap();
    let before = world.database.statistics();
    for n in 2..50 {
        world.deliver(&[ALICE, BOB], message(n)).await.unwrap();
    }
    let after = world.database.statistics();
    assert_eq!(after.commits - before.commits, 48);
    assert_eq!(after.conflicts, before.conflicts);
    let hot = world.read_all(ALICE).await;
    assert_eq!(world.pack().await, 49);
    assert_eq!(world.objects.names().len(), 1);
    for account in [ALICE, BOB] {
        let packed = world.read_all(account).await;
        assert_eq!(packed.len(), 49);
        assert_eq!(packed, hot);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_to_very_many_is_stored_once_although_it_takes_several_transactions() {
    let world = world(1 << 30).await;
    let accounts: Vec<AccountId> = (1..=3000).map(AccountId::new).collect();
    let uids = world.deliver(&accounts, message(5)).await.unwrap();
    assert_eq!(uids.len(), 3000);
    let figures = world.blobs.status().await.unwrap().figures();
    assert_eq!(figures.hot_bodies, 1);
    assert_eq!(world.pack().await, 1);
    assert_eq!(world.read_all(AccountId::new(3000)).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_expunge_takes_the_body_out_of_its_segment() {
    let world = world(1 << 30).await;
    let uids = world.deliver(&[ALICE, BOB], message(5)).await.unwrap();
    world.pack().await;
    for (account, uid) in [(ALICE, uids[0]), (BOB, uids[1])] {
        assert_eq!(world.blobs.status().await.unwrap().figures().live_bodies, 1);
        world.store.expunge(account, MailboxId::INBOX, &ExpungeScope::Exactly(vec![uid])).await.unwrap();
        world.clock.advance(GRACE);
        world.store.maintain().await.unwrap();
    }
    assert_eq!(world.blobs.status().await.unwrap().figures().live_bodies, 0);
    let packer = Packer::new(world.blobs.clone());
    for lease in world.leases.held() {
        packer.compact(&lease).await.unwrap();
    }
    world.clock.advance(GRACE);
    world.store.maintain().await.unwrap();
    assert!(world.objects.names().is_empty());
}

#[tokio::test(start_paused = true)]
async fn append_is_put_off_while_the_object_store_is_away_and_the_limit_is_reached() {
    let world = world(10_000).await;
    world.deliver(&[ALICE], message(1)).await.unwrap();
    world.objects.set_away(true);
    let append = async || {
        let octets: String = (0..4000).map(|_| char::from(rand::random_range(b' '..=b'~'))).collect();
        let message = Bytes::from(format!("Subject: noise\r\n\r\n{octets}\r\n"));
        let (flags, keywords) = (Flags::NONE, Keywords::default());
        let new = NewMessage { message, flags, keywords, received: None };
        let appended = world.store.append(ALICE, MailboxId::INBOX, vec![new], None).await;
        world.clock.advance(Duration::from_secs(1));
        appended
    };
    let mut accepted = 1;
    let refused = loop {
        match append().await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Body(BodyError::NoRoom(_))), "{refused:?}");
    assert_eq!(accepted, 3);
    world.objects.set_away(false);
    world.pack().await;
    world.clock.advance(Duration::from_secs(1));
    append().await.unwrap();
    assert_eq!(world.read_all(ALICE).await.len(), 4);
}
