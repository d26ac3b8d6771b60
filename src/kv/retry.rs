//! The pause between two attempts of a transaction: exponential backoff with jitter.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// The first pause is at most this long.
const FIRST: Duration = Duration::from_millis(2);
/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(1);

/// The pauses of one operation.
pub(crate) struct Backoff {
    ceiling: Duration,
    random: u64,
    began: Instant,
}

impl Backoff {
    /// `seed` makes the jitter repeatable.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        let random = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        // Spread, since seeds are small numbers, and never zero, where xorshift stays.
        let random = random.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self { ceiling: FIRST, random, began: Instant::now() }
    }

    /// How long the operation has been tried.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How long to wait before the next attempt: between half the ceiling and all of it; the ceiling doubles.
    pub(crate) fn next(&mut self) -> Duration {
        // xorshift64: only spreads retries, nothing depends on its quality.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let half = self.ceiling / 2;
        let share = u32::try_from(self.random >> 48).unwrap_or(0);
        let pause = half + half * share / u32::from(u16::MAX);
        self.ceiling = (self.ceiling * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_keep_their_jitter() {
        let mut backoff = Backoff::new(None);
        let mut ceiling = FIRST;
        for _ in 0..20 {
            let pause = backoff.next();
            assert!(pause >= ceiling / 2 && pause <= ceiling, "{pause:?} of {ceiling:?}");
            ceiling = (ceiling * 2).min(LONGEST);
        }
        assert_eq!(ceiling, LONGEST);
    }

    #[test]
    fn a_seed_repeats_the_pauses() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(Some(seed));
            std::array::from_fn::<_, 8, _>(|_| backoff.next())
        };
        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
    }
}
