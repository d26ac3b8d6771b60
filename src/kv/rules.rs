//! What a transaction may do, checked alike for both engines, so that the embedded one refuses what a cluster would.

use std::ops::Range;

use crate::versionstamp::{self, OUT_OF_BOUNDS};
use crate::{Error, Result, limits};

/// What a transaction says after its commit.
pub(crate) const SPENT: Error = Error::Misuse("the transaction was committed already");

/// Checks a key and the size of its value.
pub(crate) fn check_write(key: &[u8], value: usize) -> Result<()> {
    if key.len() > limits::KEY_SIZE {
        return Err(Error::KeyTooLarge(key.len()));
    }
    if value > limits::VALUE_SIZE {
        return Err(Error::ValueTooLarge(value));
    }
    check_key(key)
}

/// Keys from 0xFF on belong to FoundationDB itself.
pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    if key.first() == Some(&0xFF) {
        return Err(Error::Misuse("a key of the system keyspace (0xFF)"));
    }
    Ok(())
}

/// Checks a range that is read.
pub(crate) fn check_range(range: &Range<Vec<u8>>) -> Result<()> {
    if range.start > range.end {
        return Err(Error::Misuse("a range that ends before it starts"));
    }
    Ok(())
}

/// Checks a range that is written.
pub(crate) fn check_written_range(range: &Range<Vec<u8>>) -> Result<()> {
    check_range(range)?;
    for key in [&range.start, &range.end] {
        if key.len() > limits::KEY_SIZE + 1 {
            return Err(Error::KeyTooLarge(key.len()));
        }
    }
    if range.end[..] > [0xFF][..] {
        return Err(Error::Misuse("a range of the system keyspace (0xFF)"));
    }
    Ok(())
}

/// Checks that a versionstamp at `offset` fits into `length` bytes.
pub(crate) fn check_stamp(length: usize, offset: usize) -> Result<()> {
    let fits = offset.checked_add(versionstamp::SIZE).is_some_and(|end| end <= length);
    if fits { Ok(()) } else { Err(OUT_OF_BOUNDS) }
}
