//! A mailstore in memory, and the check that everything in it agrees.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{Blobs, Collected, DirectoryStore};
use ekitei_directory::{Directory, Domain, EmailAddress, NewAccount, NewDomain};
use ekitei_kv::clock::{Clock, ManualClock};
use ekitei_kv::{CommitFault, Database, FaultScript, MemoryOptions, Observer, keys};
use ekitei_mailstore::{
    AccountId, Delivery, DomainCounting, Flags, Folder, Keywords, MailStore, MailboxId, MessageId,
    MessageRecord, NewMessage, Repair, Result, Settings, Snapshot, Target, Uid,
};

pub const GRACE: Duration = Duration::from_secs(60);

pub struct Fixture {
    _folder: tempfile::TempDir,
    pub database: Database,
    pub blobs: Blobs,
    pub clock: Arc<ManualClock>,
    pub store: MailStore,
    /// Counts what all mailstores of the fixture do.
    pub observer: Observer,
    settings: Settings,
    faults: Arc<FaultScript>,
    /// Over a database of its own, which no fault touches.
    directory: Option<Directory>,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let faults = Arc::new(FaultScript::default());
        let options =
            MemoryOptions { faults: faults.clone(), committing_thread: true, ..MemoryOptions::default() };
        let (database, observer) = Database::in_memory_with(options).unwrap().observed();
        let clock = ManualClock::new(Duration::from_secs(1_700_000_000));
        let objects = DirectoryStore::open(folder.path()).unwrap();
        let blob_settings = ekitei_blob::Settings { grace: GRACE, ..ekitei_blob::Settings::default() };
        let blobs = Blobs::new(database.clone(), objects, blob_settings, clock.clone());
        let mut settings = Settings::default();
        change(&mut settings);
        let store = MailStore::new(database.clone(), blobs.clone(), settings.clone(), clock.clone());
        Self { _folder: folder, database, blobs, clock, store, observer, settings, faults, directory: None }
    }

    /// One with the accounts 1 and 2 in [`domain`], which count for it.
    pub async fn counting() -> Self {
        let mut fixture = Self::new();
        let settings = ekitei_directory::Settings::default();
        let directory = Directory::new(Database::in_memory(), settings, fixture.clock.clone());
        directory.create_domain(&domain(), NewDomain::default()).await.unwrap();
        fixture.directory = Some(directory);
        fixture.store = fixture.another_pod();
        fixture.more_accounts(2).await;
        fixture
    }

    /// More accounts in the domain.
    pub async fn more_accounts(&self, count: usize) -> Vec<AccountId> {
        let mut accounts = Vec::new();
        for _ in 0..count {
            let name = rand::random::<u64>();
            let new = NewAccount {
                address: EmailAddress::parse(&format!("{name}@{}", domain())).unwrap(),
                display_name: String::new(),
                password: None,
                quota: None,
                enabled: true,
                forwarding: None,
            };
            accounts.push(self.directory.as_ref().unwrap().create_account(new).await.unwrap().id);
        }
        accounts
    }

    /// Another process's mailstore over the same data.
    pub fn another_pod(&self) -> MailStore {
        self.pod(true)
    }

    /// One that lets no account begin to count for its domain.
    pub fn earlier_release(&self) -> MailStore {
        self.pod(false)
    }

    /// Another process whose transactions are not counted.
    pub fn unobserved_pod(&self) -> MailStore {
        let (database, _) = self.database.observed();
        MailStore::new(database, self.blobs.clone(), self.settings.clone(), self.clock.clone())
    }

    fn pod(&self, counts: bool) -> MailStore {
        let (database, blobs, settings) = (self.database.clone(), self.blobs.clone(), self.settings.clone());
        let Some(directory) = self.directory.clone() else {
            return MailStore::new(database, blobs, settings, self.clock.clone());
        };
        let counting = DomainCounting { directory, is_active: Arc::new(move || counts) };
        MailStore::with_domains(database, blobs, settings, self.clock.clone(), counting)
    }

    /// Nothing differs from what is counted again.
    pub async fn recount(&self, accounts: &[AccountId]) {
        for &account in accounts {
            assert_eq!(self.store.recount(account, Repair::No).await.unwrap(), [], "of account {account}");
        }
        if self.directory.is_some() {
            assert_eq!(self.store.recount_domain(&domain(), Repair::No).await.unwrap(), [], "of the domain");
        }
    }

    pub fn next_commit_unknown(&self, applied: bool) {
        let fault = if applied { CommitFault::UnknownApplied } else { CommitFault::UnknownNotApplied };
        self.faults.commits([Some(fault)]);
    }

    /// The next commit passes; those after it conflict.
    pub fn conflicts_after_one_commit(&self, count: usize) {
        self.faults.commits([None]);
        self.faults.commits(std::iter::repeat_n(Some(CommitFault::Conflict), count));
    }

    pub fn delivery(&self, accounts: &[AccountId], text: &str) -> Delivery {
        Delivery {
            message: message(text),
            received: self.clock.now(),
            targets: accounts.iter().map(|&account| target(account)).collect(),
            companions: Vec::new(),
            fence: None,
        }
    }

    pub async fn deliver(&self, accounts: &[AccountId], text: &str) -> Vec<Result<(MailboxId, Uid)>> {
        self.store.deliver(self.delivery(accounts, text)).await.unwrap()
    }

    pub async fn append(&self, account: AccountId, mailbox: MailboxId, count: usize) {
        self.store.mailboxes(account).await.unwrap();
        let new = |n: usize| NewMessage {
            message: message(&format!("message {n}")),
            flags: Flags::NONE,
            keywords: Keywords::default(),
            received: None,
        };
        self.store.append(account, mailbox, (0..count).map(new).collect(), None).await.unwrap();
    }

    pub async fn snapshot(&self, account: AccountId, mailbox: MailboxId) -> Arc<Snapshot> {
        self.store.view(account, mailbox).await.unwrap().refresh().await.unwrap()
    }

    pub async fn record(&self, account: AccountId, message: MessageId) -> Arc<MessageRecord> {
        self.store.messages(account, &[message]).await.unwrap().pop().flatten().unwrap()
    }

    /// Runs the collector after the grace period.
    pub async fn collect(&self) -> Collected {
        self.clock.advance(GRACE);
        self.blobs.collect().await.unwrap()
    }

    /// Rows in the whole store: every row but the trace of the process's latest delivery, and the counters of hot bodies.
    pub async fn rows(&self) -> usize {
        let mut count = 0;
        let traces = keys::range(&(keys::subspace::CLUSTER, "delivery"));
        let counters = keys::range(&(keys::subspace::BODIES, 4u32));
        let counts = |key: &[u8]| ![&traces, &counters].iter().any(|range| range.contains(&key.to_vec()));
        self.database
            .scan(vec![]..vec![0xFF], |page| {
                count += page.iter().filter(|row| counts(&row.key)).count();
                Ok::<_, ekitei_kv::Error>(())
            })
            .await
            .unwrap();
        count
    }

    /// Counters equal a recount, UIDs ascend below UIDNEXT, the view that was refreshed equals one that is read anew, and every message
    /// can be read.
    pub async fn check(&self, account: AccountId) {
        let fresh = self.another_pod();
        let (mut bytes, mut messages) = (0, 0);
        let mut read: BTreeMap<MessageId, u64> = BTreeMap::new();
        for mailbox in fresh.mailboxes(account).await.unwrap() {
            let loaded = fresh.view(account, mailbox.id).await.unwrap().snapshot();
            let refreshed = self.snapshot(account, mailbox.id).await;
            assert_eq!(refreshed.entries, loaded.entries, "the view of {}", mailbox.name);
            let entries = &loaded.entries;
            let status = fresh.status(account, mailbox.id).await.unwrap();
            let count = |test: &dyn Fn(Flags) -> bool| {
                entries.iter().filter(|entry| test(entry.flags)).count() as u64
            };
            let size: u64 = entries.iter().map(|entry| entry.size).sum();
            assert_eq!(status.messages, entries.len() as u64);
            assert_eq!(status.unseen, count(&|flags| !flags.contains(Flags::SEEN)));
            assert_eq!(status.deleted, count(&|flags| flags.contains(Flags::DELETED)));
            assert_eq!(status.size, size);
            assert_eq!(status.uid_next, loaded.uid_next);
            assert!(entries.is_sorted_by(|a, b| a.uid < b.uid));
            assert!(entries.last().is_none_or(|last| last.uid < loaded.uid_next));
            bytes += size;
            messages += entries.len() as u64;
            read.extend(entries.iter().map(|entry| (entry.message, entry.size)));
        }
        let usage = fresh.usage(account).await.unwrap();
        assert_eq!((usage.bytes, usage.messages), (bytes, messages), "the usage of account {account}");
        for (message, size) in read {
            assert_eq!(fresh.read(account, message, 0..u64::MAX).await.unwrap().len() as u64, size);
        }
    }
}

/// The domain of the accounts of [`Fixture::counting`].
pub fn domain() -> Domain {
    Domain::parse("example.test").unwrap()
}

pub fn message(text: &str) -> Bytes {
    format!("From: a@x.test\r\nSubject: {text}\r\nX-N: {text}\r\n\r\n{text}\r\n").into()
}

pub fn target(account: AccountId) -> Target {
    Target {
        account,
        folder: Folder::Inbox,
        flags: Flags::NONE,
        quota: None,
        header: format!("Delivered-To: {account}\r\n").into(),
    }
}
