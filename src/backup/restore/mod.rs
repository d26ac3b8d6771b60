//! Bringing back what a snapshot has.
//!
//! Everything goes into an empty store: with the account numbers, mailboxes, UIDs, UIDVALIDITY, flags and passwords it had. A part of it
//! goes into a store that is in use: what is missing is added, what is there stays as it is. Both may be repeated, after an interruption or
//! not, and add nothing twice. What is damaged in the backup keeps nothing else out; the run says at its end what it was ([`Error::RestoredInPart`]).

mod account;
mod bodies;

use std::collections::BTreeMap;
use std::sync::Arc;

use ekitei_directory::transfer::{AccountCopy, DirectoryCopy, Placed, is_empty};
use ekitei_directory::{AccountId, Domain, EmailAddress};
use ekitei_kv::{Database, Transaction};
use ekitei_mailstore::MailboxName;
use ekitei_queue::transfer::QueuedCopy;
use serde::{Deserialize, Serialize};

use crate::document::{AccountEntry, Rows, Snapshot};
use crate::error::{Error, Missing, Result};
use crate::progress::Progress;
use crate::repository::index::Index;
use crate::repository::{Fetch, Lock, Repository};
use crate::snapshot::LATEST;
use crate::{Backup, rows};
use bodies::Naming;

/// What is restored, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Everything, into an empty store.
    All,
    /// A domain with its accounts, names and signing keys, where it was.
    Domain(String),
    /// The mail of an account, and the account if it is gone.
    Account {
        /// Its address.
        address: String,
        /// Only this mailbox and those below it.
        mailbox: Option<String>,
        /// Into this account, which must be there, instead of where it was.
        into: Option<String>,
        /// Below a mailbox of this name, instead of the mailboxes where it was.
        prefix: Option<String>,
    },
}

/// What becomes of mail that waited to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueMode {
    /// It is in the queue, and held: what was sent after the snapshot would be sent twice.
    #[default]
    Hold,
    /// It is in the queue, and sent at once.
    Send,
    /// It is left out.
    Skip,
}

/// A restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The id of a snapshot, its beginning, `latest`, or `before:` and a time as ids have it.
    pub snapshot: String,
    /// What of it.
    pub scope: Scope,
    /// Says what would be done, and changes nothing.
    pub dry_run: bool,
    /// For [`Scope::All`].
    pub queue: QueueMode,
}

/// What a restore did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restoration {
    /// The snapshot it is from.
    pub snapshot: String,
    /// Domains that were added.
    pub domains: u64,
    /// Accounts that were added.
    pub accounts: u64,
    /// Aliases and groups that were added.
    pub names: u64,
    /// Signing keys that were added.
    pub keys: u64,
    /// Messages that were added.
    pub messages: u64,
    /// Messages that were there.
    pub present: u64,
    /// Octets of the messages that were added.
    pub bytes: u64,
    /// Messages that were added to the queue.
    pub queued: u64,
    /// What somebody should know.
    pub warnings: Vec<String>,
}

/// A restore that runs.
struct Run<'a> {
    backup: &'a Backup,
    repository: &'a Repository,
    lock: Arc<Lock>,
    index: Index,
    progress: Progress,
    dry_run: bool,
    /// The snapshot is of this very store.
    same_source: bool,
    done: Restoration,
    /// What is damaged in the backup.
    missing: Missing,
}

/// Whose mail is restored, and where to.
struct Plan {
    /// Numbers in the backup, and here.
    accounts: BTreeMap<u64, AccountId>,
    naming: Naming,
    /// Into mailboxes that are in use; else as it was, where nothing is.
    merge: Option<Merge>,
}

/// Which mailboxes are merged, and below which.
#[derive(Default)]
struct Merge {
    mailbox: Option<MailboxName>,
    prefix: Option<MailboxName>,
}

/// Raises the incarnation of a store above that of the snapshot, so that MODSEQ goes on rising for those who knew the old store. Before
/// everything is restored; the mailstore must be made with what it returns.
///
/// # Errors
/// [`Error::Invalid`] when the store is in use; [`Error::NotFound`] for the snapshot.
pub async fn begin_all(database: &Database, repository: &Repository, snapshot: &str) -> Result<u16> {
    let (id, snapshot) = repository.find_snapshot(snapshot, &rows::id(database).await?).await?;
    let row = &rows::whole_restore();
    if let Some(begun) = check_all(database).await?.filter(|begun| *begun != id) {
        return Err(Error::Invalid(format!("everything is being restored from {begun}: go on with that")));
    }
    let note = &id;
    let write = |tx: Transaction| async move {
        tx.set(row, note.as_bytes());
        Ok::<_, ekitei_kv::Error>(())
    };
    database.transact(write).await?;
    Ok(rows::raise_incarnation(database, snapshot.incarnation.saturating_add(1)).await?)
}

/// Whether everything can be restored to a store; returns the snapshot that this has begun with.
///
/// # Errors
/// [`Error::Invalid`] when the store is in use.
pub async fn check_all(database: &Database) -> Result<Option<String>> {
    match unfinished(database).await? {
        Some(begun) => Ok(Some(begun)),
        None if is_empty(database).await? => Ok(None),
        None => Err(not_empty()),
    }
}

/// The snapshot that everything is being restored from, if that has begun and not ended. Nobody may be served then: who is not restored yet would be unknown.
///
/// # Errors
/// When the store fails.
pub async fn unfinished(database: &Database) -> Result<Option<String>> {
    let row = database.read(|tx: Transaction| async move { tx.get(&rows::whole_restore()).await }).await?;
    Ok(row.map(|id| String::from_utf8_lossy(&id).into_owned()))
}

fn not_empty() -> Error {
    Error::Invalid(
        "everything can only be restored into an empty store: name a domain or an account, or move the store away first"
            .to_owned(),
    )
}

impl Backup {
    /// Restores. Everything ([`Scope::All`]) needs [`begin_all`] before.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::NotFound`]; [`Error::Damaged`] when the directory cannot be read. What was restored until then stays, and the
    /// same restore goes on from there. [`Error::RestoredInPart`] when it ended, and not all was there.
    pub async fn restore(
        &self,
        repository: &Repository,
        lock: Arc<Lock>,
        request: &Request,
        progress: &Progress,
    ) -> Result<Restoration> {
        let source = rows::id(&self.database).await?;
        let (id, snapshot) = repository.find_snapshot(&request.snapshot, &source).await?;
        let index = repository.index(progress).await?;
        let mut run = Run {
            backup: self,
            repository,
            lock,
            index,
            progress: progress.clone(),
            dry_run: request.dry_run,
            same_source: snapshot.source == source,
            done: Restoration { snapshot: id.clone(), ..Restoration::default() },
            missing: Missing::default(),
        };
        run.done.warnings.extend(run.index.problems.iter().cloned());
        if !snapshot.directory_consistent {
            run.done.warnings.push("the directory of this snapshot was read while it changed".to_owned());
        }
        progress.step("reading the directory of the snapshot");
        let copy = run.directory_copy(&snapshot).await?;
        match &request.scope {
            Scope::All => {
                run.warn_of_other_stores(&request.snapshot, &snapshot).await?;
                run.all(&id, &snapshot, &copy, request.queue).await?;
            }
            Scope::Domain(domain) => run.domain(&snapshot, &copy, domain).await?,
            Scope::Account { .. } => run.one_account(&snapshot, &copy, &request.scope).await?,
        }
        if run.missing.is_empty() {
            return Ok(run.done);
        }
        let Missing { messages, accounts, first } = run.missing;
        Err(Error::RestoredInPart { snapshot: id, messages, accounts, first })
    }
}

impl Run<'_> {
    fn check(&self) -> Result<()> {
        self.progress.check()?;
        self.lock.check()
    }

    /// What is damaged in the backup is noted by `note`, and the restore goes on; other errors end it.
    fn unless_damaged<T>(
        &mut self,
        found: Result<T>,
        note: impl FnOnce(&mut Missing, String),
    ) -> Result<Option<T>> {
        match found {
            Err(Error::Damaged(problem)) => {
                note(&mut self.missing, problem);
                Ok(None)
            }
            found => found.map(Some),
        }
    }

    /// The latest of several stores may not be the one that was meant.
    async fn warn_of_other_stores(&mut self, which: &str, snapshot: &Snapshot) -> Result<()> {
        let others = self.repository.snapshots().await?;
        if which == LATEST && others.iter().any(|other| other.source != snapshot.source) {
            self.done.warnings.push(format!(
                "the repository has backups of several stores; this one was made by {}: see `ekitei backup list`",
                snapshot.host
            ));
        }
        Ok(())
    }

    async fn directory_copy(&self, snapshot: &Snapshot) -> Result<DirectoryCopy> {
        let mut copy = DirectoryCopy::default();
        for list in &snapshot.directory {
            let rows: Rows = self
                .repository
                .document(&self.index, list, "the directory", Fetch::Pack, &self.progress)
                .await?;
            copy.add(rows.into_rows())?;
        }
        Ok(copy)
    }

    /// Everything, into an empty store.
    async fn all(
        &mut self,
        id: &str,
        snapshot: &Snapshot,
        copy: &DirectoryCopy,
        queue: QueueMode,
    ) -> Result<()> {
        let database = &self.backup.database;
        if self.dry_run {
            if !is_empty(database).await? {
                return Err(not_empty());
            }
            self.done.domains = copy.domains().count() as u64;
            self.done.accounts = copy.accounts().count() as u64;
            self.done.names = copy.names() as u64;
            self.done.messages = snapshot.totals.messages;
            self.done.bytes = snapshot.totals.bytes;
            self.done.queued = if queue == QueueMode::Skip { 0 } else { snapshot.totals.queued };
            return Ok(());
        }
        let begun =
            database.read(|tx: Transaction| async move { tx.get(&rows::whole_restore()).await }).await?;
        if begun.as_deref() != Some(id.as_bytes()) || self.backup.options.incarnation <= snapshot.incarnation
        {
            return Err(not_empty());
        }
        self.files(snapshot).await?;
        self.progress.step("restoring the directory");
        for domain in copy.domains() {
            self.place_domain(copy, &domain).await?;
        }
        self.backup.directory.restore_numbers(copy).await?;
        let accounts: Vec<AccountCopy> = copy.accounts().collect();
        let mut ids = BTreeMap::new();
        for account in &accounts {
            if let Some(id) = self.place_account(account, true).await? {
                ids.insert(account.id.get(), id);
            }
        }
        self.place_names(copy, None).await?;
        self.place_keys(snapshot, None).await?;
        self.progress.all_accounts(ids.len() as u64);
        self.mail(snapshot, &Plan { accounts: ids, naming: Naming::Same, merge: None }).await?;
        if queue != QueueMode::Skip {
            self.queue(snapshot, queue == QueueMode::Hold).await?;
        }
        let end = |tx: Transaction| async move {
            tx.clear(&rows::whole_restore());
            Ok::<_, ekitei_kv::Error>(())
        };
        Ok(database.transact(end).await?)
    }

    /// The files that go with the store, where they are not there. Others in their place would make what is restored unreadable.
    async fn files(&mut self, snapshot: &Snapshot) -> Result<()> {
        let files = self
            .repository
            .document(&self.index, &snapshot.files, "files", Fetch::Pack, &self.progress)
            .await;
        let what = |missing: &mut Missing, why| missing.account(format!("the key beside the store: {why}"));
        let files: Option<Rows> = self.unless_damaged(files, what)?;
        for (name, octets) in files.unwrap_or_default().0 {
            let known = self.backup.options.files.iter().find(|(known, _)| known.as_bytes() == name);
            let Some((_, path)) = known else { continue };
            let path = path.clone();
            let shown = path.display().to_string();
            match tokio::fs::read(&path).await {
                Ok(found) if found == octets => continue,
                Ok(_) => {
                    return Err(Error::Invalid(format!(
                        "{shown} is not the file that the backup has, and signing keys of the backup need that one: it was made when the service was \
                         started without its store; move it away, and restore again"
                    )));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::Invalid(format!("{shown}: {error}"))),
            }
            let written = tokio::task::spawn_blocking(move || write_private(&path, &octets)).await;
            let written = written.map_err(std::io::Error::other).and_then(|written| written);
            written.map_err(|error| Error::Invalid(format!("{shown}: {error}")))?;
        }
        Ok(())
    }

    /// A domain, where it was.
    async fn domain(&mut self, snapshot: &Snapshot, copy: &DirectoryCopy, domain: &str) -> Result<()> {
        let name = Domain::parse(domain).map_err(|error| Error::Invalid(error.to_string()))?;
        if !copy.domains().any(|domain| domain == name) {
            return Err(Error::not_found("domain", name));
        }
        self.place_domain(copy, &name).await?;
        let mut ids = BTreeMap::new();
        for account in copy.accounts().filter(|account| *account.address.domain() == name) {
            if let Some(id) = self.place_account(&account, false).await? {
                ids.insert(account.id.get(), id);
            }
        }
        self.place_names(copy, Some(&name)).await?;
        self.place_keys(snapshot, Some(&name)).await?;
        self.progress.all_accounts(ids.len() as u64);
        let naming = Naming::Domain(name.as_ascii().to_owned());
        self.mail(snapshot, &Plan { accounts: ids, naming, merge: None }).await
    }

    /// An account, or mailboxes of it.
    async fn one_account(&mut self, snapshot: &Snapshot, copy: &DirectoryCopy, scope: &Scope) -> Result<()> {
        let Scope::Account { address, mailbox, into, prefix } = scope else { return Ok(()) };
        let address = parse_address(address)?;
        let mailbox = mailbox.as_deref().map(parse_mailbox).transpose()?;
        let prefix = prefix.as_deref().map(parse_mailbox).transpose()?;
        let account = copy.accounts().find(|account| account.address == address);
        let account = account.ok_or_else(|| Error::not_found("account", &address))?;
        let (target, domain) = match into {
            Some(into) => {
                let into = parse_address(into)?;
                let found = self.backup.directory.account_by_address(&into).await?;
                (Some(found.id), into.domain().clone())
            }
            None => {
                if mailbox.is_none() {
                    self.place_domain(copy, address.domain()).await?;
                }
                (self.place_account(&account, false).await?, address.domain().clone())
            }
        };
        let Some(target) = target else { return Ok(()) };
        let merge =
            (mailbox.is_some() || prefix.is_some() || into.is_some()).then_some(Merge { mailbox, prefix });
        let naming = Naming::Domain(domain.as_ascii().to_owned());
        let accounts = BTreeMap::from([(account.id.get(), target)]);
        self.progress.all_accounts(1);
        self.mail(snapshot, &Plan { accounts, naming, merge }).await
    }

    /// The mail of accounts.
    async fn mail(&mut self, snapshot: &Snapshot, plan: &Plan) -> Result<()> {
        for list in &snapshot.accounts {
            let list = self.repository.document(
                &self.index,
                list,
                "a list of accounts",
                Fetch::Pack,
                &self.progress,
            );
            let list = list.await;
            let what = |missing: &mut Missing, why| missing.account(format!("up to 1000 accounts: {why}"));
            let list: Vec<AccountEntry> = self.unless_damaged(list, what)?.unwrap_or_default();
            for entry in list.into_iter().filter(|entry| entry.latest.is_some()) {
                self.check()?;
                let Some(&account) = plan.accounts.get(&entry.id) else { continue };
                match &plan.merge {
                    None => self.exact_or_merged(&entry, account, plan.naming.clone()).await?,
                    Some(merge) => self.merge(&entry, account, plan.naming.clone(), merge).await?,
                }
            }
        }
        Ok(())
    }

    async fn place_domain(&mut self, copy: &DirectoryCopy, domain: &Domain) -> Result<()> {
        let added = if self.dry_run {
            self.backup.directory.domain(domain).await.is_err()
        } else {
            matches!(self.backup.directory.restore_domain(copy, domain).await?, Placed::Added(()))
        };
        self.done.domains += u64::from(added);
        Ok(())
    }

    /// The account's number here; `None` if its address is something else's now, or would be the number of an account that is not there yet.
    async fn place_account(&mut self, account: &AccountCopy, keep_number: bool) -> Result<Option<AccountId>> {
        if self.dry_run {
            return match self.backup.directory.account_by_address(&account.address).await {
                Ok(found) => Ok(Some(found.id)),
                Err(ekitei_directory::Error::NotFound { .. }) => {
                    self.done.accounts += 1;
                    Ok(Some(AccountId::new(u64::MAX >> 1)))
                }
                Err(error) => Err(error.into()),
            };
        }
        let keep_number = keep_number || (self.same_source && self.is_unused(account.id).await?);
        match self.backup.directory.restore_account(account, keep_number).await? {
            Placed::Added(id) => {
                self.done.accounts += 1;
                if id != account.id && account.app_passwords() > 0 {
                    let warning = format!(
                        "{} has another number now: its app passwords must be made anew",
                        account.address
                    );
                    self.done.warnings.push(warning);
                }
                Ok(Some(id))
            }
            Placed::Present(id) => Ok(Some(id)),
            Placed::Taken(what) => {
                let warning = format!("{} is {what} now; its mail was not restored", account.address);
                self.done.warnings.push(warning);
                Ok(None)
            }
        }
    }

    /// Whether nothing is left of the mail of an account.
    async fn is_unused(&self, account: AccountId) -> Result<bool> {
        Ok(self.backup.mailstore.latest_changes(&[account]).await?.iter().all(Option::is_none))
    }

    async fn place_names(&mut self, copy: &DirectoryCopy, domain: Option<&Domain>) -> Result<()> {
        if !self.dry_run {
            let (added, taken) = self.backup.directory.restore_names(copy, domain).await?;
            self.done.names += added;
            let warning = |address: EmailAddress| format!("{address} is something else now, and stays that");
            self.done.warnings.extend(taken.into_iter().map(warning));
        }
        Ok(())
    }

    async fn place_keys(&mut self, snapshot: &Snapshot, domain: Option<&Domain>) -> Result<()> {
        if !self.dry_run {
            let rows = self
                .repository
                .document(&self.index, &snapshot.signing, "signing keys", Fetch::Pack, &self.progress)
                .await;
            let what = |missing: &mut Missing, why| missing.account(format!("all signing keys: {why}"));
            let rows: Rows = self.unless_damaged(rows, what)?.unwrap_or_default();
            let added =
                ekitei_signing::transfer::import(&self.backup.database, &rows.into_rows(), domain).await;
            self.done.keys += added.map_err(|error| Error::Signing(error.to_string()))?;
        }
        Ok(())
    }

    async fn queue(&mut self, snapshot: &Snapshot, hold: bool) -> Result<()> {
        self.progress.step("restoring the queue");
        for list in &snapshot.queue {
            let list = self.repository.document(&self.index, list, "the queue", Fetch::Pack, &self.progress);
            let list = list.await;
            let what = |missing: &mut Missing, why| missing.messages(1, format!("some of the queue: {why}"));
            let list: Vec<QueuedCopy> = self.unless_damaged(list, what)?.unwrap_or_default();
            for message in list {
                self.check()?;
                let queued = self.queued(&message, hold).await;
                self.unless_damaged(queued, |missing, why| {
                    missing.messages(1, format!("in the queue: {why}"))
                })?;
            }
        }
        let rows = self
            .repository
            .document(
                &self.index,
                &snapshot.suppressions,
                "suppressed addresses",
                Fetch::Pack,
                &self.progress,
            )
            .await;
        let what = |missing: &mut Missing, why| missing.account(format!("suppressed addresses: {why}"));
        let rows: Rows = self.unless_damaged(rows, what)?.unwrap_or_default();
        let rows: Vec<_> = rows.into_rows().into_iter().map(|row| (row.key, row.value)).collect();
        Ok(ekitei_queue::transfer::import_suppressions(&self.backup.database, &rows).await?)
    }
}

fn parse_address(text: &str) -> Result<EmailAddress> {
    EmailAddress::parse(text).map_err(|error| Error::Invalid(format!("{text}: {error}")))
}

fn parse_mailbox(text: &str) -> Result<MailboxName> {
    MailboxName::new(text).map_err(|error| Error::Invalid(format!("{text}: {error}")))
}

/// Writes a file that only its owner may read; it appears whole or not at all.
fn write_private(path: &std::path::Path, octets: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let draft = path.with_extension("restored");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(octets)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    std::fs::File::open(path.parent().unwrap_or(std::path::Path::new(".")))?.sync_all()
}
