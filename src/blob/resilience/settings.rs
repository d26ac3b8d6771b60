//! How patient a [`Resilient`](super::Resilient) store is.

use std::time::Duration;

/// Time limits, retries and numbers of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How long one attempt may take, beside what its octets take.
    pub attempt: Duration,
    /// How long a call may take with all its attempts and pauses, beside what its octets take.
    pub total: Duration,
    /// Octets that the store carries in a second when it is slow: what an attempt carries makes its time limit longer.
    pub min_throughput: u64,
    /// Octets of the largest object: the time limit of a read to an unknown end.
    pub largest_object: u64,
    /// The pause before the first retry, at most; the next ones are up to twice as long each.
    pub first_delay: Duration,
    /// No pause is longer.
    pub max_delay: Duration,
    /// Retries and second requests per hundred calls, in the long run.
    pub retry_share: u32,
    /// Retries and second requests beyond that, after a quiet time.
    pub retry_reserve: u32,
    /// After this long without an answer a read is asked a second time, and the first answer counts; 0: never.
    pub hedge_after: Duration,
    /// How long a new object may be missing for readers.
    pub visibility_delay: Duration,
    /// Requests at the same time.
    pub max_requests: usize,
    /// After nothing but failures for this long the store is away.
    pub away_after: Duration,
    /// How often a store that is away is asked whether it is back.
    pub probe_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attempt: Duration::from_secs(10),
            total: Duration::from_secs(45),
            min_throughput: 1 << 20,
            largest_object: 64 << 20,
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(5),
            retry_share: 20,
            retry_reserve: 100,
            hedge_after: Duration::from_secs(1),
            visibility_delay: Duration::from_secs(2),
            max_requests: 64,
            away_after: Duration::from_secs(10),
            probe_interval: Duration::from_secs(2),
        }
    }
}

impl Settings {
    /// For a store whose calls cannot be broken off and which knows its own mind, such as a directory: one attempt may take all of the
    /// time, and nothing is asked twice at once.
    #[must_use]
    pub fn for_a_disk(mut self) -> Self {
        self.attempt = self.total;
        self.hedge_after = Duration::ZERO;
        self.visibility_delay = Duration::ZERO;
        self
    }

    /// How long so many octets may be on their way.
    pub(super) fn transfer(&self, octets: u64) -> Duration {
        Duration::from_secs_f64(octets as f64 / self.min_throughput.max(1) as f64)
    }
}
