//! What there is of everything, for operators and metrics.

use std::time::Duration;

use ekitei_kv::RangeOptions;

use crate::hot::Figures;
use crate::owner::Group;
use crate::{Blobs, Error, Result, ScrubReport, rows};

/// Rows of a backlog that are counted; there may be more.
const COUNTED: usize = 10_000;

/// How the body store is.
#[derive(Clone, Debug)]
pub struct BlobStatus {
    /// Whether hot bodies are packed: it is on, and all processes can read segments.
    pub packing: bool,
    /// Whether the object store does not answer this process.
    pub away: bool,
    /// Octets of hot bodies above which new ones become objects.
    pub hot_limit: u64,
    /// What there is in each group of owners.
    pub groups: Vec<GroupStatus>,
    /// What waits for the collector and compaction.
    pub backlog: Backlog,
    /// How scrubbing goes.
    pub scrub: ScrubReport,
}

/// What there is of a group.
#[derive(Clone, Copy, Debug)]
pub struct GroupStatus {
    /// Which.
    pub group: Group,
    /// How much.
    pub figures: Figures,
    /// The age of the oldest hot body.
    pub oldest: Option<Duration>,
}

/// Rows that wait to be dealt with; each number is at most 10,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Bodies that lost a reference.
    pub bodies: u64,
    /// Objects that are being written, or wait to be deleted.
    pub objects: u64,
    /// Segments that are being written, or wait to be deleted.
    pub segments: u64,
    /// Segments that compaction is to look at.
    pub hints: u64,
}

impl BlobStatus {
    /// The figures of all groups together.
    pub fn figures(&self) -> Figures {
        let mut sum = Figures::default();
        self.groups.iter().for_each(|group| sum += group.figures);
        sum
    }

    /// The age of the oldest hot body.
    pub fn oldest(&self) -> Option<Duration> {
        self.groups.iter().filter_map(|group| group.oldest).max()
    }
}

impl Blobs {
    /// How the body store is: a few dozen reads.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub async fn status(&self) -> Result<BlobStatus> {
        let now = self.inner.clock.now();
        let mut groups = Vec::new();
        for (group, figures) in self.figures().await? {
            let oldest = self.oldest_hot(group).await?;
            let oldest = oldest.map(|hot| now.saturating_sub(hot.body.time()));
            groups.push(GroupStatus { group, figures, oldest });
        }
        let packing = &self.inner.settings.packing;
        Ok(BlobStatus {
            packing: packing.is_active(),
            away: self.inner.objects.is_away(),
            hot_limit: packing.hot_limit,
            groups,
            backlog: self.backlog().await?,
            scrub: self.scrub_report().await?,
        })
    }

    async fn backlog(&self) -> Result<Backlog> {
        let options = RangeOptions { limit: COUNTED, snapshot: true, ..RangeOptions::default() };
        let count = async |range: std::ops::Range<Vec<u8>>| {
            let range = &range;
            let read = self
                .inner
                .database
                .read(|transaction| async move { transaction.get_range(range.clone(), options).await });
            Ok::<_, Error>(read.await?.len() as u64)
        };
        Ok(Backlog {
            bodies: count(rows::all_unreferenced()).await?,
            objects: count(rows::all_intents()).await?,
            segments: count(rows::all_segment_intents()).await?,
            hints: count(rows::all_groups_hints()).await?,
        })
    }
}
