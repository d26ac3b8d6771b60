//! Decides whether a transaction may commit: did anyone write what it read, after it read it?
//!
//! Like FoundationDB's resolvers it remembers the writes of the last [`limits::TRANSACTION_AGE`] only. They are kept in
//! short generations, dropped whole when they are too old to matter, so that forgetting costs nothing per key.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;

use crate::buffer::bounds;
use crate::span::Span;
use crate::{Version, limits};

/// How long writes are collected in one generation.
const GENERATION: Duration = Duration::from_millis(500);

/// The writes of the recent past.
#[derive(Default)]
pub(crate) struct Resolver {
    generations: VecDeque<Generation>,
}

/// Writes of about [`GENERATION`].
struct Generation {
    began: Duration,
    /// When its last write became visible to new transactions.
    published: Duration,
    newest: Version,
    /// Single keys, with the version of their last write.
    keys: BTreeMap<Bytes, Version>,
    /// A step function: from this key to the next entry, the last range write had this version (0: none).
    ranges: BTreeMap<Bytes, Version>,
}

impl Resolver {
    /// Whether something in `reads` was written after `read_version`.
    pub(crate) fn conflicts(&self, reads: &[Span], read_version: Version) -> bool {
        self.generations
            .iter()
            .rev()
            .filter(|generation| generation.newest > read_version)
            .any(|generation| reads.iter().any(|read| generation.conflicts(read, read_version)))
    }

    /// Remembers what a commit wrote.
    pub(crate) fn record(&mut self, write: Span, version: Version, now: Duration) {
        let is_stale = |last: &Generation| now.saturating_sub(last.began) >= GENERATION;
        if self.generations.back().is_none_or(is_stale) {
            self.generations.push_back(Generation::new(now));
        }
        if let Some(generation) = self.generations.back_mut() {
            generation.record(write, version, now);
        }
    }

    /// Everything recorded so far is visible to transactions that begin from `now` on; forgets what no living
    /// transaction can conflict with.
    pub(crate) fn published(&mut self, now: Duration) {
        if let Some(generation) = self.generations.back_mut() {
            generation.published = generation.published.max(now);
        }
        // A transaction that is young enough began after these were visible, so it read them already.
        while self
            .generations
            .front()
            .is_some_and(|oldest| oldest.published + limits::TRANSACTION_AGE + GENERATION < now)
        {
            self.generations.pop_front();
        }
    }
}

impl Generation {
    fn new(now: Duration) -> Self {
        Self { began: now, published: now, newest: 0, keys: BTreeMap::new(), ranges: BTreeMap::new() }
    }

    fn record(&mut self, write: Span, version: Version, now: Duration) {
        self.newest = version;
        self.published = now;
        match write {
            Span::Key(key) => {
                self.keys.insert(key, version);
            }
            Span::Range(start, end) => self.record_range(start, end, version),
        }
    }

    fn record_range(&mut self, start: Bytes, end: Bytes, version: Version) {
        if start >= end {
            return;
        }
        let after = self.range_version(&end);
        let covered: Vec<Bytes> =
            self.ranges.range::<[u8], _>(bounds(&start, &end)).map(|(key, _)| key.clone()).collect();
        for key in covered {
            self.ranges.remove(&key);
        }
        self.ranges.insert(start, version);
        self.ranges.entry(end).or_insert(after);
    }

    /// The version of the last range write over `key`.
    fn range_version(&self, key: &[u8]) -> Version {
        let at_or_before = (Bound::Unbounded, Bound::Included(key));
        self.ranges.range::<[u8], _>(at_or_before).next_back().map_or(0, |(_, version)| *version)
    }

    fn conflicts(&self, read: &Span, read_version: Version) -> bool {
        match read {
            Span::Key(key) => {
                self.keys.get(key).is_some_and(|version| *version > read_version)
                    || self.range_version(key) > read_version
            }
            Span::Range(start, end) if start < end => {
                self.range_version(start) > read_version
                    || self
                        .ranges
                        .range::<[u8], _>(bounds(start, end))
                        .any(|(_, version)| *version > read_version)
                    || self
                        .keys
                        .range::<[u8], _>(bounds(start, end))
                        .any(|(_, version)| *version > read_version)
            }
            Span::Range(..) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(a: u8, b: u8) -> Span {
        if b == a + 1 {
            Span::Key(Bytes::from(vec![a]))
        } else {
            Span::Range(Bytes::from(vec![a]), Bytes::from(vec![b]))
        }
    }

    proptest! {
        /// The resolver agrees with a table of the last write version of every key.
        #[test]
        fn agrees_with_a_table(
            writes in prop::collection::vec((0u8..30, 1u8..6, 0u64..400), 1..40),
            read in (0u8..30, 1u8..8),
            read_version in 0u64..40,
        ) {
            let mut resolver = Resolver::default();
            let mut table = [0u64; 40];
            let mut now = Duration::ZERO;
            for (version, (start, length, pause)) in (1..).zip(writes) {
                now += Duration::from_millis(pause);
                resolver.record(span(start, start + length), version, now);
                for slot in &mut table[usize::from(start)..usize::from(start + length)] {
                    *slot = version;
                }
            }
            let expected = table[usize::from(read.0)..usize::from(read.0 + read.1)].iter().any(|v| *v > read_version);
            prop_assert_eq!(resolver.conflicts(&[span(read.0, read.0 + read.1)], read_version), expected);
        }
    }

    #[test]
    fn forgets_writes_that_no_living_transaction_can_have_missed() {
        let mut resolver = Resolver::default();
        resolver.record(span(1, 2), 1, Duration::ZERO);
        resolver.published(Duration::from_secs(5));
        assert!(
            resolver.conflicts(&[span(1, 2)], 0),
            "a transaction may have begun just before it was published"
        );
        resolver.published(Duration::from_secs(30));
        assert!(resolver.conflicts(&[span(1, 2)], 0), "published at 30 s");
        resolver.record(span(3, 4), 2, Duration::from_secs(31));
        resolver.published(Duration::from_secs(37));
        assert!(!resolver.conflicts(&[span(1, 2)], 0));
        assert!(resolver.conflicts(&[span(3, 4)], 0));
    }
}
