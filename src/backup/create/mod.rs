//! Making a snapshot.
//!
//! The order makes it safe to die anywhere: packs first, then the snapshot that needs them. An account whose latest change is the one
//! that the snapshot before has is taken over without being read; a body that is in the repository is not read again. If the repository lost something, all is looked at.
//!
//! What cannot be read, and will not be a moment later either (a body that is damaged, or whose key was destroyed), keeps nothing else out: the snapshot is made without it, and
//! the run says so ([`Error::Incomplete`]).

mod account;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use ekitei_blob::{BodyId, KeyError};
use ekitei_directory::transfer::ExportCursor;
use ekitei_directory::{AccountId, EmailAddress};
use ekitei_mailstore::transfer::ChangeStamp;

use crate::document::{AccountEntry, DocumentRef, Rows, Snapshot, Totals, pieces};
use crate::error::{Error, Missing, Result};
use crate::progress::Progress;
use crate::repository::writer::Writer;
use crate::repository::{Fetch, Lock, Repository};
use crate::snapshot::SnapshotInfo;
use crate::{Backup, rows};

/// Accounts of one list.
const ACCOUNTS: usize = 1000;
/// The latest change of what has to be read again whatever it is then: no change has this stamp.
const UNREAD: ChangeStamp = [0; 10];
/// How often the directory is read again if it changed meanwhile, before rows of different versions have to do.
const ATTEMPTS: usize = 5;
/// Seconds that the clocks of processes may differ by.
const SKEW: u64 = 3600;
/// How often a list of pieces is tried when a body goes away meanwhile.
pub(crate) const GONE: usize = 20;

/// What a run gathers besides packs.
struct Run<'a> {
    backup: &'a Backup,
    writer: Writer,
    totals: Totals,
    versions: (u64, u64),
    /// Accounts of the snapshot before.
    before: HashMap<u64, AccountEntry>,
    /// The repository lost something: what did not change may need it.
    has_losses: bool,
    /// What cannot be read.
    missing: Missing,
}

/// Whether a body is in the repository now.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stored {
    Yes,
    /// It is gone from the store: it was expunged, or sent.
    Gone,
    /// It cannot be read, for this reason.
    Unreadable(String),
}

/// The directory as one export saw it.
struct DirectoryExport {
    documents: Vec<DocumentRef>,
    accounts: Vec<(AccountId, EmailAddress)>,
    consistent: bool,
}

impl Backup {
    /// Makes a snapshot of everything.
    ///
    /// # Errors
    /// When a store fails, or the lock is lost: what was written is used by the next run. [`Error::Incomplete`] when the snapshot was made, but something could
    /// not be read.
    pub async fn create(
        &self,
        repository: &Repository,
        lock: Arc<Lock>,
        progress: &Progress,
    ) -> Result<SnapshotInfo> {
        let now = self.now().as_secs();
        let source = rows::id(&self.database).await?;
        let index = repository.index(progress).await?;
        for problem in &index.problems {
            tracing::warn!(problem, "the backup repository is damaged");
        }
        let has_losses = index.has_losses();
        let writer = Writer::new(repository, Arc::clone(&lock), index, progress);
        let (before, began_before) = self.accounts_before(repository, &writer, &source).await?;
        // What is made later sorts later, in the same second and by a clock that is a little behind as well: `latest` and pruning go by that.
        let began =
            now.max(began_before.filter(|before| before.abs_diff(now) < SKEW).map_or(0, |before| before + 1));
        let (totals, versions, missing) = (Totals::default(), (u64::MAX, 0), Missing::default());
        let mut run = Run { backup: self, writer, totals, versions, before, has_losses, missing };
        progress.step("reading the directory");
        let directory = run.directory().await?;
        let signing = ekitei_signing::transfer::export(&self.database).await;
        let signing = signing.map_err(|error| Error::Signing(error.to_string()))?;
        let signing = run.writer.add_document(&Rows::of(&signing)).await?;
        progress.step("reading the queue");
        let (queue, suppressions) = run.queue().await?;
        progress.step("reading accounts");
        let accounts = run.accounts(&directory.accounts).await?;
        let files = run.writer.add_document(&self.read_files().await?).await?;
        run.writer.flush().await?;
        run.totals.written = run.writer.written;
        let (lowest, highest) = run.versions;
        let snapshot = Snapshot {
            source,
            began,
            ended: self.now().as_secs().max(began),
            host: self.options.host.clone(),
            release: self.options.release.clone(),
            versions: (lowest.min(highest), highest),
            incarnation: self.options.incarnation,
            directory: directory.documents,
            directory_consistent: directory.consistent,
            accounts,
            signing,
            queue,
            suppressions,
            files,
            totals: run.totals,
        };
        let info = publish(repository, &lock, &snapshot, progress).await?;
        if run.missing.is_empty() {
            return Ok(info);
        }
        let Missing { messages, accounts, first } = run.missing;
        Err(Error::Incomplete { snapshot: info.id, messages, accounts, first })
    }

    /// The files that go with the store, those that are there.
    async fn read_files(&self) -> Result<Rows> {
        let mut files = Vec::new();
        for (name, path) in &self.options.files {
            match tokio::fs::read(path).await {
                Ok(octets) => files.push((name.clone().into_bytes(), octets)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::Invalid(format!("{}: {error}", path.display()))),
            }
        }
        Ok(Rows(files))
    }

    /// The accounts of the latest snapshot of this store, and when that was begun.
    async fn accounts_before(
        &self,
        repository: &Repository,
        writer: &Writer,
        source: &[u8; 16],
    ) -> Result<(HashMap<u64, AccountEntry>, Option<u64>)> {
        let mut found = HashMap::new();
        let mut ids = repository.snapshot_ids().await?;
        while let Some(id) = ids.pop() {
            let snapshot = match repository.snapshot(&id).await {
                Ok(snapshot) => snapshot,
                Err(Error::Damaged(problem)) => {
                    tracing::warn!(problem, "a snapshot is damaged");
                    continue;
                }
                Err(error) => return Err(error),
            };
            if snapshot.source != *source {
                continue;
            }
            for list in &snapshot.accounts {
                let list = repository.document(
                    &writer.index,
                    list,
                    "a list of accounts",
                    Fetch::Alone,
                    writer.progress(),
                );
                match list.await {
                    Ok(list) => found.extend(list_by_id(list)),
                    // What cannot be read is read from the store again.
                    Err(Error::Damaged(problem)) => tracing::warn!(problem, "a snapshot is damaged"),
                    Err(error) => return Err(error),
                }
            }
            return Ok((found, Some(snapshot.began)));
        }
        Ok((found, None))
    }
}

/// Writes the snapshot, while nobody else can have removed what it needs: whoever takes the repository over takes the lock away before.
async fn publish(
    repository: &Repository,
    lock: &Lock,
    snapshot: &Snapshot,
    progress: &Progress,
) -> Result<SnapshotInfo> {
    progress.check()?;
    lock.confirm().await?;
    let (id, written) = repository.put_snapshot(snapshot).await?;
    progress.written(written);
    if let Err(error) = lock.confirm().await {
        repository.delete_snapshots(std::slice::from_ref(&id)).await?;
        return Err(error);
    }
    Ok(SnapshotInfo::new(id, snapshot))
}

/// Why a body cannot be read, if that will not pass by itself. Keys that are not configured are no such reason: somebody has to configure them.
fn unreadable(error: &ekitei_blob::Error) -> Option<String> {
    use ekitei_blob::Error::{Damaged, DamagedSegment, Key, Objects};
    let lasts = match error {
        Damaged { .. } | DamagedSegment { .. } => true,
        Key(error) => matches!(error, KeyError::Destroyed { .. } | KeyError::Missing { .. }),
        Objects(error) => error.is_not_found(),
        _ => false,
    };
    lasts.then(|| error.to_string())
}

/// What was read of a body, if it is all that was asked for.
fn checked(
    body: BodyId,
    range: &std::ops::Range<u64>,
    read: Result<Bytes, ekitei_blob::Error>,
) -> Result<Bytes, ekitei_blob::Error> {
    let octets = read?;
    if octets.len() as u64 == range.end - range.start {
        return Ok(octets);
    }
    Err(ekitei_blob::Error::Damaged { body, what: "it is shorter than its message" })
}

/// What it means that a body was not read.
fn without(error: ekitei_blob::Error) -> Result<Stored> {
    match (&error, unreadable(&error)) {
        (ekitei_blob::Error::NotFound(_), _) => Ok(Stored::Gone),
        (_, Some(why)) => Ok(Stored::Unreadable(why)),
        (_, None) => Err(error.into()),
    }
}

/// Whether an account cannot be read, and will not be a moment later either.
fn is_of_the_account(error: &Error) -> bool {
    use ekitei_mailstore::Error::{Corrupt, Limit};
    matches!(error, Error::MailStore(Corrupt(_) | Limit(_)) | Error::Invalid(_) | Error::Damaged(_))
}

fn list_by_id(list: Vec<AccountEntry>) -> impl Iterator<Item = (u64, AccountEntry)> {
    list.into_iter().map(|entry| (entry.id, entry))
}

impl Run<'_> {
    fn note_version(&mut self, version: u64) {
        self.versions = (self.versions.0.min(version), self.versions.1.max(version));
    }

    /// Reads the directory, again if it changed meanwhile.
    async fn directory(&mut self) -> Result<DirectoryExport> {
        let directory = &self.backup.directory;
        for attempt in 1..=ATTEMPTS {
            let before = directory.version().await?;
            let mut export =
                DirectoryExport { documents: Vec::new(), accounts: Vec::new(), consistent: true };
            let mut domains = 0;
            let mut cursor = Some(ExportCursor::default());
            while let Some(from) = cursor {
                let page = directory.export(&from).await?;
                domains += page.domains;
                export.documents.push(self.writer.add_document(&Rows::of(&page.rows)).await?);
                export.accounts.extend(page.accounts);
                self.note_version(page.version);
                cursor = page.next;
            }
            export.consistent = directory.version().await? == before;
            if export.consistent || attempt == ATTEMPTS {
                if !export.consistent {
                    tracing::warn!(
                        "the directory changed all the time; the snapshot has it as of several versions"
                    );
                }
                self.totals.domains = domains;
                self.totals.accounts = export.accounts.len() as u64;
                self.writer.progress().all_accounts(self.totals.accounts);
                return Ok(export);
            }
        }
        Err(Error::Invalid("the directory was not read".to_owned()))
    }

    /// The mail of all accounts.
    async fn accounts(&mut self, accounts: &[(AccountId, EmailAddress)]) -> Result<Vec<DocumentRef>> {
        let mut lists = Vec::new();
        for accounts in accounts.chunks(ACCOUNTS) {
            self.writer.progress().check()?;
            let ids: Vec<AccountId> = accounts.iter().map(|(id, _)| *id).collect();
            let latest = self.backup.mailstore.latest_changes(&ids).await?;
            let mut list = Vec::with_capacity(accounts.len());
            for ((id, address), latest) in accounts.iter().zip(latest) {
                let entry = self.account_or_before(*id, &address.to_string(), latest).await?;
                self.totals.mailboxes += entry.mailboxes;
                self.totals.messages += entry.messages;
                self.totals.bytes += entry.bytes;
                if entry.latest.is_some() {
                    self.note_version(entry.version);
                }
                self.writer.progress().accounts(1);
                list.push(entry);
            }
            lists.push(self.writer.add_document(&list).await?);
        }
        Ok(lists)
    }

    /// The account in the snapshot; as the snapshot before has it, if it cannot be read, so that the others are not kept waiting.
    async fn account_or_before(
        &mut self,
        id: AccountId,
        address: &str,
        latest: Option<ChangeStamp>,
    ) -> Result<AccountEntry> {
        let before = self.before.remove(&id.get());
        match self.account(id, address, latest, before.as_ref()).await {
            Err(error) if is_of_the_account(&error) => {
                self.missing.account(format!("what changed in {address}: {error}"));
                let has = |entry: &AccountEntry| entry.document.0.iter().all(|&chunk| self.writer.has(chunk));
                let before = before.filter(has).unwrap_or_else(|| AccountEntry::empty(id, address));
                // It is read again by the next run, whether it changes or not.
                Ok(AccountEntry { latest: before.latest.map(|_| UNREAD), ..before })
            }
            entry => entry,
        }
    }

    /// The messages of the queue with their bodies, and addresses that none is sent to.
    async fn queue(&mut self) -> Result<(Vec<DocumentRef>, DocumentRef)> {
        let database = &self.backup.database;
        let (mut lists, mut after) = (Vec::new(), None);
        loop {
            let page = ekitei_queue::transfer::export(database, after).await?;
            let mut kept = Vec::with_capacity(page.messages.len());
            for message in page.messages {
                let (body, size) = message.body()?;
                match self.body(body, size).await? {
                    Stored::Yes => kept.push(message),
                    // It was sent meanwhile.
                    Stored::Gone => {}
                    Stored::Unreadable(why) => self.missing.messages(1, format!("in the queue: {why}")),
                }
            }
            self.totals.queued += kept.len() as u64;
            if !kept.is_empty() {
                lists.push(self.writer.add_document(&kept).await?);
            }
            self.note_version(page.version);
            let Some(next) = page.next else { break };
            after = Some(next);
        }
        let suppressions = ekitei_queue::transfer::export_suppressions(database).await?;
        let suppressions =
            suppressions.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        Ok((lists, self.writer.add_document(&Rows(suppressions)).await?))
    }

    /// Sees to it that a body is in the repository.
    async fn body(&mut self, body: BodyId, size: u64) -> Result<Stored> {
        let mut read = 0;
        for number in 0..pieces(size) {
            let id = self.writer.repository().keys().body_chunk(body.as_bytes(), number);
            if self.writer.has(id) {
                continue;
            }
            let begin = u64::from(number) * crate::document::PIECE;
            let range = begin..(begin + crate::document::PIECE).min(size);
            let piece = match checked(body, &range, self.backup.blobs.read(body, range.clone()).await) {
                Ok(piece) => piece,
                Err(error) => return without(error),
            };
            read += piece.len() as u64;
            self.add_piece(id, &piece).await?;
        }
        if read > 0 {
            self.totals.new_bodies += 1;
        }
        Ok(Stored::Yes)
    }

    async fn add_piece(&mut self, id: crate::crypto::ChunkId, piece: &[u8]) -> Result<()> {
        self.totals.new_body_bytes += piece.len() as u64;
        self.writer.progress().bytes(piece.len() as u64);
        self.writer.add_body(id, piece).await
    }
}
