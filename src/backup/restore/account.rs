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
use crate::document::{
    AccountDocument, AccountEntry, BUCKET, BucketRef, MailboxDocument, MessageEntry, RecordEntry,
};
use crate::error::{Error, Missing, Result};
use crate::repository::Fetch;
use crate::rows;

/// Messages of one transaction.
const BATCH: usize = 200;
/// Octets of rows of one transaction; the store takes 10 MB, and one more body may be added.
const BATCH_ROWS: usize = 3 << 20;
/// How often a batch is tried when a body goes away meanwhile.
const ATTEMPTS: usize = 5;
/// UIDs, and numbers of mailboxes, that are passed over behind those of the backup: clients may know those that were given after it, and must
/// not take what gets them now for what had them then (RFC 9051 §2.3.1.1). More than any mailbox gets between two backups.
const UIDS: u32 = 1 << 20;
const MAILBOXES: u32 = 1 << 10;
/// The highest UIDNEXT that is passed over to: half of all UIDs are for mail.
const LAST_UID_NEXT: u32 = u32::MAX / 2;

/// Where messages go.
#[derive(Clone, Copy)]
enum Into {
    /// Under cover, with the UIDs they had.
    Exact(AccountId, MailboxId),
    /// To a mailbox that is in use.
    Merge(AccountId, MailboxId),
}

/// How mailboxes of an account are numbered.
#[derive(Clone, Copy)]
struct Numbers {
    keeps_validity: bool,
    /// What another UIDVALIDITY is to be above.
    new_validity: u32,
}

/// A message of the backup.
struct Found {
    entry: MessageEntry,
    record: Vec<u8>,
    /// Where it is, for people.
    place: String,
}

/// Messages of one transaction.
#[derive(Default)]
struct Batch {
    messages: Vec<RestoredMessage>,
    /// How many of the messages at hand these are, with those that are lost.
    taken: usize,
    /// Those whose bodies the backup does not have.
    lost: Vec<String>,
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
        let Some(document) = self.account_document(entry).await? else { return Ok(()) };
        let restored = RestoredAccount {
            account,
            next_mailbox: document.next_mailbox.saturating_add(MAILBOXES),
            last_uid_validity: document.last_uid_validity,
        };
        if self.dry_run || !self.begin_account(entry, restored).await? {
            return self.merge(entry, account, naming, &Merge::default()).await;
        }
        self.progress.step(format!("restoring {}", entry.address));
        let origin = Origin::of(entry, naming)?;
        for mailbox in &document.mailboxes {
            for bucket in &mailbox.buckets {
                self.check()?;
                let messages = self.messages(&format!("{}, {}", entry.address, mailbox.name), bucket).await?;
                self.add(Into::Exact(account, MailboxId(mailbox.id)), messages, &origin).await?;
            }
        }
        let numbers = self.numbers(&document).await?;
        let mailboxes = document.mailboxes.iter().map(|mailbox| restored_mailbox(mailbox, numbers));
        let mailboxes = mailboxes.collect::<Result<Vec<_>>>()?;
        self.backup.mailstore.finish_restore(account, &mailboxes, &document.subscriptions).await?;
        self.note_account(account, None).await?;
        self.progress.accounts(1);
        Ok(())
    }

    /// Begins to restore an account that has no mailbox, or goes on with that; `false` if it has some. What was written under cover is of one snapshot:
    /// UIDs of another may be those of other messages.
    async fn begin_account(&mut self, entry: &AccountEntry, restored: RestoredAccount) -> Result<bool> {
        let (account, id) = (restored.account, self.done.snapshot.clone());
        let row = &rows::account_restore(account);
        let begun = self.backup.database.read(|tx: Transaction| async move { tx.get(row).await }).await?;
        // Where nothing is, it has not begun, or what it wrote was removed.
        if let Some(begun) = begun.filter(|begun| begun[..] != *id.as_bytes())
            && !self.is_unused(account).await?
            && self.backup.mailstore.begin_restore(restored).await?
        {
            return Err(Error::Invalid(format!(
                "{address} is being restored from the backup {begun}, and that was interrupted: restore it from that first, or remove the account and \
                 restore it from {id}",
                address = entry.address,
                begun = String::from_utf8_lossy(&begun),
            )));
        }
        self.note_account(account, Some(&id)).await?;
        let begins = self.backup.mailstore.begin_restore(restored).await?;
        if !begins {
            self.note_account(account, None).await?;
        }
        Ok(begins)
    }

    /// Notes which snapshot the account is being restored from.
    async fn note_account(&self, account: AccountId, snapshot: Option<&str>) -> Result<()> {
        let row = &rows::account_restore(account);
        let write = |tx: Transaction| async move {
            match snapshot {
                Some(id) => tx.set(row, id.as_bytes()),
                None => tx.clear(row),
            }
            Ok::<_, ekitei_kv::Error>(())
        };
        Ok(self.backup.database.transact(write).await?)
    }

    /// Whether the mailboxes can have the UIDVALIDITY they had. If MODSEQ would go back they cannot: clients then read them anew.
    async fn numbers(&mut self, document: &AccountDocument) -> Result<Numbers> {
        let version =
            self.backup.database.read(|tx: Transaction| async move { tx.read_version().await }).await?;
        let now = ModSeq::new(self.backup.options.incarnation, version).get();
        let keeps_validity = document.highest_modseq < now;
        if !keeps_validity {
            let warning = "mailboxes of an account from another store got another UIDVALIDITY".to_owned();
            self.done.warnings.push(warning);
        }
        let seconds = u32::try_from(self.backup.now().as_secs()).unwrap_or(u32::MAX);
        let new_validity = seconds.max(document.last_uid_validity.saturating_add(1));
        Ok(Numbers { keeps_validity, new_validity })
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
        let Some(document) = self.account_document(entry).await? else { return Ok(()) };
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
            self.merge_mailbox(mailbox, account, &state, (entry, &target), &origin).await?;
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
        (account_entry, target): (&AccountEntry, &MailboxName),
        origin: &Origin,
    ) -> Result<()> {
        let place = format!("{}, {}", account_entry.address, mailbox.name);
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
            for found in self.messages(&place, bucket).await? {
                let entry = &found.entry;
                let message = BodyId::from_bytes(entry.message);
                let candidates = self.candidates(message, origin).await?;
                let there = candidates.iter().find(|id| present.get(id).is_some_and(|count| *count > 0));
                match there.and_then(|id| present.get_mut(id)) {
                    Some(count) => {
                        *count -= 1;
                        self.done.present += 1;
                    }
                    None => missing.push(found),
                }
            }
            if self.dry_run {
                self.done.messages += missing.len() as u64;
                self.done.bytes += missing.iter().map(|found| found.entry.size).sum::<u64>();
            } else {
                self.add(Into::Merge(account, id), missing, origin).await?;
            }
        }
        Ok(())
    }

    /// What the backup has of an account; `None`, and noted, if that is damaged.
    async fn account_document(&mut self, entry: &AccountEntry) -> Result<Option<AccountDocument>> {
        let found = self
            .repository
            .document(&self.index, &entry.document, "an account", Fetch::Pack, &self.progress)
            .await;
        self.unless_damaged(found, |missing, why| missing.account(format!("{}: {why}", entry.address)))
    }

    /// The messages of a bucket with their records; those that are damaged are noted.
    async fn messages(&mut self, place: &str, bucket: &BucketRef) -> Result<Vec<Found>> {
        let read = (&self.index, &self.progress);
        let entries =
            self.repository.document(read.0, &bucket.entries, "messages", Fetch::Pack, read.1).await;
        let first = bucket.number.saturating_mul(BUCKET);
        let range = format!("{place}, UIDs {first} to {}", first.saturating_add(BUCKET - 1));
        let what = |missing: &mut Missing, why| missing.messages(1, format!("{range}: {why}"));
        let entries: Vec<MessageEntry> = self.unless_damaged(entries, what)?.unwrap_or_default();
        let read = (&self.index, &self.progress);
        let records = self.repository.document(read.0, &bucket.records, "records", Fetch::Pack, read.1).await;
        let all = entries.len() as u64;
        let what = |missing: &mut Missing, why| missing.messages(all, format!("{range}: {why}"));
        let Some(records): Option<Vec<RecordEntry>> = self.unless_damaged(records, what)? else {
            return Ok(Vec::new());
        };
        let records: HashMap<[u8; 16], Vec<u8>> =
            records.into_iter().map(|record| (record.message, record.octets)).collect();
        let mut found = Vec::with_capacity(entries.len());
        for entry in entries {
            let place = format!("{place}, UID {}", entry.uid);
            match records.get(&entry.message).cloned() {
                Some(record) => found.push(Found { entry, record, place }),
                None => self.missing.messages(1, format!("{place}: it has no record")),
            }
        }
        Ok(found)
    }

    /// Adds messages, a transaction at a time.
    async fn add(&mut self, into: Into, messages: Vec<Found>, origin: &Origin) -> Result<()> {
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
        messages: &'m [Found],
        origin: &Origin,
    ) -> Result<&'m [Found]> {
        for attempt in 1.. {
            let mut notes = Notes::new(&origin.naming);
            let Batch { messages: batch, taken, lost } = self.batch(messages, origin, &mut notes).await?;
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
                    lost.into_iter().for_each(|what| self.missing.messages(1, what));
                    return Ok(&messages[taken..]);
                }
                Err(error) if attempt < ATTEMPTS && is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&[])
    }

    /// The first messages, as many as a transaction takes, with their bodies.
    async fn batch(&self, messages: &[Found], origin: &Origin, notes: &mut Notes) -> Result<Batch> {
        let mut batch = Batch::default();
        let (mut size, mut known) = (0, HashMap::new());
        for Found { entry, record, place } in messages.iter().take(BATCH) {
            if size >= BATCH_ROWS {
                break;
            }
            batch.taken += 1;
            let original = BodyId::from_bytes(entry.message);
            // A copy in the same batch refers to what the first one stores.
            let body = match known.get(&original) {
                Some(&id) => Ok((id, RestoredBody::Present)),
                None => self.body(original, entry.body_size, origin, notes).await,
            };
            let (message, body) = match body {
                Err(Error::Damaged(why)) => {
                    batch.lost.push(format!("{place}: {why}"));
                    continue;
                }
                body => body?,
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
            batch.messages.push(restored);
        }
        Ok(batch)
    }
}

fn restored_mailbox(mailbox: &MailboxDocument, numbers: Numbers) -> Result<RestoredMailbox> {
    let new_validity = numbers.new_validity.saturating_add(mailbox.id);
    let (uid_validity, uid_next) =
        match mailbox.uid_next.checked_add(UIDS).filter(|next| *next <= LAST_UID_NEXT) {
            Some(next) if numbers.keeps_validity => (mailbox.uid_validity, next),
            // Clients forget all UIDs that they know.
            _ => (new_validity, mailbox.uid_next),
        };
    Ok(RestoredMailbox {
        id: MailboxId(mailbox.id),
        name: mailbox.name.clone(),
        uid_validity,
        special_use: mailbox.special_use,
        uid_next: Uid::new(uid_next).ok_or_else(|| Error::Damaged("UIDNEXT 0".to_owned()))?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_keeps_its_uidvalidity_as_long_as_there_are_uids_to_pass_over() {
        let restored = |uid_next, keeps_validity| {
            let mailbox = MailboxDocument {
                id: 3,
                name: "INBOX".into(),
                uid_validity: 7,
                special_use: None,
                uid_next,
                latest: [0; 10],
                highest_modseq: 1,
                messages: 0,
                bytes: 0,
                buckets: Vec::new(),
            };
            let numbers = Numbers { keeps_validity, new_validity: 100 };
            let restored = restored_mailbox(&mailbox, numbers).unwrap();
            (restored.uid_validity, restored.uid_next.get())
        };
        assert_eq!(restored(10, true), (7, 10 + UIDS));
        assert_eq!(restored(10, false), (103, 10));
        assert_eq!(restored(LAST_UID_NEXT, true), (103, LAST_UID_NEXT));
        assert_eq!(restored(u32::MAX, true), (103, u32::MAX));
    }
}
