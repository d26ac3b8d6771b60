//! The budget of retries: all calls together may add a share of requests to the load and no more, so that a store which fails because it
//! has too much to do does not get more to do.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What one retry costs.
const PRICE: u64 = 100;
/// The reserve is whole again after this time, however few calls there are.
const QUIET: Duration = Duration::from_secs(1800);

/// Calls and time earn, retries and second requests spend.
pub(super) struct Budget {
    share: u64,
    reserve: u64,
    saved: Mutex<Saved>,
}

struct Saved {
    amount: u64,
    /// Until when time was credited.
    credited: Instant,
}

impl Budget {
    /// Allows `share` retries per hundred calls, and `reserve` at once.
    pub(super) fn new(share: u32, reserve: u32) -> Self {
        let reserve = u64::from(reserve) * PRICE;
        let saved = Saved { amount: reserve, credited: Instant::now() };
        Self { share: share.into(), reserve, saved: Mutex::new(saved) }
    }

    /// A call begins.
    pub(super) fn earn(&self) {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = self.share + self.credit(&mut saved);
        // Without a reserve, what the share allows must still have a place.
        saved.amount = (saved.amount + earned).min(self.reserve.max(PRICE + self.share));
    }

    /// What the time since the last credit is worth.
    fn credit(&self, saved: &mut Saved) -> u64 {
        let now = Instant::now();
        let elapsed = now.duration_since(saved.credited);
        if elapsed >= QUIET || self.reserve == 0 {
            saved.credited = now;
            return self.reserve;
        }
        let unit = u64::try_from(QUIET.as_nanos()).unwrap_or(u64::MAX) / self.reserve;
        let worth = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX) / unit.max(1);
        // What is left of the time counts the next time.
        saved.credited += Duration::from_nanos(unit * worth);
        worth
    }

    /// Whether one more request may be made, since one failed.
    pub(super) fn spend(&self) -> bool {
        self.spend_above(0)
    }

    /// Whether one more request may be made beside one that is slow. Half of the reserve is kept for those that fail.
    pub(super) fn spend_on_the_slow(&self) -> bool {
        self.spend_above(self.reserve / 2)
    }

    fn spend_above(&self, kept: u64) -> bool {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        match saved.amount.checked_sub(PRICE).filter(|rest| *rest >= kept) {
            Some(rest) => {
                saved.amount = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_adds_a_share_of_the_load_and_the_reserve() {
        for (reserve, most) in [(10, 205..=210), (0, 199..=200)] {
            let budget = Budget::new(20, reserve);
            let retries = (0..1000).filter(|_| {
                budget.earn();
                budget.spend()
            });
            let retries = retries.count();
            assert!(most.contains(&retries), "{retries} with a reserve of {reserve}");
        }
    }

    #[test]
    fn slow_reads_leave_half_of_the_reserve_to_failures() {
        let budget = Budget::new(0, 10);
        assert_eq!((0..100).filter(|_| budget.spend_on_the_slow()).count(), 5);
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_time_brings_the_reserve_back() {
        let budget = Budget::new(0, 10);
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 10);
        for _ in 0..600 {
            tokio::time::advance(QUIET / 1200).await;
            budget.earn();
        }
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 5, "half of the time, half of the reserve");
        tokio::time::advance(QUIET * 10).await;
        budget.earn();
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 10);
    }
}
