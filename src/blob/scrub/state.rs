//! What is kept of scrubbing: how far it is, what was counted, what was found.

use std::fmt;
use std::time::Duration;

use ekitei_kv::{KeyValue, RangeOptions, Transaction};
use foundationdb_tuple::unpack;
use serde::{Deserialize, Serialize};

use crate::{Blobs, Error, Result, rows};

const FORMAT: u8 = 1;
/// Findings that a report has.
const REPORTED: usize = 1_000;

/// What is being scrubbed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScrubPhase {
    /// Nothing: it waits for its time.
    #[default]
    Idle,
    /// Segments and what is in them.
    Segments,
    /// Bodies outside of segments, and the rows of all.
    Bodies,
    /// The index of hot bodies, and counters.
    Index,
    /// Objects that nothing refers to.
    Objects,
}

impl fmt::Display for ScrubPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Segments => "segments",
            Self::Bodies => "bodies",
            Self::Index => "index",
            Self::Objects => "objects",
        })
    }
}

/// What one run has counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubTally {
    /// Octets of bodies that were read.
    pub octets: u64,
    /// Segments that were read.
    pub segments: u64,
    /// Bodies that were looked at.
    pub bodies: u64,
    /// Objects that were listed.
    pub objects: u64,
    /// Rows of the hot index and counters that were put right.
    pub repaired: u64,
    /// What is damaged, missing or left over.
    pub findings: u64,
}

impl std::ops::AddAssign for ScrubTally {
    fn add_assign(&mut self, other: Self) {
        self.octets += other.octets;
        self.segments += other.segments;
        self.bodies += other.bodies;
        self.objects += other.objects;
        self.repaired += other.repaired;
        self.findings += other.findings;
    }
}

/// Kinds of what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// A body whose octets or rows are not what was written.
    Damaged,
    /// An object that is referred to and not there.
    Missing,
    /// An object that nothing refers to.
    Orphan,
    /// A body that nobody refers to, and the collector does not know of.
    Unreferenced,
    /// The object store refuses all: nothing can be checked.
    Refused,
}

impl FindingKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Damaged, Self::Missing, Self::Orphan, Self::Unreferenced, Self::Refused];

    /// A word for logs and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Missing => "missing",
            Self::Orphan => "orphan",
            Self::Unreferenced => "unreferenced",
            Self::Refused => "refused",
        }
    }

    /// Its number, in keys.
    pub(crate) fn number(self) -> u32 {
        self as u32
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub kind: FindingKind,
    /// The body's id or the object's name.
    pub name: String,
    /// What does not fit.
    pub what: String,
}

/// How scrubbing goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// What it is at.
    pub phase: ScrubPhase,
    /// When the current run, or the last one, began; `None` before the first.
    pub began: Option<Duration>,
    /// When the last one ended.
    pub ended: Option<Duration>,
    /// What was counted in the current run, or the last one.
    pub tally: ScrubTally,
    /// What was found in it and in the run before, at most a thousand.
    pub findings: Vec<Finding>,
}

/// Where the scrubber is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScrubState {
    /// Which run it is, from 1.
    pub(crate) run: u64,
    pub(crate) phase: ScrubPhase,
    /// Where the next step of the phase begins; empty for the beginning.
    pub(crate) cursor: Vec<u8>,
    /// Milliseconds since the epoch.
    began: u64,
    ended: Option<u64>,
    pub(crate) tally: ScrubTally,
}

impl ScrubState {
    pub(super) fn began(&self) -> Duration {
        Duration::from_millis(self.began)
    }

    pub(super) fn begin(&mut self, now: Duration) {
        self.run += 1;
        self.began = millis(now);
        self.tally = ScrubTally::default();
        self.enter(ScrubPhase::Segments);
    }

    pub(super) fn next_phase(&mut self, now: Duration) {
        let next = match self.phase {
            ScrubPhase::Segments => ScrubPhase::Bodies,
            ScrubPhase::Bodies => ScrubPhase::Index,
            ScrubPhase::Index => ScrubPhase::Objects,
            ScrubPhase::Objects | ScrubPhase::Idle => ScrubPhase::Idle,
        };
        if next == ScrubPhase::Idle {
            self.ended = Some(millis(now));
        }
        self.enter(next);
    }

    fn enter(&mut self, phase: ScrubPhase) {
        self.phase = phase;
        self.cursor.clear();
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // Serialising plain numbers and octets into memory cannot fail.
        postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()
    }

    /// What cannot be read is begun anew.
    fn decode(value: &[u8]) -> Option<Self> {
        let (format, rest) = value.split_first()?;
        (*format == FORMAT).then(|| postcard::from_bytes(rest).ok()).flatten()
    }
}

/// What is stored of a finding beside its kind and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FindingRow {
    run: u64,
    found: u64,
    what: String,
}

impl FindingRow {
    pub(super) fn new(run: u64, found: Duration, finding: &Finding) -> Self {
        Self { run, found: millis(found), what: finding.what.clone() }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // As above.
        postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let (format, rest) = value.split_first()?;
        (*format == FORMAT).then(|| postcard::from_bytes(rest).ok()).flatten()
    }
}

impl Blobs {
    /// How scrubbing goes, and what it found.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub async fn scrub_report(&self) -> Result<ScrubReport> {
        let state = self.scrub_state().await?;
        let options = RangeOptions { limit: REPORTED, snapshot: true, ..RangeOptions::default() };
        let read = self
            .inner
            .database
            .read(|transaction| async move { transaction.get_range(rows::all_findings(), options).await });
        let findings = read.await?.iter().filter_map(finding).collect();
        Ok(ScrubReport {
            phase: state.phase,
            began: (state.run > 0).then(|| state.began()),
            ended: state.ended.map(Duration::from_millis),
            tally: state.tally,
            findings,
        })
    }

    /// Lets the scrubber begin now, unless it is at work.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub async fn request_scrub(&self) -> Result<()> {
        let set = |transaction: Transaction| async move {
            transaction.set(&rows::scrub_request(), b"");
            Ok::<_, Error>(())
        };
        self.inner.database.transact(set).await
    }

    pub(super) async fn is_scrub_requested(&self) -> Result<bool> {
        let read = self
            .inner
            .database
            .read(|transaction| async move { transaction.get_snapshot(&rows::scrub_request()).await });
        Ok(read.await?.is_some())
    }

    pub(super) async fn scrub_state(&self) -> Result<ScrubState> {
        let read = self
            .inner
            .database
            .read(|transaction| async move { transaction.get_snapshot(&rows::scrub_state()).await });
        Ok(read.await?.as_deref().and_then(ScrubState::decode).unwrap_or_default())
    }

    /// The keys of what was found in earlier runs only.
    pub(super) async fn findings_before(&self, run: u64) -> Result<Vec<Vec<u8>>> {
        /// So many are forgotten at a time: the others with the next run.
        const FORGOTTEN: usize = 10_000;
        let mut keys = Vec::new();
        let page = |page: Vec<KeyValue>| {
            let old =
                page.iter().filter(|row| FindingRow::decode(&row.value).is_none_or(|row| row.run < run));
            keys.extend(old.map(|row| row.key.to_vec()));
            Ok::<_, Error>(())
        };
        self.inner.database.scan(rows::all_findings(), page).await?;
        keys.truncate(FORGOTTEN);
        Ok(keys)
    }
}

fn finding(row: &KeyValue) -> Option<Finding> {
    let (_, _, _, kind, name): (u32, u32, u32, u32, String) = unpack(&row.key).ok()?;
    let kind = FindingKind::ALL.into_iter().find(|known| known.number() == kind)?;
    Some(Finding { kind, name, what: FindingRow::decode(&row.value)?.what })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
