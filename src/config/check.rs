//! Rules between keys, and bounds that the types do not have.

mod backup;
mod blobs;
mod encryption;
mod filter;
mod listeners;
mod mailboxes;
mod queue;
mod relay;
mod scanners;
mod signing;
mod smtp;
mod traces;

use crate::{ByteSize, Config, Duration, Problem, Protocol, Store};

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
