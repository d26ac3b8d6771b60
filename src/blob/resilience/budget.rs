//! The budget of retries: all calls together may add a share of requests to the load and no more, so that a store which fails because it
//! has too much to do does not get more to do.

use std::sync::{Mutex, PoisonError};

/// What one retry costs.
const PRICE: u64 = 100;

/// Calls earn, retries and second requests spend.
pub(super) struct Budget {
    share: u64,
    most: u64,
    saved: Mutex<u64>,
}

impl Budget {
    /// Allows `share` retries per hundred calls, and `reserve` at once.
    pub(super) fn new(share: u32, reserve: u32) -> Self {
        let most = u64::from(reserve) * PRICE;
        Self { share: share.into(), most, saved: Mutex::new(most) }
    }

    /// A call begins.
    pub(super) fn earn(&self) {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        *saved = (*saved + self.share).min(self.most);
    }

    /// Whether one more request may be made.
    pub(super) fn spend(&self) -> bool {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        match saved.checked_sub(PRICE) {
            Some(rest) => {
                *saved = rest;
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
        let budget = Budget::new(20, 10);
        let retries = (0..1000).filter(|_| {
            budget.earn();
            budget.spend()
        });
        assert!((205..=210).contains(&retries.count()));
    }
}
