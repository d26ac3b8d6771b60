//! Sets of message sequence numbers or UIDs: as a client writes them, and resolved.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

/// One end of a range in a [`SequenceSet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SequenceBound {
    /// A sequence number or UID.
    Number(NonZeroU32),
    /// `*`: the largest number in use.
    Largest,
}

impl SequenceBound {
    fn resolve(self, largest: u32) -> u32 {
        match self {
            SequenceBound::Number(n) => n.get(),
            SequenceBound::Largest => largest,
        }
    }
}

/// `a` or `a:b`; the ends may be in either order (RFC 9051 §9, `seq-range`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SequenceRange {
    /// The end written first.
    pub start: SequenceBound,
    /// The end written last; equal to `start` for a single number.
    pub end: SequenceBound,
}

/// A sequence set as a client writes it (RFC 9051 §9, `sequence-set`). Whether its numbers are sequence
/// numbers or UIDs, the command says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SequenceSet {
    /// `$`: the result of the last SEARCH RETURN (SAVE) (RFC 5182).
    Saved,
    /// Ranges in the order written; never empty.
    Ranges(Vec<SequenceRange>),
}

impl SequenceSet {
    /// The numbers meant, given the `largest` one in use (0 in an empty mailbox, where `*` means nothing)
    /// and the `saved` search result.
    ///
    /// A fixed number above `largest` stays in: for UIDs it is simply absent, for sequence numbers it is
    /// the client's error (see [`NumberSet::last`]). A range with `*` always contains `largest`.
    pub fn resolve(&self, largest: u32, saved: &NumberSet) -> NumberSet {
        let ranges = match self {
            SequenceSet::Saved => return saved.clone(),
            SequenceSet::Ranges(ranges) => ranges,
        };
        let resolved = ranges.iter().filter_map(|range| {
            let has_largest = range.start == SequenceBound::Largest || range.end == SequenceBound::Largest;
            if largest == 0 && has_largest {
                return None;
            }
            let (a, b) = (range.start.resolve(largest), range.end.resolve(largest));
            Some((a.min(b), a.max(b)))
        });
        NumberSet::from_unsorted(resolved.collect())
    }
}

impl fmt::Display for SequenceBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SequenceBound::Number(n) => write!(f, "{n}"),
            SequenceBound::Largest => f.write_str("*"),
        }
    }
}

impl fmt::Display for SequenceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = match self {
            SequenceSet::Saved => return f.write_str("$"),
            SequenceSet::Ranges(ranges) => ranges,
        };
        for (i, range) in ranges.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{}", range.start)?;
            if range.start != range.end {
                write!(f, ":{}", range.end)?;
            }
        }
        Ok(())
    }
}

/// A set of numbers as sorted, disjoint, non-adjacent ranges: what a sequence set means, and what is
/// written in COPYUID, ESEARCH and MODIFIED. Its text is as short as it can be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct NumberSet {
    ranges: Vec<(u32, u32)>,
}

impl NumberSet {
    /// The empty set.
    pub fn new() -> NumberSet {
        NumberSet::default()
    }

    fn from_unsorted(mut ranges: Vec<(u32, u32)>) -> NumberSet {
        ranges.sort_unstable();
        let mut set = NumberSet::new();
        for (first, last) in ranges {
            set.push_range(first, last);
        }
        set
    }

    /// Appends a range that starts no earlier than the last one does.
    fn push_range(&mut self, first: u32, last: u32) {
        match self.ranges.last_mut() {
            Some(tail) if u64::from(first) <= u64::from(tail.1) + 1 => tail.1 = tail.1.max(last),
            _ => self.ranges.push((first, last)),
        }
    }

    /// Adds `number`; cheap when numbers come in ascending order.
    pub fn insert(&mut self, number: u32) {
        match self.ranges.last() {
            Some(&(first, _)) if number < first => {
                if !self.contains(number) {
                    self.ranges.push((number, number));
                    *self = NumberSet::from_unsorted(std::mem::take(&mut self.ranges));
                }
            }
            _ => self.push_range(number, number),
        }
    }

    /// Whether `number` is in the set.
    pub fn contains(&self, number: u32) -> bool {
        let after = self.ranges.partition_point(|&(first, _)| first <= number);
        after > 0 && self.ranges[after - 1].1 >= number
    }

    /// Whether the set has no numbers.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many numbers the set has.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|&(first, last)| u64::from(last - first) + 1).sum()
    }

    /// The smallest number.
    pub fn first(&self) -> Option<u32> {
        self.ranges.first().map(|range| range.0)
    }

    /// The largest number.
    pub fn last(&self) -> Option<u32> {
        self.ranges.last().map(|range| range.1)
    }

    /// The ranges, ascending. Bounded by what the client wrote, however many numbers they cover.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = RangeInclusive<u32>> + '_ {
        self.ranges.iter().map(|&(first, last)| first..=last)
    }

    /// All numbers, ascending. `1:4294967295` is a legal set: bound it with [`NumberSet::clip`] first.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges().flatten()
    }

    /// The numbers that lie in `bounds`.
    pub fn clip(&self, bounds: RangeInclusive<u32>) -> NumberSet {
        let (low, high) = (*bounds.start(), *bounds.end());
        let ranges = self.ranges.iter().map(|&(first, last)| (first.max(low), last.min(high)));
        NumberSet { ranges: ranges.filter(|(first, last)| first <= last).collect() }
    }
}

impl FromIterator<u32> for NumberSet {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> NumberSet {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for n in numbers {
            match ranges.last_mut() {
                Some(tail) if tail.1.checked_add(1) == Some(n) => tail.1 = n,
                _ => ranges.push((n, n)),
            }
        }
        NumberSet::from_unsorted(ranges)
    }
}

impl FromIterator<RangeInclusive<u32>> for NumberSet {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u32>>>(ranges: I) -> NumberSet {
        let ranges = ranges.into_iter().filter(|r| !r.is_empty()).map(|r| (*r.start(), *r.end()));
        NumberSet::from_unsorted(ranges.collect())
    }
}

impl fmt::Display for NumberSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, &(first, last)) in self.ranges.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{first}")?;
            if first != last {
                write!(f, ":{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn number(n: u32) -> SequenceBound {
        SequenceBound::Number(NonZeroU32::new(n).unwrap())
    }

    fn range(start: SequenceBound, end: SequenceBound) -> SequenceRange {
        SequenceRange { start, end }
    }

    #[test]
    fn star_range_contains_the_largest_even_when_it_starts_above_it() {
        let set = SequenceSet::Ranges(vec![range(number(559), SequenceBound::Largest)]);
        assert_eq!(set.resolve(17, &NumberSet::new()).to_string(), "17:559");
        assert!(set.resolve(0, &NumberSet::new()).is_empty());
    }

    #[test]
    fn rfc_example_resolves() {
        // RFC 9051 §9: with 15 messages, 2,4:7,9,12:* is 2,4,5,6,7,9,12,13,14,15.
        let set = SequenceSet::Ranges(vec![
            range(number(2), number(2)),
            range(number(4), number(7)),
            range(number(9), number(9)),
            range(number(12), SequenceBound::Largest),
        ]);
        let resolved = set.resolve(15, &NumberSet::new());
        assert_eq!(resolved.iter().collect::<Vec<_>>(), [2, 4, 5, 6, 7, 9, 12, 13, 14, 15]);
        assert_eq!(set.to_string(), "2,4:7,9,12:*");
    }

    #[test]
    fn saved_result_is_used_as_it_is() {
        let saved: NumberSet = [3, 4, 5, 9].into_iter().collect();
        assert_eq!(SequenceSet::Saved.resolve(4, &saved).to_string(), "3:5,9");
    }

    fn bound() -> impl Strategy<Value = SequenceBound> {
        prop_oneof![4 => (1u32..60).prop_map(number), 1 => Just(SequenceBound::Largest)]
    }

    proptest! {
        #[test]
        fn resolution_equals_a_naive_model(
            ranges in prop::collection::vec((bound(), bound()), 1..12), largest in 0u32..50, low in 1u32..40,
        ) {
            let mut model = BTreeSet::new();
            for &(start, end) in &ranges {
                let star = start == SequenceBound::Largest || end == SequenceBound::Largest;
                if star && largest == 0 { continue; }
                let value = |b: SequenceBound| match b {
                    SequenceBound::Number(n) => n.get(),
                    SequenceBound::Largest => largest,
                };
                let (a, b) = (value(start), value(end));
                for n in a.min(b)..=a.max(b) { model.insert(n); }
            }
            let set = SequenceSet::Ranges(ranges.iter().map(|&(a, b)| range(a, b)).collect());
            let resolved = set.resolve(largest, &NumberSet::new());
            prop_assert_eq!(resolved.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(resolved.len(), model.len() as u64);
            prop_assert_eq!(resolved.first(), model.first().copied());
            prop_assert_eq!(resolved.last(), model.last().copied());
            for n in 0..70 { prop_assert_eq!(resolved.contains(n), model.contains(&n)); }
            let clipped: Vec<u32> = resolved.clip(low..=low + 10).iter().collect();
            prop_assert_eq!(clipped, model.range(low..=low + 10).copied().collect::<Vec<_>>());
        }

        #[test]
        fn insertion_in_any_order_gives_the_same_compressed_set(numbers in prop::collection::vec(1u32..40, 0..40)) {
            let mut set = NumberSet::new();
            for &n in &numbers { set.insert(n); }
            let model: BTreeSet<u32> = numbers.iter().copied().collect();
            prop_assert_eq!(&set, &model.iter().copied().collect::<NumberSet>());
            prop_assert_eq!(&set, &numbers.iter().copied().collect::<NumberSet>());
            let gaps = model.iter().filter(|n| !model.contains(&(**n + 1))).count();
            prop_assert_eq!(set.ranges().len(), gaps);
        }
    }

    #[test]
    fn the_largest_number_does_not_overflow() {
        let set = SequenceSet::Ranges(vec![
            range(number(u32::MAX), number(u32::MAX)),
            range(number(1), number(u32::MAX)),
        ]);
        let resolved = set.resolve(5, &NumberSet::new());
        assert_eq!(resolved.to_string(), "1:4294967295");
        assert_eq!(resolved.len(), u64::from(u32::MAX));
        assert_eq!([u32::MAX, u32::MAX].into_iter().collect::<NumberSet>().to_string(), "4294967295");
    }
}
