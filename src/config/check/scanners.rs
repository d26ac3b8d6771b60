//! What is wrong or doubtful in `filter.scanners`.

use std::collections::HashMap;

use super::Checks;
use crate::{ByteSize, Config, Milter, ScannerFailure};

/// The least that has room for an answer.
const MIN_ANSWER: ByteSize = ByteSize::kib(1);

impl Checks {
    pub(super) fn scanners(&mut self, config: &Config) {
        let scanners = &config.filter.scanners;
        let (rspamd, learning, clamd) = (&scanners.rspamd, &scanners.rspamd.learning, &scanners.clamd);
        for (key, value) in [
            ("rspamd.connectTimeout", rspamd.connect_timeout),
            ("rspamd.timeout", rspamd.timeout),
            ("rspamd.learning.connectTimeout", learning.connect_timeout),
            ("rspamd.learning.timeout", learning.timeout),
            ("rspamd.learning.retryDelay", learning.retry_delay),
            ("rspamd.learning.maxRetryDelay", learning.max_retry_delay),
            ("clamd.connectTimeout", clamd.connect_timeout),
            ("clamd.timeout", clamd.timeout),
        ] {
            self.not_zero(&format!("filter.scanners.{key}"), value);
        }
        for (key, value) in [
            ("rspamd.maxAnswerSize", rspamd.max_answer_size),
            ("rspamd.learning.maxAnswerSize", learning.max_answer_size),
            ("clamd.maxAnswerSize", clamd.max_answer_size),
        ] {
            let why = "less has no room for an answer";
            self.at_least(&format!("filter.scanners.{key}"), value, MIN_ANSWER, why);
        }
        let why = "a chunk of nothing is the end of a message";
        self.at_least("filter.scanners.clamd.chunkSize", clamd.chunk_size, ByteSize::bytes(1), why);
        let field = |name: &str| name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':');
        if !field(&rspamd.spam_header) {
            self.error(
                "filter.scanners.rspamd.spamHeader",
                &rspamd.spam_header,
                "must be the name of a field",
            );
        }
        if !clamd.servers.is_empty()
            && clamd.on_limit == ScannerFailure::Accept
            && clamd.max_message_size < config.smtp.max_message_size
        {
            self.warn(
                "filter.scanners.clamd.maxMessageSize",
                clamd.max_message_size,
                "is less than smtp.maxMessageSize: larger messages are accepted without a scan",
            );
        }
        self.milters(&scanners.milters);
    }

    fn milters(&mut self, milters: &[Milter]) {
        let mut names: HashMap<String, usize> = HashMap::new();
        for (index, milter) in milters.iter().enumerate() {
            let path = format!("filter.scanners.milters[{index}]");
            let Some(address) = &milter.address else {
                self.error(format!("{path}.address"), "", "must say where the milter listens");
                continue;
            };
            let name = if milter.name.is_empty() { address.to_string() } else { milter.name.clone() };
            if let Some(first) = names.insert(name.clone(), index) {
                let message =
                    format!("is that of filter.scanners.milters[{first}] too; give one of them another");
                self.error(format!("{path}.name"), name, message);
            }
            for (key, value) in [
                ("connectTimeout", milter.connect_timeout),
                ("timeout", milter.timeout),
                ("messageTimeout", milter.message_timeout),
            ] {
                self.not_zero(&format!("{path}.{key}"), value);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::Config;

    fn errors(scanners: &str) -> String {
        let text = format!("filter: {{scanners: {scanners}}}");
        Config::parse(&text, &|_| None).unwrap_err().to_string()
    }

    #[test]
    fn scanners_must_be_able_to_work() {
        assert!(errors("{milters: [{name: a}]}").contains("filter.scanners.milters[0].address"));
        let twice = errors("{milters: [{address: 'a:1'}, {address: 'a:1'}]}");
        assert!(twice.contains("filter.scanners.milters[1].name"), "{twice}");
        assert!(errors("{rspamd: {timeout: 0s}}").contains("filter.scanners.rspamd.timeout"));
        assert!(errors("{clamd: {chunkSize: 0}}").contains("filter.scanners.clamd.chunkSize"));
        assert!(errors("{rspamd: {spamHeader: 'X Spam'}}").contains("filter.scanners.rspamd.spamHeader"));
        let endpoint = errors("{clamd: {servers: [clamd]}}");
        assert!(endpoint.contains("filter.scanners.clamd.servers[0]"), "{endpoint}");
        assert!(endpoint.contains("unix:/path"), "{endpoint}");
    }
}
