//! `ekitei backup`

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use ekitei_api::{
    BackupAction, BackupJob, BackupJobState, BackupPrune, BackupPruned, BackupQueue, BackupReport,
    BackupRestore, BackupRestored, BackupSnapshot, Client,
};
use tokio::time::Instant;

use crate::cli::connect::{DEMO_CONFIG, ServerOptions};
use crate::cli::exit::{Code, Failure, Outcome};
use crate::cli::output::{Columns, Format, json, print, size, time, yes_no};
use crate::cli::service::backup as offline;

/// How often a running job is asked how far it is.
const POLL: Duration = Duration::from_millis(500);
/// How long a service that does not answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to do with backups.
#[derive(Subcommand)]
pub enum Verb {
    /// Make a backup of everything: what did not change since the last one is not read again.
    Create {
        #[command(flatten)]
        way: Way,
    },
    /// List the backups.
    List {
        #[command(flatten)]
        way: Way,
    },
    /// List what was ordered, what came of it, and what runs now.
    Jobs,
    /// Prove that the backups can be restored.
    Verify {
        /// Read everything, and compare it with its checksums, instead of looking whether it is there.
        #[arg(long)]
        full: bool,
        #[command(flatten)]
        way: Way,
    },
    /// Bring something back. What is there stays as it is; what is missing is added, once.
    Restore {
        #[command(flatten)]
        what: What,
        /// Only say what would be restored.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        way: Way,
    },
    /// Remove the backups that are not to be kept. One may count for several kinds.
    Prune {
        #[command(flatten)]
        keep: Keep,
        /// Only say what would be removed.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        way: Way,
    },
}

/// Who does it.
#[derive(Args)]
pub struct Way {
    /// Do it here, while no service uses the store, instead of asking a running one.
    #[arg(long)]
    offline: bool,
    /// The configuration of the service, for --offline.
    #[arg(long, value_name = "FILE", env = "EKITEI_CONFIG", default_value = DEMO_CONFIG)]
    config: PathBuf,
    /// Do not wait for the end.
    #[arg(long, conflicts_with = "offline")]
    no_wait: bool,
}

/// What is restored, and where to.
#[derive(Args)]
pub struct What {
    /// The backup: its id, the beginning of that, or `latest`.
    #[arg(default_value = "latest")]
    snapshot: String,
    /// The latest backup that was begun before this time, in UTC, as ids have it: 20261122 or 20261122-1433.
    #[arg(long, value_name = "TIME", conflicts_with = "snapshot")]
    before: Option<String>,
    /// Everything, into an empty store, with --offline.
    #[arg(long, required_unless_present_any = ["domain", "account"], conflicts_with_all = ["domain", "account"])]
    all: bool,
    /// A domain with its accounts, aliases, groups and signing keys.
    #[arg(long, conflicts_with = "account")]
    domain: Option<String>,
    /// The mail of an account, and the account if it is gone.
    #[arg(long, value_name = "ADDRESS")]
    account: Option<String>,
    /// Of the account only this mailbox, and those below it.
    #[arg(long, value_name = "NAME", requires = "account", conflicts_with_all = ["domain", "all"])]
    mailbox: Option<String>,
    /// Into this account instead.
    #[arg(long, value_name = "ADDRESS", requires = "account", conflicts_with_all = ["domain", "all"])]
    into: Option<String>,
    /// Put the mailboxes below this one, such as Restored.
    #[arg(long, value_name = "NAME", requires = "account", conflicts_with_all = ["domain", "all"])]
    prefix: Option<String>,
    /// With --all: what becomes of mail that waited to be sent.
    #[arg(long, value_enum, default_value_t, conflicts_with_all = ["domain", "account"])]
    queue: Queue,
}

/// What becomes of mail that waited to be sent.
#[derive(Clone, Copy, Default, ValueEnum)]
pub enum Queue {
    /// It is held in the queue, since some of it was sent meanwhile; `ekitei queue release` sends it.
    #[default]
    Hold,
    /// It is sent.
    Send,
    /// It is left out.
    Skip,
}

/// How many backups are kept.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub struct Keep {
    /// The latest ones.
    #[arg(long, value_name = "N")]
    keep_last: Option<u32>,
    /// The latest of each of so many hours that have one.
    #[arg(long, value_name = "N")]
    keep_hourly: Option<u32>,
    /// Of days.
    #[arg(long, value_name = "N")]
    keep_daily: Option<u32>,
    /// Of weeks.
    #[arg(long, value_name = "N")]
    keep_weekly: Option<u32>,
    /// Of months.
    #[arg(long, value_name = "N")]
    keep_monthly: Option<u32>,
    /// Of years.
    #[arg(long, value_name = "N")]
    keep_yearly: Option<u32>,
}

impl Columns for BackupSnapshot {
    const HEAD: &'static [&'static str] =
        &["ID", "BEGAN", "TOOK", "ACCOUNTS", "CHANGED", "MESSAGES", "SIZE", "QUEUED", "NEW", "WRITTEN"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            time(self.began),
            format!("{}s", self.ended.saturating_sub(self.began)),
            self.accounts.to_string(),
            self.changed_accounts.to_string(),
            self.messages.to_string(),
            size(Some(self.bytes)),
            self.queued.to_string(),
            size(Some(self.new_body_bytes)),
            size(Some(self.written)),
        ]
    }
}

impl Columns for BackupJob {
    const HEAD: &'static [&'static str] = &["ID", "ACTION", "STATE", "ORDERED", "HOST", "WHAT"];

    fn cells(&self) -> Vec<String> {
        let state = match self.state {
            BackupJobState::Waiting => "waiting",
            BackupJobState::Running => "running",
            BackupJobState::Done => "done",
            BackupJobState::Failed => "failed",
        };
        let what = match (&self.error, &self.snapshot) {
            (Some(error), _) => error.clone(),
            (None, Some(snapshot)) => snapshot.id.clone(),
            (None, None) => self.progress.step.clone(),
        };
        vec![
            self.id.to_string(),
            self.action.clone(),
            state.to_owned(),
            time(self.ordered),
            self.host.clone(),
            what,
        ]
    }
}

impl Columns for BackupReport {
    const HEAD: &'static [&'static str] = &[
        "SNAPSHOTS",
        "ACCOUNTS",
        "MESSAGES",
        "BODIES",
        "PACKS",
        "SIZE",
        "CHUNKS",
        "CHECKED",
        "UNNEEDED",
        "PROBLEMS",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.snapshots.to_string(),
            self.accounts.to_string(),
            self.messages.to_string(),
            self.bodies.to_string(),
            self.packs.to_string(),
            size(Some(self.pack_bytes)),
            self.chunks.to_string(),
            self.checked.to_string(),
            self.unneeded.to_string(),
            self.problems.len().to_string(),
        ]
    }
}

impl Columns for BackupRestored {
    const HEAD: &'static [&'static str] =
        &["SNAPSHOT", "DOMAINS", "ACCOUNTS", "NAMES", "KEYS", "MESSAGES", "PRESENT", "SIZE", "QUEUED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.snapshot.clone(),
            self.domains.to_string(),
            self.accounts.to_string(),
            self.names.to_string(),
            self.keys.to_string(),
            self.messages.to_string(),
            self.present.to_string(),
            size(Some(self.bytes)),
            self.queued.to_string(),
        ]
    }
}

impl Columns for BackupPruned {
    const HEAD: &'static [&'static str] = &["REMOVED", "KEPT", "PACKS DELETED", "PACKS REWRITTEN", "FREED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.removed.len().to_string(),
            self.kept.len().to_string(),
            self.deleted_packs.to_string(),
            self.rewritten_packs.to_string(),
            size(Some(self.freed)),
        ]
    }
}

/// Does it.
pub async fn run(server: &ServerOptions, format: Format, verb: Verb) -> Outcome {
    let (action, way) = match verb {
        Verb::Jobs => return format.list(&server.connect()?.list_backup_jobs().await?.items),
        Verb::List { way } if way.offline => return format.list(&offline::list(&way.config).await?),
        Verb::List { .. } => return format.list(&server.connect()?.list_backups().await?.items),
        Verb::Create { way } => (BackupAction::Create {}, way),
        Verb::Verify { full, way } => (BackupAction::Verify { full }, way),
        Verb::Restore { what, dry_run, way } => (BackupAction::Restore(restore(what, dry_run)), way),
        Verb::Prune { keep, dry_run, way } => (BackupAction::Prune(prune(&keep, dry_run)), way),
    };
    let job = if way.offline {
        let mut told = Told::default();
        offline::run(&way.config, action, &mut |job| told.tell(job)).await?
    } else {
        let client = server.connect()?;
        let job = client.order_backup(&action).await?;
        if way.no_wait {
            return format.show(&job);
        }
        wait(&client, job).await?
    };
    show(format, &job)
}

fn restore(what: What, dry_run: bool) -> BackupRestore {
    let queue = match what.queue {
        Queue::Hold => BackupQueue::Hold,
        Queue::Send => BackupQueue::Send,
        Queue::Skip => BackupQueue::Skip,
    };
    let What { snapshot, before, domain, account, mailbox, into, prefix, .. } = what;
    let snapshot = before.map_or(snapshot, |time| format!("before:{time}"));
    BackupRestore { snapshot: Some(snapshot), domain, account, mailbox, into, prefix, dry_run, queue }
}

fn prune(keep: &Keep, dry_run: bool) -> BackupPrune {
    BackupPrune {
        keep_last: keep.keep_last.unwrap_or_default(),
        keep_hourly: keep.keep_hourly.unwrap_or_default(),
        keep_daily: keep.keep_daily.unwrap_or_default(),
        keep_weekly: keep.keep_weekly.unwrap_or_default(),
        keep_monthly: keep.keep_monthly.unwrap_or_default(),
        keep_yearly: keep.keep_yearly.unwrap_or_default(),
        dry_run,
    }
}

/// Says on standard error how far a job is, whenever it does something else, and now and then.
#[derive(Default)]
struct Told {
    step: String,
    lines: u64,
}

impl Told {
    fn tell(&mut self, job: &BackupJob) {
        /// Accounts between two lines.
        const EVERY: u64 = 1000;
        let progress = &job.progress;
        let lines = progress.accounts / EVERY;
        // A step for each account would be a line for each.
        let step = progress.step.split(' ').next().unwrap_or_default();
        if step.is_empty() || (step == self.step && lines == self.lines) {
            return;
        }
        (self.step, self.lines) = (step.to_owned(), lines);
        let accounts = match progress.all_accounts {
            0 => String::new(),
            all => format!(" ({} of {all} accounts, {} messages)", progress.accounts, progress.messages),
        };
        eprintln!("{}{accounts}", progress.step);
    }
}

/// Waits for the end of a job. It goes on when the process that is asked is replaced by another, as in an upgrade, so that is waited for.
async fn wait(client: &Client, mut job: BackupJob) -> Outcome<BackupJob> {
    let mut told = Told::default();
    let mut answered = Instant::now();
    while matches!(job.state, BackupJobState::Waiting | BackupJobState::Running) {
        tokio::time::sleep(POLL).await;
        match client.backup_job(job.id).await {
            Ok(now) => {
                (job, answered) = (now, Instant::now());
                told.tell(&job);
            }
            Err(error) => {
                let failure = Failure::from(error);
                if failure.code != Code::Unreachable || answered.elapsed() >= PATIENCE {
                    let message =
                        format!("{}; the job {} goes on: see `ekitei backup jobs`", failure.message, job.id);
                    return Err(Failure { message, ..failure });
                }
            }
        }
    }
    Ok(job)
}

fn show(format: Format, job: &BackupJob) -> Outcome {
    if let Some(error) = &job.error {
        return Err(Failure::other(error));
    }
    if format == Format::Json {
        json(job)?;
    } else if let Some(snapshot) = &job.snapshot {
        format.show(snapshot)?;
        if !snapshot.directory_consistent {
            eprintln!("directory consistent: {}", yes_no(false));
        }
    } else if let Some(report) = &job.report {
        format.show(report)?;
        print(&report.problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())?;
    } else if let Some(restored) = &job.restored {
        format.show(restored)?;
        restored.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    } else if let Some(pruned) = &job.pruned {
        format.show(pruned)?;
        print(&pruned.removed.iter().map(|id| format!("removed {id}\n")).collect::<String>())?;
    }
    match job.report.as_ref().map(|report| report.problems.len()) {
        Some(problems) if problems > 0 => Err(Failure::other(format!(
            "{problems} problems: some of the backups cannot be restored in whole"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn job(state: BackupJobState) -> BackupJob {
        BackupJob {
            id: 7,
            action: "create".to_owned(),
            state,
            ordered: 1,
            started: None,
            ended: None,
            host: String::new(),
            progress: ekitei_api::BackupProgress::default(),
            error: None,
            snapshot: None,
            report: None,
            restored: None,
            pruned: None,
        }
    }

    /// A service that is replaced: one connection breaks off, the next is answered.
    #[tokio::test]
    async fn a_job_is_waited_for_while_the_service_is_replaced() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            drop(listener.accept().await.unwrap());
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            let body = serde_json::to_string(&job(BackupJobState::Done)).unwrap();
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length:";
            stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
        });
        let client = Client::new(&format!("http://{address}"), None).unwrap();
        let done = wait(&client, job(BackupJobState::Running)).await.unwrap();
        assert_eq!((done.id, done.state), (7, BackupJobState::Done));
        serving.await.unwrap();
    }
}
