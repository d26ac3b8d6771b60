//! What reports of both kinds need: names, and counts added up.

use std::collections::HashMap;
use std::hash::Hash;

use sha2::{Digest as _, Sha256};

use super::Group;

/// A digest of some octets, each with its length.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize()[..16]);
    short
}

/// The id of the report that is made of a group: the same whoever makes it, and another when there is more in it.
pub(super) fn report_id(group: &Group) -> String {
    let digest = digest(group.batches.iter().map(|row| &row.key[..]));
    let short = digest.first_chunk().copied().map_or(0, u64::from_be_bytes);
    format!("{}-{}-{short:016x}", group.day, group.kind.name())
}

/// Counts by what is counted, the most frequent first; of those that are as frequent, in the order of `Debug`, so that a repetition is the same.
pub(super) fn added_up<T: Hash + Eq + std::fmt::Debug>(
    counted: impl IntoIterator<Item = (T, u64)>,
    limit: usize,
) -> (Vec<(T, u64)>, u64) {
    let mut sums: HashMap<T, u64> = HashMap::new();
    let mut left_out = 0;
    for (item, count) in counted {
        if let Some(sum) = sums.get_mut(&item) {
            *sum += count;
        } else if sums.len() < limit {
            sums.insert(item, count);
        } else {
            left_out += count;
        }
    }
    let mut sums: Vec<(T, u64)> = sums.into_iter().collect();
    sums.sort_by_cached_key(|(item, count)| (std::cmp::Reverse(*count), format!("{item:?}")));
    (sums, left_out)
}

/// A count as reports have it.
pub(super) fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
