//! Random operations of users between snapshots; each snapshot, restored into an empty store, is what was there when it was made.

use ekitei_mailstore::{ExpungeScope, FlagChange, FlagOperation, Flags, Keywords, Uid};
use proptest::prelude::*;

use super::support::{Picture, World, name};
use crate::Depth;

const USERS: [&str; 2] = ["alice", "bob"];
const NAMES: [&str; 4] = ["INBOX", "a", "a/b", "Sent"];

#[derive(Clone, Debug)]
enum Operation {
    Deliver { both: bool, long: bool },
    Append { user: usize, mailbox: usize, count: usize },
    Copy { user: usize, from: usize, to: usize, uids: u16, remove: bool },
    Store { user: usize, mailbox: usize, uids: u16, flags: u8, keyword: bool },
    Expunge { user: usize, mailbox: usize, uids: u16 },
    Rename { user: usize, from: usize, to: usize },
    Delete { user: usize, mailbox: usize },
    Subscribe { user: usize, mailbox: usize, on: bool },
    Account,
    Snapshot,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let (user, mailbox) = (0..USERS.len(), 0..NAMES.len());
    let one = prop_oneof![
        3 => any::<(bool, bool)>().prop_map(|(both, long)| Operation::Deliver { both, long }),
        2 => (user.clone(), mailbox.clone(), 1usize..4)
            .prop_map(|(user, mailbox, count)| Operation::Append { user, mailbox, count }),
        2 => (user.clone(), mailbox.clone(), mailbox.clone(), any::<u16>(), any::<bool>())
            .prop_map(|(user, from, to, uids, remove)| Operation::Copy { user, from, to, uids, remove }),
        3 => (user.clone(), mailbox.clone(), any::<u16>(), 0u8..32, any::<bool>())
            .prop_map(|(user, mailbox, uids, flags, keyword)| Operation::Store { user, mailbox, uids, flags, keyword }),
        2 => (user.clone(), mailbox.clone(), any::<u16>())
            .prop_map(|(user, mailbox, uids)| Operation::Expunge { user, mailbox, uids }),
        1 => (user.clone(), 1..NAMES.len(), 1..NAMES.len())
            .prop_map(|(user, from, to)| Operation::Rename { user, from, to }),
        1 => (user.clone(), 1..NAMES.len()).prop_map(|(user, mailbox)| Operation::Delete { user, mailbox }),
        1 => (user, mailbox, any::<bool>())
            .prop_map(|(user, mailbox, on)| Operation::Subscribe { user, mailbox, on }),
        1 => Just(Operation::Account),
        3 => Just(Operation::Snapshot),
    ];
    proptest::collection::vec(one, 1..40)
}

fn chosen(bits: u16) -> Vec<Uid> {
    (1..=16).filter(|n| bits & (1 << (n - 1)) != 0).filter_map(Uid::new).collect()
}

/// Does an operation; one that makes no sense at the moment changes nothing.
async fn apply(world: &World, operation: &Operation, n: usize) {
    let mailstore = &world.backup.mailstore;
    let id = async |user: usize| world.id(USERS[user]).await;
    let mailbox = async |user: usize, mailbox: usize| {
        let found = mailstore.mailbox(id(user).await, &name(NAMES[mailbox])).await.unwrap();
        found.map(|found| found.id)
    };
    match *operation {
        Operation::Deliver { both, long } => {
            let text = format!(
                "text {n} {}",
                if long { "x".repeat(5000) + &"0123456789abcdef".repeat(n * 20) } else { String::new() }
            );
            world.deliver(if both { &USERS } else { &USERS[..1] }, &text).await;
        }
        Operation::Append { user, mailbox, count } => {
            let texts: Vec<String> = (0..count).map(|k| format!("append {n} {k}")).collect();
            world.append(USERS[user], NAMES[mailbox], &texts).await;
        }
        Operation::Copy { user, from, to, uids, remove } => {
            let (Some(from), Some(to)) = (mailbox(user, from).await, mailbox(user, to).await) else { return };
            let account = id(user).await;
            if remove && from != to {
                mailstore.move_messages(account, from, &chosen(uids), to).await.unwrap();
            } else {
                mailstore.copy(account, from, &chosen(uids), to, None).await.unwrap();
            }
        }
        Operation::Store { user, mailbox: at, uids, flags, keyword } => {
            let Some(found) = mailbox(user, at).await else { return };
            let change = FlagChange {
                operation: FlagOperation::Set,
                flags: Flags::from_bits(flags),
                keywords: if keyword { ["Work"].into_iter().collect() } else { Keywords::default() },
            };
            mailstore.store_flags(id(user).await, found, &chosen(uids), &change).await.unwrap();
        }
        Operation::Expunge { user, mailbox: at, uids } => {
            let Some(found) = mailbox(user, at).await else { return };
            mailstore.expunge(id(user).await, found, &ExpungeScope::Exactly(chosen(uids))).await.unwrap();
        }
        Operation::Rename { user, from, to } => {
            let _ = mailstore.rename_mailbox(id(user).await, &name(NAMES[from]), &name(NAMES[to])).await;
        }
        Operation::Delete { user, mailbox } => {
            let _ = mailstore.delete_mailbox(id(user).await, &name(NAMES[mailbox])).await;
        }
        Operation::Subscribe { user, mailbox, on } => {
            mailstore.set_subscribed(id(user).await, &name(NAMES[mailbox]), on).await.unwrap();
        }
        Operation::Account => {
            let user = format!("user{n}");
            world.add_account(&user).await;
            world.deliver(&[&user], "welcome").await;
        }
        Operation::Snapshot => {}
    }
}

async fn run(operations: Vec<Operation>) {
    let world = World::with(3, 0, ekitei_kv::Database::in_memory());
    world.fill(&USERS).await;
    let objects = world.repository_objects();
    let mut pictures: Vec<(String, Picture)> = Vec::new();
    for (n, operation) in operations.iter().chain([&Operation::Snapshot]).enumerate() {
        apply(&world, operation, n).await;
        if matches!(operation, Operation::Snapshot) {
            let picture = world.picture().await;
            pictures.push((world.create(&objects).await.unwrap().id, picture));
        }
    }
    let report = world.verify(&objects, Depth::Full).await;
    assert_eq!(report.problems, [] as [String; 0]);
    assert_eq!(report.snapshots, pictures.len() as u64);
    assert_eq!(report.checked, report.chunks, "every chunk is there once");
    for (snapshot, picture) in pictures {
        let (restored, done) = World::restored(&objects, &snapshot).await;
        assert_eq!(done.unwrap().warnings, [] as [String; 0]);
        assert_eq!(restored.picture().await, picture, "snapshot {snapshot}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn every_snapshot_restores_to_what_was_there(operations in operations()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(operations));
    }
}

#[tokio::test]
async fn passwords_aliases_groups_and_modseq_survive() {
    let world = World::of(&["alice"]).await;
    let directory = &world.backup.directory;
    let alice = world.id("alice").await;
    let (_, app_password) = directory.create_app_password(alice, "phone").await.unwrap();
    let alias = super::support::address("info@example.test");
    let target = super::support::address("alice@example.test");
    directory.create_alias(&alias, [target.clone()].into_iter().collect()).await.unwrap();
    let group = ekitei_directory::NewGroup {
        address: super::support::address("all@example.test"),
        display_name: "All".into(),
        members_may_send: true,
        members: [target].into_iter().collect(),
    };
    directory.create_group(group).await.unwrap();
    world.deliver(&["alice"], "hello").await;
    let inbox = ekitei_mailstore::MailboxId::INBOX;
    let before = world.backup.mailstore.status(alice, inbox).await.unwrap().highest_modseq;
    let objects = world.repository_objects();
    world.create(&objects).await.unwrap();

    let (restored, done) = World::restored(&objects, "latest").await;
    let done = done.unwrap();
    assert_eq!((done.domains, done.accounts, done.names, done.messages), (1, 1, 2, 1));
    assert_eq!(restored.picture().await, world.picture().await);
    assert!(restored.logs_in("alice", super::support::PASSWORD).await);
    assert!(restored.logs_in("alice", &app_password).await);
    assert!(!restored.logs_in("alice", "something else").await);
    let after = restored.backup.mailstore.status(alice, inbox).await.unwrap().highest_modseq;
    assert!(after > before, "clients that know {before:?} must see that {after:?} is later");
    assert_eq!(restored.add_account("bob").await.get(), alice.get() + 1, "numbers go on");
    restored.deliver(&["alice"], "after the restore").await;
    assert_eq!(restored.texts("alice", "INBOX").await, ["hello", "after the restore"]);
}

#[tokio::test]
async fn the_key_beside_the_store_comes_back_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signing.key");
    let files = vec![("signing.key".to_owned(), path.clone())];
    std::fs::write(&path, "a key").unwrap();
    let mut world = World::of(&["alice"]).await;
    world.backup.options.files.clone_from(&files);
    let objects = world.repository_objects();
    world.create(&objects).await.unwrap();
    std::fs::remove_file(&path).unwrap();

    let database = ekitei_kv::Database::in_memory();
    let repository = world.open(&objects).await;
    let incarnation = crate::restore::begin_all(&database, &repository, "latest").await.unwrap();
    let mut restored = World::with(10, incarnation, database);
    restored.backup.options.files = files;
    restored.restore(&objects, &super::support::everything("latest")).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a key");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    // One that was made since would make the signing keys of the backup unreadable.
    std::fs::write(&path, "another").unwrap();
    let database = ekitei_kv::Database::in_memory();
    let incarnation = crate::restore::begin_all(&database, &repository, "latest").await.unwrap();
    let mut again = World::with(10, incarnation, database);
    again.backup.options.files = vec![("signing.key".to_owned(), path.clone())];
    let refused = again.restore(&objects, &super::support::everything("latest")).await.unwrap_err();
    assert!(refused.to_string().contains("move it away"), "{refused}");
    std::fs::remove_file(&path).unwrap();
    again.restore(&objects, &super::support::everything("latest")).await.unwrap();
}
