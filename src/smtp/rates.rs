//! How fast clients and users may send. Counted in the memory of this process: each pod of a cluster allows as much.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ekitei_directory::AccountId;
use ekitei_net::{AddressKey, RateLimiter};

/// Addresses and accounts whose rate is remembered.
const MAX_KEYS: usize = 100_000;

/// Rates of messages by address and by account, and recipients by account and day.
#[derive(Debug)]
pub(crate) struct Rates {
    by_address: RateLimiter<AddressKey>,
    by_account: RateLimiter<AccountId>,
    today: Mutex<Today>,
}

#[derive(Debug, Default)]
struct Today {
    /// Days since the epoch, in UTC.
    day: u64,
    recipients: HashMap<AccountId, u32>,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            by_address: RateLimiter::new(MAX_KEYS),
            by_account: RateLimiter::new(MAX_KEYS),
            today: Mutex::default(),
        }
    }
}

impl Rates {
    /// Counts a message from `address`, unless it is one too many.
    pub(crate) fn message_from(&self, address: IpAddr, per_minute: u32) -> bool {
        self.by_address.allow(&address.into(), per_minute)
    }

    /// Counts a message of `account`, unless it is one too many.
    pub(crate) fn message_of(&self, account: AccountId, per_minute: u32) -> bool {
        self.by_account.allow(&account, per_minute)
    }

    /// Counts a recipient of a message of `account`, unless it is one too many for this day. A limit of 0 is none.
    pub(crate) fn recipient_of(&self, account: AccountId, per_day: u32, now: Duration) -> bool {
        if per_day == 0 {
            return true;
        }
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        let day = now.as_secs() / 86_400;
        if today.day != day {
            *today = Today { day, recipients: HashMap::new() };
        }
        let count = today.recipients.entry(account).or_insert(0);
        if *count >= per_day {
            return false;
        }
        *count += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_counted_by_account_and_day() {
        let rates = Rates::default();
        let (alice, bob) = (AccountId::new(1), AccountId::new(2));
        let day = Duration::from_secs(86_400);
        assert!(rates.recipient_of(alice, 2, day) && rates.recipient_of(alice, 2, day));
        assert!(!rates.recipient_of(alice, 2, day));
        assert!(rates.recipient_of(bob, 2, day), "accounts do not share a count");
        assert!(rates.recipient_of(alice, 2, day * 2), "tomorrow is another day");
        assert!((0..100).all(|_| rates.recipient_of(alice, 0, day * 2)), "0 is no limit");
    }
}
