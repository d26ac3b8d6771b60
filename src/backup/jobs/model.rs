//! Jobs, as stored.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::restore::{Request, Restoration, Scope};
use crate::{Depth, Figures, Pruned, Report, Retention, SnapshotInfo};

/// Lines of a list that a row keeps, and octets of each: a row has a limit.
const LINES: usize = 100;
const LINE: usize = 300;
/// Octets of what it failed with.
const ERROR: usize = 4000;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// A snapshot.
    Create {
        /// By the clock, and not by somebody.
        scheduled: bool,
    },
    /// Prove that snapshots can be restored.
    Verify {
        /// How.
        depth: Depth,
    },
    /// Bring something back.
    Restore(Request),
    /// Remove what is not kept.
    Prune {
        /// What is.
        retention: Retention,
        /// Only say what would be removed.
        dry_run: bool,
    },
}

impl Order {
    /// A word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Verify { .. } => "verify",
            Self::Restore(_) => "restore",
            Self::Prune { .. } => "prune",
        }
    }

    /// What somebody should know when the process that did it ended.
    pub(super) fn after_death(&self) -> &'static str {
        match self {
            Self::Restore(_) => {
                "the process that ran it ended; order the same restore again, which goes on: until it is done, mail for accounts that are being restored is put off"
            }
            _ => "the process that ran it ended; what it wrote is used by the next run",
        }
    }

    /// Refuses what a running service cannot do.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Restore(Request { scope: Scope::All, dry_run: false, .. }) => Err(Error::Invalid(
                "everything is restored into an empty store that nobody uses: stop the service, and use `ekitei backup restore --all \
                 --offline --config FILE`"
                    .to_owned(),
            )),
            Self::Prune { retention, .. } if retention.is_empty() => {
                Err(Error::Invalid("say which snapshots to keep: nothing would be".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// How a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// For those before it.
    Waiting,
    /// Now.
    Running,
    /// Well.
    Done,
    /// Not.
    Failed,
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// The snapshot.
    Created(SnapshotInfo),
    /// What was found.
    Verified(Report),
    /// What was restored.
    Restored(Restoration),
    /// What was removed.
    Pruned(Pruned),
}

/// A job. Times are seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number; they ascend.
    pub id: u64,
    /// What is to be done.
    pub order: Order,
    /// How it is.
    pub state: State,
    /// When it was ordered.
    pub ordered: u64,
    /// When it began.
    pub started: Option<u64>,
    /// When it ended.
    pub ended: Option<u64>,
    /// The host that does it.
    pub host: String,
    /// How far it is.
    pub figures: Figures,
    /// What came of it.
    pub done: Option<Done>,
    /// Why it failed.
    pub error: Option<String>,
}

impl Job {
    pub(super) fn new(id: u64, order: Order, ordered: u64) -> Self {
        Self {
            id,
            order,
            state: State::Waiting,
            ordered,
            started: None,
            ended: None,
            host: String::new(),
            figures: Figures::default(),
            done: None,
            error: None,
        }
    }

    /// A job that is done here and now, and in no list.
    pub fn begun(order: Order, now: Duration) -> Self {
        let mut job = Self::new(0, order, now.as_secs());
        job.start(now, "");
        job
    }

    pub(super) fn start(&mut self, now: Duration, host: &str) {
        self.state = State::Running;
        self.started = Some(now.as_secs());
        host.clone_into(&mut self.host);
    }

    /// It ended well.
    pub fn finish(&mut self, now: Duration, done: Done) {
        self.state = State::Done;
        self.ended = Some(now.as_secs());
        self.done = Some(done);
    }

    pub(super) fn fail(&mut self, now: Duration, error: &str) {
        self.state = State::Failed;
        self.ended = Some(now.as_secs());
        self.error = Some(error.to_owned());
    }

    /// The job with lists that fit into a row.
    pub(super) fn bounded(&self) -> Self {
        let mut job = self.clone();
        match &mut job.done {
            Some(Done::Verified(report)) => bound(&mut report.problems),
            Some(Done::Restored(restored)) => bound(&mut restored.warnings),
            Some(Done::Pruned(pruned)) => {
                bound(&mut pruned.removed);
                bound(&mut pruned.kept);
            }
            Some(Done::Created(_)) | None => {}
        }
        if let Some(error) = &mut job.error {
            cut(error, ERROR);
        }
        job
    }
}

fn bound(lines: &mut Vec<String>) {
    let more = lines.len().saturating_sub(LINES);
    lines.truncate(LINES);
    lines.iter_mut().for_each(|line| cut(line, LINE));
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
}

fn cut(line: &mut String, most: usize) {
    if line.len() > most {
        let end = (0..=most).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
        line.truncate(end);
        line.push_str("...");
    }
}

/// What came of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has everything.
    Complete,
    /// It was made, without what cannot be read: no reason to make another at once, but one to look.
    Incomplete,
    /// There is none.
    Failed,
}

/// The latest snapshots that were made, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastRun {
    /// When the last one that succeeded was begun, and took so long: seconds.
    pub(super) success: Option<(u64, u64)>,
    /// When the last one ended, if that failed or is not complete.
    pub(super) failure: Option<u64>,
}

impl LastRun {
    pub(super) fn note(&mut self, began: u64, ended: u64, outcome: Outcome) {
        if outcome != Outcome::Failed {
            self.success = Some((began, ended.saturating_sub(began)));
        }
        self.failure = (outcome != Outcome::Complete).then_some(ended);
    }
}

/// The latest verification that came to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastVerification {
    /// When it ended, in seconds since the epoch.
    pub(super) ended: u64,
    /// Problems that it found.
    pub(super) problems: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_room_for_what_came_of_a_job() {
        let mut job = Job::new(1, Order::Verify { depth: Depth::Full }, 0);
        let problems = (0..5000).map(|n| format!("{n} {}", "é".repeat(1000))).collect();
        job.finish(Duration::ZERO, Done::Verified(Report { problems, ..Report::default() }));
        let bounded = job.bounded();
        assert!(crate::document::encode(&bounded).len() < 50_000);
        let Some(Done::Verified(report)) = bounded.done else { panic!("another outcome") };
        assert_eq!(report.problems.last().map(String::as_str), Some("and 4900 more"));
    }
}
