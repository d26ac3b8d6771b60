//! What goes wrong with a call.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::object_error::ObjectErrorKind;
use crate::operation::Operation;

/// What goes wrong with one call; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Time before anything else happens.
    pub latency: Duration,
    /// The call fails and has no effect.
    pub before: Option<ObjectErrorKind>,
    /// The call has its effect and fails.
    pub after: Option<ObjectErrorKind>,
    /// The call has no effect and never ends.
    pub hangs: bool,
    /// A written object is seen by readers only after this time.
    pub invisible: Duration,
    /// A read ends after so many octets.
    pub cut: Option<usize>,
    /// One bit of what is read is wrong: this one, counted from the first, modulo how many there are.
    pub flip: Option<usize>,
}

impl Fault {
    pub(super) fn spoil(&self, read: Bytes) -> Bytes {
        let mut octets = match self.cut {
            Some(length) => read.slice(..length.min(read.len())),
            None => read,
        };
        if let Some(bit) = self.flip.filter(|_| !octets.is_empty()) {
            let mut changed = octets.to_vec();
            let length = changed.len();
            changed[bit / 8 % length] ^= 1 << (bit % 8);
            octets = changed.into();
        }
        octets
    }
}

/// Decides what goes wrong.
pub trait Faults: Send + Sync + 'static {
    /// What goes wrong with the next call.
    fn next(&self, operation: Operation, name: &str) -> Fault;
}

impl<F: Fn(Operation, &str) -> Fault + Send + Sync + 'static> Faults for F {
    fn next(&self, operation: Operation, name: &str) -> Fault {
        self(operation, name)
    }
}

/// One fault after the other, for the calls as they come; then none.
#[derive(Debug)]
pub struct ScriptedFaults(Mutex<VecDeque<Fault>>);

impl ScriptedFaults {
    /// These faults.
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self(Mutex::new(faults.into_iter().collect()))
    }
}

impl Faults for ScriptedFaults {
    fn next(&self, _: Operation, _: &str) -> Fault {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or_default()
    }
}

/// How often each thing goes wrong: shares of all calls, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Fails without an effect, as throttled, unavailable or expired.
    pub before: f64,
    /// Fails after its effect, as unavailable.
    pub after: f64,
    /// Never ends.
    pub hangs: f64,
    /// Takes up to [`Rates::slowness`].
    pub slow: f64,
    /// The longest that a slow call takes, and that a new object is not seen.
    pub slowness: Duration,
    /// A written object is not seen for a while.
    pub invisible: f64,
    /// A read ends early.
    pub cut: f64,
    /// A read has one wrong bit.
    pub flip: f64,
}

impl Rates {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        before: 0.0,
        after: 0.0,
        hangs: 0.0,
        slow: 0.0,
        slowness: Duration::ZERO,
        invisible: 0.0,
        cut: 0.0,
        flip: 0.0,
    };

    /// Each thing goes wrong in a few calls of a hundred.
    pub const fn harsh() -> Self {
        Self {
            before: 0.08,
            after: 0.04,
            hangs: 0.01,
            slow: 0.1,
            slowness: Duration::from_secs(2),
            invisible: 0.05,
            cut: 0.03,
            flip: 0.03,
        }
    }
}

/// Faults drawn from a seed: the same calls in the same order go wrong in the same way.
#[derive(Debug)]
pub struct SeededFaults {
    rates: Rates,
    random: Mutex<StdRng>,
}

impl SeededFaults {
    /// Faults of this seed.
    pub fn new(seed: u64, rates: Rates) -> Self {
        Self { rates, random: Mutex::new(StdRng::seed_from_u64(seed)) }
    }
}

impl Faults for SeededFaults {
    fn next(&self, _: Operation, _: &str) -> Fault {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let (rates, random) = (&self.rates, &mut *random);
        let slowness = u64::try_from(rates.slowness.as_millis()).unwrap_or(u64::MAX).max(1);
        // Everything is drawn each time, so that a rate that changes does not move the draws of the others.
        let [before, after, hangs, slow, invisible, cut, flip] =
            [rates.before, rates.after, rates.hangs, rates.slow, rates.invisible, rates.cut, rates.flip]
                .map(|rate| random.random_bool(rate));
        let [latency, delay] = [(); 2].map(|()| Duration::from_millis(random.random_range(0..slowness)));
        let [length, bit] = [(); 2].map(|()| random.random_range(0..1_usize << 20));
        let kinds = [ObjectErrorKind::Throttled, ObjectErrorKind::Unavailable, ObjectErrorKind::Expired];
        let kind = kinds[random.random_range(0..kinds.len())];
        Fault {
            latency: if slow { latency } else { Duration::ZERO },
            before: before.then_some(kind),
            after: after.then_some(ObjectErrorKind::Unavailable),
            hangs,
            invisible: if invisible { delay } else { Duration::ZERO },
            cut: cut.then_some(length),
            flip: flip.then_some(bit),
        }
    }
}
