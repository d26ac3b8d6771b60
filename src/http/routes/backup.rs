//! Backups: snapshots and jobs.

use axum::extract::State;
use axum::http::StatusCode;
use ekitei_api::{
    BackupAction, BackupJob, BackupJobState, BackupProgress, BackupPruned, BackupQueue, BackupReport,
    BackupRestore, BackupRestored, BackupSnapshot, Page, Problem, ProblemCode,
};
use ekitei_backup::jobs::{Done, Job, Order, State as JobState};
use ekitei_backup::restore::{QueueMode, Request, Restoration, Scope};
use ekitei_backup::{Depth, Error, Pruned, Report, Retention, SnapshotInfo};

use crate::extract::{Json, Path};
use crate::problem::{Refused, Result};
use crate::state::AppState;

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::NotFound { .. } | Error::NoRepository => ProblemCode::NotFound,
            Error::Invalid(_) | Error::Key(_) | Error::WrongKey => ProblemCode::Invalid,
            Error::Locked { .. } => ProblemCode::InUse,
            error if error.is_temporary() => ProblemCode::Unavailable,
            error => return Self::new(ProblemCode::Internal, error),
        };
        Self::new(code, error)
    }
}

fn snapshot(info: SnapshotInfo) -> BackupSnapshot {
    let totals = info.totals;
    BackupSnapshot {
        id: info.id,
        began: info.began.as_secs(),
        ended: info.ended.as_secs(),
        host: info.host,
        release: info.release,
        first_version: info.versions.0,
        last_version: info.versions.1,
        directory_consistent: info.directory_consistent,
        domains: totals.domains,
        accounts: totals.accounts,
        changed_accounts: totals.changed_accounts,
        mailboxes: totals.mailboxes,
        messages: totals.messages,
        bytes: totals.bytes,
        queued: totals.queued,
        new_bodies: totals.new_bodies,
        new_body_bytes: totals.new_body_bytes,
        written: totals.written,
    }
}

fn report(report: Report) -> BackupReport {
    let Report {
        snapshots,
        accounts,
        messages,
        bodies,
        packs,
        pack_bytes,
        chunks,
        checked,
        unneeded,
        problems,
    } = report;
    BackupReport {
        snapshots,
        accounts,
        messages,
        bodies,
        packs,
        pack_bytes,
        chunks,
        checked,
        unneeded,
        problems,
    }
}

fn restored(restored: Restoration) -> BackupRestored {
    let Restoration { snapshot, domains, accounts, names, keys, messages, present, bytes, queued, warnings } =
        restored;
    BackupRestored { snapshot, domains, accounts, names, keys, messages, present, bytes, queued, warnings }
}

fn pruned(pruned: Pruned) -> BackupPruned {
    let Pruned { removed, kept, deleted_packs, rewritten_packs, freed } = pruned;
    BackupPruned { removed, kept, deleted_packs, rewritten_packs, freed }
}

/// A job as the API has it; the command line shows its own runs so, too.
pub fn backup_job(job: Job) -> BackupJob {
    let mut shown = BackupJob {
        id: job.id,
        action: job.order.name().to_owned(),
        state: match job.state {
            JobState::Waiting => BackupJobState::Waiting,
            JobState::Running => BackupJobState::Running,
            JobState::Done => BackupJobState::Done,
            JobState::Failed => BackupJobState::Failed,
        },
        ordered: job.ordered,
        started: job.started,
        ended: job.ended,
        host: job.host,
        progress: BackupProgress {
            step: job.figures.step,
            accounts: job.figures.accounts,
            all_accounts: job.figures.all_accounts,
            messages: job.figures.messages,
            bytes: job.figures.bytes,
            read: job.figures.read,
            written: job.figures.written,
        },
        error: job.error,
        snapshot: None,
        report: None,
        restored: None,
        pruned: None,
    };
    match job.done {
        Some(Done::Created(info)) => shown.snapshot = Some(snapshot(info)),
        Some(Done::Verified(found)) => shown.report = Some(report(found)),
        Some(Done::Restored(done)) => shown.restored = Some(restored(done)),
        Some(Done::Pruned(done)) => shown.pruned = Some(pruned(done)),
        None => {}
    }
    shown
}

/// Snapshots as the API has them.
pub fn backup_snapshots(found: Vec<SnapshotInfo>) -> Vec<BackupSnapshot> {
    found.into_iter().map(snapshot).collect()
}

/// What a request asks for; the error says what contradicts itself.
///
/// # Errors
/// For people.
pub fn backup_order(action: BackupAction) -> std::result::Result<Order, String> {
    Ok(match action {
        BackupAction::Create {} => Order::Create { scheduled: false },
        BackupAction::Verify { full } => {
            Order::Verify { depth: if full { Depth::Full } else { Depth::Quick } }
        }
        BackupAction::Restore(restore) => Order::Restore(request(restore)?),
        BackupAction::Prune(keep) => Order::Prune {
            retention: Retention {
                last: keep.keep_last,
                hourly: keep.keep_hourly,
                daily: keep.keep_daily,
                weekly: keep.keep_weekly,
                monthly: keep.keep_monthly,
                yearly: keep.keep_yearly,
            },
            dry_run: keep.dry_run,
        },
    })
}

fn request(restore: BackupRestore) -> std::result::Result<Request, String> {
    let BackupRestore { snapshot, domain, account, mailbox, into, prefix, dry_run, queue } = restore;
    let scope = match (domain, account) {
        (Some(_), Some(_)) => return Err("name a domain or an account, not both".to_owned()),
        (None, Some(address)) => Scope::Account { address, mailbox, into, prefix },
        _ if mailbox.is_some() || into.is_some() || prefix.is_some() => {
            return Err("mailbox, into and prefix go with an account".to_owned());
        }
        (Some(domain), None) => Scope::Domain(domain),
        (None, None) => Scope::All,
    };
    let queue = match queue {
        BackupQueue::Hold => QueueMode::Hold,
        BackupQueue::Send => QueueMode::Send,
        BackupQueue::Skip => QueueMode::Skip,
    };
    Ok(Request { snapshot: snapshot.unwrap_or_else(|| "latest".to_owned()), scope, dry_run, queue })
}

/// The snapshots in the order of their time.
#[utoipa::path(get, path = "/api/v1/backups", tag = "backups", responses(
    (status = 200, description = "All of them.", body = Page<BackupSnapshot>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(State(state): State<AppState>) -> Result<axum::Json<Page<BackupSnapshot>>> {
    let items = backup_snapshots(state.parts.backups.snapshots().await?);
    Ok(axum::Json(Page { items, next: None }))
}

/// The jobs that are remembered, the latest first.
#[utoipa::path(get, path = "/api/v1/backup-jobs", tag = "backups", responses(
    (status = 200, description = "All of them.", body = Page<BackupJob>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn jobs(State(state): State<AppState>) -> Result<axum::Json<Page<BackupJob>>> {
    let items = state.parts.backups.jobs().await?.into_iter().map(backup_job).collect();
    Ok(axum::Json(Page { items, next: None }))
}

/// Order a job. It is done by one process of the cluster, after those before it.
#[utoipa::path(post, path = "/api/v1/backup-jobs", tag = "backups", request_body = BackupAction, responses(
    (status = 202, description = "The job, which waits.", body = BackupJob),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn order(
    State(state): State<AppState>,
    Json(action): Json<BackupAction>,
) -> Result<(StatusCode, axum::Json<BackupJob>)> {
    let order = backup_order(action).map_err(Refused::invalid)?;
    let job = state.parts.backups.order(order).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(backup_job(job))))
}

/// A job.
#[utoipa::path(get, path = "/api/v1/backup-jobs/{id}", tag = "backups", params(("id" = u64, Path)), responses(
    (status = 200, description = "The job.", body = BackupJob),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn job(State(state): State<AppState>, Path(id): Path<u64>) -> Result<axum::Json<BackupJob>> {
    Ok(axum::Json(backup_job(state.parts.backups.job(id).await?)))
}
