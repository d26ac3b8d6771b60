//! Everything that a snapshot needs, document by document. What several snapshots share is looked at once.

use std::collections::HashSet;

use ekitei_directory::transfer::DirectoryCopy;
use serde::de::DeserializeOwned;

use crate::crypto::ChunkId;
use crate::document::{
    AccountDocument, AccountEntry, DocumentRef, MailboxDocument, MessageEntry, RecordEntry, Rows, Snapshot,
    Totals, pieces,
};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::index::Index;
use crate::repository::{Fetch, Repository};

/// What a walk has seen so far.
pub(crate) struct Walk<'a> {
    repository: &'a Repository,
    index: &'a Index,
    progress: &'a Progress,
    /// Every chunk that some snapshot needs.
    pub(crate) needed: HashSet<ChunkId>,
    /// Bodies of messages and of the queue, each once.
    pub(crate) bodies: u64,
    /// What is missing or damaged, and where it is needed.
    pub(crate) problems: Vec<String>,
    /// Documents that were looked at with all that is below them, by [`DocumentRef::name`].
    seen: HashSet<ChunkId>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(repository: &'a Repository, index: &'a Index, progress: &'a Progress) -> Self {
        let (needed, seen) = (HashSet::new(), HashSet::new());
        Self { repository, index, progress, needed, bodies: 0, problems: Vec::new(), seen }
    }

    /// Looks at a snapshot; returns what it has in fact.
    pub(crate) async fn snapshot(&mut self, id: &str, snapshot: &Snapshot) -> Result<Totals> {
        let mut found = Totals::default();
        let place = &format!("snapshot {id}");
        self.directory(snapshot, place).await?;
        self.document::<Rows>(&snapshot.signing, "signing keys", place).await?;
        self.document::<Rows>(&snapshot.suppressions, "suppressed addresses", place).await?;
        self.document::<Rows>(&snapshot.files, "files", place).await?;
        for list in &snapshot.queue {
            let queue: Option<Vec<ekitei_queue::transfer::QueuedCopy>> =
                self.document(list, "the queue", place).await?;
            for message in queue.into_iter().flatten() {
                let (body, size) = message.body()?;
                self.body(*body.as_bytes(), size, &format!("{place}, the queue"));
                found.queued += 1;
            }
        }
        for list in &snapshot.accounts {
            let accounts: Option<Vec<AccountEntry>> =
                self.document(list, "a list of accounts", place).await?;
            for account in accounts.into_iter().flatten() {
                self.progress.check()?;
                found.accounts += 1;
                found.mailboxes += account.mailboxes;
                found.messages += account.messages;
                found.bytes += account.bytes;
                self.account(place, &account).await?;
            }
        }
        Ok(found)
    }

    /// The directory: read as a restore does, so that nothing is found only then.
    async fn directory(&mut self, snapshot: &Snapshot, place: &str) -> Result<()> {
        let mut copy = DirectoryCopy::default();
        for list in &snapshot.directory {
            let rows: Option<Rows> = self.document(list, "the directory", place).await?;
            if let Some(rows) = rows
                && let Err(error) = copy.add(rows.into_rows())
            {
                self.problem(format!("{place}: the directory: {error}"));
            }
        }
        Ok(())
    }

    async fn account(&mut self, snapshot: &str, account: &AccountEntry) -> Result<()> {
        let Some(name) = account.document.name() else { return Ok(()) };
        if !self.seen.insert(name) {
            return Ok(());
        }
        let place = format!("{snapshot}, {}", account.address);
        let document: Option<AccountDocument> =
            self.document(&account.document, "an account", &place).await?;
        let Some(document) = document else { return Ok(()) };
        self.progress.accounts(1);
        let (mut messages, mut bytes) = (0, 0);
        for mailbox in &document.mailboxes {
            messages += mailbox.messages;
            bytes += mailbox.bytes;
            self.mailbox(&format!("{place}, {}", mailbox.name), mailbox).await?;
        }
        if (messages, bytes) != (account.messages, account.bytes) {
            self.problem(format!(
                "{place}: its mailboxes have {messages} messages of {bytes} octets, and should have {} of {}",
                account.messages, account.bytes
            ));
        }
        Ok(())
    }

    async fn mailbox(&mut self, place: &str, mailbox: &MailboxDocument) -> Result<()> {
        let (mut messages, mut bytes) = (0, 0);
        let mut last = 0;
        for bucket in &mailbox.buckets {
            let entries: Option<Vec<MessageEntry>> =
                self.document(&bucket.entries, "messages", place).await?;
            let Some(entries) = entries else { return Ok(()) };
            let records = match bucket.records.name() {
                Some(name) if self.seen.insert(name) => {
                    let records: Option<Vec<RecordEntry>> =
                        self.document(&bucket.records, "records", place).await?;
                    let Some(records) = records else { continue };
                    Some(records.into_iter().map(|record| record.message).collect::<HashSet<_>>())
                }
                _ => None,
            };
            for entry in &entries {
                messages += 1;
                bytes += entry.size;
                if entry.uid <= last || entry.uid >= mailbox.uid_next {
                    self.problem(format!("{place}: UID {} is out of order", entry.uid));
                }
                last = entry.uid;
                if records.as_ref().is_some_and(|records| !records.contains(&entry.message)) {
                    self.problem(format!("{place}: the message with UID {} has no record", entry.uid));
                }
                self.body(entry.message, entry.body_size, &format!("{place}, UID {}", entry.uid));
            }
        }
        if (messages, bytes) != (mailbox.messages, mailbox.bytes) {
            self.problem(format!(
                "{place}: there are {messages} messages of {bytes} octets, and should be {} of {}",
                mailbox.messages, mailbox.bytes
            ));
        }
        Ok(())
    }

    fn problem(&mut self, what: String) {
        /// What comes after so many says nothing new.
        const MANY: usize = 1000;
        if self.problems.len() < MANY {
            self.problems.push(what);
        }
    }

    /// A document; `None`, and a problem, if it is missing or damaged.
    async fn document<T: DeserializeOwned>(
        &mut self,
        document: &DocumentRef,
        what: &'static str,
        place: &str,
    ) -> Result<Option<T>> {
        self.needed.extend(document.0.iter().copied());
        let found = self.repository.document(self.index, document, what, Fetch::Pack, self.progress);
        match found.await {
            Ok(found) => Ok(Some(found)),
            Err(Error::Damaged(problem)) => {
                self.problem(format!("{place}: {what}: {problem}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Looks whether all pieces of a body are there.
    fn body(&mut self, body: [u8; 16], size: u64, place: &str) {
        let mut found = 0;
        let mut is_new = false;
        for number in 0..pieces(size) {
            let chunk = self.repository.keys().body_chunk(&body, number);
            is_new |= self.needed.insert(chunk);
            match self.index.find(chunk) {
                Some(location) => found += u64::from(location.chunk.raw),
                None => {
                    let why = self.index.why_missing(chunk);
                    self.problem(format!("{place}: its body: {why}"));
                    return;
                }
            }
        }
        self.bodies += u64::from(is_new);
        if found != size {
            self.problem(format!("{place}: its body has {found} octets, and should have {size}"));
        }
    }
}
