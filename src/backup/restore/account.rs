//! The mail of one account out of a snapshot.

use std::collections::{BTreeMap, HashMap};

use ekitei_blob::{BodyId, KeyScope};
use ekitei_directory::EmailAddress;
use ekitei_kv::Transaction;
use ekitei_mailstore::transfer::{
    AccountState, RestoredAccount, RestoredBody, RestoredMailbox, RestoredMessage,
};
use ekitei_mailstore::{AccountId, Flags, MailboxId, MailboxName, MessageId, ModSeq, Uid};

use super::bodies::{Naming, Notes, is_gone};
use super::{Merge, Run};
use crate::document::{AccountDocument, AccountEntry, BucketRef, MailboxDocument, MessageEntry, RecordEntry};
use crate::error::{Error, Result};
use crate::repository::Fetch;

/// Messages of one transaction.
const BATCH: usize = 200;
/// Octets of rows of one transaction; the store takes 10 MB, and one more body may be added.
const BATCH_ROWS: usize = 3 << 20;
/// How often a batch is tried when a body goes away meanwhile.
const ATTEMPTS: usize = 5;

/// Where messages go.
#[derive(Clone, Copy)]
enum Into {
    /// Under cover, with the UIDs they had.
    Exact(AccountId, MailboxId),
    /// To a mailbox that is in use.
    Merge(AccountId, MailboxId),
}

/// What messages of an account have in common.
pub(super) struct Origin {
    pub(super) naming: Naming,
    /// They go back to the domain they were of.
    pub(super) stays: bool,
    /// Whose keys encrypt their bodies here.
    pub(super) scope: KeyScope,
}

impl Origin {
    fn of(entry: &AccountEntry, naming: Naming) -> Result<Self> {
        let address =
            EmailAddress::parse(&entry.address).map_err(|error| Error::Damaged(error.to_string()))?;
        let own = address.domain().as_ascii();
        let (stays, domain) = match &naming {
            Naming::Same => (true, own),
            Naming::Domain(domain) => (domain == own, domain.as_str()),
        };
        Ok(Self { stays, scope: KeyScope::Domain(domain.into()), naming })
    }
}

impl Run<'_> {
    /// An account as it was, if nothing is there; else what is missing.
    pub(super) async fn exact_or_merged(
        &mut self,
        entry: &AccountEntry,
        account: AccountId,
        naming: Naming,
    ) -> Result<()> {
        let document = self.account_document(entry).await?;
        let restored = RestoredAccount {
            account,
            next_mailbox: document.next_mailbox,
            last_uid_validity: document.last_uid_validity,
        };
        if self.dry_run || !self.backup.mailstore.begin_restore(restored).await? {
            return self.merge(entry, account, naming, &Merge::default()).await;
        }
        self.progress.step(format!("restoring {}", entry.address));
        let origin = Origin::of(entry, naming)?;
        for mailbox in &document.mailboxes {
            for bucket in &mailbox.buckets {
                self.check()?;
                let messages = self.messages(bucket).await?;
                self.add(Into::Exact(account, MailboxId(mailbox.id)), messages, &origin).await?;
            }
        }
        let new_validity = self.needs_new_validity(&document).await?;
        let mailboxes = document.mailboxes.iter().map(|mailbox| restored_mailbox(mailbox, new_validity));
        let mailboxes = mailboxes.collect::<Result<Vec<_>>>()?;
        self.backup.mailstore.finish_restore(account, &mailboxes, &document.subscriptions).await?;
        self.progress.accounts(1);
        Ok(())
    }

    /// A UIDVALIDITY to begin with if the mailboxes cannot have theirs, since MODSEQ would go back: clients then read them anew.
    async fn needs_new_validity(&mut self, document: &AccountDocument) -> Result<Option<u32>> {
        let version =
            self.backup.database.read(|tx: Transaction| async move { tx.read_version().await }).await?;
        let now = ModSeq::new(self.backup.options.incarnation, version).get();
        if document.highest_modseq < now {
            return Ok(None);
        }
        self.done
            .warnings
            .push("mailboxes of an account from another store got another UIDVALIDITY".to_owned());
        let seconds = u32::try_from(self.backup.now().as_secs()).unwrap_or(u32::MAX);
        Ok(Some(seconds.max(document.last_uid_validity.saturating_add(1))))
    }

    /// What is missing of an account, or of a mailbox and those below it, into mailboxes that are in use.
    pub(super) async fn merge(
        &mut self,
        entry: &AccountEntry,
        account: AccountId,
        naming: Naming,
        merge: &Merge,
    ) -> Result<()> {
        let (only, prefix) = (merge.mailbox.as_ref(), merge.prefix.as_ref());
        let document = self.account_document(entry).await?;
        self.progress.step(format!("restoring {}", entry.address));
        let mailstore = &self.backup.mailstore;
        let state = mailstore.account_state(account, &BTreeMap::new(), self.backup.options.page).await?;
        let origin = Origin::of(entry, naming)?;
        let mut found = false;
        for mailbox in &document.mailboxes {
            let name = MailboxName::new(&mailbox.name).map_err(|error| Error::Damaged(error.to_string()))?;
            if only.is_some_and(|only| name != *only && !name.is_below(only)) {
                continue;
            }
            found = true;
            let target = match prefix {
                None => name,
                Some(prefix) => MailboxName::new(&format!("{prefix}/{name}"))
                    .map_err(|error| Error::Invalid(format!("{prefix}/{name}: {error}")))?,
            };
            self.merge_mailbox(mailbox, account, &state, &target, &origin).await?;
        }
        if !found && let Some(only) = only {
            return Err(Error::not_found("mailbox", only));
        }
        self.progress.accounts(1);
        Ok(())
    }

    async fn merge_mailbox(
        &mut self,
        mailbox: &MailboxDocument,
        account: AccountId,
        state: &AccountState,
        target: &MailboxName,
        origin: &Origin,
    ) -> Result<()> {
        let existing = state.mailboxes.values().find(|found| found.name == target.as_str());
        let mut present: HashMap<MessageId, usize> = HashMap::new();
        for entry in existing.and_then(|found| found.entries.as_ref()).into_iter().flat_map(BTreeMap::values)
        {
            *present.entry(entry.message).or_default() += 1;
        }
        let id = match self.dry_run {
            true => MailboxId::INBOX,
            false => self.backup.mailstore.mailbox_or_new(account, target).await?,
        };
        for bucket in &mailbox.buckets {
            self.check()?;
            let mut missing = Vec::new();
            for (entry, record) in self.messages(bucket).await? {
                let message = BodyId::from_bytes(entry.message);
                let candidates = self.candidates(message, origin).await?;
                let there = candidates.iter().find(|id| present.get(id).is_some_and(|count| *count > 0));
                match there.and_then(|id| present.get_mut(id)) {
                    Some(count) => {
                        *count -= 1;
                        self.done.present += 1;
                    }
                    None => missing.push((entry, record)),
                }
            }
            if self.dry_run {
                self.done.messages += missing.len() as u64;
                self.done.bytes += missing.iter().map(|(entry, _)| entry.size).sum::<u64>();
            } else {
                self.add(Into::Merge(account, id), missing, origin).await?;
            }
        }
        Ok(())
    }

    async fn account_document(&self, entry: &AccountEntry) -> Result<AccountDocument> {
        self.repository
            .document(&self.index, &entry.document, "an account", Fetch::Pack, &self.progress)
            .await
    }

    /// The messages of a bucket with their records.
    async fn messages(&self, bucket: &BucketRef) -> Result<Vec<(MessageEntry, Vec<u8>)>> {
        let read = (&self.index, &self.progress);
        let entries: Vec<MessageEntry> =
            self.repository.document(read.0, &bucket.entries, "messages", Fetch::Pack, read.1).await?;
        let records: Vec<RecordEntry> =
            self.repository.document(read.0, &bucket.records, "records", Fetch::Pack, read.1).await?;
        let records: HashMap<[u8; 16], Vec<u8>> =
            records.into_iter().map(|record| (record.message, record.octets)).collect();
        let with_record = |entry: MessageEntry| {
            let record = records.get(&entry.message).cloned();
            let record = record.ok_or_else(|| Error::Damaged("a message has no record".to_owned()))?;
            Ok((entry, record))
        };
        entries.into_iter().map(with_record).collect()
    }

    /// Adds messages, a transaction at a time.
    async fn add(
        &mut self,
        into: Into,
        messages: Vec<(MessageEntry, Vec<u8>)>,
        origin: &Origin,
    ) -> Result<()> {
        let mut rest = &messages[..];
        while !rest.is_empty() {
            rest = self.add_batch(into, rest, origin).await?;
        }
        Ok(())
    }

    /// Adds the first of them, as many as a transaction takes; returns the others.
    async fn add_batch<'m>(
        &mut self,
        into: Into,
        messages: &'m [(MessageEntry, Vec<u8>)],
        origin: &Origin,
    ) -> Result<&'m [(MessageEntry, Vec<u8>)]> {
        for attempt in 1.. {
            let mut notes = Notes::new(&origin.naming);
            let batch = self.batch(messages, origin, &mut notes).await?;
            let mailstore = &self.backup.mailstore;
            let added = match into {
                Into::Exact(account, mailbox) => {
                    mailstore.restore_messages(account, mailbox, &batch, &notes).await.map(|done| done.added)
                }
                Into::Merge(account, mailbox) => {
                    let all = batch.len() as u64;
                    mailstore.merge_messages(account, mailbox, &batch, &notes).await.map(|()| all)
                }
            };
            match added.map_err(Error::from) {
                Ok(added) => {
                    self.done.messages += added;
                    self.done.present += batch.len() as u64 - added;
                    self.done.bytes += batch.iter().map(|message| message.size).sum::<u64>();
                    self.progress.messages(batch.len() as u64);
                    return Ok(&messages[batch.len()..]);
                }
                Err(error) if attempt < ATTEMPTS && is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&[])
    }

    async fn batch(
        &self,
        messages: &[(MessageEntry, Vec<u8>)],
        origin: &Origin,
        notes: &mut Notes,
    ) -> Result<Vec<RestoredMessage>> {
        let mut batch: Vec<RestoredMessage> = Vec::new();
        let (mut size, mut known) = (0, HashMap::new());
        for (entry, record) in messages.iter().take(BATCH) {
            if size >= BATCH_ROWS {
                break;
            }
            let original = BodyId::from_bytes(entry.message);
            // A copy in the same batch refers to what the first one stores.
            let (message, body) = match known.get(&original) {
                Some(&id) => (id, RestoredBody::Present),
                None => self.body(original, entry.body_size, origin, notes).await?,
            };
            known.insert(original, message);
            let restored = RestoredMessage {
                uid: Uid::new(entry.uid).ok_or_else(|| Error::Damaged("UID 0".to_owned()))?,
                message,
                flags: Flags::from_bits(entry.flags),
                keywords: entry.keywords.iter().map(String::as_str).collect(),
                received: entry.received,
                size: entry.size,
                record: record.clone().into(),
                body,
            };
            size += restored.row_size();
            batch.push(restored);
        }
        Ok(batch)
    }
}

fn restored_mailbox(mailbox: &MailboxDocument, new_validity: Option<u32>) -> Result<RestoredMailbox> {
    Ok(RestoredMailbox {
        id: MailboxId(mailbox.id),
        name: mailbox.name.clone(),
        uid_validity: new_validity.map_or(mailbox.uid_validity, |first| first.saturating_add(mailbox.id)),
        special_use: mailbox.special_use,
        uid_next: Uid::new(mailbox.uid_next).ok_or_else(|| Error::Damaged("UIDNEXT 0".to_owned()))?,
    })
}
