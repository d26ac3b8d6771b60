//! Rates per minute, as token buckets in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Counts events by key, such as an [`AddressKey`](crate::AddressKey) or an account.
///
/// Each key has a bucket that holds one minute's worth and is refilled evenly, so short bursts pass and the rate
/// over minutes holds. The number of buckets is bounded; when they are used up, full buckets, which say nothing,
/// are forgotten first, then the fullest.
#[derive(Debug)]
pub struct RateLimiter<K> {
    buckets: Mutex<HashMap<K, Bucket>>,
    max_keys: usize,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Events that may still happen.
    tokens: f64,
    /// When `tokens` was right.
    at: Instant,
    /// The rate when it was last used, for telling how full it is.
    per_minute: u32,
}

impl Bucket {
    fn refill(&mut self, per_minute: u32, now: Instant) {
        let minutes = now.saturating_duration_since(self.at).as_secs_f64() / 60.0;
        self.tokens = (self.tokens + minutes * f64::from(per_minute)).min(f64::from(per_minute));
        self.per_minute = per_minute;
        self.at = now;
    }

    /// From 0, empty, to 1, full.
    fn fullness(mut self, now: Instant) -> f64 {
        self.refill(self.per_minute, now);
        self.tokens / f64::from(self.per_minute)
    }
}

impl<K: Hash + Eq + Clone> RateLimiter<K> {
    /// No events yet; at most `max_keys` buckets are kept.
    pub fn new(max_keys: usize) -> Self {
        Self { buckets: Mutex::new(HashMap::new()), max_keys: max_keys.max(1) }
    }

    /// Counts one event of `key`; `false` when it is over `per_minute`, and then it is not counted. A rate of `0`
    /// is no limit.
    pub fn allow(&self, key: &K, per_minute: u32) -> bool {
        self.allow_at(key, per_minute, 1, Instant::now())
    }

    /// As [`RateLimiter::allow`], for `events` at once and with the time given.
    pub fn allow_at(&self, key: &K, per_minute: u32, events: u32, now: Instant) -> bool {
        if per_minute == 0 {
            return true;
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(key) && buckets.len() >= self.max_keys {
            Self::make_room(&mut buckets, now);
        }
        let bucket = buckets.entry(key.clone()).or_insert(Bucket {
            tokens: f64::from(per_minute),
            at: now,
            per_minute,
        });
        bucket.refill(per_minute, now);
        let allowed = bucket.tokens >= f64::from(events);
        if allowed {
            bucket.tokens -= f64::from(events);
        }
        allowed
    }

    /// Forgets all full buckets, or if there are none the fuller half, so that room is made seldom.
    fn make_room(buckets: &mut HashMap<K, Bucket>, now: Instant) {
        let before = buckets.len();
        buckets.retain(|_, bucket| bucket.fullness(now) < 1.0);
        if buckets.len() < before {
            return;
        }
        let mut fullness: Vec<f64> = buckets.values().map(|bucket| bucket.fullness(now)).collect();
        let middle = fullness.len() / 2;
        let (_, median, _) = fullness.select_nth_unstable_by(middle, f64::total_cmp);
        let median = *median;
        buckets.retain(|_, bucket| bucket.fullness(now) < median);
    }

    /// How many buckets are kept.
    pub fn len(&self) -> usize {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether no bucket is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_minutes_worth_passes_at_once_and_then_the_rate_holds() {
        let limiter = RateLimiter::new(10);
        let start = Instant::now();
        let passed = |at: Instant| (0..100).filter(|_| limiter.allow_at(&"a", 60, 1, at)).count();
        assert_eq!(passed(start), 60);
        assert_eq!(passed(start), 0);
        assert_eq!(passed(start + Duration::from_secs(10)), 10);
        assert_eq!(
            passed(start + Duration::from_secs(600)),
            60,
            "never more than one minute's worth is saved"
        );
        assert!(limiter.allow_at(&"b", 60, 1, start), "keys do not share a bucket");
        assert!(limiter.allow_at(&"a", 0, 1, start), "0 is no limit");
    }

    #[test]
    fn memory_is_bounded_and_the_busiest_are_remembered() {
        let limiter = RateLimiter::new(100);
        let now = Instant::now();
        while limiter.allow_at(&0, 60, 1, now) {}
        for key in 1..10_000 {
            limiter.allow_at(&key, 60, 1, now);
            assert!(limiter.len() <= 100);
        }
        assert!(!limiter.allow_at(&0, 60, 1, now), "a flood of other keys does not wash away a limit");
    }
}
