//! When a backup is due.

use super::model::LastRun;

/// After a failure it is tried again this much later, in seconds, or after the interval if that is shorter.
const RETRY: u64 = 15 * 60;
const DAY: u64 = 86_400;
/// Seconds that the clock of another process may be ahead.
const AHEAD: u64 = 3600;

/// Whether a backup is due at `now`, in seconds since the epoch.
pub(super) fn is_due(config: &ekitei_config::Backup, last: &LastRun, now: u64) -> bool {
    let interval = config.interval.get().as_secs();
    // One that lies ahead was made by a clock that was wrong.
    let since = last.success.map(|(began, _)| began).filter(|began| *began <= now.saturating_add(AHEAD));
    let due = match config.daily_minutes() {
        Some(minutes) => {
            let at = now / DAY * DAY + u64::from(minutes) * 60;
            // The latest one that is over: today's or yesterday's.
            let latest = if at <= now { at } else { at.saturating_sub(DAY) };
            since.is_none_or(|since| since < latest)
        }
        None if interval == 0 => false,
        None => since.is_none_or(|since| since.saturating_add(interval) <= now),
    };
    let retry = if interval == 0 { RETRY } else { RETRY.min(interval) };
    due && last.failure.is_none_or(|failure| failure.saturating_add(retry) <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(interval: u64, daily_at: Option<&str>) -> ekitei_config::Backup {
        ekitei_config::Backup {
            interval: ekitei_config::Duration::seconds(interval),
            daily_at: daily_at.map(str::to_owned),
            ..ekitei_config::Backup::default()
        }
    }

    fn success(began: u64) -> LastRun {
        LastRun { success: Some((began, 60)), failure: None }
    }

    #[test]
    fn an_interval_counts_from_the_beginning_of_the_last_one() {
        let hourly = config(3600, None);
        assert!(is_due(&hourly, &LastRun::default(), 0));
        assert!(!is_due(&hourly, &success(10_000), 13_599));
        assert!(is_due(&hourly, &success(10_000), 13_600));
        assert!(!is_due(&config(0, None), &LastRun::default(), 1 << 30));
    }

    #[test]
    fn a_time_of_day_is_made_up_for_when_it_was_missed() {
        let nightly = config(0, Some("02:30"));
        let at = |day: u64, hours: u64, minutes: u64| day * DAY + hours * 3600 + minutes * 60;
        assert!(!is_due(&nightly, &success(at(9, 2, 30)), at(10, 2, 29)));
        assert!(is_due(&nightly, &success(at(9, 2, 30)), at(10, 2, 30)));
        assert!(is_due(&nightly, &success(at(8, 2, 30)), at(10, 2, 29)), "yesterday's was missed");
        assert!(!is_due(&nightly, &success(at(10, 2, 31)), at(10, 23, 0)));
        assert!(is_due(&nightly, &LastRun::default(), at(10, 0, 0)));
    }

    #[test]
    fn a_backup_that_a_clock_ahead_of_time_made_does_not_put_off_the_next() {
        assert!(is_due(&config(3600, None), &success(1 << 31), 10 * DAY));
        assert!(is_due(&config(0, Some("02:30")), &success(1 << 31), 10 * DAY));
    }

    #[test]
    fn what_failed_is_tried_again_but_not_at_once() {
        let nightly = config(0, Some("02:30"));
        let failed = LastRun { failure: Some(10 * DAY + 9000), ..success(9 * DAY + 9000) };
        assert!(!is_due(&nightly, &failed, 10 * DAY + 9000 + RETRY - 1));
        assert!(is_due(&nightly, &failed, 10 * DAY + 9000 + RETRY));
    }
}
