//! The limits of a destination, from the configuration.

use std::sync::Arc;
use std::time::Duration;

use ekitei_config::{Queue, QueueWarmUp, parse_day};

use crate::schedule::RetrySchedule;

const DAY: u64 = 86_400;

/// The limits of a destination.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Messages at once, at least 1.
    pub(crate) concurrency: usize,
    /// Messages a minute; 0 for no limit.
    pub(crate) per_minute: u32,
    /// Messages an hour; 0 for no limit.
    pub(crate) per_hour: u32,
    /// When entries are tried again.
    pub(crate) schedule: Arc<RetrySchedule>,
    /// The name of the warm-up schedule that counts it.
    pub(crate) warm_up: Option<Arc<str>>,
}

impl Rules {
    /// The rules for a destination (a domain as A-labels, or an address literal).
    pub(crate) fn of(config: &Queue, destination: &str) -> Self {
        let rule = config.destinations.iter().find(|rule| any_matches(&rule.domains, destination));
        let waits = rule.map(|rule| &rule.retry_schedule).filter(|waits| !waits.is_empty());
        let waits = waits.unwrap_or(&config.retry_schedule).iter().map(|wait| wait.get()).collect();
        let lifetime = rule.and_then(|rule| rule.lifetime).unwrap_or(config.lifetime);
        let schedule = RetrySchedule::new(waits, lifetime.get(), config.delay_notice.get());
        let warm_up = config.warm_up.iter().find(|warm_up| any_matches(&warm_up.domains, destination));
        let concurrency = rule.and_then(|rule| rule.concurrency).unwrap_or(config.concurrency);
        Self {
            concurrency: usize::try_from(concurrency).unwrap_or(usize::MAX).max(1),
            per_minute: rule.and_then(|rule| rule.rate_per_minute).unwrap_or(config.rate_per_minute),
            per_hour: rule.and_then(|rule| rule.rate_per_hour).unwrap_or(config.rate_per_hour),
            schedule: Arc::new(schedule),
            warm_up: warm_up.map(|warm_up| warm_up.name.as_str().into()),
        }
    }
}

/// How many messages a warm-up schedule allows on the day of `now` (since the epoch), and which day that is; `None` for no limit: before its
/// first day and after its last.
pub(crate) fn warm_up_limit(warm_up: &QueueWarmUp, now: Duration) -> Option<(u64, u32)> {
    let day = now.as_secs() / DAY;
    let index = day.checked_sub(parse_day(&warm_up.start)?)?;
    let limit = warm_up.messages_per_day.get(usize::try_from(index).ok()?)?;
    Some((day, *limit))
}

fn any_matches(patterns: &[String], destination: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, destination))
}

/// `*` is everything, `*.example.com` each subdomain, and anything else itself.
fn matches(pattern: &str, destination: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some("") => true,
        Some(suffix) => {
            let split = destination.len().checked_sub(suffix.len()).filter(|&at| at > 0);
            split.and_then(|at| destination.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        }
        None => pattern.eq_ignore_ascii_case(destination),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ekitei_config::QueueDestination;

    #[test]
    fn patterns_name_a_domain_its_subdomains_or_everything() {
        for (pattern, destination, expected) in [
            ("example.com", "example.com", true),
            ("example.com", "EXAMPLE.com", true),
            ("example.com", "a.example.com", false),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "badexample.com", false),
            ("*", "[192.0.2.1]", true),
        ] {
            assert_eq!(matches(pattern, destination), expected, "{pattern} {destination}");
        }
    }

    #[test]
    fn the_first_rule_that_names_a_domain_counts_and_the_rest_is_general() {
        let rule = |domain: &str, concurrency, rate_per_minute| QueueDestination {
            domains: vec![domain.to_owned()],
            concurrency,
            rate_per_minute,
            ..QueueDestination::default()
        };
        let destinations = vec![rule("*.slow.example", Some(2), None), rule("*", None, Some(60))];
        let config = Queue { destinations, concurrency: 7, ..Queue::default() };
        let slow = Rules::of(&config, "mx.slow.example");
        assert_eq!((slow.concurrency, slow.per_minute), (2, 0));
        let other = Rules::of(&config, "other.example");
        assert_eq!((other.concurrency, other.per_minute), (7, 60));
    }

    #[test]
    fn a_warm_up_has_a_limit_for_each_of_its_days() {
        let warm_up = QueueWarmUp {
            start: "2026-11-22".to_owned(),
            messages_per_day: vec![50, 100],
            ..QueueWarmUp::default()
        };
        let day = |n: u64| Duration::from_secs((20_779 + n) * DAY + 5);
        assert_eq!(warm_up_limit(&warm_up, day(0)), Some((20_779, 50)));
        assert_eq!(warm_up_limit(&warm_up, day(1)), Some((20_780, 100)));
        assert_eq!(warm_up_limit(&warm_up, day(2)), None);
        assert_eq!(warm_up_limit(&warm_up, day(0) - Duration::from_secs(10)), None);
    }
}
