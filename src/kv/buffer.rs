//! What a transaction has written so far, and how its own reads see it (read-your-writes).
//!
//! Writes are kept collapsed, one entry per key, the way FoundationDB's client keeps them: range clears first, then the
//! last state of each key, then versionstamped keys.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use crate::limits;
use crate::range_set::RangeSet;
use crate::span::{Span, successor};
use crate::versionstamp::Versionstamp;
use crate::{Error, KeyValue, Result, Version};

/// The last write to one key.
#[derive(Debug)]
pub(crate) enum PointWrite {
    Set(Bytes),
    /// Set where the commit's versionstamp was to be: as in FoundationDB, the key stays unreadable.
    SetOverStamp(Bytes),
    Clear,
    /// Added to whatever the store holds at commit.
    Add(i64),
    /// A value with the commit's versionstamp at `offset`, and what was added to it afterwards.
    Stamped {
        value: Bytes,
        offset: usize,
        add: Option<i64>,
    },
}

/// A write whose key is known at commit only.
#[derive(Debug)]
pub(crate) struct StampedKey {
    pub(crate) template: Bytes,
    pub(crate) offset: usize,
    pub(crate) value: Bytes,
    /// The lowest and highest key that the commit can make of it, as far as was known when it was written. As in
    /// FoundationDB, nothing from one to the other can be read, and a range clear that covers the lowest undoes the write.
    lowest: Bytes,
    highest: Bytes,
}

/// What a transaction's own writes say about one key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// The value, whatever the store holds.
    Known(Option<Bytes>),
    /// The store's value, plus a number.
    Base(Option<i64>),
    /// A versionstamp makes it unreadable until the commit.
    Unreadable,
}

/// The writes of one transaction.
#[derive(Default, Debug)]
pub(crate) struct WriteBuffer {
    pub(crate) points: BTreeMap<Bytes, PointWrite>,
    pub(crate) cleared: RangeSet,
    pub(crate) stamped_keys: Vec<StampedKey>,
    size: usize,
}

impl WriteBuffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.points.is_empty() && self.cleared.is_empty() && self.stamped_keys.is_empty()
    }

    /// Bytes counted against [`limits::TRANSACTION_SIZE`]; each operation counts, also a repeated one.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn set(&mut self, key: &[u8], value: &[u8]) {
        self.count_point(key, value.len());
        let value = Bytes::copy_from_slice(value);
        let is_stamped =
            matches!(self.points.get(key), Some(PointWrite::Stamped { .. } | PointWrite::SetOverStamp(_)));
        let write = if is_stamped { PointWrite::SetOverStamp(value) } else { PointWrite::Set(value) };
        self.points.insert(Bytes::copy_from_slice(key), write);
    }

    pub(crate) fn clear(&mut self, key: &[u8]) {
        self.count_point(key, key.len() + 1);
        self.points.insert(Bytes::copy_from_slice(key), PointWrite::Clear);
    }

    pub(crate) fn clear_range(&mut self, start: Bytes, end: Bytes) {
        if start >= end {
            return;
        }
        self.size += limits::clear_range_size(start.len(), end.len());
        let covered: Vec<Bytes> =
            self.points.range::<[u8], _>(bounds(&start, &end)).map(|(key, _)| key.clone()).collect();
        for key in covered {
            self.points.remove(&key);
        }
        self.stamped_keys.retain(|stamped| stamped.lowest < start || stamped.lowest >= end);
        self.cleared.insert(start, end);
    }

    pub(crate) fn add(&mut self, key: &[u8], delta: i64) {
        self.count_point(key, 8);
        let write = match self.points.remove(key) {
            Some(PointWrite::Set(value)) => PointWrite::Set(add_little_endian(Some(&value), delta)),
            Some(PointWrite::SetOverStamp(value)) => {
                PointWrite::SetOverStamp(add_little_endian(Some(&value), delta))
            }
            Some(PointWrite::Clear) => PointWrite::Set(add_little_endian(None, delta)),
            Some(PointWrite::Add(before)) => PointWrite::Add(before.wrapping_add(delta)),
            Some(PointWrite::Stamped { value, offset, add }) => {
                PointWrite::Stamped { value, offset, add: Some(add.unwrap_or(0).wrapping_add(delta)) }
            }
            None if self.cleared.contains(key) => PointWrite::Set(add_little_endian(None, delta)),
            None => PointWrite::Add(delta),
        };
        self.points.insert(Bytes::copy_from_slice(key), write);
    }

    /// `read_version` bounds the versionstamps that the commit can get; 0 while nothing was read.
    pub(crate) fn set_versionstamped_key(
        &mut self,
        key: &[u8],
        offset: usize,
        value: &[u8],
        read_version: Version,
    ) {
        self.count_point(key, value.len());
        let template = Bytes::copy_from_slice(key);
        // Two writes of one template end as one row, the last.
        self.stamped_keys.retain(|stamped| stamped.template != template || stamped.offset != offset);
        // A template without room is refused by the commit.
        let with = |stamp: Versionstamp| stamp.place(key, offset).unwrap_or_else(|| template.clone());
        let (lowest, highest) = (with(Versionstamp::new(read_version, 0)), with(Versionstamp::MAX));
        let value = Bytes::copy_from_slice(value);
        self.stamped_keys.push(StampedKey { template, offset, value, lowest, highest });
    }

    pub(crate) fn set_versionstamped_value(&mut self, key: &[u8], value: &[u8], offset: usize) {
        self.count_point(key, value.len());
        let write = PointWrite::Stamped { value: Bytes::copy_from_slice(value), offset, add: None };
        self.points.insert(Bytes::copy_from_slice(key), write);
    }

    /// What the writes say about `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Own {
        if self.stamped_keys.iter().any(|stamped| stamped.lowest[..] <= *key && *key <= stamped.highest[..]) {
            return Own::Unreadable;
        }
        match self.points.get(key) {
            Some(PointWrite::Set(value)) => Own::Known(Some(value.clone())),
            Some(PointWrite::Clear) => Own::Known(None),
            Some(PointWrite::Add(delta)) => Own::Base(Some(*delta)),
            Some(PointWrite::Stamped { .. } | PointWrite::SetOverStamp(_)) => Own::Unreadable,
            None if self.cleared.contains(key) => Own::Known(None),
            None => Own::Base(None),
        }
    }

    /// Whether any row of `[start, end)` may come from a versionstamped key.
    fn is_unreadable(&self, start: &[u8], end: &[u8]) -> bool {
        self.stamped_keys.iter().any(|stamped| stamped.lowest[..] < *end && stamped.highest[..] >= *start)
    }

    /// The conflict ranges of the writes whose keys are known; each versionstamped key adds its own at commit.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Span> {
        let points = self.points.keys().map(|key| Span::Key(key.clone()));
        let ranges = self.cleared.iter().map(|(start, end)| Span::Range(start.clone(), end.clone()));
        points.chain(ranges)
    }

    fn count_point(&mut self, key: &[u8], value: usize) {
        self.size += limits::point_size(key.len(), value);
    }

    /// The rows of a range as the transaction sees them: `scan` gives the store's rows of a sub-range in the asked
    /// direction until it is told to stop.
    pub(crate) fn merge_range(
        &self,
        range: &RangeRead,
        mut scan: impl FnMut(&Bytes, &Bytes, Visitor<'_>) -> Result<()>,
    ) -> Result<RangeRows> {
        // FoundationDB may answer where a limit ends the rows before what is not known yet; nobody may rely on it.
        if self.is_unreadable(&range.start, &range.end) {
            return Err(Error::AccessedUnreadable);
        }
        let own = self.points.range::<[u8], _>(bounds(&range.start, &range.end));
        let own: Box<dyn Iterator<Item = (&Bytes, &PointWrite)>> =
            if range.reverse { Box::new(own.rev()) } else { Box::new(own) };
        let mut merge =
            Merge { own: own.peekable(), reverse: range.reverse, limit: range.limit, rows: Vec::new() };
        let mut gaps = self.cleared.gaps(&range.start, &range.end);
        if range.reverse {
            gaps.reverse();
        }
        for (start, end) in &gaps {
            scan(start, end, &mut |key, value| merge.base_row(key, value))?;
            if merge.is_full() {
                break;
            }
        }
        merge.own_rows_before(None)?;
        let Merge { rows, .. } = merge;
        let extent = range.extent(&rows);
        Ok(RangeRows { rows, extent })
    }
}

/// A range to read, not inverted.
pub(crate) struct RangeRead {
    pub(crate) start: Bytes,
    pub(crate) end: Bytes,
    /// At most so many rows.
    pub(crate) limit: usize,
    pub(crate) reverse: bool,
}

impl RangeRead {
    /// The part of the range that `rows` tell about: all of it, unless the limit ended them.
    fn extent(&self, rows: &[KeyValue]) -> (Bytes, Bytes) {
        match rows.last() {
            Some(last) if rows.len() >= self.limit && self.reverse => (last.key.clone(), self.end.clone()),
            Some(last) if rows.len() >= self.limit => (self.start.clone(), successor(&last.key)),
            _ => (self.start.clone(), self.end.clone()),
        }
    }
}

/// What a range read found.
pub(crate) struct RangeRows {
    pub(crate) rows: Vec<KeyValue>,
    /// The part of the range that the rows tell about: the read conflict.
    pub(crate) extent: (Bytes, Bytes),
}

/// Takes one row of the store; tells whether it wants more.
pub(crate) type Visitor<'a> = &'a mut dyn FnMut(Bytes, Bytes) -> Result<ControlFlow<()>>;

/// Merges the store's rows with a transaction's own, in either direction.
struct Merge<'a> {
    own: Peekable<Box<dyn Iterator<Item = (&'a Bytes, &'a PointWrite)> + 'a>>,
    reverse: bool,
    limit: usize,
    rows: Vec<KeyValue>,
}

impl Merge<'_> {
    fn is_full(&self) -> bool {
        self.rows.len() >= self.limit
    }

    fn base_row(&mut self, key: Bytes, value: Bytes) -> Result<ControlFlow<()>> {
        self.own_rows_before(Some(&key))?;
        if self.is_full() {
            return Ok(ControlFlow::Break(()));
        }
        let value = match self.own.next_if(|(own, _)| **own == key) {
            None => Some(value),
            Some((_, PointWrite::Set(own))) => Some(own.clone()),
            Some((_, PointWrite::Clear)) => None,
            Some((_, PointWrite::Add(delta))) => Some(add_little_endian(Some(&value), *delta)),
            Some((_, PointWrite::Stamped { .. } | PointWrite::SetOverStamp(_))) => {
                return Err(Error::AccessedUnreadable);
            }
        };
        if let Some(value) = value {
            self.rows.push(KeyValue { key, value });
        }
        Ok(if self.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// Takes the own rows that come before `bound` in the direction of the read, or all that are left.
    fn own_rows_before(&mut self, bound: Option<&Bytes>) -> Result<()> {
        let reverse = self.reverse;
        let comes_before = |own: &Bytes| match bound {
            None => true,
            Some(bound) if reverse => own > bound,
            Some(bound) => own < bound,
        };
        while !self.is_full()
            && let Some((key, write)) = self.own.next_if(|(own, _)| comes_before(own))
        {
            let value = match write {
                PointWrite::Set(value) => value.clone(),
                PointWrite::Clear => continue,
                PointWrite::Add(delta) => add_little_endian(None, *delta),
                PointWrite::Stamped { .. } | PointWrite::SetOverStamp(_) => {
                    return Err(Error::AccessedUnreadable);
                }
            };
            self.rows.push(KeyValue { key: key.clone(), value });
        }
        Ok(())
    }
}

/// FoundationDB's ADD with a 64-bit operand: the value is cut or zero-extended to eight bytes, and the sum wraps.
pub(crate) fn add_little_endian(value: Option<&[u8]>, delta: i64) -> Bytes {
    let mut bytes = [0u8; 8];
    for (to, from) in bytes.iter_mut().zip(value.unwrap_or_default()) {
        *to = *from;
    }
    Bytes::copy_from_slice(&i64::from_le_bytes(bytes).wrapping_add(delta).to_le_bytes())
}

/// `[start, end)` as map bounds.
pub(crate) fn bounds<'a>(start: &'a [u8], end: &'a [u8]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(start), Bound::Excluded(end))
}
