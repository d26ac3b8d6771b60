//! A set of keys made of disjoint ranges: what a transaction cleared.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// Disjoint half-open ranges, start -> end; ranges that touch are merged.
#[derive(Default, Debug)]
pub(crate) struct RangeSet(BTreeMap<Bytes, Bytes>);

impl RangeSet {
    /// Adds `[start, end)`, which must not be inverted.
    pub(crate) fn insert(&mut self, mut start: Bytes, mut end: Bytes) {
        if start >= end {
            return;
        }
        if let Some((s, e)) =
            self.0.range::<[u8], _>((Bound::Unbounded, Bound::Included(&start[..]))).next_back()
            && *e >= start
        {
            start = s.clone();
            end = end.max(e.clone());
        }
        while let Some((s, e)) =
            self.0.range::<[u8], _>((Bound::Included(&start[..]), Bound::Included(&end[..]))).next()
        {
            end = end.max(e.clone());
            let s = s.clone();
            self.0.remove(&s);
        }
        self.0.insert(start, end);
    }

    /// Whether `key` is in the set.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.0
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(key)))
            .next_back()
            .is_some_and(|(_, end)| key < end)
    }

    /// The ranges in key order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.0.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The parts of `[start, end)` outside the set, in key order.
    pub(crate) fn gaps(&self, start: &Bytes, end: &Bytes) -> Vec<(Bytes, Bytes)> {
        let mut gaps = Vec::new();
        let mut from = start.clone();
        let before = self.0.range::<[u8], _>((Bound::Unbounded, Bound::Included(&start[..]))).next_back();
        if let Some((_, e)) = before
            && *e > from
        {
            from = e.clone();
        }
        for (s, e) in self.0.range::<[u8], _>((Bound::Excluded(&start[..]), Bound::Unbounded)) {
            if s >= end {
                break;
            }
            if *s > from {
                gaps.push((from, s.clone()));
            }
            from = e.clone();
        }
        if from < *end {
            gaps.push((from, end.clone()));
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A range set and a set of single bytes agree after any insertions.
        #[test]
        fn agrees_with_a_set_of_keys(ranges in prop::collection::vec((0u8..40, 0u8..40), 0..12), window in (0u8..40, 0u8..40)) {
            let mut set = RangeSet::default();
            let mut model = [false; 40];
            for (a, b) in ranges {
                set.insert(Bytes::from(vec![a]), Bytes::from(vec![b]));
                for slot in model.iter_mut().take(usize::from(b)).skip(usize::from(a)) {
                    *slot = true;
                }
            }
            for key in 0u8..40 {
                prop_assert_eq!(set.contains(&[key]), model[usize::from(key)]);
            }
            let gaps = set.gaps(&Bytes::from(vec![window.0]), &Bytes::from(vec![window.1]));
            for key in 0u8..40 {
                let inside = key >= window.0 && key < window.1;
                let in_gap = gaps.iter().any(|(s, e)| s[..] <= [key][..] && [key][..] < e[..]);
                prop_assert_eq!(in_gap, inside && !model[usize::from(key)]);
            }
        }
    }
}
