//! When an entry is tried again, when its sender is told that it waits, and when it is given up.
//!
//! The waits between attempts grow as configured (`queue.retrySchedule`), each varied by up to a tenth so that what failed together does not
//! come back together. MT-PRIORITY (RFC 6710 §4.3) shortens or stretches them; BY (RFC 2852) sets a deadline of its own.

use std::time::Duration;

use ekitei_relay::DeliverBy;

/// By how much a wait varies, at most: a tenth of it, in both directions.
const JITTER: f64 = 0.1;

/// The schedule of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySchedule {
    /// The waits between attempts; the last one repeats. Never empty.
    waits: Vec<Duration>,
    lifetime: Duration,
    delay_notice: Option<Duration>,
}

/// What the schedule goes by.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// When the message was received, since the epoch.
    pub received: Duration,
    /// Now, since the epoch.
    pub now: Duration,
    /// Attempts so far, the one that just failed included.
    pub attempts: u32,
    /// BY.
    pub deliver_by: Option<DeliverBy>,
    /// MT-PRIORITY, -9 to 9.
    pub priority: i8,
    /// Whether the sender was told of the delay already.
    pub delay_told: bool,
    /// Whether the sender was told already that the deadline of BY has passed.
    pub deadline_told: bool,
    /// A number from 0 to 1 that varies the wait.
    pub variation: f64,
}

/// What happens to an entry that was not delivered now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is tried again.
    Retry {
        /// When, since the epoch.
        due: Duration,
        /// Why the sender is told now that it waits, if so.
        notice: Option<DelayReason>,
    },
    /// It is returned to its sender.
    GiveUp(Expiry),
}

/// Why a sender is told of a delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DelayReason {
    /// It waits for as long as `queue.delayNotice`.
    Waiting,
    /// The deadline of `BY` with mode `N` has passed: told even if NOTIFY has no DELAY, unless it is NEVER.
    Deadline,
}

/// Why an entry is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Its lifetime is over.
    Lifetime,
    /// The deadline of `BY` with mode `R` has passed.
    Deadline,
}

impl RetrySchedule {
    /// A schedule; without waits, an hour each.
    pub fn new(waits: Vec<Duration>, lifetime: Duration, delay_notice: Duration) -> Self {
        let waits = if waits.is_empty() { vec![Duration::from_secs(3600)] } else { waits };
        Self { waits, lifetime, delay_notice: (!delay_notice.is_zero()).then_some(delay_notice) }
    }

    /// Until when a message is tried, since the epoch.
    pub fn until(&self, received: Duration, deliver_by: Option<DeliverBy>) -> Duration {
        let end = received.saturating_add(self.lifetime);
        match deliver_by {
            Some(by) if by.or_return => end.min(Duration::from_secs(by.deadline)),
            _ => end,
        }
    }

    /// How many attempts the schedule has within the first `age` of a message: what an entry that was put off counts as.
    pub fn attempts_until(&self, age: Duration) -> u32 {
        let mut attempts = 1;
        let mut next = Duration::ZERO;
        for wait in &self.waits {
            next = next.saturating_add(*wait);
            if next > age {
                break;
            }
            attempts += 1;
        }
        attempts
    }

    /// Whether an entry that is due is to be given up without another attempt. Past its lifetime it still has the attempt it is due for.
    pub fn is_too_late(&self, deliver_by: Option<DeliverBy>, now: Duration) -> bool {
        deliver_by.is_some_and(|by| by.or_return && Duration::from_secs(by.deadline) <= now)
    }

    /// What happens after an attempt that left recipients waiting.
    pub fn next(&self, facts: &Facts) -> Decision {
        if self.is_too_late(facts.deliver_by, facts.now) {
            return Decision::GiveUp(Expiry::Deadline);
        }
        let end = facts.received.saturating_add(self.lifetime);
        if end <= facts.now {
            return Decision::GiveUp(Expiry::Lifetime);
        }
        let mut due = facts.now.saturating_add(self.wait(facts)).min(end);
        let mut notice = self.delay_notice.and_then(|after| {
            let told_at = facts.received.saturating_add(after);
            (!facts.delay_told && told_at <= facts.now).then_some(DelayReason::Waiting)
        });
        if let Some(by) = facts.deliver_by {
            // Every wait ends there, so that who waits beyond it is known to have been told.
            let deadline = Duration::from_secs(by.deadline);
            if deadline > facts.now {
                due = due.min(deadline);
            } else if !facts.deadline_told {
                notice = Some(DelayReason::Deadline);
            }
        }
        Decision::Retry { due, notice }
    }

    /// The wait after the attempt, with variation and priority: at 9 half, at -9 double.
    fn wait(&self, facts: &Facts) -> Duration {
        let step = usize::try_from(facts.attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let wait = self.waits[step.min(self.waits.len() - 1)];
        let variation = 1.0 + JITTER * (facts.variation.clamp(0.0, 1.0) * 2.0 - 1.0);
        let priority = 2f64.powf(-f64::from(facts.priority.clamp(-9, 9)) / 9.0);
        wait.mul_f64(variation * priority).max(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);
    const START: Duration = Duration::from_secs(1_000_000);

    fn schedule() -> RetrySchedule {
        RetrySchedule::new(vec![2 * MINUTE, 5 * MINUTE, HOUR], 24 * HOUR, 4 * HOUR)
    }

    fn facts(attempts: u32, after: Duration) -> Facts {
        Facts {
            received: START,
            now: START + after,
            attempts,
            deliver_by: None,
            priority: 0,
            delay_told: false,
            deadline_told: false,
            variation: 0.5,
        }
    }

    fn due_in(facts: &Facts) -> Duration {
        match schedule().next(facts) {
            Decision::Retry { due, .. } => due - facts.now,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn waits_follow_the_schedule_and_the_last_one_repeats() {
        let waits: Vec<_> = (1..=5).map(|attempts| due_in(&facts(attempts, MINUTE))).collect();
        assert_eq!(waits, [2 * MINUTE, 5 * MINUTE, HOUR, HOUR, HOUR]);
    }

    #[test]
    fn an_age_stands_for_the_attempts_within_it() {
        let at = |age| schedule().attempts_until(age);
        assert_eq!([at(Duration::ZERO), at(2 * MINUTE), at(7 * MINUTE), at(10 * HOUR)], [1, 2, 3, 4]);
    }

    #[test]
    fn the_last_attempt_is_at_the_end_of_the_lifetime_and_then_it_is_over() {
        assert_eq!(due_in(&facts(9, 24 * HOUR - MINUTE)), MINUTE);
        assert_eq!(schedule().next(&facts(9, 24 * HOUR)), Decision::GiveUp(Expiry::Lifetime));
    }

    #[test]
    fn the_sender_hears_of_a_delay_once() {
        let notice = |facts: &Facts| match schedule().next(facts) {
            Decision::Retry { notice, .. } => notice,
            other => panic!("{other:?}"),
        };
        assert_eq!(notice(&facts(3, 3 * HOUR)), None);
        assert_eq!(notice(&facts(3, 4 * HOUR)), Some(DelayReason::Waiting));
        assert_eq!(notice(&Facts { delay_told: true, ..facts(3, 4 * HOUR) }), None);
        let never = RetrySchedule::new(vec![HOUR], 24 * HOUR, Duration::ZERO);
        assert!(matches!(never.next(&facts(3, 5 * HOUR)), Decision::Retry { notice: None, .. }));
    }

    #[test]
    fn a_deadline_with_mode_r_ends_it_and_with_mode_n_is_told() {
        let by = |or_return| Some(DeliverBy { deadline: (START + HOUR).as_secs(), or_return });
        let waiting = Facts { deliver_by: by(true), ..facts(3, 30 * MINUTE) };
        assert_eq!(due_in(&waiting), 30 * MINUTE, "it is looked at again at the deadline");
        assert!(!schedule().is_too_late(waiting.deliver_by, waiting.now));
        let late = Facts { deliver_by: by(true), ..facts(3, HOUR) };
        assert_eq!(schedule().next(&late), Decision::GiveUp(Expiry::Deadline));
        assert!(schedule().is_too_late(late.deliver_by, late.now));
        let late = Facts { deliver_by: by(false), ..late };
        assert!(!schedule().is_too_late(late.deliver_by, late.now));
        let notice = Some(DelayReason::Deadline);
        let again = |notice| Decision::Retry { due: late.now + HOUR, notice };
        assert_eq!(schedule().next(&late), again(notice));
        assert_eq!(
            schedule().next(&Facts { delay_told: true, ..late }),
            again(notice),
            "a delay is another matter"
        );
        assert_eq!(schedule().next(&Facts { deadline_told: true, ..late }), again(None));
    }

    #[test]
    fn urgent_mail_is_tried_twice_as_often_and_bulk_half_as_often() {
        let with = |priority| due_in(&Facts { priority, ..facts(3, MINUTE) });
        assert_eq!(with(9), HOUR / 2);
        assert_eq!(with(-9), 2 * HOUR);
        assert!(with(3) < HOUR && with(3) > with(4));
    }

    proptest! {
        #[test]
        fn the_next_attempt_is_later_than_now_and_not_after_the_end(
            attempts in 0u32..100, after in 0u64..100_000, priority in -9i8..=9, variation in 0.0f64..=1.0,
            deadline in proptest::option::of(0u64..100_000), or_return: bool,
        ) {
            let deliver_by = deadline.map(|s| DeliverBy { deadline: START.as_secs() + s, or_return });
            let facts = Facts { priority, variation, deliver_by, ..facts(attempts, Duration::from_secs(after)) };
            match schedule().next(&facts) {
                Decision::Retry { due, .. } => {
                    prop_assert!(due > facts.now);
                    prop_assert!(due <= schedule().until(START, deliver_by));
                }
                Decision::GiveUp(_) => prop_assert!(schedule().until(START, deliver_by) <= facts.now),
            }
        }
    }
}
