//! Delivery: a message for local recipients, in one transaction for all of them.
//!
//! UIDNEXT makes deliveries to one mailbox wait for each other. So that they do not wait one commit each, the messages that come in
//! while a commit is under way are combined into the next transaction.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use ekitei_blob::Owner;
use ekitei_directory::{Domain, DomainQuota, Quota};
use ekitei_kv::{AsKvError, Transaction};
use futures_util::future::{join, try_join_all};
use tokio::sync::{mpsc, oneshot};

use super::append::ReadMessage;
use super::quota::{bytes_used, domain_bytes_used};
use super::transaction::{UidAllocator, ensure_account, mailbox_named, mailbox_rows};
use super::{Inner, MailStore};
use crate::companion::Companion;
use crate::fence::Fence;
use crate::mutation::{Mutation, OperationId};
use crate::request::{Delivery, Folder, Target};
use crate::rows::{self, IndexRow};
use crate::types::{AccountId, Keywords, MailboxId, Uid};
use crate::{Error, Result};

/// What became of one target: `Err(OverQuota)` or where the message is.
type Outcome = std::result::Result<(MailboxId, Uid), OverQuota>;

#[derive(Clone, Copy, Debug)]
struct OverQuota;

/// Octets that the rows of one target take beside the record, at most: those of an account whose mailboxes are created.
const TARGET_ROWS: usize = 5_000;
/// Octets of rows that one message may put into a transaction; the store takes 10 MB.
const MAX_ROWS: usize = 8_000_000;

/// Hands deliveries to the task that combines them.
#[derive(Clone)]
pub(super) struct Combiner {
    queue: mpsc::Sender<Pending>,
}

/// A delivery that waits for its transaction.
struct Pending {
    message: Arc<ReadMessage>,
    received: i64,
    targets: Vec<Target>,
    companions: Vec<Arc<dyn Companion>>,
    fence: Option<Arc<dyn Fence>>,
    done: oneshot::Sender<Result<Vec<Outcome>>>,
}

impl Pending {
    fn row_size(&self) -> usize {
        let own: usize = self.targets.iter().map(|target| target.header.len()).sum();
        let others: usize = self.companions.iter().map(|companion| companion.row_size()).sum();
        own + others + self.message.bodies.row_size() + self.targets.len() * self.message.target_size()
    }
}

impl ReadMessage {
    /// Octets of rows that it takes in one account, at most.
    pub(super) fn target_size(&self) -> usize {
        TARGET_ROWS + self.record.len()
    }
}

impl Combiner {
    pub(super) fn start(inner: Arc<Inner>) -> Self {
        let (queue, waiting) = mpsc::channel(inner.settings.delivery_batch.max(1));
        tokio::spawn(combine(inner, waiting));
        Self { queue }
    }

    /// Delivers a part of a message; `of` says what it is made of.
    async fn deliver(
        &self,
        of: impl FnOnce(oneshot::Sender<Result<Vec<Outcome>>>) -> Pending,
    ) -> Result<Vec<Outcome>> {
        let stopped = |_| Error::Store(ekitei_kv::Error::Unavailable("the service is stopping".into()));
        let (done, outcome) = oneshot::channel();
        self.queue.send(of(done)).await.map_err(stopped)?;
        // Without an answer the task died in the middle, and the commit with it or not.
        outcome.await.unwrap_or(Err(Error::Store(ekitei_kv::Error::CommitUnknown)))
    }
}

impl MailStore {
    /// Delivers a message to all its targets; returns once it is durable. One outcome per target, in order: the mailbox and
    /// UID, or why that target cannot have it ([`Error::OverQuota`]); the others have it all the same.
    ///
    /// Companions are written with it, or not at all; without targets they are all there is.
    ///
    /// A message with very many targets takes several transactions. If one of them fails after the first, the outcome counts as unknown
    /// ([`Error::is_outcome_unknown`]): some targets have it, and delivering it again gives those a second one.
    ///
    /// # Errors
    /// When no target has it: [`Error::TooLarge`], [`Error::Limit`], a fence that does not hold ([`ekitei_kv::Error::Fenced`] inside), or a
    /// failing store. When the outcome is unknown.
    pub async fn deliver(&self, delivery: Delivery) -> Result<Vec<Result<(MailboxId, Uid)>>> {
        let accounts: Vec<AccountId> = delivery.targets.iter().map(|target| target.account).collect();
        let message = Arc::new(self.inner.read_message(delivery.message, &accounts, usize::MAX).await?);
        let received = i64::try_from(delivery.received.as_secs()).unwrap_or(i64::MAX);
        let own_header = delivery.targets.iter().map(|target| target.header.len()).max().unwrap_or(0);
        let target_size = message.target_size() + own_header;
        let per_transaction = (MAX_ROWS.saturating_sub(message.bodies.row_size()) / target_size).max(1);
        let mut outcomes = Vec::with_capacity(delivery.targets.len());
        let mut companions = delivery.companions;
        let mut chunks = delivery.targets.chunks(per_transaction).map(<[Target]>::to_vec);
        while let Some(targets) = chunks.next().or_else(|| (!companions.is_empty()).then(Vec::new)) {
            // They go with the first transaction, which is the one that nothing has been done before.
            let companions = std::mem::take(&mut companions);
            let (message, fence) = (Arc::clone(&message), delivery.fence.clone());
            let part = |done| Pending { message, received, targets, companions, fence, done };
            let done = match self.combiner.deliver(part).await {
                Err(error) if outcomes.is_empty() => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "a delivery ended after some of its targets");
                    return Err(Error::Store(ekitei_kv::Error::CommitUnknown));
                }
                Ok(done) => done,
            };
            outcomes.extend(done.into_iter().map(|outcome| outcome.map_err(|OverQuota| Error::OverQuota)));
        }
        Ok(outcomes)
    }
}

/// Takes what waits, as much as one transaction holds, and commits it; ends when the last [`MailStore`] is gone.
async fn combine(inner: Arc<Inner>, mut waiting: mpsc::Receiver<Pending>) {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(pending) => pending,
            None => match waiting.recv().await {
                Some(pending) => pending,
                None => return,
            },
        };
        let mut size = first.row_size();
        let mut batch = vec![first];
        while batch.len() < inner.settings.delivery_batch {
            let Ok(pending) = waiting.try_recv() else { break };
            size += pending.row_size();
            if size > inner.settings.delivery_batch_size {
                next = Some(pending);
                break;
            }
            batch.push(pending);
        }
        // A task of its own: a batch that panics takes only its own deliveries along.
        let settled = tokio::spawn(settle(Arc::clone(&inner), batch)).await;
        if let Err(error) = settled {
            tracing::error!(%error, "a batch of deliveries was cut off");
        }
    }
}

/// Commits a batch and answers each delivery of it.
async fn settle(inner: Arc<Inner>, batch: Vec<Pending>) {
    match inner.commit(&batch).await {
        Ok(outcomes) => {
            for (pending, outcome) in batch.into_iter().zip(outcomes) {
                // The session may be gone; the message is delivered all the same.
                let _ = pending.done.send(Ok(outcome));
            }
        }
        // What is wrong with one message must not be the fault of the others.
        Err(error) if batch.len() > 1 && error.as_kv_error().is_none_or(is_of_one_message) => {
            tracing::debug!(%error, messages = batch.len(), "a batch failed; delivering one by one");
            for pending in batch {
                let outcome = inner.commit(std::slice::from_ref(&pending)).await;
                let _ = pending.done.send(outcome.map(|mut outcomes| outcomes.pop().unwrap_or_default()));
            }
        }
        Err(error) => {
            let cause = error.as_kv_error().cloned();
            let cause = cause.unwrap_or_else(|| ekitei_kv::Error::Unavailable(error.to_string()));
            let mut error = Some(error);
            for pending in batch {
                let again = || Error::Store(cause.clone());
                let _ = pending.done.send(Err(error.take().unwrap_or_else(again)));
            }
        }
    }
}

/// Whether a failure of the store may be the fault of one message or mailbox; not when nothing can be committed, or nobody knows.
fn is_of_one_message(error: &ekitei_kv::Error) -> bool {
    !matches!(error, ekitei_kv::Error::Unavailable(_) | ekitei_kv::Error::CommitUnknown)
}

impl Inner {
    /// Delivers a batch in one transaction.
    async fn commit(&self, batch: &[Pending]) -> Result<Vec<Vec<Outcome>>> {
        let (operation, latest) = (self.operation(), &Mutex::new(None));
        let trace = &rows::delivery_trace(self.instance);
        self.database
            .transact(|transaction| async move {
                if transaction.may_have_committed()
                    && transaction.get(trace).await?.is_some_and(|row| row.starts_with(&operation))
                    && let Some(done) = latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
                {
                    return Ok(done);
                }
                let mut writer = Writer::new(self, &transaction, operation);
                let (fences, read) = join(check_fences(&transaction, batch), writer.read_ahead(batch)).await;
                fences?;
                read?;
                let mut outcomes = Vec::with_capacity(batch.len());
                for pending in batch {
                    outcomes.push(writer.deliver(pending).await?);
                }
                let wrote = outcomes.iter().flatten().any(Result::is_ok)
                    || batch.iter().any(|pending| !pending.companions.is_empty());
                writer.finish().await?;
                if wrote {
                    transaction.set(trace, &rows::encode_trace(operation, self.now()));
                }
                *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcomes.clone());
                Ok(outcomes)
            })
            .await
    }
}

/// Fails the batch if one of its fences does not hold; then each is delivered alone.
async fn check_fences(transaction: &Transaction, batch: &[Pending]) -> Result<()> {
    let fences = batch.iter().filter_map(|pending| pending.fence.as_deref());
    try_join_all(fences.map(|fence| fence.check(transaction))).await?;
    Ok(())
}

/// Writes the deliveries of one transaction.
struct Writer<'a> {
    inner: &'a Inner,
    transaction: &'a Transaction,
    mutation: Mutation,
    allocator: UidAllocator,
    /// Octets each account held before this transaction.
    used: BTreeMap<AccountId, i64>,
    /// Octets that each domain holds, with what this transaction adds where its quota counts.
    domains: BTreeMap<Domain, i64>,
    folders: BTreeMap<AccountId, Vec<(Folder, MailboxId)>>,
}

impl<'a> Writer<'a> {
    fn new(inner: &'a Inner, transaction: &'a Transaction, operation: OperationId) -> Self {
        Self {
            inner,
            transaction,
            mutation: Mutation::new(transaction.clone(), operation, inner.settings.incarnation),
            allocator: UidAllocator::default(),
            used: BTreeMap::new(),
            domains: BTreeMap::new(),
            folders: BTreeMap::new(),
        }
    }

    /// Reads at once what most deliveries need, instead of one row after the other.
    async fn read_ahead(&mut self, batch: &[Pending]) -> Result<()> {
        let targets = || batch.iter().flat_map(|pending| &pending.targets);
        let inboxes = targets().filter(|target| target.folder == Folder::Inbox);
        let inboxes: BTreeSet<_> = inboxes.map(|target| (target.account, MailboxId::INBOX)).collect();
        let inboxes: Vec<_> = inboxes.into_iter().collect();
        let is_limited =
            |target: &&Target| target.quota.as_ref().is_some_and(|quota| quota.account.is_some());
        let limited: BTreeSet<AccountId> =
            targets().filter(is_limited).map(|target| target.account).collect();
        let used = limited.iter().map(|&account| bytes_used(self.transaction, account));
        let (read, used) =
            join(self.allocator.read_ahead(self.transaction, &inboxes), try_join_all(used)).await;
        read?;
        self.used = limited.iter().copied().zip(used?).collect();
        Ok(())
    }

    async fn deliver(&mut self, pending: &Pending) -> Result<Vec<Outcome>> {
        let message = &*pending.message;
        let mut places: BTreeMap<AccountId, Outcome> = BTreeMap::new();
        for target in &pending.targets {
            if let Entry::Vacant(place) = places.entry(target.account) {
                place.insert(self.deliver_to(message, pending.received, target).await?);
            }
        }
        for (place, body) in message.bodies.all() {
            let has_it = |(account, outcome): &(&AccountId, &Outcome)| {
                outcome.is_ok() && message.bodies.place_of(**account) == place
            };
            let holder = places.iter().find(has_it).map(|(account, _)| account.get());
            if holder.is_some() || (place == 0 && !pending.companions.is_empty()) {
                // It will lie with the other mail of the first who has it.
                let owner = holder.map_or(Owner::Transit, Owner::Account);
                body.store(self.transaction, owner).await?;
            }
        }
        for companion in &pending.companions {
            companion.write(self.transaction, message.bodies.first().id());
        }
        Ok(pending
            .targets
            .iter()
            .map(|target| places.get(&target.account).copied().unwrap_or(Err(OverQuota)))
            .collect())
    }

    async fn deliver_to(&mut self, message: &ReadMessage, received: i64, target: &Target) -> Result<Outcome> {
        let account = target.account;
        let size = message.size + target.header.len() as u64;
        if !self.fits(target, size).await? {
            return Ok(Err(OverQuota));
        }
        let mailbox = self.folder(account, &target.folder).await?;
        let uid = match self.allocator.allocate(self.transaction, account, mailbox).await {
            Err(Error::NoSuchMailbox) if mailbox == MailboxId::INBOX => {
                ensure_account(self.transaction, account, &mut self.mutation, self.inner.now()).await?;
                self.allocator.allocate(self.transaction, account, mailbox).await?
            }
            other => other?,
        };
        let id = message.bodies.of(account).id();
        let row =
            IndexRow { message: id, flags: target.flags, keywords: Keywords::default(), received, size };
        message.record.store(self.transaction, account, id, &target.header);
        ekitei_blob::add_reference(self.transaction, id, account.get());
        self.mutation.add(account, mailbox, uid, &row);
        Ok(Ok((mailbox, uid)))
    }

    async fn fits(&mut self, target: &Target, size: u64) -> Result<bool> {
        let Some(quota) = &target.quota else { return Ok(true) };
        Ok(self.fits_account(target.account, quota, size).await? && self.fits_domain(quota, size).await?)
    }

    async fn fits_account(&mut self, account: AccountId, quota: &Quota, size: u64) -> Result<bool> {
        let Some(limit) = quota.account else { return Ok(true) };
        let used = match self.used.get(&account) {
            Some(&used) => used,
            None => {
                let used = bytes_used(self.transaction, account).await?;
                self.used.insert(account, used);
                used
            }
        };
        let held = used.saturating_add(self.mutation.bytes_gained(account));
        Ok(u64::try_from(held).unwrap_or(0).saturating_add(size) <= limit)
    }

    async fn fits_domain(&mut self, quota: &Quota, size: u64) -> Result<bool> {
        let Some(DomainQuota { domain, limit }) = &quota.domain else { return Ok(true) };
        let used = match self.domains.get(domain) {
            Some(&used) => used,
            None => domain_bytes_used(self.transaction, domain).await?,
        };
        let fits = u64::try_from(used).unwrap_or(0).saturating_add(size) <= *limit;
        let gained = if fits { i64::try_from(size).unwrap_or(i64::MAX) } else { 0 };
        self.domains.insert(domain.clone(), used.saturating_add(gained));
        Ok(fits)
    }

    /// The mailbox that a folder means now.
    async fn folder(&mut self, account: AccountId, folder: &Folder) -> Result<MailboxId> {
        if *folder == Folder::Inbox {
            return Ok(MailboxId::INBOX);
        }
        let known = self.folders.entry(account).or_default();
        if let Some((_, id)) = known.iter().find(|(known, _)| known == folder) {
            return Ok(*id);
        }
        // A new account gets its mailboxes with its first delivery, which may name one of them.
        ensure_account(self.transaction, account, &mut self.mutation, self.inner.now()).await?;
        let found = match folder {
            Folder::Inbox => None,
            Folder::Named(name) => mailbox_named(self.transaction, account, name).await?,
            Folder::SpecialUse(special_use) => {
                let rows = mailbox_rows(self.transaction, account).await?;
                rows.iter().find(|(_, row)| row.special_use == Some(*special_use)).map(|(id, _)| *id)
            }
        };
        let id = found.unwrap_or(MailboxId::INBOX);
        known.push((folder.clone(), id));
        Ok(id)
    }

    async fn finish(self) -> Result<()> {
        self.allocator.finish(self.transaction);
        self.mutation.finish(self.inner).await
    }
}
