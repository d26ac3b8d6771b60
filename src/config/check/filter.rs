//! The rules of `filter`, without its scanners.

use std::collections::HashMap;

use super::Checks;
use crate::{Config, Duration};

impl Checks {
    pub(super) fn filter(&mut self, config: &Config) {
        let filter = &config.filter;
        self.not_zero("filter.authentication.timeLimit", filter.authentication.time_limit);
        if !filter.authserv_id.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet)) {
            self.error("filter.authservId", &filter.authserv_id, "must be a name such as mx.example.com");
        }
        let checks = &filter.authentication;
        if checks.enabled && checks.dmarc && !(checks.spf && checks.dkim) {
            self.warn("filter.authentication.dmarc", true, "needs spf and dkim, or good mail will fail it");
        }
        let mut known: HashMap<&str, usize> = HashMap::new();
        let policies = filter.domains.iter().enumerate();
        for (index, of) in policies {
            let path = format!("filter.domains[{index}]");
            let is_name =
                of.domain.contains('.') && !of.domain.contains(|c: char| c.is_uppercase() || !c.is_ascii());
            if !is_name {
                self.error(
                    format!("{path}.domain"),
                    &of.domain,
                    "must be a domain in lower case, as A-labels",
                );
            }
            if let Some(first) = known.insert(&of.domain, index) {
                self.error(
                    format!("{path}.domain"),
                    &of.domain,
                    format!("is that of filter.domains[{first}] too"),
                );
            }
            self.filter_policy(&format!("{path}.policy"), &of.policy);
        }
        self.filter_policy("filter.policy", &filter.policy);
    }

    fn filter_policy(&mut self, path: &str, policy: &crate::FilterPolicy) {
        if policy.reject_score != 0 && policy.reject_score < policy.junk_score {
            self.warn(
                format!("{path}.rejectScore"),
                policy.reject_score,
                "is below junkScore, so nothing will go to Junk by its score",
            );
        }
    }

    pub(super) fn client_limits(&mut self, config: &Config) {
        let limits = &config.filter.limits;
        self.not_zero("filter.limits.syncInterval", limits.sync_interval);
        if limits.sync_interval > Duration::minutes(1) {
            self.error(
                "filter.limits.syncInterval",
                limits.sync_interval,
                "must be at most 1m: rates are of minutes",
            );
        }
        let bans = &limits.bans;
        self.not_zero("filter.limits.bans.first", bans.first);
        if bans.window < Duration::minutes(1) {
            self.error(
                "filter.limits.bans.window",
                bans.window,
                "must be at least 1m, or points would be gone before they are shared",
            );
        }
        if bans.first > bans.longest {
            self.error("filter.limits.bans.first", bans.first, "must be at most filter.limits.bans.longest");
        }
    }

    pub(super) fn greylist(&mut self, config: &Config) {
        let greylist = &config.filter.greylist;
        if greylist.delay >= greylist.retry_window {
            self.error(
                "filter.greylist.delay",
                greylist.delay,
                "must be shorter than filter.greylist.retryWindow, or no mail would ever pass",
            );
        }
        if greylist.retry_window < Duration::hours(1) {
            self.error(
                "filter.greylist.retryWindow",
                greylist.retry_window,
                "must be at least 1h: servers wait that long between attempts",
            );
        }
        for (key, value) in
            [("lifetime", greylist.lifetime), ("knownSenderLifetime", greylist.known_sender_lifetime)]
        {
            if value < Duration::days(1) {
                self.error(format!("filter.greylist.{key}"), value, "must be at least 1d");
            }
        }
    }

    pub(super) fn dns_lists(&mut self, config: &Config) {
        let lists = &config.filter.dns_lists;
        self.not_zero("filter.dnsLists.timeout", lists.timeout);
        let mut seen = HashMap::new();
        for (index, list) in lists.lists.iter().enumerate() {
            let path = format!("filter.dnsLists.lists[{index}].zone");
            let is_name = list.zone.split('.').all(|label| !label.is_empty() && label.len() <= 63);
            if !is_name || list.zone.len() > 180 || list.zone.contains(char::is_whitespace) {
                self.error(
                    &path,
                    format!("{:?}", list.zone),
                    "must be a domain name such as zen.spamhaus.org",
                );
            }
            if let Some(first) = seen.insert((list.zone.to_ascii_lowercase(), list.kind), index) {
                self.error(&path, &list.zone, format!("is filter.dnsLists.lists[{first}] too"));
            }
        }
    }
}
