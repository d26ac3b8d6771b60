//! Backups: of a service that runs, and of a store that no service uses.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ekitei_api::{BackupAction, BackupJob, BackupSnapshot};
use ekitei_backup::jobs::{Job, Order, Runner, exclusive};
use ekitei_backup::restore::{Request, Scope, begin_all, check_all, unfinished};
use ekitei_backup::{Backup, Options, Progress, Repository};
use ekitei_blob::ObjectStore;
use ekitei_cluster::Cluster;
use ekitei_config::{Config, Live};
use ekitei_http::{backup_job, backup_order, backup_snapshots};
use ekitei_kv::Database;
use ekitei_kv::clock::{SharedClock, SystemClock};
use ekitei_kv::lease::Leases;
use ekitei_telemetry::Registry;

use super::parts::Parts;
use super::sending::{Base, key_file};
use super::{cluster, objects, store};
use crate::cli::exit::{Code, Failure, Outcome};

/// How often a run says how far it is.
const BEAT: Duration = Duration::from_millis(500);
/// How long the lease of a process that died is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The backups of a service.
///
/// # Errors
/// A key that is malformed, a directory that cannot be made; a store that everything is being restored to.
pub(super) async fn runner(base: &Base<'_>) -> anyhow::Result<Runner> {
    let config = base.live.load();
    if let Some(snapshot) = unfinished(base.database).await? {
        anyhow::bail!(
            "everything is being restored from the backup {snapshot}, and mail for who is not there yet would be refused for good: let \
             `ekitei backup restore {snapshot} --all --offline` end first, or empty the store"
        );
    }
    let incarnation = ekitei_backup::incarnation(base.database).await?;
    let backup = Backup {
        database: base.database.clone(),
        blobs: base.blobs.clone(),
        mailstore: base.mailstore.clone(),
        directory: base.directory.clone(),
        clock: Arc::clone(base.clock),
        options: options(&config, incarnation),
    };
    let repository = repository_objects(base.live).await?;
    Ok(Runner::new(backup, repository, base.live.clone(), base.registry)?)
}

fn options(config: &Config, incarnation: u16) -> Options {
    Options {
        page: usize::try_from(config.backup.page).unwrap_or(usize::MAX),
        host: config.hostname.clone(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
        incarnation,
        files: key_file(config).map(|path| ("signing.key".to_owned(), path)).into_iter().collect(),
    }
}

/// The object store that backups are in, if there are any: nothing is made on disk for backups that nobody asked for. Its figures are apart from
/// those of the mail's.
async fn repository_objects(live: &Live) -> anyhow::Result<Option<Arc<dyn ObjectStore>>> {
    if live.load().backup.encryption_key.is_none() {
        return Ok(None);
    }
    let store = objects::open_backups(live, &Registry::default()).await;
    Ok(Some(Arc::new(store.context("backup")?)))
}

/// Lists backups without a service.
pub async fn list(path: &Path) -> Outcome<Vec<BackupSnapshot>> {
    let config = Config::load(path).map_err(Failure::usage)?;
    let repository = open_repository(&Live::new(config)).await.map_err(failed)?;
    Ok(backup_snapshots(repository.snapshots().await.map_err(|error| failed(error.into()))?))
}

/// The failure of the command, with the exit code that the service's answer would have.
fn failed(error: anyhow::Error) -> Failure {
    use ekitei_backup::Error;
    let code = match error.downcast_ref::<Error>() {
        Some(Error::NotFound { .. } | Error::NoRepository) => Code::NotFound,
        Some(Error::Invalid(_) | Error::Key(_) | Error::WrongKey) => Code::Usage,
        Some(Error::Locked { .. }) => Code::Conflict,
        Some(error) if error.is_temporary() => Code::Unreachable,
        _ => Code::Failure,
    };
    Failure::new(code, format!("{error:#}"))
}

async fn open_repository(live: &Live) -> anyhow::Result<Repository> {
    let keys = ekitei_backup::jobs::operator_keys(&live.load().backup)?;
    let objects = repository_objects(live).await?.ok_or_else(ekitei_backup::Error::no_key)?;
    Ok(Repository::open(objects, &keys, Arc::new(SystemClock), false).await?)
}

/// Does a job without a service; `tell` is called with how far it is.
pub async fn run(path: &Path, action: BackupAction, tell: &mut dyn FnMut(&BackupJob)) -> Outcome<BackupJob> {
    let config = Config::load(path).map_err(Failure::usage)?;
    let order = backup_order(action).map_err(Failure::usage)?;
    let done = perform(config, order, tell).await.map_err(failed);
    store::close();
    done
}

/// A store that no service uses, and this process as the only one that does.
struct Alone {
    live: Live,
    database: Database,
    leases: Leases,
    cluster: Cluster,
    clock: SharedClock,
    registry: Registry,
}

async fn perform(
    config: Config,
    order: Order,
    tell: &mut dyn FnMut(&BackupJob),
) -> anyhow::Result<BackupJob> {
    let database = store::open(&config.store, false).await?;
    database.check_schema().await?;
    if is_of_all(&order) {
        check_all(&database).await?;
    }
    let registry = Registry::new();
    let clock: SharedClock = Arc::new(SystemClock);
    let (leases, cluster) = cluster::join(&config, &database, &clock, &registry).await?;
    let renewal = leases.clone();
    let renewal = tokio::spawn(async move { renewal.run().await });
    let live = Live::new(config);
    let alone = Alone { live, database, leases, cluster, clock, registry };
    let done = alone.perform(order, tell).await;
    renewal.abort();
    // However it ended: else the next one waits for the lease.
    alone.cluster.leave().await?;
    alone.leases.stop().await?;
    done
}

/// Whether it restores everything.
fn is_of_all(order: &Order) -> bool {
    matches!(order, Order::Restore(Request { scope: Scope::All, dry_run: false, .. }))
}

impl Alone {
    async fn perform(&self, order: Order, tell: &mut dyn FnMut(&BackupJob)) -> anyhow::Result<BackupJob> {
        let Self { live, database, leases, clock, registry, .. } = self;
        let lease = exclusive(leases, PATIENCE).await?;
        if let Order::Restore(request) = &order
            && is_of_all(&order)
        {
            begin_all(database, &open_repository(live).await?, &request.snapshot).await?;
        }
        let backup = parts(live, database, &self.cluster, clock, registry).await?;
        let runner = Runner::new(backup, repository_objects(live).await?, live.clone(), registry)?;
        let progress = Progress::under(&lease);
        let mut job = Job::begun(order.clone(), clock.now());
        let done = {
            let mut work = std::pin::pin!(runner.perform(&order, &progress));
            loop {
                tokio::select! {
                    done = work.as_mut() => break done,
                    () = tokio::time::sleep(BEAT) => {}
                }
                job.figures = progress.figures();
                tell(&backup_job(job.clone()));
            }
        };
        job.figures = progress.figures();
        job.finish(clock.now(), done?);
        Ok(backup_job(job))
    }
}

/// What is backed up, without its servers.
async fn parts(
    live: &Live,
    database: &Database,
    cluster: &Cluster,
    clock: &SharedClock,
    registry: &Registry,
) -> anyhow::Result<Backup> {
    let config = &live.load();
    let objects = Arc::new(objects::open(&config.blobs, registry).await?);
    let Parts { blobs, directory, mailstore, incarnation, .. } =
        Parts::over(objects, live, database, cluster, clock, registry).await?;
    let options = options(config, incarnation);
    Ok(Backup { database: database.clone(), blobs, mailstore, directory, clock: Arc::clone(clock), options })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ekitei_kv::Transaction;
    use ekitei_kv::keys::{key, subspace::BACKUP};

    use super::*;
    use crate::cli::service::Service;

    #[tokio::test]
    async fn a_service_does_not_begin_on_a_store_that_is_half_restored() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "blobs: {{ path: '{0}/bodies' }}\nstore: {{ kind: embedded, path: '{0}/store' }}",
            folder.path().display()
        );
        let config = Config::parse(&text, &|_| None).unwrap();
        let database = Database::in_memory();
        let begun = |tx: Transaction| async move {
            tx.set(&key(&(BACKUP, 6u32)), b"20261122-143305-0badcafe");
            Ok::<_, ekitei_kv::Error>(())
        };
        database.transact(begun).await.unwrap();
        assert_eq!(unfinished(&database).await.unwrap().as_deref(), Some("20261122-143305-0badcafe"));
        let refused = Service::build_over(config, database).await.err().map(|error| error.to_string());
        let refused = refused.unwrap_or_default();
        assert!(refused.contains("restore 20261122-143305-0badcafe --all --offline"), "{refused}");
    }

    #[test]
    fn the_exit_code_says_whose_fault_it_is() {
        use ekitei_backup::Error;
        let code = |error: Error| failed(error.into()).code;
        assert_eq!(code(Error::NoRepository), Code::NotFound);
        assert_eq!(code(Error::WrongKey), Code::Usage);
        assert_eq!(code(Error::Store(ekitei_kv::Error::CommitUnknown)), Code::Unreachable);
        assert_eq!(code(Error::Damaged("a pack".to_owned())), Code::Failure);
        let wrapped = anyhow::Error::from(Error::NoRepository).context("backup");
        assert_eq!(failed(wrapped).code, Code::NotFound);
    }
}
