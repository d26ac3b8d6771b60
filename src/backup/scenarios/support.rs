//! A service in memory, a repository in memory, and a picture of everything that a restore must bring back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{Blobs, MemoryStore};
use ekitei_directory::{
    AccountId, AuthContext, Directory, Domain, EmailAddress, NewAccount, NewDomain, NewPassword, PageRequest,
    Service,
};
use ekitei_kv::clock::{Clock, ManualClock};
use ekitei_kv::{Database, Observer};
use ekitei_mailstore::{
    Delivery, Flags, Folder, Keywords, MailStore, MailboxId, MailboxName, NewMessage, SpecialUse, Target, Uid,
};

use crate::restore::{QueueMode, Request, Restoration, Scope, begin_all};
use crate::{
    Backup, Depth, OperatorKey, OperatorKeys, Options, Progress, Purpose, Report, Repository, Result,
    SnapshotInfo,
};

pub(super) const DOMAIN: &str = "example.test";
pub(super) const PASSWORD: &str = "a secret of some length";

/// A service without its servers.
pub(super) struct World {
    pub(super) clock: Arc<ManualClock>,
    pub(super) observer: Observer,
    pub(super) objects: MemoryStore,
    pub(super) backup: Backup,
}

/// What a user, or the administrator, sees of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MailboxPicture {
    id: MailboxId,
    uid_validity: u32,
    special_use: Option<SpecialUse>,
    counts: (u64, u64, u64, u64),
    messages: Vec<(Uid, Flags, Keywords, i64, Bytes)>,
}

/// What there is of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AccountPicture {
    id: AccountId,
    app_passwords: Vec<String>,
    usage: (u64, u64),
    subscriptions: BTreeSet<String>,
    pub(super) mailboxes: BTreeMap<String, MailboxPicture>,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    domains: Vec<String>,
    aliases: Vec<String>,
    groups: Vec<(String, Vec<String>)>,
    pub(super) accounts: BTreeMap<String, AccountPicture>,
}

pub(super) fn key(octet: u8) -> OperatorKey {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode([octet; 32]);
    OperatorKey::parse("backup.encryptionKey", &text).unwrap()
}

pub(super) fn keys() -> OperatorKeys {
    OperatorKeys(vec![key(7)])
}

pub(super) fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

pub(super) fn name(text: &str) -> MailboxName {
    MailboxName::new(text).unwrap()
}

pub(super) fn message(text: &str) -> Bytes {
    format!("From: a@x.test\r\nSubject: {text}\r\n\r\n{text}\r\n").into()
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Options::default().page, 0, Database::in_memory())
    }

    /// A service whose backups read so many messages in a transaction, in an incarnation.
    pub(super) fn with(page: usize, incarnation: u16, database: Database) -> Self {
        let clock = ManualClock::new(Duration::from_secs(1_700_000_000));
        let (database, observer) = database.observed();
        let objects = MemoryStore::new(clock.clone());
        // Small, so that there are objects, and bodies of several blocks.
        let settings =
            ekitei_blob::Settings { hot_limit: 2000, block_size: 1000, ..ekitei_blob::Settings::default() };
        let blobs = Blobs::new(database.clone(), objects.clone(), settings, clock.clone());
        let settings = ekitei_mailstore::Settings { incarnation, ..ekitei_mailstore::Settings::default() };
        let mailstore = MailStore::new(database.clone(), blobs.clone(), settings, clock.clone());
        let settings = ekitei_directory::Settings {
            argon2: ekitei_directory::Argon2Cost { memory_kib: 8, passes: 1, lanes: 1 },
            failed_login_delay: Duration::ZERO,
            ..ekitei_directory::Settings::default()
        };
        let directory = Directory::new(database.clone(), settings, clock.clone());
        let options =
            Options { page, host: "here".into(), release: "test".into(), incarnation, files: Vec::new() };
        let backup = Backup { database, blobs, mailstore, directory, clock: clock.clone(), options };
        Self { clock, observer, objects, backup }
    }

    /// A service with a domain and accounts of these names.
    pub(super) async fn of(users: &[&str]) -> Self {
        let world = Self::new();
        world.fill(users).await;
        world
    }

    pub(super) async fn fill(&self, users: &[&str]) {
        let domain = Domain::parse(DOMAIN).unwrap();
        self.backup.directory.create_domain(&domain, NewDomain::default()).await.unwrap();
        for user in users {
            self.add_account(user).await;
        }
    }

    pub(super) async fn add_account(&self, user: &str) -> AccountId {
        let new = NewAccount {
            address: address(&format!("{user}@{DOMAIN}")),
            display_name: user.to_owned(),
            password: Some(NewPassword::Plain(PASSWORD.into())),
            quota: None,
            enabled: true,
            forwarding: None,
        };
        self.backup.directory.create_account(new).await.unwrap().id
    }

    pub(super) async fn id(&self, user: &str) -> AccountId {
        self.backup.directory.account_by_address(&address(&format!("{user}@{DOMAIN}"))).await.unwrap().id
    }

    pub(super) async fn logs_in(&self, user: &str, password: &str) -> bool {
        let context = AuthContext { service: Service::Imap, peer: None };
        self.backup.directory.authenticate(&format!("{user}@{DOMAIN}"), password, context).await.is_ok()
    }

    pub(super) async fn deliver(&self, users: &[&str], text: &str) {
        let mut targets = Vec::new();
        for user in users {
            targets.push(Target {
                account: self.id(user).await,
                folder: Folder::Inbox,
                flags: Flags::NONE,
                quota: None,
                header: format!("Delivered-To: {user}\r\n").into(),
            });
        }
        let delivery = Delivery {
            message: message(text),
            received: self.clock.now(),
            targets,
            companions: Vec::new(),
            fence: None,
        };
        for outcome in self.backup.mailstore.deliver(delivery).await.unwrap() {
            outcome.unwrap();
        }
    }

    /// Adds messages to a mailbox, which is made if it is not there.
    pub(super) async fn append(&self, user: &str, mailbox: &str, texts: &[String]) {
        let account = self.id(user).await;
        let mailbox = self.backup.mailstore.mailbox_or_new(account, &name(mailbox)).await.unwrap();
        for texts in texts.chunks(500) {
            let new = |text: &String| NewMessage {
                message: message(text),
                flags: Flags::SEEN,
                keywords: ["$Important"].into_iter().collect(),
                received: None,
            };
            let messages = texts.iter().map(new).collect();
            self.backup.mailstore.append(account, mailbox, messages, None).await.unwrap();
        }
    }

    pub(super) fn repository_objects(&self) -> MemoryStore {
        MemoryStore::new(self.clock.clone())
    }

    pub(super) async fn open(&self, objects: &MemoryStore) -> Repository {
        self.try_open(objects).await.unwrap()
    }

    pub(super) async fn try_open(&self, objects: &MemoryStore) -> Result<Repository> {
        Repository::open(Arc::new(objects.clone()), &keys(), self.clock.clone(), true).await
    }

    pub(super) async fn create(&self, objects: &MemoryStore) -> Result<SnapshotInfo> {
        self.clock.advance(Duration::from_secs(1));
        let repository = self.try_open(objects).await?;
        let lock = repository.lock(Purpose::Use, self.backup.holder().await?).await?;
        let created = self.backup.create(&repository, Arc::clone(&lock), &Progress::default()).await;
        lock.release().await;
        created
    }

    pub(super) async fn verify(&self, objects: &MemoryStore, depth: Depth) -> Report {
        let repository = self.open(objects).await;
        let lock = repository.lock(Purpose::Use, self.backup.holder().await.unwrap()).await.unwrap();
        let report = repository.verify(&lock, depth, &Progress::default()).await.unwrap();
        lock.release().await;
        report
    }

    pub(super) async fn restore(&self, objects: &MemoryStore, request: &Request) -> Result<Restoration> {
        let repository = self.open(objects).await;
        let lock = repository.lock(Purpose::Use, self.backup.holder().await?).await?;
        let restored =
            self.backup.restore(&repository, Arc::clone(&lock), request, &Progress::default()).await;
        lock.release().await;
        restored
    }

    /// A new service with all of a snapshot.
    pub(super) async fn restored(objects: &MemoryStore, snapshot: &str) -> (Self, Result<Restoration>) {
        let database = Database::in_memory();
        let first = Self::with(10, 0, database.clone());
        let repository = first.open(objects).await;
        let incarnation = begin_all(&database, &repository, snapshot).await.unwrap();
        let world = Self::with(10, incarnation, database);
        let done = world.restore(objects, &everything(snapshot)).await;
        (world, done)
    }

    /// Everything as users and administrators see it, after checking that counters and listings agree.
    pub(super) async fn picture(&self) -> Picture {
        let directory = &self.backup.directory;
        let all = PageRequest { after: None, limit: 1000 };
        let mut accounts = BTreeMap::new();
        for account in directory.list_accounts(None, &all).await.unwrap().items {
            accounts.insert(account.address.to_string(), self.account_picture(account.id).await);
        }
        let mut groups = Vec::new();
        for group in directory.list_groups(None, &all).await.unwrap().items {
            let members = directory.list_members(&group.address, &all).await.unwrap().items;
            groups.push((group.address.to_string(), members.iter().map(ToString::to_string).collect()));
        }
        let domains = directory.list_domains(&all).await.unwrap().items;
        let aliases = directory.list_aliases(None, &all).await.unwrap().items;
        Picture {
            domains: domains.iter().map(|domain| format!("{domain:?}")).collect(),
            aliases: aliases.iter().map(|alias| format!("{alias:?}")).collect(),
            groups,
            accounts,
        }
    }

    pub(super) async fn account_picture(&self, id: AccountId) -> AccountPicture {
        let mailstore = &self.backup.mailstore;
        let mut mailboxes = BTreeMap::new();
        for mailbox in mailstore.mailboxes(id).await.unwrap() {
            let view = mailstore.view(id, mailbox.id).await.unwrap().refresh().await.unwrap();
            let status = mailstore.status(id, mailbox.id).await.unwrap();
            let mut messages = Vec::new();
            for entry in &view.entries {
                assert!(entry.modseq <= view.highest_modseq, "{}", mailbox.name);
                let octets = mailstore.read(id, entry.message, 0..u64::MAX).await.unwrap();
                assert_eq!(octets.len() as u64, entry.size);
                messages.push((entry.uid, entry.flags, entry.keywords.clone(), entry.received, octets));
            }
            // UIDNEXT is no part of the picture: it is higher in what was restored.
            assert!(messages.iter().all(|(uid, ..)| *uid < view.uid_next), "{}", mailbox.name);
            let picture = MailboxPicture {
                id: mailbox.id,
                uid_validity: mailbox.uid_validity,
                special_use: mailbox.special_use,
                counts: (status.messages, status.unseen, status.deleted, status.size),
                messages,
            };
            mailboxes.insert(mailbox.name.to_string(), picture);
        }
        let usage = mailstore.usage(id).await.unwrap();
        let subscriptions = mailstore.subscriptions(id).await.unwrap();
        let app_passwords = self.backup.directory.list_app_passwords(id).await.unwrap();
        AccountPicture {
            id,
            app_passwords: app_passwords.into_iter().map(|password| password.name).collect(),
            usage: (usage.bytes, usage.messages),
            subscriptions: subscriptions.iter().map(ToString::to_string).collect(),
            mailboxes,
        }
    }

    /// The UIDs of a mailbox.
    pub(super) async fn uids(&self, user: &str, mailbox: &str) -> Vec<u32> {
        let account = self.account_picture(self.id(user).await).await;
        account.mailboxes[mailbox].messages.iter().map(|(uid, ..)| uid.get()).collect()
    }

    /// The subjects of a mailbox's messages.
    pub(super) async fn texts(&self, user: &str, mailbox: &str) -> Vec<String> {
        let account = self.account_picture(self.id(user).await).await;
        let Some(mailbox) = account.mailboxes.get(mailbox) else { return Vec::new() };
        let text = |octets: &Bytes| {
            let text = String::from_utf8_lossy(octets).into_owned();
            text.trim_end().rsplit('\n').next().unwrap_or_default().to_owned()
        };
        mailbox.messages.iter().map(|(.., octets)| text(octets)).collect()
    }
}

pub(super) fn everything(snapshot: &str) -> Request {
    Request { snapshot: snapshot.to_owned(), scope: Scope::All, dry_run: false, queue: QueueMode::Hold }
}

pub(super) fn account(user: &str) -> Scope {
    Scope::Account { address: format!("{user}@{DOMAIN}"), mailbox: None, into: None, prefix: None }
}

pub(super) fn request(scope: Scope) -> Request {
    Request { snapshot: "latest".into(), scope, dry_run: false, queue: QueueMode::Hold }
}
