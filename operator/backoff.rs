//! How long to wait after failures: exponential for each object, with full jitter, so that objects which failed together do not come back together.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The shortest bound of a wait.
const BASE: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(300);
/// No wait is shorter than this, or jitter would make it a busy loop.
const SHORTEST: Duration = Duration::from_millis(200);

/// The longest time for which a change elsewhere does not bring an object back that failed: a failure may change its status, which is such a change.
const REST: Duration = Duration::from_secs(2);

/// Which object: its kind, and its UID.
pub type Key = (&'static str, String);

/// What is known of an object that failed.
struct Failures {
    /// Of which generation of the object.
    generation: Option<i64>,
    count: u32,
    /// Not before this.
    rests: Instant,
}

/// Failures of all objects.
pub struct Backoff {
    failures: Mutex<HashMap<Key, Failures>>,
    /// A number from 0 to 1, by chance.
    chance: Box<dyn Fn() -> f64 + Send + Sync>,
}

impl Backoff {
    /// With `chance`, which gives numbers from 0 to 1.
    pub fn new(chance: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Self { failures: Mutex::default(), chance: Box::new(chance) }
    }

    /// How long to wait after this failure. A change of the object's spec begins anew.
    pub fn failed(&self, key: &Key, generation: Option<i64>) -> Duration {
        let mut all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = || Failures { generation, count: 0, rests: Instant::now() };
        let failures = all.entry(key.clone()).or_insert_with(begin);
        if failures.generation != generation {
            *failures = begin();
        }
        let bound = BASE.saturating_mul(1_u32.checked_shl(failures.count).unwrap_or(u32::MAX)).min(LONGEST);
        failures.count = failures.count.saturating_add(1);
        let wait = bound.mul_f64((self.chance)().clamp(0.0, 1.0)).max(SHORTEST);
        failures.rests = Instant::now() + wait.min(REST);
        wait
    }

    /// How long an object still rests that failed just now, and has not changed since.
    pub fn rest(&self, key: &Key, generation: Option<i64>) -> Option<Duration> {
        let all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = all.get(key).filter(|failures| failures.generation == generation)?;
        failures.rests.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())
    }

    /// Forgets the failures of an object, since it succeeded or is gone.
    pub fn succeeded(&self, key: &Key) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// A time somewhat shorter or longer (a tenth), so that what began together does not stay together.
    pub fn spread(&self, duration: Duration) -> Duration {
        duration.mul_f64(0.9 + 0.2 * (self.chance)().clamp(0.0, 1.0))
    }
}

impl std::fmt::Debug for Backoff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backoff").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        ("MailDomain", "uid".to_owned())
    }

    #[test]
    fn bounds_double_up_to_the_longest() {
        let backoff = Backoff::new(|| 1.0);
        let waits: Vec<u64> = (0..11).map(|_| backoff.failed(&key(), Some(1)).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        for _ in 0..100 {
            assert_eq!(backoff.failed(&key(), Some(1)), LONGEST);
        }
    }

    #[test]
    fn success_and_another_spec_begin_anew() {
        let backoff = Backoff::new(|| 1.0);
        backoff.failed(&key(), Some(1));
        backoff.failed(&key(), Some(1));
        assert_eq!(backoff.failed(&key(), Some(2)), BASE, "the spec changed");
        backoff.failed(&key(), Some(2));
        backoff.succeeded(&key());
        assert_eq!(backoff.failed(&key(), Some(2)), BASE, "it succeeded in between");
        assert_eq!(
            backoff.failed(&("MailRegion", "uid".to_owned()), Some(2)),
            BASE,
            "objects do not share failures"
        );
    }

    #[test]
    fn an_object_that_failed_rests_unless_it_is_changed() {
        let backoff = Backoff::new(|| 1.0);
        assert_eq!(backoff.rest(&key(), Some(1)), None);
        backoff.failed(&key(), Some(1));
        assert!(backoff.rest(&key(), Some(1)).is_some_and(|rest| rest <= BASE));
        assert_eq!(backoff.rest(&key(), Some(2)), None);
        backoff.succeeded(&key());
        assert_eq!(backoff.rest(&key(), Some(1)), None);
    }

    #[test]
    fn jitter_is_full_but_never_a_busy_loop() {
        assert_eq!(Backoff::new(|| 0.0).failed(&key(), None), SHORTEST);
        let half = Backoff::new(|| 0.5);
        assert_eq!(half.failed(&key(), None), BASE / 2);
        assert_eq!(half.spread(Duration::from_secs(600)), Duration::from_secs(600));
        assert_eq!(Backoff::new(|| 0.0).spread(Duration::from_secs(600)), Duration::from_secs(540));
    }
}
