//! Rules between keys, and bounds that the types do not have.

mod backup;
mod blobs;
mod encryption;
mod relay;
mod scanners;
mod traces;

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::{ByteSize, Config, Duration, Problem, Protocol, Store};

/// The most that one transaction may write; a batch of bodies leaves room for their rows.
const MAX_BATCH: ByteSize = ByteSize::mib(8);
/// Octets of what all keys in a shared cluster begin with.
const MAX_PREFIX: usize = 256;

/// All problems of `config`, in the order of the sections.
pub(crate) fn check(config: &Config) -> Vec<Problem> {
    let mut checks = Checks { problems: Vec::new() };
    checks.hostname(&config.hostname);
    checks.store(config);
    checks.cluster(config);
    checks.blobs(config);
    checks.encryption(config);
    checks.backup(config);
    checks.listeners(config);
    checks.smtp(config);
    checks.trusted_networks(config);
    checks.filter(config);
    checks.client_limits(config);
    checks.greylist(config);
    checks.dns_lists(config);
    checks.scanners(config);
    checks.queue(config);
    checks.relay(config);
    checks.imap(config);
    checks.pop3(config);
    checks.directory(config);
    checks.mailstore(config);
    checks.signing(config);
    checks.reports(config);
    checks.process(config);
    checks.traces(config);
    checks.problems
}

struct Checks {
    problems: Vec<Problem>,
}

impl Checks {
    fn error(&mut self, path: impl Into<String>, value: impl ToString, message: impl Into<String>) {
        self.problems.push(Problem::error(path, Some(value.to_string()), message));
    }

    fn warn(&mut self, path: impl Into<String>, value: impl ToString, message: impl Into<String>) {
        self.problems.push(Problem::warning(path, Some(value.to_string()), message));
    }

    /// A time that would end everything at once if it were nothing.
    fn not_zero(&mut self, path: &str, value: Duration) {
        if value.is_zero() {
            self.error(path, value, "must be longer than 0");
        }
    }

    fn at_least(&mut self, path: &str, value: ByteSize, least: ByteSize, why: &str) {
        if value < least {
            self.error(path, value, format!("must be at least {least}: {why}"));
        }
    }

    fn at_most(&mut self, path: &str, value: ByteSize, most: ByteSize, why: &str) {
        if value > most {
            self.error(path, value, format!("must be at most {most}: {why}"));
        }
    }

    fn hostname(&mut self, name: &str) {
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() > 253 || !name.split('.').all(label) {
            self.error(
                "hostname",
                name,
                "must be a host name of letters, digits, hyphens and dots, such as mx1.example.com",
            );
        } else if !name.contains('.') {
            self.warn(
                "hostname",
                name,
                "is not a full name such as mx1.example.com; other hosts may refuse it",
            );
        }
    }

    fn store(&mut self, config: &Config) {
        if let Store::FoundationDb { prefix, .. } = &config.store
            && prefix.len() > MAX_PREFIX
        {
            self.error("store.prefix", prefix, "must have at most 256 octets, since it is part of every key");
        }
    }

    fn cluster(&mut self, config: &Config) {
        self.not_zero("cluster.interval", config.cluster.interval);
        if !config.cluster.work && matches!(config.store, Store::Embedded { .. }) {
            self.error(
                "cluster.work",
                false,
                "the embedded store has one process, so nobody would send mail",
            );
        }
    }

    fn listeners(&mut self, config: &Config) {
        if config.listeners.is_empty() {
            self.problems.push(Problem::warning("listeners", None, "there is none, so nothing is served"));
        }
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut addresses: HashMap<SocketAddr, usize> = HashMap::new();
        for (index, listener) in config.listeners.iter().enumerate() {
            let path = format!("listeners[{index}]");
            if let Some(first) = names.insert(listener.label().into_owned(), index) {
                self.error(
                    format!("{path}.name"),
                    listener.label(),
                    format!("is the name of listeners[{first}] too; give one of them another"),
                );
            }
            let fixed = listener.address.port() != 0;
            if fixed && let Some(first) = addresses.insert(listener.address, index) {
                self.error(
                    format!("{path}.address"),
                    listener.address,
                    format!("is the address of listeners[{first}] too"),
                );
            }
            if listener.protocol.implicit_tls() && config.tls.certificates.is_empty() {
                self.warn(
                    format!("{path}.protocol"),
                    listener.protocol,
                    "there is no certificate in tls.certificates: until one is stored (ekitei certificate set), clients are turned away",
                );
            }
            if listener.proxy_protocol.as_ref().is_some_and(|proxy| proxy.trusted_networks.is_empty()) {
                self.error(
                    format!("{path}.proxyProtocol.trustedNetworks"),
                    "[]",
                    "must name the load balancers, or every connection would be closed",
                );
            }
            let public = !listener.address.ip().is_loopback();
            if listener.protocol == Protocol::Lmtp && public {
                self.warn(
                    format!("{path}.address"),
                    listener.address,
                    "LMTP has no authentication: make sure that only the front end reaches it",
                );
            }
            if listener.protocol == Protocol::Http && public {
                self.warn(
                    format!("{path}.address"),
                    listener.address,
                    "the admin API is plain HTTP: put TLS in front of it, or let it listen on 127.0.0.1",
                );
            }
        }
    }

    fn smtp(&mut self, config: &Config) {
        let smtp = &config.smtp;
        self.at_least("smtp.maxMessageSize", smtp.max_message_size, ByteSize::kib(64), "RFC 5321 §4.5.3.1.7");
        self.at_least(
            "smtp.maxCommandLength",
            smtp.max_command_length,
            ByteSize::bytes(512),
            "RFC 5321 §4.5.3.1.4",
        );
        self.at_least(
            "smtp.maxBodiesInFlight",
            smtp.max_bodies_in_flight,
            smtp.max_message_size,
            "one message of smtp.maxMessageSize must fit",
        );
        if smtp.max_recipients < 100 {
            self.warn(
                "smtp.maxRecipients",
                smtp.max_recipients,
                "is less than the 100 of RFC 5321 §4.5.3.1.8",
            );
        }
        let least = crate::SmtpTimeouts::default();
        let times = &smtp.timeouts;
        for (key, value, least) in [
            ("command", times.command, least.command),
            ("dataInit", times.data_init, least.data_init),
            ("dataBlock", times.data_block, least.data_block),
        ] {
            let path = format!("smtp.timeouts.{key}");
            self.not_zero(&path, value);
            if !value.is_zero() && value < least {
                self.warn(path, value, format!("is shorter than the {least} of RFC 5321 §4.5.3.2"));
            }
        }
        self.not_zero("smtp.timeouts.dataEnd", times.data_end);
        self.not_zero("smtp.timeouts.store", times.store);
        if times.store > Duration::minutes(10) {
            self.warn(
                "smtp.timeouts.store",
                times.store,
                "is longer than clients wait (10m, RFC 5321 §4.5.3.2.6), who then send the message again",
            );
        }
        if smtp.tarpit_delay > smtp.max_tarpit_delay {
            self.error("smtp.tarpitDelay", smtp.tarpit_delay, "must be at most smtp.maxTarpitDelay");
        }
        if smtp.submission.allow_insecure_auth {
            self.warn("smtp.submission.allowInsecureAuth", true, "passwords cross the network in the clear");
        }
        if smtp.banner.chars().any(char::is_control) {
            self.error("smtp.banner", format!("{:?}", smtp.banner), "must be one line");
        }
    }

    /// Relaying for a trusted network must not become relaying for everyone.
    fn trusted_networks(&mut self, config: &Config) {
        for (index, network) in config.smtp.trusted_networks.iter().enumerate() {
            let path = format!("smtp.trustedNetworks[{index}]");
            if network.is_everything() {
                self.error(path, network, "is the whole Internet: that is an open relay");
                continue;
            }
            let balancer = config.listeners.iter().enumerate().find(|(_, listener)| {
                let balancers = listener.proxy_protocol.iter().flat_map(|proxy| &proxy.trusted_networks);
                matches!(listener.protocol, Protocol::Smtp | Protocol::Submission | Protocol::Submissions)
                    && balancers.into_iter().any(|balancer| balancer.overlaps(network))
            });
            if let Some((listener, _)) = balancer {
                self.error(
                    path,
                    network,
                    format!(
                        "overlaps listeners[{listener}].proxyProtocol.trustedNetworks: whoever comes through that load balancer could relay"
                    ),
                );
            }
        }
    }

    fn filter(&mut self, config: &Config) {
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

    fn client_limits(&mut self, config: &Config) {
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

    fn greylist(&mut self, config: &Config) {
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

    fn dns_lists(&mut self, config: &Config) {
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

    fn queue(&mut self, config: &Config) {
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

    fn imap(&mut self, config: &Config) {
        let imap = &config.imap;
        self.at_least("imap.maxLineLength", imap.max_line_length, ByteSize::bytes(1000), "RFC 2683 §3.2.1.5");
        self.at_least(
            "imap.maxCommandSize",
            imap.max_command_size,
            imap.max_literal,
            "one literal of imap.maxLiteral must fit",
        );
        self.at_least(
            "imap.maxBodiesInFlight",
            imap.max_bodies_in_flight,
            imap.append_limit,
            "one message of imap.appendLimit must fit",
        );
        self.at_least("imap.outputBuffer", imap.output_buffer, ByteSize::kib(1), "a response line must fit");
        self.not_zero("imap.authTimeout", imap.auth_timeout);
        self.not_zero("imap.idleTimeout", imap.idle_timeout);
        self.not_zero("imap.writeTimeout", imap.write_timeout);
        self.not_zero("imap.search.timeout", imap.search.timeout);
        if imap.idle_timeout < Duration::minutes(30) {
            self.warn("imap.idleTimeout", imap.idle_timeout, "is shorter than the 30m of RFC 9051 §5.4");
        }
        if imap.allow_insecure_auth {
            self.warn("imap.allowInsecureAuth", true, "passwords cross the network in the clear");
        }
    }

    fn pop3(&mut self, config: &Config) {
        let pop3 = &config.pop3;
        self.at_least("pop3.maxLineLength", pop3.max_line_length, ByteSize::bytes(255), "RFC 2449 §4");
        self.not_zero("pop3.authTimeout", pop3.auth_timeout);
        self.not_zero("pop3.idleTimeout", pop3.idle_timeout);
        self.not_zero("pop3.writeTimeout", pop3.write_timeout);
        if pop3.lease < Duration::seconds(3) {
            self.error("pop3.lease", pop3.lease, "must be at least 3s, or it could end before it is renewed");
        }
        if pop3.idle_timeout < Duration::minutes(10) {
            self.warn("pop3.idleTimeout", pop3.idle_timeout, "is shorter than the 10m of RFC 1939 §3");
        }
        if pop3.allow_insecure_auth {
            self.warn("pop3.allowInsecureAuth", true, "passwords cross the network in the clear");
        }
    }

    fn directory(&mut self, config: &Config) {
        let hashing = &config.directory.password_hashing;
        let least = ByteSize::kib(8 * u64::from(hashing.parallelism));
        self.at_least("directory.passwordHashing.memory", hashing.memory, least, "RFC 9106 §3.1");
        let weak = hashing.memory.get() * u64::from(hashing.iterations) < ByteSize::mib(38).get();
        if weak {
            self.warn(
                "directory.passwordHashing.memory",
                hashing.memory,
                "with these iterations costs a guesser less than the 19MiB x 2 that OWASP recommends",
            );
        }
        let separator = &config.directory.plus_addressing_separator;
        let usable = |c: char| "+-_=#~".contains(c);
        let mut characters = separator.chars();
        if characters.next().is_some_and(|c| !usable(c)) || characters.next().is_some() {
            self.error(
                "directory.plusAddressingSeparator",
                format!("{separator:?}"),
                "must be empty or one of + - _ = # ~",
            );
        }
    }

    fn mailstore(&mut self, config: &Config) {
        let batch = &config.mailstore.delivery_batch;
        self.at_most(
            "mailstore.deliveryBatch.maxBytes",
            batch.max_bytes,
            MAX_BATCH,
            "transactions end at 10 MB",
        );
        self.not_zero("mailstore.maintenanceInterval", config.mailstore.maintenance_interval);
        self.not_zero("mailstore.watchPollInterval", config.mailstore.watch_poll_interval);
    }

    fn reports(&mut self, config: &Config) {
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

    fn signing(&mut self, config: &Config) {
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

    fn process(&mut self, config: &Config) {
        let serves_http = config.listeners.iter().any(|listener| listener.protocol == Protocol::Http);
        match &config.admin.token {
            None if serves_http => self.problems.push(Problem::warning(
                "admin.token",
                None,
                "there is none, so the admin API answers 503",
            )),
            Some(token) if token.is_empty() => {
                self.problems.push(Problem::error("admin.token", None, "must not be empty"))
            }
            Some(token) if token.expose().len() < 16 => self.problems.push(Problem::warning(
                "admin.token",
                None,
                "is shorter than 16 characters and could be guessed",
            )),
            _ => {}
        }
        self.not_zero("admin.requestTimeout", config.admin.request_timeout);
        self.not_zero("limits.tlsHandshakeTimeout", config.limits.tls_handshake_timeout);
        self.not_zero("limits.proxyHeaderTimeout", config.limits.proxy_header_timeout);
        if config.shutdown.grace.is_zero() {
            self.warn("shutdown.grace", config.shutdown.grace, "cuts off clients in the middle of a command");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::{Config, ConfigError, Severity};

    /// The paths of what is wrong.
    fn errors(text: &str) -> Vec<String> {
        match Config::parse(text, &|_| None) {
            Err(ConfigError::Invalid(problems)) => problems.into_iter().map(|problem| problem.path).collect(),
            Err(other) => panic!("{other}"),
            Ok(_) => Vec::new(),
        }
    }

    /// The paths of what is doubtful.
    fn warnings(text: &str) -> Vec<String> {
        let problems = Config::parse(text, &|_| None).unwrap().check();
        assert!(problems.iter().all(|problem| problem.severity == Severity::Warning));
        problems.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn an_open_relay_cannot_be_configured() {
        assert_eq!(errors("smtp: { trustedNetworks: [0.0.0.0/0] }"), ["smtp.trustedNetworks[0]"]);
        assert_eq!(errors("smtp: { trustedNetworks: ['::/0'] }"), ["smtp.trustedNetworks[0]"]);
        let behind_balancer = "
smtp: { trustedNetworks: [10.1.0.0/16] }
listeners: [{ protocol: smtp, address: 0.0.0.0:25, proxyProtocol: { trustedNetworks: [10.0.0.0/8] } }]";
        assert_eq!(errors(behind_balancer), ["smtp.trustedNetworks[0]"]);
        assert!(errors("smtp: { trustedNetworks: [10.1.0.0/16] }").is_empty());
    }

    #[test]
    fn the_only_process_cannot_leave_its_work_to_others() {
        assert_eq!(errors("cluster: { work: false }"), ["cluster.work"]);
        assert!(
            errors(
                "cluster: { work: false }\nstore: { kind: foundationdb }\nblobs: { kind: s3, bucket: mail }"
            )
            .is_empty()
        );
    }

    #[test]
    fn listeners_must_be_able_to_work() {
        let text = "
listeners:
  - { protocol: imap, address: 0.0.0.0:143 }
  - { protocol: smtp, address: 0.0.0.0:25 }
  - { protocol: smtp, address: 0.0.0.0:25, proxyProtocol: {} }";
        assert_eq!(
            errors(text),
            ["listeners[2].name", "listeners[2].address", "listeners[2].proxyProtocol.trustedNetworks"]
        );
    }

    #[test]
    fn a_listener_may_wait_for_a_stored_certificate() {
        let waiting = "hostname: mx.example.com\nlisteners: [{ protocol: imaps, address: '0.0.0.0:993' }]";
        assert_eq!(warnings(waiting), ["listeners[0].protocol"]);
        let files = format!("{waiting}\ntls: {{ certificates: [{{ certificate: a, key: b }}] }}");
        assert_eq!(warnings(&files), [""; 0]);
    }

    #[test]
    fn limits_must_allow_what_other_limits_promise() {
        assert_eq!(errors("smtp: { maxMessageSize: 1GiB }"), ["smtp.maxBodiesInFlight"]);
        assert_eq!(errors("imap: { maxLiteral: 2MiB }"), ["imap.maxCommandSize"]);
        let long = "x".repeat(257);
        assert_eq!(errors(&format!("store: {{ kind: foundationdb, prefix: {long} }}")), ["store.prefix"]);
        assert_eq!(errors("blobs: { inlineLimit: 2MiB }"), ["blobs.inlineLimit"]);
        assert_eq!(errors("blobs: { gracePeriod: 10s }"), ["blobs.gracePeriod"]);
        assert_eq!(
            errors("mailstore: { deliveryBatch: { maxBytes: 20MiB } }"),
            ["mailstore.deliveryBatch.maxBytes"]
        );
        assert_eq!(errors("pop3: { idleTimeout: 0 }"), ["pop3.idleTimeout"]);
        assert_eq!(errors("filter: { limits: { bans: { first: 8d } } }"), ["filter.limits.bans.first"]);
        assert_eq!(errors("filter: { greylist: { delay: 2d } }"), ["filter.greylist.delay"]);
        assert_eq!(
            errors("filter: { dnsLists: { lists: [{ zone: a..b }, { zone: x.test }, { zone: X.test }] } }"),
            ["filter.dnsLists.lists[0].zone", "filter.dnsLists.lists[2].zone"]
        );
        assert_eq!(errors("hostname: 'bad name'"), ["hostname"]);
        assert_eq!(errors("reports: { spread: 1d, from: me }"), ["reports.from", "reports.spread"]);
        assert_eq!(errors("signing: { keepRetired: 1d }"), ["signing.keepRetired"]);
        assert_eq!(errors("signing: { selector: 'Ek{a}' }"), ["signing.selector"]);
        assert_eq!(errors("signing: { signedHeaders: ['X Y'] }"), ["signing.signedHeaders[0]"]);
        assert_eq!(
            errors("directory: { plusAddressingSeparator: '@' }"),
            ["directory.plusAddressingSeparator"]
        );
    }

    #[test]
    fn what_is_only_doubtful_is_a_warning() {
        assert_eq!(warnings(""), ["hostname", "listeners"]);
        let text = "
hostname: mx.example.test
listeners: [{ protocol: http, address: 0.0.0.0:8080 }]
smtp: { maxRecipients: 50, timeouts: { command: 10s } }
imap: { allowInsecureAuth: true }";
        assert_eq!(
            warnings(text),
            [
                "listeners[0].address",
                "smtp.maxRecipients",
                "smtp.timeouts.command",
                "imap.allowInsecureAuth",
                "admin.token"
            ]
        );
    }
}
