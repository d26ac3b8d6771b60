//! A message on its way in, with the memory it takes.

use ekitei_net::{ByteBudget, BytePermit};

use crate::proto::reply::{self, Reply};

/// Memory that a message begins with.
const FIRST_STEP: usize = 8 * 1024;

/// The octets of a message so far. Once it is refused, its memory is given back and the rest is only counted.
#[derive(Debug)]
pub(crate) struct Body {
    /// The trace fields, and the message behind them.
    octets: Vec<u8>,
    /// None once it is refused.
    permit: Option<BytePermit>,
    trace: usize,
    /// Octets received, kept or not.
    received: u64,
    max_size: u64,
    refusal: Option<Reply>,
}

impl Body {
    /// An empty message behind its trace fields; `None` when there is no memory for it.
    pub(crate) fn new(trace: &str, max_size: u64, budget: &ByteBudget) -> Option<Self> {
        let capacity = FIRST_STEP.max(trace.len() * 2);
        let permit = budget.try_take(capacity as u64)?;
        let mut octets = Vec::with_capacity(capacity);
        octets.extend_from_slice(trace.as_bytes());
        Some(Self { octets, permit: Some(permit), trace: trace.len(), received: 0, max_size, refusal: None })
    }

    /// Adds octets.
    pub(crate) fn push(&mut self, octets: &[u8]) {
        self.received += octets.len() as u64;
        if self.refusal.is_some() {
            return;
        }
        if self.received > self.max_size {
            return self.refuse(reply::TOO_LARGE);
        }
        if self.make_room(octets.len()) {
            self.octets.extend_from_slice(octets);
        } else {
            self.refuse(reply::NO_MEMORY);
        }
    }

    /// Grows by half at least, so that a message is copied few times and memory follows what has come, not what was announced.
    fn make_room(&mut self, more: usize) -> bool {
        let (length, capacity) = (self.octets.len(), self.octets.capacity());
        if length + more <= capacity {
            return true;
        }
        let wanted = (length + more).max(capacity + capacity / 2);
        if !self.permit.as_mut().is_some_and(|permit| permit.try_grow((wanted - capacity) as u64)) {
            return false;
        }
        self.octets.reserve_exact(wanted - length);
        true
    }

    fn refuse(&mut self, refusal: Reply) {
        self.refusal = Some(refusal);
        self.octets = Vec::new();
        self.permit = None;
    }

    /// Why it was refused, if it was.
    pub(crate) fn refusal(&self) -> Option<&Reply> {
        self.refusal.as_ref()
    }

    /// Octets received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Whether so much more than allowed came that it is not worth waiting for the end.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.received / 2 > self.max_size
    }

    /// The trace fields with the message, where the message begins, and the memory it holds.
    ///
    /// # Errors
    /// Why it was refused.
    pub(crate) fn finish(self) -> Result<(Vec<u8>, usize, Option<BytePermit>), Reply> {
        match self.refusal {
            Some(refusal) => Err(refusal),
            None => Ok((self.octets, self.trace, self.permit)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn memory_follows_the_message_and_is_given_back() {
        let budget = ByteBudget::new(100_000);
        let mut body = Body::new("T: x\r\n", 1_000_000, &budget).unwrap();
        assert!(budget.used() < 10_000);
        body.push(&[b'a'; 50_000]);
        assert!((50_000..100_000).contains(&budget.used()));
        body.push(&[b'a'; 60_000]);
        assert_eq!(budget.used(), 0, "a refused message holds nothing");
        body.push(b"more");
        assert_eq!(body.received(), 110_004);
        assert_eq!(body.finish().unwrap_err(), reply::NO_MEMORY);
    }

    #[test]
    fn the_size_limit_counts_the_message_alone() {
        let budget = ByteBudget::new(100_000);
        let mut body = Body::new("T: x\r\n", 3, &budget).unwrap();
        body.push(b"abc");
        let (octets, trace, permit) = body.finish().unwrap();
        assert_eq!(&octets[trace..], b"abc");
        drop(permit);
        assert_eq!(budget.used(), 0);
        let mut body = Body::new("T: x\r\n", 3, &budget).unwrap();
        body.push(b"abcd");
        assert_eq!(body.finish().unwrap_err(), reply::TOO_LARGE);
    }
}
