//! Restoring a part into a service that is in use.

use ekitei_directory::Domain;
use ekitei_mailstore::{ExpungeScope, MailboxId, Uid};
use ekitei_queue::transfer::export;

use super::support::{DOMAIN, PASSWORD, World, account, address, name, request};
use crate::restore::{Request, Scope};
use crate::{Depth, Error};

async fn expunge(world: &World, user: &str, uids: &[u32]) {
    let scope = ExpungeScope::Exactly(uids.iter().copied().filter_map(Uid::new).collect());
    world.backup.mailstore.expunge(world.id(user).await, MailboxId::INBOX, &scope).await.unwrap();
}

#[tokio::test]
async fn messages_that_are_missing_are_added_once_and_what_is_there_stays() {
    let world = World::of(&["alice", "bob"]).await;
    for n in 0..4 {
        world.deliver(&["alice", "bob"], &format!("message {n}")).await;
    }
    let long = "long ".repeat(2000);
    world.append("alice", "INBOX", std::slice::from_ref(&long)).await;
    let objects = world.repository_objects();
    world.create(&objects).await.unwrap();
    let bob = world.account_picture(world.id("bob").await).await;
    expunge(&world, "alice", &[1, 3, 5]).await;
    world.deliver(&["alice"], "later").await;
    // The bodies of what Alice had alone are gone for good.
    world.clock.advance(std::time::Duration::from_secs(10_000));
    world.backup.blobs.collect().await.unwrap();

    let dry = Request { dry_run: true, ..request(account("alice")) };
    let would = world.restore(&objects, &dry).await.unwrap();
    assert_eq!((would.messages, would.present), (3, 2));
    assert_eq!(world.texts("alice", "INBOX").await.len(), 3, "a dry run changes nothing");

    let done = world.restore(&objects, &request(account("alice"))).await.unwrap();
    assert_eq!((done.messages, done.present, done.warnings.len()), (3, 2, 0));
    let expected = ["message 1", "message 3", "later", "message 0", "message 2", long.trim_end()];
    assert_eq!(world.texts("alice", "INBOX").await, expected);
    for _ in 0..2 {
        let again = world.restore(&objects, &request(account("alice"))).await.unwrap();
        assert_eq!((again.messages, again.present), (0, 5), "nothing is added twice");
    }
    assert_eq!(world.account_picture(world.id("bob").await).await, bob);
    // Also when what was restored under another id is removed and restored again.
    expunge(&world, "alice", &[9]).await;
    let again = world.restore(&objects, &request(account("alice"))).await.unwrap();
    assert_eq!((again.messages, again.present), (1, 4));
    world.create(&objects).await.unwrap();
    assert_eq!(world.verify(&objects, Depth::Full).await.problems, [] as [String; 0]);
}

#[tokio::test]
async fn one_mailbox_of_a_point_in_time_goes_below_another_or_to_another_account() {
    let world = World::of(&["alice", "bob"]).await;
    world.append("alice", "Work", &["old".to_owned()]).await;
    world.append("alice", "Work/Deep", &["deep".to_owned()]).await;
    world.append("alice", "Private", &["private".to_owned()]).await;
    let objects = world.repository_objects();
    let first = world.create(&objects).await.unwrap();
    let alice = world.id("alice").await;
    world.backup.mailstore.delete_mailbox(alice, &name("Work/Deep")).await.unwrap();
    world.append("alice", "Work", &["new".to_owned()]).await;
    world.create(&objects).await.unwrap();
    let asked = |into: Option<&str>, prefix: Option<&str>| Request {
        snapshot: first.id.clone(),
        ..request(Scope::Account {
            address: format!("alice@{DOMAIN}"),
            mailbox: Some("Work".into()),
            into: into.map(str::to_owned),
            prefix: prefix.map(str::to_owned),
        })
    };
    world.restore(&objects, &asked(None, Some("Restored"))).await.unwrap();
    assert_eq!(world.texts("alice", "Restored/Work").await, ["old"]);
    assert_eq!(world.texts("alice", "Restored/Work/Deep").await, ["deep"]);
    assert_eq!(world.texts("alice", "Restored/Private").await, [] as [&str; 0]);
    assert_eq!(world.texts("alice", "Work").await, ["old", "new"]);

    world.restore(&objects, &asked(Some(&format!("bob@{DOMAIN}")), None)).await.unwrap();
    assert_eq!(world.texts("bob", "Work/Deep").await, ["deep"]);
    world.restore(&objects, &asked(None, None)).await.unwrap();
    assert_eq!(
        (world.texts("alice", "Work").await.len(), world.texts("alice", "Work/Deep").await.len()),
        (2, 1)
    );
}

#[tokio::test]
async fn a_deleted_account_comes_back_as_it_was_with_its_passwords() {
    let world = World::of(&["alice", "bob"]).await;
    let (alice, directory) = (world.id("alice").await, &world.backup.directory);
    let (_, app_password) = directory.create_app_password(alice, "phone").await.unwrap();
    world.deliver(&["alice", "bob"], "for both").await;
    world.append("alice", "Work", &["long ".repeat(2000)]).await;
    let objects = world.repository_objects();
    world.create(&objects).await.unwrap();
    let before = world.account_picture(alice).await;
    world.backup.mailstore.delete_account(alice).await.unwrap();
    directory.delete_account(alice).await.unwrap();
    world.clock.advance(std::time::Duration::from_secs(10_000));
    world.backup.blobs.collect().await.unwrap();

    let done = world.restore(&objects, &request(account("alice"))).await.unwrap();
    assert_eq!((done.accounts, done.messages, done.warnings.len()), (1, 2, 0), "{:?}", done.warnings);
    assert_eq!(world.account_picture(world.id("alice").await).await, before);
    assert!(world.logs_in("alice", PASSWORD).await && world.logs_in("alice", &app_password).await);
    let again = world.restore(&objects, &request(account("alice"))).await.unwrap();
    assert_eq!((again.accounts, again.messages, again.present), (0, 0, 2));
}

#[tokio::test]
async fn a_domain_comes_back_with_all_that_is_in_it() {
    let world = World::of(&["alice", "bob"]).await;
    let directory = &world.backup.directory;
    let targets = [address(&format!("bob@{DOMAIN}"))].into_iter().collect();
    directory.create_alias(&address(&format!("info@{DOMAIN}")), targets).await.unwrap();
    world.deliver(&["alice", "bob"], "for both").await;
    let objects = world.repository_objects();
    world.create(&objects).await.unwrap();
    let before = world.picture().await;
    for user in ["alice", "bob"] {
        world.backup.mailstore.delete_account(world.id(user).await).await.unwrap();
    }
    let domain = Domain::parse(DOMAIN).unwrap();
    directory.delete_domain(&domain, true).await.unwrap();
    assert_ne!(world.picture().await, before);
    let done = world.restore(&objects, &request(Scope::Domain(DOMAIN.into()))).await.unwrap();
    assert_eq!((done.domains, done.accounts, done.names, done.messages), (1, 2, 1, 2));
    assert_eq!(world.picture().await, before);
}

#[tokio::test]
async fn everything_goes_only_into_an_empty_store() {
    let world = World::of(&["alice"]).await;
    let objects = world.repository_objects();
    world.create(&objects).await.unwrap();
    let refused = world.restore(&objects, &super::support::everything("latest")).await;
    assert!(refused.unwrap_err().to_string().contains("empty store"));
    let repository = world.open(&objects).await;
    assert!(crate::restore::begin_all(&world.backup.database, &repository, "latest").await.is_err());
}

#[tokio::test]
async fn mail_that_waited_to_be_sent_is_held() {
    let world = World::of(&["alice"]).await;
    let queue = |world: &World| {
        ekitei_queue::Queue::new(ekitei_queue::QueueContext {
            database: world.backup.database.clone(),
            blobs: world.backup.blobs.clone(),
            mailstore: world.backup.mailstore.clone(),
            live: ekitei_config::Live::new(ekitei_config::Config::default()),
            clock: world.clock.clone(),
        })
    };
    let new = ekitei_queue::NewMessage {
        envelope: ekitei_queue::Envelope {
            reverse_path: Some(format!("alice@{DOMAIN}")),
            ..ekitei_queue::Envelope::default()
        },
        recipients: vec![ekitei_queue::NewRecipient {
            address: address("far@away.test"),
            notify: None,
            original: None,
        }],
        received: std::time::Duration::from_secs(1_700_000_000),
        size: 6,
        header: bytes::Bytes::new(),
        account: None,
        origin: ekitei_queue::Origin::Submission,
    };
    let octets = bytes::Bytes::from_static(b"hello\n");
    queue(&world).enqueue(octets.clone(), new).await.unwrap();
    let objects = world.repository_objects();
    assert_eq!(world.create(&objects).await.unwrap().totals.queued, 1);
    let (restored, done) = World::restored(&objects, "latest").await;
    assert_eq!(done.unwrap().queued, 1);
    let page = queue(&restored).list(&ekitei_queue::Filter::default(), None, 10).await.unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0].entry.schedule, ekitei_queue::Schedule::Held);
    let read = queue(&restored).spool().body(&page.items[0].message).await.unwrap();
    assert_eq!(read.concat(), octets);
    assert_eq!(export(&restored.backup.database, None).await.unwrap().messages.len(), 1);
}

#[tokio::test]
async fn no_uid_is_given_again_that_was_given_after_the_backup() {
    let world = World::of(&["alice"]).await;
    world.deliver(&["alice"], "in the backup").await;
    let objects = world.repository_objects();
    world.create(&objects).await.unwrap();
    for _ in 0..3 {
        world.deliver(&["alice"], "seen by clients, and lost with the store").await;
    }
    let given = world.uids("alice", "INBOX").await;
    let (restored, done) = World::restored(&objects, "latest").await;
    done.unwrap();
    restored.deliver(&["alice"], "new").await;
    let uids = restored.uids("alice", "INBOX").await;
    assert_eq!(uids[0], given[0]);
    assert!(uids[1] > given[3] + 1000, "clients know {given:?} as other messages: {uids:?}");
}

/// A store that ends a run when it reads a second pack, which is that of the bodies.
fn ending(world: &World, progress: &crate::Progress) -> ekitei_blob::MemoryStore {
    let (progress, first) = (progress.clone(), std::sync::Mutex::new(None));
    let faults = move |operation: ekitei_blob::Operation, name: &str| {
        if operation == ekitei_blob::Operation::Get && name.starts_with("packs/") {
            let mut first = first.lock().unwrap();
            if first.get_or_insert_with(|| name.to_owned()) != name {
                progress.stop();
            }
        }
        ekitei_blob::Fault::default()
    };
    ekitei_blob::MemoryStore::with_faults(world.clock.clone(), faults)
}

#[tokio::test]
async fn an_account_is_not_made_of_two_backups() {
    let world = World::of(&["alice"]).await;
    let alice = world.id("alice").await;
    world.append("alice", "INBOX", &(0..300).map(|n| format!("message {n}")).collect::<Vec<_>>()).await;
    let objects = world.repository_objects();
    let first = world.create(&objects).await.unwrap();
    let progress = crate::Progress::default();
    let copy = ending(&world, &progress);
    for name in objects.names() {
        let octets = ekitei_blob::ObjectStore::get(&objects, &name, 0..u64::MAX).await.unwrap();
        ekitei_blob::ObjectStore::put(&copy, &name, vec![octets]).await.unwrap();
    }
    expunge(&world, "alice", &[2, 3]).await;
    let second = world.create(&objects).await.unwrap();
    world.backup.mailstore.delete_account(alice).await.unwrap();
    world.backup.directory.delete_account(alice).await.unwrap();
    world.clock.advance(std::time::Duration::from_secs(10_000));
    world.backup.blobs.collect().await.unwrap();
    let of = |snapshot: &str| Request { snapshot: snapshot.into(), ..request(account("alice")) };
    // It ends when the first of its messages are written.
    let repository = world.open(&copy).await;
    let lock = repository.lock(crate::Purpose::Use, world.backup.holder().await.unwrap()).await.unwrap();
    let ended = world.backup.restore(&repository, lock, &of(&first.id), &progress).await;
    assert!(matches!(ended, Err(crate::Error::LockLost)), "{ended:?}");
    assert!(progress.figures().messages > 0);

    let refused = world.restore(&objects, &of(&second.id)).await.unwrap_err().to_string();
    assert!(refused.contains(&first.id), "{refused}");
    let done = world.restore(&objects, &of(&first.id)).await.unwrap();
    assert_eq!((done.present > 0, world.texts("alice", "INBOX").await.len()), (true, 300));
    let done = world.restore(&objects, &of(&second.id)).await.unwrap();
    assert_eq!((done.messages, done.present), (0, 298));
    // What was removed since is in the way of none.
    let alice = world.id("alice").await;
    world.backup.mailstore.delete_account(alice).await.unwrap();
    world.backup.directory.delete_account(alice).await.unwrap();
    world.restore(&objects, &of(&second.id)).await.unwrap();
    assert_eq!(world.texts("alice", "INBOX").await.len(), 298);
}

#[tokio::test]
async fn the_latest_backup_before_a_time_is_found() {
    let world = World::of(&["alice"]).await;
    let objects = world.repository_objects();
    let first = world.create(&objects).await.unwrap().id;
    world.clock.advance(std::time::Duration::from_secs(3600));
    let second = world.create(&objects).await.unwrap().id;
    let asked = async |time: &str| {
        let of = Request { snapshot: format!("before:{time}"), ..request(account("alice")) };
        world.restore(&objects, &of).await.map(|done| done.snapshot)
    };
    assert_eq!(asked("2024").await.unwrap(), second);
    assert_eq!(asked(&second[..15]).await.unwrap(), first);
    assert!(matches!(asked(&first[..15]).await, Err(Error::NotFound { .. })));
    assert!(matches!(asked("yesterday").await, Err(Error::Invalid(_))));
}
