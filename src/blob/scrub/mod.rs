//! The scrubber: reads everything again, in steps, and tells what is damaged, missing or left over.
//!
//! One process works, under a lease. Where it is, is a row that is written under that lease, so that another goes on there. It repairs what follows
//! from other rows (the hot index, counters); it never deletes or rewrites a body or an object: what it is in doubt about, it tells. Objects that were
//! given up, and came all the same, it hands over to the collector.

mod bodies;
mod index;
mod keys;
mod objects;
mod refusal;
mod segments;
mod state;

use std::time::Duration;

use ekitei_kv::lease::Lease;

use keys::Keys;
use refusal::{is_refusal, refusal_row};
pub use state::{Finding, FindingKind, ScrubPhase, ScrubReport, ScrubTally};
pub(crate) use state::{FindingRow, ScrubState};

use crate::{Blobs, Error, ObjectError, Result, rows};

/// The pause of a scrubber that cannot go on for now.
const PAUSE: Duration = Duration::from_secs(60);

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scrubbed {
    /// Nothing is to be done for this time.
    Idle(Duration),
    /// So many octets were read; there is more.
    Step {
        /// Octets of bodies.
        octets: u64,
    },
    /// The whole is done; this was found.
    Finished(ScrubTally),
}

/// The scrubber of one process. Its steps are called by who has the lease.
#[derive(Clone)]
pub struct Scrubber {
    blobs: Blobs,
    interval: Duration,
}

/// What a step found, to be written with the new state.
#[derive(Default)]
struct Step {
    tally: ScrubTally,
    findings: Vec<Finding>,
    keys: Keys,
    /// Where the next step begins; `None` when the phase is over.
    next: Option<Vec<u8>>,
}

impl Step {
    fn find(&mut self, kind: FindingKind, name: impl std::fmt::Display, what: impl Into<String>) {
        let finding = Finding { kind, name: name.to_string(), what: what.into() };
        if self.findings.iter().any(|known| known.kind == kind && known.name == finding.name) {
            return;
        }
        tracing::error!(
            kind = kind.name(),
            name = finding.name,
            what = finding.what,
            "found by the scrubber"
        );
        self.tally.findings += 1;
        self.findings.push(finding);
    }
}

impl Scrubber {
    /// The group of leases that names the work.
    pub const LEASES: &'static str = "scrubber";
    /// The only lease of the group.
    pub const LEASE: &'static str = "all";

    /// A scrubber that begins again when this time has gone by since it last began.
    pub fn new(blobs: Blobs, interval: Duration) -> Self {
        Self { blobs, interval }
    }

    /// One step, bounded in time and memory: about a segment.
    ///
    /// # Errors
    /// Failures of the stores, [`ekitei_kv::Error::Fenced`]; then the step is done again.
    pub async fn step(&self, lease: &Lease) -> Result<Scrubbed> {
        let mut state = self.blobs.scrub_state().await?;
        let now = self.blobs.inner.clock.now();
        if state.phase == ScrubPhase::Idle {
            let waited = now.saturating_sub(state.began());
            let requested = self.blobs.is_scrub_requested().await?;
            if state.run > 0 && waited < self.interval && !requested {
                return Ok(Scrubbed::Idle(self.interval - waited));
            }
            state.begin(now);
        }
        if self.blobs.inner.objects.is_away() {
            return Ok(Scrubbed::Idle(PAUSE));
        }
        let step = match state.phase {
            ScrubPhase::Idle => Ok(Step::default()),
            ScrubPhase::Segments => self.segment(lease, &state.cursor).await,
            ScrubPhase::Bodies => self.bodies(lease, &state.cursor).await,
            ScrubPhase::Index => self.index(lease, &state.cursor).await,
            ScrubPhase::Objects => self.objects(lease, &state.cursor).await,
        };
        let step = match step {
            Err(Error::Objects(error)) if is_refusal(error.kind()) => {
                self.tell_refusal(lease, &state, &error, now).await?;
                return Ok(Scrubbed::Idle(PAUSE));
            }
            step => step?,
        };
        state.tally += step.tally;
        match step.next {
            Some(cursor) => state.cursor = cursor,
            None => state.next_phase(now),
        }
        self.write(lease, &state, &step.findings, now).await?;
        if state.phase == ScrubPhase::Idle {
            return Ok(Scrubbed::Finished(state.tally));
        }
        Ok(Scrubbed::Step { octets: step.tally.octets })
    }

    /// Tells of what a store that is there does not give.
    ///
    /// # Errors
    /// One of the store if that is away, or refuses all: then the step is done again.
    async fn unreadable(
        &self,
        step: &mut Step,
        name: impl std::fmt::Display,
        error: ObjectError,
    ) -> Result<()> {
        // Requests may be given up before it is sure that the store is away.
        if self.blobs.inner.objects.is_away() || self.is_refused().await? {
            return Err(error.into());
        }
        step.find(FindingKind::Damaged, name, format!("it cannot be read: {error}"));
        Ok(())
    }

    /// Writes how far it is and what it found; at the end, forgets what was found before and is not there any more.
    async fn write(
        &self,
        lease: &Lease,
        state: &ScrubState,
        findings: &[Finding],
        now: Duration,
    ) -> Result<()> {
        let obsolete = if state.phase == ScrubPhase::Idle {
            self.blobs.findings_before(state.run).await?
        } else {
            Vec::new()
        };
        let obsolete = &obsolete;
        self.blobs
            .inner
            .database
            .transact(|transaction| async move {
                lease.check(&transaction).await?;
                transaction.set(&rows::scrub_state(), &state.encode());
                transaction.clear(&rows::scrub_request());
                transaction.clear(&refusal_row());
                for finding in findings {
                    let row = FindingRow::new(state.run, now, finding);
                    transaction.set(&rows::finding(finding.kind, &finding.name), &row.encode());
                }
                obsolete.iter().for_each(|key| transaction.clear(key));
                Ok::<_, Error>(())
            })
            .await
    }
}
