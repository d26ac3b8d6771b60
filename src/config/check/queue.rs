//! The rules of `queue`.

use super::Checks;
use crate::{Config, Duration};

impl Checks {
    pub(super) fn queue(&mut self, config: &Config) {
        let queue = &config.queue;
        for (path, waits) in
            [("queue.retrySchedule", &queue.retry_schedule), ("queue.backoff", &queue.backoff)]
        {
            if waits.is_empty() {
                self.error(path, "[]", "must have at least one duration");
            }
            waits.iter().enumerate().for_each(|(n, &wait)| self.not_zero(&format!("{path}[{n}]"), wait));
        }
        self.not_zero("queue.lifetime", queue.lifetime);
        self.not_zero("queue.priorityAging", queue.priority_aging);
        if queue.suppression.bounces > 0 {
            self.not_zero("queue.suppression.window", queue.suppression.window);
            self.not_zero("queue.suppression.duration", queue.suppression.duration);
        }
        if queue.lease < Duration::seconds(3) || queue.lease > Duration::seconds(18) {
            self.error(
                "queue.lease",
                queue.lease,
                "must be from 3s to 18s, so that work of a process that died is taken up within 30s",
            );
        }
        for (index, rule) in queue.destinations.iter().enumerate() {
            let path = format!("queue.destinations[{index}]");
            self.destination_patterns(&path, &rule.domains);
            if rule.concurrency == Some(0) {
                self.error(format!("{path}.concurrency"), 0, "must be at least 1");
            }
            rule.retry_schedule
                .iter()
                .enumerate()
                .for_each(|(n, &wait)| self.not_zero(&format!("{path}.retrySchedule[{n}]"), wait));
        }
        for (index, warm_up) in queue.warm_up.iter().enumerate() {
            let path = format!("queue.warmUp[{index}]");
            self.destination_patterns(&path, &warm_up.domains);
            if crate::units::parse_day(&warm_up.start).is_none() {
                self.error(format!("{path}.start"), &warm_up.start, "must be a day such as 2026-11-22");
            }
            if warm_up.name.is_empty()
                || queue.warm_up[..index].iter().any(|other| other.name == warm_up.name)
            {
                self.error(
                    format!("{path}.name"),
                    &warm_up.name,
                    "must be a name that no other schedule has",
                );
            }
        }
        let copies_to = &queue.notifications.double_bounces_to;
        if !copies_to.is_empty() && !copies_to.contains('@') {
            self.error("queue.notifications.doubleBouncesTo", copies_to, "must be an address");
        }
    }

    fn destination_patterns(&mut self, path: &str, patterns: &[String]) {
        if patterns.is_empty() {
            self.error(format!("{path}.domains"), "[]", "must name at least one domain, or *");
        }
        for (n, pattern) in patterns.iter().enumerate() {
            let name = pattern.strip_prefix("*.").unwrap_or(pattern);
            if pattern != "*" && (name.is_empty() || name.contains('*') || !name.is_ascii()) {
                self.error(
                    format!("{path}.domains[{n}]"),
                    pattern,
                    "must be a domain as A-labels, one with *. in front for its subdomains, or *",
                );
            }
        }
    }
}
