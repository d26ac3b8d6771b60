//! Pauses between attempts.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::Settings;
use crate::object_error::ObjectErrorKind;

/// A store that asks for fewer requests gets this many times the pause.
const THROTTLED: u32 = 5;
/// Damage that is seen so often is in the store, and not on the way.
const MAX_DAMAGED: u32 = 3;

/// Credentials that are renewed so often are not what is wrong.
const MAX_EXPIRED: u32 = 2;

/// The pauses of one call.
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    retries: u32,
    damaged: u32,
    expired: u32,
}

impl Backoff {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { first: settings.first_delay, longest: settings.max_delay, retries: 0, damaged: 0, expired: 0 }
    }

    /// The pause before the next attempt: anything from nothing to a bound that doubles ("full jitter"). None if this kind of error
    /// has come too often.
    pub(super) fn next(&mut self, kind: ObjectErrorKind, random: &mut impl Rng) -> Option<Duration> {
        match kind {
            ObjectErrorKind::Expired => {
                self.expired += 1;
                match self.expired {
                    // The credentials are fetched anew for the next attempt.
                    1 => return Some(Duration::ZERO),
                    MAX_EXPIRED => {}
                    _ => return None,
                }
            }
            ObjectErrorKind::Damaged => {
                self.damaged += 1;
                if self.damaged > MAX_DAMAGED {
                    return None;
                }
            }
            _ => {}
        }
        let first = if kind == ObjectErrorKind::Throttled { self.first * THROTTLED } else { self.first };
        let bound = first.saturating_mul(1 << self.retries.min(20)).min(self.longest);
        self.retries += 1;
        Some(bound.mul_f64(random.random_range(0.0..=1.0)))
    }
}
