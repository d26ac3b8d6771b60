//! The mail of one account into a snapshot.
//!
//! All entries of an account are in memory, but the records of one bucket only: they are written as soon as they are read. If the bucket turns out to have changed meanwhile, its records are
//! written again.

use std::collections::{BTreeMap, BTreeSet};

use ekitei_blob::BodyId;
use ekitei_mailstore::transfer::{AccountState, ChangeStamp, MailboxState, StoredRecord};
use ekitei_mailstore::{AccountId, Entry, MailboxId, MessageId};
use futures_util::StreamExt as _;

use super::{GONE, Run, Stored, UNREAD, checked, without};
use crate::document::{
    AccountDocument, AccountEntry, BUCKET, BucketRef, DocumentRef, MailboxDocument, MessageEntry, PIECE,
    RecordEntry, pieces,
};
use crate::error::{Error, Result};
use crate::repository::Fetch;

/// Small bodies read at a time.
const READS: usize = 8;

/// What is known of messages.
#[derive(Default)]
struct Known {
    /// Octets of bodies that are in the repository.
    sizes: BTreeMap<[u8; 16], u64>,
    /// Records of one bucket that were read from the store.
    records: BTreeMap<[u8; 16], Vec<u8>>,
    /// Why there is no body of a message.
    unreadable: BTreeMap<[u8; 16], String>,
}

/// A bucket whose records are in the repository: of the snapshot before, or of this run.
struct OldBucket {
    messages: BTreeSet<[u8; 16]>,
    records: DocumentRef,
}

/// Buckets by mailbox and number.
type OldBuckets = BTreeMap<u32, BTreeMap<u32, OldBucket>>;

impl Run<'_> {
    /// The account in the snapshot. If its latest change is known, nothing of it is read.
    pub(super) async fn account(
        &mut self,
        id: AccountId,
        address: &str,
        latest: Option<ChangeStamp>,
        before: Option<&AccountEntry>,
    ) -> Result<AccountEntry> {
        let Some(latest) = latest else { return Ok(AccountEntry::empty(id, address)) };
        if let Some(before) = before.filter(|_| !self.has_losses)
            && before.latest == Some(latest)
            && before.document.0.iter().all(|&chunk| self.writer.has(chunk))
        {
            return Ok(AccountEntry { address: address.to_owned(), ..before.clone() });
        }
        self.totals.changed_accounts += 1;
        let old = self.old_document(before).await?;
        self.changed_account(id, address, old).await
    }

    /// What the snapshot before has of the account; nothing if that is damaged.
    async fn old_document(&self, before: Option<&AccountEntry>) -> Result<AccountDocument> {
        let Some(before) = before.filter(|before| before.latest.is_some()) else {
            return Ok(AccountDocument::default());
        };
        let (writer, repository) = (&self.writer, self.writer.repository());
        let found = repository.document(
            &writer.index,
            &before.document,
            "an account",
            Fetch::Alone,
            writer.progress(),
        );
        match found.await {
            Err(Error::Damaged(problem)) => {
                tracing::warn!(problem, "an account is read anew, since its last backup is damaged");
                Ok(AccountDocument::default())
            }
            found => found,
        }
    }

    async fn changed_account(
        &mut self,
        id: AccountId,
        address: &str,
        old: AccountDocument,
    ) -> Result<AccountEntry> {
        let mailstore = &self.backup.mailstore;
        let page = self.backup.options.page;
        let known = old.mailboxes.iter().filter(|_| !self.has_losses);
        let stamps: BTreeMap<MailboxId, ChangeStamp> =
            known.map(|mailbox| (MailboxId(mailbox.id), mailbox.latest)).collect();
        let mut old: BTreeMap<u32, MailboxDocument> =
            old.mailboxes.into_iter().map(|mailbox| (mailbox.id, mailbox)).collect();
        let mut state = mailstore.account_state(id, &stamps, page).await?;
        let mut known = Known::default();
        let mut old_buckets = OldBuckets::new();
        for _ in 0..GONE {
            for (&MailboxId(number), mailbox) in &state.mailboxes {
                if mailbox.entries.is_some() && !old_buckets.contains_key(&number) {
                    let buckets = self.old_buckets(old.get(&number), &mut known).await?;
                    old_buckets.insert(number, buckets);
                }
            }
            let gone = self.fetch_new(&state, &mut old_buckets, &mut known).await?;
            if !gone {
                return self.write_account(address, state, &mut old, &old_buckets, &known).await;
            }
            // Something was expunged while it was read: then there is a later state without it.
            mailstore.catch_up(&mut state, page).await?;
        }
        Err(Error::Invalid(format!("account {id} changes faster than it can be read: try again later")))
    }

    /// The buckets of a mailbox in the snapshot before; the sizes of bodies go to `known`.
    async fn old_buckets(
        &self,
        old: Option<&MailboxDocument>,
        known: &mut Known,
    ) -> Result<BTreeMap<u32, OldBucket>> {
        let (writer, repository) = (&self.writer, self.writer.repository());
        let mut buckets = BTreeMap::new();
        for bucket in old.iter().flat_map(|old| &old.buckets) {
            let entries = repository.document(
                &writer.index,
                &bucket.entries,
                "messages",
                Fetch::Alone,
                writer.progress(),
            );
            let entries: Vec<MessageEntry> = match entries.await {
                Err(Error::Damaged(problem)) => {
                    tracing::warn!(problem, "messages are read anew, since their last backup is damaged");
                    continue;
                }
                entries => entries?,
            };
            if bucket.records.0.iter().any(|&chunk| !writer.has(chunk)) {
                continue;
            }
            // A body that was lost from the repository is read again.
            let has_body = |entry: &&MessageEntry| {
                let chunk = |number| repository.keys().body_chunk(&entry.message, number);
                (0..pieces(entry.body_size)).all(|number| writer.has(chunk(number)))
            };
            known.sizes.extend(entries.iter().filter(has_body).map(|entry| (entry.message, entry.body_size)));
            let messages = entries.into_iter().map(|entry| entry.message).collect();
            buckets.insert(bucket.number, OldBucket { messages, records: bucket.records.clone() });
        }
        Ok(buckets)
    }

    /// Reads the records and bodies that the repository does not have; whether something was gone.
    async fn fetch_new(
        &mut self,
        state: &AccountState,
        old: &mut OldBuckets,
        known: &mut Known,
    ) -> Result<bool> {
        let mut gone = false;
        for (MailboxId(mailbox), found) in &state.mailboxes {
            let mut buckets: BTreeMap<u32, Vec<&Entry>> = BTreeMap::new();
            for entry in found.entries.iter().flat_map(BTreeMap::values) {
                buckets.entry(entry.uid.get() / BUCKET).or_default().push(entry);
            }
            let old = old.entry(*mailbox).or_default();
            for (number, entries) in buckets {
                self.writer.progress().check()?;
                gone |= self.fetch_bucket(state.account, &entries, (number, &mut *old), known).await?;
            }
        }
        Ok(gone)
    }

    /// The same of one bucket; writes its records.
    async fn fetch_bucket(
        &mut self,
        account: AccountId,
        entries: &[&Entry],
        (number, old): (u32, &mut BTreeMap<u32, OldBucket>),
        known: &mut Known,
    ) -> Result<bool> {
        let is_known = |entry: &&&Entry| {
            let message = entry.message.as_bytes();
            let has_record = old.get(&number).is_some_and(|bucket| bucket.messages.contains(message));
            known.unreadable.contains_key(message) || (has_record && known.sizes.contains_key(message))
        };
        let new: BTreeMap<MessageId, u64> = entries
            .iter()
            .filter(|entry| !is_known(entry))
            .map(|entry| (entry.message, entry.size))
            .collect();
        if new.is_empty() {
            return Ok(false);
        }
        let ids: Vec<MessageId> = new.keys().copied().collect();
        let records = self.backup.mailstore.stored_records(account, &ids).await?;
        let mut found = Vec::with_capacity(new.len());
        for ((message, size), record) in new.iter().zip(records) {
            if let Some(StoredRecord { octets, own_header }) = record {
                known.records.insert(*message.as_bytes(), octets.to_vec());
                found.push((*message, size.saturating_sub(own_header)));
            }
        }
        let mut gone = found.len() < new.len();
        gone |= self.fetch_bodies(&found, known).await?;
        let messages = |entry: &&Entry| *entry.message.as_bytes();
        let is_there = |message: &[u8; 16]| known.sizes.contains_key(message);
        let there: BTreeSet<[u8; 16]> = entries.iter().map(messages).filter(is_there).collect();
        let before = old.get(&number);
        let has_record = |message: &[u8; 16]| {
            known.records.contains_key(message) || before.is_some_and(|old| old.messages.contains(message))
        };
        let there: BTreeSet<[u8; 16]> = there.into_iter().filter(has_record).collect();
        if !there.is_empty() && before.is_none_or(|before| before.messages != there) {
            let records = self.records(&there, before, known).await?;
            old.insert(number, OldBucket { messages: there, records });
        }
        known.records.clear();
        self.writer.progress().messages(new.len() as u64);
        Ok(gone)
    }

    /// Reads bodies that the repository does not have; small ones several at a time. Whether one was gone.
    async fn fetch_bodies(&mut self, bodies: &[(BodyId, u64)], known: &mut Known) -> Result<bool> {
        let mut gone = false;
        let chunk = |run: &Self, body: &BodyId| run.writer.repository().keys().body_chunk(body.as_bytes(), 0);
        let (small, large): (Vec<_>, Vec<_>) = bodies.iter().copied().partition(|(_, size)| *size <= PIECE);
        let missing: Vec<_> =
            small.iter().copied().filter(|(body, _)| !self.writer.has(chunk(self, body))).collect();
        let blobs = &self.backup.blobs;
        let reads = missing.into_iter().map(|(body, size)| async move {
            (body, checked(body, &(0..size), blobs.read(body, 0..size).await))
        });
        let mut reads = futures_util::stream::iter(reads).buffered(READS);
        let mut lost: BTreeMap<BodyId, Stored> = BTreeMap::new();
        while let Some((body, read)) = reads.next().await {
            match read {
                Ok(octets) => {
                    self.totals.new_bodies += 1;
                    let id = chunk(self, &body);
                    self.add_piece(id, &octets).await?;
                }
                Err(error) => _ = lost.insert(body, without(error)?),
            }
        }
        for &(body, size) in &large {
            match self.body(body, size).await? {
                Stored::Yes => {}
                why => _ = lost.insert(body, why),
            }
        }
        let stored = bodies.iter().filter(|(body, _)| !lost.contains_key(body));
        known.sizes.extend(stored.map(|&(body, size)| (*body.as_bytes(), size)));
        for (body, why) in lost {
            match why {
                Stored::Unreadable(why) => _ = known.unreadable.insert(*body.as_bytes(), why),
                Stored::Yes | Stored::Gone => gone = true,
            }
        }
        Ok(gone)
    }

    async fn write_account(
        &mut self,
        address: &str,
        state: AccountState,
        old: &mut BTreeMap<u32, MailboxDocument>,
        old_buckets: &OldBuckets,
        known: &Known,
    ) -> Result<AccountEntry> {
        let mut document = AccountDocument {
            next_mailbox: state.next_mailbox,
            last_uid_validity: state.last_uid_validity,
            subscriptions: state.subscriptions,
            highest_modseq: 0,
            mailboxes: Vec::with_capacity(state.mailboxes.len()),
        };
        let none = BTreeMap::new();
        let mut is_whole = true;
        for (MailboxId(id), mut mailbox) in state.mailboxes {
            is_whole &= !self.leave_out(address, &mut mailbox, known);
            let taken_over = old.remove(&id).filter(|_| mailbox.entries.is_none());
            let buckets = old_buckets.get(&id).unwrap_or(&none);
            let mailbox = self.mailbox(id, mailbox, taken_over, buckets, known).await?;
            document.highest_modseq = document.highest_modseq.max(mailbox.highest_modseq);
            document.mailboxes.push(mailbox);
        }
        Ok(AccountEntry {
            id: state.account.get(),
            address: address.to_owned(),
            latest: Some(if is_whole { state.latest } else { UNREAD }),
            version: state.version,
            mailboxes: document.mailboxes.len() as u64,
            messages: document.mailboxes.iter().map(|mailbox| mailbox.messages).sum(),
            bytes: document.mailboxes.iter().map(|mailbox| mailbox.bytes).sum(),
            document: self.writer.add_document(&document).await?,
        })
    }

    /// Leaves out messages that have no body; whether there are any. The next run reads the mailbox again.
    fn leave_out(&mut self, address: &str, mailbox: &mut MailboxState, known: &Known) -> bool {
        let Some(entries) = &mut mailbox.entries else { return false };
        let before = entries.len();
        entries.retain(|uid, entry| {
            let Some(why) = known.unreadable.get(entry.message.as_bytes()) else { return true };
            self.missing.messages(1, format!("{address}, {}, UID {}: {why}", mailbox.name, uid.get()));
            false
        });
        let is_short = entries.len() < before;
        if is_short {
            mailbox.latest = UNREAD;
        }
        is_short
    }

    async fn mailbox(
        &mut self,
        id: u32,
        mailbox: MailboxState,
        taken_over: Option<MailboxDocument>,
        old: &BTreeMap<u32, OldBucket>,
        known: &Known,
    ) -> Result<MailboxDocument> {
        let mut document = MailboxDocument {
            id,
            name: mailbox.name,
            uid_validity: mailbox.uid_validity,
            special_use: mailbox.special_use,
            uid_next: mailbox.uid_next.get(),
            latest: mailbox.latest,
            highest_modseq: 0,
            messages: 0,
            bytes: 0,
            buckets: Vec::new(),
        };
        if let Some(before) = taken_over {
            document.highest_modseq = before.highest_modseq;
            (document.messages, document.bytes) = (before.messages, before.bytes);
            document.buckets = before.buckets;
            return Ok(document);
        }
        let mut buckets: BTreeMap<u32, Vec<Entry>> = BTreeMap::new();
        for entry in mailbox.entries.unwrap_or_default().into_values() {
            document.messages += 1;
            document.bytes += entry.size;
            document.highest_modseq = document.highest_modseq.max(entry.modseq.get());
            buckets.entry(entry.uid.get() / BUCKET).or_default().push(entry);
        }
        for (number, entries) in buckets {
            let bucket = self.bucket(number, &entries, old.get(&number), known).await?;
            document.buckets.push(bucket);
        }
        Ok(document)
    }

    /// A run of messages. If they are those of the snapshot before, their records are taken over.
    async fn bucket(
        &mut self,
        number: u32,
        entries: &[Entry],
        old: Option<&OldBucket>,
        known: &Known,
    ) -> Result<BucketRef> {
        let size = |entry: &Entry| known.sizes.get(entry.message.as_bytes()).copied();
        let messages: Vec<MessageEntry> = entries
            .iter()
            .map(|entry| {
                let body_size =
                    size(entry).ok_or_else(|| Error::Invalid("a body was not read".to_owned()))?;
                Ok(message_entry(entry, body_size))
            })
            .collect::<Result<_>>()?;
        let wanted: BTreeSet<[u8; 16]> = messages.iter().map(|entry| entry.message).collect();
        let records = match old {
            Some(old) if old.messages == wanted => old.records.clone(),
            old => self.records(&wanted, old, known).await?,
        };
        Ok(BucketRef { number, entries: self.writer.add_document(&messages).await?, records })
    }

    /// The records of messages: those that were read, and those of the snapshot before.
    async fn records(
        &mut self,
        wanted: &BTreeSet<[u8; 16]>,
        old: Option<&OldBucket>,
        known: &Known,
    ) -> Result<DocumentRef> {
        let mut before: BTreeMap<[u8; 16], Vec<u8>> = BTreeMap::new();
        if let Some(old) = old.filter(|_| wanted.iter().any(|message| !known.records.contains_key(message))) {
            self.writer.settle(&old.records).await?;
            let (writer, repository) = (&self.writer, self.writer.repository());
            let records =
                repository.document(&writer.index, &old.records, "records", Fetch::Alone, writer.progress());
            let records: Vec<RecordEntry> = records.await?;
            before.extend(records.into_iter().map(|record| (record.message, record.octets)));
        }
        let mut records = Vec::with_capacity(wanted.len());
        for message in wanted {
            let octets = known.records.get(message).or_else(|| before.get(message)).cloned();
            let octets = octets.ok_or_else(|| Error::Invalid("a record was not read".to_owned()))?;
            records.push(RecordEntry { message: *message, octets });
        }
        self.writer.add_document(&records).await
    }
}

fn message_entry(entry: &Entry, body_size: u64) -> MessageEntry {
    MessageEntry {
        uid: entry.uid.get(),
        message: *entry.message.as_bytes(),
        flags: entry.flags.bits(),
        keywords: entry.keywords.iter().map(str::to_owned).collect(),
        received: entry.received,
        size: entry.size,
        modseq: entry.modseq.get(),
        body_size,
    }
}
