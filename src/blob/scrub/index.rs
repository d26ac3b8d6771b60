//! The hot index: its counters are those of its rows.

use ekitei_kv::lease::Lease;
use ekitei_kv::{RangeOptions, decode_counter};

use super::{Scrubber, Step};
use crate::hot::{self, Count, signed};
use crate::owner::Group;
use crate::{Error, Result, rows};

/// Rows of an index that are counted; a longer one is counted when it is shorter.
const COUNTED: usize = 50_000;

impl Scrubber {
    /// Counts the hot bodies of the group at the cursor.
    pub(super) async fn index(&self, lease: &Lease, cursor: &[u8]) -> Result<Step> {
        let number = cursor.first().copied().unwrap_or(0);
        let Some(group) = Group::from_number(number.into()) else { return Ok(Step::default()) };
        let mut step = Step { next: Some(vec![number + 1]), ..Step::default() };
        step.tally.repaired += self.recount_hot(lease, group).await?;
        Ok(step)
    }

    /// Brings the counters of a group in line with its index; how many were wrong.
    ///
    /// Rows and counters are of one snapshot, and the difference is added: so what others do meanwhile is not undone.
    async fn recount_hot(&self, lease: &Lease, group: Group) -> Result<u64> {
        let options = RangeOptions { limit: COUNTED, snapshot: true, ..RangeOptions::default() };
        self.blobs
            .inner
            .database
            .transact(|transaction| async move {
                lease.check(&transaction).await?;
                let index = transaction.get_range(rows::all_hot(group), options).await?;
                if index.len() == COUNTED {
                    return Ok::<_, Error>(0);
                }
                let octets = index.iter().filter_map(|row| hot::decode(&row.value)).map(|entry| entry.octets);
                let sums = [
                    (Count::HotBodies, signed(index.len() as u64)),
                    (Count::HotOctets, signed(octets.sum::<u64>())),
                ];
                let mut repaired = 0;
                for (count, sum) in sums {
                    let counted = transaction.get_snapshot(&rows::count(group, count)).await?;
                    let counted = decode_counter(counted.as_deref());
                    if counted != sum {
                        tracing::warn!(%group, ?count, counted, sum, "hot bodies were miscounted");
                        hot::count(&transaction, group, count, sum - counted);
                        repaired += 1;
                    }
                }
                Ok(repaired)
            })
            .await
    }
}
