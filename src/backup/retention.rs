//! Which snapshots are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::snapshot::{SnapshotInfo, civil};

/// How many snapshots are kept of each store, of each kind; one may count for several kinds. What nothing keeps is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// The latest ones.
    pub last: u32,
    /// The latest one of each of so many hours that have one; likewise the others. Hours and days are those of UTC.
    pub hourly: u32,
    /// Days.
    pub daily: u32,
    /// Weeks, which begin on Monday.
    pub weekly: u32,
    /// Months.
    pub monthly: u32,
    /// Years.
    pub yearly: u32,
}

/// The number of the period that a moment, in seconds since the epoch, is in.
type Period = fn(u64) -> u64;

impl Retention {
    /// Whether it keeps nothing, which nobody means.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The ids of the snapshots that it keeps. Those of different stores in one repository do not count for each other.
    pub fn keep(&self, snapshots: &[SnapshotInfo]) -> BTreeSet<String> {
        let mut stores: BTreeMap<[u8; 16], Vec<&SnapshotInfo>> = BTreeMap::new();
        for snapshot in snapshots {
            stores.entry(snapshot.source).or_default().push(snapshot);
        }
        stores.into_values().flat_map(|snapshots| self.keep_of_one(snapshots)).collect()
    }

    fn keep_of_one(&self, mut latest: Vec<&SnapshotInfo>) -> BTreeSet<String> {
        latest.sort_by(|a, b| (b.began, &b.id).cmp(&(a.began, &a.id)));
        let mut kept: BTreeSet<String> =
            latest.iter().take(self.last as usize).map(|snapshot| snapshot.id.clone()).collect();
        let periods: [(u32, Period); 5] = [
            (self.hourly, |seconds| seconds / 3600),
            (self.daily, |seconds| seconds / 86_400),
            // 1970-01-01 was a Thursday.
            (self.weekly, |seconds| (seconds / 86_400 + 3) / 7),
            (self.monthly, |seconds| {
                let (year, month, _) = civil(seconds / 86_400);
                year * 12 + month
            }),
            (self.yearly, |seconds| civil(seconds / 86_400).0),
        ];
        for (count, period) in periods {
            let mut seen = BTreeSet::new();
            for snapshot in &latest {
                if seen.len() >= count as usize {
                    break;
                }
                if seen.insert(period(seconds(snapshot.began))) {
                    kept.insert(snapshot.id.clone());
                }
            }
        }
        kept
    }
}

fn seconds(time: Duration) -> u64 {
    time.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Totals;

    fn at(hours: u64) -> SnapshotInfo {
        SnapshotInfo {
            id: format!("{hours:06}"),
            source: [0; 16],
            began: Duration::from_secs(hours * 3600),
            ended: Duration::ZERO,
            host: String::new(),
            release: String::new(),
            versions: (0, 0),
            directory_consistent: true,
            totals: Totals::default(),
        }
    }

    /// Twice a day for 60 days, from 1970-01-01 on.
    fn twice_daily() -> Vec<SnapshotInfo> {
        (0..120).map(|n| at(n * 12)).collect()
    }

    fn kept(retention: Retention) -> Vec<u64> {
        retention.keep(&twice_daily()).iter().filter_map(|id| id.parse().ok()).collect()
    }

    #[test]
    fn of_each_period_the_latest_snapshot_is_kept() {
        assert_eq!(kept(Retention { last: 3, ..Retention::default() }), [1404, 1416, 1428]);
        assert_eq!(kept(Retention { daily: 2, ..Retention::default() }), [59 * 24 - 12, 60 * 24 - 12]);
        // The last day is a Sunday.
        assert_eq!(kept(Retention { weekly: 2, ..Retention::default() }), [53 * 24 - 12, 60 * 24 - 12]);
        assert_eq!(
            kept(Retention { monthly: 5, ..Retention::default() }),
            [31 * 24 - 12, 59 * 24 - 12, 60 * 24 - 12]
        );
        assert_eq!(kept(Retention { yearly: 5, ..Retention::default() }), [60 * 24 - 12]);
    }

    #[test]
    fn a_snapshot_may_count_for_several_periods() {
        let retention = Retention { last: 1, daily: 1, monthly: 1, ..Retention::default() };
        assert_eq!(kept(retention), [60 * 24 - 12]);
        assert!(Retention::default().is_empty() && kept(Retention::default()).is_empty());
    }
}
