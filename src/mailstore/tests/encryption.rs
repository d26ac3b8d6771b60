//! Deliveries while bodies are encrypted: one body for each domain, in one transaction.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{
    Blobs, BodyId, DataKey, DataKeyId, DataKeys, DirectoryStore, KeyError, KeyFuture, KeyScope, add_reference,
};
use ekitei_directory::{Directory, EmailAddress, NewAccount, NewDomain};
use ekitei_kv::clock::ManualClock;
use ekitei_kv::{Database, Transaction};
use ekitei_mailstore::{
    AccountId, Companion, Delivery, DomainCounting, Error, Flags, Folder, Keywords, MailStore, MailboxId,
    NewMessage, Settings, Target,
};

/// A key for each scope, numbered by the length of its name.
#[derive(Debug)]
struct Keys {
    enabled: AtomicBool,
    away: AtomicBool,
}

impl Keys {
    fn key(&self, number: u64) -> Result<Arc<DataKey>, KeyError> {
        if self.away.load(Ordering::SeqCst) {
            let (whose, reason) = (number.to_string(), "away".to_owned());
            return Err(KeyError::Unavailable { whose, reason });
        }
        Ok(Arc::new(DataKey::new(DataKeyId::new(number), &[number.to_le_bytes()[0]; 32])))
    }
}

impl DataKeys for Keys {
    fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::SeqCst)
    }

    fn current<'a>(&'a self, scope: &'a KeyScope) -> KeyFuture<'a, Option<Arc<DataKey>>> {
        let number = scope.to_string().len() as u64;
        Box::pin(async move { if self.is_enabled() { self.key(number).map(Some) } else { Ok(None) } })
    }

    fn get(&self, key: DataKeyId) -> KeyFuture<'_, Arc<DataKey>> {
        Box::pin(async move { self.key(key.get()) })
    }

    fn confirm<'a>(&'a self, _: &'a Transaction, _: DataKeyId) -> KeyFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

struct Fixture {
    _folder: tempfile::TempDir,
    keys: Arc<Keys>,
    database: Database,
    blobs: Blobs,
    store: MailStore,
    /// Two of one domain, one of another.
    accounts: [AccountId; 3],
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let (database, clock) = (Database::in_memory(), ManualClock::new(Duration::from_secs(1_700_000_000)));
    let directory =
        Directory::new(Database::in_memory(), ekitei_directory::Settings::default(), clock.clone());
    let mut accounts = Vec::new();
    for address in ["a@short.test", "b@short.test", "c@much-longer.test"] {
        let address = EmailAddress::parse(address).unwrap();
        let _ = directory.create_domain(address.domain(), NewDomain::default()).await;
        let display_name = String::new();
        let new = NewAccount {
            address,
            display_name,
            password: None,
            quota: None,
            enabled: true,
            forwarding: None,
        };
        accounts.push(directory.create_account(new).await.unwrap().id);
    }
    let keys = Arc::new(Keys { enabled: AtomicBool::new(true), away: AtomicBool::new(false) });
    let settings = ekitei_blob::Settings {
        data_keys: Some(keys.clone()),
        cache_size: 0,
        ..ekitei_blob::Settings::default()
    };
    let objects = DirectoryStore::open(folder.path()).unwrap();
    let blobs = Blobs::new(database.clone(), objects, settings, clock.clone());
    let counting = DomainCounting { directory, is_active: Arc::new(|| true) };
    let store =
        MailStore::with_domains(database.clone(), blobs.clone(), Settings::default(), clock, counting);
    Fixture { _folder: folder, keys, database, blobs, store, accounts: accounts.try_into().unwrap() }
}

/// An entry of the queue, which refers to the body.
#[derive(Debug, Default)]
struct Entry(std::sync::Mutex<Option<BodyId>>);

impl Companion for Entry {
    fn row_size(&self) -> usize {
        100
    }

    fn write(&self, transaction: &Transaction, body: BodyId) {
        add_reference(transaction, body, u64::MAX);
        *self.0.lock().unwrap() = Some(body);
    }
}

fn message(text: &str) -> Bytes {
    format!("Subject: x\r\n\r\n{text}\r\n").into()
}

impl Fixture {
    async fn deliver(&self, text: Bytes, companions: Vec<Arc<dyn Companion>>) -> Result<(), Error> {
        let target = |&account: &AccountId| Target {
            account,
            folder: Folder::Inbox,
            flags: Flags::NONE,
            quota: None,
            header: Bytes::from_static(b"Delivered-To: x\r\n"),
        };
        let targets = self.accounts.iter().map(target).collect();
        let delivery = Delivery { message: text, received: Duration::ZERO, targets, companions, fence: None };
        for outcome in self.store.deliver(delivery).await? {
            outcome?;
        }
        Ok(())
    }

    /// The bodies of each account's INBOX, in order.
    async fn bodies(&self) -> Vec<Vec<BodyId>> {
        let mut bodies = Vec::new();
        for account in self.accounts {
            let view = self.store.view(account, MailboxId::INBOX).await.unwrap();
            let entries = &view.refresh().await.unwrap().entries;
            bodies.push(entries.iter().map(|entry| entry.message).collect());
        }
        bodies
    }

    /// The keys that any body needs, of those below 20.
    async fn keys_in_use(&self) -> BTreeSet<u64> {
        let mut used = BTreeSet::new();
        for number in 0..20 {
            if ekitei_blob::body_under(&self.database, DataKeyId::new(number)).await.unwrap().is_some() {
                used.insert(number);
            }
        }
        used
    }
}

const SERVICE: u64 = "the service".len() as u64;
const SHORT: u64 = "short.test".len() as u64;
const LONGER: u64 = "much-longer.test".len() as u64;

#[tokio::test]
async fn a_body_is_encrypted_once_for_each_domain() {
    let fixture = fixture().await;
    let entry = Arc::new(Entry::default());
    let large = "x".repeat(3_000_000);
    fixture.deliver(message("hello"), vec![entry.clone()]).await.unwrap();
    fixture.deliver(message(&large), Vec::new()).await.unwrap();
    let bodies = fixture.bodies().await;
    assert_eq!(bodies[0], bodies[1], "who share a domain share the body");
    assert!(bodies[0][0] != bodies[2][0] && bodies[0][1] != bodies[2][1]);
    assert_eq!(*entry.0.lock().unwrap(), Some(bodies[0][0]), "what goes on shares that of the first");
    for (account, bodies) in fixture.accounts.into_iter().zip(&bodies) {
        let read = fixture.store.read(account, bodies[0], 0..1000).await.unwrap();
        assert_eq!(read, "Delivered-To: x\r\nSubject: x\r\n\r\nhello\r\n");
        let length = fixture.store.read(account, bodies[1], 0..u64::MAX).await.unwrap().len();
        assert!(length > large.len());
    }
    assert_eq!(fixture.keys_in_use().await, [SHORT, LONGER].into());
}

#[tokio::test]
async fn without_encryption_all_share_one_body() {
    let fixture = fixture().await;
    fixture.keys.enabled.store(false, Ordering::SeqCst);
    fixture.deliver(message("hello"), Vec::new()).await.unwrap();
    let bodies = fixture.bodies().await;
    assert!(bodies[0] == bodies[1] && bodies[1] == bodies[2]);
    assert!(fixture.keys_in_use().await.is_empty());
}

#[tokio::test]
async fn what_a_client_brings_is_encrypted_with_its_domains_key_and_what_only_leaves_with_the_services() {
    let fixture = fixture().await;
    let [account, ..] = fixture.accounts;
    fixture.store.mailboxes(account).await.unwrap();
    let new = NewMessage {
        message: message("hello"),
        flags: Flags::NONE,
        keywords: Keywords::default(),
        received: None,
    };
    fixture.store.append(account, MailboxId::INBOX, vec![new], None).await.unwrap();
    assert_eq!(fixture.keys_in_use().await, [SHORT].into());
    let entry: Arc<dyn Companion> = Arc::new(Entry::default());
    let delivery = Delivery {
        message: message("away"),
        received: Duration::ZERO,
        targets: Vec::new(),
        companions: vec![entry],
        fence: None,
    };
    fixture.store.deliver(delivery).await.unwrap();
    assert_eq!(fixture.keys_in_use().await, [SHORT, SERVICE].into());
}

#[tokio::test]
async fn without_a_key_nothing_is_delivered() {
    let fixture = fixture().await;
    fixture.keys.away.store(true, Ordering::SeqCst);
    let failure = fixture.deliver(message("hello"), Vec::new()).await.unwrap_err();
    assert!(failure.is_of_a_key(), "{failure:?}");
    let body = fixture.blobs.prepare(message("hello")).await;
    assert!(body.is_err());
    fixture.keys.away.store(false, Ordering::SeqCst);
    fixture.deliver(message("hello"), Vec::new()).await.unwrap();
    assert_eq!(fixture.bodies().await.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
}
