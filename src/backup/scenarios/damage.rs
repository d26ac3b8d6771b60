//! What is damaged or gone is found and named, and what is not damaged is backed up and restored.

use std::collections::BTreeSet;
use std::sync::Arc;

use ekitei_blob::{MemoryStore, ObjectStore as _};
use ekitei_kv::keys::subspace::{DIRECTORY, INDEX};
use ekitei_kv::{RangeOptions, Transaction, keys};

use super::support::{DOMAIN, World, account, address, request};
use crate::crypto::Keys;
use crate::document::{
    AccountDocument, AccountEntry, BucketRef, MailboxDocument, MessageEntry, RecordEntry, Snapshot, Totals,
};
use crate::repository::index::Index;
use crate::repository::writer::Writer;
use crate::{Depth, Error, Progress, Purpose, Retention};

async fn world_with_backup() -> (World, MemoryStore) {
    let world = World::of(&["alice"]).await;
    for n in 0..3 {
        world.deliver(&["alice"], &format!("message {n}")).await;
    }
    let objects = world.repository_objects();
    world.create(&objects).await.unwrap();
    (world, objects)
}

fn packs(objects: &MemoryStore) -> Vec<String> {
    objects.names().into_iter().filter(|name| name.starts_with("packs/")).collect()
}

/// The pack that bodies are in, the only one.
async fn pack_of_bodies(world: &World, objects: &MemoryStore) -> String {
    for pack in packs(objects) {
        let octets = objects.get(&pack, 0..u64::MAX).await.unwrap();
        objects.delete(&pack).await.unwrap();
        let problems = world.verify(objects, Depth::Quick).await.problems;
        objects.put(&pack, vec![octets]).await.unwrap();
        if problems.iter().any(|problem| problem.contains("its body")) {
            return pack;
        }
    }
    panic!("no body is in a pack");
}

#[tokio::test]
async fn every_flipped_octet_of_a_pack_is_found_by_a_full_verification() {
    let (world, objects) = world_with_backup().await;
    assert_eq!(packs(&objects).len(), 2, "one of bodies, one of documents");
    for pack in packs(&objects) {
        let length = objects.get(&pack, 0..u64::MAX).await.unwrap().len();
        for place in (0..length).step_by(37) {
            objects.damage(&pack, |octets| octets[place] ^= 1);
            let problems = world.verify(&objects, Depth::Full).await.problems;
            assert!(
                problems.iter().any(|problem| problem.contains(&pack)),
                "octet {place} of {pack}: {problems:?}"
            );
            objects.damage(&pack, |octets| octets[place] ^= 1);
        }
    }
    assert_eq!(world.verify(&objects, Depth::Full).await.problems, [] as [String; 0]);
}

#[tokio::test]
async fn a_pack_that_is_cut_off_or_gone_is_named_with_what_needs_it() {
    let (world, objects) = world_with_backup().await;
    for pack in packs(&objects) {
        let whole = objects.get(&pack, 0..u64::MAX).await.unwrap();
        objects.damage(&pack, |octets| octets.truncate(octets.len() / 2));
        for depth in [Depth::Quick, Depth::Full] {
            let problems = world.verify(&objects, depth).await.problems;
            assert!(problems.iter().any(|problem| problem.contains(&pack)), "{problems:?}");
        }
        objects.delete(&pack).await.unwrap();
        let problems = world.verify(&objects, Depth::Quick).await.problems;
        assert!(problems.iter().any(|problem| *problem == format!("{pack} is missing")), "{problems:?}");
        assert!(problems.iter().any(|problem| problem.starts_with("snapshot ")), "{problems:?}");
        let (_, done) = World::restored(&objects, "latest").await;
        let error = done.unwrap_err().to_string();
        assert!(error.contains(&pack), "{error}");
        objects.put(&pack, vec![whole]).await.unwrap();
    }
    World::restored(&objects, "latest").await.1.unwrap();
}

#[tokio::test]
async fn an_index_that_is_damaged_or_gone_loses_nothing() {
    let (world, objects) = world_with_backup().await;
    let index = objects.names().into_iter().find(|name| name.starts_with("index/")).unwrap();
    objects.damage(&index, |octets| octets[30] ^= 1);
    let report = world.verify(&objects, Depth::Full).await;
    assert_eq!((report.problems.len(), report.checked), (1, report.chunks), "{:?}", report.problems);
    assert!(report.problems[0].contains(&index));
    objects.delete(&index).await.unwrap();
    assert_eq!(world.verify(&objects, Depth::Full).await.problems, [] as [String; 0]);
    let (restored, done) = World::restored(&objects, "latest").await;
    done.unwrap();
    assert_eq!(restored.picture().await, world.picture().await);
}

#[tokio::test]
async fn the_next_backup_brings_back_what_the_repository_lost() {
    let (world, objects) = world_with_backup().await;
    for pack in packs(&objects) {
        objects.delete(&pack).await.unwrap();
    }
    let snapshot = world.create(&objects).await.unwrap();
    assert_eq!(snapshot.totals.new_bodies, 3);
    let (restored, done) = World::restored(&objects, &snapshot.id).await;
    done.unwrap();
    assert_eq!(restored.picture().await, world.picture().await);
    assert_eq!(
        world.verify(&objects, Depth::Full).await.problems.len(),
        2,
        "the index names the lost packs still"
    );
}

#[tokio::test]
async fn a_snapshot_that_is_not_there_is_said_to_be_so() {
    let (world, objects) = world_with_backup().await;
    for which in ["1999", "latest-but-one"] {
        let asked = crate::restore::Request { snapshot: which.into(), ..request(account("alice")) };
        let refused = world.restore(&objects, &asked).await;
        assert!(matches!(refused, Err(Error::NotFound { what: "snapshot", .. })), "{refused:?}");
    }
    let refused = world.restore(&objects, &request(account("nobody"))).await;
    assert!(matches!(refused, Err(Error::NotFound { what: "account", .. })), "{refused:?}");
}

#[tokio::test]
async fn what_one_pack_lost_is_read_again_also_for_accounts_that_did_not_change() {
    let (world, objects) = world_with_backup().await;
    objects.delete(&pack_of_bodies(&world, &objects).await).await.unwrap();
    let snapshot = world.create(&objects).await.unwrap();
    let (restored, done) = World::restored(&objects, &snapshot.id).await;
    done.unwrap();
    assert_eq!(restored.picture().await, world.picture().await);
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_left_out_and_everything_else_is_backed_up() {
    let world = World::of(&["alice", "bob"]).await;
    let digits = |n: u32| (0..4000u32).map(|k| format!("{:x}", (k * 7919 + n) % 65_521)).collect::<String>();
    let (spoiled, long) = (digits(1), digits(2));
    world.deliver(&["alice"], &spoiled).await;
    let object = world.objects.names().remove(0);
    for text in [&long, "short"] {
        world.deliver(&["alice", "bob"], text).await;
    }
    let objects = world.repository_objects();
    let spoil = || world.objects.damage(&object, |octets| octets[9] ^= 1);
    spoil();
    let told = world.create(&objects).await.unwrap_err().to_string();
    assert!(told.contains("1 message") && told.contains("alice@example.test"), "{told}");
    let snapshots = world.open(&objects).await.snapshots().await.unwrap();
    assert_eq!(snapshots.len(), 1, "it is a backup all the same");
    assert_eq!(world.verify(&objects, Depth::Full).await.problems, [] as [String; 0]);
    let (restored, done) = World::restored(&objects, "latest").await;
    done.unwrap();
    assert_eq!(restored.texts("alice", "INBOX").await, [&long[..], "short"]);
    assert_eq!(restored.texts("bob", "INBOX").await.len(), 2);
    // It is tried again, though the account did not change.
    world.create(&objects).await.unwrap_err();
    spoil();
    world.create(&objects).await.unwrap();
    let (restored, done) = World::restored(&objects, "latest").await;
    done.unwrap();
    assert_eq!(restored.picture().await, world.picture().await);
}

#[tokio::test]
async fn an_account_that_cannot_be_read_stays_as_the_last_backup_has_it() {
    let world = World::of(&["alice", "bob"]).await;
    world.deliver(&["alice", "bob"], "before").await;
    let objects = world.repository_objects();
    world.create(&objects).await.unwrap();
    world.deliver(&["alice", "bob"], "after").await;
    let index = &keys::range(&(INDEX, world.id("alice").await.get()));
    let spoil = |tx: Transaction| async move {
        let rows = tx.get_range(index.clone(), RangeOptions::default()).await?;
        tx.set(&rows[0].key, b"nonsense");
        Ok::<_, ekitei_kv::Error>(())
    };
    world.backup.database.transact(spoil).await.unwrap();
    let told = world.create(&objects).await.unwrap_err().to_string();
    assert!(told.contains("alice@example.test"), "{told}");
    assert_eq!(world.verify(&objects, Depth::Full).await.problems, [] as [String; 0]);
    let (restored, done) = World::restored(&objects, "latest").await;
    done.unwrap();
    assert_eq!(restored.texts("alice", "INBOX").await, ["before"]);
    assert_eq!(restored.texts("bob", "INBOX").await, ["before", "after"]);
}

#[tokio::test]
async fn what_is_not_damaged_is_restored_and_what_is_gone_is_said() {
    let world = World::of(&["alice", "bob"]).await;
    let objects = world.repository_objects();
    world.deliver(&["alice"], "lost").await;
    world.create(&objects).await.unwrap();
    let lost = pack_of_bodies(&world, &objects).await;
    world.deliver(&["alice", "bob"], "kept").await;
    world.create(&objects).await.unwrap();
    objects.delete(&lost).await.unwrap();
    let (restored, done) = World::restored(&objects, "latest").await;
    let told = done.unwrap_err().to_string();
    assert!(told.contains("1 message") && told.contains("alice@example.test, INBOX"), "{told}");
    assert_eq!(restored.texts("alice", "INBOX").await, ["kept"]);
    assert_eq!(restored.texts("bob", "INBOX").await, ["kept"]);
    restored.deliver(&["alice"], "it is in service").await;
}

#[tokio::test]
async fn a_snapshot_that_is_damaged_hides_no_other_and_stops_the_removal_of_packs() {
    let (world, objects) = world_with_backup().await;
    let second = world.create(&objects).await.unwrap();
    let first = objects.names().into_iter().find(|name| name.starts_with("snapshots/")).unwrap();
    objects.damage(&first, |octets| octets[20] ^= 1);
    let repository = world.open(&objects).await;
    let found = repository.snapshots().await.unwrap();
    assert_eq!(found.iter().map(|info| &info.id).collect::<Vec<_>>(), [&second.id]);
    let lock = repository.lock(Purpose::Prune, world.backup.holder().await.unwrap()).await.unwrap();
    let keep = Retention { last: 1, ..Retention::default() };
    let refused = repository.prune(lock, &keep, false, &Progress::default()).await.unwrap_err();
    assert!(matches!(&refused, Error::Damaged(what) if what.contains(&first)), "{refused}");
    assert_eq!(packs(&objects).len(), 2);
}

/// Two lists of records that begin with the same pieces: the messages of two mailboxes, all but the last the same.
#[tokio::test]
async fn documents_that_begin_alike_are_told_apart() {
    let world = World::of(&["alice"]).await;
    let objects = world.repository_objects();
    let repository = world.open(&objects).await;
    let lock = repository.lock(Purpose::Use, world.backup.holder().await.unwrap()).await.unwrap();
    let mut writer = Writer::new(&repository, Arc::clone(&lock), Index::default(), &Progress::default());
    let mut mailboxes = Vec::new();
    for (id, last) in [(1, 200), (2, 201)] {
        let messages: BTreeSet<u8> = (0..80).chain([last]).collect();
        let mut entries = Vec::new();
        for (uid, &message) in (1..).zip(&messages) {
            let chunk = Keys::body_chunk(repository.keys(), &[message; 16], 0);
            writer.add_body(chunk, &[message; 10]).await.unwrap();
            entries.push(MessageEntry {
                uid,
                message: [message; 16],
                flags: 0,
                keywords: Vec::new(),
                received: 0,
                size: 10,
                modseq: 1,
                body_size: 10,
            });
        }
        let record = |&message: &u8| RecordEntry { message: [message; 16], octets: vec![message; 64 << 10] };
        let records: Vec<RecordEntry> = messages.iter().map(record).collect();
        let bucket = BucketRef {
            number: 0,
            entries: writer.add_document(&entries).await.unwrap(),
            records: writer.add_document(&records).await.unwrap(),
        };
        mailboxes.push(MailboxDocument {
            id,
            name: format!("mailbox {id}"),
            uid_validity: id,
            special_use: None,
            uid_next: 100,
            latest: [0; 10],
            highest_modseq: 1,
            messages: 81,
            bytes: 810,
            buckets: vec![bucket],
        });
    }
    assert_eq!(mailboxes[0].buckets[0].records.0[0], mailboxes[1].buckets[0].records.0[0]);
    let document = AccountDocument { mailboxes, ..AccountDocument::default() };
    let account = AccountEntry {
        id: 1,
        address: format!("alice@{DOMAIN}"),
        latest: Some([1; 10]),
        version: 1,
        document: writer.add_document(&document).await.unwrap(),
        mailboxes: 2,
        messages: 162,
        bytes: 1620,
    };
    let none = crate::document::Rows::default();
    let snapshot = Snapshot {
        source: [1; 16],
        began: 1,
        ended: 1,
        host: String::new(),
        release: String::new(),
        versions: (1, 1),
        incarnation: 0,
        directory: Vec::new(),
        directory_consistent: true,
        accounts: vec![writer.add_document(&vec![account]).await.unwrap()],
        signing: writer.add_document(&none).await.unwrap(),
        queue: Vec::new(),
        suppressions: writer.add_document(&none).await.unwrap(),
        files: writer.add_document(&none).await.unwrap(),
        totals: Totals { accounts: 1, mailboxes: 2, messages: 162, bytes: 1620, ..Totals::default() },
    };
    writer.flush().await.unwrap();
    repository.put_snapshot(&snapshot).await.unwrap();
    let report = world.verify(&objects, Depth::Full).await;
    assert_eq!((report.problems.len(), report.unneeded), (0, 0), "{:?}", report.problems);
}

#[tokio::test]
async fn a_directory_that_no_restore_could_read_does_not_pass_verification() {
    let world = World::of(&["alice"]).await;
    let target = address(&format!("alice@{DOMAIN}"));
    let alias = address(&format!("an-alias@{DOMAIN}"));
    world.backup.directory.create_alias(&alias, [target].into_iter().collect()).await.unwrap();
    let all = &keys::range(&(DIRECTORY,));
    let spoil = |tx: Transaction| async move {
        for row in tx.get_range(all.clone(), RangeOptions::default()).await? {
            if row.key.windows(8).any(|part| part == b"an-alias") {
                tx.set(&row.key, b"nonsense");
            }
        }
        Ok::<_, ekitei_kv::Error>(())
    };
    world.backup.database.transact(spoil).await.unwrap();
    let objects = world.repository_objects();
    world.create(&objects).await.unwrap();
    let problems = world.verify(&objects, Depth::Quick).await.problems;
    assert!(problems.iter().any(|problem| problem.contains("the directory")), "{problems:?}");
}
