//! The mail of one account into a snapshot.

use std::collections::{BTreeMap, BTreeSet};

use ekitei_blob::BodyId;
use ekitei_mailstore::transfer::{AccountState, ChangeStamp, MailboxState, StoredRecord};
use ekitei_mailstore::{AccountId, Entry, MailboxId, MessageId};
use futures_util::StreamExt as _;

use super::{GONE, Run};
use crate::document::{
    AccountDocument, AccountEntry, BUCKET, BucketRef, DocumentRef, MailboxDocument, MessageEntry, PIECE,
    RecordEntry, pieces,
};
use crate::error::{Error, Result};
use crate::repository::Fetch;

/// Small bodies read at a time.
const READS: usize = 8;
/// Records read at a time.
const RECORDS: usize = 256;

/// What is known of messages whose record and body are in the repository, or in memory.
#[derive(Default)]
struct Known {
    /// Octets of the body.
    sizes: BTreeMap<[u8; 16], u64>,
    /// Records that were read from the store in this run.
    records: BTreeMap<[u8; 16], Vec<u8>>,
}

/// A bucket of the snapshot before.
struct OldBucket {
    messages: BTreeSet<[u8; 16]>,
    records: DocumentRef,
}

/// The buckets of the snapshot before, by mailbox and number.
type OldBuckets = BTreeMap<u32, BTreeMap<u32, OldBucket>>;

impl Run<'_> {
    /// The account in the snapshot. If its latest change is known, nothing of it is read.
    pub(super) async fn account(
        &mut self,
        id: AccountId,
        address: &str,
        latest: Option<ChangeStamp>,
    ) -> Result<AccountEntry> {
        let before = self.before.remove(&id.get());
        let Some(latest) = latest else {
            return Ok(AccountEntry {
                id: id.get(),
                address: address.to_owned(),
                latest: None,
                version: 0,
                document: DocumentRef::default(),
                mailboxes: 0,
                messages: 0,
                bytes: 0,
            });
        };
        if let Some(before) = &before
            && before.latest == Some(latest)
            && before.document.0.iter().all(|&chunk| self.writer.has(chunk))
        {
            return Ok(AccountEntry { address: address.to_owned(), ..before.clone() });
        }
        self.totals.changed_accounts += 1;
        let old = self.old_document(before.as_ref()).await?;
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
        let stamps: BTreeMap<MailboxId, ChangeStamp> =
            old.mailboxes.iter().map(|mailbox| (MailboxId(mailbox.id), mailbox.latest)).collect();
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
            let gone = self.fetch_new(id, &state, &old_buckets, &mut known).await?;
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

    /// Reads the records and bodies that the snapshot before does not have; whether something was gone.
    async fn fetch_new(
        &mut self,
        account: AccountId,
        state: &AccountState,
        old: &OldBuckets,
        known: &mut Known,
    ) -> Result<bool> {
        let mut new: BTreeMap<MessageId, u64> = BTreeMap::new();
        for (MailboxId(mailbox), found) in &state.mailboxes {
            for entry in found.entries.iter().flat_map(BTreeMap::values) {
                let message = entry.message.as_bytes();
                let bucket = old.get(mailbox).and_then(|old| old.get(&(entry.uid.get() / BUCKET)));
                let has_record = known.records.contains_key(message)
                    || bucket.is_some_and(|bucket| bucket.messages.contains(message));
                if !has_record || !known.sizes.contains_key(message) {
                    new.insert(entry.message, entry.size);
                }
            }
        }
        let new: Vec<(MessageId, u64)> = new.into_iter().collect();
        let mut gone = false;
        for messages in new.chunks(RECORDS) {
            self.writer.progress().check()?;
            let ids: Vec<MessageId> = messages.iter().map(|(message, _)| *message).collect();
            let records = self.backup.mailstore.stored_records(account, &ids).await?;
            let mut found = Vec::with_capacity(messages.len());
            for (&(message, size), record) in messages.iter().zip(records) {
                match record {
                    Some(StoredRecord { octets, own_header }) => {
                        let size = size.saturating_sub(own_header);
                        known.records.insert(*message.as_bytes(), octets.to_vec());
                        found.push((message, size));
                    }
                    None => gone = true,
                }
            }
            gone |= self.fetch_bodies(&found, known).await?;
            self.writer.progress().messages(messages.len() as u64);
        }
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
        let reads = missing
            .into_iter()
            .map(|(body, size)| async move { (body, size, blobs.read(body, 0..size).await) });
        let mut reads = futures_util::stream::iter(reads).buffered(READS);
        let mut lost = BTreeSet::new();
        while let Some((body, size, read)) = reads.next().await {
            let octets = match read {
                Err(ekitei_blob::Error::NotFound(_)) => {
                    lost.insert(body);
                    continue;
                }
                read => read?,
            };
            if octets.len() as u64 != size {
                return Err(
                    ekitei_blob::Error::Damaged { body, what: "it is shorter than its message" }.into()
                );
            }
            self.totals.new_bodies += 1;
            let id = chunk(self, &body);
            self.add_piece(id, &octets).await?;
        }
        for &(body, size) in &large {
            if !self.body(body, size).await? {
                lost.insert(body);
            }
        }
        gone |= !lost.is_empty();
        let stored = bodies.iter().filter(|(body, _)| !lost.contains(body));
        known.sizes.extend(stored.map(|&(body, size)| (*body.as_bytes(), size)));
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
        for (MailboxId(id), mailbox) in state.mailboxes {
            let taken_over = old.remove(&id).filter(|_| mailbox.entries.is_none());
            let buckets = old_buckets.get(&id).unwrap_or(&none);
            let mailbox = self.mailbox(id, mailbox, taken_over, buckets, known).await?;
            document.highest_modseq = document.highest_modseq.max(mailbox.highest_modseq);
            document.mailboxes.push(mailbox);
        }
        Ok(AccountEntry {
            id: state.account.get(),
            address: address.to_owned(),
            latest: Some(state.latest),
            version: state.version,
            mailboxes: document.mailboxes.len() as u64,
            messages: document.mailboxes.iter().map(|mailbox| mailbox.messages).sum(),
            bytes: document.mailboxes.iter().map(|mailbox| mailbox.bytes).sum(),
            document: self.writer.add_document(&document).await?,
        })
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
            old => self.records(wanted, old, known).await?,
        };
        Ok(BucketRef { number, entries: self.writer.add_document(&messages).await?, records })
    }

    /// The records of messages: those that were read, and those of the snapshot before.
    async fn records(
        &mut self,
        wanted: BTreeSet<[u8; 16]>,
        old: Option<&OldBucket>,
        known: &Known,
    ) -> Result<DocumentRef> {
        let (writer, repository) = (&self.writer, self.writer.repository());
        let mut before: BTreeMap<[u8; 16], Vec<u8>> = BTreeMap::new();
        if let Some(old) = old.filter(|_| wanted.iter().any(|message| !known.records.contains_key(message))) {
            let records =
                repository.document(&writer.index, &old.records, "records", Fetch::Alone, writer.progress());
            let records: Vec<RecordEntry> = records.await?;
            before.extend(records.into_iter().map(|record| (record.message, record.octets)));
        }
        let mut records = Vec::with_capacity(wanted.len());
        for message in wanted {
            let octets = known.records.get(&message).or_else(|| before.get(&message)).cloned();
            let octets = octets.ok_or_else(|| Error::Invalid("a record was not read".to_owned()))?;
            records.push(RecordEntry { message, octets });
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
