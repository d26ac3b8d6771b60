//! How fast a destination is sent to: never more messages within any minute, and any hour, than its rules allow.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Rules;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// When messages were sent, as far as a limit needs it.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    minute: VecDeque<Instant>,
    hour: VecDeque<Instant>,
}

impl Pace {
    /// When the next message may go; now or earlier means at once.
    pub(crate) fn next(&self, rules: &Rules, now: Instant) -> Instant {
        let after = |sent: &VecDeque<Instant>, limit: u32, window: Duration| {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            // The one that has to leave the window before another may enter it.
            let oldest = (limit > 0 && sent.len() >= limit).then(|| sent[sent.len() - limit]);
            oldest.map_or(now, |at| at + window)
        };
        after(&self.minute, rules.per_minute, MINUTE).max(after(&self.hour, rules.per_hour, HOUR))
    }

    /// Counts a message.
    pub(crate) fn count(&mut self, rules: &Rules, now: Instant) {
        let count = |sent: &mut VecDeque<Instant>, limit: u32| {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            if limit == 0 {
                sent.clear();
                return;
            }
            sent.push_back(now);
            while sent.len() > limit {
                sent.pop_front();
            }
        };
        count(&mut self.minute, rules.per_minute);
        count(&mut self.hour, rules.per_hour);
    }

    /// Whether nothing is remembered that could hold a message back.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        let old = |sent: &VecDeque<Instant>, window| sent.back().is_none_or(|&at| at + window <= now);
        old(&self.minute, MINUTE) && old(&self.hour, HOUR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ekitei_config::Queue;

    #[tokio::test(start_paused = true)]
    async fn no_window_holds_more_than_the_limit() {
        let rules = Rules { per_minute: 3, per_hour: 5, ..Rules::of(&Queue::default(), "a.example") };
        let mut pace = Pace::default();
        let start = Instant::now();
        let mut sent = Vec::new();
        for _ in 0..12 {
            tokio::time::sleep_until(pace.next(&rules, Instant::now())).await;
            pace.count(&rules, Instant::now());
            sent.push((Instant::now() - start).as_secs());
        }
        assert_eq!(sent, [0, 0, 0, 60, 60, 3600, 3600, 3600, 3660, 3660, 7200, 7200]);
        assert!(!pace.is_idle(Instant::now()));
        assert!(pace.is_idle(Instant::now() + HOUR));
    }
}
