//! Random operations of several clients on the mailstore and on a simple model in memory: equal results, equal mailboxes, and no UID
//! used again or out of order; also when commits conflict or end with an unknown result.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use ekitei_mailstore::{
    AccountId, Error, ExpungeScope, FlagChange, FlagOperation, Flags, Keywords, MailStore, MailboxId,
    MailboxName, NewMessage, Uid, View,
};
use proptest::prelude::*;
use support::{Fixture, message};

const ACCOUNTS: u64 = 2;
const NAMES: [&str; 5] = ["INBOX", "a", "a/b", "a/b/c", "d"];
const KEYWORDS: [&str; 3] = ["one", "two", "$Three"];

/// What a client asks; small numbers choose among what is there.
#[derive(Clone, Debug)]
enum Operation {
    Deliver { both: bool },
    Append { account: u64, mailbox: usize, flags: u8, count: usize },
    Copy { account: u64, from: usize, to: usize, uids: u32 },
    Move { account: u64, from: usize, to: usize, uids: u32 },
    Store { account: u64, mailbox: usize, uids: u32, operation: FlagOperation, flags: u8, keyword: usize },
    Expunge { account: u64, mailbox: usize, exactly: Option<u32> },
    Create { account: u64, name: usize },
    Delete { account: u64, name: usize },
    Rename { account: u64, from: usize, to: usize },
    Unknown { applied: bool },
    Refresh,
}

fn operations() -> impl Strategy<Value = Vec<(bool, Operation)>> {
    let account = 1..=ACCOUNTS;
    let name = 0..NAMES.len();
    let pick = prop_oneof![Just(FlagOperation::Set), Just(FlagOperation::Add), Just(FlagOperation::Remove)];
    let one = prop_oneof![
        3 => any::<bool>().prop_map(|both| Operation::Deliver { both }),
        2 => (account.clone(), name.clone(), 0u8..32, 0usize..4)
            .prop_map(|(account, mailbox, flags, count)| Operation::Append { account, mailbox, flags, count }),
        2 => (account.clone(), name.clone(), name.clone(), any::<u32>())
            .prop_map(|(account, from, to, uids)| Operation::Copy { account, from, to, uids }),
        2 => (account.clone(), name.clone(), name.clone(), any::<u32>())
            .prop_map(|(account, from, to, uids)| Operation::Move { account, from, to, uids }),
        4 => (account.clone(), name.clone(), any::<u32>(), pick, 0u8..32, 0..=KEYWORDS.len()).prop_map(
            |(account, mailbox, uids, operation, flags, keyword)| Operation::Store {
                account, mailbox, uids, operation, flags, keyword,
            }
        ),
        3 => (account.clone(), name.clone(), any::<Option<u32>>())
            .prop_map(|(account, mailbox, exactly)| Operation::Expunge { account, mailbox, exactly }),
        2 => (account.clone(), name.clone()).prop_map(|(account, name)| Operation::Create { account, name }),
        1 => (account.clone(), name.clone()).prop_map(|(account, name)| Operation::Delete { account, name }),
        1 => (account, name.clone(), name).prop_map(|(account, from, to)| Operation::Rename { account, from, to }),
        2 => any::<bool>().prop_map(|applied| Operation::Unknown { applied }),
        1 => Just(Operation::Refresh),
    ];
    proptest::collection::vec((any::<bool>(), one), 1..60)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ModelMessage {
    text: String,
    flags: Flags,
    keywords: Keywords,
}

#[derive(Clone, Debug, Default)]
struct ModelMailbox {
    messages: BTreeMap<Uid, ModelMessage>,
    /// UIDs ever given out.
    given: u32,
}

impl ModelMailbox {
    fn add(&mut self, message: ModelMessage) -> Uid {
        self.given += 1;
        let uid = Uid::new(self.given).unwrap();
        self.messages.insert(uid, message);
        uid
    }

    /// Messages that the bits choose among the first 32 UIDs, there or not.
    fn chosen(&self, bits: u32) -> Vec<Uid> {
        (1..=32).filter(|n| bits & (1 << (n - 1)) != 0).map(|n| Uid::new(n).unwrap()).collect()
    }
}

type Model = BTreeMap<(u64, MailboxName), ModelMailbox>;

struct Run {
    fixture: Fixture,
    pods: [MailStore; 2],
    model: Model,
    next_text: u64,
    views: Vec<View>,
}

fn name(index: usize) -> MailboxName {
    MailboxName::new(NAMES[index]).unwrap()
}

impl Run {
    async fn new() -> Self {
        let fixture = Fixture::counting().await;
        let pods = [fixture.store.clone(), fixture.another_pod()];
        let mut run = Self { fixture, pods, model: Model::new(), next_text: 0, views: Vec::new() };
        for account in 1..=ACCOUNTS {
            for mailbox in run.fixture.store.mailboxes(AccountId::new(account)).await.unwrap() {
                run.model.insert((account, mailbox.name), ModelMailbox::default());
            }
        }
        run
    }

    fn text(&mut self) -> String {
        self.next_text += 1;
        format!("text {}", self.next_text)
    }

    /// The mailbox's id in the store; `None` exactly if the model does not have it.
    async fn id(&self, pod: &MailStore, account: u64, name: &MailboxName) -> Option<MailboxId> {
        let found = pod.mailbox(AccountId::new(account), name).await.unwrap();
        assert_eq!(found.is_some(), self.model.contains_key(&(account, name.clone())), "{name}");
        found.map(|mailbox| mailbox.id)
    }

    async fn apply(&mut self, second: bool, operation: Operation) {
        let pod = self.pods[usize::from(second)].clone();
        match operation {
            Operation::Deliver { both } => self.deliver(&pod, both).await,
            Operation::Append { account, mailbox, flags, count } => {
                self.append(&pod, account, name(mailbox), Flags::from_bits(flags), count).await;
            }
            Operation::Copy { account, from, to, uids } => {
                self.copy(&pod, account, name(from), name(to), uids, false).await;
            }
            Operation::Move { account, from, to, uids } => {
                self.copy(&pod, account, name(from), name(to), uids, true).await;
            }
            Operation::Store { account, mailbox, uids, operation, flags, keyword } => {
                let keywords = KEYWORDS.get(keyword).into_iter().copied().collect();
                let change = FlagChange { operation, flags: Flags::from_bits(flags), keywords };
                self.store(&pod, account, name(mailbox), uids, &change).await;
            }
            Operation::Expunge { account, mailbox, exactly } => {
                self.expunge(&pod, account, name(mailbox), exactly).await;
            }
            Operation::Create { account, name: index } => self.create(&pod, account, name(index)).await,
            Operation::Delete { account, name: index } => self.delete(&pod, account, name(index)).await,
            Operation::Rename { account, from, to } => {
                self.rename(&pod, account, name(from), name(to)).await;
            }
            Operation::Unknown { applied } => self.fixture.next_commit_unknown(applied),
            Operation::Refresh => self.refresh(&pod).await,
        }
    }

    async fn deliver(&mut self, pod: &MailStore, both: bool) {
        let accounts: Vec<u64> = if both { (1..=ACCOUNTS).collect() } else { vec![1] };
        let text = self.text();
        let ids: Vec<AccountId> = accounts.iter().map(|&account| AccountId::new(account)).collect();
        let outcomes = pod.deliver(self.fixture.delivery(&ids, &text)).await.unwrap();
        for (account, outcome) in accounts.iter().zip(outcomes) {
            let inbox = self.model.get_mut(&(*account, MailboxName::inbox())).unwrap();
            let expected = inbox.add(ModelMessage {
                text: text.clone(),
                flags: Flags::NONE,
                keywords: Keywords::default(),
            });
            assert_eq!(outcome.unwrap(), (MailboxId::INBOX, expected));
        }
    }

    async fn append(&mut self, pod: &MailStore, account: u64, name: MailboxName, flags: Flags, count: usize) {
        let Some(id) = self.id(pod, account, &name).await else { return };
        let texts: Vec<String> = (0..count).map(|_| self.text()).collect();
        let new = texts.iter().map(|text| NewMessage {
            message: message(text),
            flags,
            keywords: Keywords::default(),
            received: None,
        });
        let appended = pod.append(AccountId::new(account), id, new.collect(), None).await.unwrap();
        let mailbox = self.model.get_mut(&(account, name)).unwrap();
        let expected: Vec<Uid> = texts
            .into_iter()
            .map(|text| mailbox.add(ModelMessage { text, flags, keywords: Keywords::default() }))
            .collect();
        assert_eq!(appended.uids, expected);
    }

    async fn copy(
        &mut self,
        pod: &MailStore,
        account: u64,
        from: MailboxName,
        to: MailboxName,
        bits: u32,
        remove: bool,
    ) {
        let (Some(source), Some(target)) =
            (self.id(pod, account, &from).await, self.id(pod, account, &to).await)
        else {
            return;
        };
        let uids = self.model[&(account, from.clone())].chosen(bits);
        let id = AccountId::new(account);
        let copied = if remove {
            pod.move_messages(id, source, &uids, target).await
        } else {
            pod.copy(id, source, &uids, target, None).await
        };
        // Chosen before anything is added: source and target may be one mailbox.
        let messages = &self.model[&(account, from.clone())].messages;
        let found: Vec<_> =
            uids.into_iter().filter_map(|uid| Some((uid, messages.get(&uid)?.clone()))).collect();
        let mut expected = Vec::new();
        for (uid, message) in found {
            expected.push((uid, self.model.get_mut(&(account, to.clone())).unwrap().add(message)));
            if remove {
                self.model.get_mut(&(account, from.clone())).unwrap().messages.remove(&uid);
            }
        }
        assert_eq!(copied.unwrap().uids, expected);
    }

    async fn store(
        &mut self,
        pod: &MailStore,
        account: u64,
        name: MailboxName,
        bits: u32,
        change: &FlagChange,
    ) {
        let Some(id) = self.id(pod, account, &name).await else { return };
        let mailbox = self.model.get_mut(&(account, name)).unwrap();
        let uids = mailbox.chosen(bits);
        let changed = pod.store_flags(AccountId::new(account), id, &uids, change).await.unwrap();
        let mut expected = Vec::new();
        for uid in uids {
            let Some(message) = mailbox.messages.get_mut(&uid) else { continue };
            let before = message.clone();
            let names = |set: &Keywords| set.iter().map(str::to_owned).collect::<BTreeSet<_>>();
            let (mut keywords, given) = (names(&message.keywords), names(&change.keywords));
            match change.operation {
                FlagOperation::Set => (message.flags, keywords) = (change.flags, given),
                FlagOperation::Add => {
                    message.flags = Flags::from_bits(message.flags.bits() | change.flags.bits());
                    keywords.extend(given);
                }
                FlagOperation::Remove => {
                    message.flags = Flags::from_bits(message.flags.bits() & !change.flags.bits());
                    keywords.retain(|keyword| !given.contains(keyword));
                }
            }
            message.keywords = keywords.into_iter().collect();
            if *message != before {
                expected.push(uid);
            }
        }
        assert_eq!(changed.uids, expected);
    }

    async fn expunge(&mut self, pod: &MailStore, account: u64, name: MailboxName, exactly: Option<u32>) {
        let Some(id) = self.id(pod, account, &name).await else { return };
        let mailbox = self.model.get_mut(&(account, name)).unwrap();
        let chosen = exactly.map(|bits| mailbox.chosen(bits));
        let scope = chosen.clone().map_or(ExpungeScope::Deleted, ExpungeScope::DeletedAmong);
        let removed = pod.expunge(AccountId::new(account), id, &scope).await.unwrap();
        let is_removed = |uid: &Uid, message: &ModelMessage| {
            message.flags.contains(Flags::DELETED)
                && chosen.as_ref().is_none_or(|chosen| chosen.contains(uid))
        };
        let expected: Vec<Uid> = mailbox
            .messages
            .iter()
            .filter(|(uid, message)| is_removed(uid, message))
            .map(|(uid, _)| *uid)
            .collect();
        mailbox.messages.retain(|uid, _| !expected.contains(uid));
        assert_eq!(removed.uids, expected);
    }

    async fn create(&mut self, pod: &MailStore, account: u64, name: MailboxName) {
        let created = pod.create_mailbox(AccountId::new(account), &name, None).await;
        if self.model.contains_key(&(account, name.clone())) {
            assert!(matches!(created, Err(Error::MailboxExists)), "{created:?}");
            return;
        }
        created.unwrap();
        self.add_with_parents(account, name);
    }

    fn add_with_parents(&mut self, account: u64, name: MailboxName) {
        for name in std::iter::successors(Some(name), MailboxName::parent) {
            self.model.entry((account, name)).or_default();
        }
    }

    async fn delete(&mut self, pod: &MailStore, account: u64, name: MailboxName) {
        let deleted = pod.delete_mailbox(AccountId::new(account), &name).await;
        let has_children = self.model.keys().any(|(owner, other)| *owner == account && other.is_below(&name));
        if name.is_inbox() {
            assert!(matches!(deleted, Err(Error::NotPermitted(_))));
        } else if !self.model.contains_key(&(account, name.clone())) {
            assert!(matches!(deleted, Err(Error::NoSuchMailbox)));
        } else if has_children {
            assert!(matches!(deleted, Err(Error::HasChildren)));
        } else {
            deleted.unwrap();
            self.model.remove(&(account, name));
        }
    }

    async fn rename(&mut self, pod: &MailStore, account: u64, from: MailboxName, to: MailboxName) {
        if from.is_inbox() {
            return; // COPY and MOVE cover it
        }
        let renamed = pod.rename_mailbox(AccountId::new(account), &from, &to).await;
        let is_there = |name: &MailboxName| self.model.contains_key(&(account, name.clone()));
        if to.is_inbox() {
            assert!(matches!(renamed, Err(Error::MailboxExists)));
        } else if to.is_below(&from) {
            assert!(matches!(renamed, Err(Error::NotPermitted(_))));
        } else if !is_there(&from) {
            assert!(matches!(renamed, Err(Error::NoSuchMailbox)));
        } else if is_there(&to) {
            assert!(matches!(renamed, Err(Error::MailboxExists)));
        } else {
            renamed.unwrap();
            let moved: Vec<_> = self
                .model
                .keys()
                .filter(|(owner, name)| *owner == account && name.rebased(&from, &to).is_some())
                .cloned()
                .collect();
            for key in moved {
                let mailbox = self.model.remove(&key).unwrap();
                self.model.insert((account, key.1.rebased(&from, &to).unwrap()), mailbox);
            }
            self.add_with_parents(account, to);
        }
    }

    /// Opens views of everything and refreshes those that were opened before, so that later changes reach them through the log.
    async fn refresh(&mut self, pod: &MailStore) {
        for view in &self.views {
            view.refresh().await.unwrap();
        }
        for account in (1..=ACCOUNTS).map(AccountId::new) {
            for mailbox in pod.mailboxes(account).await.unwrap() {
                self.views.push(pod.view(account, mailbox.id).await.unwrap());
            }
        }
    }

    async fn check(&self) {
        for account in 1..=ACCOUNTS {
            let id = AccountId::new(account);
            self.fixture.check(id).await;
            self.fixture.recount(&[id]).await;
            for pod in &self.pods {
                let mailboxes = pod.mailboxes(id).await.unwrap();
                let names: Vec<_> = mailboxes.iter().map(|mailbox| mailbox.name.clone()).collect();
                let expected: Vec<_> = self
                    .model
                    .keys()
                    .filter(|(owner, _)| *owner == account)
                    .map(|(_, name)| name.clone())
                    .collect();
                assert_eq!(names, expected);
                for mailbox in mailboxes {
                    let model = &self.model[&(account, mailbox.name.clone())];
                    let snapshot = pod.view(id, mailbox.id).await.unwrap().refresh().await.unwrap();
                    assert_eq!(snapshot.uid_next.get(), model.given + 1);
                    assert_eq!(snapshot.entries.len(), model.messages.len());
                    for (entry, (uid, message)) in snapshot.entries.iter().zip(&model.messages) {
                        assert_eq!((entry.uid, entry.flags), (*uid, message.flags));
                        assert_eq!(entry.keywords, message.keywords);
                        let octets = pod.read(id, entry.message, 0..u64::MAX).await.unwrap();
                        let text = format!("\r\n\r\n{}\r\n", message.text);
                        assert!(octets.ends_with(text.as_bytes()), "{octets:?} {text}");
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]
    #[test]
    fn the_store_and_the_model_agree(operations in operations()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new().await;
            for (second, operation) in operations {
                run.apply(second, operation).await;
            }
            run.check().await;
        });
    }
}

/// Several clients at once: nothing is lost or doubled, and what one client was told of UIDs holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_clients_leave_a_store_that_agrees_with_itself() {
    let fixture = Fixture::new();
    let account = AccountId::new(1);
    fixture.append(account, MailboxId::INBOX, 20).await;
    let trash =
        fixture.store.mailbox(account, &MailboxName::new("Trash").unwrap()).await.unwrap().unwrap().id;
    let mut clients = Vec::new();
    for client in 0..6u32 {
        let (store, delivery) = (fixture.another_pod(), fixture.delivery(&[account, AccountId::new(2)], "x"));
        clients.push(tokio::spawn(async move {
            let mut delivered = Vec::new();
            for round in 0..25u32 {
                let uids: Vec<Uid> =
                    (1..=20).filter(|n| n % 6 == (client + round) % 6).filter_map(Uid::new).collect();
                match (client + round) % 4 {
                    0 => {
                        delivered.push(store.deliver(delivery.clone()).await.unwrap()[0].as_ref().unwrap().1)
                    }
                    1 => {
                        let change = FlagChange {
                            operation: FlagOperation::Add,
                            flags: Flags::from_bits(1 << (client % 5)),
                            keywords: Keywords::default(),
                        };
                        store.store_flags(account, MailboxId::INBOX, &uids, &change).await.unwrap();
                    }
                    2 => {
                        let moved =
                            store.move_messages(account, MailboxId::INBOX, &uids, trash).await.unwrap();
                        let back: Vec<Uid> = moved.uids.iter().map(|&(_, target)| target).collect();
                        store.move_messages(account, trash, &back, MailboxId::INBOX).await.unwrap();
                    }
                    _ => {
                        store.expunge(account, MailboxId::INBOX, &ExpungeScope::Deleted).await.unwrap();
                    }
                }
            }
            delivered
        }));
    }
    let mut delivered = Vec::new();
    for client in clients {
        let uids = client.await.unwrap();
        assert!(uids.is_sorted(), "each client sees its own UIDs ascend");
        delivered.extend(uids);
    }
    let count = delivered.len();
    assert_eq!(delivered.into_iter().collect::<BTreeSet<_>>().len(), count, "no UID is given twice");
    fixture.check(account).await;
    fixture.check(AccountId::new(2)).await;
    assert_eq!(fixture.store.usage(AccountId::new(2)).await.unwrap().messages, count as u64);
}
