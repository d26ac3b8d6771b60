//! Runs of backups in a cluster: ordered through any process, done by the one that holds the lease, and seen by all.
//!
//! An order is a row; the holder of the lease is woken by a watch, does one after the other, and writes how far it is: as long as the lease is its own, so that one who was
//! paused does not write over what its successor wrote. What a process that died left undone counts as failed: the next run uses what it wrote.

mod metrics;
mod model;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use ekitei_blob::ObjectStore;
use ekitei_config::Live;
use ekitei_kv::lease::{Lease, Leases};
use ekitei_kv::{KeyValue, RangeOptions, Transaction, Watch};
use ekitei_telemetry::Registry;
use serde::de::DeserializeOwned;

pub use model::{Done, Job, Order, State};

use crate::document::{decode, encode};
use crate::error::{Error, Result};
use crate::repository::Purpose;
use crate::{Backup, OperatorKey, OperatorKeys, Progress, Repository, Retention, SnapshotInfo, rows};
use metrics::Metrics;
use model::{LastRun, LastVerification, Outcome};

/// The group of the lease; its only name.
const LEASE: &str = "backup";
/// Jobs that are remembered.
const REMEMBERED: usize = 100;
/// How often a job's row says how far it is, and what it depends on is looked at.
const BEAT: Duration = Duration::from_secs(2);
/// How often somebody looks whether a backup is due, whatever the watch says.
const LOOK: Duration = Duration::from_secs(30);
/// How long it waits when something failed besides a job.
const PAUSE: Duration = Duration::from_secs(5);

/// Does the jobs, and takes orders: cheap to clone.
#[derive(Clone)]
pub struct Runner {
    backup: Backup,
    objects: Option<Arc<dyn ObjectStore>>,
    keys: OperatorKeys,
    live: Live,
    metrics: Metrics,
}

/// The keys that the configuration names.
///
/// # Errors
/// [`Error::Key`] names one that is malformed.
pub fn operator_keys(config: &ekitei_config::Backup) -> Result<OperatorKeys> {
    let current = config.encryption_key.iter().map(|key| ("backup.encryptionKey".to_owned(), key));
    let previous = config.previous_encryption_keys.iter().enumerate();
    let previous = previous.map(|(n, key)| (format!("backup.previousEncryptionKeys[{n}]"), key));
    let keys = current.chain(previous).map(|(whose, key)| OperatorKey::parse(&whose, key.expose()));
    Ok(OperatorKeys(keys.collect::<Result<_>>()?))
}

/// What the configuration says is kept.
pub fn retention(config: &ekitei_config::BackupRetention) -> Retention {
    let ekitei_config::BackupRetention { last, hourly, daily, weekly, monthly, yearly } = *config;
    Retention { last, hourly, daily, weekly, monthly, yearly }
}

/// Takes the lease for a run outside of the service; `leases` must run.
///
/// # Errors
/// [`Error::Invalid`] when another process has it.
pub async fn exclusive(leases: &Leases, patience: Duration) -> Result<Lease> {
    let mut set = leases.join(LEASE, [LEASE.to_owned()]);
    let found = async {
        loop {
            if let Some(lease) = set.held().into_iter().find(Lease::holds) {
                return lease;
            }
            set.changed().await;
        }
    };
    tokio::time::timeout(patience, found).await.map_err(|_| {
        Error::Invalid(
            "a running service does the backups of this store: order it there, without --offline".to_owned(),
        )
    })
}

impl Runner {
    /// The jobs of a store, with backups in `objects`; without that there are none.
    ///
    /// # Errors
    /// [`Error::Key`] for a key that is malformed.
    pub fn new(
        backup: Backup,
        objects: Option<Arc<dyn ObjectStore>>,
        live: Live,
        registry: &Registry,
    ) -> Result<Self> {
        let keys = operator_keys(&live.load().backup)?;
        Ok(Self { backup, objects, keys, live, metrics: Metrics::new(registry) })
    }

    /// The repository.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub async fn repository(&self, create: bool) -> Result<Repository> {
        let objects = self.objects.clone().ok_or_else(Error::no_key)?;
        Repository::open(objects, &self.keys, Arc::clone(&self.backup.clock), create).await
    }

    /// The snapshots.
    ///
    /// # Errors
    /// As [`Repository::open`] and [`Repository::snapshots`].
    pub async fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        match self.repository(false).await {
            Err(Error::NoRepository) => Ok(Vec::new()),
            repository => repository?.snapshots().await,
        }
    }

    /// Orders a job; returns it at once.
    ///
    /// # Errors
    /// [`Error::Key`] without a key; [`Error::Invalid`] for what can only be done while nobody uses the store, or when too many jobs wait.
    pub async fn order(&self, order: Order) -> Result<Job> {
        order.check()?;
        if self.objects.is_none() {
            return Err(Error::no_key());
        }
        let now = self.backup.now().as_secs();
        let order = &order;
        self.backup
            .database
            .transact(|tx: Transaction| async move {
                let last = RangeOptions { limit: 1, reverse: true, ..RangeOptions::default() };
                let last = tx.get_range(rows::jobs(), last).await?;
                let last: Option<Job> = last.first().map(|row| decode(&row.value, "a job")).transpose()?;
                // An attempt whose result is unknown may have written it.
                if let Some(last) = &last
                    && tx.may_have_committed()
                    && (&last.order, last.ordered) == (order, now)
                {
                    return Ok(last.clone());
                }
                let job = Job::new(last.map_or(0, |last| last.id) + 1, order.clone(), now);
                tx.set(&rows::job(job.id), &encode(&job));
                if let Some(old) = job.id.checked_sub(REMEMBERED as u64) {
                    forget(&tx, old).await?;
                }
                tx.set_versionstamped_value(&rows::latest_job(), &[0; 10], 0);
                Ok::<_, Error>(job)
            })
            .await
    }

    /// The jobs that are remembered, the latest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn jobs(&self) -> Result<Vec<Job>> {
        let (jobs, _) = self.read_jobs().await?;
        Ok(jobs.into_iter().rev().collect())
    }

    /// A job.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn job(&self, id: u64) -> Result<Job> {
        let found =
            self.backup.database.read(|tx: Transaction| async move { tx.get(&rows::job(id)).await }).await?;
        let found = found.ok_or_else(|| Error::not_found("job", id))?;
        decode(&found, "a job")
    }

    async fn read_jobs(&self) -> Result<(Vec<Job>, Watch)> {
        let (found, watch) = self
            .backup
            .database
            .read(|tx: Transaction| async move {
                let watch = tx.watch(&rows::latest_job());
                let found = tx.get_range(rows::jobs(), RangeOptions::default()).await?;
                Ok::<_, Error>((found, watch))
            })
            .await?;
        let jobs = found.iter().map(|row: &KeyValue| decode(&row.value, "a job"));
        Ok((jobs.collect::<Result<_>>()?, watch))
    }

    async fn write(&self, lease: &Lease, job: &Job) -> Result<()> {
        self.set(lease, &rows::job(job.id), &encode(&job.bounded())).await
    }

    /// Writes a row, if the lease is this process's.
    async fn set(&self, lease: &Lease, row: &[u8], octets: &[u8]) -> Result<()> {
        let write = |tx: Transaction| async move {
            lease.check(&tx).await?;
            tx.set(row, octets);
            Ok::<_, ekitei_kv::Error>(())
        };
        Ok(self.backup.database.transact(write).await?)
    }

    /// Does jobs as long as this process holds the lease, and makes those that are due; until it is dropped.
    pub async fn run(&self, leases: &Leases) {
        let mut set = leases.join(LEASE, [LEASE.to_owned()]);
        loop {
            let lease = set.held().into_iter().find(Lease::holds);
            let worked = match &lease {
                Some(lease) => self.work(lease).await,
                None => self.observe().await,
            };
            match worked {
                Err(error) => {
                    tracing::warn!(%error, "backups cannot be looked after; the next round tries again");
                    _ = tokio::time::timeout(PAUSE, set.changed()).await;
                }
                Ok(()) if lease.is_none() => _ = tokio::time::timeout(LOOK, set.changed()).await,
                Ok(()) => {}
            }
        }
    }

    /// Shows when the last backup was made, and what the last verification found, whichever process did that.
    async fn observe(&self) -> Result<()> {
        let last = self.last_run().await?;
        self.metrics.observe(&last, self.backup.now());
        self.metrics
            .observe_verification(&self.noted(&rows::last_verification(), "the last verification").await?);
        Ok(())
    }

    async fn last_run(&self) -> Result<LastRun> {
        self.noted(&rows::last_run(), "the last backup").await
    }

    /// What a row says of the last run of something.
    async fn noted<T: Default + DeserializeOwned>(&self, row: &[u8], what: &'static str) -> Result<T> {
        let found = self.backup.database.read(|tx: Transaction| async move { tx.get(row).await }).await?;
        found.map_or_else(|| Ok(T::default()), |found| decode(&found, what))
    }

    /// Does what is ordered, or due; then waits for more.
    async fn work(&self, lease: &Lease) -> Result<()> {
        let (jobs, watch) = self.read_jobs().await?;
        let mut worked = false;
        for mut job in jobs {
            match job.state {
                State::Running => {
                    job.fail(self.backup.now(), job.order.after_death());
                    // Else what the process dies of begins again at once.
                    if matches!(job.order, Order::Create { .. }) {
                        self.note_run(lease, &job, Outcome::Failed).await?;
                    }
                    self.write(lease, &job).await?;
                }
                State::Waiting => {
                    self.do_job(lease, job).await?;
                    worked = true;
                }
                State::Done | State::Failed => {}
            }
        }
        self.observe().await?;
        if !worked && self.is_due().await? {
            self.order(Order::Create { scheduled: true }).await?;
            return Ok(());
        }
        if !worked {
            _ = tokio::time::timeout(LOOK, watch.changed()).await;
        }
        Ok(())
    }

    async fn is_due(&self) -> Result<bool> {
        if self.objects.is_none() {
            return Ok(false);
        }
        let last = self.last_run().await?;
        Ok(schedule::is_due(&self.live.load().backup, &last, self.backup.now().as_secs()))
    }

    async fn do_job(&self, lease: &Lease, mut job: Job) -> Result<()> {
        job.start(self.backup.now(), &self.backup.options.host);
        self.write(lease, &job).await?;
        let progress = Progress::under(lease);
        let begun = tokio::time::Instant::now();
        let outcome = {
            let mut work = std::pin::pin!(self.perform(&job.order, &progress));
            loop {
                tokio::select! {
                    outcome = work.as_mut() => break outcome,
                    () = tokio::time::sleep(BEAT) => {}
                }
                if !lease.holds() {
                    progress.stop();
                }
                job.figures = progress.figures();
                if let Err(error) = self.write(lease, &job).await {
                    tracing::warn!(%error, "how far a backup is cannot be written");
                }
            }
        };
        job.figures = progress.figures();
        self.metrics.ended(&job.order, &outcome, &job.figures, begun.elapsed());
        let is_made = self.note(lease, &job, &outcome).await?;
        match outcome {
            Ok(done) => {
                tracing::info!(job = job.id, action = job.order.name(), "a backup job is done");
                job.finish(self.backup.now(), done);
            }
            Err(error) => {
                tracing::warn!(job = job.id, action = job.order.name(), %error, "a backup job failed");
                job.fail(self.backup.now(), &error.to_string());
            }
        }
        self.write(lease, &job).await?;
        let retention = retention(&self.live.load().backup.retention);
        let is_scheduled = matches!(job.order, Order::Create { scheduled: true });
        if is_scheduled && is_made && !retention.is_empty() {
            self.order(Order::Prune { retention, dry_run: false }).await?;
        }
        Ok(())
    }

    /// Notes what came of a backup or a verification, for schedules and metrics; whether there is a new snapshot.
    async fn note(&self, lease: &Lease, job: &Job, outcome: &Result<Done>) -> Result<bool> {
        if let Ok(Done::Verified(report)) = outcome {
            let (ended, problems) = (self.backup.now().as_secs(), report.problems.len() as u64);
            let octets = encode(&LastVerification { ended, problems });
            self.set(lease, &rows::last_verification(), &octets).await?;
        }
        if !matches!(job.order, Order::Create { .. }) {
            return Ok(false);
        }
        let of_run = match outcome {
            Ok(_) => Outcome::Complete,
            Err(Error::Incomplete { .. }) => Outcome::Incomplete,
            Err(_) => Outcome::Failed,
        };
        self.note_run(lease, job, of_run).await?;
        Ok(of_run != Outcome::Failed)
    }

    async fn note_run(&self, lease: &Lease, job: &Job, outcome: Outcome) -> Result<()> {
        let mut last = self.last_run().await?;
        last.note(job.started.unwrap_or_default(), self.backup.now().as_secs(), outcome);
        self.metrics.observe(&last, self.backup.now());
        self.set(lease, &rows::last_run(), &encode(&last)).await
    }

    /// Does one job here and now, under a lock of the repository. The caller sees to it that it is the only one of this store.
    ///
    /// # Errors
    /// The job's.
    pub async fn perform(&self, order: &Order, progress: &Progress) -> Result<Done> {
        let repository = self.repository(matches!(order, Order::Create { .. })).await?;
        let purpose = if matches!(order, Order::Prune { .. }) { Purpose::Prune } else { Purpose::Use };
        let lock = repository.lock(purpose, self.backup.holder().await?).await?;
        let work = async {
            Ok(match order {
                Order::Create { .. } => {
                    Done::Created(self.backup.create(&repository, Arc::clone(&lock), progress).await?)
                }
                Order::Verify { depth } => Done::Verified(repository.verify(&lock, *depth, progress).await?),
                Order::Restore(request) => Done::Restored(
                    self.backup.restore(&repository, Arc::clone(&lock), request, progress).await?,
                ),
                Order::Prune { retention, dry_run } => {
                    repository.check_listed(self.made().await?).await?;
                    Done::Pruned(repository.prune(Arc::clone(&lock), retention, *dry_run, progress).await?)
                }
            })
        };
        let outcome = tokio::select! {
            outcome = work => outcome,
            lost = lock.keep() => Err(lost),
        };
        lock.release().await;
        outcome
    }
}

impl Runner {
    /// The snapshots that the jobs made which are remembered; some may have been removed since.
    async fn made(&self) -> Result<Vec<String>> {
        let made = |job: Job| match job.done {
            Some(Done::Created(info)) => Some(info.id),
            _ => None,
        };
        Ok(self.jobs().await?.into_iter().filter_map(made).collect())
    }
}

/// Removes jobs up to this one, which have ended.
async fn forget(tx: &Transaction, last: u64) -> Result<()> {
    let old = rows::jobs().start..rows::job(last + 1);
    for row in tx.get_range(old.clone(), RangeOptions::default()).await? {
        let job: Job = decode(&row.value, "a job")?;
        if matches!(job.state, State::Waiting | State::Running) {
            return Err(Error::Invalid(format!("{REMEMBERED} jobs wait already: see `ekitei backup jobs`")));
        }
    }
    tx.clear_range(old);
    Ok(())
}
