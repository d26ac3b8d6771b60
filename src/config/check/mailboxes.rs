//! The rules of what mailboxes are kept and read with: `imap`, `pop3`, `directory`, `mailstore`.

use super::Checks;
use crate::{ByteSize, Config, Duration};

/// The most that one transaction may write; a batch of bodies leaves room for their rows.
const MAX_BATCH: ByteSize = ByteSize::mib(8);

impl Checks {
    pub(super) fn imap(&mut self, config: &Config) {
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

    pub(super) fn pop3(&mut self, config: &Config) {
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

    pub(super) fn directory(&mut self, config: &Config) {
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

    pub(super) fn mailstore(&mut self, config: &Config) {
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
}
