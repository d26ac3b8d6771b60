//! The rules of `signing` and `reports`.

use super::Checks;
use crate::{Config, Duration};

impl Checks {
    pub(super) fn signing(&mut self, config: &Config) {
        let signing = &config.signing;
        let is_name = |name: &String| {
            !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':')
        };
        for (key, names) in
            [("oversignedHeaders", &signing.oversigned_headers), ("signedHeaders", &signing.signed_headers)]
        {
            if let Some((index, name)) = names.iter().enumerate().find(|(_, name)| !is_name(name)) {
                self.error(format!("signing.{key}[{index}]"), name, "must be the name of a header field");
            }
        }
        if signing.algorithms.is_empty() {
            self.error(
                "signing.algorithms",
                "[]",
                "must name one; a domain without keys sends unsigned mail",
            );
        }
        let fixed = ["{yyyy}", "{mm}", "{dd}", "{a}"]
            .iter()
            .fold(signing.selector.clone(), |rest, part| rest.replace(part, "0"));
        let is_label =
            |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-.".contains(&octet);
        if fixed.is_empty() || fixed.len() > 40 || !fixed.bytes().all(is_label) {
            self.error(
                "signing.selector",
                &signing.selector,
                "must be lower-case letters, digits, hyphens, dots, {yyyy}, {mm}, {dd} and {a}, at most 40",
            );
        }
        if signing.keep_retired < config.queue.lifetime {
            self.error(
                "signing.keepRetired",
                signing.keep_retired,
                format!(
                    "must be at least queue.lifetime ({}), or mail that waits fails when it arrives",
                    config.queue.lifetime
                ),
            );
        }
        if !signing.expiration.is_zero() && signing.expiration < config.queue.lifetime {
            self.warn(
                "signing.expiration",
                signing.expiration,
                format!("is shorter than queue.lifetime ({}), so that mail that waits arrives with an expired signature", config.queue.lifetime),
            );
        }
        self.not_zero("signing.maintenanceInterval", signing.maintenance_interval);
    }

    pub(super) fn reports(&mut self, config: &Config) {
        let reports = &config.reports;
        if !reports.from.is_empty() && !reports.from.contains('@') {
            self.error("reports.from", &reports.from, "must be an address");
        }
        self.not_zero("reports.flushInterval", reports.flush_interval);
        self.not_zero("reports.keepReceived", reports.keep_received);
        if reports.spread > Duration::hours(20) {
            self.error(
                "reports.spread",
                reports.spread,
                "must be at most 20h, so that a day's reports leave the next day",
            );
        }
    }
}
